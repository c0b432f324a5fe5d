/* Locks that live in shared memory. All are valid when zeroed. Rank order is asserted at every take
 * (tbl/locks.def). A process that dies holding one is a crash of the segment: nothing is robust.
 * Each takes `self`; SHORT locks never sleep in the kernel but yield. */
#pragma once

#include "shm/wait.h"

/* clang-format off */
enum lock_rank {
#define LOCK(name, rank, kind, guards) LOCK_##name = (rank),
#include "tbl/locks.def"
#undef LOCK
};
/* clang-format on */

/* SHORT: spin 100 times, then sched_yield(). */
struct spin {
    _Atomic uint32_t word;
};
void spin_take(struct self *self, struct spin *s, enum lock_rank rank);
bool spin_try(struct self *self, struct spin *s, enum lock_rank rank);
void spin_drop(struct self *self, struct spin *s, enum lock_rank rank);

/* LONG: shared or exclusive, sleeping. Not interruptible. Writers are preferred. */
struct rwlock {
    _Atomic uint32_t word;    /* readers, or RW_WRITER; RW_SLEEPERS; futex */
    _Atomic uint32_t waiting; /* exclusive waiters; RW_SLEEPERS; futex */
};
void rwlock_take_shared(struct self *self, struct rwlock *l, enum lock_rank rank,
                        enum wait_event why);
void rwlock_take_exclusive(struct self *self, struct rwlock *l, enum lock_rank rank,
                           enum wait_event why);
bool rwlock_try_exclusive(struct self *self, struct rwlock *l, enum lock_rank rank);
void rwlock_drop_shared(struct self *self, struct rwlock *l, enum lock_rank rank);
void rwlock_drop_exclusive(struct self *self, struct rwlock *l, enum lock_rank rank);
/* In the middle of long work: who waits for it exclusively gets it (or is too slow: 10 ms), then it
 * is ours again. */
void rwlock_pass(struct self *self, struct rwlock *l, enum lock_rank rank, enum wait_event why);

/* FAIR: exclusive, interruptible, with a deadline. Waiters get it in the order in which they came.
 * When it becomes free the first is called; until that one runs, somebody who comes may take the
 * lock before it, but only for a millisecond from the first call: then it is handed over. The owner
 * is a number, so that it can outlive a process (a prepared transaction, COMMIT-1):
 * FAIR_OWNER_PROC(procno) or any value from FAIR_OWNER_OTHER up. The queue is an intrusive list of
 * procnos: `struct fair_wait` lives in an array of one per process, beside the locks. */
#define FAIR_OWNER_PROC(procno) ((uint64_t) (procno) + 1)
#define FAIR_OWNER_OTHER        (UINT64_C(1) << 32)

struct fair_wait {
    _Atomic uint32_t next;  /* procno + 1, 0 = end; guarded by fair.guard */
    _Atomic uint32_t state; /* futex word; lock.c says which; changed under fair.guard */
};
struct fair {
    struct spin guard;           /* innermost: nothing is taken under it */
    uint32_t first;              /* procno + 1, 0 = none; guarded by guard */
    uint32_t last;               /* likewise */
    uint64_t called_usec;        /* likewise: when the first was first called, 0 = not yet */
    _Atomic uint64_t owner;      /* 0 = free; read by anyone, written under guard */
    _Atomic uint64_t since_usec; /* monotonic: when the owner got it */
};
/* 0 taken; WAIT_TIMED_OUT at `deadline` (monotonic, 0 = none); < 0 an interrupt. `waits` is the
 * array of one element per process. */
int fair_take(struct self *self, struct fair *f, struct fair_wait *waits, enum lock_rank rank,
              enum wait_event why, usec_t deadline, struct err *e);
/* Only if it is free and nobody waits. */
bool fair_try(struct self *self, struct fair *f, enum lock_rank rank);
/* Free it and call the first waiter, or hand it over. */
void fair_drop(struct self *self, struct fair *f, struct fair_wait *waits, enum lock_rank rank);
/* Hand ownership to another number without freeing (PREPARE). */
void fair_reassign(struct self *self, struct fair *f, enum lock_rank rank, uint64_t owner);
bool fair_is_mine(const struct self *self, const struct fair *f);
