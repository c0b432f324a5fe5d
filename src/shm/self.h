/* This process (or, in a test, this thread) as the shared structures know it. One per process,
 * handed to every module at attach.
 *
 * Interrupts (INT-1): a request is *taken* when a wait or check returns its error; it is acted on
 * when the caller has unwound. While `hold` > 0 nothing is taken. */
#pragma once

#include "base/err.h"
#include "base/types.h"
#include "shm/slot.h"

#define SELF_LOCKS_MAX 16

struct self {
    uint32_t procno;           /* index of our slot and of our element in every per-process array */
    struct slot *slot;         /* shared */
    uint32_t hold;             /* > 0: interrupts are held */
    usec_t statement_deadline; /* monotonic; 0 = none: statement_timeout, taken as 57014 */
    /* Called between two short sleeps, and by self_check(), once in some milliseconds at most:
     * reads the signalfd, turns what it finds into request bits. May be NULL. */
    void (*poll)(void *arg);
    void *poll_arg;
    struct stat_proc *stat; /* what we count (shm/stat.h); NULL: nothing is counted */
    usec_t looked;          /* clock_coarse_usec() of the last call */
    /* Ranks of the locks held, for the order check; innermost last. */
    uint8_t held[SELF_LOCKS_MAX];
    uint32_t n_held;
};

/* `slot` may be NULL in single-threaded tests and in `init`. */
void self_init(struct self *self, uint32_t procno, struct slot *slot);

static inline void
self_hold(struct self *self)
{
    self->hold++;
}
static inline void
self_resume(struct self *self)
{
    ASSERT(self->hold > 0);
    self->hold--;
}

/* 0, or the interrupt that is pending and not held: -ERR_QUERY_CANCELED (cancel,
 * statement_timeout), -ERR_ADMIN_SHUTDOWN (terminate; wins). Does not clear the request: the
 * session does, when it has answered. Cheap: one relaxed load, plus the clock if a deadline is set.
 */
int self_check(struct self *self, struct err *e);
