/* A process shows that it lives and gets on: one cache line in shared memory, written by its owner
 * with single atomic stores, read by the postmaster (systemd-ops.md 3.7). No process waits for it.
 *
 * Before a call to storage that may take long its owner declares until when it may be silent, and
 * for which descriptor; io_real does this for every process whose `struct io` has a beat. */
#pragma once

#include <stdatomic.h>

#include "base/clock.h"
#include "base/macro.h"

/* The call to storage that is under way. */
enum beat_call { BEAT_NO_CALL, BEAT_FSYNC, BEAT_READ, BEAT_WRITE, BEAT_ALLOCATE, BEAT_CALLS };

struct beat {
    alignas(64) _Atomic uint64_t progress; /* grows while the process gets on */
    _Atomic uint64_t last_usec;            /* monotonic: when it was last seen to turn */
    _Atomic uint64_t deadline_usec;        /* of the call, monotonic; 0 = none */
    _Atomic uint64_t since_usec;           /* when the call began, monotonic */
    _Atomic uint32_t call;                 /* enum beat_call */
    _Atomic int32_t fd;                    /* of the call */
};

/* It turns, perhaps without getting on: it waits for somebody. */
static inline void
beat_alive(struct beat *b)
{
    atomic_store_explicit(&b->last_usec, clock_mono_usec(), memory_order_relaxed);
}

/* It has got on. */
static inline void
beat_step(struct beat *b)
{
    (void) atomic_fetch_add_explicit(&b->progress, 1, memory_order_relaxed);
    beat_alive(b);
}

/* A call begins that may take `budget` usec. b may be NULL. */
static inline void
beat_begin(struct beat *b, enum beat_call call, int fd, usec_t budget)
{
    usec_t now;

    if (b == NULL)
        return;
    now = clock_mono_usec();
    atomic_store_explicit(&b->fd, fd, memory_order_relaxed);
    atomic_store_explicit(&b->since_usec, now, memory_order_relaxed);
    atomic_store_explicit(&b->deadline_usec, now + budget, memory_order_relaxed);
    atomic_store_explicit(&b->call, (uint32_t) call, memory_order_release);
}

/* The call is over. b may be NULL. */
static inline void
beat_end(struct beat *b)
{
    if (b == NULL)
        return;
    beat_step(b);
    atomic_store_explicit(&b->call, BEAT_NO_CALL, memory_order_release);
    atomic_store_explicit(&b->deadline_usec, 0, memory_order_relaxed);
}
