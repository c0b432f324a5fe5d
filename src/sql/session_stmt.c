/* One statement of SQLite's: prepared, entered into the transaction, stepped, its rows sent.
 *
 * Runs in: backend. Owns: sqlite3_stmt. Source: sqlite-vfs 5.3 … 5.7; wal-format 6.7. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "sql/session_error.h"
#include "sql/session_int.h"
#include "vfs/vfs_err.h"
#include "vfs/vfs_temp.h"

/* ---- errors ---- */

int
session_on_progress(void *arg)
{
    struct session *s = arg;

    if (store_txn_is_cancelled(s->txn)) /* SNAP-6 */
        return ERR(&s->interrupt, SNAPSHOT_TOO_OLD, "snapshot too old") < 0;
    return self_check(s->self, &s->interrupt) < 0;
}

/* What a call on a file answers when it fails. */
static bool
is_io(int rc)
{
    return (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_FULL ||
           (rc & 0xff) == SQLITE_CANTOPEN;
}

int
session_failed(struct session *s, int rc, bool is_run, struct err *e)
{
    int r;

    if (s->interrupt.code != 0)
        r = vfs_err_copy(e, &s->interrupt);
    else if (vfs_error(s->handle)->code != 0 && (rc & 0xff) != SQLITE_CONSTRAINT)
        r = vfs_err_copy(e, vfs_error(s->handle));
    else if (vfs_temp_error()->code != 0 && is_io(rc))
        r = vfs_err_copy(e, vfs_temp_error());
    else if (s->seen.denied[0] != '\0' && (rc == SQLITE_AUTH || rc == SQLITE_ERROR))
        r = ERR(e, INSUFFICIENT_PRIVILEGE, "permission denied for %s", s->seen.denied);
    else
        r = session_error_translate(rc, sqlite3_errmsg(s->db), is_run, e);
    if (rc == SQLITE_NOMEM && r == -ERR_OUT_OF_MEMORY)
        err_hint(e, "A session may take session_memory_limit bytes of memory.");
    if (r == -ERR_DATA_CORRUPTED)
        err_hint(e,
                 "The database is \"%s\". Its other pages can be read; pinionctl verify finds all "
                 "that are damaged.",
                 s->cfg.db.name);
    err_clear(&s->interrupt);
    vfs_error_reset(s->handle);
    vfs_temp_error_reset();
    return r;
}

int
session_exec(struct session *s, const char *sql, struct err *e)
{
    int rc;

    s->is_internal = true;
    rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    s->is_internal = false;
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, true, e);
}

/* Its place; NULL: there is none. */
static struct session_own *
find_own(struct session *s, const char *sql)
{
    for (uint32_t i = 0; i < SESSION_OWN_MAX; i++) {
        if (s->own[i].sql == NULL || strcmp(s->own[i].sql, sql) == 0)
            return &s->own[i];
    }
    return NULL;
}

int
session_exec_own(struct session *s, const char *sql, struct err *e)
{
    struct session_own *own = find_own(s, sql);
    int rc = SQLITE_OK;

    if (own == NULL)
        return session_exec(s, sql, e);
    own->sql = sql;
    s->is_internal = true;
    if (own->stmt == NULL)
        rc = sqlite3_prepare_v2(s->db, sql, -1, &own->stmt, NULL);
    if (rc == SQLITE_OK) {
        (void) sqlite3_step(own->stmt);
        rc = sqlite3_reset(own->stmt);
    }
    s->is_internal = false;
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, true, e);
}

/* Running anything compares the schema's cookie. */
#define LOOK_AT_SCHEMA "SELECT 1 FROM sqlite_schema WHERE 0"

int
session_look_at_schema(struct session *s, struct err *e)
{
    struct session_own *own = find_own(s, LOOK_AT_SCHEMA);
    bool is_first = own == NULL || own->stmt == NULL;
    int r = session_exec_own(s, LOOK_AT_SCHEMA, e);

    if (r < 0 || is_first || sqlite3_stmt_status(own->stmt, SQLITE_STMTSTATUS_REPREPARE, 1) > 0)
        session_kept_clear(s);
    return r;
}

void
session_own_done(struct session *s)
{
    for (uint32_t i = 0; i < SESSION_OWN_MAX; i++)
        (void) sqlite3_finalize(s->own[i].stmt);
}

/* ---- preparing ---- */

/* Where the text is wrong, as a character of the whole query string. */
static void
set_position(struct session *s, const struct sql_stmt *stmt, const struct sql_rewrite *rw,
             const char *query, size_t query_n, struct err *e)
{
    int at = sqlite3_error_offset(s->db);

    if (at < 0 || e == NULL || e->position != 0)
        return;
    e->position = sql_char_position(query, query_n, stmt->at + sql_rewrite_at(rw, (size_t) at));
}

static int
describe_columns(struct session_query *q, struct err *e)
{
    q->n_cols = sqlite3_column_count(q->stmt);
    if (q->n_cols == 0)
        return 0;
    free(q->types);
    free(q->mods);
    q->types = calloc(2 * (size_t) q->n_cols, sizeof *q->types);
    q->mods = calloc((size_t) q->n_cols, sizeof *q->mods);
    if (q->types == NULL || q->mods == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < q->n_cols; i++)
        q->types[i] = q->types[q->n_cols + i] =
            types_of_decl(sqlite3_column_decltype(q->stmt, i), &q->mods[i]);
    return 0;
}

/* Prepare against the schema as it is now. SQLite itself looks again only after some errors:
 * REINDEX and CREATE would fail by a schema that another session has changed since. */
static int
prepare_current(struct session *s, const struct sql_rewrite *rw, sqlite3_stmt **ret)
{
    int n = (int) MIN(rw->n + 1, INT32_MAX);
    struct err ignored = ERR_INIT;
    int rc;

    s->seen = (struct session_seen){ .writes_main = false };
    rc = sqlite3_prepare_v2(s->db, rw->text, n, ret, NULL);
    if (rc != SQLITE_ERROR || s->seen.denied[0] != '\0' || vfs_error(s->handle)->code != 0)
        return rc;
    if (session_look_at_schema(s, &ignored) < 0)
        return rc;
    s->seen = (struct session_seen){ .writes_main = false };
    return sqlite3_prepare_v2(s->db, rw->text, n, ret, NULL);
}

int
session_query_prepare(struct session *s, const struct sql_stmt *stmt, const char *query,
                      size_t query_n, struct session_query *ret, struct err *e)
{
    struct sql_rewrite rw;
    int r, rc;

    *ret = (struct session_query){ .stmt = NULL };
    r = sql_rewrite(stmt->text, stmt->n, &rw, e);
    if (r < 0)
        return r;
    rc = prepare_current(s, &rw, &ret->stmt);
    if (rc != SQLITE_OK) {
        r = session_failed(s, rc, false, e);
        set_position(s, stmt, &rw, query, query_n, e);
    }
    sql_rewrite_done(&rw);
    if (r < 0 || ret->stmt == NULL)
        return r;
    ret->seen = s->seen;
    ret->is_numbered = rw.is_numbered;
    ret->is_readonly = sqlite3_stmt_readonly(ret->stmt) != 0 || stmt->is_explain;
    if (!ret->is_readonly && !ret->seen.writes_temp)
        ret->seen.writes_main = true; /* REINDEX, PRAGMA and others name no database */
    if (ret->is_readonly)
        ret->seen.writes_main = ret->seen.writes_temp = false;
    r = describe_columns(ret, e);
    if (r < 0)
        session_query_done(ret);
    return r;
}

void
session_query_done(struct session_query *q)
{
    (void) sqlite3_finalize(q->stmt);
    free(q->types);
    free(q->mods);
    *q = (struct session_query){ .stmt = NULL };
}

void
session_query_rewind(struct session_query *q)
{
    (void) sqlite3_reset(q->stmt);
    (void) sqlite3_clear_bindings(q->stmt);
    q->has_row = q->is_done = false;
}

void
session_query_forget_values(struct session_query *q)
{
    if (q->n_cols > 0)
        memcpy(q->types, q->types + q->n_cols, (size_t) q->n_cols * sizeof *q->types);
}

/* ---- entering the transaction (5.7) ---- */

void
session_drop_idle_writer(struct session *s)
{
    if (store_writer_is_mine(s->st, s->cfg.db_idx) &&
        sqlite3_txn_state(s->db, "main") != SQLITE_TXN_WRITE)
        store_writer_drop(s->st, s->cfg.db_idx);
}

static int
take_writer(struct session *s, struct err *e)
{
    int64_t timeout = s->cfg.conf->cur.v.lock_timeout;

    if (store_writer_is_mine(s->st, s->cfg.db_idx))
        return 0;
    return store_writer_take(s->st, s->cfg.db_idx,
                             timeout > 0 ? clock_mono_usec() + (usec_t) timeout : 0, e);
}

int
session_enter_write(struct session *s, struct err *e)
{
    int r;

    if (!s->in_sqlite) {
        r = session_spool_portals(s, true, e); /* 5.7 (a) */
        if (r < 0)
            return r;
    }
    r = take_writer(s, e);
    if (r < 0 || s->in_sqlite)
        return r;
    return session_enter_read(s, e);
}

int
session_query_enter(struct session *s, const struct session_query *q, bool is_last, struct err *e)
{
    bool alone = s->block == BLOCK_IMPLICIT && is_last && !s->in_sqlite;
    bool repeatable = s->isolation >= SQL_REPEATABLE_READ;

    if ((q->seen.writes_main || q->seen.wants_write) && s->read_only)
        return ERR(e, READ_ONLY_SQL_TRANSACTION,
                   "cannot execute a write in a read-only transaction");
    s->had_query = true;
    if (q->seen.writes_main || q->seen.writes_temp || q->seen.wants_write) {
        int r = session_spool_portals(s, true, e); /* else they would see it */

        if (r < 0)
            return r;
    }
    if (q->seen.is_ddl) {
        session_cache_clear(s);
        s->has_ddl = true;
    }
    if (q->seen.wants_write)
        return session_enter_write(s, e);
    if (q->seen.writes_main) {
        if (!alone)
            return session_enter_write(s, e);
        return take_writer(s, e);
    }
    if (alone || s->in_sqlite)
        return 0;
    /* 5.7 (c): a temporary table must roll back, but takes no lock. A pragma is left alone: some
     * do nothing inside a transaction. */
    if (q->seen.writes_temp || (repeatable && !q->seen.calls_pragma))
        return session_enter_read(s, e);
    return 0;
}

/* ---- running ---- */

static int16_t
format_of(const struct session_run *run, int col)
{
    if (run->n_formats == 0)
        return 0;
    return run->formats[run->n_formats == 1 ? 0 : col];
}

int
session_plan_changed(struct err *e)
{
    return ERR(e, FEATURE_NOT_SUPPORTED, "cached plan must not change result type");
}

int
session_query_describe(struct session *s, struct session_query *q, const struct session_run *run,
                       bool has_row, const struct session_sink *sink, struct err *e)
{
    struct session_column few[32];
    struct session_column *cols = few;
    CLEANUP(freep) struct session_column *many = NULL;

    (void) s;
    if (sqlite3_column_count(q->stmt) != q->n_cols) /* another session has changed the schema */
        return session_plan_changed(e);
    if (q->n_cols > (int) ELEMENTSOF(few)) {
        cols = many = calloc((size_t) q->n_cols, sizeof *many);
        if (many == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
    }
    for (int i = 0; i < q->n_cols; i++) {
        if (q->types[i] == TYPE_UNKNOWN)
            q->types[i] = has_row ? types_of_value(sqlite3_column_value(q->stmt, i)) : TYPE_TEXT;
        cols[i] = (struct session_column){ .name = sqlite3_column_name(q->stmt, i),
                                           .type = q->types[i],
                                           .type_len = types_len(q->types[i]),
                                           .type_mod = q->mods[i],
                                           .format = format_of(run, i) };
        if (cols[i].name == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
    }
    return sink->columns(sink->arg, cols, (uint32_t) q->n_cols);
}

int
session_query_send(struct session *s, const struct session_query *q, const struct session_run *run,
                   sqlite3_value *const *spooled, const struct session_sink *sink, struct err *e)
{
    struct session_value few[32];
    struct session_value *v = few;
    CLEANUP(freep) struct session_value *many = NULL;
    int r = 0;

    if (q->n_cols > (int) ELEMENTSOF(few)) {
        v = many = calloc((size_t) q->n_cols, sizeof *many);
        if (many == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
    }
    s->out.n = 0;
    for (int i = 0; i < q->n_cols && r == 0; i++) {
        sqlite3_value *value = spooled != NULL ? spooled[i] : sqlite3_column_value(q->stmt, i);
        size_t at = 0, n = 0;

        if (sqlite3_value_type(value) == SQLITE_NULL) {
            v[i] = (struct session_value){ .n = -1 };
            continue;
        }
        if (format_of(run, i) == 0)
            r = types_put_text(&s->out, value, q->types[i], &at, &n, e);
        else
            r = types_put_binary(&s->out, value, q->types[i], &at, &n, e);
        /* The buffer may move while it grows: an offset now, a pointer when it is complete. */
        v[i] = (struct session_value){ .p = (const void *) (uintptr_t) at, .n = (int32_t) n };
    }
    for (int i = 0; i < q->n_cols && r == 0; i++) {
        if (v[i].n >= 0)
            v[i].p = s->out.p + (uintptr_t) v[i].p;
    }
    if (r == 0)
        r = sink->row(sink->arg, v, (uint32_t) q->n_cols);
    types_out_trim(&s->out);
    return r;
}

/* SQLite prepares again by itself when another session has changed the schema (5.8). What the
 * client was not told yet may differ; what it was told may not. */
static int
check_columns(struct session_query *q, const struct session_run *run, bool described, struct err *e)
{
    if (!described && run->n_formats == 0 &&
        sqlite3_stmt_status(q->stmt, SQLITE_STMTSTATUS_REPREPARE, 0) > 0)
        return describe_columns(q, e);
    return sqlite3_column_count(q->stmt) != q->n_cols ? session_plan_changed(e) : 0;
}

int
session_query_run(struct session *s, struct session_query *q, const struct session_run *run,
                  const struct session_sink *sink, uint64_t *n_rows, struct err *e)
{
    bool described = !run->describe || q->n_cols == 0;
    uint32_t sent = 0;
    int r = 0;

    s->seen.denied[0] = '\0';
    store_txn_keep_writer(s->txn, true);
    while (r == 0) {
        int rc = q->has_row ? SQLITE_ROW : q->is_done ? SQLITE_DONE : sqlite3_step(q->stmt);

        q->has_row = false;
        if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
            r = session_failed(s, rc, true, e);
            break;
        }
        r = check_columns(q, run, described, e);
        if (r < 0)
            break;
        if (!described) {
            r = session_query_describe(s, q, run, rc == SQLITE_ROW, sink, e);
            described = true;
        }
        if (rc == SQLITE_DONE || r < 0)
            break;
        if (q->n_cols == 0) /* PRAGMA incremental_vacuum "returns" a row per page */
            continue;
        r = session_query_send(s, q, run, NULL, sink, e);
        ++*n_rows;
        if (r == 0 && run->max_rows > 0 && ++sent == run->max_rows) {
            store_txn_keep_writer(s->txn, false);
            return SESSION_SUSPENDED;
        }
    }
    stat_add(s->self, STAT_TUP_RETURNED,
             (uint64_t) sqlite3_stmt_status(q->stmt, SQLITE_STMTSTATUS_FULLSCAN_STEP, 1));
    (void) sqlite3_reset(q->stmt);
    q->is_done = true;
    store_txn_keep_writer(s->txn, false);
    session_drop_idle_writer(s);
    return r;
}

int
session_query_peek(struct session *s, struct session_query *q, struct err *e)
{
    int rc = sqlite3_step(q->stmt);

    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return session_failed(s, rc, true, e);
    q->has_row = rc == SQLITE_ROW;
    q->is_done = rc == SQLITE_DONE;
    return 0;
}

void
session_query_tag(struct session *s, const struct sql_stmt *stmt, bool by_rows, uint64_t n_rows,
                  char *p)
{
    bool is_select = strcmp(stmt->tag, "SELECT") == 0;
    const size_t cap = SQL_NAME_BYTES;
    size_t n = strlen(stmt->tag);

    if (!stmt->tag_counts || n + sizeof " 0 " + DECIMAL_BYTES > cap) {
        (void) snprintf(p, cap, "%s", n > 0 ? stmt->tag : "OK");
        return;
    }
    memcpy(p, stmt->tag, n);
    if (strcmp(stmt->tag, "INSERT") == 0) {
        memcpy(p + n, " 0", 2);
        n += 2;
    }
    p[n++] = ' ';
    n += decimal_u64(p + n, by_rows || is_select ? n_rows : (uint64_t) sqlite3_changes64(s->db));
    p[n] = '\0';
}
