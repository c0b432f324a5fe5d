/* The list of pages that were in the cache (proc/prewarm_file.c). */
#include "proc/prewarm_file.h"

#include <string.h>

#include "support/test.h"
#include "support/tmpdir.h"

static struct tmpdir tmp;
static struct io io; /* below it */

static void
make(struct cache_key *keys, uint32_t n, struct prewarm_list *ret)
{
    assert_int_equal(prewarm_list_make(keys, n, ret, NULL), 0);
}

static void
neighbours_become_runs_by_database_and_page(void **state)
{
    struct cache_key keys[] = { { 5, 5, 3 }, { 16384, 16384, 0 }, { 5, 5, 1 }, { 5, 5, 2 },
                                { 5, 5, 9 }, { 5, 5, 2 },         { 1, 1, 4 } };
    struct prewarm_list l;

    (void) state;
    make(keys, ELEMENTSOF(keys), &l);
    assert_int_equal(l.n, 4);
    assert_int_equal(l.n_pages, 6);
    assert_memory_equal(
        l.runs, ((struct prewarm_run[]){ { 1, 4, 1 }, { 5, 1, 3 }, { 5, 9, 1 }, { 16384, 0, 1 } }),
        4 * sizeof *l.runs);
    prewarm_list_done(&l);
    make(keys, 0, &l);
    assert_int_equal(l.n, 0);
    prewarm_list_done(&l);
}

static void
what_was_saved_is_loaded(void **state)
{
    struct cache_key keys[] = { { 5, 5, 0 }, { 5, 5, 1 }, { 7, 7, 100 } };
    struct prewarm_list l, again;

    (void) state;
    (void) io_unlink(&io, PREWARM_PATH);
    assert_int_equal(prewarm_load(&io, &again, NULL), 0);
    make(keys, ELEMENTSOF(keys), &l);
    assert_int_equal(prewarm_save(&l, &io, NULL), 0);
    assert_int_equal(prewarm_load(&io, &again, NULL), 1);
    assert_int_equal(again.n, l.n);
    assert_int_equal(again.n_pages, 3);
    assert_memory_equal(again.runs, l.runs, l.n * sizeof *l.runs);
    prewarm_list_done(&again);
    l.n = 0;
    assert_int_equal(prewarm_save(&l, &io, NULL), 0);
    assert_int_equal(prewarm_load(&io, &again, NULL), 1);
    assert_int_equal(again.n, 0);
    prewarm_list_done(&again);
    prewarm_list_done(&l);
}

/* Each byte changed, each length cut: refused, and nothing is to be freed. */
static void
what_is_damaged_is_refused(void **state)
{
    struct cache_key keys[] = { { 5, 5, 0 }, { 5, 5, 1 }, { 7, 7, 100 } };
    struct prewarm_list l;
    char text[200];
    ssize_t n;

    (void) state;
    make(keys, ELEMENTSOF(keys), &l);
    assert_int_equal(prewarm_save(&l, &io, NULL), 0);
    prewarm_list_done(&l);
    n = io_read_file(&io, PREWARM_PATH, text, sizeof text);
    assert_true(n > 40);
    for (ssize_t i = 0; i < n; i++) {
        char kept = text[i];

        text[i] ^= 4;
        assert_int_equal(io_write_file_durably(&io, ".", PREWARM_PATH, text, (size_t) n, NULL), 0);
        assert_int_equal(prewarm_load(&io, &l, NULL), -ERR_DATA_CORRUPTED);
        assert_null(l.runs);
        text[i] = kept;
        assert_int_equal(io_write_file_durably(&io, ".", PREWARM_PATH, text, (size_t) i, NULL), 0);
        assert_int_equal(prewarm_load(&io, &l, NULL), -ERR_DATA_CORRUPTED);
        assert_null(l.runs);
    }
}

static int
make_dir(void **state)
{
    (void) state;
    tmpdir_make(&tmp);
    io = tmp.io;
    return 0;
}

static int
remove_dir(void **state)
{
    (void) state;
    tmpdir_remove(&tmp);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_become_runs_by_database_and_page),
        cmocka_unit_test(what_was_saved_is_loaded),
        cmocka_unit_test(what_is_damaged_is_refused),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
