/* The lock file. Runs in: postmaster. Owns: the descriptor in struct pm_lock. Source: wal-format.md
 * 4.7; OFD lock and inode comparison instead of PostgreSQL's probing of pids (postmaster.md 2.12
 * g). */
#include "pm/pm_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fdlist.h"

#define TAKE_TRIES 10

int
pm_lock_fd(int fd)
{
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

/* Does the name lead to this descriptor? */
static bool
is_same_file(const char *path, int fd)
{
    struct stat st;
    struct stat by_name;

    return fstat(fd, &st) == 0 && stat(path, &by_name) == 0 && by_name.st_ino == st.st_ino &&
           by_name.st_dev == st.st_dev;
}

int
pm_lock_path(const char *path, int *ret_fd, struct err *e)
{
    for (int i = 0; i < TAKE_TRIES; i++) {
        CLEANUP(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        int r;

        if (fd < 0)
            return ERR_ERRNO(e, "could not open lock file \"%s\"", path);
        r = pm_lock_fd(fd);
        if (r < 0 && r != -EAGAIN)
            return err_set_errno(e, -r, "could not lock file \"%s\"", path);
        if (r == 0 && !is_same_file(path, fd))
            continue; /* its owner removed it meanwhile */
        *ret_fd = TAKE_FD(fd);
        return r;
    }
    return ERR(e, LOCK_FILE_EXISTS, "lock file \"%s\" keeps changing", path);
}

/* Pid on line 1, 0 = none. */
static pid_t
read_pid(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return (pid_t) strtol(text, NULL, 10);
}

static int
refuse(const struct pm_lock *l, int fd, const char *data_dir, struct err *e)
{
    pid_t pid = read_pid(fd);

    (void) ERR(e, LOCK_FILE_EXISTS, "lock file \"%s\" is held by another server", l->path);
    if (pid > 0 && kill(pid, 0) < 0 && errno == ESRCH)
        err_hint(e,
                 "The postmaster (PID %d) of data directory \"%s\" is gone, but one of its "
                 "children still runs; end it first.",
                 (int) pid, data_dir);
    else if (pid > 0)
        err_hint(e, "Is another postmaster (PID %d) running in data directory \"%s\"?", (int) pid,
                 data_dir);
    return -ERR_LOCK_FILE_EXISTS;
}

/* At once: who is refused now shall be told our pid. The other lines follow when they are known. */
static int
write_owner(int fd, const char *path, const char *data_dir, struct err *e)
{
    char text[4200];
    int n = snprintf(text, sizeof text, "%d\n%s\n", (int) getpid(), data_dir);

    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, MIN((size_t) n, sizeof text - 1), 0) != n)
        return ERR_ERRNO(e, "could not write lock file \"%s\"", path);
    return 0;
}

int
pm_lock_take(struct pm_lock *l, const char *data_dir, struct err *e)
{
    CLEANUP(closep) int fd = -1;
    struct stat st;
    int r;

    l->fd = -1;
    (void) snprintf(l->path, sizeof l->path, "%s/postmaster.pid", data_dir);
    r = pm_lock_path(l->path, &fd, e);
    if (r == -EAGAIN)
        return refuse(l, fd, data_dir, e);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return ERR_ERRNO(e, "could not look at lock file \"%s\"", l->path);
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    r = write_owner(fd, l->path, data_dir, e);
    if (r < 0)
        return r;
    l->fd = TAKE_FD(fd);
    fd_inherit(l->fd, "lock of the data directory");
    return 0;
}

/* Over what write_owner() wrote, which it begins with: on a full disk that stays, or we would not
 * know the file for ours any more. */
int
pm_lock_write(struct pm_lock *l, const struct pm_lock_lines *lines, struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    int behind =
        snprintf(NULL, 0, "starting\n%d\n%s\n", lines->port, lines->control_path); /* status on */
    int n = asprintf(
        &text, "%d\n%s\n%lld\n%d\n%s\n%s\n%9lu %9lu\nstarting\n%d\n%s\n", (int) getpid(),
        lines->data_dir, (long long) (lines->started_usec / USEC_PER_SEC), lines->port,
        lines->socket_dir, lines->listen_address, 0ul, 0ul, lines->port, lines->control_path);

    if (n < 0) {
        text = NULL;
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    }
    l->status_at = n - behind;
    if (pwrite(l->fd, text, (size_t) n, 0) != n || fsync(l->fd) < 0)
        return ERR_ERRNO(e, "could not write lock file \"%s\"", l->path);
    return 0;
}

void
pm_lock_status(const struct pm_lock *l, const char *status)
{
    char text[16];
    ssize_t n;

    (void) snprintf(text, sizeof text, "%-8.8s", status);
    n = pwrite(l->fd, text, 8, l->status_at);
    (void) n; /* a tool that waits will wait longer; the server is fine */
}

int
pm_lock_check(const struct pm_lock *l, struct err *e)
{
    struct stat st;

    if (stat(l->path, &st) < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return ERR_ERRNO(e, "could not look at lock file \"%s\"", l->path);
        return ERR(e, LOCK_FILE_EXISTS, "lock file \"%s\" was removed", l->path);
    }
    if (st.st_ino != l->ino || st.st_dev != l->dev)
        return ERR(e, LOCK_FILE_EXISTS, "lock file \"%s\" is not ours any more", l->path);
    if (read_pid(l->fd) != getpid())
        return ERR(e, LOCK_FILE_EXISTS, "lock file \"%s\" contains wrong PID: %d instead of %d",
                   l->path, (int) read_pid(l->fd), (int) getpid());
    return 0;
}

void
pm_lock_drop(struct pm_lock *l)
{
    if (l->fd < 0)
        return;
    if (pm_lock_check(l, NULL) == 0)
        (void) unlink(l->path);
    fd_disinherit(l->fd);
    closep(&l->fd);
}
