/* pm/pm_history: what is kept, over restarts, torn lines and a file that grows. */
#include "pm/pm_history.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/test.h"
#include "support/tmpdir.h"

static struct tmpdir tmp;
static struct history h;
static char path[600];

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&tmp);
    (void) snprintf(path, sizeof path, "%s/" HISTORY_FILE, tmp.path);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    history_close(&h, false);
    tmpdir_remove(&tmp);
    return 0;
}

static void
open_it(void)
{
    struct err e = ERR_INIT;

    assert_ok(history_open(&h, path, &e), &e);
}

static void
put(const char *text)
{
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

    assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
}

static void
an_entry_comes_back_as_it_was_written(void **state)
{
    struct history_entry want = { .time_usec = 17,
                                  .pid = 4711,
                                  .message = "a\tb\nc\\d = e",
                                  .by = "uid 0 (x)",
                                  .reason = "why",
                                  .timeline = 3 };
    struct history_entry got;
    char copy[HISTORY_LINE_BYTES];

    (void) state;
    open_it();
    assert_false(history_last(&h, copy, &got));
    history_add(&h, HISTORY_STOP, &want);
    for (int i = 0; i < 2; i++) { /* from memory, then from the file */
        assert_true(history_get(&h, 0, copy, &got));
        assert_int_equal(got.time_usec, 17);
        assert_int_equal(got.pid, 4711);
        assert_int_equal(got.timeline, 3);
        assert_string_equal(got.event, "stop");
        assert_string_equal(got.message, want.message);
        assert_string_equal(got.by, "uid 0 (x)");
        assert_string_equal(got.reason, "why");
        assert_false(history_get(&h, 1, copy, &got));
        history_close(&h, true);
        open_it();
    }
}

static void
a_torn_line_and_rubbish_are_passed_over(void **state)
{
    struct history_entry got;
    char copy[HISTORY_LINE_BYTES];

    (void) state;
    put("rubbish\n\n\t\t\ntimeUSec=5\tevent=start\tmood=good\tmessage=m\ntimeUSec=0\tevent=x\n"
        "timeUSec=6\tevent=st");
    open_it();
    history_add(&h, HISTORY_READY, &(struct history_entry){ .time_usec = 7, .message = "r" });
    history_close(&h, false);
    open_it();
    assert_int_equal(h.n, 3);
    assert_true(history_get(&h, 0, copy, &got));
    assert_string_equal(got.message, "m");
    assert_null(got.by);
    assert_true(history_get(&h, 1, copy, &got));
    assert_string_equal(got.event, "st"); /* the torn one, ended */
    assert_true(history_last(&h, copy, &got));
    assert_string_equal(got.event, "ready");
}

/* Lines before those that are there, until the file is longer than `n`. */
static void
write_much(long n, const char *text)
{
    static char old[HISTORY_FILE_MAX + 1];
    FILE *f = fopen(path, "r+");
    size_t n_old;

    assert_non_null(f);
    n_old = fread(old, 1, sizeof old, f);
    rewind(f);
    while (ftell(f) <= n)
        (void) fprintf(f, "timeUSec=1\tevent=reload\tmessage=%s\n", text);
    (void) fwrite(old, 1, n_old, f);
    assert_int_equal(fclose(f), 0);
}

static void
a_long_file_is_cut_to_the_newest_entries(void **state)
{
    char text[501];
    struct history_entry got;
    char copy[HISTORY_LINE_BYTES];
    struct stat st;

    (void) state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    open_it();
    for (unsigned i = 1; i <= 3 * HISTORY_KEEP; i++) { /* a server that runs for years */
        history_add(&h, HISTORY_RELOAD, &(struct history_entry){ .time_usec = i, .message = text });
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size <= HISTORY_FILE_MAX && h.n_bytes == (uint64_t) st.st_size);
    }
    assert_int_equal(h.n, HISTORY_KEEP);
    assert_int_equal(st.st_mode & 0777, 0600);
    history_close(&h, false);
    write_much(HISTORY_FILE_MAX, text); /* of a version before, which did not */
    open_it();
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < HISTORY_KEEP * 600);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(history_get(&h, 0, copy, &got));
    assert_int_equal(got.time_usec, 2 * HISTORY_KEEP + 1);
    history_add(&h, HISTORY_RELOAD, &(struct history_entry){ .time_usec = 9999, .message = "z" });
    history_close(&h, false);
    open_it(); /* what was added after the cut is in the new file */
    assert_true(history_last(&h, copy, &got));
    assert_int_equal(got.time_usec, 9999);
}

static void
what_does_not_fit_into_a_line_is_cut(void **state)
{
    char text[3000];
    struct history_entry got;
    char copy[HISTORY_LINE_BYTES];

    (void) state;
    memset(text, '\t', sizeof text);
    text[sizeof text - 1] = '\0';
    open_it();
    history_add(
        &h, HISTORY_STOP,
        &(struct history_entry){ .time_usec = 1, .by = "me", .message = text, .reason = text });
    history_close(&h, false);
    open_it();
    assert_true(history_last(&h, copy, &got));
    assert_string_equal(got.by, "me");
    assert_true(strspn(got.message, "\t") == strlen(got.message));
}

static void
without_a_file_it_is_kept_in_memory(void **state)
{
    struct history_entry got;
    char copy[HISTORY_LINE_BYTES];
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(history_open(&h, path, &e) < 0);
    history_add(&h, HISTORY_START, &(struct history_entry){ .time_usec = 1, .message = "m" });
    assert_true(history_last(&h, copy, &got));
    assert_string_equal(got.message, "m");
    assert_int_equal(rmdir(path), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_comes_back_as_it_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_line_and_rubbish_are_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_file_is_cut_to_the_newest_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_into_a_line_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_file_it_is_kept_in_memory, setup, teardown),
    };

    return cmocka_run_group_tests_name("pm_history", tests, NULL, NULL);
}
