/* Checkpoints over plain pages: what is on disk afterwards, what old snapshots still read,
 * requests, and writers, readers and a checkpointer at once. Also run under TSan. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/store_world.h"
#include "support/test.h"
#include "support/tmpdir.h"

#include "base/fault.h"
#include "base/rng.h"
#include "store/store_page.h"

#define PROCS  8
#define FRAMES 128
#define CAP    64

static struct tmpdir dir;
static struct world w;
static struct store_txn *txns[PROCS];
static uint32_t db;

static struct store *
store(uint32_t i)
{
    return &w.procs[i].store;
}

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&dir);
    world_init(&dir.io);
    db = world_open(&w, &dir.io, PROCS, FRAMES, txns);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    world_close(&w, txns);
    tmpdir_remove(&dir);
    return 0;
}

static void
commit(uint32_t proc, uint32_t v, pgno_t n, const struct world_change *changes, uint32_t n_changes)
{
    struct err e = ERR_INIT;

    assert_ok(world_write(txns[proc], store(proc), db, v, n, changes, n_changes, WORLD_COMMIT, &e),
              &e);
}

static void
checkpoint(uint32_t flags, struct checkpoint_stats *ret)
{
    struct err e = ERR_INIT;

    assert_ok(store_checkpoint(store(0), flags, NULL, NULL, ret, &e), &e);
}

/* The page as it is in the file. */
static uint32_t
on_disk(pgno_t pgno, lsn_t *ret_lsn)
{
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;
    int fd = io_open(&dir.io, "base/5/5", O_RDONLY, 0);

    assert_true(io_pread(&dir.io, fd, page, PAGE_BYTES, (pgno - 1) * (uint64_t) PAGE_BYTES) ==
                PAGE_BYTES);
    (void) io_close(&dir.io, fd);
    assert_ok(page_check(page, pgno - 1, ret_lsn, &e), &e);
    return world_value(page, pgno);
}

static uint64_t
file_bytes(void)
{
    uint64_t bytes;
    int fd = io_open(&dir.io, "base/5/5", O_RDONLY, 0);

    assert_int_equal(io_size(&dir.io, fd, &bytes), 0);
    (void) io_close(&dir.io, fd);
    return bytes;
}

static void
it_writes_what_is_dirty_and_the_control_file_names_it(void **state)
{
    struct checkpoint_stats stats;
    struct wal_control control;
    struct err e = ERR_INIT;
    lsn_t lsn;
    lsn_t at;

    (void) state;
    commit(0, 2, 0, &(struct world_change){ 3, 9 }, 1);
    assert_int_equal(on_disk(3, &lsn), 1);
    at = wal_insert_end(store(0)->wal);
    checkpoint(CKPT_CAUSE_TIME, &stats);
    assert_int_equal(stats.n_pages, 2);
    assert_int_equal(stats.n_files, 1);
    assert_true(stats.redo >= at);
    assert_true(stats.record > stats.redo);
    assert_true(store_redo_pointer(store(1)) == stats.redo);
    assert_int_equal(on_disk(3, &lsn), 9);
    assert_true(lsn == store_db_published(store(0), db));
    assert_int_equal(on_disk(1, &lsn), 2);
    assert_int_equal(wal_control_read(&dir.io, &control, &e), 0);
    assert_true(control.checkpoint_lsn == stats.record);
    assert_true(control.checkpoint.redo == stats.redo);
    assert_true(control.checkpoint.next_xid == 4);
    assert_int_equal(store_checkpoint(store(0), 0, NULL, NULL, &stats, &e), CKPT_SKIPPED);
    checkpoint(CKPT_FORCE, &stats);
    assert_int_equal(stats.n_pages, 0);
}

static void
a_change_after_the_redo_point_begins_with_an_image(void **state)
{
    struct checkpoint_stats stats;
    uint64_t bytes[3];
    uint8_t noise[PAGE_BYTES];
    struct rng rng;

    (void) state;
    rng_init(&rng, 1);
    for (uint32_t k = 0; k < PAGE_BYTES; k++)
        noise[k] = (uint8_t) rng_u64(&rng);
    for (int i = 0; i < 3; i++) {
        /* Incompressible, so that an image is a whole page. */
        uint8_t page[PAGE_BYTES];
        struct err e = ERR_INIT;
        lsn_t at = wal_insert_end(store(0)->wal);

        assert_ok(store_writer_take(store(0), db, 0, &e), &e);
        assert_ok(store_txn_begin(txns[0], &e), &e);
        assert_ok(store_txn_begin_write(txns[0], &e), &e);
        world_fill(page, 1, 1, 4);
        memcpy(page + 100, noise, PAGE_TAIL_AT - 100);
        page[50] = (uint8_t) i;
        assert_ok(store_txn_stage(txns[0], 1, page, &e), &e);
        assert_ok(store_txn_prepare(txns[0], &e), &e);
        store_txn_commit(txns[0]);
        store_txn_end_write(txns[0]);
        store_txn_end(txns[0]);
        store_txn_barrier(txns[0], true);
        bytes[i] = wal_insert_end(store(0)->wal) - at;
        if (i == 1)
            checkpoint(CKPT_FORCE, &stats);
    }
    assert_true(bytes[0] > 4000);
    assert_true(bytes[1] < 200);
    assert_true(bytes[2] > 4000);
}

static void
expect(uint32_t proc, const uint32_t *want, pgno_t n)
{
    uint32_t got[CAP + 1];
    struct err e = ERR_INIT;
    pgno_t got_n;

    assert_ok(world_read(txns[proc], got, CAP, &got_n, &e), &e);
    assert_int_equal(got_n, n);
    for (pgno_t pgno = 1; pgno <= n; pgno++)
        assert_int_equal(got[pgno], want[pgno]);
}

static void
an_old_snapshot_reads_what_the_checkpoint_overwrote_on_disk(void **state)
{
    static const struct world_change changes[] = { { 2, 5 }, { 3, 5 }, { 4, 5 } };
    struct checkpoint_stats stats;
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;
    lsn_t lsn;

    (void) state;
    assert_ok(store_txn_begin(txns[1], &e), &e); /* has read page 1 only */
    commit(0, 5, 0, changes, 3);
    checkpoint(CKPT_FORCE, &stats);
    assert_int_equal(on_disk(4, &lsn), 5);
    for (pgno_t pgno = 2; pgno <= 4; pgno++) {
        assert_ok(store_txn_read(txns[1], pgno, page, &e), &e);
        assert_int_equal(world_value(page, pgno), 1);
    }
    store_txn_end(txns[1]);
    expect(1, (uint32_t[]){ 0, 5, 5, 5, 5 }, 4);
}

static void
a_file_is_cut_when_nobody_can_need_its_end_and_not_before(void **state)
{
    struct checkpoint_stats stats;
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;

    (void) state;
    commit(0, 2, 20, &(struct world_change){ 20, 6 }, 1);
    checkpoint(CKPT_FORCE, &stats);
    assert_true(file_bytes() == 20 * PAGE_BYTES);
    assert_ok(store_txn_begin(txns[1], &e), &e);
    commit(0, 3, 3, NULL, 0);
    checkpoint(CKPT_FORCE, &stats);
    assert_true(file_bytes() == 20 * PAGE_BYTES);
    assert_ok(store_txn_read(txns[1], 20, page, &e), &e);
    assert_int_equal(world_value(page, 20), 6);
    store_txn_end(txns[1]);
    assert_ok(store_writer_take(store(2), db, 0, &e), &e); /* somebody prepares */
    checkpoint(CKPT_FORCE, &stats);
    assert_true(file_bytes() == 20 * PAGE_BYTES);
    store_writer_drop(store(2), db);
    checkpoint(CKPT_FORCE, &stats);
    assert_true(file_bytes() == 3 * PAGE_BYTES);
    commit(1, 4, 6, &(struct world_change){ 6, 7 }, 1);
    checkpoint(CKPT_FORCE, &stats);
    expect(2, (uint32_t[]){ 0, 4, 1, 1, 0, 0, 7 }, 6);
}

static void
after_a_shutdown_checkpoint_the_files_are_whole_and_the_log_goes_on(void **state)
{
    struct checkpoint_stats stats;
    struct wal_control control;
    struct err e = ERR_INIT;

    (void) state;
    for (uint32_t life = 0; life < 3; life++) {
        uint32_t v = 10 * life + 2;

        commit(0, v, 9, &(struct world_change){ 9, v }, 1);
        commit(1, v + 1, 5, &(struct world_change){ 5, v + 1 }, 1);
        for (uint32_t i = 0; i < PROCS; i++)
            store_txn_end(txns[i]);
        checkpoint(CKPT_SHUTDOWN | CKPT_IMMEDIATE, &stats);
        assert_true(stats.record == stats.redo);
        assert_true(file_bytes() == 5 * PAGE_BYTES);
        assert_int_equal(wal_control_read(&dir.io, &control, &e), 0);
        assert_int_equal(control.state, WAL_STATE_SHUT_DOWN);
        world_close(&w, txns);
        db = world_open(&w, &dir.io, PROCS, FRAMES, txns);
        expect(2, (uint32_t[]){ 0, v + 1, 1, 1, 1, v + 1 }, 5);
    }
}

static bool
write_meanwhile(void *arg, double progress)
{
    (void) arg;
    (void) progress;
    commit(1, 3, 9, &(struct world_change){ 9, 4 }, 1);
    return true;
}

/* AC018: nobody may write any more; who does all the same is noticed before the record counts. */
static void
a_commit_beside_the_shutdown_checkpoint_is_a_panic(void **state)
{
    struct checkpoint_stats stats;
    struct wal_control control;
    struct err e = ERR_INIT;
    int status;
    pid_t pid;

    (void) state;
    commit(0, 2, 9, &(struct world_change){ 9, 2 }, 1);
    for (uint32_t i = 0; i < PROCS; i++)
        store_txn_end(txns[i]);
    pid = fork();
    if (pid == 0)
        _exit(store_checkpoint(store(0), CKPT_SHUTDOWN, write_meanwhile, NULL, &stats, &e) == 0
                  ? 0
                  : 9);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), 2);
    assert_int_equal(wal_control_read(&dir.io, &control, &e), 0);
    assert_int_not_equal(control.state, WAL_STATE_SHUT_DOWN);
}

static void
a_failed_write_fails_the_checkpoint_and_the_next_one_makes_it_good(void **state)
{
    struct checkpoint_stats stats;
    struct err e = ERR_INIT;
    lsn_t lsn;

    (void) state;
    commit(0, 2, 0, &(struct world_change){ 3, 9 }, 1);
#ifdef PINION_FAULTS
    fault_arm(FAULT_STORE_PAGE_WRITE, 1, 1, FAULT_DO_ERROR, 5);
    assert_true(store_checkpoint(store(0), CKPT_FORCE, NULL, NULL, &stats, &e) < 0);
    assert_int_equal(store(0)->self->hold, 0);
    fault_reset();
#endif
    err_clear(&e);
    checkpoint(CKPT_FORCE, &stats);
    assert_int_equal(on_disk(3, &lsn), 9);
    assert_int_equal(on_disk(1, &lsn), 2);
}

/* ---- the disk begins while pages are still being written ---- */

#define MANY 400u

static struct io_ops told_ops;
static uint32_t n_told;
static int answer;

static int
note_write_out(struct io *io, int fd)
{
    (void) io;
    (void) fd;
    n_told++;
    return answer;
}

static int
setup_many(void **state)
{
    (void) state;
    tmpdir_make(&dir);
    world_init(&dir.io);
    db = world_open(&w, &dir.io, PROCS, 4 * MANY, txns);
    told_ops = *dir.io.ops;
    told_ops.write_out = note_write_out;
    dir.io.ops = &told_ops;
    n_told = 0;
    answer = 0;
    return 0;
}

static void
commit_many(void)
{
    static struct world_change changes[MANY];

    for (uint32_t i = 0; i < MANY; i++)
        changes[i] = (struct world_change){ i + 2, 7 };
    commit(0, 2, MANY + 1, changes, MANY);
}

static void
the_disk_is_told_to_begin_before_the_sync_and_that_alone_counts(void **state)
{
    struct checkpoint_stats stats;
    lsn_t lsn;

    (void) state;
    commit_many();
    checkpoint(CKPT_FORCE, &stats);
    assert_int_equal(stats.n_pages, MANY + 1);
    assert_int_equal(stats.n_files, 1); /* synced as ever (CKPT-3) */
    assert_int_equal(n_told, (MANY + 1) / 128);
    assert_int_equal(on_disk(MANY + 1, &lsn), 7);
    checkpoint(CKPT_FORCE, &stats);
    assert_int_equal(n_told, (MANY + 1) / 128); /* nothing to write */
}

static void
a_disk_that_cannot_begin_is_a_panic_as_a_failed_sync_is(void **state)
{
    struct checkpoint_stats stats;
    struct err e = ERR_INIT;
    int status;
    pid_t pid;

    (void) state;
    commit_many();
    answer = -EIO;
    pid = fork();
    if (pid == 0)
        _exit(store_checkpoint(store(0), CKPT_FORCE, NULL, NULL, &stats, &e) == 0 ? 0 : 9);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), 2);
}

/* ---- requests ---- */

struct asker {
    struct store *st;
    uint32_t flags;
    int result;
    struct err e;
};

static void *
ask_and_wait(void *arg)
{
    struct asker *a = arg;

    a->result = store_checkpoint_wait(a->st, store_checkpoint_ask(a->st, a->flags), &a->e);
    return NULL;
}

static void
who_asks_waits_for_one_that_began_afterwards(void **state)
{
    struct asker askers[3] = { { store(1), CKPT_FORCE, 1, ERR_INIT },
                               { store(2), CKPT_IMMEDIATE, 1, ERR_INIT },
                               { store(3), CKPT_CAUSE_TIME, 1, ERR_INIT } };
    pthread_t threads[3];
    uint64_t ticket;
    uint64_t first;
    uint32_t flags;
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(store_checkpoint_take_request(store(0), &ticket), 0);
    first = store_checkpoint_ask(store(4), CKPT_CAUSE_XLOG);
    assert_int_equal(store_checkpoint_take_request(store(0), &ticket), CKPT_CAUSE_XLOG);
    /* These come while the first one runs: it does not answer them. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_and_wait, &askers[i]), 0);
    while (store_checkpoint_peek(store(0)) != (CKPT_FORCE | CKPT_IMMEDIATE | CKPT_CAUSE_TIME))
        (void) sched_yield();
    store_checkpoint_done(store(0), ticket, 0, NULL);
    assert_ok(store_checkpoint_wait(store(4), first, &e), &e);
    for (int i = 0; i < 3; i++)
        assert_int_equal(askers[i].result, 1);
    flags = store_checkpoint_take_request(store(0), &ticket);
    assert_int_equal(flags, CKPT_FORCE | CKPT_IMMEDIATE | CKPT_CAUSE_TIME);
    (void) ERR(&e, DISK_FULL, "could not write a page");
    store_checkpoint_done(store(0), ticket, -ERR_DISK_FULL, &e);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(askers[i].result, -ERR_DISK_FULL);
        assert_string_equal(askers[i].e.message, "checkpoint request failed");
    }
}

/* ---- all at once ---- */

static _Atomic bool is_over;
static _Atomic uint32_t n_bad;
static _Atomic uint32_t n_reads;
static _Atomic uint32_t n_rounds; /* of the checkpointer */

#define HOT 12 /* pages that each commit sets to one value */

static void *
writer(void *arg)
{
    uint32_t me = (uint32_t) (uintptr_t) arg;
    struct err e = ERR_INIT;

    for (uint32_t i = 0; i < 150; i++) {
        struct world_change c[HOT];
        uint32_t v = me * 1000 + i + 2;
        pgno_t n = i % 10 == 7 ? HOT + 1 : i % 10 == 3 ? 40 : 0;

        while (i == 100 && (atomic_load(&n_reads) <= 10 || atomic_load(&n_rounds) == 0))
            (void) sched_yield(); /* the others have not been run yet */
        for (uint32_t k = 0; k < HOT; k++)
            c[k] = (struct world_change){ k + 2, v };
        if (world_write(txns[me], store(me), db, v, n, c, HOT,
                        i % 5 == 1   ? WORLD_ROLLBACK_PREPARED
                        : i % 5 == 2 ? WORLD_COMMIT_ASYNC
                                     : WORLD_COMMIT,
                        &e) < 0) {
            (void) fprintf(stderr, "%s %s\n", e.message, e.detail);
            (void) atomic_fetch_add(&n_bad, 1);
        }
    }
    return NULL;
}

static void *
reader(void *arg)
{
    uint32_t me = (uint32_t) (uintptr_t) arg;
    uint32_t got[CAP + 1];
    pgno_t n;
    struct err e = ERR_INIT;

    while (!atomic_load(&is_over)) {
        if (world_read(txns[me], got, HOT + 1, &n, &e) < 0) {
            (void) fprintf(stderr, "%s %s\n", e.message, e.detail);
            (void) atomic_fetch_add(&n_bad, 1);
        }
        for (pgno_t pgno = 2; pgno <= HOT + 1; pgno++)
            if (got[pgno] != got[1])
                (void) atomic_fetch_add(&n_bad, 1);
        (void) atomic_fetch_add(&n_reads, 1);
    }
    return NULL;
}

static void *
checkpointer(void *arg)
{
    struct checkpoint_stats stats;
    struct err e = ERR_INIT;

    (void) arg;
    while (!atomic_load(&is_over)) {
        if (store_checkpoint(store(6), CKPT_FORCE, NULL, NULL, &stats, &e) < 0 ||
            store_walwriter_round(store(6), &e) < 0)
            (void) atomic_fetch_add(&n_bad, 1);
        (void) store_bgwriter_round(store(6), 10, &e);
        (void) atomic_fetch_add(&n_rounds, 1);
    }
    return NULL;
}

static void
writers_readers_and_a_checkpointer_do_not_disturb_one_another(void **state)
{
    struct world_change c[HOT];
    struct checkpoint_stats stats;
    pthread_t threads[6];

    (void) state;
    for (uint32_t k = 0; k < HOT; k++)
        c[k] = (struct world_change){ k + 2, 2 };
    commit(0, 2, HOT + 1, c, HOT);
    assert_int_equal(pthread_create(&threads[0], NULL, checkpointer, NULL), 0);
    for (uintptr_t i = 1; i <= 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, writer, (void *) i), 0);
    for (uintptr_t i = 4; i <= 5; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, (void *) i), 0);
    for (int i = 1; i <= 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    atomic_store(&is_over, true);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(pthread_join(threads[4], NULL), 0);
    assert_int_equal(pthread_join(threads[5], NULL), 0);
    assert_int_equal(atomic_load(&n_bad), 0);
    assert_true(atomic_load(&n_reads) > 10);
    checkpoint(CKPT_SHUTDOWN, &stats);
}

/* Writes more than max_wal_size at its first call. */
static bool
write_much(void *arg, double progress)
{
    bool *is_done = arg;

    (void) progress;
    for (uint32_t v = 100; v < 5000 && !*is_done; v++) {
        struct world_change changes[CAP / 2];

        for (uint32_t i = 0; i < CAP / 2; i++)
            changes[i] = (struct world_change){ i + 2, v };
        commit(1, v, CAP, changes, CAP / 2);
        *is_done = wal_insert_end(store(1)->wal) - store_redo_pointer(store(1)) > 6u << 20;
    }
    return false;
}

static void
none_is_due_when_nothing_was_logged_since_the_last(void **state)
{
    struct checkpoint_stats stats;
    struct err e = ERR_INIT;
    bool is_done = false;

    (void) state;
    commit(1, 7, CAP, NULL, 0);
    assert_ok(store_checkpoint(store(0), CKPT_CAUSE_TIME, write_much, &is_done, &stats, &e), &e);
    assert_true(is_done);
    assert_true(wal_insert_end(store(0)->wal) - store_redo_pointer(store(0)) > 5u << 20);
    assert_false(store_checkpoint_is_due(store(0)));
    commit(1, 8, 0, NULL, 0);
    assert_true(store_checkpoint_is_due(store(0)));
    checkpoint(CKPT_CAUSE_XLOG, &stats);
    assert_false(store_checkpoint_is_due(store(0)));
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(it_writes_what_is_dirty_and_the_control_file_names_it),
        T(a_change_after_the_redo_point_begins_with_an_image),
        T(an_old_snapshot_reads_what_the_checkpoint_overwrote_on_disk),
        T(a_file_is_cut_when_nobody_can_need_its_end_and_not_before),
        T(after_a_shutdown_checkpoint_the_files_are_whole_and_the_log_goes_on),
        T(a_commit_beside_the_shutdown_checkpoint_is_a_panic),
        T(a_failed_write_fails_the_checkpoint_and_the_next_one_makes_it_good),
        cmocka_unit_test_setup_teardown(
            the_disk_is_told_to_begin_before_the_sync_and_that_alone_counts, setup_many, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_cannot_begin_is_a_panic_as_a_failed_sync_is,
                                        setup_many, teardown),
        T(none_is_due_when_nothing_was_logged_since_the_last),
        T(who_asks_waits_for_one_that_began_afterwards),
        T(writers_readers_and_a_checkpointer_do_not_disturb_one_another),
    };
    return cmocka_run_group_tests_name("store_checkpoint", tests, NULL, NULL);
}
