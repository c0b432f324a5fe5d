/* Temporary files: plain reads and writes on an unlinked file, no locks; journals through a buffer.
 *
 * Runs in: backend, startup, init. Owns: one descriptor and one buffer per file, the error of the
 * last call. Source: sqlite-vfs 5.9, 5.11. */
#include "vfs/vfs_temp.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/spill.h"
#include "vfs/vfs_file.h"

#define BUF_MIN (32u * 1024)  /* a small transaction's journal */
#define BUF_MAX (256u * 1024) /* what a journal may keep in memory */

static struct err temp_err;

const struct err *
vfs_temp_error(void)
{
    return &temp_err;
}

void
vfs_temp_error_reset(void)
{
    err_clear(&temp_err);
}

static struct vfs_temp *
temp_of(sqlite3_file *f)
{
    return (struct vfs_temp *) (void *) f;
}

/* The code of SQLite for a failed write; the words stay in temp_err. */
static int
write_failed(int r)
{
    return r == -ERR_DISK_FULL || r == -ERR_CONFIGURATION_LIMIT_EXCEEDED ? SQLITE_FULL
                                                                         : SQLITE_IOERR_WRITE;
}

/* ---- the file ---- */

static int
put(struct vfs_temp *f, const void *p, size_t n, uint64_t off)
{
    size_t done = 0;
    int r = 0;

    if (f->fd < 0) {
        r = spill_open(&temp_err);
        if (r < 0)
            return write_failed(r);
        f->fd = r;
    }
    if (off + n > f->charged) {
        r = spill_charge(off + n - f->charged, &temp_err);
        if (r < 0)
            return write_failed(r);
        f->charged = off + n;
    }
    while (done < n) {
        ssize_t w = pwrite(f->fd, (const char *) p + done, n - done, (off_t) (off + done));

        if (w < 0 && errno != EINTR)
            return write_failed(spill_refused(
                ERR_ERRNO(&temp_err, "could not write a temporary file"), n, &temp_err));
        done += w > 0 ? (size_t) w : 0;
    }
    return SQLITE_OK;
}

static int
flush(struct vfs_temp *f)
{
    int rc = f->buf_n > 0 ? put(f, f->buf, f->buf_n, f->buf_at) : SQLITE_OK;

    if (rc != SQLITE_OK)
        return rc;
    f->buf_at += f->buf_n;
    f->buf_n = 0;
    return SQLITE_OK;
}

static int
get(struct vfs_temp *f, void *p, size_t n, uint64_t off)
{
    size_t done = 0;

    while (done < n && f->fd >= 0) {
        ssize_t r = pread(f->fd, (char *) p + done, n - done, (off_t) (off + done));

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            (void) ERR_ERRNO(&temp_err, "could not read a temporary file");
            return SQLITE_IOERR_READ;
        }
        if (r == 0)
            break;
        done += (size_t) r;
    }
    memset((char *) p + done, 0, n - done);
    return done < n ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

/* ---- the buffer ---- */

/* Room for `end` bytes of buffer. */
static bool
grow(struct vfs_temp *f, uint64_t end)
{
    uint32_t cap = MAX(f->buf_cap, BUF_MIN);
    uint8_t *buf;

    if (end <= f->buf_cap)
        return true;
    while (cap < end)
        cap *= 2;
    buf = realloc(f->buf, cap);
    if (buf == NULL)
        return false;
    f->buf = buf;
    f->buf_cap = cap;
    return true;
}

/* Through the buffer if it continues or overwrites what is there. */
static int
put_buffered(struct vfs_temp *f, const void *p, size_t n, uint64_t off)
{
    uint64_t end = off + n;

    if (off < f->buf_at || off > f->buf_at + f->buf_n || end - f->buf_at > BUF_MAX) {
        int rc = flush(f);

        if (rc != SQLITE_OK)
            return rc;
        f->buf_at = off;
    }
    if (n > BUF_MAX || !grow(f, end - f->buf_at))
        return put(f, p, n, off);
    memcpy(f->buf + (off - f->buf_at), p, n);
    f->buf_n = MAX(f->buf_n, (uint32_t) (end - f->buf_at));
    return SQLITE_OK;
}

/* ---- methods ---- */

static int
temp_close(sqlite3_file *file)
{
    struct vfs_temp *f = temp_of(file);

    if (f->fd >= 0)
        (void) close(f->fd);
    spill_release(f->charged);
    free(f->buf);
    *f = (struct vfs_temp){ .fd = -1 };
    return SQLITE_OK;
}

static int
temp_read(sqlite3_file *file, void *p, int n, sqlite3_int64 off)
{
    struct vfs_temp *f = temp_of(file);
    uint64_t from = (uint64_t) off;
    uint64_t end = from + (uint64_t) n;
    int rc;

    if (f->buf_n == 0 || end <= f->buf_at || from >= f->buf_at + f->buf_n)
        return get(f, p, (size_t) n, from);
    if (from >= f->buf_at && end <= f->buf_at + f->buf_n) {
        memcpy(p, f->buf + (from - f->buf_at), (size_t) n);
        return SQLITE_OK;
    }
    rc = flush(f);
    return rc != SQLITE_OK ? rc : get(f, p, (size_t) n, from);
}

static int
temp_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 off)
{
    struct vfs_temp *f = temp_of(file);
    int rc = f->is_journal ? put_buffered(f, p, (size_t) n, (uint64_t) off)
                           : put(f, p, (size_t) n, (uint64_t) off);

    if (rc == SQLITE_OK)
        f->size = MAX(f->size, (uint64_t) off + (uint64_t) n);
    return rc;
}

static int
temp_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    struct vfs_temp *f = temp_of(file);
    uint64_t size = (uint64_t) bytes;

    if (f->buf_at > size) {
        f->buf_at = size;
        f->buf_n = 0;
    }
    f->buf_n = (uint32_t) MIN((uint64_t) f->buf_n, size - f->buf_at);
    if (f->fd >= 0 && ftruncate(f->fd, bytes) < 0) {
        (void) ERR_ERRNO(&temp_err, "could not cut a temporary file");
        return SQLITE_IOERR_TRUNCATE;
    }
    if (f->charged > size) {
        spill_release(f->charged - size);
        f->charged = size;
    }
    f->size = size;
    return SQLITE_OK;
}

static int
temp_sync(sqlite3_file *f, int flags)
{
    (void) f;
    (void) flags;
    return SQLITE_OK;
}

/* Of a main journal the pager asks this when it begins to play a transaction back, and only then:
 * what it writes from now on are originals, which the backend has. */
static int
temp_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    struct vfs_temp *f = temp_of(file);

    if (f->of != NULL)
        vfs_file_rolls_back(f->of);
    *ret = (sqlite3_int64) f->size;
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
vfs_temp_open(struct vfs_temp *f, bool is_journal, struct vfs_handle *of)
{
    int fd = -1;

    if (!is_journal) {
        fd = spill_open(&temp_err);
        if (fd < 0)
            return SQLITE_CANTOPEN;
    }
    *f = (struct vfs_temp){ .fd = fd, .is_journal = is_journal, .of = of };
    f->base.pMethods = &temp_methods;
    return SQLITE_OK;
}
