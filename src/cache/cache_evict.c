/* Frames: free list, limbo, clock, and who gets one when they are short. Runs in: every attached
 * process; cache_maintain and cache_clean_candidate in the bgwriter. Owns: the FREE_LIST group of
 * cache_shared, the clock hand. Source: engine-rules CACHE-4, CACHE-7, EVICT-1, -2, -3, -5. */
#include "cache/cache_evict.h"

#include "base/clock.h"
#include "cache/cache_map.h"
#include "cache/cache_over.h"
#include "cache/cache_snapshot.h"
#include "cache/cache_version.h"
#include "shm/shm.h"

#define READER_STEPS 64    /* EVICT-2 */
#define OVER_LOOKS   4096u /* overflow frames per round of the bgwriter */

/* ---- free list (FREE_LIST lock held) ---- */

static uint32_t
free_pop(struct cache *c)
{
    struct cache_shared *sh = c->sh;
    uint32_t frame;

    if (sh->free_first != 0) {
        frame = sh->free_first - 1;
        sh->free_first = c->ver[frame].next;
    } else {
        ASSERT(sh->n_fresh < sh->n_frames);
        frame = sh->n_fresh++;
    }
    atomic_fetch_sub_explicit(&sh->n_free, 1, memory_order_relaxed);
    return frame;
}

static void
free_push(struct cache *c, uint32_t frame)
{
    struct cache_shared *sh = c->sh;
    struct cache_ver *v = &c->ver[frame];

    ASSERT(atomic_load_explicit(&v->state, memory_order_relaxed) != VER_LINKED);
    ASSERT(atomic_load_explicit(&v->state, memory_order_relaxed) != VER_FREE);
    atomic_store_explicit(&v->state, VER_FREE, memory_order_relaxed);
    if (frame >= sh->n_frames) {
        cache_over_push(c, frame);
        return;
    }
    v->next = sh->free_first;
    sh->free_first = frame + 1;
    atomic_fetch_add_explicit(&sh->n_free, 1, memory_order_relaxed);
}

/* The frame, in state `was`, is ours now. */
static void
own(struct cache *c, uint32_t frame, uint8_t was)
{
    struct cache_ver *v = &c->ver[frame];

    ASSERT(atomic_load_explicit(&v->state, memory_order_relaxed) == was);
    atomic_store_explicit(&v->state, VER_OWNED, memory_order_relaxed);
    v->owner = c->self->procno;
    c->n_owned++;
}

/* Up to CACHE_BATCH of n frames under one hold of the lock, if there are n: how many. */
static uint32_t
pop_batch(struct cache *c, uint32_t n, uint32_t leave, bool with_over, uint32_t *ret_frames)
{
    struct cache_shared *sh = c->sh;
    uint32_t here, over;

    spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
    here = cache_n_free(c) > leave ? cache_n_free(c) - leave : 0;
    over = with_over ? cache_over_n_free(c) : 0;
    n = (uint64_t) here + over < n ? 0 : MIN(n, (uint32_t) CACHE_BATCH);
    for (uint32_t i = 0; i < n; i++)
        ret_frames[i] = i < here ? free_pop(c) : cache_over_pop(c);
    spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
    for (uint32_t i = 0; i < n; i++)
        own(c, ret_frames[i], VER_FREE);
    return n;
}

/* All n or none, leaving `leave` frames; overflow frames only when asked for. In batches: readers
 * spin for this lock, and n may be half a million. */
static bool
pop_all(struct cache *c, uint32_t n, uint32_t leave, bool with_over, uint32_t *ret_frames)
{
    uint32_t done = 0;

    /* a hint, so that the lock is not taken for nothing */
    if (!with_over && cache_n_free(c) < (uint64_t) n + leave)
        return false;
    while (done < n) {
        uint32_t got = pop_batch(c, n - done, leave, with_over, ret_frames + done);

        if (got == 0) {
            cache_frames_give_back(c, ret_frames, done);
            return false;
        }
        done += got;
    }
    stat_add(c->self, STAT_BUF_ALLOC, n);
    return true;
}

void
cache_frames_announce(struct cache *c)
{
    atomic_fetch_add_explicit(&c->sh->frame_event, 1, memory_order_release);
    wait_wake(&c->sh->frame_event, WAIT_ALL);
}

/* ---- pins against reuse ---- */

/* Which of up to CACHE_BATCH frames have been seen pinned; a small hash, private to one reap. */
#define REAP_SLOTS 256

struct reap {
    uint32_t ref[REAP_SLOTS]; /* 0 = empty */
    uint8_t idx[REAP_SLOTS];
    uint64_t pinned; /* bit per frame */
};

static void
reap_add(struct reap *rp, uint32_t ref, uint8_t idx)
{
    uint32_t h = (ref * UINT32_C(2654435761)) >> 24;

    while (rp->ref[h] != 0)
        h = (h + 1) % REAP_SLOTS;
    rp->ref[h] = ref;
    rp->idx[h] = idx;
}

static void
reap_see(struct reap *rp, uint32_t ref)
{
    for (uint32_t h = (ref * UINT32_C(2654435761)) >> 24; rp->ref[h] != 0; h = (h + 1) % REAP_SLOTS)
        if (rp->ref[h] == ref)
            rp->pinned |= BIT(rp->idx[h]);
}

/* The one scan of the pins. The frames were unlinked under their bucket's lock: whoever found one
 * set the pin under it before, and we see that; who comes later does not find it. */
static void
scan_pins(const struct cache *c, struct reap *rp)
{
    uint32_t n_procs;

    atomic_thread_fence(memory_order_seq_cst);
    n_procs = atomic_load_explicit(&c->sh->proc_top, memory_order_acquire);
    for (uint32_t i = 0; i < n_procs; i++) {
        const struct cache_proc *p = &c->proc[i];
        uint32_t top = atomic_load_explicit(&p->pin_top, memory_order_acquire);

        for (uint32_t k = 0; k < top; k++) {
            /* acquire: pairs with the release of unpin; the last access is over */
            uint32_t ref = atomic_load_explicit(&p->pin[k], memory_order_acquire);

            if (ref != 0)
                reap_see(rp, ref);
        }
        SIM_YIELD(scan_pins);
    }
}

void
cache_frames_reap(struct cache *c, const uint32_t *frames, uint32_t n)
{
    struct cache_shared *sh = c->sh;
    struct reap rp = { .pinned = 0 };

    ASSERT(n <= CACHE_BATCH);
    if (n == 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        reap_add(&rp, frames[i] + 1, (uint8_t) i);
    SIM_YIELD(unlinked);
    scan_pins(c, &rp);
    spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
    for (uint32_t i = 0; i < n; i++) {
        if (rp.pinned & BIT(i)) {
            cache_list_push(c, &sh->limbo, frames[i]);
            atomic_fetch_add_explicit(&sh->n_limbo, 1, memory_order_relaxed);
        } else {
            free_push(c, frames[i]);
        }
    }
    spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
    if (atomic_load_explicit(&sh->frame_waiters, memory_order_relaxed) != 0)
        cache_frames_announce(c);
}

void
cache_limbo_drain(struct cache *c)
{
    struct cache_shared *sh = c->sh;
    uint32_t frames[CACHE_BATCH];
    uint32_t n = 0;
    uint32_t f;

    if (atomic_load_explicit(&sh->n_limbo, memory_order_relaxed) == 0)
        return;
    spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
    while (n < CACHE_BATCH && (f = cache_list_pop(c, &sh->limbo)) != CACHE_NONE)
        frames[n++] = f;
    atomic_fetch_sub_explicit(&sh->n_limbo, n, memory_order_relaxed);
    spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
    cache_frames_reap(c, frames, n);
}

/* ---- the clock ---- */

/* Frames that the clock passes: those in the segment and the grown part of the overflow. */
static uint32_t
clock_size(const struct cache *c)
{
    return c->sh->n_frames + atomic_load_explicit(&c->sh->over_grown, memory_order_relaxed);
}

/* EVICT-3, under the bucket's lock. */
static bool
is_clean_victim(const struct cache *c, const struct cache_chain *ch, uint32_t frame)
{
    const struct cache_ver *v = &c->ver[frame];

    return atomic_load_explicit(&ch->head, memory_order_relaxed) == frame + 1 &&
           atomic_load_explicit(&v->older, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&ch->io, memory_order_relaxed) == CACHE_IO_NONE &&
           atomic_load_explicit(&v->lsn, memory_order_relaxed) ==
               atomic_load_explicit(&ch->disk_lsn, memory_order_relaxed);
}

/* Evict the frame if it is a clean victim. */
static bool
evict_clean(struct cache *c, uint32_t frame)
{
    struct cache_bucket *b;
    uint32_t page = atomic_load_explicit(&c->ver[frame].page, memory_order_relaxed);
    struct cache_chain *ch = cache_map_lock_chain(c, page, &b);
    bool is_victim;

    if (ch == NULL)
        return false;
    is_victim = is_clean_victim(c, ch, frame);
    if (is_victim) {
        cache_version_unlink_sole(c, b, ch, frame);
        cache_map_settle(c, b, ch);
    }
    cache_map_unlock(c, b);
    if (is_victim) {
        cache_frames_reap(c, &frame, 1);
        cache_count(&c->sh->n_evicted);
    }
    return is_victim;
}

bool
cache_take_back(struct cache *c, uint32_t db, oid_t rel, blk_t block, uint32_t *ret_frame)
{
    const struct cache_key key = { .oid =
                                       atomic_load_explicit(&c->db[db].oid, memory_order_relaxed),
                                   .rel = rel,
                                   .block = block };
    struct cache_bucket *b = cache_map_bucket(c, &key);
    struct reap rp = { .pinned = 0 };
    struct cache_chain *ch;
    uint32_t ref = 0;

    cache_map_lock(c, b);
    ch = cache_map_find(c, b, &key);
    if (ch != NULL && atomic_load_explicit(&ch->io, memory_order_relaxed) == CACHE_IO_NONE)
        ref = atomic_load_explicit(&ch->head, memory_order_relaxed);
    if (ref != 0 && atomic_load_explicit(&c->ver[ref - 1].older, memory_order_relaxed) != 0)
        ref = 0;
    if (ref != 0) {
        cache_version_unlink_sole(c, b, ch, ref - 1);
        cache_map_settle(c, b, ch);
    }
    cache_map_unlock(c, b);
    if (ref == 0)
        return false;
    reap_add(&rp, ref, 0);
    scan_pins(c, &rp);
    ASSERT(rp.pinned == 0);
    *ret_frame = ref - 1;
    own(c, *ret_frame, VER_LIMBO);
    return true;
}

bool
cache_is_short(const struct cache *c)
{
    return cache_n_free(c) <= c->sh->reserve;
}

/* One step of the clock: true if a frame was evicted. */
static bool
clock_step(struct cache *c)
{
    uint32_t frame =
        atomic_fetch_add_explicit(&c->sh->hand, 1, memory_order_relaxed) % clock_size(c);
    struct cache_ver *v = &c->ver[frame];

    if (atomic_load_explicit(&v->state, memory_order_relaxed) != VER_LINKED)
        return false;
    if (atomic_load_explicit(&v->use, memory_order_relaxed) != 0) {
        atomic_store_explicit(&v->use, 0, memory_order_relaxed);
        return false;
    }
    return evict_clean(c, frame);
}

uint32_t
cache_frame_for_reader(struct cache *c)
{
    const uint32_t leave = c->sh->reserve;
    uint32_t frame;

    if (pop_all(c, 1, leave, false, &frame))
        return frame;
    cache_limbo_drain(c);
    for (uint32_t i = 0; i < READER_STEPS; i++)
        if (clock_step(c) && pop_all(c, 1, leave, false, &frame))
            return frame;
    return pop_all(c, 1, leave, false, &frame) ? frame : CACHE_NONE;
}

uint32_t
cache_frame_for_saving(struct cache *c)
{
    uint32_t frame;

    if (pop_all(c, 1, 0, false, &frame))
        return frame;
    cache_limbo_drain(c);
    if (pop_all(c, 1, 0, true, &frame))
        return frame;
    if (cache_over_grow(c, 1, NULL) && pop_all(c, 1, 0, true, &frame))
        return frame;
    return CACHE_NONE;
}

/* ---- a writer's frames (EVICT-2) ---- */

/* How far one pass goes for frames in the segment. While the overflow can still give some, a
 * writer does not look at (let alone write) half a million pages for one frame. */
struct effort {
    uint64_t steps;  /* of the clock */
    uint32_t writes; /* dirty victims written back */
};

static struct effort
little_effort(const struct cache *c, uint32_t n)
{
    return (struct effort){ .steps = MIN(2 * (uint64_t) clock_size(c), 4096 + 64 * (uint64_t) n),
                            .writes = MIN(n, 64u) + 16 };
}

static struct effort
full_effort(const struct cache *c)
{
    return (struct effort){ .steps = 2 * (uint64_t) clock_size(c), .writes = UINT32_MAX };
}

/* Evict clean victims until n more could be popped, or the effort is spent. */
static void
evict_until(struct cache *c, uint64_t n_wanted, uint64_t steps)
{

    for (uint64_t i = 0; i < steps && cache_n_free(c) < n_wanted; i++)
        clock_step(c);
}

/* All databases but one (CACHE_NONE: all); how many versions went. */
static uint32_t
prune_others(struct cache *c, uint32_t db)
{
    uint32_t top = atomic_load_explicit(&c->sh->db_top, memory_order_acquire);
    uint32_t n = 0;

    for (uint32_t i = 0; i < top; i++)
        if (i != db && atomic_load_explicit(&c->db[i].n_chains, memory_order_relaxed) != 0)
            n += cache_prune(c, i);
    return n;
}

/* The next dirty sole head in front of the hand, among the first `steps` frames. */
static uint32_t
clean_candidate(const struct cache *c, uint32_t *pos, uint64_t steps)
{
    const uint32_t all = clock_size(c);
    const uint32_t size = (uint32_t) MIN((uint64_t) all, steps);
    const uint32_t hand = atomic_load_explicit(&c->sh->hand, memory_order_relaxed);

    while (*pos < size) {
        uint32_t frame = (hand + (*pos)++) % all;
        uint32_t idx = atomic_load_explicit(&c->ver[frame].page, memory_order_relaxed);
        const struct cache_chain *ch = &c->chain[idx];

        /* hints, without the lock: cache_wb_begin() looks again */
        if (atomic_load_explicit(&c->ver[frame].state, memory_order_relaxed) == VER_LINKED &&
            atomic_load_explicit(&ch->head, memory_order_relaxed) == frame + 1 &&
            atomic_load_explicit(&c->ver[frame].older, memory_order_relaxed) == 0 &&
            atomic_load_explicit(&ch->io, memory_order_relaxed) == CACHE_IO_NONE &&
            atomic_load_explicit(&c->ver[frame].lsn, memory_order_relaxed) >
                atomic_load_explicit(&ch->disk_lsn, memory_order_relaxed))
            return idx;
    }
    return CACHE_NONE;
}

/* Write dirty victims back and evict them. The first failure is kept in e. */
static void
write_back_until(struct cache *c, uint64_t n_wanted, const struct effort *most, struct err *e)
{
    uint32_t pos = 0;

    if (c->ops.write_back == NULL)
        return;
    for (uint32_t i = 0; i < most->writes && cache_n_free(c) < n_wanted; i++) {
        uint32_t idx = clean_candidate(c, &pos, most->steps);
        uint32_t head;

        if (idx == CACHE_NONE)
            return;
        if (c->ops.write_back(c->ops.arg, idx, e) != 0)
            continue;
        head = atomic_load_explicit(&c->chain[idx].head, memory_order_acquire);
        if (head != 0)
            evict_clean(c, head - 1);
    }
}

/* One pass over EVICT-2's ladder. */
static bool
climb(struct cache *c, uint32_t db, uint32_t n, const struct effort *most, uint32_t *ret_frames,
      struct err *e)
{
    const uint32_t leave = c->sh->reserve;
    const uint64_t wanted = (uint64_t) n + leave;
    uint32_t here;

    cache_prune(c, db);
    cache_limbo_drain(c);
    if (pop_all(c, n, leave, false, ret_frames))
        return true;
    evict_until(c, wanted, most->steps);
    if (pop_all(c, n, leave, false, ret_frames))
        return true;
    (void) prune_others(c, db);
    evict_until(c, wanted, most->steps);
    if (pop_all(c, n, leave, false, ret_frames))
        return true;
    write_back_until(c, wanted, most, e);
    if (pop_all(c, n, leave, true, ret_frames))
        return true;
    here = cache_n_free(c);
    here = here > leave ? here - leave : 0;
    return cache_over_grow(c, n > here ? n - here : 0, e) && pop_all(c, n, leave, true, ret_frames);
}

/* All that can be done, but the costly part only when the rest has not helped. */
static bool
find_frames(struct cache *c, uint32_t db, uint32_t n, uint32_t *ret_frames, struct err *e)
{
    struct effort most = little_effort(c, n);

    if (climb(c, db, n, &most, ret_frames, e))
        return true;
    most = full_effort(c);
    return climb(c, db, n, &most, ret_frames, e);
}

static int
no_frames(struct cache *c, uint32_t n, const struct err *cause, struct err *e)
{
    int r = ERR(e, OUT_OF_MEMORY, "could not get %" PRIu32 " page frames in the cache", n);

    cache_count(&c->sh->n_refused);
    if (cause->code != 0)
        err_detail(e, "%s.", cause->message);
    else
        err_detail(e, "Versions of pages that snapshots still need, and pages that could not be "
                      "written, fill it.");
    err_hint(e,
             "Raise shared_buffers or cache_overflow_limit, or end long transactions "
             "(snapshot_patience is %" PRIu64 " ms).",
             c->cfg.snapshot_patience / USEC_PER_MSEC);
    return r;
}

static int
too_many_frames(uint32_t n, uint64_t most, struct err *e)
{
    int r = ERR(e, OUT_OF_MEMORY, "could not commit %" PRIu32 " pages in one transaction", n);

    err_detail(e, "The cache can hold %" PRIu64 " changed pages of one transaction.", most);
    err_hint(e, "Raise shared_buffers or cache_overflow_limit.");
    return r;
}

uint64_t
cache_frames_most(const struct cache *c)
{
    return (uint64_t) c->sh->n_all - c->sh->reserve;
}

int
cache_frames_take(struct cache *c, uint32_t db, uint32_t n, uint32_t *ret_frames, struct err *e)
{
    struct cache_shared *sh = c->sh;
    const uint64_t most = cache_frames_most(c);
    struct err cause = ERR_INIT;
    usec_t deadline;
    int r = 0;

    if (n > most) {
        cache_count(&sh->n_refused);
        return too_many_frames(n, most, e);
    }
    if (atomic_load_explicit(&c->db[db].n_retired, memory_order_relaxed) >= CACHE_BATCH)
        cache_prune(c, db);
    if (pop_all(c, n, sh->reserve, false, ret_frames))
        return 0;
    deadline = clock_mono_usec() + c->cfg.snapshot_patience;
    atomic_fetch_add_explicit(&sh->frame_waiters, 1, memory_order_seq_cst);
    for (;;) {
        uint32_t seen = atomic_load_explicit(&sh->frame_event, memory_order_acquire);
        bool found = find_frames(c, db, n, ret_frames, &cause);
        usec_t now = clock_mono_usec();

        if (found)
            break;
        if (now >= deadline) {
            r = no_frames(c, n, &cause, e);
            break;
        }
        cache_snaps_cancel_oldest(c, now); /* SNAP-6: the last step */
        r = wait_sleep(c->self, &sh->frame_event, seen, MIN(deadline, now + CACHE_WAIT_USEC),
                       WAIT_FRAME, e);
        if (r < 0)
            break;
        r = 0;
    }
    atomic_fetch_sub_explicit(&sh->frame_waiters, 1, memory_order_relaxed);
    return r;
}

void
cache_wb_relieve(struct cache *c, uint32_t db)
{
    struct cache_shared *sh = c->sh;
    uint32_t seen = atomic_load_explicit(&sh->frame_event, memory_order_acquire);
    usec_t now = clock_mono_usec();

    ASSERT(c->io_ref == 0);
    if ((db == CACHE_NONE ? prune_others(c, db) : cache_prune(c, db)) > 0)
        return;
    cache_snaps_cancel_oldest(c, now);
    atomic_fetch_add_explicit(&sh->frame_waiters, 1, memory_order_seq_cst);
    self_hold(c->self);
    (void) wait_sleep(c->self, &sh->frame_event, seen, now + CACHE_WAIT_USEC, WAIT_FRAME, NULL);
    self_resume(c->self);
    atomic_fetch_sub_explicit(&sh->frame_waiters, 1, memory_order_relaxed);
}

void
cache_frames_give_back(struct cache *c, const uint32_t *frames, uint32_t n)
{
    struct cache_shared *sh = c->sh;

    if (n == 0)
        return;
    ASSERT(c->n_owned >= n);
    c->n_owned -= n;
    for (uint32_t i = 0; i < n;) {
        uint32_t end = MIN(n, i + CACHE_BATCH);

        spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
        for (; i < end; i++)
            free_push(c, frames[i]);
        spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
    }
    if (atomic_load_explicit(&sh->frame_waiters, memory_order_relaxed) != 0)
        cache_frames_announce(c);
}

uint8_t *
cache_frame(struct cache *c, uint32_t frame)
{
    return cache_frame_at(c, frame);
}

bool
cache_wants_ahead(const struct cache *c, uint32_t frame)
{
    uint32_t made = atomic_load_explicit(&c->sh->n_made, memory_order_relaxed);

    return frame >= CACHE_AHEAD / 2 && made < c->sh->n_frames && made < frame + CACHE_AHEAD / 2;
}

uint32_t
cache_make_ahead(struct cache *c)
{
    struct cache_shared *sh = c->sh;
    uint32_t n_done = 0;

    for (;;) {
        uint32_t made = atomic_load_explicit(&sh->n_made, memory_order_relaxed);
        uint32_t fresh, n;

        spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
        fresh = sh->n_fresh;
        spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
        made = MAX(made, fresh); /* who was faster has made its own */
        n = MIN(fresh + CACHE_AHEAD, sh->n_frames) - MIN(made, sh->n_frames);
        if (made >= fresh + CACHE_AHEAD || n == 0)
            return n_done;
        n = MIN(n, (uint32_t) CACHE_BATCH);
        shm_populate(cache_frame_at(c, made), (uint64_t) n * CACHE_FRAME_BYTES);
        atomic_store_explicit(&sh->n_made, made + n, memory_order_relaxed);
        n_done += n;
    }
}

/* ---- bgwriter ---- */

uint32_t
cache_clean_candidate(struct cache *c, uint32_t *pos)
{
    return clean_candidate(c, pos, UINT64_MAX);
}

/* Frames of second choice are given back as soon as what is in them is clean and nobody has looked
 * at it since the last round: the next look reads it into a frame of first choice. */
static void
drain_overflow(struct cache *c)
{
    uint32_t grown = atomic_load_explicit(&c->sh->over_grown, memory_order_relaxed);

    if (atomic_load_explicit(&c->sh->over_in_use, memory_order_relaxed) == 0)
        return;
    for (uint32_t i = 0; i < MIN(grown, OVER_LOOKS); i++) {
        uint32_t frame = c->sh->n_frames + c->over_hand++ % grown;
        struct cache_ver *v = &c->ver[frame];

        if (atomic_load_explicit(&v->state, memory_order_relaxed) != VER_LINKED)
            continue;
        if (atomic_load_explicit(&v->use, memory_order_relaxed) != 0)
            atomic_store_explicit(&v->use, 0, memory_order_relaxed);
        else
            (void) evict_clean(c, frame);
    }
}

void
cache_maintain(struct cache *c)
{
    uint32_t n = atomic_load_explicit(&c->sh->n_limbo, memory_order_relaxed);

    for (uint32_t done = 0; done < n; done += CACHE_BATCH)
        cache_limbo_drain(c);
    drain_overflow(c);
    cache_over_punch(c);
}
