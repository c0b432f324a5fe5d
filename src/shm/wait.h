/* Sleeping and waking. Every sleep of an attached process is one function (INT-1): futex for at
 * most 100 ms at a time, then the request word and the signalfd. */
#pragma once

#include "shm/self.h"

/* clang-format off */
enum wait_event {
#define WAIT_EVENT(name, type, shown) WAIT_##name,
#include "tbl/wait_events.def"
#undef WAIT_EVENT
    WAIT_EVENTS
};
/* clang-format on */

#define WAIT_TIMED_OUT 1 /* outcome: the deadline passed */

/* Sleep while *word == seen. `deadline` is monotonic, 0 = none. Sets the slot's wait event while it
 * sleeps. Returns 0 when the word differs or somebody woke us (spurious returns are normal: test
 * the condition again), WAIT_TIMED_OUT, or < 0: an interrupt was taken (only while self->hold ==
 * 0). Caller holds no SHORT lock. */
int wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
               enum wait_event why, struct err *e);
/* Wake at most n sleepers on the word. */
void wait_wake(_Atomic uint32_t *word, uint32_t n);
#define WAIT_ALL UINT32_MAX
const char *wait_event_type(enum wait_event w);
const char *wait_event_name(enum wait_event w);
