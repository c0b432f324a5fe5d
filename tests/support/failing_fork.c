/* A process table that is full from some moment on: preloaded (LD_PRELOAD) into a postmaster by
 * tests/integration. While the file $FAILING_FORK exists and holds a number, fork() fails with
 * EAGAIN once so many have succeeded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int n_forks; /* that succeeded, of this process */

static int
is_full(const char *order)
{
    char text[32];
    int fd = open(order, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        (void) close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return n_forks >= atoi(text);
}

pid_t
fork(void)
{
    const char *order = getenv("FAILING_FORK");
    pid_t pid;

    if (order != NULL && is_full(order)) {
        errno = EAGAIN;
        return -1;
    }
    pid = ((__typeof__(&fork)) dlsym(RTLD_NEXT, "fork"))();
    n_forks += pid > 0;
    return pid;
}
