/* pg_stat_archiver as a table of SQLite (eponymous, read-only, one row).
 *
 * Runs in: backend, inside sqlite3_step(). Reads the archiver's counters without a lock. Source:
 * PostgreSQL 15's documentation of the view. */
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "sql/session_int.h"

enum column {
    COL_ARCHIVED_COUNT,
    COL_LAST_ARCHIVED_WAL,
    COL_LAST_ARCHIVED_TIME,
    COL_FAILED_COUNT,
    COL_LAST_FAILED_WAL,
    COL_LAST_FAILED_TIME,
    COL_STATS_RESET,
};

static const char declaration[] =
    "CREATE TABLE pg_stat_archiver(archived_count bigint, last_archived_wal text, "
    "last_archived_time timestamptz, failed_count bigint, last_failed_wal text, "
    "last_failed_time timestamptz, stats_reset timestamptz)";

struct archiver_table {
    sqlite3_vtab base; /* first: SQLite casts */
    const struct session *s;
};

struct archiver_cursor {
    sqlite3_vtab_cursor base; /* first: SQLite casts */
    struct archive_seen archived, failed;
    usec_t since;
    bool is_over;
};

static int
archiver_connect(sqlite3 *db, void *arg, int argc, const char *const *argv, sqlite3_vtab **ret,
                 char **ret_message)
{
    struct archiver_table *t;
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
    *t = (struct archiver_table){ .s = arg };
    *ret = &t->base;
    return SQLITE_OK;
}

static int
archiver_disconnect(sqlite3_vtab *vtab)
{
    sqlite3_free(vtab);
    return SQLITE_OK;
}

static int
archiver_best_index(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
    (void) vtab;
    info->estimatedCost = 1;
    info->estimatedRows = 1;
    return SQLITE_OK;
}

static int
archiver_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **ret)
{
    struct archiver_cursor *c = sqlite3_malloc(sizeof *c);

    (void) vtab;
    if (c == NULL)
        return SQLITE_NOMEM;
    *c = (struct archiver_cursor){ .is_over = true };
    *ret = &c->base;
    return SQLITE_OK;
}

static int
archiver_close(sqlite3_vtab_cursor *cursor)
{
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static int
archiver_filter(sqlite3_vtab_cursor *cursor, int idx, const char *text, int argc,
                sqlite3_value **argv)
{
    struct archiver_cursor *c = (struct archiver_cursor *) (void *) cursor;
    const struct archiver_table *t = (const struct archiver_table *) (void *) cursor->pVtab;
    const struct shm_status *status = t->s->st->status;

    (void) idx;
    (void) text;
    (void) argc;
    (void) argv;
    c->is_over = false;
    if (status == NULL)
        return SQLITE_OK;
    c->archived = archive_count_read(&status->archive.archived);
    c->failed = archive_count_read(&status->archive.failed);
    c->since = atomic_load_explicit(&status->archive.since_usec, memory_order_relaxed);
    return SQLITE_OK;
}

static int
archiver_next(sqlite3_vtab_cursor *cursor)
{
    ((struct archiver_cursor *) (void *) cursor)->is_over = true;
    return SQLITE_OK;
}

static int
archiver_eof(sqlite3_vtab_cursor *cursor)
{
    return ((const struct archiver_cursor *) (const void *) cursor)->is_over;
}

/* ---- values; "" and 0 are NULL ---- */

static void
put_name(sqlite3_context *ctx, const char *name)
{
    if (name[0] != '\0')
        sqlite3_result_text(ctx, name, -1, SQLITE_TRANSIENT);
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
    sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
}

static int
archiver_column(sqlite3_vtab_cursor *cursor, sqlite3_context *ctx, int col)
{
    const struct archiver_cursor *c = (const struct archiver_cursor *) (const void *) cursor;

    switch ((enum column) col) {
    case COL_ARCHIVED_COUNT:
        sqlite3_result_int64(ctx, (int64_t) c->archived.n);
        break;
    case COL_LAST_ARCHIVED_WAL:
        put_name(ctx, c->archived.last_name);
        break;
    case COL_LAST_ARCHIVED_TIME:
        put_time(ctx, c->archived.last_usec);
        break;
    case COL_FAILED_COUNT:
        sqlite3_result_int64(ctx, (int64_t) c->failed.n);
        break;
    case COL_LAST_FAILED_WAL:
        put_name(ctx, c->failed.last_name);
        break;
    case COL_LAST_FAILED_TIME:
        put_time(ctx, c->failed.last_usec);
        break;
    case COL_STATS_RESET:
        put_time(ctx, c->since);
        break;
    }
    return SQLITE_OK;
}

static int
archiver_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
    (void) cursor;
    *ret = 1;
    return SQLITE_OK;
}

/* No xCreate: it is there in every database, and cannot be made or dropped. */
static const sqlite3_module archiver_module = {
    .xConnect = archiver_connect,
    .xBestIndex = archiver_best_index,
    .xDisconnect = archiver_disconnect,
    .xOpen = archiver_open,
    .xClose = archiver_close,
    .xFilter = archiver_filter,
    .xNext = archiver_next,
    .xEof = archiver_eof,
    .xColumn = archiver_column,
    .xRowid = archiver_rowid,
};

int
session_add_archiver(struct session *s, struct err *e)
{
    int rc = sqlite3_create_module_v2(s->db, "pg_stat_archiver", &archiver_module, s, NULL);

    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
