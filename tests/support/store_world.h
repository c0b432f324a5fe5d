/* A small cluster without SQLite: directories, control file, first segment, one database of plain
 * pages; and the shared parts of log, cache and store in private memory, with a number of
 * processes that are only structs (use each from one thread). */
#pragma once

#include "base/io.h"
#include "store/store_shared.h"
#include "store/store_txn.h"
#include "wal/wal_control.h"

#define WORLD_OID     5u
#define WORLD_CATALOG 1u
#define WORLD_SEG     (1u << 20)
#define WORLD_PAGES   4u /* of each new database */

struct world_proc {
    struct self self;
    struct wal wal;
    struct cache cache;
    struct store store;
};

struct world {
    struct io *io; /* borrowed */
    struct wal_cfg wal_cfg;
    struct cache_cfg cache_cfg;
    struct store_cfg store_cfg;
    void *mem_wal, *mem_cache, *mem_store;
    struct shm_status status;
    struct slot *slots;
    struct world_proc *procs;
    uint32_t n_procs;
};

/* Make the files of a new cluster. And its parts, for other contents: directories; then, after the
 * databases, log and control file. */
void world_init(struct io *io);
void world_init_dirs(struct io *io);
void world_init_log(struct io *io);
/* Zeroed shared parts and attached processes; defaults where cfg fields are 0. */
void world_attach(struct world *w, struct io *io, uint32_t n_procs, uint32_t n_frames);
/* As recovery does after a clean stop, or right after world_init(): log open for insertion, ids,
 * redo pointer, H. */
void world_start(struct world *w);
void world_detach(struct world *w);
/* All at once, from nothing: attached, started, and in each process a handle of database WORLD_OID,
 * whose place in the table is returned. */
uint32_t world_open(struct world *w, struct io *io, uint32_t n_procs, uint32_t n_frames,
                    struct store_txn **txns);
void world_close(struct world *w, struct store_txn **txns);

/* A page whose content follows from its number and `v`; page 1 carries the size n. Its tail is
 * garbage, as SQLite's copy of it may be. */
void world_fill(uint8_t *p, pgno_t pgno, uint32_t v, pgno_t n);
/* Which v is it? UINT32_MAX: not one page of world_fill(); 0 also for zeros. */
uint32_t world_value(const uint8_t *p, pgno_t pgno);

/* What one transaction does: pages to write with world_fill(v), new size n (0: as it is; page 1 is
 * always written, with v). */
struct world_change {
    pgno_t pgno;
    uint32_t v;
};
enum world_end { WORLD_COMMIT, WORLD_COMMIT_ASYNC, WORLD_ROLLBACK, WORLD_ROLLBACK_PREPARED };
/* Takes the writer lock, begins, stages, ends as told. 0, or prepare's error (then it is rolled
 * back). */
int world_write(struct store_txn *t, struct store *st, uint32_t db, uint32_t v, pgno_t n,
                const struct world_change *changes, uint32_t n_changes, enum world_end end,
                struct err *e);
/* The v of each page of a fresh snapshot into ret[1 … n], n = the size; < 0: error. */
int world_read(struct store_txn *t, uint32_t *ret, pgno_t cap, pgno_t *ret_n, struct err *e);
