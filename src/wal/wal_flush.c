/* Making the log durable: one leader writes and syncs for all who wait (group commit).
 *
 * Runs in: every process that waits for durability; walwriter. Owns: the writing half of struct
 * wal_shared, this process' segment descriptor. Source: engine-rules WAL-4, -5, -6; the idea of
 * XLogFlush, PostgreSQL 15. */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "wal/wal_shared.h"

#define SLOT_SPINS     200
#define SLOT_LOG_AFTER USEC_PER_SEC
#define SLOT_LOG_EVERY (10 * USEC_PER_SEC)

lsn_t
wal_durable(const struct wal *w)
{
    return atomic_load_explicit(&w->sh->durable, memory_order_acquire);
}

/* ---- slots ---- */

static lsn_t
slot_min_owner(const struct wal *w, lsn_t none, uint32_t *ret_procno)
{
    const struct wal_slot *slots = wal_slots(w);
    uint32_t top = atomic_load_explicit(&w->sh->slot_top, memory_order_acquire);
    lsn_t min = none;

    for (uint32_t i = 0; i < top; i++) {
        lsn_t at = atomic_load_explicit(&slots[i].inserting, memory_order_acquire);

        if (at != 0 && at < min) {
            min = at;
            *ret_procno = i;
        }
    }
    return min;
}

lsn_t
wal_slot_min(const struct wal *w, lsn_t none)
{
    uint32_t procno;

    return slot_min_owner(w, none, &procno);
}

void
wal_slot_moved(struct wal *w)
{
    atomic_thread_fence(
        memory_order_seq_cst); /* pairs with slot_sleep(): our slot, then the waiters */
    if (atomic_load_explicit(&w->sh->slot_waiters, memory_order_relaxed) == 0)
        return;
    (void) atomic_fetch_add_explicit(&w->sh->slot_word, 1, memory_order_release);
    wait_wake(&w->sh->slot_word, WAIT_ALL);
}

static void
log_slow_slot(const struct wal *w, uint32_t procno, usec_t waited)
{
    int pid = 0;

    if (w->self->slot != NULL) {
        const struct slot *slots = w->self->slot - w->self->procno;

        pid = atomic_load_explicit(&slots[procno].pid, memory_order_relaxed);
    }
    log_msg(LOG_LEVEL_LOG,
            "flush of the write-ahead log waits for process %d to publish its commit, for %" PRIu64
            " ms",
            pid, waited / USEC_PER_MSEC);
}

/* Wait until every slot is 0 or ≥ upto (WAL-6). Holds no lock from WAL_WRITE up. */
static void
wait_for_slots(struct wal *w, lsn_t upto)
{
    struct wal_shared *sh = w->sh;
    usec_t began = 0;
    usec_t logged = 0;

    for (unsigned i = 0;; i++) {
        uint32_t procno = 0;
        uint32_t seen = atomic_load_explicit(&sh->slot_word, memory_order_acquire);

        if (slot_min_owner(w, upto, &procno) >= upto)
            return;
        if (i < SLOT_SPINS) {
            (void) sched_yield();
            continue;
        }
        usec_t now = clock_mono_usec();

        if (began == 0)
            began = logged = now;
        if (now - began >= SLOT_LOG_AFTER && (logged == began || now - logged >= SLOT_LOG_EVERY)) {
            logged = now;
            log_slow_slot(w, procno, now - began);
        }
        (void) atomic_fetch_add_explicit(&sh->slot_waiters, 1, memory_order_seq_cst);
        atomic_thread_fence(memory_order_seq_cst);
        if (slot_min_owner(w, upto, &procno) < upto) {
            self_hold(w->self);
            (void) wait_sleep(w->self, &sh->slot_word, seen, now + 100 * USEC_PER_MSEC,
                              WAIT_WAL_PUBLISH, NULL);
            self_resume(w->self);
        }
        (void) atomic_fetch_sub_explicit(&sh->slot_waiters, 1, memory_order_seq_cst);
    }
}

/* ---- groups ----
 *
 * WAL_WRITE is only tried. Who finds it taken sleeps: in the group of the flush in progress if that
 * one goes far enough, else in the next one's. At the end of flush n all of group n are woken, and
 * one of group n + 1, who leads it; the others of that group sleep on until it is done. So who was
 * woken, finds that flush n + 1 has not begun, and goes without leading it must wake the next. */

static struct wal_group *
group_of(const struct wal *w, uint32_t n)
{
    return &w->sh->group[n % 2];
}

static void
group_wake(struct wal_group *g, uint32_t n)
{
    (void) atomic_fetch_add_explicit(&g->word, 1, memory_order_release);
    atomic_thread_fence(
        memory_order_seq_cst); /* pairs with group_sleep(): the word, the sleepers */
    if (atomic_load_explicit(&g->sleepers, memory_order_relaxed) > 0)
        wait_wake(&g->word, n);
}

static void
group_sleep(struct wal *w, struct wal_group *g, uint32_t seen, enum wait_event why)
{
    (void) atomic_fetch_add_explicit(&g->sleepers, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    (void) wait_sleep(w->self, &g->word, seen, 0, why, NULL);
    (void) atomic_fetch_sub_explicit(&g->sleepers, 1, memory_order_relaxed);
}

/* What a process has seen before it tried the lock, so that its end is not missed. */
struct turn {
    uint32_t words[2];
    uint32_t n; /* flush for which it has slept */
    bool has_slept;
};

static void
turn_look(const struct wal *w, struct turn *t)
{
    for (uint32_t i = 0; i < 2; i++)
        t->words[i] = atomic_load_explicit(&w->sh->group[i].word, memory_order_acquire);
}

/* The lock was taken. */
static void
turn_wait(struct wal *w, struct turn *t, lsn_t upto, enum wait_event why)
{
    uint32_t n = atomic_load_explicit(&w->sh->flushes, memory_order_acquire);

    if (upto > atomic_load_explicit(&w->sh->flush_limit, memory_order_relaxed))
        n++;
    t->n = n;
    t->has_slept = true;
    group_sleep(w, group_of(w, n), t->words[n % 2], why);
}

/* What was waited for is there. */
static void
turn_pass(struct wal *w, const struct turn *t)
{
    uint32_t begun = atomic_load_explicit(&w->sh->flushes, memory_order_acquire);

    if (t->has_slept && (int32_t) (begun - t->n) < 0)
        group_wake(group_of(w, t->n), 1);
}

/* ---- writing; all under lock WAL_WRITE ---- */

NORETURN static void
fail(struct wal *w, struct err *e)
{
    /* WAL-5: whoever waits must see it, and nobody may ever hold the write lock again. */
    atomic_store_explicit(&w->sh->failed, 1, memory_order_release);
    group_wake(&w->sh->group[0], WAIT_ALL);
    group_wake(&w->sh->group[1], WAIT_ALL);
    err_hint(e, "The server restarts from the log. Check the disk under pg_wal.");
    log_panic(e);
}

static void
check_failed(const struct wal *w)
{
    if (atomic_load_explicit(&w->sh->failed, memory_order_acquire) != 0)
        log_panicf("the write-ahead log could not be written by another process");
}

static void
sync_segment(struct wal *w, struct err *e)
{
    int r = FAULT(WAL_FLUSH_BEFORE_SYNC);
    usec_t start = clock_mono_usec();

    if (r == 0)
        r = io_fdatasync(w->io, w->seg_fd);
    stat_add(w->self, STAT_WAL_SYNC, 1);
    stat_add(w->self, STAT_WAL_SYNC_TIME, clock_mono_usec() - start);
    if (r == 0)
        r = FAULT(WAL_FLUSH_AFTER_SYNC);
    if (r < 0) {
        (void) err_set_errno(e, -r, "could not sync the write-ahead log");
        fail(w, e);
    }
}

/* Let w->seg_fd be the segment that holds `at`. */
static void
open_segment(struct wal *w, lsn_t at, struct err *e)
{
    uint64_t segno = wal_segno(at, w->cfg.segsize);
    char path[WAL_SEGMENT_PATH_BYTES];

    if (w->seg_fd >= 0 && w->seg_no == segno && w->seg_tli == wal_tli(w))
        return;
    if (w->seg_fd >= 0)
        (void) io_close(w->io, w->seg_fd);
    wal_segment_path(path, wal_tli(w), segno, w->cfg.segsize);
    w->seg_fd = io_open(w->io, path, O_RDWR, 0);
    w->seg_no = segno;
    w->seg_tli = wal_tli(w);
    if (w->seg_fd < 0) {
        (void) err_set_errno(e, -w->seg_fd, "could not open write-ahead log file \"%s\"", path);
        fail(w, e);
    }
}

static void
write_bytes(struct wal *w, const void *p, size_t n, lsn_t at, struct err *e)
{
    ssize_t r = FAULT(WAL_WRITE);
    usec_t start = clock_mono_usec();

    if (r == 0)
        r = io_pwrite(w->io, w->seg_fd, p, n, wal_segment_offset(at, w->cfg.segsize));
    stat_add(w->self, STAT_WAL_WRITE, 1);
    stat_add(w->self, STAT_WAL_WRITE_TIME, clock_mono_usec() - start);
    if (r < 0) {
        (void) err_set_errno(e, (int) -r, "could not write the write-ahead log at " LSN_FMT,
                             LSN_ARGS(at));
        fail(w, e);
    }
}

/* Write [at, upto), which lies in one page. The first write of a page carries zeros up to its end,
 * so that nothing stale of a recycled segment stays behind the last record (wal-format 1.13). */
static void
write_part(struct wal *w, lsn_t at, lsn_t upto, struct err *e)
{
    const uint8_t *page = wal_ring_page(w, wal_page_start(at));
    uint32_t off = wal_page_offset(at);
    uint32_t n = (uint32_t) (upto - at);
    uint8_t whole[WAL_PAGE_BYTES];

    if (off != 0 || n == WAL_PAGE_BYTES) {
        write_bytes(w, page + off, n, at, e);
        return;
    }
    memcpy(whole, page, n);
    memset(whole + n, 0, WAL_PAGE_BYTES - n);
    write_bytes(w, whole, WAL_PAGE_BYTES, at, e);
}

/* Bytes from `at` on that can go out in one call: whole pages, neighbours in ring and file. */
static uint64_t
run_bytes(const struct wal *w, lsn_t at, lsn_t upto)
{
    uint64_t in_ring =
        (w->cfg.n_buffers - at / WAL_PAGE_BYTES % w->cfg.n_buffers) * (uint64_t) WAL_PAGE_BYTES;
    uint64_t in_segment = w->cfg.segsize - wal_segment_offset(at, w->cfg.segsize);
    uint64_t wanted = (upto - at) / WAL_PAGE_BYTES * WAL_PAGE_BYTES;

    return MIN(wanted, MIN(in_ring, in_segment));
}

/* The segment that ends here is whole and durable. It is marked when the lock is gone. */
static void
note_finished(struct wal *w, lsn_t end)
{
    atomic_store_explicit(&w->sh->switched_usec, clock_mono_usec(), memory_order_relaxed);
    if (!w->cfg.archiving)
        return;
    if (w->finished_to == 0)
        w->finished_from = end - w->cfg.segsize;
    w->finished_to = end;
}

/* Write from `written` up to `upto`. A segment that is left behind is synced on the way if `sync`.
 */
static void
write_upto(struct wal *w, lsn_t upto, struct err *e)
{
    lsn_t at = atomic_load_explicit(&w->sh->written, memory_order_relaxed);

    while (at < upto) {
        lsn_t page_end = wal_page_start(at) + WAL_PAGE_BYTES;
        lsn_t to;

        open_segment(w, at, e);
        if (wal_page_offset(at) == 0 && upto >= page_end) {
            to = at + run_bytes(w, at, upto);
            write_bytes(w, wal_ring_page(w, at), to - at, at, e);
        } else {
            to = MIN(upto, page_end);
            write_part(w, at, to, e);
        }
        if (wal_segment_offset(to, w->cfg.segsize) == 0) {
            sync_segment(w, e); /* the last chance on this descriptor */
            note_finished(w, to);
        }
        at = to;
        atomic_store_explicit(&w->sh->written, at, memory_order_release);
        if (w->status != NULL)
            atomic_store_explicit(&w->status->write_lsn, at, memory_order_relaxed);
    }
}

/* How far may be written: below every slot (WAL-6). Read before the write lock is taken: the lock
 * of the insert position is an outer one. */
static lsn_t
write_limit(const struct wal *w)
{
    lsn_t end =
        wal_insert_end(w); /* first the end, then the slots: what lies below it has its slot set */
    lsn_t min = wal_slot_min(w, end);

    /* A slot at a page's first record stands behind the header, whose buffer the inserter may not
     * have made yet: as an end it is the page boundary. */
    return wal_usable_to_end(wal_usable_of(min, w->cfg.segsize), w->cfg.segsize);
}

/* After a flush, or writing without one: nobody sleeps for its end then. */
static void
write_unlock(struct wal *w, bool was_flush)
{
    uint32_t n = atomic_load_explicit(&w->sh->flushes, memory_order_relaxed);

    rwlock_drop_exclusive(w->self, &w->sh->write, LOCK_WAL_WRITE);
    group_wake(group_of(w, n + 1), 1); /* first, for the disk is idle */
    if (was_flush)
        group_wake(group_of(w, n), WAIT_ALL);
}

/* Leader: under the write lock, write and sync up to `limit`. */
static void
flush_locked(struct wal *w, lsn_t limit)
{
    struct wal_shared *sh = w->sh;
    struct err e = ERR_INIT;

    limit = MAX(limit, atomic_load_explicit(&sh->written, memory_order_relaxed));
    atomic_store_explicit(&sh->flush_limit, limit, memory_order_relaxed);
    (void) atomic_fetch_add_explicit(&sh->flushes, 1, memory_order_release);
    write_upto(w, limit, &e);
    if (limit > wal_durable(w)) {
        if (wal_segment_offset(limit, w->cfg.segsize) != 0) {
            open_segment(w, limit - 1, &e); /* written by another process, perhaps */
            sync_segment(w, &e);
        }
        atomic_store_explicit(&sh->durable, limit, memory_order_release); /* WAL-4 */
        if (w->status != NULL)
            atomic_store_explicit(&w->status->flush_lsn, limit, memory_order_relaxed);
    }
}

/* One try. True: it is done, or was. */
static bool
flush_or_wait(struct wal *w, lsn_t upto, struct turn *t)
{
    bool leads;

    turn_look(w, t);
    check_failed(w);
    if (wal_durable(w) >= upto) {
        turn_pass(w, t);
        return true;
    }
    lsn_t limit = write_limit(w);

    if (!rwlock_try_exclusive(w->self, &w->sh->write, LOCK_WAL_WRITE)) {
        turn_wait(w, t, upto, WAIT_WAL_FLUSH);
        return false;
    }
    leads = wal_durable(w) < upto;
    if (leads)
        flush_locked(w, limit);
    write_unlock(w, leads);
    ASSERT(wal_durable(w) >= upto);
    if (w->on_durable != NULL)
        w->on_durable(w->on_durable_arg, wal_durable(w));
    wal_announce(w);
    return true;
}

void
wal_flush(struct wal *w, lsn_t upto)
{
    struct turn turn = { 0 };

    wal_announce(w); /* what we had to write for want of buffers */
    if (wal_durable(w) >= upto)
        return;
    self_hold(w->self); /* INT-1: the wait for the local flush is not interrupted */
    wait_for_slots(w, upto);
    while (!flush_or_wait(w, upto, &turn))
        ;
    self_resume(w->self);
}

/* Whole pages below `limit`, without sync. */
static uint64_t
write_whole_pages(struct wal *w, lsn_t limit)
{
    struct err e = ERR_INIT;
    lsn_t from = atomic_load_explicit(&w->sh->written, memory_order_acquire);

    limit = wal_page_start(limit);

    if (limit > from)
        write_upto(w, limit, &e);
    return limit > from ? limit - from : 0;
}

uint64_t
wal_write_background(struct wal *w)
{
    lsn_t limit = write_limit(w);
    uint64_t n;

    check_failed(w);
    if (!rwlock_try_exclusive(w->self, &w->sh->write, LOCK_WAL_WRITE))
        return 0;
    n = write_whole_pages(w, limit);
    write_unlock(w, false);
    wal_announce(w);
    return n;
}

void
wal_write_for_space(struct wal *w, lsn_t upto)
{
    _Atomic lsn_t *written = &w->sh->written;
    struct turn turn = { 0 };

    if (atomic_load_explicit(written, memory_order_acquire) >= upto)
        return;
    stat_add(w->self, STAT_WAL_BUFFERS_FULL, 1);
    wait_for_slots(w, upto);
    for (;;) {
        turn_look(w, &turn);
        check_failed(w);
        if (atomic_load_explicit(written, memory_order_acquire) >= upto)
            break;
        lsn_t limit = write_limit(w);

        if (!rwlock_try_exclusive(w->self, &w->sh->write, LOCK_WAL_WRITE)) {
            turn_wait(w, &turn, upto, WAIT_WAL_WRITE);
            continue;
        }
        (void) write_whole_pages(w, limit);
        write_unlock(w, false);
    }
    turn_pass(w, &turn);
}
