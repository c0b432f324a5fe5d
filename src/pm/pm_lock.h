/* postmaster.pid: the lock of the data directory (wal-format.md 4.7, postmaster.md 2.8).
 *
 * The lock is an OFD lock on the file's descriptor, which attached children inherit: as long as one
 * of them lives, nobody else starts. The content is PostgreSQL's eight lines, then port and control
 * path, for people and tools; it decides nothing. Runs in: postmaster. */
#pragma once

#include <sys/stat.h>

#include "base/err.h"
#include "base/types.h"

struct pm_lock {
    int fd;    /* -1: not held */
    dev_t dev; /* of the file we made or took over */
    ino_t ino;
    off_t status_at; /* offset of line 8 */
    char path[4096];
};

/* Take the lock in data_dir and write pid and directory. Returns 0; -ERR_LOCK_FILE_EXISTS if a
 * server or an orphan of one holds it; -errno. */
int pm_lock_take(struct pm_lock *l, const char *data_dir, struct err *e);

struct pm_lock_lines {
    const char *data_dir;
    usec_t started_usec; /* real */
    int port;
    const char *socket_dir;     /* "" = none */
    const char *listen_address; /* "" = none */
    const char *control_path;
};
/* Write all lines, with status "starting". A failure is logged by the caller, not fatal. */
int pm_lock_write(struct pm_lock *l, const struct pm_lock_lines *lines, struct err *e);
/* Replace the status: at most 8 characters, "ready". Failures are ignored. */
void pm_lock_status(const struct pm_lock *l, const char *status);
/* Is the name still our file? 0 yes; -ERR_LOCK_FILE_EXISTS gone or another's (e says which); other
 * errors are to be tried again. */
int pm_lock_check(const struct pm_lock *l, struct err *e);
/* Give the lock back; removes the file if it is still ours (PM-7). */
void pm_lock_drop(struct pm_lock *l);

/* An exclusive OFD lock on a whole open file: 0, -EAGAIN, -errno. */
int pm_lock_fd(int fd);
/* The same on the file of this name, made if missing, and the name leads to it: not to one that its
 * owner removed while we came. 0; -EAGAIN somebody holds it, no message; < 0. On the first two the
 * descriptor is the caller's. Also for socket lock files. */
int pm_lock_path(const char *path, int *ret_fd, struct err *e);
