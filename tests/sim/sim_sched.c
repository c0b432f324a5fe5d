/* The scheduler of the simulations. Runs in: tests. Owns: stacks, simulated time. */
#include "sim/sim_sched.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/lock.h"

#define STACK_BYTES   (256u * 1024)
#define STEP_USEC     50   /* simulated time per switch */
#define LOST_STEPS    5000 /* asleep so long although the word has changed: a lost wake */
#define WEIGHTS_EVERY 400
#define STALL_ONE_IN  48  /* yields that become a stall … */
#define STALL_STEPS   400 /* … of at most so many steps */

struct task {
    const char *name;
    void (*run)(void *arg);
    void *arg;
    void *stack;
    ucontext_t ctx;
    bool is_done;
    uint32_t weight;
    /* asleep */
    const _Atomic uint32_t *word; /* NULL: ready */
    uint32_t seen;
    usec_t deadline;
    uint64_t asleep_since; /* step */
    bool timed_out;
    uint64_t stalled_until; /* step: taken off the processor at a bad moment */
    const char *at;
};

static struct {
    uint64_t seed;
    uint64_t step;
    struct rng rng;       /* the scheduler's */
    struct rng tasks_rng; /* the tasks' */
    struct task task[SIM_TASKS_MAX];
    uint32_t n_tasks;
    struct task *now; /* NULL: the scheduler */
    ucontext_t main;
} sim;

/* ---- failing ---- */

static void
print_where(void)
{
    char line[256];
    int n =
        snprintf(line, sizeof line, "seed=%" PRIu64 " step=%" PRIu64 " task=%s at=%s: ", sim.seed,
                 sim.step, sim.now != NULL ? sim.now->name : "-",
                 sim.now != NULL && sim.now->at != NULL ? sim.now->at : "-");

    (void) !write(STDERR_FILENO, line, (size_t) n);
}

/* ASSERT() in the code under test aborts: say where. */
static void
on_abort(int signo UNUSED)
{
    print_where();
    (void) !write(STDERR_FILENO, "abort\n", 6);
    _exit(1);
}

void
sim_fail(const char *fmt, ...)
{
    va_list ap;

    print_where();
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    _exit(1);
}

/* ---- tasks ---- */

void
sim_begin(uint64_t seed)
{
    struct sigaction sa = { .sa_handler = on_abort };

    (void) sigaction(SIGABRT, &sa, NULL);
    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    rng_init(&sim.rng, seed);
    rng_init(&sim.tasks_rng, seed ^ UINT64_C(0xA5A5A5A5));
}

void
sim_end(void)
{
    for (uint32_t i = 0; i < sim.n_tasks; i++)
        free(sim.task[i].stack);
    sim.n_tasks = 0;
}

static void
task_main(void)
{
    sim.now->run(sim.now->arg);
    sim.now->is_done = true;
    (void) swapcontext(&sim.now->ctx, &sim.main);
}

void
sim_spawn(const char *name, void (*run)(void *arg), void *arg)
{
    struct task *t = &sim.task[sim.n_tasks++];

    ASSERT(sim.n_tasks <= SIM_TASKS_MAX);
    *t = (struct task){ .name = name, .run = run, .arg = arg, .weight = 1 };
    t->stack = malloc(STACK_BYTES);
    ASSERT(t->stack != NULL);
    (void) getcontext(&t->ctx);
    t->ctx.uc_stack.ss_sp = t->stack;
    t->ctx.uc_stack.ss_size = STACK_BYTES;
    makecontext(&t->ctx, task_main, 0);
}

static bool
is_ready(struct task *t)
{
    if (t->is_done || sim.step < t->stalled_until)
        return false;
    if (t->word == NULL)
        return true;
    if (t->deadline != 0 && t->deadline <= clock_mono_usec()) {
        t->timed_out = true;
        t->word = NULL;
        return true;
    }
    if (*t->word != t->seen && sim.step - t->asleep_since > LOST_STEPS) {
        sim.now = t;
        sim_fail("lost wake: asleep since step %" PRIu64, t->asleep_since);
    }
    return false;
}

static struct task *
choose(void)
{
    uint32_t sum = 0;
    uint64_t at;

    for (uint32_t i = 0; i < sim.n_tasks; i++)
        if (is_ready(&sim.task[i]))
            sum += sim.task[i].weight;
    if (sum == 0)
        return NULL;
    at = rng_below(&sim.rng, sum);
    for (uint32_t i = 0; i < sim.n_tasks; i++) {
        struct task *t = &sim.task[i];

        if (t->is_done || t->word != NULL || sim.step < t->stalled_until)
            continue;
        if (at < t->weight)
            return t;
        at -= t->weight;
    }
    return NULL;
}

static void
draw_weights(void)
{
    static const uint32_t weights[] = { 1, 5, 15, 40 };

    for (uint32_t i = 0; i < sim.n_tasks; i++)
        sim.task[i].weight = weights[rng_below(&sim.rng, ELEMENTSOF(weights))];
}

static uint32_t
n_undone(void)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < sim.n_tasks; i++)
        n += !sim.task[i].is_done;
    return n;
}

void
sim_print_tasks(void)
{
    for (uint32_t i = 0; i < sim.n_tasks; i++)
        if (!sim.task[i].is_done)
            fprintf(stderr, "  %s at %s%s\n", sim.task[i].name,
                    sim.task[i].at != NULL ? sim.task[i].at : "-",
                    sim.task[i].word != NULL ? ", asleep" : "");
}

bool
sim_run(uint64_t steps, void (*check)(void *arg), void *arg, uint32_t check_every)
{
    for (uint64_t i = 0; i < steps; i++) {
        struct task *t;

        if (i % WEIGHTS_EVERY == 0)
            draw_weights();
        sim.step++;
        t = choose();
        if (t != NULL) {
            sim.now = t;
            (void) swapcontext(&sim.main, &t->ctx);
            sim.now = NULL;
        } else if (n_undone() == 0) {
            return true;
        } /* else all sleep: time passes */
        if (check != NULL && i % check_every == 0)
            check(arg);
    }
    return n_undone() == 0;
}

static void
switch_away(void)
{
    (void) swapcontext(&sim.now->ctx, &sim.main);
}

void
sim_yield(const char *point)
{
    if (sim.now == NULL || rng_below(&sim.rng, 2) == 0)
        return;
    sim.now->at = point;
    if (rng_below(&sim.rng, STALL_ONE_IN) == 0)
        sim.now->stalled_until = sim.step + rng_below(&sim.rng, STALL_STEPS);
    switch_away();
}

void
sim_pause(uint64_t n)
{
    while (n-- > 0)
        switch_away();
}

uint64_t
sim_below(uint64_t n)
{
    return rng_below(&sim.tasks_rng, n);
}

uint64_t
sim_step(void)
{
    return sim.step;
}

/* ---- what is replaced ---- */

usec_t
clock_mono_usec(void)
{
    return USEC_PER_SEC + sim.step * STEP_USEC;
}

usec_t
clock_coarse_usec(void)
{
    return clock_mono_usec();
}

usec_t
clock_real_usec(void)
{
    return clock_mono_usec();
}

int64_t
clock_pg_time(usec_t real_usec)
{
    return (int64_t) real_usec;
}

int
sched_yield(void)
{
    if (sim.now != NULL) {
        sim.now->at = "contended lock";
        switch_away();
    }
    return 0;
}

int
wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
           enum wait_event why, struct err *e)
{
    struct task *t = sim.now;
    int r = self_check(self, e);

    ASSERT(self->n_held == 0 || self->held[self->n_held - 1] < LOCK_WAL_RESERVE);
    if (r < 0)
        return r;
    sim_yield("before sleep");
    if (*word != seen)
        return 0;
    ASSERT(t != NULL);
    t->at = wait_event_name(why);
    t->timed_out = false;
    t->seen = seen;
    t->deadline = deadline;
    t->asleep_since = sim.step;
    t->word = word;
    switch_away();
    return t->timed_out ? WAIT_TIMED_OUT : 0;
}

void
wait_wake(_Atomic uint32_t *word, uint32_t n UNUSED)
{
    for (uint32_t i = 0; i < sim.n_tasks; i++)
        if (sim.task[i].word == word)
            sim.task[i].word = NULL;
    sim_yield("after wake");
}

const char *
wait_event_name(enum wait_event w)
{
    static const char *const names[] = {
#define WAIT_EVENT(id, type, shown) [WAIT_##id] = (shown),
#include "tbl/wait_events.def"
#undef WAIT_EVENT
    };

    return names[w];
}

void __real_spin_take(struct self *self, struct spin *s, enum lock_rank rank);
void __real_spin_drop(struct self *self, struct spin *s, enum lock_rank rank);
void __wrap_spin_take(struct self *self, struct spin *s, enum lock_rank rank);
void __wrap_spin_drop(struct self *self, struct spin *s, enum lock_rank rank);

void
__wrap_spin_take(struct self *self, struct spin *s, enum lock_rank rank)
{
    sim_yield("before lock");
    __real_spin_take(self, s, rank);
}

void
__wrap_spin_drop(struct self *self, struct spin *s, enum lock_rank rank)
{
    __real_spin_drop(self, s, rank);
    sim_yield("after lock");
}
