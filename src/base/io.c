/* Helpers over struct io. Runs in every process. */
#include "base/io.h"

#include <errno.h>
#include <stdio.h>

ssize_t
io_read_file(struct io *io, const char *path, void *p, size_t cap)
{
    int fd = io_open(io, path, O_RDONLY, 0);
    uint64_t bytes = 0;
    ssize_t n;

    if (fd < 0)
        return fd;
    n = io_size(io, fd, &bytes);
    if (n == 0)
        n = bytes > cap ? -EFBIG : io_pread(io, fd, p, (size_t) bytes, 0);
    (void) io_close(io, fd);
    return n;
}

static int
write_new_file(struct io *io, const char *path, const void *p, size_t n)
{
    int fd = io_open(io, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t r;

    if (fd < 0)
        return fd;
    r = io_pwrite(io, fd, p, n, 0);
    if (r >= 0)
        r = io_fsync(io, fd);
    (void) io_close(io, fd);
    return r < 0 ? (int) r : 0;
}

int
io_write_file_durably(struct io *io, const char *dir, const char *path, const void *p, size_t n,
                      struct err *e)
{
    char tmp[512];
    int r;

    (void) snprintf(tmp, sizeof tmp, "%s.tmp", path);
    r = write_new_file(io, tmp, p, n);
    if (r == 0)
        r = io_rename(io, tmp, path);
    if (r == 0)
        r = io_fsync_dir(io, dir);
    if (r < 0) {
        (void) io_unlink(io, tmp);
        return err_set_errno(e, -r, "could not write file \"%s\"", path);
    }
    return 0;
}
