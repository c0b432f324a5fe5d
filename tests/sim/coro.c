/* Coroutines instead of processes; see coro.h. Runs in simulations. Owns: their stacks. */
#include "sim/coro.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/rng.h"
#include "shm/lock.h"
#include "shm/wait.h"

#define STACK_BYTES (UINT64_C(512) * 1024)
#define STUCK       2000000u /* switches without anybody returning from a sleep */
#define SWITCH_USEC 20u

struct task {
    ucontext_t context;
    void *stack;
    void (*fn)(void *arg);
    void *arg;
    bool is_alive;
    uint64_t asleep_until; /* by count of switches: a process that the kernel does not run */
};

static struct task tasks[CORO_MAX];
static uint32_t n_tasks;
static struct task *running;
static ucontext_t home;
static bool crashed;
static char why[600];
static struct rng rng;
static usec_t now = 1000000;
static uint32_t idle;
static uint64_t n_switches;

/* ---- what is replaced ---- */

usec_t
clock_mono_usec(void)
{
    return ++now;
}

usec_t
clock_coarse_usec(void)
{
    return now;
}

usec_t
clock_real_usec(void)
{
    return UINT64_C(1700000000) * USEC_PER_SEC + ++now;
}

int64_t
clock_pg_time(usec_t real_usec)
{
    return (int64_t) real_usec - INT64_C(946684800) * 1000000;
}

const char *
wait_event_type(enum wait_event w)
{
    (void) w;
    return "";
}

const char *
wait_event_name(enum wait_event w)
{
    (void) w;
    return "";
}

/* Somebody spins: let others run. */
int
sched_yield(void) /* NOLINT: libc's */
{
    coro_switch();
    return 0;
}

/* Linked with --wrap=fault_hit: every fault point is a place to switch. */
int __real_fault_hit(enum fault_point p);
int __wrap_fault_hit(enum fault_point p);

int
__wrap_fault_hit(enum fault_point p)
{
    coro_maybe(3);
    return __real_fault_hit(p);
}

/* And --wrap=spin_drop: so is the end of each short critical section, for example between the place
 * of a record in the log and its bytes. */
void __real_spin_drop(struct self *self, struct spin *s, enum lock_rank rank);
void __wrap_spin_drop(struct self *self, struct spin *s, enum lock_rank rank);

void
__wrap_spin_drop(struct self *self, struct spin *s, enum lock_rank rank)
{
    __real_spin_drop(self, s, rank);
    coro_maybe(16);
}

void
wait_wake(_Atomic uint32_t *word, uint32_t n)
{
    (void) word;
    (void) n;
}

int
wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
           enum wait_event event, struct err *e)
{
    (void) event;
    while (__atomic_load_n((uint32_t *) word, __ATOMIC_ACQUIRE) == seen) {
        int r = self_check(self, e);

        if (r < 0)
            return r;
        if (deadline != 0 && now >= deadline)
            return WAIT_TIMED_OUT;
        if (running == NULL && deadline == 0) {
            (void) fprintf(stderr, "a sleep that nobody can end\n");
            abort();
        }
        idle++;
        coro_switch();
    }
    idle = 0;
    return 0;
}

/* ---- switching ---- */

static void
start(void)
{
    struct task *t = running;

    t->fn(t->arg);
    t->is_alive = false;
    idle = 0;
    (void) swapcontext(&t->context, &home);
}

void
coro_reset(uint64_t seed)
{
    n_tasks = 0;
    running = NULL;
    crashed = false;
    why[0] = '\0';
    idle = 0;
    rng_init(&rng, seed);
}

void
coro_spawn(void (*fn)(void *arg), void *arg)
{
    struct task *t = &tasks[n_tasks++];

    ASSERT(n_tasks <= CORO_MAX);
    if (t->stack == NULL) {
        t->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        ASSERT(t->stack != MAP_FAILED);
    }
    (void) getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = STACK_BYTES;
    t->context.uc_link = &home;
    t->fn = fn;
    t->arg = arg;
    t->is_alive = true;
    t->asleep_until = 0;
    makecontext(&t->context, start, 0);
}

/* Now and then one is not run for a long time, wherever it is: most windows are small. */
#define STALL_ONE_IN 40
#define STALL_MAX    400

static struct task *
choose(void)
{
    uint32_t first = (uint32_t) rng_below(&rng, n_tasks);
    struct task *stalled = NULL;

    n_switches++;
    for (uint32_t i = 0; i < n_tasks; i++) {
        struct task *t = &tasks[(first + i) % n_tasks];

        if (!t->is_alive)
            continue;
        if (t->asleep_until <= n_switches) {
            if (rng_below(&rng, STALL_ONE_IN) == 0)
                t->asleep_until = n_switches + rng_below(&rng, STALL_MAX);
            return t;
        }
        stalled = t;
    }
    return stalled;
}

enum coro_end
coro_run(void)
{
    while (!crashed && idle < STUCK) {
        struct task *t = n_tasks == 0 ? NULL : choose();

        if (t == NULL)
            return CORO_DONE;
        running = t;
        now += SWITCH_USEC;
        (void) swapcontext(&home, &t->context);
        running = NULL;
    }
    return crashed ? CORO_CRASH : CORO_STUCK;
}

void
coro_switch(void)
{
    struct task *t = running;

    now += SWITCH_USEC;
    if (t != NULL)
        (void) swapcontext(&t->context, &home);
}

void
coro_maybe(uint32_t one_in)
{
    if (running != NULL && rng_below(&rng, one_in) == 0)
        coro_switch();
}

void
coro_crash(const char *text)
{
    struct task *t = running;

    if (t == NULL) {
        (void) fprintf(stderr, "crash outside a coroutine: %s\n", text);
        abort();
    }
    (void) snprintf(why, sizeof why, "%s", text);
    crashed = true;
    (void) swapcontext(&t->context, &home);
    abort();
}

const char *
coro_why(void)
{
    return why;
}
