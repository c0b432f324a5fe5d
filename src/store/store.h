/* The store: where log and cache agree. One handle per process ties both to the files under the
 * data directory.
 *
 * Public headers: store_db.h (databases, writer lock), store_txn.h (what the VFS calls),
 * store_checkpoint.h, store_recover.h, store_xact.h, store_file.h (create, drop), store_page.h
 * (page tail). */
#pragma once

#include "cache/cache.h"
#include "wal/wal.h"

struct store_cfg {
    uint32_t max_procs;
    uint32_t max_prepared;
    usec_t snapshot_patience;
    uint64_t max_wal_size; /* bytes */
    uint64_t min_wal_size;
    double completion_target;
    uint64_t txn_bytes_max; /* of staged pages per transaction; 0: what could fit into the cache */
    uint32_t open_files;    /* descriptors of data files a process keeps open; 0: 64 */
};

struct store_shared; /* store_shared.h: for src/store and its tests */

struct store_fds; /* this process' open data files: store_fd.h */

struct store {
    struct store_shared *sh;
    struct store_cfg cfg;
    struct io *io;
    struct wal *wal;
    struct cache *cache;
    struct self *self;
    struct shm_status *status; /* may be NULL in tests */
    struct store_fds *fds;
    uint8_t *page_buf; /* one aligned page, for write-back */
    oid_t wrote_oid;   /* file that was written back to last; 0 = none */
    oid_t wrote_rel;
    uint8_t *spare_buf;       /* another, for reading through (CACHE-7) */
    struct store_encode *enc; /* buffers of prepare and commit, made at the first: store_commit.c */
    struct store_txn *txns;   /* open handles, a list */
    /* What the exit callback gives back (SNAP-4). */
    uint32_t *refs; /* databases we hold a reference of, one element per reference; heap */
    uint32_t n_refs, refs_cap;
    uint32_t writers[2]; /* databases whose writer lock is ours (COMMIT-1) */
    uint32_t n_writers;
    uint32_t dropping; /* database we set DROPPING and that is not committed; CACHE_NONE */
    /* Archive recovery: pages of commits up to `lsn` go to disk, or (UINT64_MAX) files that the
     * record being redone drops: minRecoveryPoint first (CKPT-6, FILE-4). NULL otherwise. */
    int (*redo_guard)(void *arg, lsn_t lsn, struct err *e);
    void *redo_guard_arg;
    uint64_t seen_segno; /* segment of this process' last commit */
    bool in_gate;
    bool has_long_commit;
};

/* Making data files bigger by `bytes` went so: 0, or -errno with e set. A full disk is noted for
 * the status (space_note()) and gets detail and hint. Returns r. */
int store_note_space(const struct store *st, int r, uint64_t bytes, struct err *e);

/* Size of the region; its first content, by the startup process before anybody attaches (SHM-1). */
uint64_t store_shm_bytes(const struct store_cfg *cfg);
void store_shm_init(void *mem, const struct store_cfg *cfg);
/* Make this process' handle. `wal`, `io`, `self`, `status` are borrowed; the cache is attached by
 * the caller with store_cache_ops(). */
int store_attach(struct store *st, void *mem, const struct store_cfg *cfg, struct io *io,
                 struct wal *wal, struct cache *cache, struct self *self, struct shm_status *status,
                 struct err *e);
void store_detach(struct store *st);
/* The disk side of the cache, over this store. Pass to cache_attach(). */
struct cache_ops store_cache_ops(struct store *st);
/* The exit callback (SNAP-4), in its order: cache's, log's, gate, long_commit, writer lock,
 * DROPPING it set, Db references. */
void store_process_exit(struct store *st);

/* Wait until a commit at `lsn` is durable, raise H, and (later) wait for synchronous standbys:
 * SNAP-5's barrier at level "on". */
void store_wait_durable(struct store *st, lsn_t lsn);
/* pg_switch_wal(): the end of the SWITCH record, or the insert position when there was nothing to
 * switch away from. Any attached process outside a commit. */
int store_switch_log(struct store *st, lsn_t *ret, struct err *e);
/* pg_create_restore_point(): durable at *ret. 22023: longer than 63 bytes. */
int store_restore_point(struct store *st, const char *name, lsn_t *ret, struct err *e);
/* d moved: raise H with it (no synchronous rule in this release: H = d). Hook for wal.on_durable;
 * arg is the cache. */
void store_on_durable(void *cache, lsn_t durable);
