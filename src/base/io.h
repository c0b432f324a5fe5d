/* Files, through a table, so that a simulation can lose, tear and reorder what was not synced.
 *
 * Paths are relative to the data directory (io_real: a directory descriptor). Every call returns >=
 * 0 or -errno; io_pread and io_pwrite go on after short transfers, so a short count from io_pread
 * means end of file. Not for sockets. Used by: wal, cache's disk side, store, init. */
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/types.h"

struct beat;
struct io;

/* Called once per directory entry but "." and "..". Return < 0 to stop with that code. */
typedef int (*io_list_fn)(void *arg, const char *name, bool is_dir);

struct io_ops {
    int (*open)(struct io *io, const char *path, int flags, mode_t mode); /* O_CLOEXEC is added */
    int (*close)(struct io *io, int fd);
    ssize_t (*pread)(struct io *io, int fd, void *p, size_t n, uint64_t off);
    ssize_t (*pwrite)(struct io *io, int fd, const void *p, size_t n, uint64_t off);
    int (*fsync)(struct io *io, int fd);
    int (*fdatasync)(struct io *io, int fd);
    int (*fsync_dir)(struct io *io, const char *path); /* "" or "." = the data directory itself */
    int (*truncate)(struct io *io, int fd, uint64_t bytes);
    int (*allocate)(struct io *io, int fd, uint64_t off, uint64_t n); /* fallocate(KEEP_SIZE) */
    int (*size)(struct io *io, int fd, uint64_t *ret_bytes);
    int (*rename)(struct io *io, const char *from, const char *to);
    int (*unlink)(struct io *io, const char *path);
    int (*mkdir)(struct io *io, const char *path, mode_t mode);
    int (*rmdir)(struct io *io, const char *path);
    int (*list)(struct io *io, const char *path, io_list_fn fn, void *arg);
    int (*syncfs)(struct io *io, int fd);
    int (*dontneed)(struct io *io, int fd);  /* posix_fadvise(DONTNEED), whole file (REDO-1) */
    int (*write_out)(struct io *io, int fd); /* begin to, and wait for nothing */
    int (*lock)(struct io *io, int fd, uint64_t off, uint64_t n,
                bool exclusive); /* OFD, no wait: -EAGAIN */
    int (*unlock)(struct io *io, int fd, uint64_t off, uint64_t n);
};

struct io {
    const struct io_ops *ops;
    int dir_fd; /* io_real */
    void *ctx;  /* io_sim */
    /* io_real: who watches this process sees what call it is in, and for how long it may be. */
    struct beat *beat; /* shared; NULL: nobody does */
    usec_t patience;
};

/* io over real files below `dir_fd` (borrowed). */
void io_real_init(struct io *io, int dir_fd);

static inline int
io_open(struct io *io, const char *path, int flags, mode_t mode)
{
    return io->ops->open(io, path, flags, mode);
}
static inline int
io_close(struct io *io, int fd)
{
    return io->ops->close(io, fd);
}
static inline ssize_t
io_pread(struct io *io, int fd, void *p, size_t n, uint64_t off)
{
    return io->ops->pread(io, fd, p, n, off);
}
static inline ssize_t
io_pwrite(struct io *io, int fd, const void *p, size_t n, uint64_t off)
{
    return io->ops->pwrite(io, fd, p, n, off);
}
static inline int
io_fsync(struct io *io, int fd)
{
    return io->ops->fsync(io, fd);
}
static inline int
io_fdatasync(struct io *io, int fd)
{
    return io->ops->fdatasync(io, fd);
}
static inline int
io_fsync_dir(struct io *io, const char *path)
{
    return io->ops->fsync_dir(io, path);
}
static inline int
io_truncate(struct io *io, int fd, uint64_t bytes)
{
    return io->ops->truncate(io, fd, bytes);
}
static inline int
io_allocate(struct io *io, int fd, uint64_t off, uint64_t n)
{
    return io->ops->allocate(io, fd, off, n);
}
static inline int
io_size(struct io *io, int fd, uint64_t *ret_bytes)
{
    return io->ops->size(io, fd, ret_bytes);
}
static inline int
io_rename(struct io *io, const char *from, const char *to)
{
    return io->ops->rename(io, from, to);
}
static inline int
io_unlink(struct io *io, const char *path)
{
    return io->ops->unlink(io, path);
}
static inline int
io_mkdir(struct io *io, const char *path, mode_t mode)
{
    return io->ops->mkdir(io, path, mode);
}
static inline int
io_rmdir(struct io *io, const char *path)
{
    return io->ops->rmdir(io, path);
}
static inline int
io_list(struct io *io, const char *path, io_list_fn fn, void *arg)
{
    return io->ops->list(io, path, fn, arg);
}
static inline int
io_syncfs(struct io *io, int fd)
{
    return io->ops->syncfs(io, fd);
}
static inline int
io_dontneed(struct io *io, int fd)
{
    return io->ops->dontneed(io, fd);
}
static inline int
io_write_out(struct io *io, int fd)
{
    return io->ops->write_out(io, fd);
}
static inline int
io_lock(struct io *io, int fd, uint64_t off, uint64_t n, bool exclusive)
{
    return io->ops->lock(io, fd, off, n, exclusive);
}
static inline int
io_unlock(struct io *io, int fd, uint64_t off, uint64_t n)
{
    return io->ops->unlock(io, fd, off, n);
}

/* Helpers over the table. */

/* Read a whole small file into p (at most cap bytes). Returns its length, -EFBIG if it is longer,
 * or -errno. */
ssize_t io_read_file(struct io *io, const char *path, void *p, size_t cap);
/* Write `path` so that it is there whole or not at all: temporary file "<path>.tmp", fsync, rename,
 * fsync of `dir`. */
int io_write_file_durably(struct io *io, const char *dir, const char *path, const void *p, size_t n,
                          struct err *e);
