/* Recovery when the disk or the log is not what it should be: torn pages, holes, errors, and
 * recovery that is itself cut off. The whole store over io_sim, one process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "sim/cluster.h"
#include "store/store_checkpoint.h"
#include "store/store_page.h"
#include "store/store_touched.h"
#include "support/test.h"
#include "wal/wal_format.h"

static struct cluster c;

static void
recover(void)
{
    struct err e = ERR_INIT;

    assert_ok(cluster_start(&c, 1, &e), &e);
}

/* The processes are gone; the page cache is not. */
static void
die(void)
{
    cluster_forget(&c);
    io_sim_process_crash(c.disk);
}

static void
lose_power(void)
{
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
}

static lsn_t
write_page(pgno_t pgno, uint64_t seed)
{
    uint8_t p[PAGE_BYTES];
    struct err e = ERR_INIT;
    lsn_t lsn = 0;

    cluster_noise(p, seed);
    assert_ok(cluster_write(cluster_store(&c, 0), POSTGRES_DB_OID, pgno, p, &lsn, &e), &e);
    return lsn;
}

static bool
has_page(pgno_t pgno, uint64_t seed)
{
    uint8_t want[PAGE_BYTES];
    uint8_t got[PAGE_BYTES];
    struct err e = ERR_INIT;

    cluster_noise(want, seed);
    assert_ok(cluster_read(cluster_store(&c, 0), POSTGRES_DB_OID, pgno, got, &e), &e);
    return memcmp(want, got, PAGE_TAIL_AT) == 0;
}

static void
checkpoint(void)
{
    struct checkpoint_stats stats;
    struct err e = ERR_INIT;

    assert_ok(store_checkpoint(cluster_store(&c, 0), CKPT_FORCE, NULL, NULL, &stats, &e), &e);
}

static void
write_dirty(void)
{
    struct err e = ERR_INIT;

    while (store_bgwriter_round(cluster_store(&c, 0), 100, &e) > 0)
        ;
    assert_int_equal(e.code, 0);
}

static void
read_file_page(pgno_t pgno, uint8_t *p)
{
    int fd = io_open(c.io, "base/5/5", O_RDONLY, 0);

    assert_true(fd >= 0);
    assert_int_equal(io_pread(c.io, fd, p, PAGE_BYTES, (uint64_t) (pgno - 1) * PAGE_BYTES),
                     PAGE_BYTES);
    assert_int_equal(io_close(c.io, fd), 0);
}

/* Make the cluster stand on a copy of `disk`; the former one is the caller's. */
static void
stand_on(struct io_sim *disk)
{
    c.disk = disk;
    c.io = io_sim_io(disk);
}

static void
a_torn_page_heals_whatever_half_is_old(void **state)
{
    uint8_t older[2][PAGE_BYTES];
    uint8_t newer[2][PAGE_BYTES];
    struct io_sim *origin;

    (void) state;
    cluster_begin(&c, 1);
    recover();
    for (pgno_t i = 0; i < 2; i++)
        (void) write_page(3 + i, 10 + i);
    checkpoint();
    for (pgno_t i = 0; i < 2; i++)
        read_file_page(3 + i, older[i]);
    for (pgno_t i = 0; i < 2; i++)
        (void) write_page(3 + i, 20 + i);
    write_dirty();
    for (pgno_t i = 0; i < 2; i++)
        read_file_page(3 + i, newer[i]);
    assert_memory_not_equal(older[0], newer[0], PAGE_BYTES);
    die();
    origin = c.disk;
    for (uint32_t halves = 0; halves < 16; halves++) {
        stand_on(io_sim_clone(origin, halves));
        for (uint32_t i = 0; i < 4; i++) {
            const uint8_t *from = (halves >> i) % 2 == 0 ? older[i / 2] : newer[i / 2];
            uint32_t at = i % 2 * PAGE_BYTES / 2;

            assert_int_equal(io_sim_poke(c.disk, "base/5/5", (2 + i / 2) * PAGE_BYTES + at,
                                         from + at, PAGE_BYTES / 2),
                             0);
        }
        recover();
        assert_true(has_page(3, 20) && has_page(4, 21));
        cluster_forget(&c);
        io_sim_free(c.disk);
    }
    stand_on(origin);
    cluster_end(&c);
}

/* A commit of few bytes: page 3 with one number in it. */
static lsn_t
write_number(uint64_t value)
{
    uint8_t p[PAGE_BYTES] = { 0 };
    struct err e = ERR_INIT;
    lsn_t lsn = 0;

    put_u64(p + 1000, value);
    assert_ok(cluster_write(cluster_store(&c, 0), POSTGRES_DB_OID, 3, p, &lsn, &e), &e);
    return lsn;
}

static uint64_t
number(void)
{
    uint8_t p[PAGE_BYTES];
    struct err e = ERR_INIT;

    assert_ok(cluster_read(cluster_store(&c, 0), POSTGRES_DB_OID, 3, p, &e), &e);
    return get_u64(p + 1000);
}

static void
records_behind_a_hole_never_come_back(void **state)
{
    static const char name[] = "pg_wal/000000010000000000000001";
    static const uint8_t zeros[512];
    uint8_t *segment = malloc(CLUSTER_SEGSIZE);
    lsn_t first;
    lsn_t at;
    uint64_t found;

    (void) state;
    cluster_begin(&c, 2);
    recover();
    first = write_number(1);
    for (uint64_t i = 2; i < 60; i++)
        (void) write_number(i);
    die();
    at = (first + 511) / 512 * 512;
    assert_int_equal(io_sim_poke(c.disk, name, at % CLUSTER_SEGSIZE, zeros, sizeof zeros), 0);
    recover();
    found = number();
    assert_in_range(found, 1, 10);
    (void) write_number(100);
    lose_power();
    recover();
    assert_int_equal(number(), 100);
    at = wal_durable(&c.procs[0].wal);
    assert_int_equal(io_read_file(c.io, name, segment, CLUSTER_SEGSIZE), CLUSTER_SEGSIZE);
    for (lsn_t i = at; i < 2 * CLUSTER_SEGSIZE; i++)
        assert_int_equal(segment[i - CLUSTER_SEGSIZE], 0);
    free(segment);
    cluster_end(&c);
}

static void
write_task(void *arg)
{
    (void) arg;
    (void) write_page(3, 7);
}

static void
a_sync_that_fails_once_panics_and_recovery_trusts_the_disk_only(void **state)
{
    unsigned lost = 0;

    (void) state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        bool survived;

        cluster_begin(&c, 100 + seed);
        recover();
        (void) write_page(3, 6);
        io_sim_fail(c.disk, SIM_SYNC, "pg_wal", 0, 1, EIO); /* the next one succeeds */
        coro_reset(seed);
        coro_spawn(write_task, NULL);
        assert_int_equal(coro_run(), CORO_CRASH);
        assert_non_null(strstr(coro_why(), "PANIC"));
        die();
        recover();
        survived = has_page(3, 7);
        assert_true(survived || has_page(3, 6));
        lose_power();
        recover();
        assert_true(has_page(3, survived ? 7 : 6));
        lost += !survived;
        cluster_end(&c);
    }
    assert_in_range(lost, 1, 20);
}

static void
a_read_error_is_not_the_end_of_the_log(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    cluster_begin(&c, 3);
    recover();
    for (uint64_t i = 0; i < 5; i++)
        (void) write_page(3, i);
    lose_power();
    for (uint32_t after = 0; after < 100; after++) {
        io_sim_fail(c.disk, SIM_READ, "pg_wal", after, 1, EIO);
        err_clear(&e);
        if (cluster_start(&c, 1, &e) == 0)
            break;
        assert_int_equal(e.sys_errno, EIO);
        assert_true(after < 99);
        die();
    }
    assert_true(has_page(3, 4));
    cluster_end(&c);
}

static void
a_missing_segment_is_not_the_end_of_the_log(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    cluster_begin(&c, 4);
    recover();
    for (uint64_t i = 0; wal_durable(&c.procs[0].wal) < 3 * CLUSTER_SEGSIZE; i++)
        (void) write_page((pgno_t) (3 + i % 20), i);
    lose_power();
    assert_int_equal(io_unlink(c.io, "pg_wal/000000010000000000000002"), 0);
    assert_int_equal(cluster_start(&c, 1, &e), -ERR_DATA_CORRUPTED);
    assert_non_null(strstr(e.message, "000000010000000000000002"));
    cluster_end(&c);
}

/* One bit of a record in the middle of a segment: the valid ones in the next segment prove that it
 * was durable, and more than it would be lost. */
static void
a_damaged_record_before_a_begun_segment_is_not_the_end_of_the_log(void **state)
{
    static const char name[] = "pg_wal/000000010000000000000002";
    uint8_t *segment = malloc(CLUSTER_SEGSIZE);
    uint32_t at = CLUSTER_SEGSIZE / 2 + 100;
    struct err e = ERR_INIT;

    (void) state;
    cluster_begin(&c, 4);
    recover();
    for (uint64_t i = 0; wal_durable(&c.procs[0].wal) < 3 * CLUSTER_SEGSIZE + 20000; i++)
        (void) write_page((pgno_t) (3 + i % 20), i);
    lose_power();
    assert_int_equal(io_read_file(c.io, name, segment, CLUSTER_SEGSIZE), CLUSTER_SEGSIZE);
    segment[at] ^= 0x10;
    assert_int_equal(io_sim_poke(c.disk, name, at, segment + at, 1), 0);
    assert_int_equal(cluster_start(&c, 1, &e), -ERR_DATA_CORRUPTED);
    assert_non_null(strstr(e.message, "log is damaged"));
    assert_non_null(strstr(e.message, "000000010000000000000003"));
    die();
    segment[at] ^= 0x10; /* "put the undamaged segment back" */
    assert_int_equal(io_sim_poke(c.disk, name, at, segment + at, 1), 0);
    recover();
    free(segment);
    cluster_end(&c);
}

static void
a_damaged_first_copy_of_the_control_file_is_no_harm(void **state)
{
    static const uint8_t zeros[100];
    struct store_listed list[4];
    struct recover_info info;
    struct err e = ERR_INIT;
    uint32_t n;

    (void) state;
    cluster_begin(&c, 5);
    recover();
    (void) write_page(3, 1);
    lose_power();
    assert_int_equal(io_sim_poke(c.disk, "global/pg_control", 50, zeros, sizeof zeros), 0);
    assert_ok(cluster_recover(&c, list, 4, &n, &info, &e), &e);
    assert_int_equal(info.control_copy, 1);
    assert_true(has_page(3, 1));
    cluster_end(&c);
}

/* Page 1 of the database, which nothing in the log brings back, is `p` now; or the file is gone. */
static void
put_page_1(const uint8_t *p)
{
    if (p != NULL)
        assert_int_equal(io_sim_poke(c.disk, "base/5/5", 0, p, PAGE_BYTES), 0);
    else
        assert_int_equal(io_rename(c.io, "base/5/5", "base/5/away"), 0);
}

static void
a_database_that_cannot_be_opened_costs_only_itself(void **state)
{
    uint8_t good[PAGE_BYTES];
    uint8_t bad[PAGE_BYTES];
    uint8_t got[PAGE_BYTES];
    struct err e = ERR_INIT;

    (void) state;
    cluster_begin(&c, 8);
    recover();
    (void) write_page(3, 1);
    checkpoint();
    read_file_page(1, good);
    memcpy(bad, good, PAGE_BYTES);
    bad[200] ^= 1;
    lose_power();
    put_page_1(bad);
    recover(); /* which reads the catalogue */
    assert_int_equal(cluster_read(cluster_store(&c, 0), POSTGRES_DB_OID, 3, got, &e),
                     -ERR_DATA_CORRUPTED);
    err_clear(&e);
    die();
    put_page_1(good);
    recover();
    assert_true(has_page(3, 1));
    checkpoint();
    die();
    put_page_1(NULL);
    recover();
    assert_int_equal(cluster_read(cluster_store(&c, 0), POSTGRES_DB_OID, 3, got, &e),
                     -ERR_UNDEFINED_FILE);
    cluster_end(&c);
}

static void
on_cut(void *arg)
{
    (void) arg;
    coro_crash("power cut");
}

static void
recover_task(void *arg)
{
    (void) arg;
    recover();
}

/* Recover a copy of `origin`, cut at call `at`, until a recovery goes through. False: not cut. */
static bool
recover_cut(const struct io_sim *origin, uint64_t at, uint64_t *ret_digest)
{
    bool was_cut = false;

    stand_on(io_sim_clone(origin, at));
    for (bool again = true; again;) {
        coro_reset(at);
        io_sim_cut_after(c.disk, was_cut ? 0 : at, on_cut, NULL);
        coro_spawn(recover_task, NULL);
        again = coro_run() == CORO_CRASH;
        was_cut |= again;
        if (again)
            lose_power();
    }
    *ret_digest = io_sim_digest(c.disk, "base") + io_sim_digest(c.disk, "pg_xact");
    cluster_forget(&c);
    io_sim_free(c.disk);
    return was_cut;
}

static void
recovery_cut_off_anywhere_ends_in_the_same_files(void **state)
{
    struct io_sim *origin;
    uint64_t want;
    uint64_t got;
    uint64_t at = 1;

    (void) state;
    cluster_begin(&c, 6);
    recover();
    for (uint64_t i = 0; i < 10; i++)
        (void) write_page((pgno_t) (3 + i % 5), i);
    checkpoint();
    for (uint64_t i = 0; i < 10; i++)
        (void) write_page((pgno_t) (3 + i % 7), 100 + i);
    write_dirty();
    lose_power();
    origin = c.disk;
    assert_false(recover_cut(origin, UINT32_MAX, &want));
    while (recover_cut(origin, at, &got)) {
        /* xids of the second attempt begin later; nothing else may differ */
        if (got != want)
            fail_msg("cut at call %u: other files", (unsigned) at);
        at++;
    }
    assert_true(at > 20);
    stand_on(origin);
    cluster_end(&c);
}

/* ---- what redo touched ---- */

static void
recover_noting_task(void *arg)
{
    const struct recover_ask ask = { .keeps_touched = true };
    struct store_listed list[4];
    struct recover_info info;
    struct err e = ERR_INIT;
    uint32_t n;

    (void) arg;
    assert_ok(cluster_recover_as(&c, &ask, list, 4, &n, &info, &e), &e);
}

/* A second recovery may begin behind the checkpoint that the first one made, and redo nothing. */
static bool
notes_survive_a_cut(const struct io_sim *origin, uint64_t at)
{
    struct store_touched found = { .n = 0 };
    struct err e = ERR_INIT;
    bool was_cut = false;

    stand_on(io_sim_clone(origin, at));
    for (bool again = true; again;) {
        coro_reset(at);
        io_sim_cut_after(c.disk, was_cut ? 0 : at, on_cut, NULL);
        coro_spawn(recover_noting_task, NULL);
        again = coro_run() == CORO_CRASH;
        was_cut |= again;
        if (again)
            lose_power();
    }
    assert_ok(store_touched_read(&found, c.io, &e), &e);
    if (found.n != 1 || !store_touched_has(&found, POSTGRES_DB_OID, POSTGRES_DB_OID))
        fail_msg("cut at call %u: %u files are noted", (unsigned) at, found.n);
    store_touched_done(&found);
    cluster_forget(&c);
    io_sim_free(c.disk);
    return was_cut;
}

static void
what_redo_touched_is_known_after_a_cut_anywhere(void **state)
{
    struct io_sim *origin;
    uint64_t at = 1;

    (void) state;
    cluster_begin(&c, 7);
    recover();
    checkpoint();
    for (uint64_t i = 0; i < 5; i++)
        (void) write_page((pgno_t) (3 + i), i);
    lose_power();
    origin = c.disk;
    while (notes_survive_a_cut(origin, at))
        at++;
    assert_true(at > 20);
    stand_on(origin);
    cluster_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_torn_page_heals_whatever_half_is_old),
        cmocka_unit_test(records_behind_a_hole_never_come_back),
        cmocka_unit_test(a_sync_that_fails_once_panics_and_recovery_trusts_the_disk_only),
        cmocka_unit_test(a_read_error_is_not_the_end_of_the_log),
        cmocka_unit_test(a_missing_segment_is_not_the_end_of_the_log),
        cmocka_unit_test(a_damaged_record_before_a_begun_segment_is_not_the_end_of_the_log),
        cmocka_unit_test(a_damaged_first_copy_of_the_control_file_is_no_harm),
        cmocka_unit_test(a_database_that_cannot_be_opened_costs_only_itself),
        cmocka_unit_test(recovery_cut_off_anywhere_ends_in_the_same_files),
        cmocka_unit_test(what_redo_touched_is_known_after_a_cut_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
