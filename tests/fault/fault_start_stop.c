/* Recovery, start, stop, and eviction with each I/O call failing once (EIO, a full disk, half a
 * write) and with the power cut at each of them, until none fires. After each the cluster recovers
 * and has what was committed, and goes on. The whole store over io_sim, one process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "sim/cluster.h"
#include "store/store_checkpoint.h"
#include "store/store_db.h"
#include "store/store_page.h"
#include "store/store_writeback.h"
#include "support/test.h"

#define PAGES 90 /* more than there are frames */

static struct cluster c;
static struct io_sim *origin;

/* ---- content ---- */

static int
write_page(pgno_t pgno, uint64_t seed, struct err *e)
{
    uint8_t p[PAGE_BYTES];
    lsn_t lsn;

    cluster_noise(p, seed);
    return cluster_write(cluster_store(&c, 0), POSTGRES_DB_OID, pgno, p, &lsn, e);
}

/* Pages 3 … PAGES + 2; those with an even number were written again after the checkpoint. */
static uint64_t
seed_of(pgno_t pgno)
{
    return pgno % 2 == 0 ? 1000 + pgno : pgno;
}

static int
read_all(struct err *e)
{
    uint8_t want[PAGE_BYTES];
    uint8_t got[PAGE_BYTES];

    for (pgno_t pgno = 3; pgno < 3 + PAGES; pgno++) {
        int r = cluster_read(cluster_store(&c, 0), POSTGRES_DB_OID, pgno, got, e);

        if (r < 0)
            return r;
        cluster_noise(want, seed_of(pgno));
        if (memcmp(want, got, PAGE_TAIL_AT) != 0)
            return ERR(e, INTERNAL_ERROR, "page %u has another content", pgno);
    }
    return 0;
}

/* ---- cluster ---- */

static void
stand_on(struct io_sim *disk)
{
    c.disk = disk;
    c.io = io_sim_io(disk);
}

/* A disk with the content: of a server that was killed, or was stopped. */
static void
make_origin(bool is_stopped)
{
    struct checkpoint_stats stats;
    struct err e = ERR_INIT;

    log_set_min(LOG_LEVEL_PANIC);
    cluster_make(&c, io_sim_new(1), 64);
    cluster_hook_crashes();
    assert_ok(cluster_init_disk(&c, &e), &e);
    assert_ok(cluster_start(&c, 1, &e), &e);
    for (pgno_t pgno = 3; pgno < 3 + PAGES; pgno++)
        assert_ok(write_page(pgno, pgno, &e), &e);
    assert_ok(store_checkpoint(cluster_store(&c, 0), CKPT_FORCE, NULL, NULL, &stats, &e), &e);
    for (pgno_t pgno = 3; pgno < 3 + PAGES; pgno++)
        if (pgno % 2 == 0)
            assert_ok(write_page(pgno, seed_of(pgno), &e), &e);
    if (is_stopped)
        assert_ok(cluster_shutdown(&c, 0, &e), &e);
    cluster_forget(&c);
    io_sim_process_crash(c.disk);
    origin = c.disk;
}

static void
free_origin(void)
{
    stand_on(origin);
    cluster_free(&c);
    io_sim_free(origin);
}

/* ---- operations ---- */

static void
op_recover(void *arg)
{
    (void) cluster_start(&c, 1, arg);
}

static void
op_stop(void *arg)
{
    (void) cluster_shutdown(&c, 0, arg);
}

/* Frames are short: pages are evicted, dirty ones written first. A failed write leaves the page
 * dirty, a failed read is an error of who reads; what can be read is right. */
static void
op_evict(void *arg)
{
    struct err *e = arg;

    struct store *st = cluster_store(&c, 0);

    (void) store_bgwriter_round(st, 20, NULL);
    (void) store_write_back_all(st, store_db_find(st, POSTGRES_DB_OID), NULL);
    (void) read_all(e);
    assert_int_not_equal(e->code, -ERR_INTERNAL_ERROR);
}

struct operation {
    const char *name;
    void (*run)(void *arg);
    bool is_stopped;            /* origin */
    bool is_recovered;          /* before the operation */
    unsigned least, least_cuts; /* calls that fail, calls at which the power is cut */
};

enum death { DEATH_EIO, DEATH_ENOSPC, DEATH_HALF, DEATH_CUT, DEATHS };
static const char *const death_names[DEATHS] = { "EIO", "ENOSPC", "half a write", "power cut" };

static void
on_cut(void *arg)
{
    (void) arg;
    coro_crash("power cut");
}

static void
arm(enum death death, unsigned at)
{
    switch (death) {
    case DEATH_EIO:
        io_sim_fail_any(c.disk, at, EIO, false);
        break;
    case DEATH_ENOSPC:
        io_sim_fail_any(c.disk, at, ENOSPC, false);
        break;
    case DEATH_HALF:
        io_sim_fail_any(c.disk, at, ENOSPC, true);
        break;
    case DEATH_CUT:
        io_sim_cut_after(c.disk, at + 1, on_cut, NULL);
        break;
    case DEATHS:
        break;
    }
}

static void
prepare(void)
{
    struct err e = ERR_INIT;

    assert_ok(cluster_start(&c, 1, &e), &e);
    for (pgno_t pgno = 3; pgno < 3 + 20; pgno++) { /* dirty: changed, and changed back */
        assert_ok(write_page(pgno, 5000, &e), &e);
        assert_ok(write_page(pgno, seed_of(pgno), &e), &e);
    }
}

/* One life. Did it fire? */
static bool
live(const struct operation *op, enum death death, unsigned at)
{
    struct err e = ERR_INIT;
    bool fired;

    stand_on(io_sim_clone(origin, at + 1));
    if (op->is_recovered)
        prepare();
    arm(death, at);
    coro_reset(at);
    coro_spawn(op->run, &e);
    fired = coro_run() == CORO_CRASH || io_sim_failed(c.disk);
    io_sim_fail(c.disk, SIM_OTHER, "", 0, 0, 0);
    io_sim_cut_after(c.disk, 0, NULL, NULL);
    for (int again = 0; again < 2; again++) {
        cluster_forget(&c);
        if ((at + (unsigned) again) % 2 == 0)
            io_sim_power_cut(c.disk);
        else
            io_sim_process_crash(c.disk);
        err_clear(&e);
        if (cluster_start(&c, 1, &e) < 0 || read_all(&e) < 0 || write_page(3, seed_of(3), &e) < 0)
            fail_msg("%s, %s at call %u: %s (%s)", op->name, death_names[death], at, e.message,
                     e.detail);
    }
    cluster_forget(&c);
    io_sim_free(c.disk);
    return fired;
}

static void
loop(const struct operation *op)
{
    unsigned n[DEATHS];

    make_origin(op->is_stopped);
    for (int death = 0; death < DEATHS; death++) {
        n[death] = 0;
        while (live(op, (enum death) death, n[death]))
            n[death]++;
    }
    free_origin();
    print_message("%-10s EIO at %u calls, ENOSPC at %u, half a write at %u, power cut at %u\n",
                  op->name, n[DEATH_EIO], n[DEATH_ENOSPC], n[DEATH_HALF], n[DEATH_CUT]);
    for (int death = 0; death < DEATHS; death++)
        assert_true(n[death] >= (death == DEATH_CUT ? op->least_cuts : op->least));
}

static void
recovery(void **state)
{
    (void) state;
    loop(&(struct operation){
        .name = "recovery", .run = op_recover, .least = 100, .least_cuts = 50 });
}

static void
start(void **state)
{
    (void) state;
    loop(&(struct operation){
        .name = "start", .run = op_recover, .is_stopped = true, .least = 15, .least_cuts = 2 });
}

static void
stop(void **state)
{
    (void) state;
    loop(&(struct operation){
        .name = "stop", .run = op_stop, .is_recovered = true, .least = 20, .least_cuts = 10 });
}

static void
eviction(void **state)
{
    (void) state;
    loop(&(struct operation){
        .name = "eviction", .run = op_evict, .is_recovered = true, .least = 50, .least_cuts = 10 });
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recovery),
        cmocka_unit_test(start),
        cmocka_unit_test(stop),
        cmocka_unit_test(eviction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
