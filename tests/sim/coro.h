/* Several processes in one: coroutines that switch where a process would sleep, or do I/O. Linking
 * it replaces the futex sleep (shm/wait.c) and the clock (base/clock.c): time passes by switches,
 * so a seed gives the same run for ever. */
#pragma once

#include "base/err.h"
#include "base/types.h"

#define CORO_MAX 16

enum coro_end {
    CORO_DONE,  /* every coroutine returned */
    CORO_CRASH, /* coro_crash(): a power cut, a PANIC or a fault point */
    CORO_STUCK, /* nobody got on for a long time */
};

/* Forget all coroutines; `seed` decides who runs next. */
void coro_reset(uint64_t seed);
/* A coroutine that will run fn(arg). */
void coro_spawn(void (*fn)(void *arg), void *arg);
/* Run until all have returned or one has called coro_crash(). */
enum coro_end coro_run(void);
/* Inside a coroutine: let somebody else run. Outside: nothing. */
void coro_switch(void);
/* The same, in one of `one_in` cases. A call hook for io_sim. */
void coro_maybe(uint32_t one_in);
/* Inside a coroutine: everything ends here, without unwinding. `why` is copied. Outside: abort. */
__attribute__((noreturn)) void coro_crash(const char *why);
const char *coro_why(void);
