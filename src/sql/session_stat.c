/* pg_stat_activity as a table of SQLite (eponymous, read-only), and the two functions that act on
 * what it shows: pg_cancel_backend(), pg_terminate_backend().
 *
 * Runs in: backend, inside sqlite3_step(). Reads every slot without a lock (slot_copy). Source:
 * PostgreSQL 15's documentation of the view. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shm/wait.h"
#include "sql/session_int.h"

/* clang-format off */
static const char *const roles[] = {
#define CHILD_KIND(id, role, ...) role,
#include "tbl/child_kinds.def"
#undef CHILD_KIND
};

enum column {
    COL_DATID, COL_DATNAME, COL_PID, COL_USESYSID, COL_USENAME, COL_APPLICATION_NAME,
    COL_CLIENT_ADDR, COL_BACKEND_START, COL_XACT_START, COL_QUERY_START, COL_STATE_CHANGE,
    COL_WAIT_EVENT_TYPE, COL_WAIT_EVENT, COL_STATE, COL_QUERY, COL_BACKEND_TYPE
};

static const char declaration[] =
    "CREATE TABLE pg_stat_activity(datid oid, datname name, pid integer, usesysid oid, "
    "usename name, application_name text, client_addr text, backend_start timestamptz, "
    "xact_start timestamptz, query_start timestamptz, state_change timestamptz, "
    "wait_event_type text, wait_event text, state text, query text, backend_type text)";
/* clang-format on */

struct activity_table {
    sqlite3_vtab base; /* first: SQLite casts */
    struct session *s;
};

struct activity_cursor {
    sqlite3_vtab_cursor base; /* first: SQLite casts */
    const struct slot *slots; /* [n] */
    uint32_t n, at;
    struct slot row; /* a copy of slot `at` */
};

struct slot *
session_slots(const struct session *s, uint32_t *ret_n)
{
    *ret_n = s->self->slot != NULL ? s->st->cfg.max_procs : 0;
    return s->self->slot != NULL ? s->self->slot - s->self->procno : NULL;
}

static bool
is_attached(const struct slot *slot)
{
    return atomic_load_explicit(&slot->state, memory_order_acquire) == SLOT_ATTACHED;
}

bool
session_slot_is_backend(const struct slot *slot)
{
    return is_attached(slot) && slot->kind < ELEMENTSOF(roles) &&
           strcmp(roles[slot->kind], "backend") == 0;
}

static int
activity_connect(sqlite3 *db, void *arg, int argc, const char *const *argv, sqlite3_vtab **ret,
                 char **ret_message)
{
    struct activity_table *t;
    int rc = sqlite3_declare_vtab(db, declaration);

    (void) argc;
    (void) argv;
    (void) ret_message;
    if (rc != SQLITE_OK)
        return rc;
    (void) sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    t = sqlite3_malloc(sizeof *t);
    if (t == NULL)
        return SQLITE_NOMEM;
    *t = (struct activity_table){ .s = arg };
    *ret = &t->base;
    return SQLITE_OK;
}

static int
activity_disconnect(sqlite3_vtab *vtab)
{
    sqlite3_free(vtab);
    return SQLITE_OK;
}

static int
activity_best_index(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
    (void) vtab;
    info->estimatedCost = 100;
    info->estimatedRows = 100;
    return SQLITE_OK;
}

static int
activity_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **ret)
{
    struct activity_table *t = (struct activity_table *) (void *) vtab;
    /* A slot is aligned to 64 bytes, more than SQLite's allocator gives. */
    struct activity_cursor *c = aligned_alloc(alignof(struct activity_cursor), sizeof *c);

    if (c == NULL)
        return SQLITE_NOMEM;
    memset(c, 0, sizeof *c);
    c->slots = session_slots(t->s, &c->n);
    *ret = &c->base;
    return SQLITE_OK;
}

static int
activity_close(sqlite3_vtab_cursor *cursor)
{
    free(cursor);
    return SQLITE_OK;
}

/* From `at` on: the next slot that is somebody's. */
static void
activity_seek(struct activity_cursor *c)
{
    while (c->at < c->n &&
           (!is_attached(&c->slots[c->at]) || !slot_copy(&c->slots[c->at], &c->row)))
        c->at++;
}

static int
activity_filter(sqlite3_vtab_cursor *cursor, int idx, const char *text, int argc,
                sqlite3_value **argv)
{
    struct activity_cursor *c = (struct activity_cursor *) (void *) cursor;

    (void) idx;
    (void) text;
    (void) argc;
    (void) argv;
    c->at = 0;
    activity_seek(c);
    return SQLITE_OK;
}

static int
activity_next(sqlite3_vtab_cursor *cursor)
{
    struct activity_cursor *c = (struct activity_cursor *) (void *) cursor;

    c->at++;
    activity_seek(c);
    return SQLITE_OK;
}

static int
activity_eof(sqlite3_vtab_cursor *cursor)
{
    const struct activity_cursor *c = (const struct activity_cursor *) (const void *) cursor;

    return c->at >= c->n;
}

/* ---- values; "" and 0 are NULL ---- */

static void
put_text(sqlite3_context *ctx, const char *text)
{
    if (text[0] != '\0')
        sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
}

static void
put_number(sqlite3_context *ctx, int64_t i)
{
    if (i != 0)
        sqlite3_result_int64(ctx, i);
}

static void
put_time(sqlite3_context *ctx, usec_t real)
{
    time_t sec = (time_t) (real / USEC_PER_SEC);
    char text[64];
    struct tm tm;
    size_t n;

    if (real == 0)
        return;
    (void) gmtime_r(&sec, &tm);
    n = strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    (void) snprintf(text + n, sizeof text - n, ".%06u+00", (unsigned) (real % USEC_PER_SEC));
    put_text(ctx, text);
}

static void
put_of_backend(sqlite3_context *ctx, const struct slot *s, enum column col)
{
    switch (col) {
    case COL_DATID:
        put_number(ctx, s->db_oid);
        break;
    case COL_DATNAME:
        put_text(ctx, s->db_name);
        break;
    case COL_USESYSID:
        put_number(ctx, s->role_oid);
        break;
    case COL_USENAME:
        put_text(ctx, s->role_name);
        break;
    case COL_APPLICATION_NAME:
        put_text(ctx, s->application_name);
        break;
    case COL_CLIENT_ADDR:
        put_text(ctx, s->client_addr);
        break;
    case COL_XACT_START:
        put_time(ctx, s->xact_start_usec);
        break;
    case COL_QUERY_START:
        put_time(ctx, s->query_start_usec);
        break;
    case COL_STATE_CHANGE:
        put_time(ctx, s->state_change_usec);
        break;
    case COL_STATE:
        put_text(ctx, slot_activity_name((enum slot_activity) s->activity));
        break;
    case COL_QUERY:
        put_text(ctx, s->query);
        break;
    case COL_PID:
    case COL_BACKEND_START:
    case COL_WAIT_EVENT_TYPE:
    case COL_WAIT_EVENT:
    case COL_BACKEND_TYPE:
        break; /* of every process: activity_column() */
    }
}

static int
activity_column(sqlite3_vtab_cursor *cursor, sqlite3_context *ctx, int col)
{
    const struct activity_cursor *c = (const struct activity_cursor *) (const void *) cursor;
    const struct slot *s = &c->row;
    const char *role = s->kind < ELEMENTSOF(roles) ? roles[s->kind] : "";
    bool is_backend = strcmp(role, "backend") == 0;
    enum wait_event w = s->wait_event < WAIT_EVENTS ? (enum wait_event) s->wait_event : WAIT_NONE;

    if (col == COL_PID)
        sqlite3_result_int(ctx, s->pid);
    else if (col == COL_BACKEND_START)
        put_time(ctx, s->started_usec);
    else if (col == COL_WAIT_EVENT_TYPE)
        put_text(ctx, wait_event_type(w));
    else if (col == COL_WAIT_EVENT)
        put_text(ctx, wait_event_name(w));
    else if (col == COL_BACKEND_TYPE)
        put_text(ctx, is_backend ? "client backend" : role);
    else if (is_backend)
        put_of_backend(ctx, s, (enum column) col);
    return SQLITE_OK;
}

static int
activity_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
    *ret = ((const struct activity_cursor *) (const void *) cursor)->at;
    return SQLITE_OK;
}

/* No xCreate: it is there in every database, and cannot be made or dropped. */
static const sqlite3_module activity_module = {
    .xConnect = activity_connect,
    .xBestIndex = activity_best_index,
    .xDisconnect = activity_disconnect,
    .xOpen = activity_open,
    .xClose = activity_close,
    .xFilter = activity_filter,
    .xNext = activity_next,
    .xEof = activity_eof,
    .xColumn = activity_column,
    .xRowid = activity_rowid,
};

/* ---- acting on a backend ---- */

/* Ask the backend of that pid; only one's own role's sessions, unless superuser. */
static void
ask_backend(sqlite3_context *ctx, int32_t pid, uint32_t bits)
{
    struct session *s = sqlite3_user_data(ctx);
    uint32_t n;
    struct slot *slots = session_slots(s, &n);
    bool found = false;

    for (uint32_t i = 0; i < n && !found; i++) {
        if (!session_slot_is_backend(&slots[i]) ||
            atomic_load_explicit(&slots[i].pid, memory_order_relaxed) != pid)
            continue;
        if (!s->cfg.role.is_superuser &&
            atomic_load_explicit(&slots[i].role_oid, memory_order_relaxed) != s->cfg.role.oid) {
            (void) ERR(&s->interrupt, INSUFFICIENT_PRIVILEGE,
                       "must be a member of the role whose %s or superuser",
                       bits == REQ_CANCEL ? "query is being canceled"
                                          : "process is being terminated");
            sqlite3_result_error(ctx, s->interrupt.message, -1);
            return;
        }
        slot_request(&slots[i], bits);
        (void) kill(pid, SIGUSR1); /* it may sleep on its socket */
        found = true;
    }
    sqlite3_result_int(ctx, found);
    sqlite3_result_subtype(ctx, SUBTYPE_BOOL);
}

static void
fn_cancel_backend(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    ask_backend(ctx, sqlite3_value_int(v[0]), REQ_CANCEL);
}

static void
fn_terminate_backend(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    ask_backend(ctx, sqlite3_value_int(v[0]), REQ_TERMINATE);
}

int
session_add_activity(struct session *s, struct err *e)
{
    int flags = SQLITE_UTF8 | SQLITE_DIRECTONLY;
    int rc = sqlite3_create_module_v2(s->db, "pg_stat_activity", &activity_module, s, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(s->db, "pg_cancel_backend", 1, flags, s, fn_cancel_backend,
                                        NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(s->db, "pg_terminate_backend", 1, flags, s,
                                        fn_terminate_backend, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
