/* Inside of struct segment: for segment.c, segment_make.c and attach.c. */
#pragma once

#include "proc/segment.h"
#include "store/store.h"

enum segment_region {
    REGION_PAGE,
    REGION_WAL,
    REGION_CACHE,
    REGION_STORE,
    REGION_LOGINS,
    REGION_STATS,
    REGIONS
};

/* Private to each process, copied by the fork; the same in all, because made before the first. */
struct segment {
    struct shm shm;
    struct segment_page *page;
    int wake_fd;
    uint32_t max_procs;
    unsigned max_connections;
    struct wal_cfg wal_cfg;
    struct cache_cfg cache_cfg;
    struct store_cfg store_cfg;
    void *over_map;
    int over_fd; /* -1: no overflow frames */
    int (*over_reset)(int over_fd, struct err *e);
};

/* Without memory yet. */
int segment_alloc(unsigned max_connections, struct segment **ret, struct err *e);
/* Map it: slots and regions of these sizes; region 0 is the postmaster's page. */
int segment_map(struct segment *seg, const uint64_t *region_bytes, uint32_t n_regions,
                struct err *e);
