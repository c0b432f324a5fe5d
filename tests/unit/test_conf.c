/* conf/conf, conf_load, conf_session: the table, loading whole or not at all, reload, SET and its
 * undoing. */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf_auto.h"
#include "conf/conf_net.h"
#include "conf/conf_session.h"
#include "conf/conf_share.h"

static const char *
show(const struct conf *conf, enum conf_id id)
{
    static char p[512];

    return conf_show(conf, id, p, sizeof p);
}

static void
every_row_has_a_valid_default_and_prints_it_again(void **state)
{
    struct conf conf, again;
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(conf_init(&conf, &e), &e);
    assert_ok(conf_init(&again, &e), &e);
    for (int id = 0; id < CONF_SETTINGS; id++) {
        const struct conf_desc *d = conf_desc((enum conf_id) id);

        assert_int_equal(conf_find(d->name), id); /* names are unique */
        assert_true(d->text[0] != '\0' && d->group[0] != '\0');
        assert_ok(
            conf_put(&again, (enum conf_id) id, show(&conf, (enum conf_id) id), CONF_FROM_FILE, &e),
            &e);
        assert_true(conf_equal(&conf, &again, (enum conf_id) id));
    }
    assert_true(conf.v.shared_buffers == 128 << 20);
    assert_true(conf.v.checkpoint_timeout == 300 * INT64_C(1000000));
    assert_true(conf.v.idle_in_write_transaction_timeout == 60 * INT64_C(1000000));
    assert_int_equal(conf.v.synchronous_commit, CONF_COMMIT_ON);
    assert_int_equal(conf.v.default_transaction_isolation, CONF_READ_COMMITTED);
    assert_int_equal(conf.v.log_min_messages, 3);
    assert_string_equal(show(&conf, CONF_unix_socket_permissions), "0777");
    assert_string_equal(show(&conf, CONF_shared_buffers), "128MB");
    assert_string_equal(show(&conf, CONF_authentication_timeout), "1min");
    assert_string_equal(show(&conf, CONF_checkpoint_completion_target), "0.9");
    conf_done(&conf);
    conf_done(&again);
}

/* clang-format off */
static const struct {
    enum conf_id id;
    const char *text, *shown, *message; /* shown NULL: refused with message */
} values[] = {
    { CONF_shared_buffers, "1MB", "1MB", NULL },
    { CONF_shared_buffers, "127", NULL, "127 is outside the valid range for parameter \"shared_buffers\" (128 8kB .. 1073741823 8kB)" },
    { CONF_max_connections, "0", NULL, "0 is outside the valid range for parameter \"max_connections\" (1 .. 10000)" },
    { CONF_max_connections, "ten", NULL, "invalid value for parameter \"max_connections\": \"ten\"" },
    { CONF_log_checkpoints, "maybe", NULL, "parameter \"log_checkpoints\" requires a Boolean value" },
    { CONF_checkpoint_completion_target, "1.5", NULL, "1.5 is outside the valid range for parameter \"checkpoint_completion_target\" (0 .. 1)" },
    { CONF_synchronous_commit, "LOCAL", "local", NULL },
    { CONF_synchronous_commit, "true", "on", NULL },
    { CONF_synchronous_commit, "remote_apply", NULL, "invalid value for parameter \"synchronous_commit\": \"remote_apply\"" },
    { CONF_default_transaction_isolation, "Repeatable Read", "repeatable read", NULL },
    { CONF_standard_conforming_strings, "off", NULL, "invalid value for parameter \"standard_conforming_strings\": \"off\"" },
    { CONF_client_encoding, "utf-8", "UTF8", NULL },
    { CONF_client_encoding, "SQL_ASCII", "UTF8", NULL },
    { CONF_client_encoding, "LATIN1", NULL, "invalid value for parameter \"client_encoding\": \"LATIN1\"" },
    { CONF_datestyle, "iso", "ISO, MDY", NULL },
    { CONF_datestyle, "ISO, DMY", "ISO, DMY", NULL },
    { CONF_datestyle, "German", NULL, "invalid value for parameter \"DateStyle\": \"German\"" },
    { CONF_timezone, "Europe/Berlin", "Europe/Berlin", NULL },
    { CONF_timezone, "", NULL, "invalid value for parameter \"TimeZone\": \"\"" },
    { CONF_application_name, "a\nb\xC3", "a?b?", NULL },
    { CONF_idle_session_timeout, "1h", "1h", NULL },
    { CONF_unix_socket_permissions, "0700", "0700", NULL },
    { CONF_metrics_listen, "localhost:9454", "localhost:9454", NULL },
    { CONF_metrics_listen, "*:1", "*:1", NULL },
    { CONF_metrics_listen, "[::1]:65535", "[::1]:65535", NULL },
    { CONF_metrics_listen, "/run/x", "/run/x", NULL },
    { CONF_metrics_listen, "", "", NULL },
    { CONF_metrics_listen, "localhost", NULL, "invalid value for parameter \"metrics_listen\": \"localhost\"" },
    { CONF_metrics_listen, "localhost:65536", NULL, "invalid value for parameter \"metrics_listen\": \"localhost:65536\"" },
    { CONF_metrics_listen, "a:+5", NULL, "invalid value for parameter \"metrics_listen\": \"a:+5\"" },
    { CONF_metrics_listen, "::1:9", NULL, "invalid value for parameter \"metrics_listen\": \"::1:9\"" },
    { CONF_metrics_listen, "[]:9", NULL, "invalid value for parameter \"metrics_listen\": \"[]:9\"" },
    { CONF_metrics_listen, "a b:9", NULL, "invalid value for parameter \"metrics_listen\": \"a b:9\"" },
    { CONF_unix_socket_directories, " /a b , \"/c,\"\"d\" ,, /e", " /a b , \"/c,\"\"d\" ,, /e", NULL },
    { CONF_unix_socket_directories, "/a, \"/b", NULL, "invalid value for parameter \"unix_socket_directories\": \"/a, \"/b\"" },
    { CONF_unix_socket_directories, "\"/a\" /b", NULL, "invalid value for parameter \"unix_socket_directories\": \"\"/a\" /b\"" },
    { CONF_listen_addresses, "\"\"", NULL, "invalid value for parameter \"listen_addresses\": \"\"\"\"" },
    { CONF_control_socket, "/run/x/control", "/run/x/control", NULL },
    { CONF_control_socket, "/run/x/", NULL, "invalid value for parameter \"control_socket\": \"/run/x/\"" },
    { CONF_control_socket, "/1234567890123456789012345678901234567890123456789012345678901", NULL,
      "invalid value for parameter \"control_socket\": \"/1234567890123456789012345678901234567890123456789012345678901\"" },
};
/* clang-format on */

static void
each_value_is_taken_or_refused_with_its_words(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(values); i++) {
        struct err e = ERR_INIT;
        struct conf conf;
        int r;

        assert_int_equal(conf_init(&conf, NULL), 0);
        r = conf_put(&conf, values[i].id, values[i].text, CONF_FROM_FILE, &e);
        if (values[i].shown != NULL) {
            assert_ok(r, &e);
            assert_string_equal(show(&conf, values[i].id), values[i].shown);
        } else {
            assert_int_equal(r, -ERR_INVALID_PARAMETER_VALUE);
            assert_string_equal(e.message, values[i].message);
        }
        conf_done(&conf);
    }
}

struct dir {
    char path[64];
};

static void
write_conf(const struct dir *d, const char *name, const char *text)
{
    char path[128];
    FILE *f;

    (void) snprintf(path, sizeof path, "%s/%s", d->path, name);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int
setup(void **state)
{
    struct dir *d = calloc(1, sizeof *d);

    if (d == NULL)
        return -1;
    (void) snprintf(d->path, sizeof d->path, "/tmp/pinion-conf-XXXXXX");
    *state = d;
    return mkdtemp(d->path) != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
    struct dir *d = *state;
    char path[128];

    (void) snprintf(path, sizeof path, "%s/pinion.conf", d->path);
    (void) unlink(path);
    (void) snprintf(path, sizeof path, "%s/postgresql.auto.conf", d->path);
    (void) unlink(path);
    (void) rmdir(d->path);
    free(d);
    return 0;
}

static int
load(const struct dir *d, const char *run, const char *arg, struct conf *conf,
     struct conf_issues *issues, struct err *e)
{
    struct conf_where w = { .data_dir = d->path, .conf_dir = d->path, .runtime_dir = run };

    return conf_load(&w, &arg, arg != NULL ? 1 : 0, conf, issues, e);
}

static void
names_of_a_list_end_at_a_comma_alone(void **state)
{
    const char *p = "\t/a b , \"/c,\"\"d \" ,, e";
    const char *const want[] = { "/a b", "/c,\"d ", "e" };
    char name[16], list[16];

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(want); i++) {
        const char *again = list;

        assert_int_equal(conf_net_next_name(&p, name, sizeof name), 1);
        assert_string_equal(name, want[i]);
        assert_int_equal(conf_net_quote_name(want[i], list, sizeof list), 0);
        assert_int_equal(conf_net_next_name(&again, name, sizeof name), 1);
        assert_string_equal(name, want[i]);
    }
    assert_int_equal(conf_net_next_name(&p, name, sizeof name), 0);
    p = "0123456789012345";
    assert_int_equal(conf_net_next_name(&p, name, sizeof name), -EINVAL);
    assert_int_equal(conf_net_quote_name("1234567890,", list, 13), -ENAMETOOLONG);
}

static void
files_then_auto_conf_then_arguments_win(void **state)
{
    const struct dir *d = *state;
    struct conf_issues issues = { 0 };
    struct err e = ERR_INIT;
    struct conf conf;
    char want[128];

    write_conf(d, "pinion.conf", "port = 1\nlock_timeout = 5s\nmax_connections = 20\n");
    write_conf(d, "postgresql.auto.conf", "port = 2\nmax_connections = 30\n");
    assert_ok(load(d, NULL, "port=3", &conf, &issues, &e), &e);
    assert_true(conf.v.port == 3);
    assert_true(conf.v.max_connections == 30);
    assert_true(conf.v.lock_timeout == 5000000);
    assert_int_equal(conf.source[CONF_port], CONF_FROM_ARGS);
    assert_int_equal(conf.source[CONF_lock_timeout], CONF_FROM_FILE);
    assert_true(conf.v.wal_buffers == 4 << 20);
    assert_string_equal(conf.v.data_directory, d->path);
    assert_string_equal(conf.v.unix_socket_directories, d->path);
    (void) snprintf(want, sizeof want, "%s/control", d->path);
    assert_string_equal(conf.v.control_socket, want);
    (void) snprintf(want, sizeof want, "%s/pg_hba.conf", d->path);
    assert_string_equal(conf.v.hba_file, want);
    conf_done(&conf);
    assert_ok(load(d, "/run/pinion/main", "shared_buffers=1MB", &conf, &issues, &e), &e);
    assert_string_equal(conf.v.unix_socket_directories, "/run/pinion/main");
    assert_string_equal(conf.v.control_socket, "/run/pinion/main/control");
    assert_true(conf.v.wal_buffers == 65536);
    conf_done(&conf);
}

static void
credentials_are_settings_or_refused_by_name(void **state)
{
    static const struct {
        const char *name, *text;
        const char *refused; /* NULL: taken */
    } rows[] = {
        { "pinion.conf", "port = 2\nlock_timeout = 7s\n", NULL },
        { "pinion.command.s3", "anything", NULL },
        { "some.other", "anything", NULL },
        { "pinion.tls.key", "x", "TLS is not supported" },
        { "pinion.superuser.password", "x", "passwords are not supported" },
        { "pinion.command.", "x", NULL },
        { "pinion.unknown", "x", "nothing of that name is known" },
        { "pinion.conf", "port = nonsense\n", "port" },
    };
    const struct dir *d = *state;
    char secrets[] = "/tmp/pinion-credentials-XXXXXX";
    struct conf_where w = { .data_dir = d->path, .conf_dir = d->path };

    assert_non_null(mkdtemp(secrets));
    w.credentials_dir = secrets;
    write_conf(d, "pinion.conf", "port = 1\nlock_timeout = 5s\n");
    write_conf(d, "postgresql.auto.conf", "port = 3\n");
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };
        CLEANUP(conf_done) struct conf conf = { 0 };
        struct err e = ERR_INIT;
        struct dir at = { 0 };
        char path[200];

        (void) snprintf(at.path, sizeof at.path, "%s", secrets);
        write_conf(&at, rows[i].name, rows[i].text);
        (void) snprintf(path, sizeof path, "%s/%s", secrets, rows[i].name);
        int r = conf_load(&w, NULL, 0, &conf, &issues, &e);
        assert_int_equal(r, rows[i].refused != NULL ? -ERR_CONFIG_FILE_ERROR : 0);
        if (rows[i].refused != NULL) {
            assert_non_null(strstr(e.message, rows[i].refused));
            assert_string_equal(issues.items[0].file, path);
        } else {
            assert_true(conf.v.port == 3); /* ALTER SYSTEM has the last word */
            assert_true(conf.v.lock_timeout == (i == 0 ? 7000000 : 5000000));
        }
        (void) unlink(path);
    }
    (void) rmdir(secrets);
    w.credentials_dir = "/nowhere/at/all";
    CLEANUP(conf_done) struct conf conf = { 0 };
    struct conf_issues none = { 0 };
    assert_int_equal(conf_load(&w, NULL, 0, &conf, &none, NULL), 0);
}

static void
a_bad_load_lists_all_faults_and_changes_nothing(void **state)
{
    const struct dir *d = *state;
    struct conf_issues issues = { 0 };
    struct conf conf = { 0 };
    struct err e = ERR_INIT;
    char text[256], want[256];

    write_conf(d, "pinion.conf",
               "port = 1\nfsync = off\nport = x\nserver_version = '1'\nb='\n"
               "transaction_isolation = serializable\nmax_connections = 3\n");
    assert_int_equal(load(d, NULL, "nope=1", &conf, &issues, &e), -ERR_CONFIG_FILE_ERROR);
    assert_null(conf.v.config_file);
    assert_int_equal(issues.n, 7);
    (void) snprintf(want, sizeof want, "%s/pinion.conf:5: unterminated quoted value", d->path);
    assert_string_equal(conf_issue_text(&issues.items[0], text, sizeof text), want);
    assert_string_equal(e.message, want);
    assert_string_equal(e.detail, "There are 6 more errors in the configuration.");
    assert_string_equal(issues.items[1].name, "fsync");
    assert_int_equal(issues.items[1].line, 2);
    assert_string_equal(issues.items[1].err.message,
                        "unrecognized configuration parameter \"fsync\"");
    assert_non_null(strstr(issues.items[1].err.hint, "synchronous_commit = off"));
    assert_string_equal(conf_issue_text(&issues.items[5], text, sizeof text),
                        "command line: unrecognized configuration parameter \"nope\"");
    assert_string_equal(issues.items[6].name, "superuser_reserved_connections");
    assert_int_equal(issues.items[6].line, 7); /* max_connections: the other has its default */
    conf_issues_done(&issues);
}

static void
a_missing_main_file_is_a_fault(void **state)
{
    const struct dir *d = *state;
    struct conf_issues issues = { 0 };
    struct conf conf = { 0 };

    assert_int_equal(load(d, NULL, NULL, &conf, &issues, NULL), -ERR_CONFIG_FILE_ERROR);
    assert_int_equal(issues.n, 1);
    conf_issues_done(&issues);
}

static void
a_reload_takes_what_may_change_and_names_what_needs_a_restart(void **state)
{
    const struct dir *d = *state;
    struct conf_issues issues = { 0 };
    struct conf cur, next;
    struct conf_diff diff;
    struct err e = ERR_INIT;

    write_conf(d, "pinion.conf", "lock_timeout = 5s\nlog_connections = on\n");
    assert_ok(load(d, NULL, NULL, &cur, &issues, &e), &e);
    write_conf(d, "pinion.conf", "lock_timeout = 6s\nshared_buffers = 1GB\n");
    assert_ok(load(d, NULL, NULL, &next, &issues, &e), &e);
    conf_diff(&cur, &next, &diff);
    assert_int_equal(diff.n_changed, 2);
    assert_true(diff.changed[CONF_lock_timeout]);
    assert_true(diff.changed[CONF_log_connections]); /* back to its default */
    assert_int_equal(diff.n_restart, 1);             /* wal_buffers, made of it, is not named */
    assert_true(diff.restart[CONF_shared_buffers]);
    conf_apply(&cur, &next, &diff);
    assert_true(cur.v.lock_timeout == 6000000);
    assert_false(cur.v.log_connections);
    assert_true(cur.v.shared_buffers == 128 << 20);
    assert_int_equal(cur.origins[CONF_lock_timeout].line, 1);
    assert_null(cur.origins[CONF_log_connections].file);
    assert_int_equal(cur.source[CONF_log_connections], CONF_FROM_DEFAULT);
    assert_true(cur.origins[CONF_shared_buffers].is_pending);
    assert_null(cur.origins[CONF_shared_buffers].file);

    write_conf(d, "pinion.conf", "\n\nlock_timeout = 6000\n");
    assert_ok(load(d, NULL, NULL, &next, &issues, &e), &e);
    conf_diff(&cur, &next, &diff);
    assert_int_equal(diff.n_changed + diff.n_restart, 0);
    conf_apply(&cur, &next, &diff);
    assert_int_equal(cur.origins[CONF_lock_timeout].line, 3); /* the same value, elsewhere */
    assert_false(cur.origins[CONF_shared_buffers].is_pending);
    conf_done(&cur);
}

#define HEAD                              \
    "# Do not edit this file manually!\n" \
    "# It will be overwritten by the ALTER SYSTEM command.\n"

static void
alter_system_keeps_other_rows_and_puts_the_new_one_last(void **state)
{
    static const struct {
        const char *old, *name, *value, *text;
        int r;
    } rows[] = {
        { "", "port", "5", HEAD "port = '5'\n", 0 },
        { "# x\nPort=1\nwork_mem='4MB'\nport = 2\n", "port", "3",
          HEAD "work_mem = '4MB'\nport = '3'\n", 1 },
        { "a = 'it''s \\\\'\n", "b", "\\'", HEAD "a = 'it''s \\\\'\nb = '\\\\'''\n", 0 },
        { "a = 'x\\ny'\n", "b", "1", HEAD "a = 'x\\ny'\nb = '1'\n", 0 },
        { "a = 1\nb = 2\n", "a", NULL, HEAD "b = '2'\n", 1 },
        { "a = 1\n", "b", NULL, HEAD "a = '1'\n", 0 },
        { "a = 1\n!nonsense\n", NULL, NULL, HEAD, 0 },
        { "a = 1\n!nonsense\n", "a", "2", NULL, -ERR_CONFIG_FILE_ERROR },
        { "include 'x'\n", "a", "2", NULL, -ERR_CONFIG_FILE_ERROR },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct err e = ERR_INIT;
        char *text = NULL;
        int r = conf_auto_edit(rows[i].old, strlen(rows[i].old), rows[i].name, rows[i].value, &text,
                               &e);

        if (r != rows[i].r || (r >= 0 && strcmp(text, rows[i].text) != 0))
            fail_msg("%zu: %d %s", i, r, text);
        if (r < 0)
            assert_non_null(strstr(e.detail, "postgresql.auto.conf:"));
        free(text);
    }
}

static void
settings_that_would_be_wrong_together_are_found_before_they_are_written(void **state)
{
    const struct dir *d = *state;
    struct conf_where w = { .data_dir = d->path, .conf_dir = d->path };
    struct conf_issues both = { 0 };
    struct err e = ERR_INIT;
    struct conf conf = { 0 };

    write_conf(d, "pinion.conf", "max_connections = 20\n");
    w.auto_text = "superuser_reserved_connections = '20'\n";
    assert_int_equal(conf_auto_check(&w, &e), -ERR_INVALID_PARAMETER_VALUE);
    w.auto_text = "superuser_reserved_connections = '20'\nunix_socket_directories = "
                  "'/tmp,"
                  "/123456789012345678901234567890123456789012345678901234567890123456789012345678"
                  "901234567890abc'\n";
    assert_int_equal(conf_load(&w, NULL, 0, &conf, &both, &e), -ERR_CONFIG_FILE_ERROR);
    assert_int_equal(both.n, 2);
    assert_non_null(strstr(both.items[0].err.message, "/.s.PGSQL.5454\" is too long"));
    assert_int_equal(both.items[0].line, 2);
    conf_issues_done(&both);
    err_clear(&e);
    w.auto_text = "backends_memory_max = '63MB'\n";
    assert_int_equal(conf_auto_check(&w, &e), -ERR_INVALID_PARAMETER_VALUE);
    assert_non_null(strstr(e.message, "backends_memory_max must be 0 or at least 64MB"));
    err_clear(&e);
    w.auto_text = "backends_memory_max = '64MB'\n";
    assert_int_equal(conf_auto_check(&w, NULL), 0);
    w.auto_text = "superuser_reserved_connections = '19'\n";
    assert_int_equal(conf_auto_check(&w, NULL), 0);
    write_conf(d, "pinion.conf", "max_connections = 2\n"); /* wrong already: not its fault */
    assert_int_equal(conf_auto_check(&w, NULL), 0);
}

static void
children_take_over_exactly_what_the_postmaster_has_in_force(void **state)
{
    const struct dir *d = *state;
    CLEANUP(conf_packed_done) struct conf_packed packed = { .n = 0 };
    struct conf_issues issues = { 0 };
    struct conf pm, child, next;
    struct conf_diff diff;
    struct err e = ERR_INIT;
    int fd;

    write_conf(d, "pinion.conf", "lock_timeout = 5s\n");
    assert_ok(load(d, NULL, NULL, &pm, &issues, &e), &e);
    fd = conf_share_new(&pm, &e);
    assert_true(fd >= 0);
    assert_ok(conf_share_get(fd, &child, &e), &e);
    conf_diff(&pm, &child, &diff);
    assert_int_equal(diff.n_changed + diff.n_restart, 0);

    write_conf(d, "pinion.conf",
               "lock_timeout = 6s\nport = 77\ncheckpoint_completion_target = 0.123456789012\n"
               "application_name = 'a b ''c\\\\'\n");
    assert_ok(load(d, NULL, "work_mem=1MB", &next, &issues, &e), &e);
    conf_diff(&pm, &next, &diff);
    assert_ok(conf_share_pack(fd, &pm, &next, &diff, &packed, &e), &e);
    conf_apply(&pm, &next, &diff);
    conf_share_put(fd, &packed);
    write_conf(d, "pinion.conf", "nonsense\n"); /* who follows does not look at the files */
    assert_ok(conf_share_get(fd, &next, &e), &e);
    conf_diff(&child, &next, &diff);
    conf_apply(&child, &next, &diff);
    for (int i = 0; i < CONF_SETTINGS; i++) {
        enum conf_id id = (enum conf_id) i;
        const struct conf_origin *a = &pm.origins[id], *b = &child.origins[id];

        if (!conf_equal(&pm, &child, id) || pm.source[id] != child.source[id] ||
            a->is_pending != b->is_pending || a->line != b->line ||
            (a->file == NULL) != (b->file == NULL) || (a->file && strcmp(a->file, b->file) != 0))
            fail_msg("%s differs", conf_desc(id)->name);
    }
    assert_true(child.origins[CONF_port].is_pending);
    assert_int_equal(child.source[CONF_work_mem], CONF_FROM_ARGS);
    assert_int_equal(pwrite(fd, "x", 1, 100), 1);
    assert_int_equal(conf_share_get(fd, &next, NULL), -ERR_DATA_CORRUPTED);
    (void) close(fd);
    conf_done(&pm);
    conf_done(&child);
}

static void
an_unknown_name_is_told_why_or_what_was_meant(void **state)
{
    static const struct {
        const char *name, *hint;
    } rows[] = {
        { "fsync", "A commit is always durable." },
        { "Enable_SeqScan", "The planner is SQLite's" },
        { "loc_timeout", "Perhaps you meant \"lock_timeout\"." },
        { "max_conections", "Perhaps you meant \"max_connections\"." },
        { "sharedbuffers", "Perhaps you meant \"shared_buffers\"." },
        { "xyz", "" },
        { "my.own", "" },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct err e = ERR_INIT;

        assert_int_equal(conf_find_or_say(rows[i].name, &e), -ERR_UNDEFINED_OBJECT);
        if (strncmp(e.hint, rows[i].hint, MAX(strlen(rows[i].hint), 1)) != 0)
            fail_msg("%s: %s", rows[i].name, e.hint);
    }
    for (unsigned i = 1; i < CONF_SETTINGS; i++)
        assert_true(
            strcasecmp(conf_desc(conf_by_name(i - 1))->name, conf_desc(conf_by_name(i))->name) < 0);
}

static void
set_obeys_the_context_of_a_setting(void **state)
{
    static const struct {
        const char *name, *value;
        bool is_superuser;
        int r;
    } rows[] = {
        { "lock_timeout", "5s", false, 0 },
        { "LOCK_TIMEOUT", "5s", false, 0 },
        { "log_min_messages", "debug", false, -ERR_INSUFFICIENT_PRIVILEGE },
        { "log_min_messages", "debug", true, 0 },
        { "shared_buffers", "1GB", true, -ERR_CANT_CHANGE_RUNTIME_PARAM },
        { "checkpoint_timeout", "1min", true, -ERR_CANT_CHANGE_RUNTIME_PARAM },
        { "server_version", "9", true, -ERR_CANT_CHANGE_RUNTIME_PARAM },
        { "no_such", "9", true, -ERR_UNDEFINED_OBJECT },
        { "lock_timeout", "x", true, -ERR_INVALID_PARAMETER_VALUE },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct conf_session s;
        struct conf base;

        assert_int_equal(conf_init(&base, NULL), 0);
        assert_int_equal(conf_session_init(&s, &base, rows[i].is_superuser, NULL), 0);
        assert_int_equal(conf_session_set(&s, rows[i].name, rows[i].value, false, NULL), rows[i].r);
        assert_int_equal(conf_session_set_at_start(&s, rows[i].name, rows[i].value, NULL),
                         rows[i].r);
        conf_session_done(&s);
        conf_done(&base);
    }
}

/* A script: ( begins, ) commits, ! aborts, Ln SET LOCAL to n s, Sn SET, R reset; the value in the
 * end. */
static int64_t
run(const char *script)
{
    struct conf_session s;
    struct conf base;
    int64_t ret;

    assert_int_equal(conf_init(&base, NULL), 0);
    assert_int_equal(conf_session_init(&s, &base, false, NULL), 0);
    for (const char *p = script; *p != '\0'; p++) {
        char value[3] = { p[1], 's', '\0' };

        if (*p == '(')
            conf_session_push(&s);
        else if (*p == ')' || *p == '!')
            conf_session_pop(&s, *p == ')');
        else if (*p == 'R')
            assert_int_equal(conf_session_set(&s, "lock_timeout", NULL, false, NULL), 0);
        else
            assert_int_equal(conf_session_set(&s, "lock_timeout", value, *p == 'L', NULL), 0);
        p += *p == 'L' || *p == 'S' ? 1 : 0;
    }
    while (s.level > 0) /* as the backend would */
        conf_session_pop(&s, true);
    ret = s.cur.v.lock_timeout / 1000000;
    conf_session_done(&s);
    conf_done(&base);
    return ret;
}

static void
set_lives_and_dies_with_its_transaction(void **state)
{
    static const struct {
        const char *script;
        int64_t value;
    } rows[] = {
        { "S1", 1 },         { "L1", 0 },           { "(S1)", 1 },       { "(S1!", 0 },
        { "(L1)", 0 },       { "(S1L2)", 1 },       { "(L1S2)", 2 },     { "(L1S2!", 0 },
        { "S9(S1L2S3!", 9 }, { "(S1(S2!)", 1 },     { "(S1(S2))", 2 },   { "(S1(S2)!", 0 },
        { "(L1(S2))", 2 },   { "(S1(L2))", 1 },     { "(S1(L2)S3)", 3 }, { "S4(R)", 0 },
        { "S4(R!", 4 },      { "(S1(L2!S3L4)", 3 }, { "(S1S2S3!", 0 },   { "(L1L2L3S4L5L6)", 4 },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        if (run(rows[i].script) != rows[i].value)
            fail_msg("%s gave %ld", rows[i].script, (long) run(rows[i].script));
    }
}

static void
the_client_is_told_of_thirteen_settings_and_of_each_change(void **state)
{
    struct conf_session s;
    struct conf base;
    int n = 0;

    (void) state;
    assert_int_equal(conf_init(&base, NULL), 0);
    assert_int_equal(conf_session_init(&s, &base, false, NULL), 0);
    while (conf_session_next_report(&s) >= 0)
        n++;
    assert_int_equal(n, 13);
    conf_session_push(&s);
    assert_int_equal(conf_session_set(&s, "application_name", "x", false, NULL), 0);
    assert_int_equal(conf_session_set(&s, "lock_timeout", "1s", false, NULL), 0);
    assert_int_equal(conf_session_next_report(&s), CONF_application_name);
    assert_int_equal(conf_session_next_report(&s), -1);
    conf_session_pop(&s, false);
    assert_int_equal(conf_session_next_report(&s), CONF_application_name);
    assert_string_equal(s.cur.v.application_name, "");
    assert_int_equal(conf_session_set_internal(&s, CONF_in_hot_standby, "on", NULL), 0);
    assert_int_equal(conf_session_next_report(&s), CONF_in_hot_standby);
    conf_session_done(&s);
    conf_done(&base);
}

static void
a_session_follows_a_reload_except_where_it_set_itself(void **state)
{
    struct conf_session s;
    struct conf base;
    char p[64];

    (void) state;
    assert_int_equal(conf_init(&base, NULL), 0);
    assert_int_equal(conf_session_init(&s, &base, false, NULL), 0);
    assert_int_equal(conf_session_set(&s, "lock_timeout", "1s", false, NULL), 0);
    assert_int_equal(conf_put(&base, CONF_lock_timeout, "2s", CONF_FROM_FILE, NULL), 0);
    assert_int_equal(conf_put(&base, CONF_statement_timeout, "3s", CONF_FROM_FILE, NULL), 0);
    assert_int_equal(conf_session_reload(&s, &base, NULL), 0);
    assert_true(s.cur.v.lock_timeout == 1000000);
    assert_true(s.cur.v.statement_timeout == 3000000);
    assert_int_equal(conf_session_reset_all(&s, NULL), 0);
    assert_string_equal(conf_show(&s.cur, CONF_lock_timeout, p, sizeof p), "2s");
    assert_string_equal(conf_show_bare(&s.cur, CONF_lock_timeout, p, sizeof p), "2000");
    conf_session_done(&s);
    conf_done(&base);
}

static void
what_a_rollback_puts_back_is_what_a_reload_has_brought_meanwhile(void **state)
{
    struct conf_session s;
    struct conf base;

    (void) state;
    assert_int_equal(conf_init(&base, NULL), 0);
    assert_int_equal(conf_session_init(&s, &base, false, NULL), 0);
    assert_int_equal(conf_session_set(&s, "idle_session_timeout", "9s", false, NULL), 0);
    conf_session_push(&s);
    assert_int_equal(conf_session_set(&s, "lock_timeout", "1s", true, NULL), 0);
    conf_session_push(&s); /* a savepoint */
    assert_int_equal(conf_session_set(&s, "lock_timeout", "4s", false, NULL), 0);
    assert_int_equal(conf_session_set(&s, "idle_session_timeout", "5s", false, NULL), 0);
    assert_int_equal(conf_put(&base, CONF_lock_timeout, "2s", CONF_FROM_FILE, NULL), 0);
    assert_int_equal(conf_put(&base, CONF_idle_session_timeout, "3s", CONF_FROM_FILE, NULL), 0);
    assert_int_equal(conf_session_reload(&s, &base, NULL), 0);
    assert_true(s.cur.v.lock_timeout == 4000000);
    conf_session_pop(&s, false);
    assert_true(s.cur.v.lock_timeout == 1000000);
    assert_true(s.cur.v.idle_session_timeout == 9000000); /* the session's own, before and after */
    conf_session_pop(&s, false);
    assert_true(s.cur.v.lock_timeout == 2000000);
    assert_int_equal(s.cur.source[CONF_lock_timeout], CONF_FROM_FILE);
    assert_true(s.cur.v.idle_session_timeout == 9000000);
    conf_session_done(&s);
    conf_done(&base);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_valid_default_and_prints_it_again),
        cmocka_unit_test(each_value_is_taken_or_refused_with_its_words),
        cmocka_unit_test(names_of_a_list_end_at_a_comma_alone),
        cmocka_unit_test_setup_teardown(files_then_auto_conf_then_arguments_win, setup, teardown),
        cmocka_unit_test_setup_teardown(credentials_are_settings_or_refused_by_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_bad_load_lists_all_faults_and_changes_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_missing_main_file_is_a_fault, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_reload_takes_what_may_change_and_names_what_needs_a_restart, setup, teardown),
        cmocka_unit_test(alter_system_keeps_other_rows_and_puts_the_new_one_last),
        cmocka_unit_test_setup_teardown(
            settings_that_would_be_wrong_together_are_found_before_they_are_written, setup,
            teardown),
        cmocka_unit_test_setup_teardown(children_take_over_exactly_what_the_postmaster_has_in_force,
                                        setup, teardown),
        cmocka_unit_test(an_unknown_name_is_told_why_or_what_was_meant),
        cmocka_unit_test(set_obeys_the_context_of_a_setting),
        cmocka_unit_test(set_lives_and_dies_with_its_transaction),
        cmocka_unit_test(the_client_is_told_of_thirteen_settings_and_of_each_change),
        cmocka_unit_test(what_a_rollback_puts_back_is_what_a_reload_has_brought_meanwhile),
        cmocka_unit_test(a_session_follows_a_reload_except_where_it_set_itself),
    };

    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
