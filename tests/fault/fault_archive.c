/* Archive recovery that is cut off: at each call that changes the disk the power goes, again and
 * again, until one recovery goes through. There must be one new timeline, decided once, and the
 * same pages. The whole store over io_sim, one process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/cluster.h"
#include "store/store_checkpoint.h"
#include "support/test.h"
#include "wal/wal_archive.h"
#include "wal/wal_control.h"
#include "wal/wal_format.h"
#include "wal/wal_timeline.h"

#define PAGES  10u
#define WRITES 300u
#define ROUND  40u /* writes between two checkpoints */
/* Behind them pages that are written once more only, each just before a checkpoint: their commits
 * are the ones that redo still has in hand when it comes to a restartpoint there. */
#define ALL_PAGES (PAGES + WRITES / ROUND)

static struct cluster c;

static struct {
    struct io_sim *base; /* a cold copy, with recovery.signal and the archive in it */
    struct recover_target target;
    uint64_t max_wal_size;
    uint64_t page_seed[2][ALL_PAGES]; /* of each page at the restore point, and at the end */
    unsigned n_restartpoints;
    bool is_fetched[64]; /* by segment, in this life */
} play;

/* ---- the story before ---- */

static void
write_page(uint32_t i, uint64_t seed)
{
    uint8_t p[PAGE_BYTES];
    struct err e = ERR_INIT;
    lsn_t lsn;

    cluster_noise(p, seed);
    assert_ok(cluster_write(cluster_store(&c, 0), POSTGRES_DB_OID, 3 + i, p, &lsn, &e), &e);
    play.page_seed[1][i] = seed;
}

static void
recover_plainly(void)
{
    struct err e = ERR_INIT;

    assert_ok(cluster_start(&c, 1, &e), &e);
}

static void
begin_copy(void)
{
    struct io *io = io_sim_io(play.base);

    assert_int_equal(io_mkdir(io, "archive", 0700), 0);
    assert_true(io_open(io, "recovery.signal", O_RDWR | O_CREAT, 0600) >= 0);
    assert_int_equal(io_syncfs(io, -1), 0);
}

/* Every segment, also the last one, which is not full. */
static int
archive_one(void *arg, const char *name, bool is_dir)
{
    static uint8_t bytes[CLUSTER_SEGSIZE];
    char path[64];
    uint64_t segno;
    tli_t tli;

    (void) arg;
    if (is_dir || !wal_segment_parse(name, CLUSTER_SEGSIZE, &tli, &segno))
        return 0;
    (void) snprintf(path, sizeof path, WAL_DIR "/%s", name);
    assert_int_equal(io_read_file(c.io, path, bytes, sizeof bytes), CLUSTER_SEGSIZE);
    (void) snprintf(path, sizeof path, "archive/%s", name);
    assert_int_equal(
        io_write_file_durably(io_sim_io(play.base), "archive", path, bytes, sizeof bytes, NULL), 0);
    return 0;
}

static void
make_story(void)
{
    struct checkpoint_stats stats;
    struct err e = ERR_INIT;
    lsn_t lsn;

    cluster_begin(&c, 1);
    recover_plainly();
    for (uint32_t i = 0; i < ALL_PAGES; i++)
        write_page(i, 1 + i);
    assert_ok(cluster_shutdown(&c, 0, &e), &e);
    play.base = io_sim_clone(c.disk, 1);
    begin_copy();
    cluster_forget(&c);
    io_sim_process_crash(c.disk);
    recover_plainly();
    for (uint32_t i = 0; i < WRITES; i++) {
        /* Page 0 not again: a restartpoint must have written it. */
        write_page(i < 20 ? i % PAGES : 1 + i % (PAGES - 1), 1000 + i);
        if (i % ROUND == ROUND - 1) { /* it recycles segments */
            write_page(PAGES + i / ROUND, 5000 + i);
            assert_int_equal(io_list(c.io, WAL_DIR, archive_one, NULL), 0);
            assert_ok(store_checkpoint(cluster_store(&c, 0), CKPT_FORCE, NULL, NULL, &stats, &e),
                      &e);
        }
        if (i == WRITES / 2) {
            assert_ok(store_restore_point(cluster_store(&c, 0), "half", &lsn, &e), &e);
            memcpy(play.page_seed[0], play.page_seed[1], sizeof play.page_seed[0]);
        }
    }
    store_wait_durable(cluster_store(&c, 0), wal_insert_end(&c.procs[0].wal));
    assert_int_equal(io_list(c.io, WAL_DIR, archive_one, NULL), 0);
    cluster_forget(&c);
    io_sim_free(c.disk);
}

/* ---- recovery ---- */

static int
fetch(void *arg, const char *name, const char *oldest, struct err *e)
{
    static uint8_t bytes[CLUSTER_SEGSIZE];
    char path[64];
    uint64_t segno;
    tli_t tli;
    ssize_t n;
    int r;

    (void) arg;
    assert_int_equal(strlen(oldest), 24);
    (void) snprintf(path, sizeof path, "archive/%s", name);
    n = io_read_file(c.io, path, bytes, sizeof bytes);
    if (n == -ENOENT)
        return 1;
    assert_int_equal(n, CLUSTER_SEGSIZE);
    (void) snprintf(path, sizeof path, WAL_DIR "/%s", name);
    r = wal_archive_set_done(c.io, name, e); /* as the startup process does */
    if (r == 0)
        r = io_write_file_durably(c.io, WAL_DIR, path, bytes, sizeof bytes, e);
    if (wal_segment_parse(name, CLUSTER_SEGSIZE, &tli, &segno) && segno < 64)
        play.is_fetched[segno] = true;
    return r;
}

static void
on_restartpoint(void *arg, const char *oldest)
{
    (void) arg;
    (void) oldest;
    play.n_restartpoints++;
}

static void
recover_task(void *arg)
{
    struct recover_ask ask = { .target = &play.target,
                               .fetch = fetch,
                               .restartpoint = on_restartpoint };
    struct store_listed list[4];
    struct recover_info info;
    struct err e = ERR_INIT;
    uint32_t n;

    (void) arg;
    assert_ok(cluster_recover_as(&c, &ask, list, 4, &n, &info, &e), &e);
}

/* What came from the archive must not go there again: it has its mark as long as it is here. */
static int
check_mark(void *arg, const char *name, bool is_dir)
{
    uint64_t segno;
    tli_t tli;

    if (!is_dir && wal_segment_parse(name, CLUSTER_SEGSIZE, &tli, &segno) && tli == 1 &&
        segno < 64 && play.is_fetched[segno] &&
        wal_archive_state(c.io, name, NULL) != WAL_ARCHIVE_DONE)
        *(unsigned *) arg += 1;
    return 0;
}

static void
on_cut(void *arg)
{
    unsigned n_unmarked = 0;

    (void) arg;
    assert_int_equal(io_list(c.io, WAL_DIR, check_mark, &n_unmarked), 0);
    assert_int_equal(n_unmarked, 0);
    coro_crash("power cut");
}

static void
lose_power(void)
{
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
}

static void
check_pages(uint64_t at)
{
    const uint64_t *seeds = play.page_seed[play.target.kind == RECOVER_TO_END];

    for (uint32_t i = 0; i < ALL_PAGES; i++) {
        uint8_t want[PAGE_BYTES];
        uint8_t got[PAGE_BYTES];
        struct err e = ERR_INIT;

        cluster_noise(want, seeds[i]);
        assert_ok(cluster_read(cluster_store(&c, 0), POSTGRES_DB_OID, 3 + i, got, &e), &e);
        if (memcmp(want, got, PAGE_TAIL_AT) != 0)
            fail_msg("cut at call %u: page %u is another", (unsigned) at, 3 + i);
    }
}

static void
check_end(uint64_t at)
{
    struct wal_control control;
    struct err e = ERR_INIT;

    check_pages(at);
    assert_true(wal_control_read(c.io, &control, &e) >= 0);
    if (control.checkpoint.tli != 2 || control.min_recovery_lsn != 0 ||
        control.state != WAL_STATE_IN_PRODUCTION || cluster_has(&c, "pg_wal/00000003.history") ||
        !cluster_has(&c, "pg_wal/00000002.history") || cluster_has(&c, "recovery.signal") ||
        cluster_has(&c, "pinion_promotion"))
        fail_msg("cut at call %u: timeline %u, state %s", (unsigned) at, control.checkpoint.tli,
                 wal_state_name(control.state));
}

/* One life, with a cut at call `at` (and another one in the recovery after that). Returns the calls
 * of the first recovery. */
static uint64_t
live(uint64_t at, uint64_t seed)
{
    uint64_t n_calls = 0;
    struct io_sim *disk = io_sim_clone(play.base, at * 8 + seed);

    memset(play.is_fetched, 0, sizeof play.is_fetched);
    cluster_make(&c, disk, 64);
    c.store_cfg.max_wal_size = play.max_wal_size;
    cluster_hook_crashes();
    for (unsigned round = 0;; round++) {
        coro_reset(at);
        io_sim_cut_after(disk, round == 0 ? at : round == 1 ? at / 2 + 1 : 0, on_cut, NULL);
        coro_spawn(recover_task, NULL);
        if (coro_run() != CORO_CRASH)
            break;
        lose_power();
    }
    n_calls = io_sim_calls(disk);
    io_sim_cut_after(disk, 0, NULL, NULL);
    check_end(at);
    lose_power();
    recover_plainly(); /* an ordinary crash on the new timeline */
    check_end(at);
    cluster_forget(&c);
    cluster_free(&c);
    io_sim_free(disk);
    return n_calls;
}

static void
cut_everywhere(void)
{
    const char *long_run = getenv("PINION_LONG");
    bool is_a_long_run = long_run != NULL && long_run[0] != '\0';
    unsigned n_seeds = is_a_long_run ? 8 : 1;
    uint64_t n_calls = live(UINT32_MAX, 0);

    for (uint64_t at = 1; at <= n_calls; at += is_a_long_run ? 1 : 3)
        for (unsigned seed = 0; seed < n_seeds; seed++)
            (void) live(at, seed);
    print_message("%u places, each with %u seeds\n", (unsigned) n_calls, n_seeds);
    assert_true(n_calls > 80);
}

static void
recovery_to_the_end_of_the_archive_cut_off_anywhere_makes_one_timeline(void **state)
{
    (void) state;
    play.target = (struct recover_target){ .kind = RECOVER_TO_END, .inclusive = true };
    play.max_wal_size = UINT64_C(1) << 30;
    cut_everywhere();
}

static void
recovery_to_a_restore_point_cut_off_anywhere_stops_there(void **state)
{
    (void) state;
    play.target =
        (struct recover_target){ .kind = RECOVER_TO_NAME, .inclusive = true, .name = "half" };
    play.max_wal_size = UINT64_C(1) << 30;
    cut_everywhere();
}

static void
recovery_with_restartpoints_cut_off_anywhere_ends_the_same(void **state)
{
    (void) state;
    play.target = (struct recover_target){ .kind = RECOVER_TO_END, .inclusive = true };
    play.max_wal_size = 512 * 1024;
    play.n_restartpoints = 0;
    cut_everywhere();
    assert_true(play.n_restartpoints > 10);
}

static int
begin(void **state)
{
    (void) state;
    make_story();
    return 0;
}

static int
end(void **state)
{
    (void) state;
    io_sim_free(play.base);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recovery_to_the_end_of_the_archive_cut_off_anywhere_makes_one_timeline),
        cmocka_unit_test(recovery_to_a_restore_point_cut_off_anywhere_stops_there),
        cmocka_unit_test(recovery_with_restartpoints_cut_off_anywhere_ends_the_same),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
