/* One seed of sim/recovery. */
#pragma once

#include "sim/cluster.h"
#include "sim/recovery_model.h"

struct sim_stats {
    uint64_t commits, ddl, reads, checkpoints, crashes, recovery_crashes, panics, clean_stops;
};

struct sim {
    uint64_t seed;
    bool verbose;
    struct rng rng;
    struct io_sim *disk;
    struct cluster cluster;
    struct model model;
    struct sim_stats *stats;
    uint32_t n_busy; /* writers, readers and DDL that have work left */
    struct model_taste taste;
    uint32_t many; /* operations of a process, by this factor */
    bool burns;    /* writers use up ids by the hundred thousand (XID-2) */
    oid_t last_oid;
    bool was_clean; /* the last stop was a clean one */
    /* outcome of the recovery coroutine */
    int result;
    bool is_recovering;
    struct err e;
    struct recover_info info;
};

/* Print the seed and the text, export the disk to $SIM_EXPORT, exit the process. */
__attribute__((noreturn, format(printf, 2, 3))) void sim_fail(struct sim *s, const char *fmt, ...);

/* recovery_run.c: run it all; returns if nothing is wrong. */
void sim_run(uint64_t seed, bool verbose, struct sim_stats *stats);
/* recovery_procs.c: spawn the processes of a round. */
void sim_spawn_procs(struct sim *s);
/* recovery_check.c: after recovery, alone: what survived is what had to, and nothing else. Folds
 * the model. Spawned as a coroutine. */
void sim_check(void *arg);
/* Read all pages of a database under the handle's snapshot and compare. */
void sim_compare(struct sim *s, struct store_txn *t, const struct model_db *want);
