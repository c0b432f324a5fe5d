/* Tables of computed rows.
 *
 * Runs in: backend, inside sqlite3_step(). Owns: the rows of its cursors. Source: SQLite's
 * documentation of virtual tables. */
#include "sql/session_rows.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct rows_value {
    char kind; /* 'n' NULL, 'i', 'r', 't' */
    union {
        int64_t i;
        double r;
        char *t; /* owned */
    };
};

struct view_table {
    sqlite3_vtab base; /* first: SQLite casts */
    struct session *s;
    const struct session_view *view;
};

struct view_cursor {
    sqlite3_vtab_cursor base; /* first: SQLite casts */
    struct rows rows;
    size_t at; /* first value of the current row */
};

/* What a module knows; freed with it. */
struct view_of {
    struct session *s;
    const struct session_view *view;
};

/* ---- rows ---- */

static struct rows_value *
grow(struct rows *rows)
{
    if (rows->n == rows->cap && !rows->failed) {
        size_t cap = MAX((size_t) 64, rows->cap * 2);
        struct rows_value *p = realloc(rows->p, cap * sizeof *p);

        rows->failed = p == NULL;
        if (p != NULL) {
            rows->p = p;
            rows->cap = cap;
        }
    }
    return rows->failed ? NULL : &rows->p[rows->n++];
}

static void
put(struct rows *rows, struct rows_value v)
{
    struct rows_value *to = grow(rows);

    if (to != NULL)
        *to = v;
    else if (v.kind == 't')
        free(v.t);
}

void
rows_null(struct rows *rows)
{
    put(rows, (struct rows_value){ .kind = 'n' });
}

void
rows_int(struct rows *rows, int64_t i)
{
    put(rows, (struct rows_value){ .kind = 'i', .i = i });
}

void
rows_real(struct rows *rows, double d)
{
    put(rows, (struct rows_value){ .kind = 'r', .r = d });
}

void
rows_value(struct rows *rows, const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;

    if (copy != NULL) {
        put(rows, (struct rows_value){ .kind = 't', .t = copy });
        return;
    }
    rows->failed = rows->failed || text != NULL;
    rows_null(rows);
}

void
rows_text(struct rows *rows, const char *text)
{
    rows_value(rows, text != NULL && text[0] != '\0' ? text : NULL);
}

void
rows_time(struct rows *rows, usec_t real)
{
    time_t sec = (time_t) (real / USEC_PER_SEC);
    char text[64];
    struct tm tm;
    size_t n;

    if (real == 0) {
        rows_null(rows);
        return;
    }
    (void) gmtime_r(&sec, &tm);
    n = strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    (void) snprintf(text + n, sizeof text - n, ".%06u+00", (unsigned) (real % USEC_PER_SEC));
    rows_text(rows, text);
}

static void
rows_clear(struct rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        if (rows->p[i].kind == 't')
            free(rows->p[i].t);
    free(rows->p);
    *rows = (struct rows){ .p = NULL };
}

/* ---- the module ---- */

static int
view_connect(sqlite3 *db, void *arg, int argc, const char *const *argv, sqlite3_vtab **ret,
             char **ret_message)
{
    const struct view_of *of = arg;
    struct view_table *t;
    int rc = sqlite3_declare_vtab(db, of->view->declaration);

    (void) argc;
    (void) argv;
    (void) ret_message;
    if (rc != SQLITE_OK)
        return rc;
    (void) sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    t = sqlite3_malloc(sizeof *t);
    if (t == NULL)
        return SQLITE_NOMEM;
    *t = (struct view_table){ .s = of->s, .view = of->view };
    *ret = &t->base;
    return SQLITE_OK;
}

static int
view_disconnect(sqlite3_vtab *vtab)
{
    sqlite3_free(vtab);
    return SQLITE_OK;
}

static int
view_best_index(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
    (void) vtab;
    info->estimatedCost = 100;
    info->estimatedRows = 100;
    return SQLITE_OK;
}

static int
view_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **ret)
{
    struct view_cursor *c = calloc(1, sizeof *c);

    (void) vtab;
    if (c == NULL)
        return SQLITE_NOMEM;
    *ret = &c->base;
    return SQLITE_OK;
}

static int
view_close(sqlite3_vtab_cursor *cursor)
{
    struct view_cursor *c = (struct view_cursor *) (void *) cursor;

    rows_clear(&c->rows);
    free(c);
    return SQLITE_OK;
}

static int
view_filter(sqlite3_vtab_cursor *cursor, int idx, const char *text, int argc, sqlite3_value **argv)
{
    struct view_cursor *c = (struct view_cursor *) (void *) cursor;
    struct view_table *t = (struct view_table *) (void *) cursor->pVtab;
    int r;

    (void) idx;
    (void) text;
    (void) argc;
    (void) argv;
    rows_clear(&c->rows);
    c->at = 0;
    r = t->view->fill(t->s, &c->rows, &t->s->interrupt);
    if (r < 0)
        return SQLITE_ERROR; /* the session tells s->interrupt */
    ASSERT(c->rows.failed || c->rows.n % (size_t) t->view->n_cols == 0);
    return c->rows.failed ? SQLITE_NOMEM : SQLITE_OK;
}

static int
view_next(sqlite3_vtab_cursor *cursor)
{
    struct view_cursor *c = (struct view_cursor *) (void *) cursor;
    const struct view_table *t = (const struct view_table *) (const void *) cursor->pVtab;

    c->at += (size_t) t->view->n_cols;
    return SQLITE_OK;
}

static int
view_eof(sqlite3_vtab_cursor *cursor)
{
    const struct view_cursor *c = (const struct view_cursor *) (const void *) cursor;

    return c->at >= c->rows.n;
}

static int
view_column(sqlite3_vtab_cursor *cursor, sqlite3_context *ctx, int col)
{
    const struct view_cursor *c = (const struct view_cursor *) (const void *) cursor;
    const struct rows_value *v = &c->rows.p[c->at + (size_t) col];

    if (v->kind == 'i')
        sqlite3_result_int64(ctx, v->i);
    else if (v->kind == 'r')
        sqlite3_result_double(ctx, v->r);
    else if (v->kind == 't')
        sqlite3_result_text(ctx, v->t, -1, SQLITE_TRANSIENT);
    return SQLITE_OK;
}

static int
view_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64) ((const struct view_cursor *) (const void *) cursor)->at;
    return SQLITE_OK;
}

/* No xCreate: it is there in every database, and cannot be made or dropped. */
static const sqlite3_module view_module = {
    .xConnect = view_connect,
    .xBestIndex = view_best_index,
    .xDisconnect = view_disconnect,
    .xOpen = view_open,
    .xClose = view_close,
    .xFilter = view_filter,
    .xNext = view_next,
    .xEof = view_eof,
    .xColumn = view_column,
    .xRowid = view_rowid,
};

int
session_add_view(struct session *s, const struct session_view *view, struct err *e)
{
    struct view_of *of = malloc(sizeof *of);
    int rc;

    if (of == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    *of = (struct view_of){ .s = s, .view = view };
    rc = sqlite3_create_module_v2(s->db, view->name, &view_module, of, free);
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
