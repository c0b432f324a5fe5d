/* When to try again: delays that grow while something keeps failing, from a history and `now`.
 * Pure.
 *
 * Used by the postmaster for forks that failed and for children that leave again and again. Idea:
 * PostgreSQL's per-kind limiters (postmaster.md 1.8), put into one place. */
#pragma once

#include <stdbool.h>

#include "base/types.h"

#define BACKOFF_FIRST_USEC  (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_USEC    (10 * USEC_PER_SEC)
#define BACKOFF_STABLE_USEC (10 * USEC_PER_SEC) /* a life this long forgives all failures */

struct backoff {
    unsigned n_failures; /* in a row */
    usec_t not_before;   /* monotonic; 0 = at once */
    int last_error;      /* code of the last failure, for one log line per change */
};

/* Something failed, or a child that should stay has left, at `now` (monotonic). Sets the next time:
 * 100 ms, doubled per failure in a row, at most 10 s. `code` says why. Returns true if it should be
 * logged: the first of a row, and each change of code. */
bool backoff_fail(struct backoff *b, usec_t now, int code);

/* A child that had started at `since` has left at `now` without failing: at once again if it lived
 * long enough, else as backoff_fail(). */
void backoff_left(struct backoff *b, usec_t since, usec_t now);

/* It works again. */
void backoff_reset(struct backoff *b);

/* How often something that repeats has been seen and not yet said. */
struct seldom {
    unsigned n;       /* since it was last said */
    usec_t said_usec; /* monotonic; 0 = never */
};

/* It happened at `now` (monotonic). Returns how often since it was last said, or 0: keep quiet,
 * it was said less than `gap` ago. The first time is always said. */
unsigned seldom_say(struct seldom *s, usec_t now, usec_t gap);

/* May it be tried at `now`? */
static inline bool
backoff_is_due(const struct backoff *b, usec_t now)
{
    return now >= b->not_before;
}
