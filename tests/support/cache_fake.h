/* A cache over private memory and a disk that is an array: for unit tests and simulations of
 * src/cache. Page content is a function of (db, block, LSN), so each page can be checked. */
#pragma once

#include "base/rng.h"
#include "cache/cache_map.h"

#define FAKE_REL 7
#define FAKE_DBS 4

struct fake_proc {
    struct fake *fake;
    struct self self;
    struct cache cache;
};

struct fake {
    struct cache_cfg cfg;
    void *mem;
    uint32_t n_blocks;
    _Atomic lsn_t *disk; /* [FAKE_DBS][n_blocks] LSN on disk */
    lsn_t *made;         /* [FAKE_DBS][n_blocks] LSN of the newest version, written by the writer */
    struct fake_proc *procs;
    _Atomic lsn_t next_lsn;
    _Atomic lsn_t durable; /* what write-back found not durable is made so */
    int read_error;        /* returned by the next reads if < 0 */
    lsn_t lie;             /* the next read claims this LSN */
    bool no_write;         /* write-back fails */
    void (*on_read)(struct fake *f);
};

/* `over_fd` < 0 and n_overflow > 0: overflow frames are private memory. */
struct fake *fake_new(const struct cache_cfg *cfg, uint32_t n_blocks);
void fake_free(struct fake *f);
static inline struct cache *
fake_cache(struct fake *f, uint32_t proc)
{
    return &f->procs[proc].cache;
}
oid_t fake_oid(uint32_t db);
/* Fill or check a page. */
void fake_fill(uint8_t *p, uint32_t db, blk_t block, lsn_t lsn);
bool fake_is(const uint8_t *p, uint32_t db, blk_t block, lsn_t lsn);
/* Commit new versions of blocks; 0 or cache_frames_take's error. */
int fake_commit(struct fake *f, uint32_t proc, uint32_t db, const blk_t *blocks, uint32_t n,
                lsn_t *ret_lsn, struct err *e);
/* EVICT-4 as the store does it. */
int fake_write_back(void *arg, uint32_t page_idx, struct err *e);
int fake_read(void *arg, uint32_t db, const struct cache_key *key, void *p, lsn_t *ret_lsn,
              struct err *e);
/* Claim and take in one. */
uint32_t fake_snapshot(struct fake *f, uint32_t proc, uint32_t db, lsn_t *ret_s);
/* Whole-object check: lists, counts, chains strictly descending, frames accounted for. Quiescent.
 */
void fake_check(struct fake *f);
