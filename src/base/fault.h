/* Fault points: named places at which a test can make the code fail, crash, stop or wait.
 *
 *     int r = FAULT(WAL_FLUSH_BEFORE_SYNC);
 *     if (r == 0 && io_fdatasync(io, fd) < 0) …
 *
 * FAULT() is the constant 0 unless built with -Dfaults=true. Armed by $PINION_FAULT =
 * "POINT:after:times:what[,…]" at start (what: an errno name such as EIO or ENOSPC, crash, stop,
 * count), or by fault_arm() in a test. "stop" raises SIGSTOP, so a test can hold a process at a
 * place and let it go by SIGCONT. */
#pragma once

#include "base/err.h"

/* clang-format off */
enum fault_point {
#define FAULT_DEF(name, text) FAULT_##name,
#include "tbl/fault_points.def"
#undef FAULT_DEF
    FAULT_POINTS
};
/* clang-format on */

enum fault_what { FAULT_DO_ERROR, FAULT_DO_CRASH, FAULT_DO_STOP };

#ifdef PINION_FAULTS
#define FAULT(name) fault_hit(FAULT_##name)
#else
#define FAULT(name) 0
#endif

/* Pass the point: 0, or -errno if an armed error fires. Counts the hit. */
int fault_hit(enum fault_point p);
/* Let hits after+1 … after+times of `p` fire; `error` > 0 is the errno of FAULT_DO_ERROR. Replaces
 * what was armed. */
void fault_arm(enum fault_point p, unsigned after, unsigned times, enum fault_what what, int error);
/* Let the (n+1)-th hit of *any* point fire, for the loop "fault at hit 1, 2, 3 … until none fires".
 */
void fault_arm_any(unsigned after, enum fault_what what, int error);
/* Disarm everything and zero the counters. */
void fault_reset(void);
/* Did an armed fault fire since the last reset? How many points were passed? */
bool fault_fired(void);
unsigned fault_hits(void);
/* FAULT_DO_CRASH calls this, if set, instead of _exit(2): a simulation's power cut. Must not
 * return. */
extern void (*fault_crash_hook)(enum fault_point p);
/* Arm from $PINION_FAULT; a malformed value is an error with SQLSTATE 22023. Without -Dfaults a set
 * variable is refused. */
int fault_arm_from_env(struct err *e);
const char *fault_name(enum fault_point p);
