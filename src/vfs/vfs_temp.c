/* Temporary files: plain reads and writes on an unlinked file, no locks.
 *
 * Runs in: backend, startup, init. Owns: one descriptor per file. Source: sqlite-vfs 5.11. */
#include "vfs/vfs_temp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
fd_of(sqlite3_file *f)
{
    return ((struct vfs_temp *) (void *) f)->fd;
}

static int
temp_close(sqlite3_file *f)
{
    (void) close(fd_of(f));
    return SQLITE_OK;
}

static int
temp_read(sqlite3_file *f, void *p, int n, sqlite3_int64 off)
{
    size_t done = 0;

    while (done < (size_t) n) {
        ssize_t r = pread(fd_of(f), (char *) p + done, (size_t) n - done, off + (off_t) done);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return SQLITE_IOERR_READ;
        if (r == 0) {
            memset((char *) p + done, 0, (size_t) n - done);
            return SQLITE_IOERR_SHORT_READ;
        }
        done += (size_t) r;
    }
    return SQLITE_OK;
}

static int
temp_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 off)
{
    size_t done = 0;

    while (done < (size_t) n) {
        ssize_t r =
            pwrite(fd_of(f), (const char *) p + done, (size_t) n - done, off + (off_t) done);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return errno == ENOSPC || errno == EDQUOT ? SQLITE_FULL : SQLITE_IOERR_WRITE;
        done += (size_t) r;
    }
    return SQLITE_OK;
}

static int
temp_truncate(sqlite3_file *f, sqlite3_int64 bytes)
{
    return ftruncate(fd_of(f), bytes) < 0 ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int
temp_sync(sqlite3_file *f, int flags)
{
    (void) f;
    (void) flags;
    return SQLITE_OK;
}

static int
temp_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    struct stat st;

    if (fstat(fd_of(f), &st) < 0)
        return SQLITE_IOERR_FSTAT;
    *ret = st.st_size;
    return SQLITE_OK;
}

static int
temp_lock(sqlite3_file *f, int level)
{
    (void) f;
    (void) level;
    return SQLITE_OK;
}

static int
temp_check_reserved(sqlite3_file *f, int *ret)
{
    (void) f;
    *ret = 0;
    return SQLITE_OK;
}

static int
temp_control(sqlite3_file *f, int op, void *arg)
{
    (void) f;
    (void) op;
    (void) arg;
    return SQLITE_NOTFOUND;
}

static int
temp_sector_size(sqlite3_file *f)
{
    (void) f;
    return 4096;
}

static int
temp_characteristics(sqlite3_file *f)
{
    (void) f;
    return 0;
}

static const sqlite3_io_methods temp_methods = {
    .iVersion = 1,
    .xClose = temp_close,
    .xRead = temp_read,
    .xWrite = temp_write,
    .xTruncate = temp_truncate,
    .xSync = temp_sync,
    .xFileSize = temp_size,
    .xLock = temp_lock,
    .xUnlock = temp_lock,
    .xCheckReservedLock = temp_check_reserved,
    .xFileControl = temp_control,
    .xSectorSize = temp_sector_size,
    .xDeviceCharacteristics = temp_characteristics,
};

int
vfs_temp_open(struct vfs_temp *f, const char *dir)
{
    char path[512];

    f->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (f->fd < 0) { /* a file system without O_TMPFILE */
        (void) snprintf(path, sizeof path, "%s/pgsql_tmp.XXXXXX", dir);
        f->fd = mkostemp(path, O_CLOEXEC);
        if (f->fd >= 0)
            (void) unlink(path);
    }
    if (f->fd < 0)
        return SQLITE_CANTOPEN;
    f->base.pMethods = &temp_methods;
    return SQLITE_OK;
}
