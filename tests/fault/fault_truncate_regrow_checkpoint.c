/* A database that shrinks and grows again while checkpoints cut its file (EVICT-6): the file is
 * never cut below what was committed meanwhile, what was cut off does not come back, and a snapshot
 * from before keeps what it had. With and without a power cut or a crash of the processes in
 * between. The whole store over io_sim; processes are coroutines. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/rng.h"
#include "sim/cluster.h"
#include "store/store_checkpoint.h"
#include "store/store_page.h"
#include "support/test.h"

enum { WRITER, CHECKPOINTER, READER, PROCS }; /* process numbers */

#define PAGES   76u /* a database is never larger; more than there are frames */
#define CHANGES 14u
#define SEEDS   40u  /* ten times as many with PINION_LONG */
#define PAUSE   400u /* switches between two changes, at most */
#define AT      100u /* where a page has its number */

/* state[k] is what the k-th change made: the number of each page, 0 = zeros. Page 1 has k. */
static struct {
    uint32_t v[CHANGES + 1][PAGES + 1];
    pgno_t n[CHANGES + 1];
    uint32_t n_begun; /* state[n_begun] may be there */
    uint32_t n_acked; /* state[n_acked] must be there, or a later one */
} model;

static struct cluster c;
static uint32_t n_cuts; /* checkpoints that have made the file shorter */

/* ---- the model ---- */

static void
make_model(uint64_t seed)
{
    struct rng rng;

    memset(&model, 0, sizeof model);
    model.n[0] = 2;
    rng_init(&rng, seed);
    for (uint32_t k = 1; k <= CHANGES; k++) {
        pgno_t n = k % 2 == 1 ? model.n[k - 1] + 16 + (pgno_t) rng_below(&rng, 20)
                              : 3 + (pgno_t) rng_below(&rng, 38);

        for (pgno_t pgno = 2; pgno <= MIN(n, model.n[k - 1]); pgno++)
            model.v[k][pgno] = model.v[k - 1][pgno];
        for (uint32_t i = 0; i < 3; i++)
            model.v[k][2 + rng_below(&rng, n - 1)] = 100 * k + i;
        model.v[k][n] = 100 * k + 50;
        model.v[k][1] = k;
        model.n[k] = n;
    }
}

static bool
is_state(uint32_t k, const uint32_t *got, pgno_t n)
{
    return n == model.n[k] && memcmp(got + 1, model.v[k] + 1, n * sizeof *got) == 0;
}

/* ---- pages ---- */

static int
stage(struct store_txn *t, pgno_t pgno, uint32_t v, pgno_t n, struct err *e)
{
    uint8_t p[PAGE_BYTES] = { 0 };

    if (v != 0 && v % 2 == 0) /* an image that nothing makes smaller */
        cluster_noise(p, v);
    put_u32(p + AT, v);
    if (pgno == 1)
        put_be32(p + 28, n);
    return store_txn_stage(t, pgno, p, e);
}

static int
change(struct store_txn *t, uint32_t k, struct err *e)
{
    int r = store_txn_begin(t, e);

    if (r == 0)
        r = store_txn_begin_write(t, e);
    for (pgno_t pgno = 1; pgno <= model.n[k] && r == 0; pgno++) {
        if (model.v[k][pgno] != (pgno <= model.n[k - 1] ? model.v[k - 1][pgno] : 0))
            r = stage(t, pgno, model.v[k][pgno], model.n[k], e);
    }
    if (r == 0)
        r = store_txn_prepare(t, e);
    model.n_begun = k;
    if (r == 0)
        store_txn_commit(t);
    store_txn_end_write(t);
    store_txn_end(t);
    if (r == 0)
        store_txn_barrier(t, true);
    return r;
}

/* All pages as one snapshot has them, which is held for a while in the middle of it. */
static pgno_t
read_all(struct store_txn *t, uint32_t *ret)
{
    uint8_t p[PAGE_BYTES];
    struct err e = ERR_INIT;
    pgno_t n;

    assert_ok(store_txn_begin(t, &e), &e);
    n = store_txn_size(t);
    assert_in_range(n, 2, PAGES);
    for (pgno_t pgno = n; pgno >= 1; pgno--) {
        assert_ok(store_txn_read(t, pgno, p, &e), &e);
        ret[pgno] = get_u32(p + AT);
        coro_maybe(1);
    }
    store_txn_end(t);
    return n;
}

static struct store_txn *
open_txn(uint32_t procno, uint32_t *ret_db)
{
    struct store *st = cluster_store(&c, procno);
    struct store_txn *t;
    struct err e = ERR_INIT;

    assert_ok(store_db_attach(st, POSTGRES_DB_OID, POSTGRES_DB_OID, ret_db, &e), &e);
    assert_ok(store_txn_open(st, *ret_db, &t, &e), &e);
    return t;
}

static uint64_t
file_bytes(void)
{
    uint64_t bytes = 0;
    int fd = io_open(c.io, "base/5/5", O_RDONLY, 0);

    assert_true(fd >= 0);
    assert_int_equal(io_size(c.io, fd, &bytes), 0);
    assert_int_equal(io_close(c.io, fd), 0);
    return bytes;
}

/* ---- processes ---- */

static void
write_task(void *arg)
{
    struct err e = ERR_INIT;
    uint32_t db;
    struct store_txn *t = open_txn(WRITER, &db);
    struct rng rng;

    rng_init(&rng, *(const uint64_t *) arg);
    for (uint32_t k = model.n_acked + 1; k <= CHANGES; k++) {
        for (uint64_t i = rng_below(&rng, PAUSE); i > 0; i--) /* now a cut, now none in between */
            coro_switch();
        assert_ok(store_writer_take(cluster_store(&c, WRITER), db, 0, &e), &e);
        assert_ok(change(t, k, &e), &e);
        model.n_acked = k;
    }
    store_txn_close(t);
    store_db_detach(cluster_store(&c, WRITER), db);
}

static void
checkpoint_task(void *arg)
{
    (void) arg;
    do {
        uint64_t before = file_bytes();
        struct checkpoint_stats stats;
        struct err e = ERR_INIT;

        assert_ok(store_checkpoint(cluster_store(&c, CHECKPOINTER), CKPT_FORCE | CKPT_IMMEDIATE,
                                   NULL, NULL, &stats, &e),
                  &e);
        n_cuts += file_bytes() < before;
    } while (model.n_acked < CHANGES);
}

static void
read_task(void *arg)
{
    uint32_t got[PAGES + 1];
    uint32_t db;
    struct store_txn *t = open_txn(READER, &db);

    (void) arg;
    do {
        uint32_t least = model.n_acked;
        pgno_t n = read_all(t, got);

        if (got[1] < least || got[1] > CHANGES || !is_state(got[1], got, n))
            fail_msg("a snapshot of %u pages is not state %u, the least is %u", n, got[1], least);
        coro_switch();
    } while (model.n_acked < CHANGES);
    store_txn_close(t);
    store_db_detach(cluster_store(&c, READER), db);
}

/* ---- a life ---- */

static void
recover(void)
{
    struct err e = ERR_INIT;

    assert_ok(cluster_start(&c, PROCS, &e), &e);
}

/* After recovery: a state that may be there, and a file that is as long as it should be. */
static void
check(uint64_t seed)
{
    uint32_t got[PAGES + 1];
    uint32_t db;
    struct store_txn *t = open_txn(WRITER, &db);
    pgno_t n = read_all(t, got);
    uint32_t k = model.n_acked;

    while (k <= model.n_begun && !is_state(k, got, n))
        k++;
    if (k > model.n_begun)
        fail_msg("seed %u: %u pages, page 1 is %u: not one of the states %u … %u", (unsigned) seed,
                 n, got[1], model.n_acked, model.n_begun);
    assert_int_equal(file_bytes(), (uint64_t) n * PAGE_BYTES);
    model.n_acked = model.n_begun = k;
    store_txn_close(t);
    store_db_detach(cluster_store(&c, WRITER), db);
}

static void
maybe(void *arg)
{
    (void) arg;
    coro_maybe(2);
}

static void
power_fails(void *arg)
{
    (void) arg;
    coro_crash("the power fails");
}

/* From where it is to the last change, or to the crash. */
static void
run(uint64_t seed, uint64_t crash_at)
{
    enum coro_end end;

    io_sim_on_call(c.disk, maybe, NULL);
    io_sim_cut_after(c.disk, crash_at, power_fails, NULL);
    coro_reset(seed);
    coro_spawn(write_task, &seed);
    coro_spawn(checkpoint_task, NULL);
    coro_spawn(read_task, NULL);
    end = coro_run();
    io_sim_cut_after(c.disk, 0, NULL, NULL);
    io_sim_on_call(c.disk, NULL, NULL);
    assert_int_not_equal(end, CORO_STUCK);
    cluster_forget(&c);
    if (seed % 3 == 0)
        io_sim_process_crash(c.disk);
    else
        io_sim_power_cut(c.disk);
    recover();
    check(seed);
}

/* ---- the test ---- */

static void
what_is_cut_and_grown_again_under_checkpoints_is_what_was_committed(void **state)
{
    const char *is_long = getenv("PINION_LONG");
    uint32_t n_seeds = is_long != NULL && is_long[0] != '\0' ? 10 * SEEDS : SEEDS;

    (void) state;
    for (uint64_t seed = 0; seed < n_seeds; seed++) {
        struct rng rng;

        rng_init(&rng, seed);
        cluster_begin(&c, seed);
        make_model(seed);
        recover();
        if (seed % 2 == 1)
            run(seed, 1 + rng_below(&rng, 400));
        run(seed + n_seeds, 0);
        assert_int_equal(model.n_acked, CHANGES);
        cluster_end(&c);
    }
    print_message("%u checkpoints made the file shorter\n", n_cuts);
    assert_true(n_cuts >= n_seeds);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_cut_and_grown_again_under_checkpoints_is_what_was_committed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
