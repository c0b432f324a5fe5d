/* Prepare, commit, discard. Runs in backends. Owns: the gate flag of its process, its log
 * reservation, the frames of its transaction. Source: engine-rules COMMIT-2 … COMMIT-6, VFS-5. */
#include "store/store_commit.h"

#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "store/store_checkpoint.h"
#include "store/store_encode.h"
#include "store/store_fd.h"
#include "store/store_page.h"
#include "store/store_plan.h"
#include "store/store_shared.h"
#include "store/store_writeback.h"

#define GROW_BYTES (UINT64_C(1) << 20) /* a file grows in steps of 1 MiB (COMMIT-2) */

/* ---- before the gate (COMMIT-2) ---- */

static uint32_t
unflushed_max(const struct store *st)
{
    return MAX(64u, st->cache->cfg.n_frames / 4);
}

/* Back pressure for synchronous_commit = off: what is not durable cannot be written back. */
static void
flush_if_behind(struct store *st, uint32_t db)
{
    struct store_db *d = store_db_at(st, db);

    if (atomic_load_explicit(&d->unflushed, memory_order_relaxed) <= unflushed_max(st))
        return;
    store_wait_durable(st, atomic_load_explicit(&d->published, memory_order_acquire));
    atomic_store_explicit(&d->unflushed, 0, memory_order_relaxed);
}

static int
assign_xid(struct store_txn *t, struct err *e)
{
    xid_t xid;
    int r = store_txn_xid(t, &xid, e);

    if (r < 0)
        return r;
    if (xid + XACT_OLDEST_COMMIT < store_xid_next(t->st))
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "the transaction is too old to be committed");
    return 0;
}

static int
write_zeros(struct store *st, int fd, uint64_t from, uint64_t to)
{
    memset(st->page_buf, 0, PAGE_BYTES);
    for (uint64_t at = from; at < to; at += PAGE_BYTES) {
        ssize_t n = io_pwrite(st->io, fd, st->page_buf, PAGE_BYTES, at);

        if (n < 0)
            return (int) n;
    }
    return 0;
}

/* From `have` up to *want, or at least up to what this commit needs. */
static int
allocate(struct store *st, int fd, uint64_t have, uint64_t *want, uint64_t least)
{
    int r = FAULT(STORE_FILE_GROW);

    if (r == 0)
        r = io_allocate(st->io, fd, have, *want - have);
    if ((r == -ENOSPC || r == -EDQUOT) && least < *want) {
        r = io_allocate(st->io, fd, have, least - have);
        *want = r == 0 ? least : *want;
    }
    return r;
}

/* Blocks for the pages to come, so that write-back does not meet a full disk. */
static int
grow_file(struct store_txn *t, struct err *e)
{
    struct store *st = t->st;
    struct store_db *d = store_db_at(st, t->db);
    uint64_t want = (uint64_t) t->plan.size * PAGE_BYTES;
    uint64_t have = atomic_load_explicit(&d->allocated, memory_order_relaxed);
    uint64_t bytes = 0;
    int fd = -1;
    int r;

    if (want <= have || t->plan.size <= t->base_size)
        return 0;
    want = (want + GROW_BYTES - 1) / GROW_BYTES * GROW_BYTES;
    r = store_fd_get(st->fds, t->oid, t->rel, &fd, e);
    if (r < 0)
        return r;
    r = allocate(st, fd, have, &want, (uint64_t) t->plan.size * PAGE_BYTES);
    if (r == -EOPNOTSUPP) {
        /* Behind both: nothing was ever written there that counts. */
        atomic_store_explicit(&d->needs_sync, 1, memory_order_seq_cst);
        r = io_size(st->io, fd, &bytes);
        if (r == 0)
            r = write_zeros(st, fd, (MAX(have, bytes) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES,
                            want);
    }
    if (r < 0)
        (void) err_set_errno(e, -r, "could not extend file \"base/%u/%u\"", t->oid, t->rel);
    if (store_note_space(st, r, want - have, e) < 0)
        return r;
    atomic_store_explicit(&d->allocated, want, memory_order_relaxed);
    return 0;
}

/* ---- into the gate (COMMIT-4) ---- */

static void
leave_gate(struct store *st)
{
    struct store_gate_ref gate = store_gate_of(st);

    store_gate_leave(&gate, st->self);
    st->in_gate = false;
}

static void
drop_long(struct store *st)
{
    struct store_gate_ref gate = store_gate_of(st);

    if (!st->has_long_commit)
        return;
    store_gate_drop_long(&gate, st->self);
    st->has_long_commit = false;
    self_resume(st->self);
}

static int
reserve(const struct store_txn *t)
{
    bool frees_space = t->ride != NULL && t->ride->kind == RIDE_DROP_DB;

    return frees_space ? wal_reserve_urgent(t->st->wal, t->plan.log_bytes)
                       : wal_reserve(t->st->wal, t->plan.log_bytes);
}

/* Enter, choose, reserve; outside for making segments as often as need be. */
static int
enter_and_reserve(struct store_txn *t, struct err *e)
{
    struct store *st = t->st;
    struct store_gate_ref gate = store_gate_of(st);
    int r;

    for (;;) {
        r = store_gate_enter(&gate, st->self, e);
        if (r < 0)
            return r;
        st->in_gate = true;
        store_plan_choose(&t->plan, store_redo_pointer(st));
        r = FAULT(STORE_PREPARE_IN_GATE);
        if (r == 0)
            r = reserve(t);
        if (r == 0)
            return 0;
        leave_gate(st);
        if (r < 0)
            return err_set_errno(e, -r, "could not reserve space in the log");
        r = wal_make_room(st->wal, t->plan.log_bytes, e);
        if (r == -ENOSPC || r == -EDQUOT)
            store_checkpoint_for_space(st);
        if (r < 0)
            return r;
    }
}

static int
enter_gate(struct store_txn *t, struct err *e)
{
    struct store *st = t->st;
    struct store_gate_ref gate = store_gate_of(st);
    int r;

    if (store_plan_is_long(&t->plan)) {
        self_hold(st->self); /* given back with the lock */
        store_gate_take_long(&gate, st->self);
        st->has_long_commit = true;
    }
    r = enter_and_reserve(t, e);
    if (r < 0) {
        drop_long(st);
        return r;
    }
    self_hold(st->self); /* INT-1: until end_write */
    t->has_held = true;
    return 0;
}

static void
give_back_frames(struct store_txn *t)
{
    if (t->plan.n_frames > 0)
        cache_frames_give_back(t->st->cache, t->plan.frames, t->plan.n_frames);
    t->plan.n_frames = 0;
}

static int
prepare_outside(struct store_txn *t, struct err *e)
{
    struct store *st = t->st;
    int r = FAULT(STORE_PREPARE_BEGIN);

    if (r < 0)
        return err_set_errno(e, -r, "could not prepare the transaction");
    r = store_encode_ready(st, e);
    if (r == 0)
        r = assign_xid(t, e);
    if (r < 0)
        return r;
    flush_if_behind(st, t->db);
    (void) cache_prune(st->cache, t->db); /* EVICT-1 */
    r = store_plan_make(t, e);
    if (r == 0)
        r = grow_file(t, e);
    if (r == 0)
        r = store_plan_take_frames(t, e);
    return r;
}

int
store_commit_prepare(struct store_txn *t, struct err *e)
{
    int r = prepare_outside(t, e);

    if (r == 0) {
        r = FAULT(STORE_PREPARE_BEFORE_GATE);
        if (r < 0)
            (void) err_set_errno(e, -r, "could not prepare the transaction");
    }
    if (r == 0)
        r = enter_gate(t, e);
    if (r < 0) {
        give_back_frames(t);
        if (t->plan.size > t->base_size)
            store_file_give_back(t->st, t->db);
        store_plan_reset(&t->plan);
    }
    return r;
}

/* ---- commit (COMMIT-5) ---- */

/* Between an accepted prepare and the end an error is a PANIC. */
static void
fault_panic(int r, const char *where)
{
    if (r < 0)
        log_panicf("fault point %s in a commit", where);
}

/* VFS-5: the handle stands on its own commit. */
static void
advance(struct store_txn *t, lsn_t lsn)
{
    const uint8_t *page1 = t->plan.pages[0].p;

    ASSERT(t->plan.pages[0].block == 0);
    memcpy(t->header, page1, sizeof t->header);
    t->base_size = t->plan.size;
    t->snap = t->ver = lsn;
    t->own = MAX(t->own, lsn);
    cache_snapshot_advance(t->st->cache, t->entry, lsn);
}

/* max_wal_size: the commit that begins a segment looks; the checkpointer itself only once a second.
 */
static void
wake_if_due(struct store *st, lsn_t lsn)
{
    uint64_t segno = lsn / st->wal->cfg.segsize;

    if (segno == st->seen_segno)
        return;
    st->seen_segno = segno;
    if (store_checkpoint_is_due(st))
        store_role_wake(st, STORE_ROLE_CHECKPOINTER);
}

void
store_commit_publish(struct store_txn *t)
{
    struct store *st = t->st;
    struct commit_plan *plan = &t->plan;
    lsn_t lsn;

    fault_panic(FAULT(STORE_COMMIT_BEFORE_INSERT), "before the insertion");
    lsn = store_encode_insert(t);
    fault_panic(FAULT(STORE_COMMIT_AFTER_INSERT), "after the insertion");
    cache_publish(st->cache, t->db, t->rel, plan->blocks, plan->frames, plan->n_own, lsn);
    plan->n_frames = 0;
    (void) atomic_fetch_add_explicit(&store_db_at(st, t->db)->unflushed, plan->n_own,
                                     memory_order_relaxed);
    store_xact_set_committed(st, t->xid);
    if (t->ride != NULL && t->ride->kind == RIDE_DROP_DB)
        store_drop_published(st, t->ride->db, lsn);
    fault_panic(FAULT(STORE_COMMIT_BEFORE_PUBLISH), "before the publication");
    store_db_publish(st, t->db, plan->size, lsn);
    advance(t, lsn);
    wal_slot_release(st->wal);
    leave_gate(st);
    drop_long(st);
    wal_unreserve(st->wal);
    wake_if_due(st, lsn);
}

void
store_commit_discard(struct store_txn *t)
{
    struct store *st = t->st;

    give_back_frames(t);
    wal_unreserve(st->wal);
    leave_gate(st);
    drop_long(st);
}
