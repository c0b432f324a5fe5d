/* Writing back: the cache's part of EVICT-4, step by step, so that the store can flush the log and
 * write the file between. Runs in: checkpointer, bgwriter, preparing writers. Owns: io = WRITING.
 * Source: engine-rules CACHE-3, EVICT-4, -5, -6, CKPT-3. */
#include "cache/cache_evict.h"
#include "cache/cache_map.h"
#include "cache/cache_snapshot.h"
#include "cache/cache_version.h"

static lsn_t
lsn_of(const struct cache *c, uint32_t ref)
{
    return atomic_load_explicit(&c->ver[ref - 1].lsn, memory_order_relaxed);
}

/* CACHE-3; under the bucket's lock. */
static bool
is_dirty(const struct cache *c, const struct cache_chain *ch)
{
    uint32_t head = atomic_load_explicit(&ch->head, memory_order_relaxed);

    return head != 0 && lsn_of(c, head) > atomic_load_explicit(&ch->disk_lsn, memory_order_relaxed);
}

int
cache_wb_begin(struct cache *c, uint32_t page_idx, struct cache_wb *ret)
{
    struct cache_bucket *b;
    struct cache_chain *ch = cache_map_lock_chain(c, page_idx, &b);
    uint32_t head;
    int r = 0;

    if (ch == NULL)
        return CACHE_WB_CLEAN;
    if (atomic_load_explicit(&ch->io, memory_order_relaxed) != CACHE_IO_NONE || ~c->pins == 0)
        r = CACHE_WB_BUSY;
    else if (!is_dirty(c, ch))
        r = CACHE_WB_CLEAN;
    if (r != 0) {
        cache_map_unlock(c, b);
        return r;
    }
    ASSERT(c->io_ref == 0);
    head = atomic_load_explicit(&ch->head, memory_order_relaxed) - 1;
    atomic_store_explicit(&ch->io, CACHE_IO_WRITING, memory_order_relaxed);
    ch->io_owner = c->self->procno;
    c->io_ref = page_idx + 1;
    *ret = (struct cache_wb){
        .page_idx = page_idx,
        .key = cache_map_key(ch),
        .db = atomic_load_explicit(&ch->db, memory_order_relaxed),
        .data = cache_frame_at(c, head),
        .lsn = lsn_of(c, head + 1),
        .lowest = cache_version_lowest(c, ch),
        .disk_lsn = atomic_load_explicit(&ch->disk_lsn, memory_order_relaxed),
        .is_sole = atomic_load_explicit(&c->ver[head].older, memory_order_relaxed) == 0,
        .pin = cache_pin(c, head),
    };
    cache_map_unlock(c, b);
    self_hold(c->self); /* INT-1: while an io is owned */
    return 0;
}

/* Lock the chain whose io we own: it cannot go away. */
static struct cache_chain *
lock_owned(struct cache *c, const struct cache_wb *wb, struct cache_bucket **ret_bucket)
{
    struct cache_chain *ch = cache_map_lock_chain(c, wb->page_idx, ret_bucket);

    ASSERT(ch != NULL);
    ASSERT(c->io_ref == wb->page_idx + 1);
    ASSERT(ch->io_owner == c->self->procno);
    ASSERT(atomic_load_explicit(&ch->io, memory_order_relaxed) == CACHE_IO_WRITING);
    return ch;
}

bool
cache_wb_must_save(struct cache *c, const struct cache_wb *wb)
{
    struct cache_snaps snaps;
    struct cache_bucket *bucket;
    struct cache_chain *ch = lock_owned(c, wb, &bucket);
    lsn_t b = cache_version_lowest(c, ch);
    lsn_t a = atomic_load_explicit(&ch->disk_lsn, memory_order_relaxed);

    cache_map_unlock(c, bucket);
    if (a >= b)
        return false; /* what is on disk is in the chain too */
    cache_snaps_scan(c, wb->db, &snaps);
    return cache_snaps_need(&snaps, a, b);
}

int
cache_wb_save_disk(struct cache *c, struct cache_wb *wb, struct err *e)
{
    uint32_t frame = cache_frame_for_saving(c);
    struct cache_bucket *b;
    struct cache_chain *ch;
    lsn_t lsn = 0, lowest;
    int r;

    if (frame == CACHE_NONE)
        return CACHE_NO_PIN;
    r = c->ops.read(c->ops.arg, wb->db, &wb->key, cache_frame_at(c, frame), &lsn, e);
    if (r < 0) {
        cache_frames_give_back(c, &frame, 1);
        return r;
    }
    cache_count(&c->sh->n_read);
    ch = lock_owned(c, wb, &b);
    lowest = cache_version_lowest(c, ch);
    if (lsn < lowest) {
        cache_version_fill(c, ch, frame, lsn);
        cache_version_link_low(c, b, ch, frame);
        atomic_store_explicit(&ch->disk_lsn, lsn, memory_order_relaxed);
        wb->disk_lsn = lsn;
        wb->lowest = lsn;
        wb->is_sole = false;
    }
    cache_map_unlock(c, b);
    if (lsn < lowest)
        return 0;
    cache_frames_give_back(c, &frame, 1);
    return ERR(e, DATA_CORRUPTED,
               "block %" PRIu32 " of file %" PRIu32 " of database %" PRIu32
               " on disk has LSN " LSN_FMT ", which is not below " LSN_FMT " in the cache",
               wb->key.block, wb->key.rel, wb->key.oid, LSN_ARGS(lsn), LSN_ARGS(lowest));
}

/* io := 0 under b's lock, which is dropped; then pin, waiters, interrupts. */
static void
end_io(struct cache *c, struct cache_wb *wb, struct cache_bucket *b, struct cache_chain *ch)
{
    atomic_store_explicit(&ch->io, CACHE_IO_NONE, memory_order_release);
    c->io_ref = 0;
    cache_pin_clear(c, wb->pin);
    wb->pin = CACHE_NONE;
    cache_map_settle(c, b, ch);
    cache_map_unlock(c, b);
    wait_wake(&ch->io, WAIT_ALL); /* chains are never unmapped: at worst a spurious wake */
    self_resume(c->self);
}

static const enum stat_id written_stats[CACHE_WRITERS] = {
    [CACHE_BACKEND] = STAT_BUF_BACKEND,
    [CACHE_BGWRITER] = STAT_BUF_CLEAN,
    [CACHE_CHECKPOINTER] = STAT_BUF_CHECKPOINT,
};

void
cache_wb_end(struct cache *c, struct cache_wb *wb, lsn_t written)
{
    struct cache_bucket *b;
    struct cache_chain *ch = lock_owned(c, wb, &b);

    if (written != 0) {
        ASSERT(written == wb->lsn);
        atomic_store_explicit(&ch->disk_lsn, written, memory_order_relaxed);
        cache_count(&c->sh->n_written[c->writes_as]);
        stat_add(c->self, written_stats[c->writes_as], 1);
    }
    end_io(c, wb, b, ch);
}

bool
cache_wb_drop(struct cache *c, struct cache_wb *wb)
{
    struct cache_bucket *b;
    struct cache_chain *ch = lock_owned(c, wb, &b);
    uint32_t head = atomic_load_explicit(&ch->head, memory_order_relaxed) - 1;
    bool is_sole = cache_frame_at(c, head) == wb->data &&
                   atomic_load_explicit(&c->ver[head].older, memory_order_relaxed) == 0;

    if (is_sole)
        cache_version_unlink_sole(c, b, ch, head);
    end_io(c, wb, b, ch);
    if (is_sole)
        cache_frames_reap(c, &head, 1);
    return is_sole;
}

void
cache_io_wait(struct cache *c, uint32_t page_idx)
{
    _Atomic uint32_t *io = &c->chain[page_idx].io;
    uint32_t seen = atomic_load_explicit(io, memory_order_acquire);

    if (seen == CACHE_IO_NONE)
        return;
    self_hold(c->self); /* short work of another process */
    (void) wait_sleep(c->self, io, seen, 0, WAIT_PAGE_IO, NULL);
    self_resume(c->self);
}

/* ---- what a checkpoint owes ---- */

/* CKPT-3, under the bucket's lock: the newest version ≤ upto is newer than what is on disk. If it
 * has been pruned, the next newer one is above upto and durable, and its commit logged an image. */
static bool
is_owed(const struct cache *c, const struct cache_chain *ch, lsn_t upto)
{
    uint32_t ref = cache_version_find(c, ch, upto);

    return ref != 0 && lsn_of(c, ref) > atomic_load_explicit(&ch->disk_lsn, memory_order_relaxed);
}

bool
cache_is_owed(struct cache *c, uint32_t page_idx, lsn_t upto)
{
    struct cache_bucket *b;
    struct cache_chain *ch = cache_map_lock_chain(c, page_idx, &b);
    bool owed;

    if (ch == NULL)
        return false;
    owed = is_owed(c, ch, upto);
    cache_map_unlock(c, b);
    return owed;
}

uint32_t
cache_scan_dirty(struct cache *c, lsn_t upto, uint32_t *pos, uint32_t *ids, uint32_t cap)
{
    uint32_t end = atomic_load_explicit(&c->sh->n_chain_fresh, memory_order_acquire);
    uint32_t n = 0;

    for (; *pos < end && n < cap; (*pos)++) {
        /* A look without the lock first: a page that has no version now had none to write when the
         * checkpoint began, or has been written since. */
        if (atomic_load_explicit(&c->chain[*pos].head, memory_order_acquire) != 0 &&
            cache_is_owed(c, *pos, upto))
            ids[n++] = *pos;
    }
    return n;
}

uint32_t
cache_list_pages(struct cache *c, struct cache_key *keys, uint32_t cap)
{
    uint32_t end = atomic_load_explicit(&c->sh->n_chain_fresh, memory_order_acquire);
    uint32_t n = 0;

    for (uint32_t i = 0; i < end && n < cap; i++) {
        struct cache_bucket *b;
        struct cache_chain *ch;

        if (atomic_load_explicit(&c->chain[i].head, memory_order_acquire) == 0)
            continue;
        ch = cache_map_lock_chain(c, i, &b);
        if (ch == NULL)
            continue;
        if (atomic_load_explicit(&ch->head, memory_order_relaxed) != 0)
            keys[n++] = cache_map_key(ch);
        cache_map_unlock(c, b);
    }
    return n;
}
