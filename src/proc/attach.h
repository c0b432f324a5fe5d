/* An attached child's handles on log, cache and store. Runs in: every attached child. */
#pragma once

#include "proc/child.h"
#include "proc/segment.h"
#include "shm/stat.h"
#include "store/store.h"

struct catalog_logins;

struct attached {
    struct self self;
    struct io io;
    struct wal wal;
    struct cache cache;
    struct store store;
    struct catalog_logins *logins; /* in the segment */
    struct stats stats;
    struct slot *slot;
    const struct child_start *start;
};

/* Make the handles; `a` must live until the end of the process (static). Waits until the startup
 * process has filled the segment; interruptible by TERM, INT, QUIT. Registers store_process_exit()
 * as an exit callback. */
int attach_begin(struct attached *a, const struct child_start *start, struct err *e);
/* attach_begin() of a child that has nothing to undo: leaves the process when told to, or with the
 * error. */
void attach_or_leave(struct attached *a, const struct child_start *start);
/* The startup process instead: fill log, cache and store, make the handles, set ready (SHM-1). */
int attach_first(struct attached *a, const struct child_start *start, struct err *e);

/* The checkpointer's slot, to wake it after store_checkpoint_ask(); likewise the walwriter's. */
struct slot *attach_slot_of(const struct attached *a, enum child_kind kind);

/* Sleep of a child without a loop: until `deadline` (monotonic; 0 = none) or until there is a
 * request. Returns the request bits (0 = time is over). Does not clear them. */
uint32_t attach_sleep(struct attached *a, usec_t deadline);
/* One short sleep, at most `usec`; ends early when somebody wakes us. Returns the request bits,
 * also old ones. */
uint32_t attach_nap(struct attached *a, usec_t usec);
/* Log what failed in a round, once per change of what fails: a full disk would repeat it every
 * round. *last_code is kept by the caller, 0 at first. */
void attach_report(const struct err *e, const char *prefix, int *last_code);
/* Is the startup process still at work? */
bool attach_in_recovery(const struct attached *a);
