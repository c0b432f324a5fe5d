/* conf/conf_parse, conf_value: the file syntax, arguments, numbers with units. */
#include "support/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "conf/conf_parse.h"

static void
parse(const char *text, struct conf_rows *rows, struct conf_issues *issues)
{
    assert_int_equal(conf_parse_text("/x/pinion.conf", text, strlen(text), rows, issues), 0);
}

/* "name=value" of every row, by ';'. */
static void
join(const struct conf_rows *rows, char *p, size_t cap)
{
    size_t n = 0;

    p[0] = '\0';
    for (size_t i = 0; i < rows->n && n < cap; i++)
        n += (size_t) snprintf(p + n, cap - n, "%s=%s;", rows->rows[i].name, rows->rows[i].value);
}

/* clang-format off */
static const struct {
    const char *text, *rows;
    size_t issues;
} syntax[] = {
    { "", "", 0 },
    { "# nothing\n\n   \t\n", "", 0 },
    { "port = 5454", "port=5454;", 0 },
    { "port 5454\r\nport=1", "port=5454;port=1;", 0 },
    { "  a='x y'  # why\n", "a=x y;", 0 },
    { "a=''", "a=;", 0 },
    { "a='it''s'", "a=it's;", 0 },
    { "a='it\\'s \\t \\101 \\\\'", "a=it's \t A \\;", 0 },
    { "a=128MB#c", "a=128MB;", 0 },
    { "a=-1\nb = 0.5e+1", "a=-1;b=0.5e+1;", 0 },
    { "a='x", "", 1 },
    { "a='x\\", "", 1 },
    { "a='x' y", "", 1 },
    { "a=b=c", "", 1 },
    { "a", "", 1 },
    { "= 3", "", 1 },
    { "9a = 3", "", 1 },
    { "a = *\nb = 1", "b=1;", 1 },
    { "a='\\0'", "", 1 },
    { "include ''", "", 1 },
    { "include 'not-there.conf'\nb=2", "b=2;", 1 },
    { "include_if_exists 'not-there.conf'\nb=2", "b=2;", 0 },
    { "include_dir 'not-there.d'", "", 1 },
};
/* clang-format on */

static void
each_line_of_the_syntax_reads_as_documented(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(syntax); i++) {
        struct conf_rows rows = { 0 };
        struct conf_issues issues = { 0 };
        char got[256];

        parse(syntax[i].text, &rows, &issues);
        join(&rows, got, sizeof got);
        if (strcmp(got, syntax[i].rows) != 0 || issues.n != syntax[i].issues)
            fail_msg("%s: %s, %zu issues", syntax[i].text, got, issues.n);
        conf_rows_done(&rows);
        conf_issues_done(&issues);
    }
}

static void
issues_name_file_and_line(void **state)
{
    struct conf_rows rows = { 0 };
    struct conf_issues issues = { 0 };
    char text[256];

    (void) state;
    parse("a=1\n\nb='\nc=2\nd\n", &rows, &issues);
    assert_int_equal(rows.n, 2);
    assert_int_equal(rows.rows[1].line, 4);
    assert_int_equal(issues.n, 2);
    assert_string_equal(conf_issue_text(&issues.items[0], text, sizeof text),
                        "/x/pinion.conf:3: unterminated quoted value");
    assert_int_equal(issues.items[1].line, 5);
    assert_string_equal(issues.items[1].name, "d");
    conf_rows_done(&rows);
    conf_issues_done(&issues);
}

static void
write_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void
remove_files(const char *dir, const char *const *names, size_t n)
{
    char path[256];

    for (size_t i = 0; i < n; i++) {
        (void) snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void) remove(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void
includes_are_followed_in_order_and_not_for_ever(void **state)
{
    static const char *const names[] = { "main.conf", "loop.conf", "fifo",      "d/b.conf",
                                         "d/a.conf",  "d/.h.conf", "d/x.confx", "d" };
    char dir[] = "/tmp/pinion-conf-XXXXXX", path[256], got[256];
    struct conf_rows rows = { 0 };
    struct conf_issues issues = { 0 };

    (void) state;
    assert_non_null(mkdtemp(dir));
    (void) snprintf(path, sizeof path, "%s/d", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void) snprintf(path, sizeof path, "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    write_file(dir, "d/b.conf", "b=2\n");
    write_file(dir, "d/a.conf", "a=1\n");
    write_file(dir, "d/.h.conf", "hidden=1\n");
    write_file(dir, "d/x.confx", "other=1\n");
    write_file(dir, "main.conf", "include_dir 'd'\ninclude 'fifo'\ninclude = loop.conf\nz=9\n");
    write_file(dir, "loop.conf", "l=1\ninclude 'loop.conf'\n");
    (void) snprintf(path, sizeof path, "%s/main.conf", dir);
    assert_int_equal(conf_parse_file(path, false, &rows, &issues), 0);
    join(&rows, got, sizeof got);
    assert_string_equal(got, "a=1;b=2;l=1;z=9;");
    assert_int_equal(issues.n, 2); /* the FIFO, the loop */
    assert_non_null(strstr(issues.items[1].err.message, "includes itself"));
    assert_int_equal(issues.items[1].line, 2);
    conf_rows_done(&rows);
    conf_issues_done(&issues);

    write_file(dir, "d/b.conf", "include '../loop.conf'\n"); /* by way of another */
    write_file(dir, "loop.conf", "l=1\ninclude_dir 'd'\n");
    assert_int_equal(conf_parse_file(path, false, &rows, &issues), 0);
    join(&rows, got, sizeof got);
    assert_string_equal(got, "a=1;l=1;a=1;l=1;a=1;z=9;");
    assert_int_equal(issues.n, 3);
    conf_rows_done(&rows);
    conf_issues_done(&issues);
    remove_files(dir, names, ELEMENTSOF(names));
}

static void
files_are_not_included_more_than_ten_deep(void **state)
{
    char dir[] = "/tmp/pinion-conf-XXXXXX", name[16][16], path[256], text[64];
    const char *names[16];
    struct conf_rows rows = { 0 };
    struct conf_issues issues = { 0 };

    (void) state;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 16; i++) {
        names[i] = name[i];
        (void) snprintf(name[i], sizeof name[i], "%d.conf", i);
        (void) snprintf(text, sizeof text, "a=%d\ninclude '%d.conf'\n", i, i + 1);
        write_file(dir, name[i], text);
    }
    (void) snprintf(path, sizeof path, "%s/0.conf", dir);
    assert_int_equal(conf_parse_file(path, false, &rows, &issues), 0);
    assert_int_equal(rows.n, CONF_DEPTH_MAX);
    assert_int_equal(issues.n, 1);
    assert_non_null(strstr(issues.items[0].err.message, "more than 10 deep"));
    conf_rows_done(&rows);
    conf_issues_done(&issues);
    remove_files(dir, names, ELEMENTSOF(names));
}

/* clang-format off */
static const struct {
    const char *text;
    enum conf_unit unit;
    bool is_ok;
    int64_t count;
    const char *shown;
} numbers[] = {
    { "0", CONF_UNIT_MS, true, 0, "0" },
    { "16384", CONF_UNIT_BLOCKS, true, 16384, "128MB" },
    { "128MB", CONF_UNIT_BLOCKS, true, 16384, "128MB" },
    { " 128 MB ", CONF_UNIT_BLOCKS, true, 16384, "128MB" },
    { "1.5GB", CONF_UNIT_MB, true, 1536, "1536MB" },
    { "4kB", CONF_UNIT_BLOCKS, true, 0, "0" },
    { "5min", CONF_UNIT_S, true, 300, "5min" },
    { "90s", CONF_UNIT_S, true, 90, "90s" },
    { "1d", CONF_UNIT_S, true, 86400, "1d" },
    { "200ms", CONF_UNIT_MS, true, 200, "200ms" },
    { "1500us", CONF_UNIT_MS, true, 2, "2ms" },
    { "0x10", CONF_UNIT_NONE, true, 16, "16" },
    { "0777", CONF_UNIT_NONE, true, 511, "511" },
    { "-1", CONF_UNIT_BLOCKS, true, -1, "-1" },
    { "1e3", CONF_UNIT_NONE, true, 1000, "1000" },
    { "1mb", CONF_UNIT_MB, false, 0, "" },
    { "1MB", CONF_UNIT_MS, false, 0, "" },
    { "5 min x", CONF_UNIT_S, false, 0, "" },
    { "", CONF_UNIT_S, false, 0, "" },
    { "-", CONF_UNIT_S, false, 0, "" },
    { "nan", CONF_UNIT_NONE, false, 0, "" },
    { "inf", CONF_UNIT_NONE, false, 0, "" },
    { "1e99", CONF_UNIT_NONE, false, 0, "" },
    { "0x", CONF_UNIT_NONE, false, 0, "" },
};
/* clang-format on */

static void
numbers_carry_units_and_print_in_the_largest(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
        struct err e = ERR_INIT;
        char p[64];
        int64_t n = 0;
        int r = conf_parse_int(numbers[i].text, numbers[i].unit, &n, &e);

        if ((r == 0) != numbers[i].is_ok || (r == 0 && n != numbers[i].count))
            fail_msg("\"%s\": %d, %ld", numbers[i].text, r, (long) n);
        if (r == 0)
            assert_string_equal(conf_format_int(n, numbers[i].unit, p, sizeof p), numbers[i].shown);
    }
}

static void
booleans_have_many_names(void **state)
{
    static const char *const yes[] = { "on", "TRUE", "t", "yes", "y", "1" };
    static const char *const no[] = { "off", "False", "of", "n", "0" };
    static const char *const neither[] = { "", "o", "2", "onn", "yess" };
    bool b;

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(yes); i++)
        assert_true(conf_parse_bool(yes[i], &b) && b);
    for (size_t i = 0; i < ELEMENTSOF(no); i++)
        assert_true(conf_parse_bool(no[i], &b) && !b);
    for (size_t i = 0; i < ELEMENTSOF(neither); i++)
        assert_false(conf_parse_bool(neither[i], &b));
}

static void
arguments_and_start_up_options_become_rows(void **state)
{
    struct conf_rows rows = { 0 };
    struct conf_issues issues = { 0 };
    struct err e = ERR_INIT;
    char got[256];

    (void) state;
    assert_int_equal(conf_parse_arg("log-checkpoints=off", &rows, &issues), 0);
    assert_int_equal(conf_parse_arg("nonsense", &rows, &issues), 0);
    assert_int_equal(conf_parse_arg("=1", &rows, &issues), 0);
    assert_int_equal(issues.n, 2);
    assert_ok(conf_parse_options(" -c a=1 --b-c=x\\ y -cd=\\\\ ", &rows, &e), &e);
    join(&rows, got, sizeof got);
    assert_string_equal(got, "log_checkpoints=off;a=1;b_c=x y;d=\\;");
    assert_int_equal(conf_parse_options("-F", &rows, &e), -ERR_SYNTAX_ERROR);
    assert_int_equal(conf_parse_options("-c", &rows, NULL), -ERR_SYNTAX_ERROR);
    assert_int_equal(conf_parse_options("--x", &rows, NULL), -ERR_SYNTAX_ERROR);
    conf_rows_done(&rows);
    conf_issues_done(&issues);
}

static void
random_bytes_never_crash_the_parser(void **state)
{
    static const char alphabet[] = "ab= '\\#\n\r\t09.\xFF\0*include";
    struct rng rng;

    (void) state;
    rng_init(&rng, 7);
    for (int i = 0; i < 3000; i++) {
        struct conf_rows rows = { 0 };
        struct conf_issues issues = { 0 };
        size_t n = rng_below(&rng, 200);
        char *text = malloc(n + 1); /* exact size: ASan sees a byte too far */

        assert_non_null(text);
        for (size_t k = 0; k < n; k++)
            text[k] = alphabet[rng_below(&rng, sizeof alphabet - 1)];
        assert_int_equal(conf_parse_text("/x", text, n, &rows, &issues), 0);
        free(text);
        conf_rows_done(&rows);
        conf_issues_done(&issues);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_of_the_syntax_reads_as_documented),
        cmocka_unit_test(issues_name_file_and_line),
        cmocka_unit_test(includes_are_followed_in_order_and_not_for_ever),
        cmocka_unit_test(files_are_not_included_more_than_ten_deep),
        cmocka_unit_test(numbers_carry_units_and_print_in_the_largest),
        cmocka_unit_test(booleans_have_many_names),
        cmocka_unit_test(arguments_and_start_up_options_become_rows),
        cmocka_unit_test(random_bytes_never_crash_the_parser),
    };

    return cmocka_run_group_tests_name("conf_parse", tests, NULL, NULL);
}
