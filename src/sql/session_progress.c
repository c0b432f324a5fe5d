/* pg_stat_progress_checkpoint, pg_stat_progress_recovery, pg_stat_progress_vacuum.
 *
 * Runs in: backend, inside sqlite3_step(). Owns: nothing. Source: PostgreSQL's progress views for
 * the manner; it has none for the first two. A checkpoint has a row while it runs; what the startup
 * process did keeps its row, for nobody can ask while it works. */
#include <stdio.h>

#include "base/clock.h"
#include "sql/session_rows.h"
#include "store/store_checkpoint.h"

static void
put_lsn(struct rows *rows, lsn_t lsn)
{
    char text[32];

    if (lsn == 0) {
        rows_null(rows);
        return;
    }
    (void) snprintf(text, sizeof text, LSN_FMT, LSN_ARGS(lsn));
    rows_text(rows, text);
}

static void
put_count(struct rows *rows, const _Atomic uint64_t *n)
{
    rows_int(rows, (int64_t) atomic_load_explicit(n, memory_order_relaxed));
}

static void
put_pid(struct rows *rows, const _Atomic int32_t *pid)
{
    int32_t n = atomic_load_explicit(pid, memory_order_relaxed);

    if (n != 0)
        rows_int(rows, n);
    else
        rows_null(rows);
}

static int
fill_checkpoint(struct session *s, struct rows *rows, struct err *e)
{
    const struct shm_status *status = s->st->status;
    const struct shm_checkpoint *c = status != NULL ? &status->checkpoint : NULL;
    uint32_t phase =
        c != NULL ? atomic_load_explicit(&c->phase, memory_order_acquire) : CHECKPOINT_NONE;
    char flags[STORE_FLAGS_BYTES];

    (void) e;
    if (phase == CHECKPOINT_NONE)
        return 0;
    put_pid(rows, &c->pid);
    rows_text(rows, checkpoint_phase_name(phase));
    rows_text(rows,
              store_checkpoint_flags_text(
                  atomic_load_explicit(&status->checkpoint_flags, memory_order_relaxed), flags));
    put_lsn(rows, atomic_load_explicit(&c->redo_lsn, memory_order_relaxed));
    rows_time(rows, atomic_load_explicit(&c->began_usec, memory_order_relaxed));
    put_count(rows, &c->buffers_total);
    put_count(rows, &c->buffers_done);
    put_count(rows, &c->buffers_written);
    put_count(rows, &c->files_total);
    put_count(rows, &c->files_synced);
    return 0;
}

/* Milliseconds; NULL: the pass did not run. */
static void
put_pass(struct rows *rows, const struct shm_startup *s, enum startup_pass pass, usec_t now)
{
    if (atomic_load_explicit(&s->began_usec[pass], memory_order_relaxed) == 0)
        rows_null(rows);
    else
        rows_real(rows, (double) startup_pass_usec(s, pass, now) / (double) USEC_PER_MSEC);
}

static int
fill_recovery(struct session *s, struct rows *rows, struct err *e)
{
    const struct shm_status *status = s->st->status;
    const struct shm_startup *startup = status != NULL ? &status->startup : NULL;
    usec_t now = clock_mono_usec();
    uint32_t pass = STARTUP_NOT_BEGUN;

    (void) e;
    if (startup != NULL)
        pass = atomic_load_explicit(&startup->pass, memory_order_relaxed);
    if (pass == STARTUP_NOT_BEGUN)
        return 0;
    put_pid(rows, &startup->pid);
    rows_text(rows, startup_pass_name(pass));
    put_lsn(rows, atomic_load_explicit(&status->redo_from_lsn, memory_order_relaxed));
    put_lsn(rows, atomic_load_explicit(&status->redo_lsn, memory_order_relaxed));
    put_lsn(rows, atomic_load_explicit(&status->redo_end_lsn, memory_order_relaxed));
    put_count(rows, &startup->blocks_total);
    put_count(rows, &startup->blocks_done);
    rows_int(rows, atomic_load_explicit(&startup->n_refused, memory_order_relaxed));
    for (enum startup_pass p = STARTUP_REDO; p < STARTUP_DONE; p++)
        put_pass(rows, startup, p, now);
    return 0;
}

/* Of PostgreSQL's columns those of dead tuples and indexes mean nothing here. */
static int
fill_vacuum(struct session *s, struct rows *rows, struct err *e)
{
    static const char *const phases[] = {
        [VACUUM_NONE] = "", [VACUUM_INIT] = "initializing", [VACUUM_HEAP] = "vacuuming heap"
    };
    uint32_t n;
    const struct slot *slots = session_slots(s, &n);
    struct slot copy;

    (void) e;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t phase = atomic_load_explicit(&slots[i].vacuum, memory_order_acquire);

        if (phase == VACUUM_NONE || phase >= ELEMENTSOF(phases) || !slot_copy(&slots[i], &copy))
            continue;
        rows_int(rows, copy.pid);
        rows_int(rows, copy.db_oid);
        rows_text(rows, copy.db_name);
        rows_null(rows); /* relid: free pages are the database's */
        rows_text(rows, phases[phase]);
        put_count(rows, &slots[i].vacuum_total);
        put_count(rows, &slots[i].vacuum_done);
        put_count(rows, &slots[i].vacuum_done);
        rows_int(rows, 0);
        rows_null(rows);
        rows_null(rows);
    }
    return 0;
}

static const struct session_view views[] = {
    { "pg_stat_progress_checkpoint",
      "CREATE TABLE pg_stat_progress_checkpoint(pid integer, phase text, flags text, "
      "start_lsn pg_lsn, start_time timestamptz, buffers_total bigint, buffers_processed bigint, "
      "buffers_written bigint, files_total bigint, files_synced bigint)",
      10, fill_checkpoint },
    { "pg_stat_progress_recovery",
      "CREATE TABLE pg_stat_progress_recovery(pid integer, phase text, start_lsn pg_lsn, "
      "current_lsn pg_lsn, end_lsn pg_lsn, blocks_total bigint, blocks_done bigint, "
      "databases_refused bigint, "
      "redo_time double precision, resolve_time double precision, settle_time double precision, "
      "verify_time double precision)",
      12, fill_recovery },
    { "pg_stat_progress_vacuum",
      "CREATE TABLE pg_stat_progress_vacuum(pid integer, datid oid, datname name, relid oid, "
      "phase text, heap_blks_total bigint, heap_blks_scanned bigint, heap_blks_vacuumed bigint, "
      "index_vacuum_count bigint, max_dead_tuples bigint, num_dead_tuples bigint)",
      11, fill_vacuum },
};

int
session_add_progress(struct session *s, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(views) && r == 0; i++)
        r = session_add_view(s, &views[i], e);
    return r;
}
