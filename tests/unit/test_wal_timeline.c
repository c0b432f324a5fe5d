/* wal/wal_timeline: history files and ancestry. */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "support/golden.h"
#include "support/tmpdir.h"
#include "wal/wal_timeline.h"

static struct tmpdir tmp;

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&tmp);
    return io_mkdir(&tmp.io, "pg_wal", 0700);
}

static int
teardown(void **state)
{
    (void) state;
    tmpdir_remove(&tmp);
    return 0;
}

static void
a_stock_history_with_blank_lines_is_read(void **state)
{
    size_t n = 0;
    char *text = (char *) golden_read("wal/00000003.history", &n);
    CLEANUP(wal_history_done) struct wal_history h = { 0 };
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(wal_history_parse(text, n, 3, &h, &e), &e);
    assert_int_equal(h.n, 3);
    assert_int_equal(h.entries[0].tli, 1);
    assert_int_equal(h.entries[0].begin, 0);
    assert_int_equal(h.entries[0].end, 0x1300000);
    assert_int_equal(h.entries[1].tli, 2);
    assert_int_equal(h.entries[1].begin, 0x1300000);
    assert_int_equal(h.entries[1].end, 0x14000A0);
    assert_int_equal(wal_history_tli(&h), 3);
    assert_int_equal(wal_history_tli_at(&h, 0x12FFFFF), 1);
    assert_int_equal(wal_history_tli_at(&h, 0x1300000), 2);
    assert_int_equal(wal_history_tli_at(&h, 0x140009F), 2);
    assert_int_equal(wal_history_tli_at(&h, 0x14000A0), 3);
    assert_true(wal_history_holds(&h, 1, 0x1300000)); /* as an end */
    assert_false(wal_history_holds(&h, 1, 0x1300008));
    assert_true(wal_history_holds(&h, 3, UINT64_MAX));
    assert_false(wal_history_holds(&h, 4, 0));
    assert_null(wal_history_find(&h, 4));
    free(text);
}

static void
texts_of_another_form_are_refused(void **state)
{
    static const struct {
        const char *text;
        uint32_t want_n; /* 0 = refused */
    } rows[] = {
        { "", 1 },
        { "# comment\n  \n\t# another\n", 1 },
        { "1\t0/1300000\tno recovery target specified\n", 2 },
        { "1 A/b0\n", 2 },
        { "1\t0/1300000", 2 },
        { "1\t0/1300000\tbefore 2026-11-21 00:00:00+00\n\n2\t0/1400000\tx\n", 3 },
        { "one\t0/1300000\tx\n", 0 },
        { "1\n", 0 },
        { "1\t0\n", 0 },
        { "1\t0/\n", 0 },
        { "1\t0/123456789\n", 0 },
        { "99999999999\t0/1\n", 0 },
        { "0\t0/1300000\tx\n", 0 },
        { "3\t0/1300000\tx\n", 0 },                  /* not below its own */
        { "2\t0/1300000\tx\n1\t0/1400000\tx\n", 0 }, /* not ascending */
        { "1\t0/1300000\tx\n1\t0/1400000\tx\n", 0 },
        { "1\t0/1300000\tx\n2\t0/1200000\tx\n", 0 },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        CLEANUP(wal_history_done) struct wal_history h = { 0 };
        size_t n = strlen(rows[i].text);
        char *exact = malloc(n + 1); /* for AddressSanitizer: no byte behind the text */
        int r;

        assert_non_null(exact);
        memcpy(exact, rows[i].text, n);
        exact = realloc(exact, n > 0 ? n : 1);
        r = wal_history_parse(exact, n, 3, &h, NULL);
        if (rows[i].want_n == 0 ? r != -ERR_DATA_CORRUPTED : r != 0 || h.n != rows[i].want_n)
            fail_msg("row %zu: %d with %u", i, r, h.n);
        free(exact);
    }
}

static void
files_written_are_what_stock_writes(void **state)
{
    size_t n2 = 0;
    size_t n3 = 0;
    char *want2 = (char *) golden_read("wal/00000002.history", &n2);
    char *want3 = (char *) golden_read("wal/00000003.history", &n3);
    CLEANUP(wal_history_done) struct wal_history h = { 0 };
    struct err e = ERR_INIT;
    char got[256];
    tli_t newest = 0;

    (void) state;
    assert_ok(wal_history_newest(&tmp.io, 1, &newest, &e), &e);
    assert_int_equal(newest, 1);
    assert_ok(wal_history_write(&tmp.io, 2, 1, 0x1300000, "no recovery target specified", &e), &e);
    assert_ok(wal_history_write(&tmp.io, 3, 2, 0x14000A0, "no recovery target specified", &e), &e);
    assert_int_equal(io_read_file(&tmp.io, "pg_wal/00000002.history", got, sizeof got), n2);
    assert_memory_equal(got, want2, n2);
    assert_int_equal(io_read_file(&tmp.io, "pg_wal/00000003.history", got, sizeof got), n3);
    assert_memory_equal(got, want3, n3);
    assert_ok(wal_history_newest(&tmp.io, 1, &newest, &e), &e);
    assert_int_equal(newest, 3);
    assert_ok(wal_history_read(&tmp.io, 3, &h, &e), &e);
    assert_int_equal(h.n, 3);
    free(want2);
    free(want3);
}

static void
only_timeline_1_needs_no_file(void **state)
{
    CLEANUP(wal_history_done) struct wal_history h = { 0 };
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(wal_history_read(&tmp.io, 1, &h, &e), &e);
    assert_int_equal(h.n, 1);
    assert_int_equal(wal_history_read(&tmp.io, 9, &h, &e), -ENOENT);
    assert_non_null(strstr(e.message, "00000009.history"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stock_history_with_blank_lines_is_read),
        cmocka_unit_test(texts_of_another_form_are_refused),
        cmocka_unit_test(files_written_are_what_stock_writes),
        cmocka_unit_test(only_timeline_1_needs_no_file),
    };

    return cmocka_run_group_tests_name("wal_timeline", tests, setup, teardown);
}
