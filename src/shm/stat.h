/* Cumulative statistics: what tbl/stat_counts.def names, counted since the cluster was made or they
 * were reset.
 *
 * Each attached process counts in a block of its own, which nobody else writes; when it leaves, the
 * block is added to the sums of its database and of the cluster. Who reads adds the live blocks to
 * the sums. A clean stop keeps them in a file, a crash forgets them, as PostgreSQL 15 does. */
#pragma once

#include <stdatomic.h>

#include "base/io.h"
#include "shm/lock.h"

/* clang-format off */
enum stat_group {
    STAT_GROUP_DATABASE, STAT_GROUP_BGWRITER, STAT_GROUP_WAL, STAT_GROUP_ARCHIVER,
    STAT_GROUPS
};
enum stat_id {
#define STAT(id, ...) STAT_##id,
#include "tbl/stat_counts.def"
#undef STAT
    STAT_COUNTS
};
/* The first so many are of a database. */
enum {
    STAT_DB_COUNTS = 0
#define STAT(id, group, ...) + (STAT_GROUP_##group == STAT_GROUP_DATABASE)
#include "tbl/stat_counts.def"
#undef STAT
};
/* Counts of files: with each, which file was the last and when. */
enum { STAT_FILES = STAT_ARCHIVE_FAILED - STAT_ARCHIVED + 1 };
/* clang-format on */

#define STAT_DBS        4096 /* databases with sums of their own; what more do is not counted */
#define STAT_PATH       "pg_stat/pinion.stat"
#define STAT_FILE_BYTES 48

/* A process'. Written by its owner only, read by anyone. */
struct stat_proc {
    alignas(64) _Atomic uint32_t db_oid; /* 0: of none */
    _Atomic uint64_t n[STAT_COUNTS];
};

/* Sums of those who have left. Guarded by stat_shared.lock. */
struct stat_db {
    oid_t oid;
    bool is_used; /* oid 0 is one as well: what processes without a database did */
    usec_t reset; /* real; 0 = never */
    uint64_t n[STAT_DB_COUNTS];
    uint64_t base[STAT_DB_COUNTS]; /* as it was at the reset: what is shown is the difference */
};

/* The last file that was counted. In the segment guarded by stat_shared.lock. */
struct stat_last {
    usec_t when; /* real; 0 = never */
    char name[STAT_FILE_BYTES];
};

struct stat_shared {
    struct spin lock; /* LOCK_STATS */
    uint32_t n_dbs;   /* elements of db[] ever used */
    usec_t reset[STAT_GROUPS];
    uint64_t n[STAT_COUNTS]; /* from STAT_DB_COUNTS on: of the cluster */
    uint64_t base[STAT_COUNTS];
    struct stat_last last[STAT_FILES]; /* of STAT_ARCHIVED and what follows */
    struct stat_db db[STAT_DBS];
    struct stat_proc proc[]; /* [max_procs] */
};

/* A process' handle. */
struct stats {
    struct stat_shared *sh;
    uint32_t max_procs;
    struct self *self;
};

/* Zeros are valid: there is nothing to initialise. */
uint64_t stat_shm_bytes(uint32_t max_procs);
/* From here on what this process does is counted: self->stat is its block. */
void stat_attach(struct stats *st, void *mem, uint32_t max_procs, struct self *self);
/* Whose work this process does from now on; what it did before stays where it was counted. */
void stat_set_db(struct stats *st, oid_t oid);
/* The block goes into the sums. Once, as the last thing counted; not after a crash. */
void stat_process_exit(struct stats *st);

/* Count. Owner of `self` only; does nothing where no statistics are kept (tests, init). */
static inline void
stat_add(struct self *self, enum stat_id id, uint64_t n)
{
    _Atomic uint64_t *p;

    if (self->stat == NULL)
        return;
    p = &self->stat->n[id];
    atomic_store_explicit(p, atomic_load_explicit(p, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* Count a file: STAT_ARCHIVED or STAT_ARCHIVE_FAILED. Its name is cut to its room. */
void stat_add_file(struct stats *st, enum stat_id id, const char *name);

/* What is shown now: ret[STAT_COUNTS], the first STAT_DB_COUNTS of which are 0, and when each group
 * was reset. Any attached process; holds LOCK_STATS for a look at each process' block. */
void stat_read_cluster(struct stats *st, uint64_t *ret, usec_t *ret_reset);
/* Of one database: zeros if nothing was counted. */
void stat_read_db(struct stats *st, oid_t oid, uint64_t ret[STAT_DB_COUNTS], usec_t *ret_reset);
/* Group ARCHIVER, of one moment; a file belongs to the count at its place. */
struct stat_archiver {
    uint64_t n[STAT_FILES];
    struct stat_last last[STAT_FILES];
    usec_t reset;
};
void stat_read_archiver(struct stats *st, struct stat_archiver *ret);
/* From here on it begins at 0. */
void stat_reset_cluster(struct stats *st, enum stat_group group);
void stat_reset_db(struct stats *st, oid_t oid);
/* It was dropped. What a process that still leaves it adds is lost. */
void stat_forget_db(struct stats *st, oid_t oid);

/* Name of a group as SQL and the file know it; the group of a name, or STAT_GROUPS. */
const char *stat_group_name(enum stat_group group);
enum stat_group stat_group_of(const char *name);
enum stat_group stat_group(enum stat_id id);
const char *stat_column(enum stat_id id);
bool stat_is_msec(enum stat_id id);
/* What it counts, in words. */
const char *stat_what(enum stat_id id);

/* ---- over a restart (stat_file.c) ---- */

/* Write all of it to STAT_PATH, whole or not at all. Checkpointer, after the shutdown checkpoint,
 * and when the archiver has left. */
int stat_save(struct stats *st, struct io *io, struct err *e);
/* Startup process: after a clean stop add what was saved (`keep`). Else, or if there is nothing,
 * all groups begin now. The file goes either way, so that it is not taken twice. A file that is
 * damaged is told (< 0) and forgotten. */
int stat_restore(struct stats *st, struct io *io, bool keep, struct err *e);
