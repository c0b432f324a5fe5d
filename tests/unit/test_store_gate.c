/* The commit gate (CKPT-1): 64 threads with short and long commits, and a checkpointer that closes
 * it all the time. Also run under TSan. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "support/test.h"

#include "base/clock.h"
#include "base/rng.h"
#include "store/store_gate.h"

#define THREADS 64
#define PROCS   (THREADS + 1)
#define ROUNDS  1500

static struct store_gate gate;
static struct store_gate_flag flags[PROCS];
static struct fair_wait waits[PROCS];
static const struct store_gate_ref ref = { &gate, flags, waits, PROCS };

static _Atomic uint32_t inside;      /* commits between enter and leave */
static _Atomic uint32_t epoch;       /* number of closings */
static _Atomic uint32_t n_straddled; /* commits that saw the epoch move */
static _Atomic uint32_t n_seen_inside;
static _Atomic uint64_t longest_wait; /* of a short commit */
static _Atomic uint32_t n_ended;

static void
note_wait(usec_t usec)
{
    uint64_t was = atomic_load(&longest_wait);

    while (was < usec && !atomic_compare_exchange_weak(&longest_wait, &was, usec))
        ;
}

static void
commit_once(struct self *self, bool is_long, struct rng *rng)
{
    usec_t start = clock_mono_usec();
    uint32_t seen;

    self_hold(self);
    if (is_long)
        store_gate_take_long(&ref, self);
    assert_int_equal(store_gate_enter(&ref, self, NULL), 0);
    if (!is_long)
        note_wait(clock_mono_usec() - start);
    (void) atomic_fetch_add(&inside, 1);
    seen = atomic_load(&epoch);
    for (uint32_t i = 0, n = is_long ? 40 : (uint32_t) rng_below(rng, 3); i < n; i++)
        (void) sched_yield();
    if (atomic_load(&epoch) != seen)
        (void) atomic_fetch_add(&n_straddled, 1);
    (void) atomic_fetch_sub(&inside, 1);
    store_gate_leave(&ref, self);
    if (is_long)
        store_gate_drop_long(&ref, self);
    self_resume(self);
}

static void *
committer(void *arg)
{
    uint32_t procno = (uint32_t) (uintptr_t) arg;
    struct self self;
    struct rng rng;

    self_init(&self, procno, NULL);
    rng_init(&rng, procno + 1);
    for (int i = 0; i < ROUNDS; i++) {
        while (i == ROUNDS / 2 && atomic_load(&epoch) <= 10)
            (void) sched_yield(); /* the checkpointer has not been run yet */
        commit_once(&self, procno % 8 == 0 && i % 10 == 0, &rng);
    }
    (void) atomic_fetch_add(&n_ended, 1);
    return NULL;
}

static void *
checkpointer(void *arg)
{
    struct self self;

    (void) arg;
    self_init(&self, THREADS, NULL);
    self_hold(&self);
    while (atomic_load(&n_ended) < THREADS) {
        store_gate_close(&ref, &self);
        if (atomic_load(&inside) != 0)
            (void) atomic_fetch_add(&n_seen_inside, 1);
        (void) atomic_fetch_add(&epoch, 1);
        if (atomic_load(&inside) != 0)
            (void) atomic_fetch_add(&n_seen_inside, 1);
        store_gate_open(&ref, &self);
        (void) sched_yield();
    }
    self_resume(&self);
    return NULL;
}

static void
no_commit_straddles_a_closing_and_short_ones_wait_a_bounded_time(void **state)
{
    pthread_t threads[PROCS];

    (void) state;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, committer, (void *) i), 0);
    assert_int_equal(pthread_create(&threads[THREADS], NULL, checkpointer, NULL), 0);
    for (int i = 0; i < PROCS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&n_straddled), 0);
    assert_int_equal(atomic_load(&n_seen_inside), 0);
    assert_true(atomic_load(&epoch) > 10);
    print_message("%u closings, longest wait of a short commit %u us\n", atomic_load(&epoch),
                  (unsigned) atomic_load(&longest_wait));
    /* 50 ms on an idle machine (engine-rules 13); the test machine is not idle. */
    assert_true(atomic_load(&longest_wait) < 2 * USEC_PER_SEC);
}

static void
an_interrupt_ends_the_wait_at_a_closed_gate_and_leaves_one_outside(void **state)
{
    static struct slot slot;
    struct self closer;
    struct self self;
    struct err e = ERR_INIT;

    (void) state;
    self_init(&closer, 0, NULL);
    self_init(&self, 1, &slot);
    self_hold(&closer);
    store_gate_close(&ref, &closer);
    atomic_store(&slot.request, REQ_CANCEL);
    assert_int_equal(store_gate_enter(&ref, &self, &e), -ERR_QUERY_CANCELED);
    assert_int_equal(atomic_load(&flags[1].in_gate), 0);
    store_gate_open(&ref, &closer);
    assert_int_equal(store_gate_enter(&ref, &self, &e), 0);
    store_gate_leave(&ref, &self);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_commit_straddles_a_closing_and_short_ones_wait_a_bounded_time),
        cmocka_unit_test(an_interrupt_ends_the_wait_at_a_closed_gate_and_leaves_one_outside),
    };
    return cmocka_run_group_tests_name("store_gate", tests, NULL, NULL);
}
