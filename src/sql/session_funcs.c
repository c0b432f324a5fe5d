/* SQL functions of the server: version(), pg_current_wal_lsn(), txid_status(), now() …
 *
 * Runs in: backend, inside sqlite3_step(). Source: PostgreSQL 15's documentation. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/clock.h"
#include "shm/wait.h"
#include "sql/session_int.h"
#include "store/store_xact.h"
#include "wal/wal_format.h"

static struct session *
session_of(sqlite3_context *ctx)
{
    return sqlite3_user_data(ctx);
}

/* ---- results ---- */

static void
result_text(sqlite3_context *ctx, const char *text)
{
    sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
}

static void
result_bool(sqlite3_context *ctx, bool b)
{
    sqlite3_result_int(ctx, b);
    sqlite3_result_subtype(ctx, SUBTYPE_BOOL);
}

static void
result_name(sqlite3_context *ctx, const char *text)
{
    result_text(ctx, text);
    sqlite3_result_subtype(ctx, SUBTYPE_NAME);
}

static void
result_lsn(sqlite3_context *ctx, lsn_t lsn)
{
    char text[32];

    (void) snprintf(text, sizeof text, LSN_FMT, LSN_ARGS(lsn));
    result_text(ctx, text);
    sqlite3_result_subtype(ctx, SUBTYPE_LSN);
}

static void
result_time(sqlite3_context *ctx, usec_t real)
{
    char text[64];
    time_t sec = (time_t) (real / USEC_PER_SEC);
    struct tm tm;
    size_t n;

    (void) gmtime_r(&sec, &tm);
    n = strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    (void) snprintf(text + n, sizeof text - n, ".%06u+00", (unsigned) (real % USEC_PER_SEC));
    result_text(ctx, text);
    sqlite3_result_subtype(ctx, SUBTYPE_TIMESTAMPTZ);
}

/* The statement ends with this error. */
static void
result_err(sqlite3_context *ctx)
{
    sqlite3_result_error(ctx, session_of(ctx)->interrupt.message, -1);
}

/* ---- who and what ---- */

static void
fn_version(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    char text[200];
    struct utsname u;

    (void) n;
    (void) v;
    (void) uname(&u);
    (void) snprintf(text, sizeof text,
                    "PostgreSQL 15.0 (Pinion %s) on %s-linux-gnu, SQLite %s, 64-bit",
                    PINION_VERSION, u.machine, sqlite3_libversion());
    result_text(ctx, text);
}

static void
fn_user(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    result_name(ctx, session_of(ctx)->cfg.role.name);
}

static void
fn_database(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    result_name(ctx, session_of(ctx)->cfg.db.name);
}

static void
fn_schema(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    result_name(ctx, "public");
}

static void
fn_backend_pid(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    sqlite3_result_int(ctx, session_of(ctx)->cfg.pid);
}

static void
fn_is_in_recovery(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    const struct shm_status *st = session_of(ctx)->st->status;

    (void) n;
    (void) v;
    result_bool(ctx,
                st != NULL && atomic_load_explicit(&st->in_recovery, memory_order_acquire) != 0);
}

/* ---- the log ---- */

static void
fn_insert_lsn(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    result_lsn(ctx, wal_insert_end(session_of(ctx)->st->wal));
}

static void
fn_flush_lsn(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    result_lsn(ctx, wal_durable(session_of(ctx)->st->wal));
}

static void
fn_write_lsn(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    const struct store *st = session_of(ctx)->st;
    lsn_t durable = wal_durable(st->wal);
    lsn_t written =
        st->status == NULL ? 0 : atomic_load_explicit(&st->status->write_lsn, memory_order_relaxed);

    (void) n;
    (void) v;
    result_lsn(ctx, MAX(durable, written));
}

/* A superuser's: else the statement ends with 42501. */
static bool
is_allowed(sqlite3_context *ctx, const char *name)
{
    struct session *s = session_of(ctx);

    if (s->cfg.role.is_superuser)
        return true;
    (void) ERR(&s->interrupt, INSUFFICIENT_PRIVILEGE, "permission denied for function %s", name);
    result_err(ctx);
    return false;
}

static void
fn_switch_wal(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = session_of(ctx);
    lsn_t lsn;

    (void) n;
    (void) v;
    if (!is_allowed(ctx, "pg_switch_wal"))
        return;
    if (store_switch_log(s->st, &lsn, &s->interrupt) < 0)
        result_err(ctx);
    else
        result_lsn(ctx, lsn);
}

static void
fn_create_restore_point(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = session_of(ctx);
    const char *name = (const char *) sqlite3_value_text(v[0]);
    lsn_t lsn;

    (void) n;
    if (name == NULL || !is_allowed(ctx, "pg_create_restore_point"))
        return;
    if (store_restore_point(s->st, name, &lsn, &s->interrupt) < 0)
        result_err(ctx);
    else
        result_lsn(ctx, lsn);
}

/* "X/X" to a position. False: it is NULL, as the result then, or none, and the statement ends. */
static bool
take_lsn(sqlite3_context *ctx, sqlite3_value *v, lsn_t *ret)
{
    const char *p = (const char *) sqlite3_value_text(v);

    if (p == NULL || lsn_parse(p, ret))
        return p != NULL;
    (void) ERR(&session_of(ctx)->interrupt, INVALID_TEXT_REPRESENTATION,
               "invalid input syntax for type pg_lsn: \"%s\"", p);
    result_err(ctx);
    return false;
}

static void
fn_lsn_diff(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    lsn_t a, b;

    (void) n;
    if (take_lsn(ctx, v[0], &a) && take_lsn(ctx, v[1], &b))
        sqlite3_result_int64(ctx, (int64_t) (a - b));
}

static void
fn_walfile_name(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = session_of(ctx);
    const struct wal *w = s->st->wal;
    char name[WAL_SEGMENT_NAME_BYTES];
    lsn_t lsn;

    (void) n;
    if (!take_lsn(ctx, v[0], &lsn))
        return;
    /* An end on a boundary belongs to the segment that it ends. */
    wal_segment_name(name, wal_tli(w), lsn == 0 ? 0 : wal_segno_of_end(lsn, w->cfg.segsize),
                     w->cfg.segsize);
    result_text(ctx, name);
}

/* ---- transactions ---- */

static void
fn_txid_current(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = session_of(ctx);
    xid_t xid;

    (void) n;
    (void) v;
    if (s->read_only)
        (void) ERR(&s->interrupt, READ_ONLY_SQL_TRANSACTION,
                   "cannot assign a transaction id in a read-only transaction");
    else if (store_txn_xid(s->txn, &xid, &s->interrupt) == 0) {
        sqlite3_result_int64(ctx, (int64_t) xid);
        return;
    }
    result_err(ctx);
}

static void
fn_txid_if_assigned(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    xid_t xid = store_txn_xid_if_any(session_of(ctx)->txn);

    (void) n;
    (void) v;
    if (xid != 0)
        sqlite3_result_int64(ctx, (int64_t) xid);
}

static void
fn_txid_status(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = session_of(ctx);
    enum xact_status status = XACT_UNKNOWN;
    xid_t xid = (xid_t) sqlite3_value_int64(v[0]);

    (void) n;
    if (sqlite3_value_type(v[0]) == SQLITE_NULL)
        return;
    if (xid >= store_xid_next(s->st)) {
        (void) ERR(&s->interrupt, INVALID_PARAMETER_VALUE, "transaction ID %llu is in the future",
                   (unsigned long long) xid);
        result_err(ctx);
        return;
    }
    if (store_xact_status(s->st, xid, &status, &s->interrupt) < 0) {
        result_err(ctx);
        return;
    }
    switch (status) {
    case XACT_ABORTED:
        result_text(ctx, "aborted");
        break;
    case XACT_COMMITTED:
        result_text(ctx, "committed");
        break;
    case XACT_IN_PROGRESS:
        result_text(ctx, "in progress");
        break;
    case XACT_UNKNOWN:
        break; /* NULL */
    }
}

/* ---- time (5.7 d: fixed for the transaction) ---- */

static void
fn_now(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    result_time(ctx, session_of(ctx)->xact_start);
}

static void
fn_statement_time(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    result_time(ctx, session_of(ctx)->stmt_start);
}

static void
fn_clock_time(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    result_time(ctx, clock_real_usec());
}

/* CURRENT_TIMESTAMP, _DATE, _TIME in SQLite's form, of the transaction's start: a piece of
 * "YYYY-MM-DD HH:MM:SS". */
static void
current(sqlite3_context *ctx, size_t at, size_t n)
{
    time_t sec = (time_t) (session_of(ctx)->xact_start / USEC_PER_SEC);
    char text[32];
    struct tm tm;

    (void) gmtime_r(&sec, &tm);
    (void) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    sqlite3_result_text(ctx, text + at, (int) n, SQLITE_TRANSIENT);
}

static void
fn_current_timestamp(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    current(ctx, 0, 19);
}

static void
fn_current_date(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    current(ctx, 0, 10);
}

static void
fn_current_time(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    (void) v;
    current(ctx, 11, 8);
}

/* ---- settings, waiting ---- */

static void
fn_current_setting(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = session_of(ctx);
    const char *name = (const char *) sqlite3_value_text(v[0]);
    char value[CONF_VALUE_BYTES_MAX + 1];

    if (name == NULL)
        return;
    if (session_show_setting(s, name, value, sizeof value, &s->interrupt) == 0) {
        result_text(ctx, value);
    } else if (s->interrupt.code == -ERR_UNDEFINED_OBJECT && n > 1 &&
               sqlite3_value_int(v[1]) != 0) { /* missing_ok */
        err_clear(&s->interrupt);
    } else {
        result_err(ctx);
    }
}

static void
fn_set_config(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = session_of(ctx);
    const char *name = (const char *) sqlite3_value_text(v[0]);
    const char *value = (const char *) sqlite3_value_text(v[1]);
    bool is_local = sqlite3_value_int(v[2]) != 0;
    char text[CONF_VALUE_BYTES_MAX + 1];
    int id = name != NULL ? conf_find(name) : -1;

    (void) n;
    if (name == NULL)
        (void) ERR(&s->interrupt, INVALID_PARAMETER_VALUE, "SET requires a parameter name");
    else if (id >= 0 && (conf_desc((enum conf_id) id)->flags & CONF_FLAG_TXN) != 0)
        (void) ERR(&s->interrupt, FEATURE_NOT_SUPPORTED,
                   "\"%s\" is set with SET TRANSACTION, not with set_config()", name);
    else if (conf_session_set(s->cfg.conf, name, value, is_local, &s->interrupt) == 0 &&
             session_show_setting(s, name, text, sizeof text, &s->interrupt) == 0) {
        result_text(ctx, text);
        return;
    }
    result_err(ctx);
}

static void
fn_sleep(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = session_of(ctx);
    double sec = sqlite3_value_double(v[0]);
    usec_t until = clock_mono_usec() + (usec_t) (MIN(MAX(sec, 0.0), 1e12) * 1e6);
    _Atomic uint32_t nobody = 0;

    (void) n;
    while (clock_mono_usec() < until) {
        if (wait_sleep(s->self, &nobody, 0, until, WAIT_NONE, &s->interrupt) < 0) {
            result_err(ctx);
            return;
        }
    }
    result_text(ctx, "");
}

struct function_row {
    const char *name;
    int n_args;
    void (*fn)(sqlite3_context *ctx, int n, sqlite3_value **v);
};

static const struct function_row function_rows[] = {
    { "version", 0, fn_version },
    { "current_user", 0, fn_user },
    { "session_user", 0, fn_user },
    { "current_role", 0, fn_user },
    { "current_database", 0, fn_database },
    { "current_catalog", 0, fn_database },
    { "current_schema", 0, fn_schema },
    { "pg_backend_pid", 0, fn_backend_pid },
    { "pg_is_in_recovery", 0, fn_is_in_recovery },
    { "pg_current_wal_insert_lsn", 0, fn_insert_lsn },
    { "pg_current_wal_flush_lsn", 0, fn_flush_lsn },
    { "pg_current_wal_lsn", 0, fn_write_lsn },
    { "pg_wal_lsn_diff", 2, fn_lsn_diff },
    { "pg_walfile_name", 1, fn_walfile_name },
    { "pg_switch_wal", 0, fn_switch_wal },
    { "pg_create_restore_point", 1, fn_create_restore_point },
    { "txid_current", 0, fn_txid_current },
    { "pg_current_xact_id", 0, fn_txid_current },
    { "txid_current_if_assigned", 0, fn_txid_if_assigned },
    { "txid_status", 1, fn_txid_status },
    { "pg_xact_status", 1, fn_txid_status },
    { "now", 0, fn_now },
    { "transaction_timestamp", 0, fn_now },
    { "localtimestamp", 0, fn_now },
    { "statement_timestamp", 0, fn_statement_time },
    { "clock_timestamp", 0, fn_clock_time },
    { "current_timestamp", 0, fn_current_timestamp },
    { "current_date", 0, fn_current_date },
    { "current_time", 0, fn_current_time },
    { "current_setting", 1, fn_current_setting },
    { "current_setting", 2, fn_current_setting },
    { "set_config", 3, fn_set_config },
    { "pg_sleep", 1, fn_sleep },
};

/* In schemas (defaults, views, triggers) only these may be used: TRUSTED_SCHEMA is off. */
static bool
is_innocuous(const struct function_row *row)
{
    return row->fn != fn_set_config && row->fn != fn_sleep && row->fn != fn_txid_current &&
           row->fn != fn_switch_wal && row->fn != fn_create_restore_point;
}

int
session_add_functions(struct session *s, struct err *e)
{
    for (size_t i = 0; i < ELEMENTSOF(function_rows); i++) {
        const struct function_row *row = &function_rows[i];
        int rc = sqlite3_create_function_v2(
            s->db, row->name, row->n_args,
            SQLITE_UTF8 | (is_innocuous(row) ? SQLITE_INNOCUOUS : SQLITE_DIRECTONLY), s, row->fn,
            NULL, NULL, NULL);

        if (rc != SQLITE_OK)
            return session_failed(s, rc, false, e);
    }
    return 0;
}
