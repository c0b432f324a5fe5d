/* VACUUM: the free pages of the database go back to the file system, in many small transactions.
 * Each moves some pages from the end of the file into free ones and shortens it; between two of
 * them other writers have their turn. Readers are not affected: what they see are versions.
 *
 * Runs in: backend. Source: PostgreSQL's plain VACUUM (does not block, may be stopped at any time);
 * SQLite's incremental_vacuum (auto_vacuum is INCREMENTAL in our files), sqlite-vfs 5.11. */
#include <stdio.h>
#include <string.h>

#include "sql/session_int.h"

/* Pages per transaction: some milliseconds of the writer lock, also when pages come from disk. */
#define STEP_PAGES 64

/* One number by one of our own statements. */
static int
read_number(struct session *s, const char *sql, const char *p1, int64_t *ret, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    int rc;
    int r = 0;

    s->is_internal = true;
    rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK && p1 != NULL)
        rc = sqlite3_bind_text(stmt, 1, p1, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    s->is_internal = false;
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(stmt, 0);
    else if (rc != SQLITE_DONE)
        r = session_failed(s, rc, true, e);
    (void) sqlite3_finalize(stmt);
    return r;
}

/* The table is only a name to check: free pages belong to the database. SQLite's VACUUM takes the
 * name of a schema there. */
static int
check_table(struct session *s, const char *name, struct err *e)
{
    int64_t n = 0;
    int r = read_number(s,
                        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = "
                        "?1 COLLATE NOCASE",
                        name, &n, e);

    if (r == 0 && n == 0 && strcmp(name, "main") != 0)
        r = ERR(e, UNDEFINED_TABLE, "relation \"%s\" does not exist", name);
    return r;
}

static int
check(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    int r = session_check_alone(s, "VACUUM", e);

    if (r < 0)
        return r;
    if (s->read_only)
        return ERR(e, READ_ONLY_SQL_TRANSACTION,
                   "cannot execute VACUUM in a read-only transaction");
    if (stmt->vacuum_full) {
        (void) ERR(e, FEATURE_NOT_SUPPORTED, "VACUUM FULL is not supported");
        err_hint(e,
                 "VACUUM gives all free pages back to the file system without blocking anybody.");
        return -ERR_FEATURE_NOT_SUPPORTED;
    }
    return stmt->name[0] != '\0' ? check_table(s, stmt->name, e) : 0;
}

/* A write transaction of its own, under the writer lock from its begin to its commit. A failure
 * leaves it to session_fail() to roll it back: what was committed before stays. */
static int
in_transaction(struct session *s, const char *sql, struct err *e)
{
    int r = self_check(s->self, e);

    if (r == 0)
        r = session_enter_write(s, e);
    if (r == 0)
        r = session_exec(s, sql, e);
    if (r == 0)
        r = session_exec(s, "COMMIT", e);
    if (r == 0)
        s->in_sqlite = false;
    session_drop_idle_writer(s);
    return r;
}

/* As many pages as were free at the start; what others free meanwhile is for the next VACUUM. */
static int
give_back(struct session *s, int64_t *ret_before, struct err *e)
{
    int64_t left = 0;
    int r = read_number(s, "PRAGMA freelist_count", NULL, &left, e);

    *ret_before = left;
    while (r == 0 && left > 0) {
        char sql[64];

        (void) snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%d)",
                        (int) MIN(left, STEP_PAGES));
        r = in_transaction(s, sql, e);
        left -= STEP_PAGES;
    }
    return r;
}

static int
analyze(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    bool has_table = stmt->name[0] != '\0' && strcmp(stmt->name, "main") != 0;
    char *sql = has_table ? sqlite3_mprintf("ANALYZE main.\"%w\"", stmt->name)
                          : sqlite3_mprintf("ANALYZE main");
    int r = sql == NULL ? ERR(e, OUT_OF_MEMORY, "out of memory") : in_transaction(s, sql, e);

    sqlite3_free(sql);
    return r;
}

static int
tell(struct session *s, int64_t before, const struct session_sink *sink, struct err *e)
{
    int64_t after = 0;
    int64_t pages = 0;
    char text[200];
    int r = read_number(s, "PRAGMA freelist_count", NULL, &after, e);

    if (r == 0)
        r = read_number(s, "PRAGMA page_count", NULL, &pages, e);
    if (r < 0)
        return r;
    (void) snprintf(
        text, sizeof text,
        "vacuumed database \"%.64s\": %lld free pages before, %lld after, %lld pages in "
        "all",
        s->cfg.db.name, (long long) before, (long long) after, (long long) pages);
    session_notice(sink, "INFO", ERR_SUCCESS, text);
    return 0;
}

int
session_vacuum(struct session *s, const struct sql_stmt *stmt, const struct session_sink *sink,
               struct err *e)
{
    int64_t before = 0;
    int r = check(s, stmt, e);

    if (r == 0)
        r = give_back(s, &before, e);
    if (r == 0 && stmt->vacuum_analyze)
        r = analyze(s, stmt, e);
    if (r == 0 && stmt->vacuum_verbose)
        r = tell(s, before, sink, e);
    return r;
}
