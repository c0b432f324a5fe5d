/* Several processes in one: coroutines that switch where a process would sleep, or do I/O. Linking
 * it replaces the futex sleep (shm/wait.c) and the clock (base/clock.c): time passes by switches,
 * so a seed gives the same run for ever. */
#pragma once

#include "base/err.h"
#include "base/types.h"

#define SCHED_MAX 16

enum sched_end {
    SCHED_DONE,  /* every coroutine returned */
    SCHED_CRASH, /* sched_crash(): a power cut, a PANIC or a fault point */
    SCHED_STUCK, /* nobody got on for a long time */
};

/* Forget all coroutines; `seed` decides who runs next. */
void sched_reset(uint64_t seed);
/* A coroutine that will run fn(arg). */
void sched_spawn(void (*fn)(void *arg), void *arg);
/* Run until all have returned or one has called sched_crash(). */
enum sched_end sched_run(void);
/* Inside a coroutine: let somebody else run. Outside: nothing. */
void sched_switch(void);
/* The same, in one of `one_in` cases. A call hook for io_sim. */
void sched_maybe(uint32_t one_in);
/* Inside a coroutine: everything ends here, without unwinding. `why` is copied. Outside: abort. */
__attribute__((noreturn)) void sched_crash(const char *why);
const char *sched_why(void);
