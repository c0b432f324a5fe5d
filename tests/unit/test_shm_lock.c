/* shm/lock: exclusion, fairness, time-outs, with threads as processes. Also run under TSan. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "support/test.h"

#include "base/clock.h"
#include "shm/lock.h"

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
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, (void *) i), 0);
    for (int i = 0; i < THREADS; i++)
        (void) pthread_join(t[i], NULL);
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
        cmocka_unit_test(held_interrupts_are_not_taken),
    };

    return cmocka_run_group_tests_name("shm_lock", tests, NULL, NULL);
}
