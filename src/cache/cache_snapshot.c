/* Snapshot entries: claim, take, release, scan, cancel. Runs in: every attached process. Owns:
 * cache_proc.ent. Source: engine-rules SNAP-1 … SNAP-4, SNAP-6, EVICT-1. */
#include "cache/cache_snapshot.h"

#include <string.h>

#include "base/clock.h"

static struct cache_ent *
own_entry(const struct cache *c, uint32_t entry)
{
    ASSERT(entry < CACHE_ENTRIES);
    return &cache_me(c)->ent[entry];
}

int
cache_entry_claim(struct cache *c, uint32_t db, uint32_t *ret_entry, struct err *e)
{
    ASSERT(db < CACHE_DBS);
    for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
        struct cache_ent *ent = own_entry(c, i);

        if (atomic_load_explicit(&ent->db, memory_order_relaxed) != 0)
            continue;
        atomic_store_explicit(&ent->db, db + 1, memory_order_relaxed);
        cache_show_proc(c);
        if (i >= atomic_load_explicit(&cache_me(c)->ent_top, memory_order_relaxed))
            atomic_store_explicit(&cache_me(c)->ent_top, i + 1, memory_order_relaxed);
        *ret_entry = i;
        return 0;
    }
    return ERR(e, CONFIGURATION_LIMIT_EXCEEDED,
               "could not open another database handle: this session has %d already",
               CACHE_ENTRIES);
}

void
cache_entry_release(struct cache *c, uint32_t entry)
{
    struct cache_ent *ent = own_entry(c, entry);

    ASSERT(atomic_load_explicit(&ent->snap, memory_order_relaxed) == 0);
    atomic_store_explicit(&ent->db, 0, memory_order_relaxed);
}

/* A new snapshot begins: its own number, so that an old cancel does not hit it. */
static struct cache_ent *
begin_snapshot(struct cache *c, uint32_t entry, bool is_writer)
{
    struct cache_ent *ent = own_entry(c, entry);
    uint64_t seq = atomic_load_explicit(&ent->seq, memory_order_relaxed);

    ASSERT(atomic_load_explicit(&ent->db, memory_order_relaxed) != 0);
    ASSERT(atomic_load_explicit(&ent->snap, memory_order_relaxed) == 0);
    atomic_store_explicit(&ent->since, clock_mono_usec(), memory_order_relaxed);
    atomic_store_explicit(&ent->is_writer, is_writer, memory_order_relaxed);
    atomic_store_explicit(&ent->seq, seq + 1, memory_order_relaxed);
    return ent;
}

lsn_t
cache_snapshot_take(struct cache *c, uint32_t entry, lsn_t own)
{
    struct cache_ent *ent = begin_snapshot(c, entry, false);
    lsn_t h = cache_horizon(c);
    lsn_t s;

    do { /* SNAP-2 */
        s = MAX(h, own);
        ASSERT(s != 0);
        SIM_YIELD(snapshot_loaded);
        /* release: db above is seen with it. The fence: either the pruner's scan, which comes
         * after its load of cap and its fence, sees this store, or we see its cap in H below. */
        atomic_store_explicit(&ent->snap, s, memory_order_release);
        atomic_thread_fence(memory_order_seq_cst);
        SIM_YIELD(snapshot_stored);
        h = cache_horizon(c);
    } while (MAX(h, own) != s);
    return s;
}

void
cache_snapshot_take_at(struct cache *c, uint32_t entry, lsn_t s)
{
    struct cache_ent *ent = begin_snapshot(c, entry, true);

    /* SNAP-3: s = p[db], and only we can publish: its versions are heads, which no one prunes. */
    ASSERT(s != 0);
    atomic_store_explicit(&ent->snap, s, memory_order_release);
}

void
cache_snapshot_advance(struct cache *c, uint32_t entry, lsn_t s)
{
    struct cache_ent *ent = own_entry(c, entry);

    ASSERT(s >= atomic_load_explicit(&ent->snap, memory_order_relaxed));
    atomic_store_explicit(&ent->snap, s, memory_order_release); /* VFS-5 */
}

void
cache_snapshot_drop(struct cache *c, uint32_t entry)
{
    struct cache_ent *ent = own_entry(c, entry);

    atomic_store_explicit(&ent->snap, 0, memory_order_release); /* SNAP-4 */
    if (atomic_load_explicit(&c->sh->frame_waiters, memory_order_relaxed) != 0)
        cache_frames_announce(c);
}

static bool
is_cancelled(const struct cache_ent *ent)
{
    return atomic_load_explicit(&ent->cancel, memory_order_acquire) ==
           atomic_load_explicit(&ent->seq, memory_order_relaxed);
}

bool
cache_snapshot_cancelled(const struct cache *c, uint32_t entry)
{
    const struct cache_ent *ent = own_entry(c, entry);

    return atomic_load_explicit(&ent->snap, memory_order_relaxed) != 0 && is_cancelled(ent);
}

/* ---- scanning ---- */

/* Rising, each value once. */
static void
snaps_add(struct cache_snaps *s, lsn_t snap)
{
    uint32_t lo = 0, hi = s->n;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (s->at[mid] < snap)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < s->n && s->at[lo] == snap)
        return;
    if (s->n == CACHE_SNAPS_MAX) {
        s->is_full = true;
        s->at[0] = MIN(s->at[0], snap);
        return;
    }
    memmove(&s->at[lo + 1], &s->at[lo], (s->n - lo) * sizeof s->at[0]);
    s->at[lo] = snap;
    s->n++;
}

void
cache_snaps_scan(const struct cache *c, uint32_t db, struct cache_snaps *ret)
{
    uint32_t n_procs;

    ret->n = 0;
    ret->is_full = false;
    /* First cap, then the fence, then the entries: a snapshot taken after our scan of its entry
     * has read an H ≥ this cap (pairs with the fence of SNAP-2). */
    ret->cap = cache_cap(c);
    atomic_thread_fence(memory_order_seq_cst);
    SIM_YIELD(scan_cap_loaded);
    n_procs = atomic_load_explicit(&c->sh->proc_top, memory_order_acquire);
    for (uint32_t i = 0; i < n_procs; i++) {
        uint32_t top = atomic_load_explicit(&c->proc[i].ent_top, memory_order_acquire);

        for (uint32_t k = 0; k < top; k++) {
            const struct cache_ent *ent = &c->proc[i].ent[k];
            lsn_t snap = atomic_load_explicit(&ent->snap, memory_order_acquire);

            if (snap != 0 && (db == CACHE_NONE ||
                              atomic_load_explicit(&ent->db, memory_order_relaxed) == db + 1))
                snaps_add(ret, snap);
        }
        SIM_YIELD(scan_entry);
    }
}

bool
cache_snaps_need(const struct cache_snaps *s, lsn_t a, lsn_t b)
{
    uint32_t lo = 0, hi = s->n;

    if (b > s->cap)
        return true;
    if (s->is_full)
        return b > s->at[0];
    while (lo < hi) { /* first snapshot ≥ a */
        uint32_t mid = (lo + hi) / 2;

        if (s->at[mid] < a)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n && s->at[lo] < b;
}

bool
cache_snapshot_below(struct cache *c, uint32_t db, lsn_t lsn)
{
    struct cache_snaps s;

    cache_snaps_scan(c, db, &s);
    return s.n > 0 && s.at[0] < lsn;
}

bool
cache_snapshots_any(struct cache *c)
{
    struct cache_snaps s;

    cache_snaps_scan(c, CACHE_NONE, &s);
    return s.n > 0;
}

/* ---- cancelling (SNAP-6) ---- */

/* Has this process a snapshot taken under a writer lock? */
static bool
is_writing(const struct cache *c, uint32_t procno)
{
    uint32_t top = atomic_load_explicit(&c->proc[procno].ent_top, memory_order_acquire);

    for (uint32_t k = 0; k < top; k++) {
        const struct cache_ent *ent = &c->proc[procno].ent[k];

        if (atomic_load_explicit(&ent->snap, memory_order_acquire) != 0 &&
            atomic_load_explicit(&ent->is_writer, memory_order_relaxed))
            return true;
    }
    return false;
}

/* May this entry be asked to end? `*ret_seq` is read before the rest: a newer snapshot is not hit.
 */
static bool
is_candidate(const struct cache *c, const struct cache_ent *ent, uint64_t *ret_seq)
{
    uint32_t db;

    *ret_seq = atomic_load_explicit(&ent->seq, memory_order_acquire);
    if (atomic_load_explicit(&ent->snap, memory_order_acquire) == 0)
        return false;
    db = atomic_load_explicit(&ent->db, memory_order_relaxed);
    return db != 0 && atomic_load_explicit(&c->db[db - 1].n_held, memory_order_relaxed) > 0 &&
           atomic_load_explicit(&ent->cancel, memory_order_relaxed) != *ret_seq;
}

bool
cache_snaps_cancel_oldest(struct cache *c, usec_t now)
{
    struct cache_ent *oldest = NULL;
    uint64_t oldest_seq = 0;
    usec_t oldest_since = UINT64_MAX;
    uint32_t oldest_proc = 0;

    for (uint32_t i = 0; i < c->cfg.max_procs; i++) {
        uint32_t top = atomic_load_explicit(&c->proc[i].ent_top, memory_order_acquire);

        if (is_writing(c, i))
            continue;
        for (uint32_t k = 0; k < top; k++) {
            struct cache_ent *ent = &c->proc[i].ent[k];
            usec_t since = atomic_load_explicit(&ent->since, memory_order_relaxed);
            uint64_t seq;

            if (since >= oldest_since || !is_candidate(c, ent, &seq))
                continue;
            oldest = ent;
            oldest_seq = seq;
            oldest_since = since;
            oldest_proc = i;
        }
    }
    if (oldest == NULL || now < oldest_since || now - oldest_since < c->cfg.snapshot_patience)
        return false;
    atomic_store_explicit(&oldest->cancel, oldest_seq, memory_order_release);
    cache_count(&c->sh->n_cancelled);
    if (c->cfg.slots != NULL)
        slot_request(&c->cfg.slots[oldest_proc], REQ_SNAPSHOT);
    return true;
}

uint32_t
cache_unresponsive(const struct cache *c, uint32_t *pos)
{
    for (; *pos < c->cfg.max_procs; (*pos)++) {
        const struct cache_proc *p = &c->proc[*pos];
        uint32_t top = atomic_load_explicit(&p->ent_top, memory_order_acquire);

        for (uint32_t k = 0; k < top; k++)
            if (atomic_load_explicit(&p->ent[k].snap, memory_order_acquire) != 0 &&
                is_cancelled(&p->ent[k]))
                return (*pos)++;
    }
    return CACHE_NONE;
}
