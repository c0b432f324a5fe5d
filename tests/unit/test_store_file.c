/* Files and directories of databases: build handles, sweep, oids, locks. Over io_sim. */
#include "store/store_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/cluster.h"
#include "store/store_page.h"
#include "store/store_shared.h"
#include "support/test.h"

static struct cluster c;

static struct store *
begin(void)
{
    struct err e = ERR_INIT;

    cluster_begin(&c, 1);
    assert_ok(cluster_start(&c, 1, &e), &e);
    return cluster_store(&c, 0);
}

static void
a_built_file_is_stamped_and_durable(void **state)
{
    uint8_t page[PAGE_BYTES];
    struct store_build b;
    struct err e = ERR_INIT;
    lsn_t lsn = 0;
    int fd;

    (void) state;
    (void) begin();
    assert_ok(store_build_begin(&b, c.io, 20000, 20000, 77, &e), &e);
    memset(page, 1, sizeof page);
    assert_ok(store_build_write(&b, 3, page, &e), &e);
    assert_int_equal(store_build_read(&b, 4, page, &e), STORE_SHORT);
    assert_true(page_is_zero(page));
    assert_int_equal(store_build_read(&b, 1, page, &e), 0); /* a hole: never written */
    assert_true(page_is_zero(page));
    assert_int_equal(store_build_read(&b, 3, page, &e), 0);
    assert_int_equal(page[0], 1);
    assert_int_equal(page[PAGE_TAIL_AT], 0);
    assert_int_equal(b.n_pages, 3);
    assert_ok(store_build_finish(&b, &e), &e);
    store_build_close(&b);
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
    assert_true(cluster_has(&c, "base/20000/PG_VERSION"));
    fd = io_open(c.io, "base/20000/20000", O_RDONLY, 0);
    assert_true(fd >= 0);
    assert_int_equal(io_pread(c.io, fd, page, PAGE_BYTES, 2 * PAGE_BYTES), PAGE_BYTES);
    assert_ok(page_check(page, 2, &lsn, &e), &e);
    assert_int_equal(lsn, 77);
    cluster_end(&c);
}

static void
the_lock_byte_page_is_passed_over(void **state)
{
    static const uint8_t page[PAGE_BYTES] = { 1 };
    struct store_build b;
    struct err e = ERR_INIT;
    uint64_t bytes = 1;

    (void) state;
    (void) begin();
    assert_ok(store_build_begin(&b, c.io, 20000, 20000, 77, &e), &e);
    assert_ok(store_build_write(&b, LOCK_BYTE_PGNO, page, &e), &e);
    assert_int_equal(io_size(c.io, b.fd, &bytes), 0);
    assert_int_equal(bytes, 0);
    store_build_abort(&b);
    cluster_end(&c);
}

static void
an_aborted_build_leaves_nothing(void **state)
{
    static const uint8_t page[PAGE_BYTES] = { 1 };
    struct store_build b;
    struct err e = ERR_INIT;

    (void) state;
    (void) begin();
    assert_ok(store_build_begin(&b, c.io, 20000, 20000, 77, &e), &e);
    assert_ok(store_build_write(&b, 1, page, &e), &e);
    store_build_abort(&b);
    assert_false(cluster_has(&c, "base/20000"));
    /* in a directory that was there only the file goes */
    assert_ok(store_build_begin(&b, c.io, POSTGRES_DB_OID, 20001, 77, &e), &e);
    store_build_abort(&b);
    assert_true(cluster_has(&c, "base/5/5"));
    assert_false(cluster_has(&c, "base/5/20001"));
    /* and a build that finds its file there touches nothing */
    assert_int_equal(store_build_begin(&b, c.io, POSTGRES_DB_OID, POSTGRES_DB_OID, 77, &e),
                     -EEXIST);
    assert_true(cluster_has(&c, "base/5/5"));
    cluster_end(&c);
}

static void
touch(const char *path)
{
    assert_true(io_open(c.io, path, O_RDWR | O_CREAT, 0600) >= 0);
}

static void
the_sweep_removes_what_is_not_listed_and_nothing_else(void **state)
{
    static const struct store_listed list[] = { { 1, 1 }, { 5, 5 }, { 20000, 20003 } };
    struct store *st = begin();
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(store_dir_make(c.io, 20000, NULL, &e), &e);
    assert_ok(store_dir_make(c.io, 20001, NULL, &e), &e);
    touch("base/20000/20000");
    touch("base/20000/20003");
    touch("base/20001/20001");
    touch("base/1/7");
    touch("base/notes.txt");
    assert_ok(store_sweep(st, list, ELEMENTSOF(list), &e), &e);
    assert_true(cluster_has(&c, "base/1/1") && cluster_has(&c, "base/5/5") &&
                cluster_has(&c, "base/1/PG_VERSION"));
    assert_true(cluster_has(&c, "base/20000/20003") && cluster_has(&c, "base/20000/PG_VERSION"));
    assert_false(cluster_has(&c, "base/20000/20000") || cluster_has(&c, "base/20001") ||
                 cluster_has(&c, "base/1/7"));
    assert_true(cluster_has(&c, "base/notes.txt"));
    cluster_end(&c);
}

static void
the_catalogue_survives_an_empty_list(void **state)
{
    struct store *st = begin();
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(store_sweep(st, NULL, 0, &e), &e);
    assert_true(cluster_has(&c, "base/1/1"));
    cluster_end(&c);
}

static void
oids_pass_over_directories_and_are_logged_ahead(void **state)
{
    struct store *st = begin();
    struct err e = ERR_INIT;
    oid_t oid = 0;

    (void) state;
    assert_ok(store_dir_make(c.io, FIRST_USER_OID, NULL, &e), &e);
    assert_ok(store_oid_new(st, &oid, &e), &e);
    assert_int_equal(oid, FIRST_USER_OID + 1);
    assert_int_equal(store_oid_for_checkpoint(st, true), FIRST_USER_OID + 2);
    assert_int_equal(store_oid_for_checkpoint(st, false), FIRST_USER_OID + STORE_OIDS_LOGGED);
    assert_int_equal(wal_durable(st->wal), wal_insert_end(st->wal));
    cluster_end(&c);
}

static void
one_process_has_the_lock_of_a_file(void **state)
{
    static const struct store_listed list[] = { { 1, 1 }, { 5, 5 } };
    struct store *st = begin();
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(cluster_attach(&c, 1, &e), &e);
    assert_ok(store_lock_files(st, list, 2, &e), &e);
    assert_int_equal(store_lock_files(cluster_store(&c, 1), list, 2, &e), -EAGAIN);
    cluster_end(&c);
}

static void
a_database_in_use_is_not_dropped(void **state)
{
    struct store *st = begin();
    struct store *other;
    struct err e = ERR_INIT;
    uint32_t db = 0;
    uint32_t db2 = 0;

    (void) state;
    assert_ok(cluster_attach(&c, 1, &e), &e);
    other = cluster_store(&c, 1);
    assert_ok(store_db_attach(st, 5, 5, &db, &e), &e);
    assert_ok(store_db_attach(other, 5, 5, &db2, &e), &e);
    assert_ok(store_writer_take(st, db, 0, &e), &e);
    assert_int_equal(store_drop_begin(st, db, "gone", &e), -ERR_OBJECT_IN_USE);
    err_clear(&e);
    store_db_detach(other, db2);
    assert_ok(store_drop_begin(st, db, "gone", &e), &e);
    assert_int_equal(store_db_attach(other, 5, 5, &db2, &e), -ERR_INVALID_CATALOG_NAME);
    store_drop_cancel(st, db);
    assert_ok(store_db_attach(other, 5, 5, &db2, &e), &e);
    store_db_detach(other, db2);
    store_writer_drop(st, db);
    store_db_detach(st, db);
    cluster_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_built_file_is_stamped_and_durable),
        cmocka_unit_test(the_lock_byte_page_is_passed_over),
        cmocka_unit_test(an_aborted_build_leaves_nothing),
        cmocka_unit_test(the_sweep_removes_what_is_not_listed_and_nothing_else),
        cmocka_unit_test(the_catalogue_survives_an_empty_list),
        cmocka_unit_test(oids_pass_over_directories_and_are_logged_ahead),
        cmocka_unit_test(one_process_has_the_lock_of_a_file),
        cmocka_unit_test(a_database_in_use_is_not_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
