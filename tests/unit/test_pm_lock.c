/* The lock file: its lines, who holds it, a stranger in its place. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pm/pm_lock.h"
#include "support/test.h"
#include "support/tmpdir.h"

/* The table of kinds names the mains; none is called here. */
#include "proc/mains.h"
#define CHILD_KIND(id, role, description, main_, max, runs, attaches, exit0, exit1, phase, life) \
    void main_(const struct child_start *start)                                                  \
    {                                                                                            \
        (void) start;                                                                            \
        abort();                                                                                 \
    }
#include "tbl/child_kinds.def"
#undef CHILD_KIND

static struct tmpdir tmp;

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&tmp);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    tmpdir_remove(&tmp);
    return 0;
}

static const char *
content(const char *path)
{
    static char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);

    assert_true(n >= 0);
    (void) close(fd);
    text[n] = '\0';
    return text;
}

static void
the_file_has_the_lines_that_pg_ctl_reads_and_ours_behind_them(void **state)
{
    struct pm_lock_lines lines = { .data_dir = "/data",
                                   .started_usec = 1700000000 * USEC_PER_SEC,
                                   .port = 5454,
                                   .socket_dir = "/run/x",
                                   .listen_address = "localhost",
                                   .control_path = "/run/x/control" };
    struct pm_lock l;
    struct err e = ERR_INIT;
    char want[300];

    (void) state;
    assert_ok(pm_lock_take(&l, tmp.path, &e), &e);
    assert_ok(pm_lock_write(&l, &lines, &e), &e);
    (void) snprintf(
        want, sizeof want,
        "%d\n/data\n1700000000\n5454\n/run/x\nlocalhost\n        0         0\nstarting\n5454\n"
        "/run/x/control\n",
        (int) getpid());
    assert_string_equal(content(l.path), want);
    pm_lock_status(&l, "ready");
    assert_non_null(strstr(content(l.path), "\nready   \n5454\n"));
    pm_lock_drop(&l);
    assert_int_equal(access(l.path, F_OK), -1);
}

static void
a_second_one_is_refused_and_told_the_pid(void **state)
{
    struct pm_lock a;
    struct pm_lock b;
    struct err e = ERR_INIT;
    char pid[32];

    (void) state;
    assert_ok(pm_lock_take(&a, tmp.path, &e), &e);
    assert_int_equal(pm_lock_take(&b, tmp.path, &e), -ERR_LOCK_FILE_EXISTS);
    (void) snprintf(pid, sizeof pid, "(PID %d)", (int) getpid());
    assert_non_null(strstr(e.hint, pid));
    pm_lock_drop(&a);
}

static void
a_file_left_behind_is_taken_over(void **state)
{
    struct pm_lock l;
    struct err e = ERR_INIT;
    int fd = openat(tmp.fd, "postmaster.pid", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    (void) state;
    assert_true(dprintf(fd, "1\n/elsewhere\n") > 0);
    (void) close(fd);
    assert_ok(pm_lock_take(&l, tmp.path, &e), &e);
    assert_int_equal(strtol(content(l.path), NULL, 10), getpid());
    pm_lock_drop(&l);
    assert_int_equal(access(l.path, F_OK), -1);
}

static void
a_removed_or_replaced_file_is_noticed_and_not_removed(void **state)
{
    struct pm_lock_lines lines = {
        .data_dir = "/d", .socket_dir = "", .listen_address = "", .control_path = ""
    };
    struct pm_lock l;
    struct err e = ERR_INIT;
    int fd;

    (void) state;
    assert_ok(pm_lock_take(&l, tmp.path, &e), &e);
    assert_ok(pm_lock_write(&l, &lines, &e), &e);
    assert_ok(pm_lock_check(&l, &e), &e);
    assert_int_equal(unlink(l.path), 0);
    assert_int_equal(pm_lock_check(&l, &e), -ERR_LOCK_FILE_EXISTS);
    fd = openat(tmp.fd, "postmaster.pid", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void) close(fd);
    assert_int_equal(pm_lock_check(&l, &e), -ERR_LOCK_FILE_EXISTS);
    pm_lock_drop(&l);
    assert_int_equal(access(l.path, F_OK), 0);
}

static void
a_disk_that_is_full_takes_nothing_from_what_the_file_says(void **state)
{
    const struct pm_lock_lines lines = { .data_dir = tmp.path,
                                         .socket_dir = "/run/x",
                                         .listen_address = "localhost",
                                         .control_path = "/run/x/control" };
    struct rlimit old;
    struct rlimit none;
    struct pm_lock l;
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(pm_lock_take(&l, tmp.path, &e), &e);
    (void) signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    none = old;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    assert_true(pm_lock_write(&l, &lines, &e) < 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_ok(pm_lock_check(&l, &e), &e); /* still ours: the server is not stopped for it */
    pm_lock_drop(&l);
}

static void
lines_may_be_as_long_as_settings_are(void **state)
{
    static char dir[4000], hosts[8192], control[4000];
    const struct pm_lock_lines lines = {
        .data_dir = dir, .socket_dir = "", .listen_address = hosts, .control_path = control
    };
    struct pm_lock l;
    struct err e = ERR_INIT;
    struct stat st;

    (void) state;
    memset(dir, 'd', sizeof dir - 1);
    memset(hosts, 'h', sizeof hosts - 1);
    memset(control, 'c', sizeof control - 1);
    assert_ok(pm_lock_take(&l, tmp.path, &e), &e);
    assert_ok(pm_lock_write(&l, &lines, &e), &e);
    assert_int_equal(fstat(l.fd, &st), 0);
    assert_in_range(st.st_size, 16188, 16288);
    pm_lock_status(&l, "ready");
    assert_int_equal(fstat(l.fd, &st), 0);
    assert_in_range(st.st_size, 16188, 16288);
    pm_lock_drop(&l);
}

/* Takes and removes the file until told to stop, as servers that start and end do. */
static void *
come_and_go(void *arg)
{
    const char *path = arg;

    for (int i = 0; i < 5000; i++) {
        int fd = -1;

        if (pm_lock_path(path, &fd, NULL) == 0)
            (void) unlink(path);
        if (fd >= 0)
            (void) close(fd);
    }
    return NULL;
}

static void
a_lock_on_a_file_that_its_owner_removed_is_no_lock(void **state)
{
    char path[600];
    pthread_t other;
    bool is_over = false;
    int n = 0;

    (void) state;
    (void) snprintf(path, sizeof path, "%s/lock", tmp.path);
    assert_int_equal(pthread_create(&other, NULL, come_and_go, path), 0);
    while (!is_over) {
        struct err e = ERR_INIT;
        struct stat st;
        struct stat by_name;
        int fd = -1;
        int r = pm_lock_path(path, &fd, &e);

        is_over = pthread_tryjoin_np(other, NULL) == 0;
        if (r == 0) {
            n++;
            assert_int_equal(fstat(fd, &st), 0);
            assert_int_equal(stat(path, &by_name), 0);
            assert_int_equal(st.st_ino, by_name.st_ino);
            (void) unlink(path);
        }
        if (fd >= 0)
            (void) close(fd);
    }
    assert_true(n > 0);
    (void) unlink(path);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_file_has_the_lines_that_pg_ctl_reads_and_ours_behind_them),
        TEST(a_second_one_is_refused_and_told_the_pid),
        TEST(a_file_left_behind_is_taken_over),
        TEST(a_removed_or_replaced_file_is_noticed_and_not_removed),
        TEST(a_disk_that_is_full_takes_nothing_from_what_the_file_says),
        TEST(lines_may_be_as_long_as_settings_are),
        TEST(a_lock_on_a_file_that_its_owner_removed_is_no_lock),
    };

    return cmocka_run_group_tests_name("pm_lock", tests, NULL, NULL);
}
