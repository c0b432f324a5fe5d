/* The log: its three formats, the chunks of the collector's pipe, and the names of its files. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_pipe.h"
#include "base/rng.h"
#include "proc/logfile.h"
#include "support/test.h"

/* ---- formats ---- */
static char written[65536];
static size_t n_written;

static bool
keep(struct log_out *o, bool is_last)
{
    size_t n = o->n - LOG_OUT_HEAD;

    assert_true(n_written + n < sizeof written);
    memcpy(written + n_written, o->p + LOG_OUT_HEAD, n);
    n_written += n;
    written[n_written] = '\0';
    (void) is_last;
    return true;
}

#define AT UINT64_C(1763751600123456) /* 2025-11-21 19:00:00.123456 UTC */

static const struct log_who session = { .pid = 4711,
                                        .started_usec = UINT64_C(1763751000000000),
                                        .role = "backend",
                                        .is_client = true,
                                        .user = "ann",
                                        .database = "shop",
                                        .host = "10.0.0.7",
                                        .application = "psql",
                                        .port = 5555,
                                        .statement = "select *\nfrom \"t\"" };
static const struct log_who process = { .pid = 12,
                                        .started_usec = UINT64_C(1763751000000000),
                                        .role = "bgwriter",
                                        .user = "",
                                        .database = "",
                                        .host = "",
                                        .application = "" };
static const struct log_entry failure = { .level = LOG_LEVEL_ERROR,
                                          .sqlstate = "42P01",
                                          .message = "no such table: \"t\"",
                                          .detail = "It is not there.",
                                          .hint = "Make\tit.",
                                          .statement = "select *\nfrom \"t\"",
                                          .position = 15,
                                          .now = AT,
                                          .line = 3 };
static const struct log_entry plain = { .level = LOG_LEVEL_LOG,
                                        .sqlstate = "00000",
                                        .message = "hello",
                                        .detail = "",
                                        .hint = "",
                                        .now = AT,
                                        .line = 1 };

static const char *
text_of(enum log_format format, const struct log_entry *en, const struct log_who *who,
        const char *prefix, enum log_verbosity verbosity)
{
    struct log_out o = { .format = format, .send = keep };

    n_written = 0;
    log_text_write(&o, en, who, prefix, verbosity);
    return written;
}

static const char *
prefix_of(const char *prefix, const struct log_who *who)
{
    static char text[400];
    const char *all = text_of(LOG_FORMAT_STDERR, &plain, who, prefix, LOG_DEFAULT);

    (void) snprintf(text, sizeof text, "%.*s", (int) (strstr(all, "LOG:  ") - all), all);
    return text;
}

static void
a_prefix_has_postgresqls_escapes(void **state)
{
    static const struct {
        const char *prefix, *of_session, *of_process;
    } rows[] = {
        { "%m [%p] ", "2025-11-21 19:00:00.123 UTC [4711] ", "2025-11-21 19:00:00.123 UTC [12] " },
        { "%t %n ", "2025-11-21 19:00:00 UTC 1763751600.123 ",
          "2025-11-21 19:00:00 UTC 1763751600.123 " },
        { "%q%u@%d ", "ann@shop ", "" },
        { "%a|%u|%d|%r|%h|", "psql|ann|shop|10.0.0.7(5555)|10.0.0.7|", "|||||" },
        { "%b|%i|%e|%c|%l|%s|",
          "client backend|SELECT|00000|6920b458.1267|1|2025-11-21 18:50:00 UTC|",
          "background writer||00000|6920b458.c|1|2025-11-21 18:50:00 UTC|" },
        { "%8u|%-8u|%2u|%%", "     ann|ann     |ann|%", "        |        |  |%" },
        { "100%", "100", "100" },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        assert_string_equal(prefix_of(rows[i].prefix, &session), rows[i].of_session);
        assert_string_equal(prefix_of(rows[i].prefix, &process), rows[i].of_process);
    }
}

static void
text_has_a_line_for_each_part_and_nobody_can_make_up_an_entry(void **state)
{
    (void) state;
    assert_string_equal(text_of(LOG_FORMAT_STDERR, &failure, &session, "[%p] ", LOG_DEFAULT),
                        "[4711] ERROR:  no such table: \"t\" at character 15\n"
                        "[4711] DETAIL:  It is not there.\n"
                        "[4711] HINT:  Make\tit.\n"
                        "[4711] STATEMENT:  select *\n\tfrom \"t\"\n");
    assert_string_equal(text_of(LOG_FORMAT_STDERR, &failure, &session, "", LOG_TERSE),
                        "ERROR:  no such table: \"t\" at character 15\n"
                        "STATEMENT:  select *\n\tfrom \"t\"\n");
    assert_non_null(strstr(text_of(LOG_FORMAT_STDERR, &failure, &session, "", LOG_VERBOSE),
                           "ERROR:  42P01: no such"));
}

static void
csv_has_the_26_columns_of_postgresql_15(void **state)
{
    (void) state;
    assert_string_equal(
        text_of(LOG_FORMAT_CSV, &failure, &session, "", LOG_DEFAULT),
        "2025-11-21 19:00:00.123 UTC,\"ann\",\"shop\",4711,\"10.0.0.7:5555\",6920b458.1267,3,"
        "\"SELECT\",2025-11-21 18:50:00 UTC,,0,ERROR,42P01,\"no such table: \"\"t\"\"\","
        "\"It is not there.\",\"Make\tit.\",,,,\"select *\nfrom \"\"t\"\"\",15,,\"psql\","
        "\"client backend\",,0\n");
    assert_string_equal(
        text_of(LOG_FORMAT_CSV, &plain, &process, "", LOG_DEFAULT),
        "2025-11-21 19:00:00.123 UTC,,,12,,6920b458.c,1,,2025-11-21 18:50:00 UTC,,0,"
        "LOG,00000,\"hello\",,,,,,,,,,\"background writer\",,0\n");
}

static void
json_has_the_keys_of_postgresql_15_and_escapes_what_it_must(void **state)
{
    struct log_entry odd = plain;

    (void) state;
    assert_string_equal(
        text_of(LOG_FORMAT_JSON, &failure, &session, "", LOG_DEFAULT),
        "{\"timestamp\":\"2025-11-21 19:00:00.123 UTC\",\"user\":\"ann\",\"dbname\":\"shop\","
        "\"pid\":4711,\"remote_host\":\"10.0.0.7\",\"remote_port\":5555,"
        "\"session_id\":\"6920b458.1267\",\"line_num\":3,\"ps\":\"SELECT\","
        "\"session_start\":\"2025-11-21 18:50:00 UTC\",\"txid\":0,\"error_severity\":\"ERROR\","
        "\"state_code\":\"42P01\",\"message\":\"no such table: \\\"t\\\"\","
        "\"detail\":\"It is not there.\",\"hint\":\"Make\\tit.\","
        "\"statement\":\"select *\\nfrom \\\"t\\\"\",\"cursor_position\":15,"
        "\"application_name\":\"psql\",\"backend_type\":\"client backend\",\"query_id\":0}\n");
    odd.message = "a\\b\x01\x1f\"";
    odd.tail = "\r\n\f\b";
    assert_non_null(strstr(text_of(LOG_FORMAT_JSON, &odd, &process, "", LOG_DEFAULT),
                           "\"message\":\"a\\\\b\\u0001\\u001f\\\"\\r\\n\\f\\b\""));
    odd.message = "\xc3\xa9 \xff \xed\xa0\x80";
    odd.tail = "cut \xe2\x82"; /* JSON is UTF-8, whatever a client sends or a buffer cuts */
    assert_non_null(
        strstr(text_of(LOG_FORMAT_JSON, &odd, &process, "", LOG_DEFAULT),
               "\"message\":\"\xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
               "cut \xef\xbf\xbd\xef\xbf\xbd\""));
}

/* ---- chunks ---- */
static struct {
    char text[LOG_FORMATS][1 << 20];
    size_t n[LOG_FORMATS];
    unsigned n_asked;
} got;

static void
on_text(void *arg, enum log_format format, bool is_entry, const char *p, size_t n)
{
    (void) arg;
    (void) is_entry;
    assert_true(got.n[format] + n < sizeof got.text[format]);
    memcpy(got.text[format] + got.n[format], p, n);
    got.n[format] += n;
    got.text[format][got.n[format]] = '\0';
}

static void
on_asked(void *arg)
{
    (void) arg;
    got.n_asked++;
}

static struct log_pipe
new_pipe(void)
{
    memset(&got, 0, sizeof got);
    return (struct log_pipe){ .emit = on_text, .asked = on_asked };
}

/* What a writer would write: chunks of at most PIPE_BUF, into `stream` by lottery. */
struct writer {
    int pid;
    enum log_format format;
    char text[12000];
    size_t n, at;
};

static size_t
next_chunk(struct writer *w, char *p)
{
    size_t n = MIN(w->n - w->at, (size_t) LOG_OUT_BYTES - LOG_OUT_HEAD);

    log_pipe_head(p, w->pid, w->format, w->at == 0, w->at + n == w->n, n);
    memcpy(p + LOG_OUT_HEAD, w->text + w->at, n);
    w->at += n;
    return LOG_OUT_HEAD + n;
}

static void
entries_of_many_writers_come_out_whole_however_they_are_mixed_and_cut(void **state)
{
    static char stream[400000];
    static struct writer writers[24];
    struct log_pipe lp = new_pipe();
    struct rng r;
    size_t n = 0;
    unsigned n_left = ELEMENTSOF(writers);

    (void) state;
    rng_init(&r, 7);
    for (unsigned i = 0; i < ELEMENTSOF(writers); i++) {
        struct writer *w = &writers[i];

        *w = (struct writer){ .pid = 100 + (int) i, .format = (enum log_format)(i % LOG_FORMATS) };
        w->n = 10 + (size_t) rng_below(&r, sizeof w->text - 20);
        memset(w->text, 'a' + (int) i, w->n);
        memcpy(w->text, "<", 1);
        memcpy(w->text + w->n - 2, ">\n", 2);
    }
    while (n_left > 0) {
        struct writer *w = &writers[rng_below(&r, ELEMENTSOF(writers))];

        if (w->at == w->n)
            continue;
        n += next_chunk(w, stream + n);
        n_left -= w->at == w->n;
    }
    log_pipe_head(stream + n, 1, LOG_PIPE_FLUSH, true, true, 0);
    n += LOG_OUT_HEAD;
    for (size_t at = 0; at < n;) { /* read in pieces of any size */
        size_t some = MIN(n - at, 1 + (size_t) rng_below(&r, rng_below(&r, 2) == 0 ? 16 : 9000));

        log_pipe_take(&lp, stream + at, some);
        at += some;
    }
    assert_int_equal(got.n_asked, 1);
    for (unsigned i = 0; i < ELEMENTSOF(writers); i++)
        assert_non_null(memmem(got.text[writers[i].format], got.n[writers[i].format],
                               writers[i].text, writers[i].n));
    log_pipe_done(&lp);
}

static void
take_text(struct log_pipe *lp, const char *text, size_t n)
{
    log_pipe_take(lp, text, n);
}

static void
text_of_strangers_passes_between_the_chunks(void **state)
{
    struct log_pipe lp = new_pipe();
    struct writer w = { .pid = 5, .format = LOG_FORMAT_STDERR, .text = "entry\n", .n = 6 };
    char chunk[LOG_OUT_BYTES];
    size_t n = next_chunk(&w, chunk);

    (void) state;
    take_text(&lp, "a program says\n", 15);
    take_text(&lp, chunk, n);
    take_text(&lp, "zero \0 inside\n", 14);
    take_text(&lp, chunk, n);
    take_text(&lp, "\0\0\377\377\377\377\377\377\377\377 no head\n", 19);
    take_text(&lp, "end", 3);
    log_pipe_done(&lp);
    assert_non_null(strstr(got.text[0], "a program says\nentry\nzero  inside\nentry\n"));
    assert_non_null(strstr(got.text[0], " no head\nend"));
}

static void
a_writer_that_died_in_the_middle_harms_no_other_entry(void **state)
{
    static struct writer cut = { .pid = 5, .format = LOG_FORMAT_STDERR };
    struct log_pipe lp = new_pipe();
    struct writer next = { .pid = 5, .format = LOG_FORMAT_STDERR, .text = "whole\n", .n = 6 };
    char chunk[LOG_OUT_BYTES];

    (void) state;
    cut.n = 9000;
    memset(cut.text, 'c', cut.n);
    take_text(&lp, chunk, next_chunk(&cut, chunk));
    assert_int_equal(got.n[0], 0);
    take_text(&lp, chunk, next_chunk(&next, chunk));
    assert_string_equal(got.text[0] + LOG_OUT_BYTES - LOG_OUT_HEAD, "whole\n");
    cut.at = 0;
    take_text(&lp, chunk, next_chunk(&cut, chunk));
    take_text(&lp, chunk, 300); /* and the stream ends inside a chunk */
    log_pipe_done(&lp);
    assert_int_equal(got.n[0], 2 * (LOG_OUT_BYTES - LOG_OUT_HEAD) + 6 + 300 - LOG_OUT_HEAD);
}

static void
any_bytes_are_taken(void **state)
{
    struct log_pipe lp = new_pipe();
    char bytes[700];
    struct rng r;

    (void) state;
    rng_init(&r, 11);
    for (unsigned i = 0; i < 2000; i++) {
        size_t n = 1 + (size_t) rng_below(&r, sizeof bytes);

        for (size_t k = 0; k < n; k++)
            bytes[k] = rng_below(&r, 3) == 0 ? 0 : (char) rng_below(&r, 6);
        log_pipe_take(&lp, bytes, n);
        memset(got.n, 0, sizeof got.n);
    }
    log_pipe_done(&lp);
}

/* ---- the log into a pipe ---- */

/* A role and a database are named by whoever connects, before a password is asked. */
static void
names_of_a_client_cannot_make_up_an_entry(void **state)
{
    struct log_options o = { .prefix = "%u %d ", .formats = BIT(LOG_FORMAT_STDERR) };
    struct log_pipe lp = new_pipe();
    char bytes[4096];
    int fds[2];

    (void) state;
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    log_init("test", LOG_LEVEL_INFO);
    log_configure(&o);
    log_to_collector(fds[1], 1000);
    log_set_client("10.0.0.7", 5555);
    log_set_session("ann\nLOG:  lie", "d\r\x7f\xc3\xa9");
    log_msg(LOG_LEVEL_LOG, "truth");
    log_pipe_take(&lp, bytes, (size_t) read(fds[0], bytes, sizeof bytes));
    log_pipe_done(&lp);
    log_to_collector(-1, 0);
    log_init("test", LOG_LEVEL_INFO);
    assert_string_equal(got.text[0], "ann?LOG:  lie d??\xc3\xa9 LOG:  truth\n");
    (void) close(fds[0]);
    (void) close(fds[1]);
}

static void
a_pipe_that_nobody_reads_costs_entries_and_no_waiting_and_is_told(void **state)
{
    struct log_pipe lp = new_pipe();
    static char big[70000];
    int fds[2];
    usec_t since;

    (void) state;
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    log_init("test", LOG_LEVEL_INFO);
    log_to_collector(fds[1], 1000);
    log_msg(LOG_LEVEL_LOG, "first");
    memset(big, 'b', sizeof big - 1);
    since = clock_mono_usec();
    for (int i = 0; i < 100; i++)
        log_query("statement: ", big);
    assert_true(clock_mono_usec() - since < 10 * USEC_PER_SEC);
    for (ssize_t n; (n = read(fds[0], big, sizeof big)) > 0;)
        log_pipe_take(&lp, big, (size_t) n);
    log_msg(LOG_LEVEL_LOG, "last");
    for (ssize_t n; (n = read(fds[0], big, sizeof big)) > 0;)
        log_pipe_take(&lp, big, (size_t) n);
    log_pipe_done(&lp);
    log_to_collector(-1, 0);
    assert_non_null(strstr(got.text[0], "LOG:  first\n"));
    assert_non_null(strstr(got.text[0], "WARNING:  100 log entries of this process are lost"));
    assert_non_null(strstr(got.text[0], "LOG:  last\n"));
    (void) close(fds[0]);
    (void) close(fds[1]);
}

/* ---- files ---- */
static void
files_are_named_by_time_and_format(void **state)
{
    char name[64];

    (void) state;
    assert_string_equal(
        logfile_name("p-%Y-%m-%d_%H%M%S.log", AT, LOG_FORMAT_STDERR, name, sizeof name),
        "p-2025-11-21_190000.log");
    assert_string_equal(logfile_name("p-%a.log", AT, LOG_FORMAT_CSV, name, sizeof name),
                        "p-Fri.csv");
    assert_string_equal(logfile_name("p-%a.log", AT, LOG_FORMAT_JSON, name, sizeof name),
                        "p-Fri.json");
    assert_string_equal(logfile_name("p", AT, LOG_FORMAT_JSON, name, sizeof name), "p.json");
    assert_string_equal(logfile_name("%D", AT, LOG_FORMAT_STDERR, name, sizeof name), "11_21_25");
}

static void
a_file_ends_at_a_multiple_of_its_age(void **state)
{
    const usec_t day = 86400 * USEC_PER_SEC;

    (void) state;
    assert_int_equal(logfile_next_age(AT, 0), 0);
    assert_int_equal(logfile_next_age(AT, day) % day, 0);
    assert_true(logfile_next_age(AT, day) > AT && logfile_next_age(AT, day) <= AT + day);
    assert_int_equal(logfile_next_age(2 * day, day), 3 * day);
}

static void
rotation_by_age_takes_the_name_of_its_time_and_may_overwrite(void **state)
{
    char dir[] = "/tmp/pinion-log-XXXXXX";
    struct conf_values v = { .log_directory = dir,
                             .log_filename = (char[]){ "%H.log" },
                             .log_destination = (char[]){ "stderr" },
                             .log_file_mode = 0600,
                             .log_rotation_age = 3600 * (int64_t) USEC_PER_SEC,
                             .log_truncate_on_rotation = true };
    struct logfile_set s;
    char old[300];
    FILE *f;
    int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void) state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    (void) snprintf(old, sizeof old, "%s/20.log", dir);
    f = fopen(old, "we");
    assert_non_null(f);
    assert_true(fputs("of yesterday\n", f) >= 0);
    (void) fclose(f);
    logfile_begin(&s, &v);
    logfile_rotate(&s, LOGFILE_START, AT);
    logfile_write(&s, LOG_FORMAT_STDERR, true, "cut", 3);
    logfile_write(&s, LOG_FORMAT_STDERR, true, "line\n", 5);
    assert_int_equal(s.files[0].n_bytes, 9);
    logfile_turn(&s, AT + USEC_PER_SEC);
    assert_non_null(strstr(s.files[0].path, "/19.log"));
    logfile_turn(&s, AT + 3600 * USEC_PER_SEC);
    assert_string_equal(s.files[0].path, old);
    assert_int_equal(s.files[0].n_bytes, 0); /* overwritten */
    logfile_end(&s);
    assert_int_equal(unlink(old), 0);
    (void) snprintf(old, sizeof old, "%s/19.log", dir);
    assert_int_equal(unlink(old), 0);
    assert_int_equal(unlink("current_logfiles"), 0);
    assert_int_equal(fchdir(cwd), 0);
    assert_int_equal(rmdir(dir), 0);
    (void) close(cwd);
}

static void
a_clock_that_is_set_back_does_not_put_off_the_next_file(void **state)
{
    const usec_t day = 24 * 3600 * USEC_PER_SEC;
    const struct conf_values v = { .log_rotation_age = (int64_t) day,
                                   .log_filename = (char[]){ "p.log" } };
    struct logfile_set s;

    (void) state;
    logfile_begin(&s, &v);
    s.next_age = logfile_next_age(AT + 1000 * day, day);
    s.retry = AT + 1000 * day;
    logfile_turn(&s, AT);
    assert_int_equal(s.next_age, logfile_next_age(AT, day));
    assert_true(logfile_due(&s) <= AT + 60 * USEC_PER_SEC); /* the file that could not be opened */
    s.next_age = s.retry = 0;
    logfile_turn(&s, AT);
    assert_int_equal(logfile_due(&s), 0);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_has_postgresqls_escapes),
        cmocka_unit_test(text_has_a_line_for_each_part_and_nobody_can_make_up_an_entry),
        cmocka_unit_test(csv_has_the_26_columns_of_postgresql_15),
        cmocka_unit_test(json_has_the_keys_of_postgresql_15_and_escapes_what_it_must),
        cmocka_unit_test(entries_of_many_writers_come_out_whole_however_they_are_mixed_and_cut),
        cmocka_unit_test(text_of_strangers_passes_between_the_chunks),
        cmocka_unit_test(a_writer_that_died_in_the_middle_harms_no_other_entry),
        cmocka_unit_test(any_bytes_are_taken),
        cmocka_unit_test(names_of_a_client_cannot_make_up_an_entry),
        cmocka_unit_test(a_pipe_that_nobody_reads_costs_entries_and_no_waiting_and_is_told),
        cmocka_unit_test(files_are_named_by_time_and_format),
        cmocka_unit_test(a_file_ends_at_a_multiple_of_its_age),
        cmocka_unit_test(rotation_by_age_takes_the_name_of_its_time_and_may_overwrite),
        cmocka_unit_test(a_clock_that_is_set_back_does_not_put_off_the_next_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
