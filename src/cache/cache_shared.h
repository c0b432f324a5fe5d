/* The region of the cache in shared memory (CACHE-1). For src/cache and its tests only.
 *
 * All of it is valid when zeroed: a `ref` is an index + 1, 0 = none; frames and chains that were
 * never used are not on a list but above a mark, so an idle server does not touch them. */
#pragma once

#include <stdatomic.h>

#include "base/sim.h"
#include "cache/cache.h"

#define CACHE_BATCH     64                   /* EVICT-1: frames per scan of the pins */
#define CACHE_AHEAD     1024u                /* frames that get their memory ahead of redo */
#define CACHE_SEEN      32                   /* snapshots remembered from the last look at `held` */
#define CACHE_OVER_STEP (UINT64_C(16) << 20) /* OVER-1, bytes */
#define CACHE_HELD_USEC (10 * USEC_PER_MSEC) /* EVICT-1: `held` is walked at most this often */
#define CACHE_WAIT_USEC (10 * USEC_PER_MSEC) /* a writer short of frames looks again */
#define CACHE_SPARE_PINS                                                     \
    4 /* elements of the pin array that no quota reaches: copies, write-back \
       */

enum cache_ver_state {
    VER_FREE,   /* free list, or never used */
    VER_OWNED,  /* of one process: being filled */
    VER_LINKED, /* in a chain */
    VER_DEAD,   /* unlinked by purge, still on a retire list */
    VER_LIMBO,  /* unlinked; perhaps pinned */
};

enum cache_io { CACHE_IO_NONE, CACHE_IO_READING, CACHE_IO_WRITING };

/* One per frame. Content, lsn, page are written by the owner before it is linked. */
struct cache_ver {
    alignas(64) _Atomic lsn_t lsn;
    _Atomic uint32_t older; /* ref; bucket.lock; release, pairs with acquire in a walk */
    _Atomic uint32_t page;  /* chain index; the clock reads it without a lock and checks again */
    lsn_t superseded;      /* b: LSN of the next newer version, 0 = newest; set once, bucket.lock */
    uint32_t next;         /* ref; lock of the list it is on: free, limbo, retired, held */
    uint32_t owner;        /* procno while VER_OWNED */
    _Atomic uint8_t use;   /* clock; written only if it is 0, or by the clock */
    _Atomic uint8_t state; /* enum cache_ver_state, relaxed: bucket.lock or the owner */
};
static_assert(sizeof(struct cache_ver) == 64, "one version per cache line");
static_assert(alignof(struct cache_ver) == 64, "one version per cache line");

/* The Page of CACHE-1: key and chain of one page. Guarded by the lock of its bucket; exists while
 * it has a version or an io. */
struct cache_chain {
    alignas(64) _Atomic uint32_t oid; /* key: read without the lock only to find the bucket */
    _Atomic uint32_t rel;
    _Atomic uint32_t block;
    _Atomic uint32_t head; /* ref of the newest version; release, pairs with acquire in a walk */
    _Atomic uint32_t next; /* ref: the bucket's list, or the list of free chains */
    _Atomic uint32_t io;   /* enum cache_io; a futex word */
    uint32_t io_owner;     /* procno */
    _Atomic uint32_t db;
    _Atomic lsn_t disk_lsn; /* LSN of what is on disk; 0 = unknown (CACHE-3) */
};
static_assert(sizeof(struct cache_chain) == 64, "one chain per cache line");

struct cache_bucket {
    struct spin lock;
    _Atomic uint32_t head; /* ref of a chain */
    _Atomic uint64_t seq;  /* CACHE-5: bumped (release) by every change but a new head or chain */
};
static_assert(sizeof(struct cache_bucket) == 16, "four buckets per cache line");

struct cache_list {
    uint32_t first; /* ref */
    uint32_t last;  /* ref */
};

/* One per open database. */
struct cache_db {
    alignas(64) _Atomic uint32_t oid;
    struct rwlock pruning;      /* one pruner at a time; purge too */
    struct spin lock;           /* RETIRE: `retired` */
    struct cache_list retired;  /* FIFO: superseded, not looked at yet, or b > cap */
    struct cache_list held;     /* some snapshot needed it; `pruning` */
    _Atomic uint32_t n_retired; /* relaxed; for people, and to know when to prune */
    _Atomic uint32_t n_held;    /* likewise */
    _Atomic uint32_t n_chains;  /* relaxed */
    _Atomic lsn_t next_b;       /* b of the first retired version, a hint; 0 = none */
    usec_t held_walked_usec;    /* monotonic; `pruning`, like the rest */
    bool held_due;              /* a snapshot that held may have waited for is gone */
    uint32_t n_seen;            /* snapshots at the last look */
    lsn_t seen[CACHE_SEEN];
};

/* SNAP-1. Written by the owner; `cancel` by who is short of frames. */
struct cache_ent {
    _Atomic lsn_t snap;         /* 0 = none; release / acquire, and SNAP-2's fence */
    _Atomic uint64_t seq;       /* one more for each snapshot; owner */
    _Atomic uint64_t cancel;    /* = seq: this snapshot is asked to end (SNAP-6) */
    _Atomic usec_t since;       /* monotonic; relaxed */
    _Atomic uint32_t db;        /* index + 1 while claimed; before snap */
    _Atomic uint32_t is_writer; /* taken under the writer lock (SNAP-3) */
};

/* One per process. The tops are how far the scans must look: set (relaxed) before a pin or snapshot
 * behind them, and seen with it for the same reason. They only rise until the process leaves. */
struct cache_proc {
    alignas(64) _Atomic uint32_t pin_top;
    _Atomic uint32_t ent_top;
    alignas(64) _Atomic uint32_t pin[CACHE_PINS]; /* frame ref; owner; cleared by release */
    alignas(64) struct cache_ent ent[CACHE_ENTRIES];
};

struct cache_shared {
    uint32_t n_frames;
    uint32_t n_overflow;
    uint32_t n_all;    /* NF + NO */
    uint32_t n_chains; /* NF + NO + MaxProcs */
    uint32_t n_buckets;
    uint32_t max_procs;
    uint32_t reserve; /* EVICT-5 */
    _Atomic uint64_t epoch;

    /* H and cap. Raised by whoever made the log durable; release, pairs with acquire in
     * cache_horizon(), SNAP-2, and the scan. */
    alignas(64) _Atomic lsn_t horizon;
    _Atomic uint32_t unlimited;
    _Atomic uint32_t horizon_event; /* futex word */
    _Atomic uint32_t horizon_waiters;
    /* Processes [proc_top, …) never had a pin or snapshot; only rises. Seen as struct cache_proc's
     * tops are. */
    _Atomic uint32_t proc_top;

    /* FREE_LIST lock: all of this group; the atomics are read without it as hints. */
    alignas(64) struct spin free_lock;
    uint32_t free_first;     /* ref of a frame < NF */
    uint32_t n_fresh;        /* frames [n_fresh, NF) were never used */
    _Atomic uint32_t n_free; /* frames < NF that are free, fresh ones too */
    _Atomic uint32_t n_made; /* frames below it have their memory; bgwriter, a hint */
    struct cache_list limbo;
    _Atomic uint32_t n_limbo;
    uint32_t chain_first;           /* ref of a free chain */
    _Atomic uint32_t n_chain_fresh; /* chains [n, …) were never used */
    _Atomic uint32_t over_grown;    /* overflow frames that have disk space; also over_lock */
    _Atomic uint32_t over_in_use;
    uint32_t over_hint;         /* no free overflow frame below it */
    _Atomic uint32_t over_peak; /* most in use */

    _Atomic uint32_t db_top;      /* databases [db_top, …) were never opened; only rises */
    struct rwlock over_lock;      /* OVER: growing and punching */
    _Atomic uint32_t frame_event; /* futex word: frames became free */
    _Atomic uint32_t frame_waiters;
    alignas(64) _Atomic uint32_t hand; /* clock */

    /* for people; relaxed */
    alignas(64) _Atomic uint64_t n_evicted;
    _Atomic uint64_t n_pruned;
    _Atomic uint64_t n_read;
    _Atomic uint64_t n_written[CACHE_WRITERS];
    _Atomic uint64_t n_refused;
    _Atomic uint64_t n_read_through;
    _Atomic uint64_t n_cancelled;
};

static inline struct cache_proc *
cache_me(const struct cache *c)
{
    return &c->proc[c->self->procno];
}

static inline uint8_t *
cache_frame_at(const struct cache *c, uint32_t frame)
{
    if (frame < c->cfg.n_frames)
        return c->data + (uint64_t) frame * CACHE_FRAME_BYTES;
    return (uint8_t *) c->over_map + (uint64_t) (frame - c->cfg.n_frames) * CACHE_FRAME_BYTES;
}

static inline void
cache_count(_Atomic uint64_t *n)
{
    atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

/* Intrusive lists of frames through ver.next. The caller holds the list's lock. */
static inline void
cache_list_push(struct cache *c, struct cache_list *l, uint32_t frame)
{
    c->ver[frame].next = 0;
    if (l->last != 0)
        c->ver[l->last - 1].next = frame + 1;
    else
        l->first = frame + 1;
    l->last = frame + 1;
}

/* CACHE_NONE if it is empty. */
static inline uint32_t
cache_list_pop(struct cache *c, struct cache_list *l)
{
    uint32_t ref = l->first;

    if (ref == 0)
        return CACHE_NONE;
    l->first = c->ver[ref - 1].next;
    if (l->first == 0)
        l->last = 0;
    return ref - 1;
}

/* Wake who sleeps for frames, if any. */
void cache_frames_announce(struct cache *c);
/* Before this process sets a pin or a snapshot: the scans look at it from now on. */
static inline void
cache_show_proc(const struct cache *c)
{
    _Atomic uint32_t *top = &c->sh->proc_top;
    uint32_t seen = atomic_load_explicit(top, memory_order_relaxed);

    while (seen <= c->self->procno &&
           !atomic_compare_exchange_weak_explicit(top, &seen, c->self->procno + 1,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

/* Set one of our pins; under bucket.lock or on a frame that is ours. CACHE_NONE: all in use. */
uint32_t cache_pin(struct cache *c, uint32_t frame);
void cache_pin_clear(struct cache *c, uint32_t pin);
