/* struct io over real files. Runs in every process. Owns nothing: descriptors belong to callers. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/beat.h"
#include "base/io.h"

static int
neg_errno(int r)
{
    return r < 0 ? -errno : r;
}

/* A call that a signal cut short has done nothing yet; errors are never tried again. */
#define AGAIN(call)                                     \
    ({                                                  \
        int again_;                                     \
                                                        \
        while ((again_ = (call)) < 0 && errno == EINTR) \
            ;                                           \
        neg_errno(again_);                              \
    })

/* The same for a call that may take long: it is declared. */
#define DECLARED(io, what, fd, call)                      \
    ({                                                    \
        int declared_;                                    \
                                                          \
        beat_begin((io)->beat, what, fd, (io)->patience); \
        declared_ = AGAIN(call);                          \
        beat_end((io)->beat);                             \
        declared_;                                        \
    })

static int
real_open(struct io *io, const char *path, int flags, mode_t mode)
{
    return AGAIN(openat(io->dir_fd, path, flags | O_CLOEXEC, mode));
}

static int
real_close(struct io *io, int fd)
{
    (void) io;
    return neg_errno(close(fd));
}

static ssize_t
pread_all(int fd, void *p, size_t n, uint64_t off)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = pread(fd, (char *) p + done, n - done, (off_t) (off + done));

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        done += (size_t) r;
    }
    return (ssize_t) done;
}

static ssize_t
real_pread(struct io *io, int fd, void *p, size_t n, uint64_t off)
{
    ssize_t r;

    beat_begin(io->beat, BEAT_READ, fd, io->patience);
    r = pread_all(fd, p, n, off);
    beat_end(io->beat);
    return r;
}

static ssize_t
pwrite_all(int fd, const void *p, size_t n, uint64_t off)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = pwrite(fd, (const char *) p + done, n - done, (off_t) (off + done));

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            return -ENOSPC;
        done += (size_t) r;
    }
    return (ssize_t) done;
}

static ssize_t
real_pwrite(struct io *io, int fd, const void *p, size_t n, uint64_t off)
{
    ssize_t r;

    beat_begin(io->beat, BEAT_WRITE, fd, io->patience);
    r = pwrite_all(fd, p, n, off);
    beat_end(io->beat);
    return r;
}

static int
real_fsync(struct io *io, int fd)
{
    return DECLARED(io, BEAT_FSYNC, fd, fsync(fd));
}

static int
real_fdatasync(struct io *io, int fd)
{
    return DECLARED(io, BEAT_FSYNC, fd, fdatasync(fd));
}

static int
real_fsync_dir(struct io *io, const char *path)
{
    CLEANUP(closep)
    int fd = openat(io->dir_fd, path[0] != '\0' ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return DECLARED(io, BEAT_FSYNC, fd, fsync(fd));
}

static int
real_truncate(struct io *io, int fd, uint64_t bytes)
{
    return DECLARED(io, BEAT_ALLOCATE, fd, ftruncate(fd, (off_t) bytes));
}

static int
real_allocate(struct io *io, int fd, uint64_t off, uint64_t n)
{
    return DECLARED(io, BEAT_ALLOCATE, fd,
                    fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t) off, (off_t) n));
}

static int
real_size(struct io *io, int fd, uint64_t *ret_bytes)
{
    struct stat st;

    (void) io;
    if (fstat(fd, &st) < 0)
        return -errno;
    *ret_bytes = (uint64_t) st.st_size;
    return 0;
}

static int
real_rename(struct io *io, const char *from, const char *to)
{
    return neg_errno(renameat(io->dir_fd, from, io->dir_fd, to));
}

static int
real_unlink(struct io *io, const char *path)
{
    return neg_errno(unlinkat(io->dir_fd, path, 0));
}

static int
real_mkdir(struct io *io, const char *path, mode_t mode)
{
    return neg_errno(mkdirat(io->dir_fd, path, mode));
}

static int
real_rmdir(struct io *io, const char *path)
{
    return neg_errno(unlinkat(io->dir_fd, path, AT_REMOVEDIR));
}

static void
closedirp(DIR **d)
{
    if (*d != NULL)
        (void) closedir(*d);
}

static int
real_list(struct io *io, const char *path, io_list_fn fn, void *arg)
{
    CLEANUP(closep)
    int fd = openat(io->dir_fd, path[0] != '\0' ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closedirp) DIR *d = NULL;
    struct dirent *de;

    if (fd < 0 || (d = fdopendir(fd)) == NULL)
        return -errno;
    (void) TAKE_FD(fd);
    while (errno = 0, (de = readdir(d)) != NULL) {
        struct stat st;
        bool is_dir;

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        is_dir = de->d_type == DT_DIR;
        if (de->d_type == DT_UNKNOWN)
            is_dir =
                fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
        int r = fn(arg, de->d_name, is_dir);
        if (r < 0)
            return r;
    }
    return errno != 0 ? -errno : 0;
}

static int
real_syncfs(struct io *io, int fd)
{
    if (fd < 0)
        fd = io->dir_fd;
    return DECLARED(io, BEAT_FSYNC, fd, syncfs(fd));
}

static int
real_dontneed(struct io *io, int fd)
{
    (void) io;
    return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int
real_write_out(struct io *io, int fd)
{
    int r = DECLARED(io, BEAT_WRITE, fd, sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));

    return r == -ENOSYS ? 0 : r; /* the fsync does all of it, then */
}

static int
set_lock(int fd, uint64_t off, uint64_t n, short type)
{
    struct flock fl = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t) off, .l_len = (off_t) n
    };

    return neg_errno(fcntl(fd, F_OFD_SETLK, &fl));
}

static int
real_lock(struct io *io, int fd, uint64_t off, uint64_t n, bool exclusive)
{
    (void) io;
    return set_lock(fd, off, n, exclusive ? F_WRLCK : F_RDLCK);
}

static int
real_unlock(struct io *io, int fd, uint64_t off, uint64_t n)
{
    (void) io;
    return set_lock(fd, off, n, F_UNLCK);
}

static const struct io_ops real_ops = {
    .open = real_open,
    .close = real_close,
    .pread = real_pread,
    .pwrite = real_pwrite,
    .fsync = real_fsync,
    .fdatasync = real_fdatasync,
    .fsync_dir = real_fsync_dir,
    .truncate = real_truncate,
    .allocate = real_allocate,
    .size = real_size,
    .rename = real_rename,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .rmdir = real_rmdir,
    .list = real_list,
    .syncfs = real_syncfs,
    .dontneed = real_dontneed,
    .write_out = real_write_out,
    .lock = real_lock,
    .unlock = real_unlock,
};

void
io_real_init(struct io *io, int dir_fd)
{
    *io = (struct io){ .ops = &real_ops, .dir_fd = dir_fd };
}
