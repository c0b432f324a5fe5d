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
};

struct store_shared; /* store_shared.h: for src/store and its tests */

struct store_fd; /* this process' open data files: store_fd.h */

struct store {
    struct store_shared *sh;
    struct store_cfg cfg;
    struct io *io;
    struct wal *wal;
    struct cache *cache;
    struct self *self;
    struct shm_status *status; /* may be NULL in tests */
    struct store_fd *fds;
    uint8_t *page_buf; /* one aligned page, for write-back */
};

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
/* d moved: raise H with it (no synchronous rule in this release: H = d). Hook for wal.on_durable;
 * arg is the cache. */
void store_on_durable(void *cache, lsn_t durable);
