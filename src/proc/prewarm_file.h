/* Which pages were in the cache: a list of runs, and the file that keeps it over a restart. */
#pragma once

#include "base/err.h"
#include "base/io.h"
#include "base/types.h"
#include "cache/cache.h"

#define PREWARM_PATH "pinion_prewarm"

/* Pages first … first + n − 1 of a database (blocks, from 0). */
struct prewarm_run {
    oid_t oid;
    blk_t first;
    uint32_t n;
};

struct prewarm_list {
    struct prewarm_run *runs; /* by oid, then by page; malloc() */
    uint32_t n;
    uint64_t n_pages;
};

/* Sorts keys[] and puts neighbours together. 53200. */
int prewarm_list_make(struct cache_key *keys, uint32_t n, struct prewarm_list *ret, struct err *e);
void prewarm_list_done(struct prewarm_list *l);

int prewarm_save(const struct prewarm_list *l, struct io *io, struct err *e);
/* 1: *ret is the caller's; 0: there is no such file. -ERR_DATA_CORRUPTED: not one of ours, or
 * damaged; another < 0: it could not be read. */
int prewarm_load(struct io *io, struct prewarm_list *ret, struct err *e);
