/* A disk that fails once, or stands still: preloaded (LD_PRELOAD) into a server by
 * tests/integration. When the file $FAILING_IO exists and holds "CALL PART ERRNO", the next CALL
 * (fsync, fdatasync, pwrite, pread) on a file whose path contains PART fails with that number;
 * whoever removes the file fires; with -1, -2 … it does not fail, its process ends with exit code
 * 0, 1 … With ERRNO 0 each such call waits, as long as the file is there, until somebody opens the
 * FIFO $FAILING_IO.gate for writing; with 1000 the same, but asleep in the kernel (state D). Who
 * comes to stand there makes the file $FAILING_IO.CALL. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define IN_KERNEL 1000

static void
wait_at_gate(const char *order, const char *call)
{
    char gate[4096], met[4096];
    int fd;

    (void) snprintf(met, sizeof met, "%s.%s", order, call);
    (void) close(open(met, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    (void) snprintf(gate, sizeof gate, "%s.gate", order);
    while ((fd = open(gate, O_RDONLY | O_CLOEXEC)) < 0 && errno == EINTR)
        ;
    (void) close(fd);
}

/* The parent of a vfork() takes no signal but KILL until its child has ended. */
static void
wait_in_kernel(const char *order, const char *call)
{
    pid_t pid = vfork(); /* NOLINT */

    if (pid == 0) {
        wait_at_gate(order, call);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int
fires(const char *call, int fd)
{
    const char *order = getenv("FAILING_IO");
    char link[64], path[4096], text[256], want[32], part[128];
    int saved = errno, error = 0, in;
    ssize_t n;

    if (order == NULL || (in = open(order, O_RDONLY | O_CLOEXEC)) < 0) {
        errno = saved;
        return 0;
    }
    n = read(in, text, sizeof text - 1);
    (void) close(in);
    text[n > 0 ? n : 0] = '\0';
    (void) snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    if (sscanf(text, "%31s %127s %d", want, part, &error) != 3 || strcmp(want, call) != 0 ||
        strstr(path, part) == NULL)
        error = 0;
    else if (error == 0)
        wait_at_gate(order, call);
    else if (error == IN_KERNEL)
        wait_in_kernel(order, call), error = 0;
    else if (unlink(order) < 0)
        error = 0;
    else if (error < 0)
        _exit(-1 - error);
    errno = saved;
    return error;
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define FAIL_IF_ORDERED(call, fd) \
    int error = fires(call, fd);  \
    if (error != 0) {             \
        errno = error;            \
        return -1;                \
    }

int
fsync(int fd)
{
    FAIL_IF_ORDERED("fsync", fd)
    return REAL(fsync)(fd);
}

int
fdatasync(int fd)
{
    FAIL_IF_ORDERED("fdatasync", fd)
    return REAL(fdatasync)(fd);
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t off)
{
    FAIL_IF_ORDERED("pwrite", fd)
    return REAL(pwrite64)(fd, p, n, off);
}

ssize_t
pread64(int fd, void *p, size_t n, off64_t off)
{
    FAIL_IF_ORDERED("pread", fd)
    return REAL(pread64)(fd, p, n, off);
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t off)
{
    return pwrite64(fd, p, n, off);
}

ssize_t
pread(int fd, void *p, size_t n, off_t off)
{
    return pread64(fd, p, n, off);
}
