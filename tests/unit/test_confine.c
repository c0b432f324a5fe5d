/* Cgroups of children: whose is whose, where ours is, and what is told to the kernel; over plain
 * files. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proc/confine.h"
#include "support/test.h"
#include "support/tmpdir.h"

/* The table of kinds names the mains; none is called here. */
#define CHILD_KIND(id, role, description, main_, max, runs, attaches, exit0, exit1, phase, life) \
    void main_(const struct child_start *start)                                                  \
    {                                                                                            \
        (void) start;                                                                            \
        abort();                                                                                 \
    }
#include "tbl/child_kinds.def"
#undef CHILD_KIND

static void
each_kind_has_its_group(void **state)
{
    (void) state;
    for (int k = 0; k < CHILD_KINDS; k++) {
        bool works_for_clients = k == CHILD_BACKEND || k == CHILD_DEAD_END || k == CHILD_AV_WORKER;

        assert_int_equal(confine_group_of((enum child_kind) k),
                         works_for_clients ? CONFINE_BACKENDS : CONFINE_AUX);
    }
}

static void
our_group_is_found_in_what_the_kernel_says(void **state)
{
    static const struct {
        const char *mount, *text, *want; /* NULL: refused */
    } rows[] = {
        { "/m", "0::/system.slice/pinion@main.service\n", "/m/system.slice/pinion@main.service" },
        { "/m", "0::/a/postmaster\n", "/m/a" },
        { "/m", "0::/a/mypostmaster\n", "/m/a/mypostmaster" },
        { "/m", "9:name=systemd:/x\n0::/y\n", "/m/y" },
        { "/m", "10::/z\n0::/y\n", "/m/y" },
        { "/m", "0::/\n", "/m/" },
        { "/m", "9:memory:/x\n", NULL },
        { "/m", "", NULL },
        { NULL, "0::/y\n", NULL },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        char got[64] = "";
        struct err e = ERR_INIT;
        int r = confine_own_group(rows[i].mount, rows[i].text, got, sizeof got, &e);

        assert_int_equal(r, rows[i].want != NULL ? 0 : -ERR_CONFIG_FILE_ERROR);
        if (rows[i].want != NULL)
            assert_string_equal(got, rows[i].want);
    }
    char small[8];
    assert_int_equal(confine_own_group("/m", "0::/long/path\n", small, sizeof small, NULL),
                     -ERR_CONFIG_FILE_ERROR);
}

static void
put(const char *dir, const char *name, const char *text)
{
    char path[600];
    CLEANUP(closep) int fd = -1;

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text));
}

static const char *
get(const char *dir, const char *name)
{
    static char text[200];
    char path[600];
    ssize_t n;

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    CLEANUP(closep) int fd = open(path, O_RDONLY);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void
make_dir(const char *dir, const char *name)
{
    char path[600];

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void
groups_are_made_entered_and_limited(void **state)
{
    struct tmpdir t;
    struct err e = ERR_INIT;

    (void) state;
    tmpdir_make(&t);
    const char *dir = t.path;
    make_dir(dir, "postmaster");
    make_dir(dir, "backends");
    put(dir, "postmaster/cgroup.procs", "");
    put(dir, "cgroup.controllers", "memory\n");
    put(dir, "cgroup.subtree_control", "");
    put(dir, "backends/memory.max", "");
    assert_int_equal(confine_make_groups(dir, 12345678, &e), 0);
    assert_string_equal(get(dir, "postmaster/cgroup.procs"), "0");
    assert_string_equal(get(dir, "cgroup.subtree_control"), "+memory");
    assert_string_equal(get(dir, "backends/memory.max"), "12345678");
    put(dir, "backends/memory.max", "");
    assert_int_equal(confine_make_groups(dir, 0, &e), 0);
    assert_string_equal(get(dir, "backends/memory.max"), "max");
    tmpdir_remove(&t);
}

static void
what_is_not_ours_or_not_there_is_refused_with_a_hint(void **state)
{
    struct tmpdir t;
    struct err e = ERR_INIT;

    (void) state;
    tmpdir_make(&t);
    const char *dir = t.path;
    assert_int_equal(confine_make_groups("/proc/self", 0, &e), -ERR_CONFIG_FILE_ERROR);
    assert_non_null(strstr(e.hint, "Delegate=yes"));
    err_clear(&e);
    make_dir(dir, "postmaster");
    put(dir, "postmaster/cgroup.procs", "");
    assert_int_equal(confine_make_groups(dir, 0, &e), 0); /* no controllers: groups alone */
    assert_int_equal(confine_make_groups(dir, 1, &e), -ERR_CONFIG_FILE_ERROR);
    assert_non_null(strstr(e.hint, "memory controller"));
    tmpdir_remove(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_its_group),
        cmocka_unit_test(our_group_is_found_in_what_the_kernel_says),
        cmocka_unit_test(groups_are_made_entered_and_limited),
        cmocka_unit_test(what_is_not_ours_or_not_there_is_refused_with_a_hint),
    };

    return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
