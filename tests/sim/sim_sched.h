/* A deterministic scheduler: tasks on their own stacks, switched at yield points by the seed, so
 * that an interleaving found once is found again. Single-threaded.
 *
 * It replaces the sleeps of shm (wait_sleep, wait_wake), the clock (base/clock.h) and
 * sched_yield(), and steps in before each SHORT lock is taken and after it is dropped (link with
 * -Wl,--wrap=spin_take,--wrap=spin_drop). Code built with PINION_SIM yields at SIM_YIELD() too. A
 * sleeper is woken by wait_wake() or its deadline only, so a lost wake shows. */
#pragma once

#include "base/macro.h"
#include "base/rng.h"

/* sim_yield(point): perhaps switch to another task; outside a task: nothing. */
#ifndef PINION_SIM
#define PINION_SIM 1
#endif
#include "base/sim.h"

#define SIM_TASKS_MAX 24

void sim_begin(uint64_t seed);
void sim_end(void);
/* A task with its own stack; `name` is borrowed. */
void sim_spawn(const char *name, void (*run)(void *arg), void *arg);
/* Switch tasks for `steps` switches, or until all have returned (true). `check` is called between
 * switches, every `check_every`. */
bool sim_run(uint64_t steps, void (*check)(void *arg), void *arg, uint32_t check_every);
/* Print the tasks that have not returned, and where they are. */
void sim_print_tasks(void);
/* Print "seed=… step=…" and the words, and exit(1). Anywhere. */
NORETURN void sim_fail(const char *fmt, ...) PRINTF(1, 2);
/* Yield up to n times. */
void sim_pause(uint64_t n);
/* Random numbers of this seed, for tasks. */
uint64_t sim_below(uint64_t n);
uint64_t sim_step(void);
