/* Redo by hand-made logs: the open set, files that are missing, records that must be refused. */
#include "store/store_redo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/rng.h"
#include "sim/cluster.h"
#include "store/store_checkpoint.h"
#include "store/store_page.h"
#include "support/test.h"
#include "wal/wal_delta.h"
#include "wal/wal_xact.h"

static struct cluster c;

static void
begin(void)
{
    struct err e = ERR_INIT;

    cluster_begin(&c, 1);
    assert_ok(cluster_start(&c, 1, &e), &e);
}

static int
crash_and_recover(struct recover_info *info, struct err *e)
{
    struct store_listed list[4];
    uint32_t n;

    cluster_forget(&c);
    io_sim_power_cut(c.disk);
    return cluster_recover(&c, list, 4, &n, info, e);
}

/* Insert one record and make it durable. */
static lsn_t
insert(const struct wal_rec *rec)
{
    static uint8_t bytes[300000];
    struct buf b = buf_init(bytes, sizeof bytes);
    struct wal *w = &c.procs[0].wal;
    struct wal_inserted at;
    struct err e = ERR_INIT;

    assert_ok(wal_record_put(&b, rec, &e), &e);
    assert_ok(wal_make_room(w, b.n, &e), &e);
    assert_int_equal(wal_reserve(w, MAXALIGN(b.n)), 0);
    wal_insert(w, &(struct wal_bytes){ bytes, (uint32_t) b.n }, 1, 0, &at);
    wal_unreserve(w);
    wal_flush(w, at.end);
    return at.end;
}

/* A delta that puts `value` at offset `at` of a page. */
static void
insert_delta_of(oid_t db, uint32_t xid, blk_t blk, uint16_t at, uint64_t value)
{
    uint8_t delta[64];
    struct buf b = buf_init(delta, sizeof delta);
    struct wal_block block = {
        .id = 0, .blk = blk, .rel = { TABLESPACE_DEFAULT, db, db }, .data = delta
    };
    struct wal_rec rec = { .rmid = RM_GENERIC, .xid = xid, .n_blocks = 1, .blocks = &block };

    wal_delta_put_fragment(&b, at, &value, sizeof value);
    block.data_bytes = (uint16_t) b.n;
    (void) insert(&rec);
}

/* … of database 5. */
static void
insert_delta(uint32_t xid, blk_t blk, uint16_t at, uint64_t value)
{
    insert_delta_of(POSTGRES_DB_OID, xid, blk, at, value);
}

static lsn_t
insert_commit(uint32_t xid)
{
    uint8_t main[128];
    struct buf b = buf_init(main, sizeof main);
    struct wal_xact_end x = { .db = POSTGRES_DB_OID, .spc = TABLESPACE_DEFAULT };
    struct wal_rec rec = {
        .rmid = RM_XACT, .info = wal_xact_info(XACT_COMMIT, &x), .xid = xid, .main = main
    };

    wal_xact_put_end(&b, &x);
    rec.main_bytes = (uint32_t) b.n;
    return insert(&rec);
}

static uint64_t
value_of(oid_t db, pgno_t pgno, uint32_t at)
{
    uint8_t p[PAGE_BYTES];
    struct err e = ERR_INIT;

    assert_ok(cluster_read(cluster_store(&c, 0), db, pgno, p, &e), &e);
    return get_u64(p + at);
}

static uint64_t
value_at(pgno_t pgno, uint32_t at)
{
    return value_of(POSTGRES_DB_OID, pgno, at);
}

static void
what_has_no_commit_leaves_no_trace(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    (void) state;
    begin();
    insert_delta(100, 1, 500, 1);
    insert_delta(101, 1, 600, 2);
    (void) insert_commit(101);
    assert_ok(crash_and_recover(&info, &e), &e);
    assert_int_equal(value_at(2, 500), 0);
    assert_int_equal(value_at(2, 600), 2);
    assert_int_equal(info.n_commits, 1);
    assert_true(info.next_xid > 101);
    cluster_end(&c);
}

static void
records_after_a_commit_start_a_new_list(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    (void) state;
    begin();
    insert_delta(100, 1, 500, 1);
    (void) insert_commit(100);
    insert_delta(100, 1, 600, 2);
    assert_ok(crash_and_recover(&info, &e), &e);
    assert_int_equal(value_at(2, 500), 1);
    assert_int_equal(value_at(2, 600), 0);
    cluster_end(&c);
}

static void
the_order_of_commits_decides_not_that_of_records(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    (void) state;
    begin();
    insert_delta(101, 1, 500, 1);
    insert_delta(100, 1, 500, 2);
    (void) insert_commit(100);
    (void) insert_commit(101);
    assert_ok(crash_and_recover(&info, &e), &e);
    assert_int_equal(value_at(2, 500), 1);
    cluster_end(&c);
}

/* Redo holds pages of both at once: the same block of either is a page of its own. */
static void
commits_of_two_databases_take_turns(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    (void) state;
    begin();
    for (uint32_t i = 0; i < 10; i++) {
        oid_t db = i % 2 == 0 ? CATALOG_DB_OID : POSTGRES_DB_OID;

        insert_delta_of(db, 100 + i, 1, (uint16_t) (6000 + 8 * i), i + 1);
        (void) insert_commit(100 + i);
    }
    assert_ok(crash_and_recover(&info, &e), &e);
    assert_int_equal(info.n_commits, 10);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(value_of(CATALOG_DB_OID, 2, 6000 + 8 * i), i % 2 == 0 ? i + 1 : 0);
        assert_int_equal(value_at(2, 6000 + 8 * i), i % 2 == 1 ? i + 1 : 0);
    }
    cluster_end(&c);
}

static void
insert_image(uint32_t xid, blk_t blk, const uint8_t *page)
{
    struct wal_block block = { .blk = blk,
                               .rel = { TABLESPACE_DEFAULT, POSTGRES_DB_OID, POSTGRES_DB_OID },
                               .image = {
                                   .p = page, .bytes = PAGE_BYTES, .info = WAL_IMAGE_APPLY } };
    struct wal_rec rec = { .rmid = RM_GENERIC, .xid = xid, .n_blocks = 1, .blocks = &block };

    (void) insert(&rec);
}

/* A commit of 20 images, more than redo keeps in memory; 512 bytes into each stands its block. */
static void
insert_large(uint32_t xid)
{
    uint8_t page1[PAGE_BYTES] = { 0 };
    uint8_t page[PAGE_BYTES];
    struct rng r;

    rng_init(&r, 1);
    for (uint32_t at = 0; at < PAGE_BYTES; at += 8)
        put_u64(page + at, rng_u64(&r));
    for (blk_t blk = 1; blk <= 20; blk++) {
        put_u64(page + 512, blk);
        insert_image(xid, blk, page);
    }
    put_be32(page1 + 28, 21);
    insert_image(xid, 0, page1);
    (void) insert_commit(xid);
}

static void
a_transaction_larger_than_what_is_kept_is_read_again(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    (void) state;
    begin();
    insert_large(100);
    assert_ok(crash_and_recover(&info, &e), &e);
    for (pgno_t pgno = 2; pgno <= 21; pgno++)
        assert_int_equal(value_at(pgno, 512), pgno - 1);
    cluster_end(&c);
}

/* Small commits wait until others have been read, large ones do not: they are applied in their
 * order all the same. */
static void
a_large_commit_between_small_ones_keeps_its_place(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    (void) state;
    begin();
    for (uint32_t i = 0; i < 20; i++) {
        insert_delta(100 + i, 3, 512, 1000 + i);
        (void) insert_commit(100 + i);
    }
    insert_large(120);
    for (uint32_t i = 0; i < 3; i++) {
        insert_delta(121 + i, 4, 512, 1000 + i);
        (void) insert_commit(121 + i);
    }
    assert_ok(crash_and_recover(&info, &e), &e);
    assert_int_equal(value_at(4, 512), 3);
    assert_int_equal(value_at(5, 512), 1002);
    cluster_end(&c);
}

static void
more_open_transactions_than_there_can_be_are_refused(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    (void) state;
    begin();
    for (uint32_t i = 0; i <= c.store_cfg.max_procs; i++)
        insert_delta(100 + i, 1, 500, i);
    assert_int_equal(crash_and_recover(&info, &e), -ERR_DATA_CORRUPTED);
    cluster_end(&c);
}

static void
a_transaction_across_a_checkpoint_record_is_refused(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;
    uint8_t main[128];
    struct buf b = buf_init(main, sizeof main);

    (void) state;
    begin();
    insert_delta(100, 1, 500, 1);
    struct wal_checkpoint ck = { .redo = wal_insert_at(&c.procs[0].wal),
                                 .tli = 1,
                                 .prev_tli = 1,
                                 .full_page_writes = true,
                                 .next_xid = 200,
                                 .next_oid = FIRST_USER_OID };
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_CHECKPOINT_ONLINE, .main = main };

    wal_xlog_put_checkpoint(&b, &ck);
    rec.main_bytes = (uint32_t) b.n;
    (void) insert(&rec);
    (void) insert_commit(100);
    assert_int_equal(crash_and_recover(&info, &e), -ERR_DATA_CORRUPTED);
    assert_non_null(strstr(e.message, "straddles"));
    cluster_end(&c);
}

static void
a_file_that_is_missing_at_the_end_is_named(void **state)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    (void) state;
    begin();
    insert_delta(100, 1, 500, 1);
    (void) insert_commit(100);
    assert_int_equal(io_unlink(c.io, "base/5/5"), 0);
    assert_int_equal(io_fsync_dir(c.io, "base/5"), 0);
    assert_int_equal(crash_and_recover(&info, &e), -ERR_DATA_CORRUPTED);
    assert_non_null(strstr(e.message, "base/5/5"));
    cluster_end(&c);
}

static void
what_this_release_cannot_redo_is_refused(void **state)
{
    static const struct wal_rec recs[] = {
        { .rmid = RM_HEAP, .info = 0, .xid = 100, .main = "x", .main_bytes = 1 },
        { .rmid = RM_XACT, .info = XACT_PREPARE, .xid = 100, .main = "x", .main_bytes = 1 },
        { .rmid = RM_XLOG, .info = XLOG_FPI, .main = "x", .main_bytes = 1 },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(recs); i++) {
        struct recover_info info;
        struct err e = ERR_INIT;

        begin();
        (void) insert(&recs[i]);
        assert_int_equal(crash_and_recover(&info, &e), -ERR_FEATURE_NOT_SUPPORTED);
        cluster_end(&c);
    }
}

static void
directories_of_other_kinds_are_refused(void **state)
{
    static const char *const names[] = { "backup_label", "standby.signal", "recovery.signal",
                                         "pg_twophase/00000003" };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        struct recover_info info;
        struct err e = ERR_INIT;

        begin();
        assert_true(io_open(c.io, names[i], O_RDWR | O_CREAT, 0600) >= 0);
        assert_int_equal(io_syncfs(c.io, -1), 0);
        assert_int_equal(crash_and_recover(&info, &e), -ERR_FEATURE_NOT_SUPPORTED);
        cluster_end(&c);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_no_commit_leaves_no_trace),
        cmocka_unit_test(records_after_a_commit_start_a_new_list),
        cmocka_unit_test(the_order_of_commits_decides_not_that_of_records),
        cmocka_unit_test(commits_of_two_databases_take_turns),
        cmocka_unit_test(a_transaction_larger_than_what_is_kept_is_read_again),
        cmocka_unit_test(a_large_commit_between_small_ones_keeps_its_place),
        cmocka_unit_test(more_open_transactions_than_there_can_be_are_refused),
        cmocka_unit_test(a_transaction_across_a_checkpoint_record_is_refused),
        cmocka_unit_test(a_file_that_is_missing_at_the_end_is_named),
        cmocka_unit_test(what_this_release_cannot_redo_is_refused),
        cmocka_unit_test(directories_of_other_kinds_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
