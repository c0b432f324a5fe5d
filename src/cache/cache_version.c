/* Chains of versions: publish, retire, prune, purge. Runs in: every attached process; prune in the
 * preparing writer and the bgwriter, purge in the checkpointer. Owns: cache_ver of linked frames,
 * retired and held lists. Source: engine-rules CACHE-2, COMMIT-5, EVICT-1, FILE-3. */
#include "cache/cache_version.h"

#include <string.h>

#include "base/clock.h"
#include "cache/cache_evict.h"
#include "cache/cache_snapshot.h"

/* ---- chains ---- */

uint32_t
cache_version_find(const struct cache *c, const struct cache_chain *ch, lsn_t s)
{
    /* acquire: pairs with the release of publish; the content below is complete */
    uint32_t ref = atomic_load_explicit(&ch->head, memory_order_acquire);

    while (ref != 0 && atomic_load_explicit(&c->ver[ref - 1].lsn, memory_order_relaxed) > s)
        ref = atomic_load_explicit(&c->ver[ref - 1].older, memory_order_acquire);
    return ref;
}

/* Ref of the lowest version, 0 = none. */
static uint32_t
lowest_ref(const struct cache *c, const struct cache_chain *ch)
{
    uint32_t ref = atomic_load_explicit(&ch->head, memory_order_acquire);

    for (uint32_t older = ref; older != 0;) {
        ref = older;
        older = atomic_load_explicit(&c->ver[ref - 1].older, memory_order_acquire);
    }
    return ref;
}

lsn_t
cache_version_lowest(const struct cache *c, const struct cache_chain *ch)
{
    uint32_t ref = lowest_ref(c, ch);

    if (ref == 0)
        return UINT64_MAX;
    return atomic_load_explicit(&c->ver[ref - 1].lsn, memory_order_relaxed);
}

void
cache_version_fill(struct cache *c, const struct cache_chain *ch, uint32_t frame, lsn_t lsn)
{
    struct cache_ver *v = &c->ver[frame];

    ASSERT(atomic_load_explicit(&v->state, memory_order_relaxed) == VER_OWNED);
    ASSERT(v->owner == c->self->procno);
    atomic_store_explicit(&v->lsn, lsn, memory_order_relaxed);
    atomic_store_explicit(&v->page, (uint32_t) (ch - c->chain), memory_order_relaxed);
    atomic_store_explicit(&v->older, 0, memory_order_relaxed);
    v->superseded = 0;
    atomic_store_explicit(&v->use, 1, memory_order_relaxed);
}

/* The frame changes from ours to the chain's. */
static void
set_linked(struct cache *c, uint32_t frame)
{
    ASSERT(c->n_owned > 0);
    c->n_owned--;
    atomic_store_explicit(&c->ver[frame].state, VER_LINKED, memory_order_relaxed);
}

/* v has a newer version now (bucket → retire). */
static void
retire(struct cache *c, struct cache_db *d, uint32_t frame, lsn_t b)
{
    c->ver[frame].superseded = b;
    spin_take(c->self, &d->lock, LOCK_RETIRE);
    if (d->retired.first == 0)
        atomic_store_explicit(&d->next_b, b, memory_order_relaxed);
    cache_list_push(c, &d->retired, frame);
    atomic_fetch_add_explicit(&d->n_retired, 1, memory_order_relaxed);
    spin_drop(c->self, &d->lock, LOCK_RETIRE);
}

void
cache_version_link_low(struct cache *c, struct cache_bucket *b, struct cache_chain *ch,
                       uint32_t frame)
{
    uint32_t above = lowest_ref(c, ch);

    set_linked(c, frame);
    if (above == 0) {
        /* release: content before head */
        atomic_store_explicit(&ch->head, frame + 1, memory_order_release);
    } else {
        lsn_t lsn = atomic_load_explicit(&c->ver[above - 1].lsn, memory_order_relaxed);
        uint32_t db = atomic_load_explicit(&ch->db, memory_order_relaxed);

        ASSERT(lsn > atomic_load_explicit(&c->ver[frame].lsn, memory_order_relaxed));
        atomic_store_explicit(&c->ver[above - 1].older, frame + 1, memory_order_release);
        retire(c, &c->db[db], frame, lsn);
    }
    cache_map_bump(b);
}

void
cache_version_unlink_sole(struct cache *c, struct cache_bucket *b, struct cache_chain *ch,
                          uint32_t frame)
{
    ASSERT(atomic_load_explicit(&ch->head, memory_order_relaxed) == frame + 1);
    ASSERT(atomic_load_explicit(&c->ver[frame].older, memory_order_relaxed) == 0);
    atomic_store_explicit(&ch->head, 0, memory_order_release);
    atomic_store_explicit(&c->ver[frame].state, VER_LIMBO, memory_order_relaxed);
    cache_map_bump(b);
}

/* ---- publish (COMMIT-5) ---- */

static void
publish_one(struct cache *c, uint32_t db, const struct cache_key *key, uint32_t frame, lsn_t lsn)
{
    struct cache_bucket *b = cache_map_bucket(c, key);
    struct cache_chain *ch;
    uint32_t old;

    cache_map_lock(c, b);
    ch = cache_map_get(c, b, key, db);
    old = atomic_load_explicit(&ch->head, memory_order_relaxed);
    cache_version_fill(c, ch, frame, lsn);
    if (old != 0)
        ASSERT(atomic_load_explicit(&c->ver[old - 1].lsn, memory_order_relaxed) < lsn);
    atomic_store_explicit(&c->ver[frame].older, old, memory_order_relaxed);
    set_linked(c, frame);
    /* release: content, lsn and older before head; pairs with the acquire of a walk */
    atomic_store_explicit(&ch->head, frame + 1, memory_order_release);
    if (old != 0)
        retire(c, &c->db[db], old - 1, lsn);
    cache_map_unlock(c, b);
}

void
cache_publish(struct cache *c, uint32_t db, oid_t rel, const blk_t *blocks, const uint32_t *frames,
              uint32_t n, lsn_t lsn)
{
    oid_t oid = atomic_load_explicit(&c->db[db].oid, memory_order_relaxed);

    ASSERT(lsn != 0);
    for (uint32_t i = 0; i < n; i++) {
        const struct cache_key key = { .oid = oid, .rel = rel, .block = blocks[i] };

        publish_one(c, db, &key, frames[i], lsn);
        SIM_YIELD(published_one);
    }
}

/* ---- prune (EVICT-1) ---- */

/* Take a superseded version out of its chain. */
static void
unlink_retired(struct cache *c, uint32_t frame)
{
    struct cache_bucket *b;
    uint32_t page = atomic_load_explicit(&c->ver[frame].page, memory_order_relaxed);
    struct cache_chain *ch = cache_map_lock_chain(c, page, &b);
    uint32_t ref;

    ASSERT(ch != NULL);
    ref = atomic_load_explicit(&ch->head, memory_order_relaxed);
    ASSERT(ref != 0);
    ASSERT(ref != frame + 1);
    for (;;) {
        uint32_t older = atomic_load_explicit(&c->ver[ref - 1].older, memory_order_relaxed);

        if (older == frame + 1)
            break;
        ASSERT(older != 0);
        ref = older;
    }
    atomic_store_explicit(&c->ver[ref - 1].older,
                          atomic_load_explicit(&c->ver[frame].older, memory_order_relaxed),
                          memory_order_release);
    atomic_store_explicit(&c->ver[frame].state, VER_LIMBO, memory_order_relaxed);
    cache_map_bump(b);
    cache_map_unlock(c, b);
}

/* Up to CACHE_BATCH retired versions with b ≤ cap, in order. */
static uint32_t
pop_retired(struct cache *c, struct cache_db *d, lsn_t cap, uint32_t *ret_frames)
{
    uint32_t n = 0;
    lsn_t next_b = 0;

    spin_take(c->self, &d->lock, LOCK_RETIRE);
    while (d->retired.first != 0) {
        next_b = c->ver[d->retired.first - 1].superseded;
        if (n == CACHE_BATCH || next_b > cap)
            break;
        ret_frames[n++] = cache_list_pop(c, &d->retired);
        next_b = 0;
    }
    atomic_store_explicit(&d->next_b, next_b, memory_order_relaxed);
    atomic_fetch_sub_explicit(&d->n_retired, n, memory_order_relaxed);
    spin_drop(c->self, &d->lock, LOCK_RETIRE);
    return n;
}

static bool
is_needed(const struct cache *c, const struct cache_snaps *snaps, uint32_t frame)
{
    const struct cache_ver *v = &c->ver[frame];

    return cache_snaps_need(snaps, atomic_load_explicit(&v->lsn, memory_order_relaxed),
                            v->superseded);
}

static uint32_t
prune_retired(struct cache *c, struct cache_db *d, const struct cache_snaps *snaps)
{
    uint32_t frames[CACHE_BATCH];
    uint32_t freed = 0;
    uint32_t n;

    do {
        uint32_t n_victims = 0;

        n = pop_retired(c, d, snaps->cap, frames);
        for (uint32_t i = 0; i < n; i++) {
            if (is_needed(c, snaps, frames[i])) {
                cache_list_push(c, &d->held, frames[i]);
                atomic_fetch_add_explicit(&d->n_held, 1, memory_order_relaxed);
            } else {
                unlink_retired(c, frames[i]);
                frames[n_victims++] = frames[i];
            }
        }
        cache_frames_reap(c, frames, n_victims);
        freed += n_victims;
    } while (n == CACHE_BATCH);
    return freed;
}

/* Everything that `held` keeps was needed by a snapshot in `seen`, or held_due is set. */
static void
note_snapshots(struct cache_db *d, const struct cache_snaps *snaps)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < d->n_seen; i++) {
        while (at < snaps->n && snaps->at[at] < d->seen[i])
            at++;
        if (at == snaps->n || snaps->at[at] != d->seen[i])
            d->held_due = true; /* one that was there is gone */
    }
    d->n_seen = MIN(snaps->n, CACHE_SEEN);
    memcpy(d->seen, snaps->at, d->n_seen * sizeof d->seen[0]);
    if (snaps->n > CACHE_SEEN)
        d->held_due = true;
}

static uint32_t
prune_held(struct cache *c, struct cache_db *d, const struct cache_snaps *snaps)
{
    struct cache_list all = d->held;
    uint32_t frames[CACHE_BATCH];
    uint32_t n = 0, freed = 0;
    uint32_t f;

    d->held = (struct cache_list){ 0, 0 };
    while ((f = cache_list_pop(c, &all)) != CACHE_NONE) {
        if (is_needed(c, snaps, f)) {
            cache_list_push(c, &d->held, f);
            continue;
        }
        atomic_fetch_sub_explicit(&d->n_held, 1, memory_order_relaxed);
        unlink_retired(c, f);
        frames[n++] = f;
        freed++;
        if (n == CACHE_BATCH) {
            cache_frames_reap(c, frames, n);
            n = 0;
        }
    }
    cache_frames_reap(c, frames, n);
    d->held_due = snaps->n > CACHE_SEEN;
    return freed;
}

/* Worth a scan? Hints only: another process may change them at once. */
static bool
is_worth_pruning(const struct cache *c, const struct cache_db *d)
{
    lsn_t b = atomic_load_explicit(&d->next_b, memory_order_relaxed);

    return (b != 0 && b <= cache_cap(c)) ||
           atomic_load_explicit(&d->n_held, memory_order_relaxed) > 0;
}

uint32_t
cache_prune(struct cache *c, uint32_t db)
{
    struct cache_db *d = &c->db[db];
    struct cache_snaps snaps;
    uint32_t freed;
    usec_t now;

    if (!is_worth_pruning(c, d) || !rwlock_try_exclusive(c->self, &d->pruning, LOCK_PRUNE))
        return 0;
    cache_snaps_scan(c, db, &snaps);
    note_snapshots(d, &snaps);
    freed = prune_retired(c, d, &snaps);
    if (d->held_due && d->held.first != 0) {
        now = clock_mono_usec();
        if (now - d->held_walked_usec >= CACHE_HELD_USEC) {
            freed += prune_held(c, d, &snaps);
            d->held_walked_usec = now;
        }
    }
    rwlock_drop_exclusive(c->self, &d->pruning, LOCK_PRUNE);
    atomic_fetch_add_explicit(&c->sh->n_pruned, freed, memory_order_relaxed);
    return freed;
}

/* ---- purge (FILE-3, FILE-5) ---- */

/* Under b's lock: the head is a victim, the others are dead on their lists. Returns the head or
 * CACHE_NONE. */
static uint32_t
purge_chain(struct cache *c, struct cache_bucket *b, struct cache_chain *ch)
{
    uint32_t head = atomic_load_explicit(&ch->head, memory_order_relaxed);

    atomic_store_explicit(&ch->head, 0, memory_order_release);
    cache_map_bump(b);
    for (uint32_t ref = head; ref != 0;) {
        struct cache_ver *v = &c->ver[ref - 1];

        atomic_store_explicit(&v->state, ref == head ? VER_LIMBO : VER_DEAD, memory_order_relaxed);
        ref = atomic_load_explicit(&v->older, memory_order_relaxed);
    }
    return head != 0 ? head - 1 : CACHE_NONE;
}

/* Forget the chain at idx if it belongs to (db, rel). */
static void
purge_idx(struct cache *c, uint32_t idx, uint32_t db, oid_t rel)
{
    for (;;) {
        struct cache_bucket *b;
        struct cache_chain *ch = cache_map_lock_chain(c, idx, &b);
        uint32_t io, head;

        if (ch == NULL)
            return;
        if (atomic_load_explicit(&ch->db, memory_order_relaxed) != db ||
            (rel != 0 && atomic_load_explicit(&ch->rel, memory_order_relaxed) != rel)) {
            cache_map_unlock(c, b);
            return;
        }
        io = atomic_load_explicit(&ch->io, memory_order_relaxed);
        if (io == CACHE_IO_NONE) {
            head = purge_chain(c, b, ch);
            cache_map_settle(c, b, ch);
            cache_map_unlock(c, b);
            if (head != CACHE_NONE)
                cache_frames_reap(c, &head, 1);
            return;
        }
        cache_map_unlock(c, b);
        cache_io_wait(c, idx);
    }
}

/* Take the dead off a list; returns how many. The caller owns the list. */
static uint32_t
purge_list(struct cache *c, struct cache_list *l)
{
    struct cache_list all = *l;
    uint32_t gone = 0;
    uint32_t f;

    *l = (struct cache_list){ 0, 0 };
    while ((f = cache_list_pop(c, &all)) != CACHE_NONE) {
        if (atomic_load_explicit(&c->ver[f].state, memory_order_relaxed) != VER_DEAD) {
            cache_list_push(c, l, f);
            continue;
        }
        atomic_store_explicit(&c->ver[f].state, VER_LIMBO, memory_order_relaxed);
        cache_frames_reap(c, &f, 1);
        gone++;
    }
    return gone;
}

/* Take the dead off `retired`, to which others may push. */
static void
purge_retired(struct cache *c, struct cache_db *d)
{
    struct cache_list mine;
    uint32_t gone;

    spin_take(c->self, &d->lock, LOCK_RETIRE);
    mine = d->retired;
    d->retired = (struct cache_list){ 0, 0 };
    spin_drop(c->self, &d->lock, LOCK_RETIRE);
    gone = purge_list(c, &mine);
    spin_take(c->self, &d->lock, LOCK_RETIRE);
    atomic_fetch_sub_explicit(&d->n_retired, gone, memory_order_relaxed);
    if (mine.first != 0) { /* what was pushed meanwhile goes behind */
        c->ver[mine.last - 1].next = d->retired.first;
        d->retired.first = mine.first;
        if (d->retired.last == 0)
            d->retired.last = mine.last;
    }
    atomic_store_explicit(&d->next_b,
                          d->retired.first ? c->ver[d->retired.first - 1].superseded : 0,
                          memory_order_relaxed);
    spin_drop(c->self, &d->lock, LOCK_RETIRE);
}

void
cache_purge(struct cache *c, uint32_t db, oid_t rel)
{
    struct cache_db *d = &c->db[db];
    uint32_t n;

    rwlock_take_exclusive(c->self, &d->pruning, LOCK_PRUNE, WAIT_DB_FILE);
    n = atomic_load_explicit(&c->sh->n_chain_fresh, memory_order_acquire);
    for (uint32_t idx = 0; idx < n; idx++)
        purge_idx(c, idx, db, rel);
    purge_retired(c, d);
    atomic_fetch_sub_explicit(&d->n_held, purge_list(c, &d->held), memory_order_relaxed);
    rwlock_drop_exclusive(c->self, &d->pruning, LOCK_PRUNE);
}

void
cache_db_open(struct cache *c, uint32_t db, oid_t oid)
{
    uint32_t top = atomic_load_explicit(&c->sh->db_top, memory_order_relaxed);

    ASSERT(db < CACHE_DBS);
    ASSERT(cache_db_is_empty(c, db));
    atomic_store_explicit(&c->db[db].oid, oid, memory_order_release);
    while (top <= db &&
           !atomic_compare_exchange_weak_explicit(&c->sh->db_top, &top, db + 1,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

bool
cache_db_is_empty(const struct cache *c, uint32_t db)
{
    const struct cache_db *d = &c->db[db];

    return atomic_load_explicit(&d->n_chains, memory_order_acquire) == 0 &&
           atomic_load_explicit(&d->n_retired, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&d->n_held, memory_order_relaxed) == 0;
}
