/* pg_settings as a table of SQLite (eponymous, read-only), and pg_reload_conf().
 *
 * Runs in: backend, inside sqlite3_step(). Reads the session's settings and, for files and lines,
 * the process's own. Source: PostgreSQL 15's documentation of the view. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sql/session_int.h"

enum column {
    COL_NAME,
    COL_SETTING,
    COL_UNIT,
    COL_CATEGORY,
    COL_SHORT_DESC,
    COL_EXTRA_DESC,
    COL_CONTEXT,
    COL_VARTYPE,
    COL_SOURCE,
    COL_MIN_VAL,
    COL_MAX_VAL,
    COL_ENUMVALS,
    COL_BOOT_VAL,
    COL_RESET_VAL,
    COL_SOURCEFILE,
    COL_SOURCELINE,
    COL_PENDING_RESTART
};

static const char declaration[] =
    "CREATE TABLE pg_settings(name text, setting text, unit text, category text, "
    "short_desc text, extra_desc text, context text, vartype text, source text, min_val text, "
    "max_val text, enumvals text, boot_val text, reset_val text, sourcefile text, "
    "sourceline integer, pending_restart boolean)";

static const char *const type_names[] = { "bool", "integer", "real", "string", "enum" };
static const char *const context_names[] = { "internal", "postmaster", "sighup", "superuser",
                                             "user" };
static const char *const source_names[] = { "default", "configuration file", "command line",
                                            "client", "session" };

struct settings_table {
    sqlite3_vtab base; /* first: SQLite casts */
    struct session *s;
};

struct settings_cursor {
    sqlite3_vtab_cursor base; /* first: SQLite casts */
    const struct session *s;
    struct conf boot; /* the defaults */
    unsigned at;      /* in order of name */
};

static int
settings_connect(sqlite3 *db, void *arg, int argc, const char *const *argv, sqlite3_vtab **ret,
                 char **ret_message)
{
    struct settings_table *t;
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
    *t = (struct settings_table){ .s = arg };
    *ret = &t->base;
    return SQLITE_OK;
}

static int
settings_disconnect(sqlite3_vtab *vtab)
{
    sqlite3_free(vtab);
    return SQLITE_OK;
}

static int
settings_best_index(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
    (void) vtab;
    info->estimatedCost = CONF_SETTINGS;
    info->estimatedRows = CONF_SETTINGS;
    return SQLITE_OK;
}

static int
settings_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **ret)
{
    const struct settings_table *t = (const struct settings_table *) (const void *) vtab;
    struct settings_cursor *c = calloc(1, sizeof *c);

    if (c == NULL || conf_init(&c->boot, NULL) < 0) {
        free(c);
        return SQLITE_NOMEM;
    }
    c->s = t->s;
    *ret = &c->base;
    return SQLITE_OK;
}

static int
settings_close(sqlite3_vtab_cursor *cursor)
{
    struct settings_cursor *c = (struct settings_cursor *) (void *) cursor;

    conf_done(&c->boot);
    free(c);
    return SQLITE_OK;
}

/* From `at` on: the next setting that this session may see. */
static void
settings_seek(struct settings_cursor *c)
{
    while (c->at < CONF_SETTINGS &&
           conf_session_may_show(c->s->cfg.conf, conf_by_name(c->at), NULL) < 0)
        c->at++;
}

static int
settings_filter(sqlite3_vtab_cursor *cursor, int idx, const char *text, int argc,
                sqlite3_value **argv)
{
    struct settings_cursor *c = (struct settings_cursor *) (void *) cursor;

    (void) idx;
    (void) text;
    (void) argc;
    (void) argv;
    c->at = 0;
    settings_seek(c);
    return SQLITE_OK;
}

static int
settings_next(sqlite3_vtab_cursor *cursor)
{
    struct settings_cursor *c = (struct settings_cursor *) (void *) cursor;

    c->at++;
    settings_seek(c);
    return SQLITE_OK;
}

static int
settings_eof(sqlite3_vtab_cursor *cursor)
{
    return ((const struct settings_cursor *) (const void *) cursor)->at >= CONF_SETTINGS;
}

static int
settings_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
    *ret = ((const struct settings_cursor *) (const void *) cursor)->at;
    return SQLITE_OK;
}

/* ---- values ---- */

static void
put_text(sqlite3_context *ctx, const char *text)
{
    sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
}

static void
put_limit(sqlite3_context *ctx, const struct conf_desc *d, double limit)
{
    char text[64];

    if (d->type == CONF_TYPE_INT)
        (void) snprintf(text, sizeof text, "%.0f", limit);
    else if (d->type == CONF_TYPE_REAL)
        (void) snprintf(text, sizeof text, "%g", limit);
    else
        return;
    put_text(ctx, text);
}

/* "a|b c" as an array in text form: {a,"b c"}. */
static void
put_enum(sqlite3_context *ctx, const char *values)
{
    sqlite3_str *to = sqlite3_str_new(NULL);

    sqlite3_str_appendchar(to, 1, '{');
    for (const char *p = values;; p++) {
        int n = (int) strcspn(p, "|");
        const char *quote = memchr(p, ' ', (size_t) n) != NULL ? "\"" : "";

        sqlite3_str_appendf(to, "%s%.*s%s", quote, n, p, quote);
        p += n;
        if (*p == '\0')
            break;
        sqlite3_str_appendchar(to, 1, ',');
    }
    sqlite3_str_appendchar(to, 1, '}');
    put_text(ctx, sqlite3_str_value(to));
    sqlite3_free(sqlite3_str_finish(to));
}

static void
put_value(sqlite3_context *ctx, const struct conf *conf, enum conf_id id)
{
    char text[CONF_VALUE_BYTES_MAX + 1];

    put_text(ctx, conf_show_bare(conf, id, text, sizeof text));
}

static const char *
source_of(const struct conf *conf, enum conf_id id)
{
    if (conf_desc(id)->context == CONF_CONTEXT_INTERNAL && conf->source[id] == CONF_FROM_CLIENT)
        return "override";
    return source_names[conf->source[id]];
}

/* Where the value is written: for superusers, as long as it is the one in force. */
static void
put_origin(sqlite3_context *ctx, const struct conf_session *cs, enum conf_id id, enum column col)
{
    const struct conf_origin *o = cs->base->origins != NULL ? &cs->base->origins[id] : NULL;

    if (col == COL_PENDING_RESTART)
        sqlite3_result_int(ctx, o != NULL && o->is_pending);
    else if (o == NULL || o->file == NULL || !cs->is_superuser ||
             cs->cur.source[id] != CONF_FROM_FILE)
        return;
    else if (col == COL_SOURCEFILE)
        put_text(ctx, o->file);
    else
        sqlite3_result_int(ctx, o->line);
}

static void
put_of_row(sqlite3_context *ctx, const struct conf_desc *d, enum column col)
{
    if (col == COL_NAME)
        put_text(ctx, d->name);
    else if (col == COL_UNIT && d->unit != CONF_UNIT_NONE)
        put_text(ctx, conf_unit_name(d->unit));
    else if (col == COL_CATEGORY)
        put_text(ctx, d->group);
    else if (col == COL_SHORT_DESC)
        put_text(ctx, d->text);
    else if (col == COL_CONTEXT)
        put_text(ctx, context_names[d->context]);
    else if (col == COL_VARTYPE)
        put_text(ctx, type_names[d->type]);
    else if (col == COL_MIN_VAL)
        put_limit(ctx, d, d->min);
    else if (col == COL_MAX_VAL)
        put_limit(ctx, d, d->max);
    else if (col == COL_ENUMVALS && d->type == CONF_TYPE_ENUM)
        put_enum(ctx, d->values);
}

static int
settings_column(sqlite3_vtab_cursor *cursor, sqlite3_context *ctx, int col)
{
    const struct settings_cursor *c = (const struct settings_cursor *) (const void *) cursor;
    const struct conf_session *cs = c->s->cfg.conf;
    enum conf_id id = conf_by_name(c->at);
    char text[CONF_VALUE_BYTES_MAX + 1];

    if (col == COL_SETTING)
        put_text(ctx, session_setting_text(c->s, id, true, text, sizeof text));
    else if (col == COL_SOURCE)
        put_text(ctx, source_of(&cs->cur, id));
    else if (col == COL_BOOT_VAL)
        put_value(ctx, &c->boot, id);
    else if (col == COL_RESET_VAL)
        put_value(ctx, &cs->reset, id);
    else if (col >= COL_SOURCEFILE)
        put_origin(ctx, cs, id, (enum column) col);
    else
        put_of_row(ctx, conf_desc(id), (enum column) col);
    return SQLITE_OK;
}

/* No xCreate: it is there in every database, and cannot be made or dropped. */
static const sqlite3_module settings_module = {
    .xConnect = settings_connect,
    .xBestIndex = settings_best_index,
    .xDisconnect = settings_disconnect,
    .xOpen = settings_open,
    .xClose = settings_close,
    .xFilter = settings_filter,
    .xNext = settings_next,
    .xEof = settings_eof,
    .xColumn = settings_column,
    .xRowid = settings_rowid,
};

/* ---- reload ---- */

/* The postmaster is our parent: if it is gone, so are we, soon. */
static void
fn_reload_conf(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = sqlite3_user_data(ctx);
    pid_t parent = getppid();

    (void) n;
    (void) v;
    if (!s->cfg.role.is_superuser) {
        (void) ERR(&s->interrupt, INSUFFICIENT_PRIVILEGE,
                   "permission denied for function pg_reload_conf");
        sqlite3_result_error(ctx, s->interrupt.message, -1);
        return;
    }
    sqlite3_result_int(ctx, parent > 1 && kill(parent, SIGHUP) == 0);
    sqlite3_result_subtype(ctx, SUBTYPE_BOOL);
}

int
session_add_settings(struct session *s, struct err *e)
{
    int rc = sqlite3_create_module_v2(s->db, "pg_settings", &settings_module, s, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(s->db, "pg_reload_conf", 0, SQLITE_UTF8 | SQLITE_DIRECTONLY,
                                        s, fn_reload_conf, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
