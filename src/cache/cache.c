/* The cache as its users see it: life, horizon, pins, reading. Runs in: every attached process.
 * Owns: the layout of the region, this process' pins. Source: engine-rules 2 (CACHE-1 … -8),
 * SNAP-4. */
#include "cache/cache.h"

#include <string.h>

#include "base/clock.h"
#include "cache/cache_evict.h"
#include "cache/cache_map.h"
#include "cache/cache_version.h"

/* ---- layout ---- */

struct layout {
    uint64_t chain, ver, bucket, db, proc, over_used, data, end;
    uint32_t n_all, n_chains, n_buckets;
};

static uint64_t
place(uint64_t *at, uint64_t n, uint64_t size)
{
    uint64_t here = (*at + 63) & ~UINT64_C(63);

    *at = here + n * size;
    return here;
}

static struct layout
layout_of(const struct cache_cfg *cfg)
{
    struct layout l = { 0 };
    uint64_t at = sizeof(struct cache_shared);

    l.n_all = cfg->n_frames + cfg->n_overflow;
    l.n_chains = l.n_all + cfg->max_procs;
    /* CACHE-1, and short chains of a bucket when the overflow is full, too: a commit of half a
     * million pages keeps its insertion slot while it looks each of them up. */
    for (l.n_buckets = 1; l.n_buckets < MAX(2 * cfg->n_frames, l.n_all / 4);)
        l.n_buckets *= 2;
    l.proc = place(&at, cfg->max_procs, sizeof(struct cache_proc));
    l.bucket = place(&at, l.n_buckets, sizeof(struct cache_bucket));
    l.ver = place(&at, l.n_all, sizeof(struct cache_ver));
    l.chain = place(&at, l.n_chains, sizeof(struct cache_chain));
    l.db = place(&at, CACHE_DBS, sizeof(struct cache_db));
    l.over_used = place(&at, (cfg->n_overflow + 63) / 64, sizeof(uint64_t));
    l.data = place(&at, cfg->n_frames, CACHE_FRAME_BYTES);
    l.end = at;
    return l;
}

uint64_t
cache_shm_bytes(const struct cache_cfg *cfg)
{
    return layout_of(cfg).end;
}

void
cache_shm_init(void *mem, const struct cache_cfg *cfg)
{
    struct layout l = layout_of(cfg);
    struct cache_shared *sh = mem;

    ASSERT(cfg->n_frames >= 64);
    ASSERT((uintptr_t) mem % 64 == 0);
    /* The rest of the region is zero (SHM-1), which is right for all of it. */
    memset(sh, 0, sizeof *sh);
    sh->n_frames = cfg->n_frames;
    sh->n_overflow = cfg->n_overflow;
    sh->n_all = l.n_all;
    sh->n_chains = l.n_chains;
    sh->n_buckets = l.n_buckets;
    sh->max_procs = cfg->max_procs;
    sh->reserve = MAX(8, cfg->n_frames / 64); /* EVICT-5 */
    atomic_store_explicit(&sh->n_free, cfg->n_frames, memory_order_relaxed);
    /* CACHE-8: differs from that of any earlier life of this segment */
    atomic_store_explicit(&sh->epoch, clock_mono_usec() | 1, memory_order_relaxed);
}

void
cache_attach(struct cache *c, void *mem, const struct cache_cfg *cfg, void *over_map, int over_fd,
             struct self *self, const struct cache_ops *ops)
{
    struct layout l = layout_of(cfg);
    uint8_t *base = mem;

    ASSERT(self->procno < cfg->max_procs);
    *c = (struct cache){
        .sh = mem,
        .cfg = *cfg,
        .self = self,
        .over_map = over_map,
        .over_fd = over_fd,
        /* CACHE-4; a few elements of the array stay for copies and write-back */
        .pin_quota = MIN(CACHE_PINS - CACHE_SPARE_PINS, cfg->n_frames / (4 * cfg->max_procs)),
        .ver = (struct cache_ver *) (void *) (base + l.ver),
        .chain = (struct cache_chain *) (void *) (base + l.chain),
        .bucket = (struct cache_bucket *) (void *) (base + l.bucket),
        .db = (struct cache_db *) (void *) (base + l.db),
        .proc = (struct cache_proc *) (void *) (base + l.proc),
        .over_used = (uint64_t *) (void *) (base + l.over_used),
        .data = base + l.data,
    };
    if (ops != NULL)
        c->ops = *ops;
    ASSERT(c->sh->n_all == l.n_all);
    ASSERT(c->sh->max_procs == cfg->max_procs);
}

/* io we own at exit: nothing was linked, nothing written. */
static void
abandon_io(struct cache *c)
{
    struct cache_bucket *b;
    struct cache_chain *ch;

    if (c->io_ref == 0)
        return;
    ch = cache_map_lock_chain(c, c->io_ref - 1, &b);
    ASSERT(ch != NULL);
    atomic_store_explicit(&ch->io, CACHE_IO_NONE, memory_order_release);
    cache_map_settle(c, b, ch);
    cache_map_unlock(c, b);
    wait_wake(&ch->io, WAIT_ALL);
    c->io_ref = 0;
}

/* Frames that we took and neither published nor gave back. */
static void
abandon_frames(struct cache *c)
{
    for (uint32_t f = 0; f < c->sh->n_all && c->n_owned > 0; f++)
        if (atomic_load_explicit(&c->ver[f].state, memory_order_relaxed) == VER_OWNED &&
            c->ver[f].owner == c->self->procno)
            cache_frames_give_back(c, &f, 1);
    ASSERT(c->n_owned == 0);
}

void
cache_process_exit(struct cache *c)
{
    struct cache_proc *me = cache_me(c);

    for (uint32_t i = 0; i < CACHE_PINS; i++)
        atomic_store_explicit(&me->pin[i], 0, memory_order_release);
    c->pins = 0;
    for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
        if (atomic_load_explicit(&me->ent[i].snap, memory_order_relaxed) != 0)
            cache_snapshot_drop(c, i);
        atomic_store_explicit(&me->ent[i].db, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&me->pin_top, 0, memory_order_release);
    atomic_store_explicit(&me->ent_top, 0, memory_order_release);
    abandon_io(c);
    abandon_frames(c);
}

uint64_t
cache_epoch(const struct cache *c)
{
    return atomic_load_explicit(&c->sh->epoch, memory_order_relaxed);
}

/* ---- horizon ---- */

lsn_t
cache_horizon(const struct cache *c)
{
    return atomic_load_explicit(&c->sh->horizon, memory_order_acquire);
}

lsn_t
cache_cap(const struct cache *c)
{
    if (atomic_load_explicit(&c->sh->unlimited, memory_order_acquire))
        return UINT64_MAX;
    return cache_horizon(c);
}

void
cache_cap_unlimited(struct cache *c, bool unlimited)
{
    atomic_store_explicit(&c->sh->unlimited, unlimited, memory_order_release);
}

void
cache_horizon_raise(struct cache *c, lsn_t lsn)
{
    struct cache_shared *sh = c->sh;
    lsn_t h = atomic_load_explicit(&sh->horizon, memory_order_relaxed);

    do {
        if (h >= lsn)
            return;
    } while (!atomic_compare_exchange_weak_explicit(&sh->horizon, &h, lsn, memory_order_acq_rel,
                                                    memory_order_relaxed));
    /* seq_cst with the waiter's two: either it sees the new event, or we see the waiter */
    atomic_fetch_add_explicit(&sh->horizon_event, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&sh->horizon_waiters, memory_order_seq_cst) != 0)
        wait_wake(&sh->horizon_event, WAIT_ALL);
}

int
cache_horizon_wait(struct cache *c, lsn_t lsn, struct err *e)
{
    struct cache_shared *sh = c->sh;
    int r = 0;

    if (cache_horizon(c) >= lsn)
        return 0;
    atomic_fetch_add_explicit(&sh->horizon_waiters, 1, memory_order_seq_cst);
    while (r == 0) {
        uint32_t seen = atomic_load_explicit(&sh->horizon_event, memory_order_seq_cst);

        if (cache_horizon(c) >= lsn)
            break;
        r = wait_sleep(c->self, &sh->horizon_event, seen, 0, WAIT_HORIZON, e);
    }
    atomic_fetch_sub_explicit(&sh->horizon_waiters, 1, memory_order_relaxed);
    return r;
}

/* ---- pins (CACHE-4) ---- */

uint32_t
cache_pin(struct cache *c, uint32_t frame)
{
    struct cache_proc *me = cache_me(c);
    uint32_t i;

    if (~c->pins == 0)
        return CACHE_NONE;
    i = (uint32_t) __builtin_ctzll(~c->pins);
    c->pins |= BIT(i);
    if (i >= atomic_load_explicit(&me->pin_top, memory_order_relaxed)) {
        cache_show_proc(c);
        atomic_store_explicit(&me->pin_top, i + 1, memory_order_relaxed);
    }
    /* relaxed: the bucket's lock, which we hold, orders it before any unlink that follows */
    atomic_store_explicit(&me->pin[i], frame + 1, memory_order_relaxed);
    return i;
}

void
cache_pin_clear(struct cache *c, uint32_t pin)
{
    ASSERT(c->pins & BIT(pin));
    c->pins &= ~BIT(pin);
    /* release: after the last access; pairs with the acquire of the scan */
    atomic_store_explicit(&cache_me(c)->pin[pin], 0, memory_order_release);
}

void
cache_unpin(struct cache *c, struct cache_page *p)
{
    if (p->pin == CACHE_NONE)
        return;
    cache_pin_clear(c, p->pin);
    p->pin = CACHE_NONE;
    p->data = NULL;
}

uint32_t
cache_n_pinned(const struct cache *c)
{
    return (uint32_t) __builtin_popcountll(c->pins);
}

/* ---- reading (CACHE-5, -6, -7) ---- */

struct want {
    uint32_t db;
    struct cache_key key;
    lsn_t s;           /* UINT64_MAX: the newest */
    uint32_t entry;    /* CACHE_NONE: redo */
    void *spare;       /* may be NULL */
    bool may_keep_pin; /* quota */
};

/* A pinned version to the caller: as pin, or copied if it may keep none. */
static int
hand_out(struct cache *c, const struct want *w, uint32_t frame, uint32_t pin,
         struct cache_page *ret)
{
    struct cache_ver *v = &c->ver[frame];

    *ret = (struct cache_page){
        .data = cache_frame_at(c, frame),
        .lsn = atomic_load_explicit(&v->lsn, memory_order_relaxed),
        .pin = pin,
        .frame = frame,
    };
    if (w->may_keep_pin)
        return 0;
    memcpy(w->spare, ret->data, PAGE_BYTES);
    cache_pin_clear(c, pin);
    ret->data = w->spare;
    ret->pin = CACHE_NONE;
    ret->frame = CACHE_NONE;
    return 0;
}

static int
snapshot_gone(struct err *e)
{
    int r = ERR(e, SNAPSHOT_TOO_OLD, "snapshot too old");

    err_detail(e,
               "The cache ran out of space for the page versions that it kept for this snapshot.");
    err_hint(e, "Run the transaction again, or raise cache_overflow_limit or snapshot_patience.");
    return r;
}

static int
wrong_lsn(const struct want *w, lsn_t lsn, struct err *e)
{
    int r = ERR(e, DATA_CORRUPTED,
                "block %" PRIu32 " of file %" PRIu32 " of database %" PRIu32
                " on disk has the wrong LSN " LSN_FMT,
                w->key.block, w->key.rel, w->key.oid, LSN_ARGS(lsn));

    if (lsn > w->s)
        err_detail(e,
                   "It is newer than the snapshot, " LSN_FMT
                   ": the file is newer than the log, or of another cluster.",
                   LSN_ARGS(w->s));
    else
        err_detail(e, "The cache holds a version of the page that is not newer.");
    return r;
}

/* io := 0 under b's lock, which is dropped; wake; interrupts again. */
static void
end_reading(struct cache *c, struct cache_bucket *b, struct cache_chain *ch)
{
    ASSERT(c->io_ref == (uint32_t) (ch - c->chain) + 1);
    atomic_store_explicit(&ch->io, CACHE_IO_NONE, memory_order_release);
    c->io_ref = 0;
    cache_map_settle(c, b, ch);
    cache_map_unlock(c, b);
    wait_wake(&ch->io, WAIT_ALL); /* chains are never unmapped: at worst a spurious wake */
    self_resume(c->self);
}

/* Link what was read into `frame` (CACHE_NONE: read through), if it is what it must be. b is
 * locked.
 */
static bool
take_in(struct cache *c, const struct want *w, struct cache_bucket *b, struct cache_chain *ch,
        uint32_t frame, lsn_t lsn)
{
    /* CACHE-6; in redo (REDO-3) the tail says nothing */
    if (lsn >= cache_version_lowest(c, ch) || (w->entry != CACHE_NONE && lsn > w->s))
        return false;
    if (frame != CACHE_NONE) {
        cache_version_fill(c, ch, frame, lsn);
        cache_version_link_low(c, b, ch, frame);
    }
    if (w->entry != CACHE_NONE)
        atomic_store_explicit(&ch->disk_lsn, lsn, memory_order_relaxed);
    return true;
}

/* io is READING and ours; nothing is locked. */
static int
read_in(struct cache *c, const struct want *w, struct cache_bucket *b, struct cache_chain *ch,
        struct cache_page *ret, struct err *e)
{
    uint32_t frame = cache_frame_for_reader(c);
    uint32_t pin = CACHE_NONE;
    lsn_t lsn = 0;
    bool is_right = false;
    int r = CACHE_NO_PIN;

    if (frame != CACHE_NONE || w->spare != NULL) {
        void *p = frame != CACHE_NONE ? cache_frame_at(c, frame) : w->spare;

        SIM_YIELD(reading);
        r = c->ops.read(c->ops.arg, w->db, &w->key, p, &lsn, e);
        c->n_read++;
        stat_add(c->self, STAT_BLKS_READ, 1);
        cache_count(&c->sh->n_read);
    }
    cache_map_lock(c, b);
    if (r == 0)
        is_right = take_in(c, w, b, ch, frame, lsn);
    if (is_right && frame != CACHE_NONE)
        pin = cache_pin(c, frame);
    end_reading(c, b, ch);
    if (!is_right && frame != CACHE_NONE)
        cache_frames_give_back(c, &frame, 1);
    if (r != 0)
        return r;
    if (!is_right)
        return wrong_lsn(w, lsn, e);
    if (frame != CACHE_NONE)
        return hand_out(c, w, frame, pin, ret);
    cache_count(&c->sh->n_read_through); /* CACHE-7 */
    *ret =
        (struct cache_page){ .data = w->spare, .lsn = lsn, .pin = CACHE_NONE, .frame = CACHE_NONE };
    return 0;
}

static int
get(struct cache *c, const struct want *w, struct cache_page *ret, struct err *e)
{
    struct cache_bucket *b = cache_map_bucket(c, &w->key);

    if (!w->may_keep_pin && w->spare == NULL)
        return CACHE_NO_PIN;
    for (;;) {
        struct cache_chain *ch;
        uint32_t ref = 0, io, pin;
        int r;

        cache_map_lock(c, b);
        ch = cache_map_find(c, b, &w->key);
        if (ch != NULL)
            ref = cache_version_find(c, ch, w->s);
        if (ref != 0) {
            struct cache_ver *v = &c->ver[ref - 1];

            pin = cache_pin(c, ref - 1);
            if (atomic_load_explicit(&v->use, memory_order_relaxed) == 0)
                atomic_store_explicit(&v->use, 1, memory_order_relaxed);
            cache_map_unlock(c, b);
            ASSERT(pin != CACHE_NONE);
            c->n_hit++;
            stat_add(c->self, STAT_BLKS_HIT, 1);
            return hand_out(c, w, ref - 1, pin, ret);
        }
        if (ch == NULL)
            ch = cache_map_make(c, b, &w->key, w->db);
        io = atomic_load_explicit(&ch->io, memory_order_relaxed);
        if (io == CACHE_IO_NONE) {
            ASSERT(c->io_ref == 0);
            atomic_store_explicit(&ch->io, CACHE_IO_READING, memory_order_relaxed);
            ch->io_owner = c->self->procno;
            c->io_ref = (uint32_t) (ch - c->chain) + 1;
            cache_map_unlock(c, b);
            self_hold(c->self); /* INT-1: while an io is owned */
            return read_in(c, w, b, ch, ret, e);
        }
        ASSERT(ch->io_owner != c->self->procno);
        cache_map_unlock(c, b);
        r = wait_sleep(c->self, &ch->io, io, 0, WAIT_PAGE_IO, e);
        if (r < 0)
            return r;
        if (w->entry != CACHE_NONE && cache_snapshot_cancelled(c, w->entry))
            return snapshot_gone(e);
    }
}

/* Quota (CACHE-4): below four, or all used, only copies. */
static bool
may_keep_pin(const struct cache *c)
{
    return c->pin_quota >= 4 && cache_n_pinned(c) < c->pin_quota;
}

int
cache_get(struct cache *c, uint32_t entry, oid_t rel, blk_t block, void *spare,
          struct cache_page *ret, struct err *e)
{
    const struct cache_ent *ent = &cache_me(c)->ent[entry];
    const uint32_t db = atomic_load_explicit(&ent->db, memory_order_relaxed) - 1;
    const struct want w = {
        .db = db,
        .key = { .oid = atomic_load_explicit(&c->db[db].oid, memory_order_relaxed),
                 .rel = rel,
                 .block = block },
        .s = atomic_load_explicit(&ent->snap, memory_order_relaxed),
        .entry = entry,
        .spare = spare,
        .may_keep_pin = may_keep_pin(c),
    };

    ASSERT(w.s != 0);
    if (cache_snapshot_cancelled(c, entry))
        return snapshot_gone(e);
    return get(c, &w, ret, e);
}

int
cache_get_newest(struct cache *c, uint32_t db, oid_t rel, blk_t block, void *spare,
                 struct cache_page *ret, struct err *e)
{
    const struct want w = {
        .db = db,
        .key = { .oid = atomic_load_explicit(&c->db[db].oid, memory_order_relaxed),
                 .rel = rel,
                 .block = block },
        .s = UINT64_MAX,
        .entry = CACHE_NONE,
        .spare = spare,
        .may_keep_pin = may_keep_pin(c),
    };

    return get(c, &w, ret, e);
}

/* ---- counters ---- */

uint32_t
cache_n_free(const struct cache *c)
{
    return atomic_load_explicit(&c->sh->n_free, memory_order_relaxed);
}

static uint64_t
over_bytes(const _Atomic uint32_t *n)
{
    return (uint64_t) atomic_load_explicit(n, memory_order_relaxed) * CACHE_FRAME_BYTES;
}

static uint64_t
n_written(const struct cache_shared *sh)
{
    uint64_t n = 0;

    for (int i = 0; i < CACHE_WRITERS; i++)
        n += peek64(&sh->n_written[i]);
    return n;
}

static uint64_t
n_versions(const struct cache *c)
{
    uint32_t top = atomic_load_explicit(&c->sh->db_top, memory_order_acquire);
    uint64_t n = 0;

    for (uint32_t i = 0; i < top; i++) {
        n += atomic_load_explicit(&c->db[i].n_retired, memory_order_relaxed);
        n += atomic_load_explicit(&c->db[i].n_held, memory_order_relaxed);
    }
    return n;
}

void
cache_counts(const struct cache *c, uint64_t ret[CACHE_COUNTS])
{
    const struct cache_shared *sh = c->sh;

    ret[CACHE_COUNT_FRAMES] = sh->n_frames;
    ret[CACHE_COUNT_FRAMES_FREE] = cache_n_free(c);
    ret[CACHE_COUNT_VERSIONS] = n_versions(c);
    ret[CACHE_COUNT_OVER_LIMIT] = (uint64_t) sh->n_overflow * CACHE_FRAME_BYTES;
    ret[CACHE_COUNT_OVER_BYTES] = over_bytes(&sh->over_grown);
    ret[CACHE_COUNT_OVER_USED] = over_bytes(&sh->over_in_use);
    ret[CACHE_COUNT_OVER_PEAK] = over_bytes(&sh->over_peak);
    ret[CACHE_COUNT_READ] = peek64(&sh->n_read);
    ret[CACHE_COUNT_READ_THROUGH] = peek64(&sh->n_read_through);
    ret[CACHE_COUNT_BY_BACKENDS] = peek64(&sh->n_written[CACHE_BACKEND]);
    ret[CACHE_COUNT_BY_BGWRITER] = peek64(&sh->n_written[CACHE_BGWRITER]);
    ret[CACHE_COUNT_BY_CHECKPOINTER] = peek64(&sh->n_written[CACHE_CHECKPOINTER]);
    ret[CACHE_COUNT_EVICTED] = peek64(&sh->n_evicted);
    ret[CACHE_COUNT_PRUNED] = peek64(&sh->n_pruned);
    ret[CACHE_COUNT_TOO_OLD] = peek64(&sh->n_cancelled);
    ret[CACHE_COUNT_REFUSED] = peek64(&sh->n_refused);
}

void
cache_stats(const struct cache *c, struct cache_stats *ret)
{
    const struct cache_shared *sh = c->sh;
    uint32_t n_chains = atomic_load_explicit(&sh->n_chain_fresh, memory_order_acquire);
    uint32_t n_dbs = atomic_load_explicit(&sh->db_top, memory_order_acquire);

    *ret = (struct cache_stats){
        .n_frames = sh->n_frames,
        .n_free = atomic_load_explicit(&sh->n_free, memory_order_relaxed),
        .n_overflow_used = atomic_load_explicit(&sh->over_in_use, memory_order_relaxed),
        .n_evicted = atomic_load_explicit(&sh->n_evicted, memory_order_relaxed),
        .n_pruned = atomic_load_explicit(&sh->n_pruned, memory_order_relaxed),
        .n_read = atomic_load_explicit(&sh->n_read, memory_order_relaxed),
        .n_written = n_written(sh),
        .n_read_through = atomic_load_explicit(&sh->n_read_through, memory_order_relaxed),
        .n_cancelled = atomic_load_explicit(&sh->n_cancelled, memory_order_relaxed),
    };
    for (uint32_t i = 0; i < n_dbs; i++) {
        ret->n_retired += atomic_load_explicit(&c->db[i].n_retired, memory_order_relaxed);
        ret->n_held += atomic_load_explicit(&c->db[i].n_held, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < n_chains; i++) { /* an estimate: no lock */
        const struct cache_chain *ch = &c->chain[i];
        uint32_t head = atomic_load_explicit(&ch->head, memory_order_relaxed);

        if (head != 0 && atomic_load_explicit(&c->ver[head - 1].lsn, memory_order_relaxed) >
                             atomic_load_explicit(&ch->disk_lsn, memory_order_relaxed))
            ret->n_dirty_estimate++;
    }
}
