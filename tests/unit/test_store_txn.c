/* A transaction as the VFS sees it: sizes, fetching, limits, the barrier (VFS-1 … -6, SNAP-5). */
#include <stdatomic.h>
#include <string.h>

#include "support/store_world.h"
#include "support/test.h"
#include "support/tmpdir.h"

#define PROCS 2

static struct tmpdir dir;
static struct world w;
static struct store *st;
static struct store_txn *t;
static struct store_txn *other; /* of the second process */
static uint32_t db;
static struct err e;

static int
setup(void **state)
{
    (void) state;
    err_clear(&e);
    tmpdir_make(&dir);
    world_init(&dir.io);
    w = (struct world){ 0 };
    world_attach(&w, &dir.io, PROCS, 128);
    world_start(&w);
    st = &w.procs[0].store;
    for (uint32_t i = 0; i < PROCS; i++)
        assert_ok(store_db_attach(&w.procs[i].store, WORLD_OID, WORLD_OID, &db, &e), &e);
    assert_ok(store_txn_open(st, db, &t, &e), &e);
    assert_ok(store_txn_open(&w.procs[1].store, db, &other, &e), &e);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    store_txn_close(t);
    store_txn_close(other);
    for (uint32_t i = 0; i < PROCS; i++)
        store_process_exit(&w.procs[i].store);
    world_detach(&w);
    tmpdir_remove(&dir);
    return 0;
}

static void
begin_write(void)
{
    assert_ok(store_writer_take(st, db, 0, &e), &e);
    assert_ok(store_txn_begin(t, &e), &e);
    assert_int_equal(store_txn_begin_write(t, &e), 0);
}

static void
stage(pgno_t pgno, pgno_t n)
{
    uint8_t page[PAGE_BYTES];

    world_fill(page, pgno, 5, n);
    assert_ok(store_txn_stage(t, pgno, page, &e), &e);
}

static void
a_fifth_handle_of_one_process_is_refused(void **state)
{
    struct store_txn *more[4] = { NULL };

    (void) state;
    for (int i = 0; i < 3; i++)
        assert_ok(store_txn_open(st, db, &more[i], &e), &e);
    assert_int_equal(store_txn_open(st, db, &more[3], &e), -ERR_CONFIGURATION_LIMIT_EXCEEDED);
    store_txn_close(more[0]);
    err_clear(&e);
    assert_ok(store_txn_open(st, db, &more[0], &e), &e);
    for (int i = 0; i < 3; i++)
        store_txn_close(more[i]);
}

static void
the_size_follows_header_staged_pages_and_truncate(void **state)
{
    uint8_t page[PAGE_BYTES];

    (void) state;
    begin_write();
    assert_int_equal(store_txn_size(t), 4);
    stage(9, 6);
    assert_int_equal(store_txn_size(t), 9);
    assert_int_equal(store_txn_read(t, 8, page, &e), STORE_SHORT);
    assert_int_equal(store_txn_read(t, 9, page, &e), 0);
    assert_int_equal(store_txn_read(t, 10, page, &e), STORE_SHORT);
    assert_ok(store_txn_truncate(t, 3, &e), &e);
    assert_int_equal(store_txn_size(t), 3);
    assert_int_equal(store_txn_read(t, 4, page, &e), STORE_SHORT); /* cut by ourselves */
    assert_int_equal(store_txn_read(t, 3, page, &e), 0);
    stage(7, 6);
    stage(1, 6);
    assert_int_equal(store_txn_size(t), 7);
    assert_ok(store_txn_prepare(t, &e), &e);
    assert_int_equal(store_txn_size(t), 7); /* the pager cuts to what page 1 says */
    assert_ok(store_txn_truncate(t, 6, &e), &e);
    store_txn_commit(t);
    assert_int_equal(store_txn_size(t), 6);
    store_txn_end_write(t);
    assert_int_equal(get_be32(store_txn_header(t) + 28), 6);
    store_txn_end(t);
    store_txn_barrier(t, true);
}

static void
staged_pages_and_page_1_are_not_fetched(void **state)
{
    const void *p = NULL;
    const void *again = NULL;

    (void) state;
    begin_write();
    assert_ok(store_txn_fetch(t, 1, &p, &e), &e);
    assert_null(p);
    assert_ok(store_txn_fetch(t, 5, &p, &e), &e);
    assert_null(p);
    stage(2, 4);
    assert_ok(store_txn_fetch(t, 2, &p, &e), &e);
    assert_null(p);
    assert_ok(store_txn_fetch(t, 3, &p, &e), &e);
    assert_ok(store_txn_fetch(t, 3, &again, &e), &e);
    assert_non_null(p);
    assert_ptr_equal(p, again);
    assert_int_equal(cache_n_pinned(st->cache), 2);
    store_txn_unfetch(t, p);
    assert_int_equal(world_value(again, 3), 1);
    store_txn_unfetch(t, again);
    assert_int_equal(cache_n_pinned(st->cache), 0);
    store_txn_end(t);
}

static void
over_the_memory_limit_the_transaction_is_refused_and_rolls_back(void **state)
{
    uint8_t page[PAGE_BYTES] = { 0 };
    struct store_txn *small;

    (void) state;
    st->cfg.txn_bytes_max = 2 * PAGE_BYTES;
    assert_ok(store_txn_open(st, db, &small, &e), &e);
    assert_ok(store_writer_take(st, db, 0, &e), &e);
    assert_ok(store_txn_begin(small, &e), &e);
    assert_ok(store_txn_begin_write(small, &e), &e);
    assert_ok(store_txn_stage(small, 3, page, &e), &e);
    assert_ok(store_txn_stage(small, 4, page, &e), &e);
    assert_int_equal(store_txn_stage(small, 5, page, &e), -ERR_OUT_OF_MEMORY);
    err_clear(&e);
    assert_ok(store_txn_stage(small, 6, page, &e), &e); /* originals, swallowed */
    assert_ok(store_txn_read(small, 3, page, &e), &e);
    assert_int_equal(world_value(page, 3), 1);
    assert_int_equal(store_txn_size(small), 4);
    store_txn_end(small);
    store_txn_close(small);
}

static void
an_empty_write_has_no_id_and_no_record_but_waits_for_what_it_read(void **state)
{
    lsn_t end;

    (void) state;
    assert_ok(world_write(other, &w.procs[1].store, db, 9, 0, NULL, 0, WORLD_COMMIT_ASYNC, &e), &e);
    end = wal_insert_end(st->wal);
    assert_true(wal_durable(st->wal) < end);
    begin_write(); /* sees the commit that is not durable (SNAP-3) */
    assert_true(store_txn_version(t) == store_db_published(st, db));
    assert_ok(store_txn_prepare(t, &e), &e);
    store_txn_commit(t);
    store_txn_end_write(t);
    store_txn_end(t);
    assert_int_equal(store_txn_xid_if_any(t), 0);
    assert_true(wal_insert_end(st->wal) == end);
    assert_true(wal_durable(st->wal) < end);
    store_txn_barrier(t, true); /* SNAP-5 */
    assert_true(wal_durable(st->wal) >= end);
    assert_true(cache_horizon(st->cache) >= end);
}

static void
a_session_never_goes_back_behind_what_it_was_shown(void **state)
{
    lsn_t shown;

    (void) state;
    assert_ok(world_write(other, &w.procs[1].store, db, 9, 0, NULL, 0, WORLD_COMMIT_ASYNC, &e), &e);
    begin_write();
    shown = store_txn_version(t);
    store_txn_end(t);            /* rolled back */
    store_txn_barrier(t, false); /* synchronous_commit = off */
    assert_true(cache_horizon(st->cache) < shown);
    assert_ok(store_txn_begin(t, &e), &e);
    assert_true(store_txn_version(t) == shown); /* PROMISE-2 */
    store_txn_end(t);
}

static void
the_transaction_id_is_handed_out_once_and_forgotten_at_the_end(void **state)
{
    xid_t a;
    xid_t b;
    enum xact_status status;

    (void) state;
    begin_write();
    assert_ok(store_txn_xid(t, &a, &e), &e);
    assert_ok(store_txn_xid(t, &b, &e), &e);
    assert_true(a == b);
    assert_true(store_xact_is_running(st, a));
    stage(1, 4);
    assert_ok(store_txn_prepare(t, &e), &e);
    store_txn_commit(t);
    store_txn_end_write(t);
    store_txn_end(t);
    store_txn_barrier(t, true);
    assert_int_equal(store_txn_xid_if_any(t), 0);
    assert_false(store_xact_is_running(st, a));
    assert_ok(store_xact_status(st, a, &status, &e), &e);
    assert_int_equal(status, XACT_COMMITTED);
}

static void
during_recovery_writing_is_25006(void **state)
{
    int r;

    (void) state;
    atomic_store(&w.status.in_recovery, 1);
    assert_ok(store_writer_take(st, db, 0, &e), &e);
    assert_ok(store_txn_begin(t, &e), &e);
    r = store_txn_begin_write(t, &e);
    assert_string_equal(err_sqlstate(r), "25006");
    store_txn_end(t);
    store_writer_drop(st, db);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_fifth_handle_of_one_process_is_refused),
        T(the_size_follows_header_staged_pages_and_truncate),
        T(staged_pages_and_page_1_are_not_fetched),
        T(over_the_memory_limit_the_transaction_is_refused_and_rolls_back),
        T(an_empty_write_has_no_id_and_no_record_but_waits_for_what_it_read),
        T(a_session_never_goes_back_behind_what_it_was_shown),
        T(the_transaction_id_is_handed_out_once_and_forgotten_at_the_end),
        T(during_recovery_writing_is_25006),
    };
    return cmocka_run_group_tests_name("store_txn", tests, NULL, NULL);
}
