/* Which descriptors survive a fork: those that were registered, and no other. */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdlist.h"
#include "support/test.h"

static bool
is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void
a_child_keeps_what_is_registered_and_nothing_else(void **state)
{
    int fds[6];
    int status;
    pid_t pid;

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fds[i] >= 0);
    }
    fd_inherit(fds[1], "test");
    fd_inherit(fds[4], "test");
    fd_inherit(fds[2], "test");
    fd_disinherit(fds[2]);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int bits = 0;

        if (fdlist_close_others(fds[3]) < 0)
            _exit(255);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
            bits |= is_open(fds[i]) << i;
        _exit(bits | (is_open(STDERR_FILENO) << 6));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 1 << 1 | 1 << 4 | 1 << 3 | 1 << 6);
    fd_disinherit(fds[1]);
    fd_disinherit(fds[4]);
    for (size_t i = 0; i < ELEMENTSOF(fds); i++)
        (void) close(fds[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_keeps_what_is_registered_and_nothing_else),
    };

    return cmocka_run_group_tests_name("fdlist", tests, NULL, NULL);
}
