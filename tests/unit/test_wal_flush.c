/* Group commit: who sleeps with whom, and who is woken when a flush ends. Threads as processes over
 * a disk that takes its time; also run under TSan.
 *
 * Sleeps are replaced (--wrap=wait_sleep): they last until somebody wakes, so a wake that is lost
 * hangs the test instead of costing a tenth of a second. */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/test.h"
#include "support/tmpdir.h"

#include "base/rng.h"
#include "wal/wal.h"
#include "wal/wal_record.h"
#include "wal/wal_shared.h"

#define SEG     WAL_SEGMENT_BYTES_MIN
#define THREADS 8
#define STORMS  150
#define LARGE   20000 /* bytes of a record: a few of them fill the ring */

static struct rig {
    struct tmpdir dir;
    struct wal_cfg cfg;
    struct io_ops ops;
    struct wal_shared *sh;
    uint8_t large[LARGE];
} rig;

static _Thread_local struct rng rng;

static void
dawdle(void)
{
    for (uint64_t i = rng_below(&rng, 6); i > 0; i--)
        (void) sched_yield();
}

/* What happens in the next sleep of this thread. */
static _Thread_local void (*in_sleep)(_Atomic uint32_t *word);

int __wrap_wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
                      enum wait_event why, struct err *e);

int
__wrap_wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
                  enum wait_event why, struct err *e)
{
    (void) self;
    (void) deadline;
    (void) why;
    (void) e;
    if (in_sleep != NULL) {
        void (*hook)(_Atomic uint32_t *word) = in_sleep;

        in_sleep = NULL;
        hook(word);
        return 0;
    }
    dawdle();
    while (atomic_load_explicit(word, memory_order_acquire) == seen)
        if (syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0) == 0)
            break;
    dawdle();
    return 0;
}

static int
slow_fdatasync(struct io *io, int fd)
{
    (void) io;
    (void) fd;
    dawdle();
    return 0;
}

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&rig.dir);
    rig.ops = *rig.dir.io.ops;
    rig.ops.fdatasync = slow_fdatasync;
    rig.dir.io.ops = &rig.ops;
    rig.cfg = (struct wal_cfg){
        .segsize = SEG, .n_buffers = 8, .max_procs = THREADS + 1, .system_id = 77
    };
    rig.sh = aligned_alloc(8192, (wal_shm_bytes(&rig.cfg) + 8191) / 8192 * 8192);
    wal_shm_init(rig.sh, &rig.cfg);
    return io_mkdir(&rig.dir.io, WAL_DIR, 0700);
}

static int
teardown(void **state)
{
    (void) state;
    free(rig.sh);
    tmpdir_remove(&rig.dir);
    return 0;
}

static void
attach(struct wal *w, struct self *self, uint32_t procno)
{
    self_init(self, procno, NULL);
    wal_attach(w, rig.sh, &rig.cfg, &rig.dir.io, self, NULL);
}

static lsn_t
insert(struct wal *w, uint32_t main_bytes)
{
    uint8_t bytes[LARGE + 100];
    struct buf b = buf_init(bytes, sizeof bytes);
    struct wal_rec rec = {
        .rmid = RM_XLOG, .info = XLOG_NOOP, .main = rig.large, .main_bytes = main_bytes
    };
    struct wal_inserted at;
    struct err e = ERR_INIT;

    assert_ok(wal_record_put(&b, &rec, &e), &e);
    while (wal_reserve(w, MAXALIGN(b.n)) == WAL_NO_ROOM)
        assert_ok(wal_make_room(w, MAXALIGN(b.n), &e), &e);
    wal_insert(w, &(struct wal_bytes){ bytes, (uint32_t) b.n }, 1, 0, &at);
    wal_unreserve(w);
    return at.end;
}

/* ---- one after the other ---- */

static struct self selves[2];
static struct wal mine;
static struct wal others;
static lsn_t first; /* ends of two records */
static lsn_t second;

/* The other process is in flush number 1, which goes up to `first`. */
static void
other_flushes_the_first(void)
{
    struct err e = ERR_INIT;

    attach(&mine, &selves[0], 0);
    attach(&others, &selves[1], 1);
    assert_ok(wal_start(&mine, 1, SEG + WAL_LONG_HEADER, 0, &e), &e);
    first = insert(&mine, 40);
    second = insert(&mine, 40);
    assert_true(rwlock_try_exclusive(&selves[1], &rig.sh->write, LOCK_WAL_WRITE));
    atomic_store(&rig.sh->flushes, 1);
    atomic_store(&rig.sh->flush_limit, first);
}

static void
other_ends(lsn_t durable)
{
    atomic_store(&rig.sh->written, durable);
    atomic_store(&rig.sh->durable, durable);
    rwlock_drop_exclusive(&selves[1], &rig.sh->write, LOCK_WAL_WRITE);
}

static void
covered(_Atomic uint32_t *word)
{
    assert_ptr_equal(word, &rig.sh->group[1].word);
    other_ends(first);
}

static void
not_covered(_Atomic uint32_t *word)
{
    assert_ptr_equal(word, &rig.sh->group[0].word);
    other_ends(first);
}

static void
who_is_covered_sleeps_for_this_flush_and_the_others_for_the_next(void **state)
{
    (void) state;
    other_flushes_the_first();
    in_sleep = covered;
    wal_flush(&mine, first);
    assert_int_equal(atomic_load(&rig.sh->flushes), 1);
    assert_int_equal(atomic_load(&rig.sh->group[0].word), 0); /* nobody's business */

    assert_true(rwlock_try_exclusive(&selves[1], &rig.sh->write, LOCK_WAL_WRITE));
    in_sleep = not_covered;
    wal_flush(&mine, second);
    assert_int_equal(atomic_load(&rig.sh->flushes), 2); /* it was ours */
    assert_true(wal_durable(&mine) >= second);
    assert_int_equal(atomic_load(&rig.sh->group[0].word), 1); /* those who are done */
    assert_int_equal(atomic_load(&rig.sh->group[1].word), 1); /* and who leads flush 3 */
    wal_detach(&mine);
}

static void
done_without_flush(_Atomic uint32_t *word)
{
    assert_ptr_equal(word, &rig.sh->group[0].word);
    other_ends(second);
}

static void
done_by_flush_2(_Atomic uint32_t *word)
{
    atomic_store(&rig.sh->flushes, 2);
    done_without_flush(word);
}

static void
who_was_to_lead_and_need_not_wakes_the_next(void **state)
{
    (void) state;
    other_flushes_the_first();
    in_sleep = done_without_flush;
    wal_flush(&mine, second);
    assert_int_equal(atomic_load(&rig.sh->group[0].word), 1);
    assert_int_equal(atomic_load(&rig.sh->group[1].word), 0);
}

static void
who_was_woken_by_the_end_of_its_flush_wakes_nobody(void **state)
{
    (void) state;
    other_flushes_the_first();
    in_sleep = done_by_flush_2;
    wal_flush(&mine, second);
    assert_int_equal(atomic_load(&rig.sh->group[0].word), 0);
    assert_int_equal(atomic_load(&rig.sh->group[1].word), 0);
}

/* ---- all at once ---- */

static uint64_t seed;

static void *
committer(void *arg)
{
    uint32_t no = (uint32_t) (uintptr_t) arg;
    struct self self;
    struct wal w;

    rng_init(&rng, seed * THREADS + no);
    attach(&w, &self, no);
    for (uint64_t i = 1 + rng_below(&rng, 4); i > 0; i--) {
        lsn_t end = insert(&w, rng_below(&rng, 4) == 0 ? LARGE : 40);

        dawdle();
        if (no == 0) {
            (void) wal_write_background(&w);
        } else {
            wal_flush(&w, end);
            assert_true(wal_durable(&w) >= end);
        }
    }
    wal_process_exit(&w);
    wal_detach(&w);
    return NULL;
}

/* Short ones: at the end of each nobody comes any more who would wake those that were forgotten. */
static void
no_wake_is_lost_in_a_storm_of_commits(void **state)
{
    struct self self;
    struct wal w;
    struct err e = ERR_INIT;
    pthread_t t[THREADS];

    (void) state;
    attach(&w, &self, THREADS);
    assert_ok(wal_start(&w, 1, SEG + WAL_LONG_HEADER, 0, &e), &e);
    for (seed = 1; seed <= STORMS; seed++) {
        (void) alarm(60);
        for (uintptr_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&t[i], NULL, committer, (void *) i), 0);
        for (int i = 0; i < THREADS; i++)
            (void) pthread_join(t[i], NULL);
    }
    (void) alarm(0);
    assert_int_equal(atomic_load(&rig.sh->group[0].sleepers), 0);
    assert_int_equal(atomic_load(&rig.sh->group[1].sleepers), 0);
    wal_detach(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            who_is_covered_sleeps_for_this_flush_and_the_others_for_the_next, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_to_lead_and_need_not_wakes_the_next, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_was_woken_by_the_end_of_its_flush_wakes_nobody, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_wake_is_lost_in_a_storm_of_commits, setup, teardown),
    };

    return cmocka_run_group_tests_name("wal_flush", tests, NULL, NULL);
}
