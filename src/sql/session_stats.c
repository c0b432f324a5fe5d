/* The cumulative statistics as tables with PostgreSQL 15's columns, and the functions that reset
 * them.
 *
 * Runs in: backend, inside sqlite3_step(). Owns: nothing. Source: PostgreSQL 15's documentation of
 * the views; shm/stat.h. What cannot happen here is 0 (deadlocks; conflicts of a primary; syncs by
 * backends), what is not measured is NULL. */
#include <stdio.h>
#include <string.h>

#include "base/spill.h"
#include "sql/session_rows.h"

/* ---- values ---- */

static void
put_count(struct rows *rows, enum stat_id id, const uint64_t *n)
{
    if (stat_is_msec(id))
        rows_real(rows, (double) n[id] / (double) USEC_PER_MSEC);
    else
        rows_int(rows, (int64_t) n[id]);
}

static void
put_counts(struct rows *rows, enum stat_id first, enum stat_id last, const uint64_t *n)
{
    for (enum stat_id id = first; id <= last; id++)
        put_count(rows, id, n);
}

/* ---- pg_stat_database ---- */

/* Backends of that database. */
static int64_t
count_backends(const struct session *s, oid_t oid)
{
    uint32_t n;
    const struct slot *slots = session_slots(s, &n);
    int64_t found = 0;

    for (uint32_t i = 0; i < n; i++)
        found += session_slot_is_backend(&slots[i]) &&
                 atomic_load_explicit(&slots[i].db_oid, memory_order_relaxed) == oid;
    return found;
}

static void
put_database(struct session *s, struct rows *rows, oid_t oid, const char *name)
{
    uint64_t n[STAT_DB_COUNTS];
    usec_t reset;

    stat_read_db(s->cfg.stats, oid, n, &reset);
    rows_int(rows, oid);
    rows_text(rows, name);
    rows_int(rows, count_backends(s, oid));
    put_counts(rows, STAT_XACT_COMMIT, STAT_TUP_RETURNED, n);
    rows_null(rows); /* tup_fetched: SQLite does not count rows found by an index */
    put_counts(rows, STAT_TUP_INSERTED, STAT_TUP_DELETED, n);
    rows_int(rows, 0); /* conflicts */
    put_counts(rows, STAT_TEMP_FILES, STAT_TEMP_BYTES, n);
    rows_int(rows, 0); /* deadlocks: one writer lock, nothing to wait for in a circle */
    put_count(rows, STAT_CHECKSUM_FAILURES, n);
    rows_null(rows); /* checksum_last_failure: the log has the time */
    rows_null(rows); /* blk_read_time, blk_write_time */
    rows_null(rows);
    put_counts(rows, STAT_SESSION_TIME, STAT_SESSIONS_KILLED, n);
    rows_time(rows, reset);
}

static int
fill_database(struct session *s, struct rows *rows, struct err *e)
{
    struct catalog *c = NULL;
    CLEANUP(freep) char *text = NULL;
    char *rest;
    char *line;
    int r = catalog_open(s->st, &c, e);

    if (r == 0)
        r = catalog_list_text(c, &text, e);
    catalog_close(c);
    if (r < 0)
        return r;
    put_database(s, rows, 0, NULL); /* what no database is asked for: as in PostgreSQL */
    rest = text;
    while ((line = strsep(&rest, "\n")) != NULL) {
        unsigned oid;
        unsigned rel;
        int at = 0;

        if (sscanf(line, "%u %u %n", &oid, &rel, &at) == 2 && at > 0)
            put_database(s, rows, oid, line + at);
    }
    return 0;
}

/* ---- of the cluster ---- */

static int
fill_bgwriter(struct session *s, struct rows *rows, struct err *e)
{
    uint64_t n[STAT_COUNTS];
    usec_t reset[STAT_GROUPS];

    (void) e;
    stat_read_cluster(s->cfg.stats, n, reset);
    put_counts(rows, STAT_CKPT_TIMED, STAT_BUF_BACKEND, n);
    rows_int(rows, 0); /* buffers_backend_fsync: only the checkpointer syncs */
    put_count(rows, STAT_BUF_ALLOC, n);
    rows_time(rows, reset[STAT_GROUP_BGWRITER]);
    return 0;
}

static int
fill_wal(struct session *s, struct rows *rows, struct err *e)
{
    uint64_t n[STAT_COUNTS];
    usec_t reset[STAT_GROUPS];

    (void) e;
    stat_read_cluster(s->cfg.stats, n, reset);
    put_counts(rows, STAT_WAL_RECORDS, STAT_WAL_SYNC_TIME, n);
    rows_time(rows, reset[STAT_GROUP_WAL]);
    return 0;
}

static int
fill_archiver(struct session *s, struct rows *rows, struct err *e)
{
    struct stat_archiver a;

    (void) e;
    stat_read_archiver(s->cfg.stats, &a);
    for (uint32_t i = 0; i < STAT_FILES; i++) {
        rows_int(rows, (int64_t) a.n[i]);
        rows_text(rows, a.last[i].name);
        rows_time(rows, a.last[i].when);
    }
    rows_time(rows, a.reset);
    return 0;
}

static const struct session_view views[] = {
    { "pg_stat_database",
      "CREATE TABLE pg_stat_database(datid oid, datname name, numbackends integer, "
      "xact_commit bigint, xact_rollback bigint, blks_read bigint, blks_hit bigint, "
      "tup_returned bigint, tup_fetched bigint, tup_inserted bigint, tup_updated bigint, "
      "tup_deleted bigint, conflicts bigint, temp_files bigint, temp_bytes bigint, "
      "deadlocks bigint, checksum_failures bigint, checksum_last_failure timestamptz, "
      "blk_read_time double precision, blk_write_time double precision, "
      "session_time double precision, active_time double precision, "
      "idle_in_transaction_time double precision, sessions bigint, sessions_abandoned bigint, "
      "sessions_fatal bigint, sessions_killed bigint, stats_reset timestamptz)",
      28, fill_database },
    { "pg_stat_bgwriter",
      "CREATE TABLE pg_stat_bgwriter(checkpoints_timed bigint, checkpoints_req bigint, "
      "checkpoint_write_time double precision, checkpoint_sync_time double precision, "
      "buffers_checkpoint bigint, buffers_clean bigint, maxwritten_clean bigint, "
      "buffers_backend bigint, buffers_backend_fsync bigint, buffers_alloc bigint, "
      "stats_reset timestamptz)",
      11, fill_bgwriter },
    { "pg_stat_wal",
      "CREATE TABLE pg_stat_wal(wal_records bigint, wal_fpi bigint, wal_bytes numeric, "
      "wal_buffers_full bigint, wal_write bigint, wal_sync bigint, "
      "wal_write_time double precision, wal_sync_time double precision, "
      "stats_reset timestamptz)",
      9, fill_wal },
    { "pg_stat_archiver",
      "CREATE TABLE pg_stat_archiver(archived_count bigint, last_archived_wal text, "
      "last_archived_time timestamptz, failed_count bigint, last_failed_wal text, "
      "last_failed_time timestamptz, stats_reset timestamptz)",
      7, fill_archiver },
};

/* ---- resets ---- */

static bool
may_reset(sqlite3_context *ctx, struct session *s, const char *function)
{
    if (s->cfg.role.is_superuser)
        return true;
    (void) ERR(&s->interrupt, INSUFFICIENT_PRIVILEGE, "permission denied for function %s",
               function);
    sqlite3_result_error(ctx, s->interrupt.message, -1);
    return false;
}

static void
fn_reset(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = sqlite3_user_data(ctx);

    (void) n;
    (void) v;
    if (may_reset(ctx, s, "pg_stat_reset"))
        stat_reset_db(s->cfg.stats, s->cfg.db.oid);
}

static void
fn_reset_shared(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = sqlite3_user_data(ctx);
    const char *name = (const char *) sqlite3_value_text(v[0]);
    enum stat_group group = stat_group_of(name != NULL ? name : "");

    (void) n;
    if (name == NULL || !may_reset(ctx, s, "pg_stat_reset_shared"))
        return;
    if (group == STAT_GROUPS || group == STAT_GROUP_DATABASE) {
        (void) ERR(&s->interrupt, INVALID_PARAMETER_VALUE, "unrecognized reset target: \"%s\"",
                   name);
        err_hint(&s->interrupt, "Target must be \"archiver\", \"bgwriter\" or \"wal\".");
        sqlite3_result_error(ctx, s->interrupt.message, -1);
        return;
    }
    stat_reset_cluster(s->cfg.stats, group);
}

/* ---- counting ---- */

void
session_count_rows(const struct session *s, const struct sql_stmt *stmt)
{
    static const struct {
        const char *tag;
        enum stat_id id;
    } kinds[] = { { "INSERT", STAT_TUP_INSERTED },
                  { "UPDATE", STAT_TUP_UPDATED },
                  { "DELETE", STAT_TUP_DELETED } };

    for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
        if (strcmp(stmt->tag, kinds[i].tag) == 0)
            stat_add(s->self, kinds[i].id, (uint64_t) sqlite3_changes64(s->db));
}

void
session_count_temp(const struct session *s)
{
    static struct spill_counts seen; /* of this process, which is one session */
    struct spill_counts now = spill_counts();

    if (now.n_files == seen.n_files && now.n_bytes == seen.n_bytes)
        return;
    stat_add(s->self, STAT_TEMP_FILES, now.n_files - seen.n_files);
    stat_add(s->self, STAT_TEMP_BYTES, now.n_bytes - seen.n_bytes);
    seen = now;
}

int
session_add_stats(struct session *s, struct err *e)
{
    const int flags = SQLITE_UTF8 | SQLITE_DIRECTONLY;
    int r = 0;
    int rc;

    if (s->cfg.stats == NULL)
        return 0;
    for (size_t i = 0; i < ELEMENTSOF(views) && r == 0; i++)
        r = session_add_view(s, &views[i], e);
    if (r < 0)
        return r;
    rc =
        sqlite3_create_function_v2(s->db, "pg_stat_reset", 0, flags, s, fn_reset, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(s->db, "pg_stat_reset_shared", 1, flags, s, fn_reset_shared,
                                        NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
