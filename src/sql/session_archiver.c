/* pg_stat_archiver.
 *
 * Runs in: backend, inside sqlite3_step(). Reads the archiver's counters without a lock. Source:
 * PostgreSQL 15's documentation of the view. */
#include <stdatomic.h>

#include "sql/session_rows.h"

static void
put_count(struct rows *rows, const struct archive_seen *c)
{
    rows_int(rows, (int64_t) c->n);
    rows_text(rows, c->last_name);
    rows_time(rows, c->last_usec);
}

static int
fill_archiver(struct session *s, struct rows *rows, struct err *e)
{
    const struct shm_status *status = s->st->status;
    struct archive_seen archived = { 0 };
    struct archive_seen failed = { 0 };
    usec_t since = 0;

    (void) e;
    if (status != NULL) {
        archived = archive_count_read(&status->archive.archived);
        failed = archive_count_read(&status->archive.failed);
        since = atomic_load_explicit(&status->archive.since_usec, memory_order_relaxed);
    }
    put_count(rows, &archived);
    put_count(rows, &failed);
    rows_time(rows, since);
    return 0;
}

static const struct session_view archiver_view = {
    .name = "pg_stat_archiver",
    .declaration = "CREATE TABLE pg_stat_archiver(archived_count bigint, last_archived_wal text, "
                   "last_archived_time timestamptz, failed_count bigint, last_failed_wal text, "
                   "last_failed_time timestamptz, stats_reset timestamptz)",
    .n_cols = 7,
    .fill = fill_archiver,
};

int
session_add_archiver(struct session *s, struct err *e)
{
    return session_add_view(s, &archiver_view, e);
}
