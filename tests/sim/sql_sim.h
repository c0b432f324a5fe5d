/* One seed of sim/sql: see README.md. */
#pragma once

#include "base/rng.h"
#include "sim/cluster.h"
#include "sql/session.h"

#define DBS       24 /* databases of one seed, dropped ones included */
#define KEYS      40
#define TEXT_MAX  8192
#define OPS_MAX   8
#define N_UNKNOWN (-1) /* no tables yet */

enum { PROC_CHECKPOINTER, PROC_BACKGROUND, PROC_WRITER, PROC_READER = 5, PROC_DDL = 7 };

/* One database as its clients know it. */
struct sim_db {
    char name[16];
    bool is_made;     /* CREATE was acknowledged */
    bool may_be_made; /* CREATE was begun */
    bool may_be_gone; /* DROP was begun */
    bool is_gone;     /* DROP was acknowledged */
    int64_t promised; /* meta.n that a crash may not undo; N_UNKNOWN */
};

struct proc {
    uint32_t no;
    struct rng rng;
    struct conf_session conf;
    struct session *session;
    uint32_t db;   /* it is connected to */
    bool is_async; /* synchronous_commit = off */
    int64_t seen;  /* newest n this session was shown */
    int64_t own;   /* newest n it committed */
    uint32_t n_ops;
    char out[TEXT_MAX];
    size_t n_out;
    struct err e;
};

struct sql_sim {
    uint64_t seed;
    bool verbose;
    struct rng rng;
    struct io_sim *disk;
    struct cluster cluster;
    struct sim_db dbs[DBS];
    uint32_t n_dbs;
    struct proc procs[CLUSTER_PROCS];
    uint32_t n_busy;
    int result;
    struct err e;
};

struct sql_stats {
    uint64_t seed;
    uint64_t commits, reads, vacuums, creates, drops, crashes, recovery_crashes, checked;
};

extern struct sql_sim sim;
extern struct sql_stats *stats; /* shared with the parent */
extern struct conf conf;

__attribute__((noreturn, format(printf, 1, 2))) void sim_fail(const char *fmt, ...);

/* What transaction n of database `db` does: its j-th change. */
struct change {
    int key;
    int v; /* -1 = delete */
    int len;
};

/* sql_model.c: what follows from a database's number and n. */
uint32_t n_changes(uint32_t db, int64_t n);
struct change change_of(uint32_t db, int64_t n, uint32_t j);
void content_text(uint32_t db, int64_t n, char *p, size_t cap);

/* sql_procs.c: what the processes of a round do, each a coroutine. */
int run(struct proc *p, const char *sql);
int read_all(struct proc *p, int64_t *ret_n);
void leave(struct proc *p);
void client(void *arg);
void ddl(void *arg);
void checkpointer(void *arg);
void background(void *arg);
