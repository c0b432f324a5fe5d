/* Transaction ids: arithmetic, pages of pg_xact in ring and file, the limit X, and what recovery
 * does with all that. One or two processes over io_sim. */
#include "store/store_xact.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/cluster.h"
#include "store/store_checkpoint.h"
#include "store/store_shared.h"
#include "support/test.h"

static struct cluster c;

static struct store *
start(struct recover_info *ret)
{
    struct store_listed list[4];
    struct err e = ERR_INIT;
    uint32_t n;

    assert_ok(cluster_recover(&c, list, 4, &n, ret, &e), &e);
    return cluster_store(&c, 0);
}

static struct store *
begin(void)
{
    struct recover_info info;

    cluster_begin(&c, 1);
    return start(&info);
}

static xid_t
assign(struct store *st)
{
    struct err e = ERR_INIT;
    xid_t xid = 0;

    assert_ok(store_xid_assign(st, &xid, &e), &e);
    return xid;
}

static unsigned
bits_of(struct store *st, xid_t xid)
{
    struct err e = ERR_INIT;
    unsigned bits = 9;

    assert_ok(store_xact_bits(st, xid, &bits, &e), &e);
    return bits;
}

static enum xact_status
status_of(struct store *st, xid_t xid)
{
    struct err e = ERR_INIT;
    enum xact_status status;

    assert_ok(store_xact_status(st, xid, &status, &e), &e);
    return status;
}

static void
thirty_two_bits_mean_the_nearest_id(void **state)
{
    const xid_t epoch = UINT64_C(1) << 32;

    (void) state;
    assert_int_equal(store_xid_widen(100, 90), 90);
    assert_int_equal(store_xid_widen(100, 200), 200);
    assert_int_equal(store_xid_widen(epoch + 10, UINT32_MAX), epoch - 1);
    assert_int_equal(store_xid_widen(epoch - 10, 5), epoch + 5);
    assert_int_equal(store_xid_widen(5 * epoch + 10, 12), 5 * epoch + 12);
    assert_int_equal(store_xid_widen(3, UINT32_MAX), UINT32_MAX); /* nothing before the first */
}

static void
low_words_below_three_are_skipped(void **state)
{
    const xid_t epoch = UINT64_C(1) << 32;

    (void) state;
    assert_int_equal(store_xid_after(3), 4);
    assert_int_equal(store_xid_after(epoch - 1), epoch + 3);
    assert_int_equal(store_xid_after_recovery(3), 2 * XID_LIMIT_STEP);
    assert_int_equal(store_xid_after_recovery(XID_LIMIT_STEP), 2 * XID_LIMIT_STEP);
    assert_int_equal(store_xid_after_recovery(XID_LIMIT_STEP + 1), 3 * XID_LIMIT_STEP);
    assert_int_equal(store_xid_after_recovery(epoch - XID_LIMIT_STEP), epoch + 3);
}

static void
files_are_named_as_postgresql_names_them(void **state)
{
    char path[XACT_PATH_BYTES];

    (void) state;
    store_xact_path(path, 0);
    assert_string_equal(path, "pg_xact/0000");
    store_xact_path(path, 32);
    assert_string_equal(path, "pg_xact/0001");
    store_xact_path(path, (UINT64_C(1) << 32) / XACT_XIDS_PAGE - 1);
    assert_string_equal(path, "pg_xact/0FFF");
    store_xact_path(path, (UINT64_C(1) << 32) / XACT_XIDS_PAGE);
    assert_string_equal(path, "pg_xact/0000");
}

static void
a_status_is_committed_running_or_aborted(void **state)
{
    struct store *st = begin();
    xid_t committed = assign(st);
    xid_t running;

    (void) state;
    store_xact_set_committed(st, committed);
    running = assign(st);
    assert_int_equal(status_of(st, committed), XACT_COMMITTED);
    assert_int_equal(status_of(st, running), XACT_IN_PROGRESS);
    store_xact_running(st, 0);
    assert_int_equal(status_of(st, running), XACT_ABORTED);
    assert_int_equal(status_of(st, running + 1), XACT_UNKNOWN);
    assert_int_equal(status_of(st, 2), XACT_UNKNOWN);
    cluster_end(&c);
}

static void
a_checkpoint_writes_what_changed(void **state)
{
    struct store *st = begin();
    struct err e = ERR_INIT;
    uint8_t byte = 0;
    xid_t xid = assign(st);
    int fd;

    (void) state;
    store_xact_set_committed(st, xid); /* 3: the high bits of byte 0 */
    assert_ok(store_xact_checkpoint(st, &e), &e);
    fd = io_open(c.io, "pg_xact/0000", O_RDONLY, 0);
    assert_true(fd >= 0);
    assert_int_equal(io_pread(c.io, fd, &byte, 1, 0), 1);
    assert_int_equal(byte, XACT_BIT_COMMITTED << 6);
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
    struct recover_info info;
    st = start(&info);
    assert_int_equal(bits_of(st, xid), XACT_BIT_COMMITTED);
    cluster_end(&c);
}

static void
a_failed_write_is_tried_again(void **state)
{
    struct store *st = begin();
    struct err e = ERR_INIT;
    xid_t xid = assign(st);

    (void) state;
    store_xact_set_committed(st, xid);
    io_sim_fail(c.disk, SIM_WRITE, "pg_xact", 0, 1, ENOSPC);
    assert_true(store_xact_checkpoint(st, &e) < 0);
    err_clear(&e);
    assert_ok(store_xact_checkpoint(st, &e), &e);
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
    struct recover_info info;
    st = start(&info);
    assert_int_equal(bits_of(st, xid), XACT_BIT_COMMITTED);
    cluster_end(&c);
}

static void
a_page_leaves_the_ring_only_when_it_is_written(void **state)
{
    struct store *st = begin();
    struct err e = ERR_INIT;
    xid_t first = assign(st);
    xid_t far;

    (void) state;
    store_xact_set_committed(st, first);
    /* as if the ids between had been used: the next one's page has the place of the first */
    far = XACT_RING_XIDS;
    assert_ok(store_xact_start(st, far, far, &e), &e);
    assert_int_equal(atomic_load(&st->sh->xact.ring[0]), 1);
    assert_int_equal(assign(st), far);
    assert_int_equal(atomic_load(&st->sh->xact.ring[0]), XACT_RING_PAGES + 1);
    assert_int_equal(bits_of(st, first), XACT_BIT_COMMITTED); /* from the file */
    assert_int_equal(bits_of(st, far), 0);
    store_xact_set_committed(st, far);
    assert_int_equal(bits_of(st, far), XACT_BIT_COMMITTED);
    assert_int_equal(bits_of(st, far - 1), 0); /* a missing page is zeros */
    cluster_end(&c);
}

static void
files_older_than_what_is_kept_are_removed(void **state)
{
    struct store *st = begin();
    struct err e = ERR_INIT;
    xid_t far = XACT_KEPT_XIDS + 40 * XACT_PAGES_FILE * XACT_XIDS_PAGE;

    (void) state;
    assert_ok(store_xact_start(st, far, far, &e), &e);
    store_xact_set_committed(st, assign(st));
    assert_ok(store_xact_checkpoint(st, &e), &e);
    assert_int_equal(io_open(c.io, "pg_xact/0000", O_RDONLY, 0), -ENOENT);
    assert_true(io_open(c.io, "pg_xact/0128", O_RDONLY, 0) >= 0);
    assert_int_equal(status_of(st, 3), XACT_UNKNOWN);
    cluster_end(&c);
}

/* ---- the limit ---- */

static xid_t last;
static bool is_done;

static void
use_up(void *arg)
{
    struct store *st = arg;

    for (uint64_t i = 0; i < 3 * XID_LIMIT_STEP; i++) {
        xid_t xid = assign(st);

        assert_true(xid > last);
        last = xid;
    }
    is_done = true;
}

static void
advance(void *arg)
{
    struct store *st = arg;

    while (!is_done) {
        struct err e = ERR_INIT;

        assert_true(store_xid_advance_limit(st, &e) >= 0);
        coro_switch();
    }
}

static void
stop_at_limit(void *arg)
{
    struct store *st = arg;

    (void) assign(st);
    fail_msg("an id beyond the limit: %" PRIu64, store_xid_next(st));
}

static void
give_up(void *arg)
{
    (void) arg;
    for (int i = 0; i < 100; i++)
        coro_switch();
    coro_crash("enough");
}

static void
no_id_is_handed_out_at_the_limit(void **state)
{
    struct store *st = begin();
    xid_t limit = atomic_load(&st->sh->xact.limit);

    (void) state;
    while (store_xid_next(st) < limit)
        (void) assign(st);
    coro_reset(1);
    coro_spawn(stop_at_limit, st);
    coro_spawn(give_up, NULL);
    assert_int_equal(coro_run(), CORO_CRASH);
    cluster_end(&c);
}

static void
ids_that_left_no_record_are_not_handed_out_again(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;
    struct store *st;

    (void) state;
    st = begin();
    assert_ok(cluster_attach(&c, 1, &e), &e);
    last = 0;
    is_done = false;
    coro_reset(1);
    coro_spawn(use_up, st);
    coro_spawn(advance, cluster_store(&c, 1));
    assert_int_equal(coro_run(), CORO_DONE);
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
    st = start(&info);
    assert_true(assign(st) > last); /* XID-2, XID-3 */
    cluster_end(&c);
}

static void
a_clean_stop_goes_on_with_the_next_id(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;
    struct store *st = begin();
    xid_t xid = assign(st);

    (void) state;
    store_xact_running(st, 0);
    assert_ok(cluster_shutdown(&c, 0, &e), &e);
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
    st = start(&info);
    assert_true(info.was_clean);
    assert_int_equal(assign(st), xid + 1);
    cluster_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thirty_two_bits_mean_the_nearest_id),
        cmocka_unit_test(low_words_below_three_are_skipped),
        cmocka_unit_test(files_are_named_as_postgresql_names_them),
        cmocka_unit_test(a_status_is_committed_running_or_aborted),
        cmocka_unit_test(a_checkpoint_writes_what_changed),
        cmocka_unit_test(a_failed_write_is_tried_again),
        cmocka_unit_test(a_page_leaves_the_ring_only_when_it_is_written),
        cmocka_unit_test(files_older_than_what_is_kept_are_removed),
        cmocka_unit_test(no_id_is_handed_out_at_the_limit),
        cmocka_unit_test(ids_that_left_no_record_are_not_handed_out_again),
        cmocka_unit_test(a_clean_stop_goes_on_with_the_next_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
