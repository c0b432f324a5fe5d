/* Snapshots as pruning sees them. Private to src/cache. */
#pragma once

#include "cache/cache_shared.h"

#define CACHE_SNAPS_MAX 2048

/* The live snapshots of one database and cap, read in the one right order. */
struct cache_snaps {
    lsn_t cap;
    uint32_t n;   /* different ones, rising */
    bool is_full; /* more than fit: everything above the lowest counts as needed */
    lsn_t at[CACHE_SNAPS_MAX];
};

/* The one function that decides what may go: cap acquire, seq_cst fence, entries (EVICT-1). */
void cache_snaps_scan(const struct cache *c, uint32_t db, struct cache_snaps *ret);
/* Is a version a whose next newer one is b needed: b > cap, or a snapshot in [a, b)? Pure. */
bool cache_snaps_need(const struct cache_snaps *s, lsn_t a, lsn_t b);
/* SNAP-6: ask the oldest snapshot older than patience to end; false: there is none to ask. */
bool cache_snaps_cancel_oldest(struct cache *c, usec_t now);
