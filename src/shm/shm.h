/* The segment: one memfd, mapped MAP_SHARED by the postmaster before its first fork, reset in place
 * (SHM-1).
 *
 * Layout: this header, the slots, then one region per module (log, cache, store). Each module says
 * how much it wants (x_shm_bytes), fills it (x_shm_init, in the startup process only) and attaches
 * to it (x_attach, in every process). proc/segment.c puts them together. */
#pragma once

#include "base/err.h"
#include "shm/cache_count.h"
#include "shm/progress.h"
#include "shm/slot.h"
#include "shm/space.h"

#define SHM_REGIONS_MAX 8
#define SHM_MAGIC       UINT64_C(0x314e4f494e4950) /* "PINION1" */

/* Positions and progress for people: single relaxed atomics, each written by the module named. Left
 * out of replies until `shm_ready`. */
struct shm_status {
    _Atomic uint32_t ready;       /* release by startup after all x_shm_init; acquire by all */
    _Atomic uint32_t in_recovery; /* startup */
    _Atomic uint32_t tli;         /* startup */
    _Atomic uint64_t sysid;       /* startup: the cluster's, from the control file */
    _Atomic uint64_t insert_lsn;  /* wal: first byte not reserved */
    _Atomic uint64_t write_lsn;   /* wal */
    _Atomic uint64_t flush_lsn;   /* wal: durable */
    _Atomic uint64_t
        horizon_lsn; /* store: what a statement outside a write transaction may be shown */
    _Atomic uint64_t redo_from_lsn;     /* startup: recovery began here */
    _Atomic uint64_t redo_lsn;          /* startup: replayed up to here */
    _Atomic uint64_t redo_end_lsn;      /* startup: estimated end of the log */
    _Atomic uint64_t redo_started_usec; /* startup: monotonic */
    _Atomic uint64_t checkpoint_lsn;    /* checkpointer: last checkpoint record */
    _Atomic uint64_t checkpoint_redo_lsn;
    _Atomic uint64_t checkpoint_time_usec; /* real: end of the last checkpoint */
    _Atomic uint64_t checkpoint_total_usec;
    _Atomic uint64_t checkpoint_pages;
    _Atomic uint32_t checkpoint_running;
    _Atomic uint32_t checkpoint_flags; /* causes of the last (or running) one: enum checkpoint_flag
                                          of store_checkpoint.h */
    _Atomic uint64_t checkpoints_timed;
    _Atomic uint64_t checkpoints_requested;
    _Atomic uint64_t next_xid;            /* store */
    _Atomic uint64_t cache[CACHE_COUNTS]; /* bgwriter, each round; FRAMES 0: not yet */
    struct shm_space space[SPACE_DISKS];
    struct shm_startup startup;
    struct shm_checkpoint checkpoint;
    _Atomic uint64_t n_archived; /* archiver, since the start: a stop that waits sees it move */
};

struct shm_region {
    uint64_t at; /* offset from the start of the segment */
    uint64_t bytes;
};

struct shm_head {
    uint64_t magic;
    uint32_t max_procs;
    uint32_t n_regions;
    uint64_t bytes;
    struct shm_region region[SHM_REGIONS_MAX];
    alignas(64) struct shm_status status;
};

/* A process' own: what it was made with. Whoever died may have written anything into the header. */
struct shm {
    struct shm_head *head; /* = base address */
    struct slot *slots;    /* [max_procs] */
    uint32_t max_procs;
    uint32_t n_regions;
    uint64_t bytes;
    struct shm_region region[SHM_REGIONS_MAX];
    int fd; /* memfd; -1 for private test memory */
};

/* Make and map a segment for `max_procs` processes and regions of the given sizes (each is aligned
 * to 4096). Postmaster, or a test. Returns 0 or < 0 (53200 with a hint that names shared_buffers).
 */
int shm_create(struct shm *s, uint32_t max_procs, const uint64_t *region_bytes, uint32_t n_regions,
               struct err *e);
/* All bytes zero again, then header and layout as made by shm_create(). Postmaster only, when no
 * other process is attached. */
int shm_reset(struct shm *s, struct err *e);
void *shm_region(const struct shm *s, uint32_t region_idx);
void shm_close(struct shm *s);

/* Before this process first writes to a page of the segment: a read that is not mapped yet maps the
 * pages around it as well (16 at once), a write only its own. */
static inline void
shm_touch(const void *p)
{
    (void) *(const volatile uint8_t *) p;
}

/* Give this part of the segment its memory now, and leave what is in it. A kernel that cannot
 * (before 5.14) does so when it is written. */
void shm_populate(void *p, uint64_t n);
