/* The store's part of shared memory. For src/store and its tests. */
#pragma once

#include <stdatomic.h>

#include "store/store_checkpoint.h"
#include "store/store_file.h"
#include "store/store_gate.h"
#include "store/store_refuse.h"
#include "store/store_xact.h"

/* store_db.word: the state in the low two bits, the references above. Also the futex word of who
 * waits for the end of OPENING. */
#define DB_REF 4u
static inline uint32_t
db_word(enum store_db_state state, uint32_t n_refs)
{
    return (uint32_t) state | n_refs * DB_REF;
}
static inline enum store_db_state
db_word_state(uint32_t w)
{
    return (enum store_db_state)(w % DB_REF);
}
static inline uint32_t
db_word_refs(uint32_t w)
{
    return w / DB_REF;
}

/* FILE-5: a handle takes file[cur] if its S ≥ since, else the other one. */
struct store_db_file {
    _Atomic uint64_t since;
    _Atomic uint32_t rel;
};

/* One open database (FILE-1). Memory order: a commit stores shrink_lsn, size, p in this order;
 * EVICT-4 reads p, size, shrink_lsn. */
struct store_db {
    alignas(64) _Atomic uint32_t word; /* compare-and-swap */
    _Atomic uint32_t needs_sync;       /* the fsync set (CKPT-3): set before a write (release) */
    _Atomic uint64_t published;        /* p: release by COMMIT-5, acquire by all */
    _Atomic uint32_t size;             /* pages, as the newest page 1 says; UINT32_MAX in redo */
    _Atomic uint32_t cur;              /* which of file[]; release */
    _Atomic uint64_t shrink_lsn;       /* EVICT-6: 0 = the file is not longer than it ever was */
    _Atomic uint64_t drop_lsn;         /* FILE-3: 0 = not dropped */
    _Atomic uint32_t purge_failed;     /* checkpointer: its files could not be removed (yet) */
    _Atomic uint64_t unflushed;        /* pages published since the last flush (COMMIT-2) */
    _Atomic uint64_t allocated;        /* bytes of the file that are backed; under writer lock */
    _Atomic uint64_t used_usec;        /* last detach, monotonic: whom to reuse */
    struct store_db_file file[2];      /* written in OPENING and by COMMIT-5 (FILE-5) */
    struct rwlock filelock;            /* LOCK_DB_FILE */
    alignas(64) struct fair writer;    /* LOCK_WRITER */
};

/* Requests for checkpoints. */
struct store_ckpt_shared {
    _Atomic uint64_t asked;      /* flags asked (low half), number of checkpoints started (high) */
    _Atomic uint32_t started;    /* the high half again: futex of who waits for the beginning */
    _Atomic uint32_t done;       /* number of the last one that ended; futex */
    _Atomic uint32_t failed;     /* how many failed; bumped (release) before `done` */
    _Atomic int32_t failed_code; /* of the last failure; checkpointer only, as the text */
    char failed_text[200];       /* may be half new to a reader, always ends in 0 */
    _Atomic uint64_t redo; /* the redo pointer (CKPT-2): only rises; moved with the gate closed */
    _Atomic uint32_t prev_tli; /* startup: the end-of-recovery checkpoint leaves this timeline; 0 */
    _Atomic uint64_t last_end; /* end of the last checkpoint record */
    _Atomic uint64_t estimate; /* bytes of log per checkpoint, moving (postmaster.md 5.9) */
};

/* Processes of which there is one, to wake. */
enum store_role { STORE_ROLE_CHECKPOINTER, STORE_ROLE_WALWRITER, STORE_ROLE_BGWRITER, STORE_ROLES };

/* A database that nobody may log in to. Written by the startup process, text before oid. */
struct store_refused {
    _Atomic uint32_t oid; /* 0 = none, and none behind */
    char why[200];
};

/* One per process. */
struct store_proc {
    alignas(64) _Atomic uint64_t xid; /* store_xact_running(): written by the owner */
};

struct store_shared {
    _Atomic uint32_t in_redo; /* startup, until the log is open for insertion: pages may go
                                 to disk without a flush, what they hold is in the log */
    _Atomic uint32_t role[STORE_ROLES]; /* procno + 1 */
    _Atomic uint64_t async_lsn;         /* SNAP-7: newest commit that nobody waits for */
    _Atomic uint32_t n_dbs;             /* db[] beyond were never used */
    struct spin db_table;               /* LOCK_DB_TABLE: who claims a free element of db[] */
    struct store_gate gate;
    struct store_ckpt_shared ckpt;
    struct store_oid_shared oids;
    struct store_xact_shared xact;
    _Atomic uint32_t db_oid[CACHE_DBS]; /* oid of db[i], 0 = none: kept apart, for searching */
    struct store_db db[CACHE_DBS];
    struct store_refused refused[STORE_REFUSED_MAX];
    struct store_proc proc[]; /* [max_procs], then store_gate_flag[], then fair_wait[] */
};

static inline struct store_gate_flag *
store_gate_flags(const struct store *st)
{
    return (struct store_gate_flag *) &st->sh->proc[st->cfg.max_procs];
}
static inline struct fair_wait *
store_waits(const struct store *st)
{
    return (struct fair_wait *) &store_gate_flags(st)[st->cfg.max_procs];
}
static inline struct store_gate_ref
store_gate_of(const struct store *st)
{
    return (struct store_gate_ref){ &st->sh->gate, store_gate_flags(st), store_waits(st),
                                    st->cfg.max_procs };
}
static inline struct store_db *
store_db_at(const struct store *st, uint32_t db)
{
    ASSERT(db < CACHE_DBS);
    return &st->sh->db[db];
}
/* File of the database now. */
static inline oid_t
store_db_rel(const struct store_db *d)
{
    uint32_t cur = atomic_load_explicit(&d->cur, memory_order_acquire);

    return atomic_load_explicit(&d->file[cur].rel, memory_order_relaxed);
}

struct wal_rec;
/* One small record outside any transaction, from the standing reserve; returns when it is durable.
 * < 0: it is longer than STORE_SMALL_BYTES. */
#define STORE_SMALL_BYTES 128u
/* Of the standing reserve that must be there for whoever takes from it: all of them at once. */
#define STORE_STANDING_LEAST 4096u
/* `ret_end` (may be NULL) is the end of the record. */
int store_log_small(struct store *st, const struct wal_rec *rec, lsn_t *ret_end, struct err *e);

/* The process registers itself as the one of its role, so that others can wake it
 * (REQ_WORK). */
void store_role_take(struct store *st, enum store_role role);
bool store_role_is_taken(const struct store *st, enum store_role role);
void store_role_wake(struct store *st, enum store_role role);
