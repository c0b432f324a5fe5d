/* shm/lock: exclusion, fairness, time-outs, with threads as processes. Also run under TSan.
 *
 * Sleeps are replaced (--wrap=wait_sleep): they last until somebody wakes, so a wake that is lost
 * hangs the test instead of costing a tenth of a second. */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/test.h"

#include "base/clock.h"
#include "base/rng.h"
#include "shm/lock.h"

/* What happens in the next sleep of this thread, and what the sleep returns then. */
static _Thread_local int (*in_sleep)(void);

int __real_wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
                      enum wait_event why, struct err *e);
int __wrap_wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
                      enum wait_event why, struct err *e);

int
__wrap_wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
                  enum wait_event why, struct err *e)
{
    if (in_sleep != NULL) {
        int (*hook)(void) = in_sleep;

        in_sleep = NULL;
        return hook();
    }
    if (deadline != 0 || self->hold == 0)
        return __real_wait_sleep(self, word, seen, deadline, why, e);
    while (atomic_load_explicit(word, memory_order_acquire) == seen)
        (void) syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
    return 0;
}

#define THREADS 8
#define ROUNDS  3000

static struct spin spin;
static struct rwlock rw;
static struct fair fair;
static struct fair_wait waits[THREADS + 1];
static struct slot slots[THREADS + 1];
static long counter;
static long pair[2];
static _Atomic int torn;

static void *
hammer(void *arg)
{
    struct self self;
    uint32_t no = (uint32_t) (uintptr_t) arg;

    self_init(&self, no, &slots[no]);
    for (int i = 0; i < ROUNDS; i++) {
        (void) fair_take(&self, &fair, waits, LOCK_WRITER, WAIT_WRITER_LOCK, 0, NULL);
        counter++;
        fair_drop(&self, &fair, waits, LOCK_WRITER);
        spin_take(&self, &spin, LOCK_BUCKET);
        counter += 0;
        spin_drop(&self, &spin, LOCK_BUCKET);
        if (i % 8 == 0) {
            rwlock_take_exclusive(&self, &rw, LOCK_DB_FILE, WAIT_DB_FILE);
            pair[0]++;
            (void) sched_yield(); /* let others find it taken */
            pair[1]++;
            rwlock_drop_exclusive(&self, &rw, LOCK_DB_FILE);
        } else {
            rwlock_take_shared(&self, &rw, LOCK_DB_FILE, WAIT_DB_FILE);
            if (pair[0] != pair[1])
                atomic_store(&torn, 1);
            rwlock_drop_shared(&self, &rw, LOCK_DB_FILE);
        }
    }
    return NULL;
}

static void
locks_exclude_under_contention(void **state)
{
    pthread_t t[THREADS];

    (void) state;
    (void) alarm(60);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, (void *) i), 0);
    for (int i = 0; i < THREADS; i++)
        (void) pthread_join(t[i], NULL);
    (void) alarm(0);
    assert_int_equal(counter, (long) THREADS * ROUNDS);
    assert_int_equal(pair[0], (long) THREADS * (ROUNDS / 8));
    assert_int_equal(atomic_load(&torn), 0);
    assert_int_equal(atomic_load(&fair.owner), 0);
}

static void
a_fair_lock_times_out_and_is_interrupted_and_leaves_no_trace(void **state)
{
    struct self owner;
    struct self other;
    struct err e = ERR_INIT;

    (void) state;
    self_init(&owner, 0, &slots[0]);
    self_init(&other, 1, &slots[1]);
    assert_int_equal(fair_take(&owner, &fair, waits, LOCK_WRITER, WAIT_WRITER_LOCK, 0, &e), 0);
    assert_int_equal(fair_take(&other, &fair, waits, LOCK_WRITER, WAIT_WRITER_LOCK,
                               clock_mono_usec() + 2000, &e),
                     WAIT_TIMED_OUT);
    slot_request(&slots[1], REQ_CANCEL);
    assert_int_equal(fair_take(&other, &fair, waits, LOCK_WRITER, WAIT_WRITER_LOCK, 0, &e),
                     -ERR_QUERY_CANCELED);
    assert_int_equal(other.n_held, 0);
    assert_int_equal(fair.first, 0);
    slot_request_clear(&slots[1], REQ_CANCEL);
    fair_drop(&owner, &fair, waits, LOCK_WRITER);
    assert_true(fair_try(&other, &fair, LOCK_WRITER));
    fair_drop(&other, &fair, waits, LOCK_WRITER);
}

static _Atomic int order_at;
static int order[THREADS];

static void *
queue_up(void *arg)
{
    struct self self;
    uint32_t no = (uint32_t) (uintptr_t) arg;

    self_init(&self, no, &slots[no]);
    (void) fair_take(&self, &fair, waits, LOCK_WRITER, WAIT_WRITER_LOCK, 0, NULL);
    order[atomic_fetch_add(&order_at, 1)] = (int) no;
    fair_drop(&self, &fair, waits, LOCK_WRITER);
    return NULL;
}

static void
a_fair_lock_is_first_come_first_served(void **state)
{
    pthread_t t[THREADS];
    struct self owner;

    (void) state;
    self_init(&owner, THREADS, &slots[THREADS]);
    assert_true(fair_try(&owner, &fair, LOCK_WRITER));
    for (uintptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, queue_up, (void *) i), 0);
        for (bool queued = false; !queued; (void) sched_yield()) { /* until it stands in line */
            while (atomic_exchange(&fair.guard.word, 1) != 0)
                ;
            queued = fair.last == i + 1;
            atomic_store(&fair.guard.word, 0);
        }
    }
    fair_drop(&owner, &fair, waits, LOCK_WRITER);
    for (int i = 0; i < THREADS; i++)
        (void) pthread_join(t[i], NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(order[i], i);
}

/* ---- overtaking; waiters that the kernel does not run are put into the queue by hand ---- */

#define A 0
#define B 1

static struct self selves[2];

static void
queue_by_hand(uint32_t procno)
{
    atomic_store(&waits[procno].next, 0);
    atomic_store(&waits[procno].state, 0);
    if (fair.last != 0)
        atomic_store(&waits[fair.last - 1].next, procno + 1);
    else
        fair.first = procno + 1;
    fair.last = procno + 1;
}

static int
clear_fair(void **state)
{
    (void) state;
    fair = (struct fair){ 0 };
    for (uint32_t i = 0; i <= THREADS; i++)
        waits[i] = (struct fair_wait){ 0 };
    self_init(&selves[A], A, &slots[A]);
    self_init(&selves[B], B, &slots[B]);
    return 0;
}

static int
take(uint32_t who, usec_t deadline)
{
    struct err e = ERR_INIT;

    return fair_take(&selves[who], &fair, waits, LOCK_WRITER, WAIT_WRITER_LOCK, deadline, &e);
}

static void
drop(uint32_t who)
{
    fair_drop(&selves[who], &fair, waits, LOCK_WRITER);
}

static void
a_free_lock_is_taken_before_the_one_that_was_called_but_not_for_long(void **state)
{
    (void) state;
    assert_int_equal(take(A, 0), 0);
    queue_by_hand(2);
    drop(A); /* 2 is called and does not come */
    assert_int_equal(atomic_load(&fair.owner), 0);
    assert_int_not_equal(atomic_load(&waits[2].state), 0);
    fair.called_usec = clock_mono_usec() + USEC_PER_SEC; /* however slow this machine is */
    assert_int_equal(take(B, 0), 0);
    assert_int_equal(fair.first, 3); /* who was overtaken is still the first */
    drop(B);
    assert_false(fair_try(&selves[B], &fair, LOCK_WRITER));

    fair.called_usec = clock_mono_usec() - USEC_PER_SEC; /* long enough: who comes queues */
    assert_int_equal(take(B, clock_mono_usec() + 1), WAIT_TIMED_OUT);
    assert_int_equal(atomic_load(&fair.owner), 0);
    assert_int_equal(fair.first, 3);
    assert_int_equal(fair.last, 3);
}

static void
who_was_overtaken_for_long_is_handed_the_lock(void **state)
{
    (void) state;
    assert_int_equal(take(A, 0), 0);
    queue_by_hand(2);
    queue_by_hand(3);
    drop(A);
    fair.called_usec = clock_mono_usec() + USEC_PER_SEC;
    assert_int_equal(take(B, 0), 0);
    fair.called_usec = clock_mono_usec() - USEC_PER_SEC;
    drop(B);
    assert_int_equal(atomic_load(&fair.owner), FAIR_OWNER_PROC(2));
    assert_int_equal(fair.first, 4); /* and for the next one the time begins with its own call */
    assert_int_equal(fair.called_usec, 0);
    assert_int_equal(atomic_load(&waits[3].state), 0);
}

static int
drop_and_interrupt(void)
{
    queue_by_hand(2);
    drop(A);
    return -ERR_QUERY_CANCELED;
}

static void
a_call_that_meets_an_interrupt_goes_to_the_next(void **state)
{
    (void) state;
    assert_int_equal(take(A, 0), 0);
    in_sleep = drop_and_interrupt;
    assert_int_equal(take(B, 0), -ERR_QUERY_CANCELED);
    assert_int_equal(atomic_load(&fair.owner), 0);
    assert_int_equal(fair.first, 3);
    assert_int_not_equal(atomic_load(&waits[2].state), 0);
    assert_int_equal(selves[B].n_held, 0);
}

static int
pass_the_deadline(void)
{
    queue_by_hand(2);
    fair.called_usec = clock_mono_usec() - USEC_PER_SEC;
    drop(A); /* hands it to B */
    return WAIT_TIMED_OUT;
}

static void
who_is_handed_the_lock_at_its_deadline_has_it(void **state)
{
    (void) state;
    assert_int_equal(take(A, 0), 0);
    in_sleep = pass_the_deadline;
    assert_int_equal(take(B, clock_mono_usec() + USEC_PER_SEC), 0);
    assert_true(fair_is_mine(&selves[B], &fair));
    drop(B);
    assert_int_not_equal(atomic_load(&waits[2].state), 0);
}

static _Atomic long overtaken_long;

/* Under the lock: nobody took it who came more than a millisecond after the first was called. */
static void
look_at_the_first(void)
{
    while (atomic_exchange(&fair.guard.word, 1) != 0)
        (void) sched_yield();
    if (fair.first != 0 && fair.called_usec != 0 &&
        atomic_load(&fair.since_usec) >= fair.called_usec + USEC_PER_MSEC)
        overtaken_long++;
    atomic_store(&fair.guard.word, 0);
}

static void *
come_and_go(void *arg)
{
    struct self self;
    uint32_t no = (uint32_t) (uintptr_t) arg;
    struct rng rng;
    struct err e = ERR_INIT;

    rng_init(&rng, no);
    self_init(&self, no, &slots[no]);
    self_hold(&self);
    for (int i = 0; i < ROUNDS; i++) {
        usec_t deadline = no % 2 == 0 ? 0 : clock_mono_usec() + rng_below(&rng, 60);

        if (fair_take(&self, &fair, waits, LOCK_WRITER, WAIT_WRITER_LOCK, deadline, &e) == 0) {
            counter++;
            look_at_the_first();
            if (rng_below(&rng, 64) == 0)
                (void) sched_yield();
            fair_drop(&self, &fair, waits, LOCK_WRITER);
        }
    }
    self_resume(&self);
    return NULL;
}

static void
a_storm_that_comes_and_gives_up_loses_no_wake_and_overtakes_nobody_for_long(void **state)
{
    pthread_t t[THREADS];

    (void) state;
    counter = 0;
    (void) alarm(60);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, come_and_go, (void *) i), 0);
    for (int i = 0; i < THREADS; i++)
        (void) pthread_join(t[i], NULL);
    (void) alarm(0);
    assert_in_range(counter, (long) THREADS / 2 * ROUNDS, (long) THREADS * ROUNDS);
    assert_int_equal(overtaken_long, 0);
    assert_int_equal(atomic_load(&fair.owner), 0);
    assert_int_equal(fair.first, 0);
}

static void
held_interrupts_are_not_taken(void **state)
{
    struct self self;
    struct err e = ERR_INIT;

    (void) state;
    self_init(&self, 2, &slots[2]);
    slot_request(&slots[2], REQ_CANCEL | REQ_TERMINATE);
    self_hold(&self);
    assert_int_equal(self_check(&self, &e), 0);
    self_resume(&self);
    assert_int_equal(self_check(&self, &e), -ERR_ADMIN_SHUTDOWN); /* terminate wins */
    slot_request_clear(&slots[2], REQ_CANCEL | REQ_TERMINATE);
    assert_int_equal(self_check(&self, &e), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locks_exclude_under_contention),
        cmocka_unit_test(a_fair_lock_times_out_and_is_interrupted_and_leaves_no_trace),
        cmocka_unit_test(a_fair_lock_is_first_come_first_served),
        cmocka_unit_test_setup(a_free_lock_is_taken_before_the_one_that_was_called_but_not_for_long,
                               clear_fair),
        cmocka_unit_test_setup(who_was_overtaken_for_long_is_handed_the_lock, clear_fair),
        cmocka_unit_test_setup(a_call_that_meets_an_interrupt_goes_to_the_next, clear_fair),
        cmocka_unit_test_setup(who_is_handed_the_lock_at_its_deadline_has_it, clear_fair),
        cmocka_unit_test_setup(
            a_storm_that_comes_and_gives_up_loses_no_wake_and_overtakes_nobody_for_long,
            clear_fair),
        cmocka_unit_test(held_interrupts_are_not_taken),
    };

    return cmocka_run_group_tests_name("shm_lock", tests, NULL, NULL);
}
