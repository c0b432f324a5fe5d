/* A whole cluster below SQL over io_sim: shared memory of log, cache and store, and the handles of
 * several processes, all in this one. Call what may sleep from coroutines (coro.h). */
#pragma once

#include "sim/coro.h"
#include "sim/io_sim.h"
#include "store/store_recover.h"
#include "store/store_txn.h"

#define CLUSTER_PROCS   8
#define CLUSTER_SEGSIZE (UINT32_C(1) << 20)
#define CLUSTER_SYSID   UINT64_C(0x1122334455667788)

struct cluster_proc {
    struct self self;
    struct wal wal;
    struct cache cache;
    struct store store;
    bool is_attached;
};

struct cluster {
    struct io_sim *disk; /* borrowed */
    struct io *io;
    struct wal_cfg wal_cfg;
    struct cache_cfg cache_cfg;
    struct store_cfg store_cfg;
    void *mem; /* owned, as the next */
    size_t mem_bytes;
    void *wal_mem, *cache_mem, *store_mem; /* inside mem */
    struct cluster_proc procs[CLUSTER_PROCS];
};

/* Databases 1 and 5 of a new cluster have two pages: page 1 with its size, page 2 zero. Page 2 of
 * database 1 is the catalogue: at 64, u32 number, then u32 oids (= rel) of the others. */
#define CLUSTER_LIST_AT 64u

void cluster_make(struct cluster *c, struct io_sim *disk, uint32_t n_frames);
void cluster_free(struct cluster *c);
/* What `piniond init` leaves (INIT-1), all of it synced. And its parts, for other contents:
 * directories; then, after the databases, pg_xact, log and control file. */
int cluster_init_disk(struct cluster *c, struct err *e);
int cluster_init_dirs(struct io *io);
int cluster_init_log(struct io *io, struct err *e);
/* A cluster of 64 frames on a disk of its own, just initialised, whose crashes end in
 * coro_crash(); and the end of both. */
void cluster_begin(struct cluster *c, uint64_t seed);
void cluster_end(struct cluster *c);
/* All handles are gone (their processes ended or crashed), shared memory is empty. */
void cluster_forget(struct cluster *c);
/* Fill shared memory. */
void cluster_fill(struct cluster *c);
int cluster_attach(struct cluster *c, uint32_t procno, struct err *e);
struct store *cluster_store(struct cluster *c, uint32_t procno);

/* The startup process (procno 0) from shared memory to "in production": recover, read the
 * catalogue, finish. `list` (of `cap`) gets what the catalogue names. */
int cluster_recover(struct cluster *c, struct store_listed *list, uint32_t cap, uint32_t *ret_n,
                    struct recover_info *ret, struct err *e);
/* The same as asked. RECOVER_SHUT_DOWN: a target was reached, nothing is open. */
int cluster_recover_as(struct cluster *c, const struct recover_ask *ask, struct store_listed *list,
                       uint32_t cap, uint32_t *ret_n, struct recover_info *ret, struct err *e);
/* The same where nobody asks what recovery found; then processes 1 … n_procs - 1 attach. */
int cluster_start(struct cluster *c, uint32_t n_procs, struct err *e);
/* Shutdown checkpoint by procno. */
int cluster_shutdown(struct cluster *c, uint32_t procno, struct err *e);
/* Is there a file or directory of this name? */
bool cluster_has(const struct cluster *c, const char *path);
/* Read page `pgno` of a database as its newest snapshot. STORE_SHORT: beyond its end. */
int cluster_read(struct store *st, oid_t oid, pgno_t pgno, uint8_t *p, struct err *e);
/* Commit one page (and page 1) of a database; waits until durable. */
int cluster_write(struct store *st, oid_t oid, pgno_t pgno, const uint8_t *p, lsn_t *ret_lsn,
                  struct err *e);

/* Fill a page with bytes that nothing packs, the same for the same seed; its tail is zero. */
void cluster_noise(uint8_t *p, uint64_t seed);

/* Let PANICs, crashing fault points end in coro_crash(). */
void cluster_hook_crashes(void);
