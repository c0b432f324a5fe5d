/* A commit that finds no room in the log once it is inside the gate leaves it, makes a segment and
 * chooses again (COMMIT-4): a checkpoint may take its redo point meanwhile, and a full disk is
 * 53100. The whole store over io_sim; processes are coroutines. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "sim/cluster.h"
#include "store/store_checkpoint.h"
#include "store/store_shared.h"
#include "support/test.h"

enum { WRITER, CHECKPOINTER, HOARDER, PROCS }; /* process numbers */

#define PAGE_NO 3u
#define SEEDS   60u

static struct cluster c;
static uint64_t calls_before; /* of the disk, when the commit began */
static struct err commit_err;
static int commit_r;
static lsn_t commit_lsn;

/* ---- page 3: noise with one number in it, so that a change of the number is a short delta ---- */

static void
fill(uint8_t *p, uint64_t value)
{
    cluster_noise(p, 1);
    put_u64(p + 100, value);
}

static int
write_value(uint64_t value, lsn_t *ret_lsn, struct err *e)
{
    uint8_t p[PAGE_BYTES];

    fill(p, value);
    return cluster_write(cluster_store(&c, WRITER), POSTGRES_DB_OID, PAGE_NO, p, ret_lsn, e);
}

static void
must_write(uint64_t value)
{
    struct err e = ERR_INIT;
    lsn_t lsn;

    assert_ok(write_value(value, &lsn, &e), &e);
}

static void
reads(uint64_t value)
{
    uint8_t want[PAGE_BYTES];
    uint8_t got[PAGE_BYTES];
    struct err e = ERR_INIT;

    fill(want, value);
    assert_ok(cluster_read(cluster_store(&c, WRITER), POSTGRES_DB_OID, PAGE_NO, got, &e), &e);
    assert_memory_equal(want, got, PAGE_TAIL_AT);
}

/* ---- a life ---- */

static void
recover(void)
{
    struct err e = ERR_INIT;

    assert_ok(cluster_start(&c, PROCS, &e), &e);
}

static void
checkpoint(void *arg)
{
    struct checkpoint_stats stats;
    struct err e = ERR_INIT;

    (void) arg;
    assert_ok(store_checkpoint(cluster_store(&c, CHECKPOINTER), CKPT_FORCE | CKPT_IMMEDIATE, NULL,
                               NULL, &stats, &e),
              &e);
}

/* The page is as on disk, has its image behind the redo point and a delta to come; what is left of
 * the made segments is somebody else's reservation. */
static void
begin(uint64_t seed)
{
    cluster_begin(&c, seed);
    recover();
    must_write(1);
    checkpoint(NULL);
    must_write(2);
    for (uint64_t u = 4096; u >= 8; u /= 8)
        while (wal_reserve(cluster_store(&c, HOARDER)->wal, u) == 0)
            ;
    calls_before = io_sim_calls(c.disk);
    err_clear(&commit_err);
}

static bool
is_in_gate(uint32_t procno)
{
    struct store_gate_ref gate = store_gate_of(cluster_store(&c, procno));

    return atomic_load(&gate.flags[procno].in_gate) != 0;
}

static void
commit_task(void *arg)
{
    (void) arg;
    commit_r = write_value(3, &commit_lsn, &commit_err);
}

/* A checkpoint that begins while the commit makes its segment. */
static void
checkpoint_task(void *arg)
{
    while (io_sim_calls(c.disk) == calls_before)
        coro_switch();
    assert_false(is_in_gate(WRITER));
    checkpoint(arg);
}

static void
switch_now(void *arg)
{
    (void) arg;
    coro_maybe(1);
}

static void
tear_page(void)
{
    static const uint8_t garbage[PAGE_BYTES / 2] = { 1, 2, 3 };

    assert_int_equal(io_sim_poke(c.disk, "base/5/5",
                                 (uint64_t) (PAGE_NO - 1) * PAGE_BYTES + sizeof garbage, garbage,
                                 sizeof garbage),
                     0);
}

/* ---- tests ---- */

/* What was to be a delta must be an image now: the page on disk may be torn. */
static void
a_redo_point_taken_while_a_commit_makes_room_makes_it_choose_again(void **state)
{
    unsigned n_between = 0;

    (void) state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        bool is_between;

        begin(seed);
        io_sim_on_call(c.disk, switch_now, NULL);
        coro_reset(seed);
        coro_spawn(commit_task, NULL);
        coro_spawn(checkpoint_task, NULL);
        assert_int_equal(coro_run(), CORO_DONE);
        io_sim_on_call(c.disk, NULL, NULL);
        assert_ok(commit_r, &commit_err);
        reads(3);
        is_between = commit_lsn > store_redo_pointer(cluster_store(&c, WRITER));
        n_between += is_between;
        cluster_forget(&c);
        io_sim_process_crash(c.disk);
        if (is_between)
            tear_page();
        recover();
        reads(3);
        cluster_end(&c);
    }
    print_message("%u of %u redo points came between\n", n_between, SEEDS);
    assert_true(n_between >= SEEDS / 2);
}

static void
a_full_disk_is_53100_outside_the_gate_and_over_when_there_is_space(void **state)
{
    struct err e = ERR_INIT;
    lsn_t lsn;

    (void) state;
    begin(1);
    io_sim_set_space(c.disk, 0);
    for (unsigned i = 0; i < 3; i++) {
        err_clear(&e);
        assert_string_equal(err_sqlstate(write_value(3, &lsn, &e)), "53100");
        assert_false(is_in_gate(WRITER));
        reads(2);
        checkpoint(NULL); /* the gate closes; the standing reserve is there */
    }
    io_sim_set_space(c.disk, UINT64_MAX);
    must_write(4);
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
    recover();
    reads(4);
    cluster_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_redo_point_taken_while_a_commit_makes_room_makes_it_choose_again),
        cmocka_unit_test(a_full_disk_is_53100_outside_the_gate_and_over_when_there_is_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
