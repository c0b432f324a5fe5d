/* VACUUM: the free pages of the database go back to the file system, in many small transactions.
 * Each moves some pages from the end of the file into free ones and shortens it; between two of
 * them other writers have their turn. Readers are not affected: what they see are versions.
 *
 * Runs in: backend. Source: PostgreSQL's plain VACUUM (does not block, may be stopped at any time);
 * SQLite's incremental_vacuum (auto_vacuum is INCREMENTAL in our files), sqlite-vfs 5.11. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "shm/wait.h"
#include "sql/session_int.h"

/* Pages per transaction: at first, and at most and at least. One that took longer than it should
 * is followed by a smaller one, so that nobody waits long for the writer lock. */
#define STEP_PAGES     64
#define STEP_PAGES_MIN 4
#define HOLD_LONG_USEC (10 * USEC_PER_MSEC)
#define HOLD_FAST_USEC (3 * USEC_PER_MSEC)

int
session_read_number(struct session *s, const char *sql, const char *p1, int64_t *ret, struct err *e)
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
    int r = session_read_number(
        s,
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

int
session_step(struct session *s, const char *sql, usec_t *ret_held, struct err *e)
{
    int r = self_check(s->self, e);
    usec_t since;

    if (r == 0)
        r = session_enter_write(s, e);
    since = clock_mono_usec();
    if (r == 0)
        r = session_exec(s, sql, e);
    if (r == 0)
        r = session_exec(s, "COMMIT", e);
    if (r == 0)
        s->in_sqlite = false;
    session_drop_idle_writer(s);
    *ret_held = clock_mono_usec() - since;
    return r;
}

void
session_holds_add(struct session_holds *h, usec_t held)
{
    h->longest = MAX(h->longest, held);
    h->n++;
    h->in[MIN(held / SESSION_HOLD_STEP_USEC, SESSION_HOLD_STEPS - 1)]++;
}

usec_t
session_holds_p99(const struct session_holds *h)
{
    uint64_t seen = 0;

    for (uint32_t i = 0; i + 1 < SESSION_HOLD_STEPS; i++) {
        seen += h->in[i];
        if (seen * 100 >= (uint64_t) h->n * 99)
            return MIN((i + 1) * SESSION_HOLD_STEP_USEC, h->longest);
    }
    return h->longest;
}

/* How many pages next, after a step of n that held the lock for so long. Pure. */
static int64_t
next_step(int64_t n, usec_t held)
{
    if (held > HOLD_LONG_USEC)
        return MAX(n / 2, STEP_PAGES_MIN);
    return held < HOLD_FAST_USEC ? MIN(n * 2, STEP_PAGES) : n;
}

int
session_pause(struct session *s, usec_t usec, struct err *e)
{
    usec_t until = clock_mono_usec() + usec;
    _Atomic uint32_t nobody = 0;
    int r = 0;

    while (r == 0 && clock_mono_usec() < until)
        r = MIN(wait_sleep(s->self, &nobody, 0, until, WAIT_VACUUM_DELAY, e), 0);
    return r;
}

/* For pg_stat_progress_vacuum. */
static void
show(struct session *s, enum slot_vacuum phase, int64_t total, int64_t done)
{
    struct slot *slot = s->self->slot;

    if (slot == NULL)
        return;
    atomic_store_explicit(&slot->vacuum_total, (uint64_t) MAX(total, 0), memory_order_relaxed);
    atomic_store_explicit(&slot->vacuum_done, (uint64_t) done, memory_order_relaxed);
    atomic_store_explicit(&slot->vacuum, phase, memory_order_release);
}

static int
give_back(struct session *s, int64_t keep, usec_t pause, struct session_upkeep_done *ret,
          struct err *e)
{
    int64_t left = 0;
    int64_t step = STEP_PAGES;
    int r = session_read_number(s, "PRAGMA freelist_count", NULL, &left, e);
    int64_t total = left - keep;

    ret->free_before = left;
    left -= keep;
    show(s, VACUUM_HEAP, total, 0);
    while (r == 0 && left > 0) {
        int64_t n = MIN(left, step);
        char sql[64];
        usec_t held = 0;

        (void) snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%d)", (int) n);
        r = session_step(s, sql, &held, e);
        session_holds_add(&ret->holds, held);
        ret->n_steps++;
        ret->n_pages += r == 0 ? n : 0;
        left -= n;
        show(s, VACUUM_HEAP, total, total - left);
        step = next_step(step, held);
        if (r == 0 && pause > 0)
            r = session_pause(s, pause, e);
    }
    return r;
}

int
session_give_back(struct session *s, int64_t keep, usec_t pause, struct session_upkeep_done *ret,
                  struct err *e)
{
    int r;

    show(s, VACUUM_INIT, 0, 0);
    r = give_back(s, keep, pause, ret, e);
    show(s, VACUUM_NONE, 0, 0);
    return r;
}

static int
analyze(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    bool has_table = stmt->name[0] != '\0' && strcmp(stmt->name, "main") != 0;
    char *sql = has_table ? sqlite3_mprintf("ANALYZE main.\"%w\"", stmt->name)
                          : sqlite3_mprintf("ANALYZE main");
    usec_t held;
    int r = sql == NULL ? ERR(e, OUT_OF_MEMORY, "out of memory") : session_step(s, sql, &held, e);

    sqlite3_free(sql);
    return r;
}

static int
tell(struct session *s, int64_t before, const struct session_sink *sink, struct err *e)
{
    int64_t after = 0;
    int64_t pages = 0;
    char text[200];
    int r = session_read_number(s, "PRAGMA freelist_count", NULL, &after, e);

    if (r == 0)
        r = session_read_number(s, "PRAGMA page_count", NULL, &pages, e);
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
    struct session_upkeep_done done = { .n_pages = 0 };
    int r = check(s, stmt, e);

    if (r == 0)
        r = session_give_back(s, 0, 0, &done, e);
    if (r == 0 && stmt->vacuum_analyze)
        r = analyze(s, stmt, e);
    if (r == 0 && stmt->vacuum_verbose)
        r = tell(s, done.free_before, sink, e);
    return r;
}
