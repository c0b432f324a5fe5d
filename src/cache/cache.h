/* The multi-version page cache. Knows LSNs, not the log; the disk is two callbacks. Rules CACHE,
 * SNAP, EVICT and OVER.
 *
 * A process has one `struct cache` over the shared region. A reader: claim an entry, take a
 * snapshot, cache_get() … cache_unpin(), release. A commit: cache_frames_take(), fill the frames,
 * cache_publish(). Whoever writes pages to disk: cache_wb_begin() … cache_wb_end(). Databases are
 * numbered by an index (`db`) that the store gives out; cache_db_open() tells the cache which oid
 * it stands for. */
#pragma once

#include "base/types.h"
#include "shm/cache_count.h"
#include "shm/stat.h"

#define CACHE_FRAME_BYTES 8448u /* a page and 256 bytes of slack (sqlite-vfs 5.10) */
#define CACHE_PINS        64
#define CACHE_ENTRIES     4
#define CACHE_DBS         4096
#define CACHE_NONE        UINT32_MAX

struct cache_cfg {
    uint32_t n_frames;   /* NF: frames in the segment, ≥ 64 */
    uint32_t n_overflow; /* NO: frames the overflow file can hold */
    uint32_t max_procs;
    usec_t snapshot_patience; /* microseconds */
    struct slot *slots;       /* [max_procs], borrowed: whom SNAP-6 wakes; NULL: nobody is woken */
};

struct cache_key {
    oid_t oid; /* database */
    oid_t rel; /* relfilenode */
    blk_t block;
};

struct cache;

/* The disk side, given by the store (or a simulation). Called without any SHORT lock held. */
struct cache_ops {
    /* Read one page into p (PAGE_BYTES). CRC, format and block are checked by the callee. *ret_lsn
     * = LSN of its tail; a page beyond the end of the file or all zero is LSN 0 and zeros. < 0:
     * XX001, EIO (e is set). */
    int (*read)(void *arg, uint32_t db, const struct cache_key *key, void *p, lsn_t *ret_lsn,
                struct err *e);
    /* Write the dirty page at `page_idx` back (EVICT-4: the store calls cache_wb_begin() on it). 0
     * written or no longer dirty; > 0 not now; < 0 failed. */
    int (*write_back)(void *arg, uint32_t page_idx, struct err *e);
    void *arg;
};

struct cache_shared; /* cache_shared.h: for src/cache and its tests */
struct cache_ver;
struct cache_chain;
struct cache_bucket;
struct cache_db;
struct cache_proc;

/* As whom a process writes pages, for the counters. */
enum cache_writer { CACHE_BACKEND, CACHE_BGWRITER, CACHE_CHECKPOINTER, CACHE_WRITERS };

struct cache {
    struct cache_shared *sh;
    struct cache_cfg cfg;
    struct self *self;
    struct cache_ops ops;
    void *over_map; /* overflow file, mapped whole at its limit; NULL when n_overflow == 0 */
    int over_fd;
    uint32_t pin_quota; /* CACHE-4 */
    enum cache_writer writes_as;
    uint64_t n_read; /* pages this process read from disk */
    uint64_t n_hit;
    /* Private from here. Where the arrays of the region are in this process: */
    struct cache_ver *ver;       /* [NF + NO] */
    struct cache_chain *chain;   /* [NF + NO + MaxProcs]: the Pages of CACHE-1 */
    struct cache_bucket *bucket; /* [2^k] */
    struct cache_db *db;         /* [CACHE_DBS] */
    struct cache_proc *proc;     /* [MaxProcs] */
    uint64_t *over_used;         /* bit per overflow frame */
    uint8_t *data;               /* [NF] frames */
    uint64_t pins;               /* bit per element of our pin array that is in use */
    uint32_t n_owned;            /* frames taken and neither published nor given back */
    uint32_t over_hand;          /* bgwriter: the next overflow frame to look at */
    uint32_t io_ref;             /* chain index + 1 whose io we own; 0 = none */
};

/* ---- life ---- */
uint64_t cache_shm_bytes(const struct cache_cfg *cfg);
void cache_shm_init(void *mem, const struct cache_cfg *cfg);
/* Make and map the overflow file (OVER-1): unlinked, in `dir_fd`, of size 0, mapped at
 * cfg->n_overflow frames. Postmaster, before the first fork. */
int cache_over_create(const struct cache_cfg *cfg, int dir_fd, int *ret_fd, void **ret_map,
                      struct err *e);
int cache_over_reset(int over_fd, struct err *e);
void cache_attach(struct cache *c, void *mem, const struct cache_cfg *cfg, void *over_map,
                  int over_fd, struct self *self, const struct cache_ops *ops);
/* The exit callback's part (SNAP-4): pins, entries, io owned (wake), frames held. */
void cache_process_exit(struct cache *c);
uint64_t cache_epoch(const struct cache *c);

/* ---- horizon (H, cap) ---- */
lsn_t cache_horizon(const struct cache *c); /* acquire */
/* H := max(H, lsn). Wakes who waits for H. Any process that has made lsn durable (and confirmed).
 */
void cache_horizon_raise(struct cache *c, lsn_t lsn);
/* Wait until H ≥ lsn. Interruptible. */
int cache_horizon_wait(struct cache *c, lsn_t lsn, struct err *e);
/* Whether snapshots can be given: closed (true) = cap is ∞ (redo, init, shutdown checkpoint). */
void cache_cap_unlimited(struct cache *c, bool unlimited);
lsn_t cache_cap(const struct cache *c);

/* ---- databases ---- */
/* Index `db` now stands for `oid`. Caller (store_db) holds the Db in state OPENING. */
void cache_db_open(struct cache *c, uint32_t db, oid_t oid);
/* Forget every page and version of one file (rel) or of the whole database (rel = 0): FILE-3's
 * purge, FILE-5. Waits for io; what is pinned goes to limbo. No snapshot may need it. */
void cache_purge(struct cache *c, uint32_t db, oid_t rel);
/* Does the database still have pages or retired versions? (FILE-1: when a Db may be reused.) */
bool cache_db_is_empty(const struct cache *c, uint32_t db);

/* ---- snapshots (SNAP-1 … -6) ---- */
/* Claim an entry for one handle; 53400 when the process has CACHE_ENTRIES already. *ret_entry in 0
 * … CACHE_ENTRIES-1. */
int cache_entry_claim(struct cache *c, uint32_t db, uint32_t *ret_entry, struct err *e);
void cache_entry_release(struct cache *c, uint32_t entry);
/* SNAP-2: returns S = max(H, own), set in the entry. */
lsn_t cache_snapshot_take(struct cache *c, uint32_t entry, lsn_t own);
/* SNAP-3: the writer's, S = s (= p[db]), holding the writer lock. */
void cache_snapshot_take_at(struct cache *c, uint32_t entry, lsn_t s);
/* VFS-5: move a held snapshot to our own commit. */
void cache_snapshot_advance(struct cache *c, uint32_t entry, lsn_t s);
void cache_snapshot_drop(struct cache *c, uint32_t entry);
/* SNAP-6: was this entry's present snapshot asked to end? */
bool cache_snapshot_cancelled(const struct cache *c, uint32_t entry);
/* SNAP-6: the next process, from *pos on, that was asked to end a snapshot and has not yet; its
 * procno, or CACHE_NONE. For whoever logs it. */
uint32_t cache_unresponsive(const struct cache *c, uint32_t *pos);
/* Is there a live snapshot of this database below `lsn`? Runs the one scan: cap, fence, entries. */
bool cache_snapshot_below(struct cache *c, uint32_t db, lsn_t lsn);
/* Any live snapshot at all? */
bool cache_snapshots_any(struct cache *c);

/* ---- reading ---- */
struct cache_page {
    const uint8_t *data; /* PAGE_BYTES, immutable while pinned */
    lsn_t lsn;           /* LSN of the version */
    uint32_t pin; /* element of our pin array; CACHE_NONE: not pinned, data is the caller's buffer
                     (read-through) */
    uint32_t frame;
};
/* The newest version ≤ S of entry's snapshot. `spare` (PAGE_BYTES, may be NULL if the caller wants
 * only pins) receives the page if there is no frame or no pin for it (CACHE-7). Returns 0;
 * CACHE_NO_PIN (1) when spare is NULL and no pin or frame was to be had (xFetch answers NULL); < 0:
 * XX001, EIO, 72000 (the snapshot was cancelled), or an interrupt. */
#define CACHE_NO_PIN 1
int cache_get(struct cache *c, uint32_t entry, oid_t rel, blk_t block, void *spare,
              struct cache_page *ret, struct err *e);
/* The newest version of all, for redo (REDO-3): no entry, no test of the LSN. */
int cache_get_newest(struct cache *c, uint32_t db, oid_t rel, blk_t block, void *spare,
                     struct cache_page *ret, struct err *e);
/* Release store after the last access. Accepts a read-through page. */
void cache_unpin(struct cache *c, struct cache_page *p);
/* Pins this process holds now (SNAP-4 asserts 0 per handle). */
uint32_t cache_n_pinned(const struct cache *c);

/* ---- committing ---- */
/* All `n` frames at once or none (COMMIT-2, EVICT-2 writer): waits at most snapshot_patience, then
 * 53200; more than NF + NO − reserve is 53200 at once. frames[] are owned by this process until
 * published or given back. May prune, write back, grow the overflow. Outside the gate. */
int cache_frames_take(struct cache *c, uint32_t db, uint32_t n, uint32_t *ret_frames,
                      struct err *e);
/* Take a page out of the cache, to change it in its frame: for redo, while nobody else reads (no
 * pin may be on it). Its newest version becomes the caller's, as by cache_frames_take(), and the
 * cache knows nothing of the page until it is published. False: it is not there, being read or
 * written, or has older versions. */
bool cache_take_back(struct cache *c, uint32_t db, oid_t rel, blk_t block, uint32_t *ret_frame);
/* Is the next frame to be had only by evicting? */
bool cache_is_short(const struct cache *c);
/* How many one transaction can have: NF + NO − reserve. */
uint64_t cache_frames_most(const struct cache *c);
void cache_frames_give_back(struct cache *c, const uint32_t *frames, uint32_t n);
uint8_t *cache_frame(struct cache *c, uint32_t frame);
/* Redo fills thousands of frames that were never used, and a quarter of its time was the kernel's,
 * finding memory for them: another process can do that ahead of it. Having taken `frame`: should
 * somebody call cache_make_ahead()? */
bool cache_wants_ahead(const struct cache *c, uint32_t frame);
/* Give frames that will be used next their memory; returns how many. */
uint32_t cache_make_ahead(struct cache *c);
/* Pages that publishing will need but that have no Page yet are reserved together with the frames,
 * so this cannot fail (COMMIT-5): link frames[i] as the newest version (LSN lsn) of (oid of db,
 * rel, blocks[i]); the old head is superseded and retired. In redo (`redo` true) disk_lsn of a new
 * Page is 0. */
void cache_publish(struct cache *c, uint32_t db, oid_t rel, const blk_t *blocks,
                   const uint32_t *frames, uint32_t n, lsn_t lsn);
/* EVICT-1. Try-lock: returns the number of versions freed, 0 if somebody else is at it. */
uint32_t cache_prune(struct cache *c, uint32_t db);

/* ---- writing back (EVICT-4; driven by store_writeback.c) ---- */
struct cache_wb {
    uint32_t page_idx;
    struct cache_key key;
    uint32_t db;
    const uint8_t *data; /* the head, pinned */
    lsn_t lsn;           /* of the head */
    lsn_t lowest;        /* lowest version in the chain: b */
    lsn_t disk_lsn;      /* a; 0 = unknown */
    bool is_sole;        /* the head is the only version */
    uint32_t pin;
};
#define CACHE_WB_CLEAN 1 /* outcome: not dirty, or no such page any more */
#define CACHE_WB_BUSY  2 /* outcome: another process reads or writes it */
/* io := WRITING, head pinned. 0, CACHE_WB_CLEAN or CACHE_WB_BUSY. */
int cache_wb_begin(struct cache *c, uint32_t page_idx, struct cache_wb *ret);
/* EVICT-4's question: does a live snapshot (or one that can still be taken) need the version on
 * disk? */
bool cache_wb_must_save(struct cache *c, const struct cache_wb *wb);
/* Read the disk's version into a frame (reserve allowed, EVICT-5) and link it at the low end. 0;
 * CACHE_NO_PIN: no frame, give up this page; < 0 failed. */
int cache_wb_save_disk(struct cache *c, struct cache_wb *wb, struct err *e);
/* EVICT-5, when saving found no frame and the page was given up (nothing is owned): prune `db`
 * (CACHE_NONE: all), ask the oldest snapshot to end, sleep shortly; then come again. Not
 * interruptible. */
void cache_wb_relieve(struct cache *c, uint32_t db);
/* disk_lsn := written (0 = failed, stays dirty); io := 0; unpin; wake. */
void cache_wb_end(struct cache *c, struct cache_wb *wb, lsn_t written);
/* EVICT-6: drop the dirty, sole head unwritten instead of ending. False (and ended as failed) if it
 * is no longer sole. */
bool cache_wb_drop(struct cache *c, struct cache_wb *wb);
/* Sleep until the page's io is 0 (a checkpoint that owes it). */
void cache_io_wait(struct cache *c, uint32_t page_idx);

/* Page indices whose disk version is older than their newest version ≤ upto (CKPT-3), from *pos on;
 * fills ids[], returns how many; 0 = done. */
uint32_t cache_scan_dirty(struct cache *c, lsn_t upto, uint32_t *pos, uint32_t *ids, uint32_t cap);
/* Is the page at page_idx still owed to a checkpoint up to `upto`? */
bool cache_is_owed(struct cache *c, uint32_t page_idx, lsn_t upto);
/* Bgwriter: the next dirty page in front of the clock hand that writing would make a victim; from
 * *pos = 0 on, one round; CACHE_NONE = done. */
uint32_t cache_clean_candidate(struct cache *c, uint32_t *pos);
/* Bgwriter: move limbo to free, empty overflow frames of what is clean, punch out the free tail of
 * the overflow file. */
void cache_maintain(struct cache *c);

/* The keys of the pages that have a version now, at most `cap`, in no order: what a later life may
 * want to read at once. Returns how many. */
uint32_t cache_list_pages(struct cache *c, struct cache_key *keys, uint32_t cap);

/* ---- counters, shown to people ---- */
uint32_t cache_n_free(const struct cache *c); /* cheap; the others walk the whole cache */
struct cache_stats {
    uint32_t n_frames, n_free, n_overflow_used, n_retired, n_held;
    uint64_t n_dirty_estimate, n_evicted, n_pruned, n_read, n_written, n_read_through, n_cancelled;
};
void cache_stats(const struct cache *c, struct cache_stats *ret);
/* The counters of tbl/cache_counts.def: cheap. */
void cache_counts(const struct cache *c, uint64_t ret[CACHE_COUNTS]);
