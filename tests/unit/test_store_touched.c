/* The list of files to be verified and its file; databases that are refused. Over io_sim. */
#include "store/store_touched.h"

#include <errno.h>
#include <string.h>

#include "sim/cluster.h"
#include "store/store_refuse.h"
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
the_list_is_there_after_a_power_cut_and_gone_when_it_is_empty(void **state)
{
    struct store_touched t = { .n = 0 };
    struct store_touched again = { .n = 0 };
    struct store_touched none = { .is_dirty = true };
    struct err e = ERR_INIT;

    (void) state;
    (void) begin();
    assert_ok(store_touched_read(&t, c.io, &e), &e);
    assert_int_equal(t.n, 0);
    for (oid_t i = 1; i < 100; i++)
        assert_ok(store_touched_add(&t, i % 50 + UINT32_MAX - 60, i % 50, &e), &e);
    assert_int_equal(t.n, 50); /* each once */
    assert_ok(store_touched_write(&t, c.io, &e), &e);
    assert_false(t.is_dirty);
    cluster_forget(&c);
    io_sim_power_cut(c.disk);
    assert_ok(store_touched_add(&again, 7, 8, &e), &e);
    assert_ok(store_touched_read(&again, c.io, &e), &e);
    assert_int_equal(again.n, 51);
    assert_true(again.is_dirty); /* the file lacks one */
    assert_true(store_touched_has(&again, UINT32_MAX - 60, 0));
    assert_false(store_touched_has(&again, UINT32_MAX - 60, 1));
    assert_ok(store_touched_write(&none, c.io, &e), &e);
    assert_int_equal(io_open(c.io, STORE_TOUCHED_PATH, O_RDONLY, 0), -ENOENT);
    store_touched_done(&t);
    store_touched_done(&again);
    cluster_end(&c);
}

static void
a_file_of_another_form_is_an_error(void **state)
{
    static const char *const wrong[] = { "x", "1", "1 2 3\n", "1 2x\n" };
    struct store_touched t = { .n = 0 };
    struct err e = ERR_INIT;

    (void) state;
    (void) begin();
    for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
        assert_ok(
            io_write_file_durably(c.io, "", STORE_TOUCHED_PATH, wrong[i], strlen(wrong[i]), &e),
            &e);
        err_clear(&e);
        assert_int_equal(store_touched_read(&t, c.io, &e), -ERR_DATA_CORRUPTED);
    }
    err_clear(&e);
    assert_ok(io_write_file_durably(c.io, "", STORE_TOUCHED_PATH, "1 2\n\0\0\0\n", 8, &e), &e);
    assert_int_equal(store_touched_read(&t, c.io, &e), -ERR_DATA_CORRUPTED); /* cut by zeros */
    store_touched_done(&t);
    cluster_end(&c);
}

static void
a_damaged_database_is_refused_until_it_is_dropped(void **state)
{
    struct store *st = begin();
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(store_refused_check(st, 20001, "shop", &e), 0);
    for (oid_t i = 0; i < STORE_REFUSED_MAX; i++)
        assert_ok(store_refuse_db(st, 20000 + i, "base/1/1, page 7: a checksum", &e), &e);
    assert_int_equal(store_refuse_db(st, 30000, "", &e), -ERR_DATA_CORRUPTED);
    err_clear(&e);
    assert_int_equal(store_refused_check(st, 20001, "shop", &e), -ERR_DATA_CORRUPTED);
    assert_non_null(strstr(e.message, "\"shop\""));
    assert_non_null(strstr(e.detail, "page 7"));
    store_refused_forget(st, 20000);
    assert_int_equal(store_refused_check(st, 20000, "gone", &e), 0);
    assert_int_equal(store_refused_check(st, 20001, "shop", NULL), -ERR_DATA_CORRUPTED);
    cluster_end(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_is_there_after_a_power_cut_and_gone_when_it_is_empty),
        cmocka_unit_test(a_file_of_another_form_is_an_error),
        cmocka_unit_test(a_damaged_database_is_refused_until_it_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
