/* sqlite3_io_methods of a main file: locks become snapshots, SYNC becomes prepare, PHASETWO becomes
 * commit.
 *
 * Runs in: backend, startup (catalogue), init. Owns: struct vfs_handle.
 * Source: sqlite-vfs 5.3 … 5.14, engine-rules 4. */
#include "vfs/vfs_file.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "vfs/vfs_err.h"

#define HEADER_BYTES    100
#define VERSION_AT      24 /* file change counter and what follows: the pager's question */
#define VERSION_BYTES   16
#define NO_SUCH_VERSION UINT64_C(0xfefefefefefefefe)

static struct vfs_handle *
handle_of(sqlite3_file *f)
{
    return (struct vfs_handle *) (void *) f;
}

static void
trace(const struct vfs_handle *h, const char *what, int64_t a, int64_t b)
{
    if (h->trace != NULL)
        h->trace(h->trace_arg, what, a, b);
}

const struct err *
vfs_error(const struct vfs_handle *h)
{
    return &h->err;
}

void
vfs_error_reset(struct vfs_handle *h)
{
    err_clear(&h->err);
}

const struct vfs_counts *
vfs_counts(const struct vfs_handle *h)
{
    return &h->counts;
}

/* ---- locks ---- */

static int
file_lock(sqlite3_file *f, int level)
{
    struct vfs_handle *h = handle_of(f);
    int r = 0;

    trace(h, "lock", level, 0);
    if (level <= h->level)
        return SQLITE_OK;
    if (level == SQLITE_LOCK_SHARED) {
        r = h->ops->begin(h->t, &h->err);
        if (r < 0)
            return SQLITE_IOERR_READ; /* VFS-1: never BUSY */
    } else if (level == SQLITE_LOCK_RESERVED) {
        r = h->ops->begin_write(h->t, &h->err);
        if (r == VFS_STALE)
            return SQLITE_BUSY_SNAPSHOT; /* VFS-3 */
        if (r < 0)
            return vfs_err_reserved(r);
        h->write = VFS_WRITE_OPEN;
        h->has_staged = false;
    } else {
        r = h->ops->check(h->t, &h->err);
        if (r < 0)
            return SQLITE_BUSY; /* sqlite-vfs 5.6: the one step where BUSY is safe */
    }
    h->level = level;
    return SQLITE_OK;
}

/* The write is over, whichever way. */
static void
leave_write(struct vfs_handle *h)
{
    if (h->write != VFS_WRITE_COMMITTED && h->has_staged)
        h->cache_ver = 0; /* VFS-2: a write set was discarded */
    h->ops->end_write(h->t);
    h->write = VFS_WRITE_NONE;
    h->has_staged = false;
}

static int
file_unlock(sqlite3_file *f, int level)
{
    struct vfs_handle *h = handle_of(f);

    trace(h, "unlock", level, 0);
    if (level <= SQLITE_LOCK_SHARED && h->level > SQLITE_LOCK_SHARED)
        leave_write(h);
    if (level == SQLITE_LOCK_NONE && h->level > SQLITE_LOCK_NONE)
        h->ops->end(h->t);
    if (level < h->level)
        h->level = level;
    return SQLITE_OK; /* sqlite-vfs 5.6: must never fail */
}

static int
file_check_reserved(sqlite3_file *f, int *ret)
{
    (void) f;
    *ret = 0; /* asked only when a journal exists, which is never (5.14) */
    return SQLITE_OK;
}

static int
file_close(sqlite3_file *f)
{
    struct vfs_handle *h = handle_of(f);

    trace(h, "close", 0, 0);
    (void) file_unlock(f, SQLITE_LOCK_NONE);
    if (h->t != NULL)
        h->ops->close(h->t);
    h->t = NULL;
    if (h->last_words != NULL)
        *h->last_words = h->err;
    return SQLITE_OK;
}

/* ---- reading ---- */

static int
read_failed(struct vfs_handle *h)
{
    h->cache_ver = 0; /* VFS-2 */
    return SQLITE_IOERR_READ;
}

/* VFS-2: the 16 bytes at offset 24 are nothing but the question whether the private cache is good.
 */
static void
answer_version(struct vfs_handle *h, void *p)
{
    /* Grows with each answer of any handle, so no two are alike and none was ever a page's. */
    static uint64_t nonce = 0;

    if (h->cache_ver != 0 && h->cache_ver == h->ops->version(h->t) &&
        h->cache_epoch == h->ops->epoch(h->t)) {
        memcpy(p, h->ops->header(h->t) + VERSION_AT, VERSION_BYTES);
        return;
    }
    h->counts.n_nonce++;
    put_u64(p, NO_SUCH_VERSION);
    put_u64((uint8_t *) p + 8, ++nonce);
}

/* A whole page. */
static int
read_page(struct vfs_handle *h, pgno_t pgno, void *p)
{
    int r = h->ops->read(h->t, pgno, p, &h->err);

    if (r < 0)
        return read_failed(h);
    h->counts.n_read++;
    if (pgno == 1 && r == 0) {
        h->cache_ver = h->ops->version(h->t);
        h->cache_epoch = h->ops->epoch(h->t);
    }
    return r == VFS_SHORT ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

/* Any range, by whole pages through a bounce buffer: not what 3.40 does, but newer ones might
 * (5.0). */
static int
read_range(struct vfs_handle *h, uint8_t *p, uint64_t n, uint64_t off)
{
    uint8_t page[PAGE_BYTES];
    int rc = SQLITE_OK;

    while (n > 0) {
        uint64_t in = off % PAGE_BYTES;
        uint64_t part = MIN(n, PAGE_BYTES - in);
        int r = h->ops->read(h->t, (pgno_t) (off / PAGE_BYTES) + 1, page, &h->err);

        if (r < 0)
            return read_failed(h);
        if (r == VFS_SHORT)
            rc = SQLITE_IOERR_SHORT_READ;
        memcpy(p, page + in, part);
        p += part;
        off += part;
        n -= part;
    }
    return rc;
}

static int
read_header(struct vfs_handle *h, void *p, int n, sqlite3_int64 off)
{
    if (h->ops->size(h->t) == 0) {
        memset(p, 0, (size_t) n);
        return SQLITE_IOERR_SHORT_READ;
    }
    memcpy(p, h->ops->header(h->t) + off, (size_t) n);
    return SQLITE_OK;
}

static int
file_read(sqlite3_file *f, void *p, int n, sqlite3_int64 off)
{
    struct vfs_handle *h = handle_of(f);
    bool is_page = n == (int) PAGE_BYTES && off % PAGE_BYTES == 0;
    bool is_temporary = h->level == SQLITE_LOCK_NONE;
    int rc;

    trace(h, "read", off, n);
    if (is_temporary && h->ops->begin(h->t, &h->err) < 0)
        return read_failed(h);
    if (off == VERSION_AT && n == VERSION_BYTES && !is_temporary) {
        answer_version(h, p);
        rc = SQLITE_OK;
    } else if (off + n <= HEADER_BYTES && h->write == VFS_WRITE_NONE) {
        rc = read_header(h, p, n, off);
    } else if (is_page && !is_temporary) {
        rc = read_page(h, (pgno_t) (off / PAGE_BYTES) + 1, p);
    } else {
        rc = read_range(h, p, (uint64_t) n, (uint64_t) off);
    }
    if (is_temporary)
        h->ops->end(h->t);
    return rc;
}

static int
file_fetch(sqlite3_file *f, sqlite3_int64 off, int n, void **ret)
{
    struct vfs_handle *h = handle_of(f);
    const void *p = NULL;

    trace(h, "fetch", off, n);
    *ret = NULL;
    if (h->level == SQLITE_LOCK_NONE || off % PAGE_BYTES != 0 || n > (int) PAGE_BYTES ||
        off < PAGE_BYTES) /* VFS-4 */
        return SQLITE_OK;
    if (h->ops->fetch(h->t, (pgno_t) (off / PAGE_BYTES) + 1, &p, &h->err) < 0)
        return read_failed(h);
    if (p != NULL)
        h->counts.n_fetch++;
    *ret = (void *) (uintptr_t) p; /* SQLite does not write through it: a read-only reference */
    return SQLITE_OK;
}

static int
file_unfetch(sqlite3_file *f, sqlite3_int64 off, void *p)
{
    struct vfs_handle *h = handle_of(f);

    (void) off;
    if (p != NULL)
        h->ops->unfetch(h->t, p);
    return SQLITE_OK;
}

static int
file_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    struct vfs_handle *h = handle_of(f);

    trace(h, "size", 0, 0);
    *ret = (sqlite3_int64) h->ops->size(h->t) * PAGE_BYTES;
    return SQLITE_OK;
}

/* ---- writing ---- */

static int
file_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 off)
{
    struct vfs_handle *h = handle_of(f);

    trace(h, "write", off, n);
    if (h->write == VFS_WRITE_REFUSED)
        return SQLITE_OK; /* VFS-6: the pager writes its originals back */
    ASSERT(h->write == VFS_WRITE_OPEN);
    ASSERT(n == (int) PAGE_BYTES);
    ASSERT(off % PAGE_BYTES == 0);
    h->has_staged = true;
    if (h->ops->stage(h->t, (pgno_t) (off / PAGE_BYTES) + 1, p, &h->err) < 0) {
        h->write = VFS_WRITE_REFUSED; /* as a refused SYNC (5.5) */
        return SQLITE_FULL;
    }
    return SQLITE_OK;
}

void
vfs_file_rolls_back(struct vfs_handle *h)
{
    trace(h, "playback", 0, 0);
    if (h->write == VFS_WRITE_OPEN)
        h->write = VFS_WRITE_REFUSED;
}

static int
file_truncate(sqlite3_file *f, sqlite3_int64 bytes)
{
    struct vfs_handle *h = handle_of(f);

    trace(h, "truncate", bytes, 0);
    if (h->write == VFS_WRITE_REFUSED)
        return SQLITE_OK;
    if (h->ops->truncate(h->t, (pgno_t) (bytes / PAGE_BYTES), &h->err) < 0)
        return SQLITE_IOERR_TRUNCATE;
    return SQLITE_OK;
}

static int
file_sync(sqlite3_file *f, int flags)
{
    trace(handle_of(f), "fsync", flags, 0);
    return SQLITE_OK; /* durability is outside SQLite (5.13) */
}

/* FCNTL_SYNC: prepare. */
static int
prepare(struct vfs_handle *h)
{
    trace(h, "sync", 0, 0);
    if (h->write != VFS_WRITE_OPEN)
        return SQLITE_OK; /* VFS-6: refused before, or the gate is held */
    if (h->ops->prepare(h->t, &h->err) < 0) {
        h->write = VFS_WRITE_REFUSED;
        return SQLITE_IOERR_FSYNC; /* never plain BUSY (5.6) */
    }
    h->write = VFS_WRITE_PREPARED;
    return SQLITE_OK;
}

/* FCNTL_COMMIT_PHASETWO: commit. Only IOERR or FULL could be returned (5.6); nothing is. */
static int
commit(struct vfs_handle *h)
{
    trace(h, "phasetwo", 0, 0);
    if (h->write == VFS_WRITE_NONE)
        return SQLITE_OK;
    ASSERT(h->write == VFS_WRITE_PREPARED || !h->has_staged);
    h->ops->commit(h->t);
    h->counts.n_commit++;
    if (h->has_staged) { /* VFS-5 */
        h->cache_ver = h->ops->version(h->t);
        h->cache_epoch = h->ops->epoch(h->t);
    }
    h->write = VFS_WRITE_COMMITTED;
    return SQLITE_OK;
}

/* Pragmas that would take the ground from under the handle, whoever sends them (5.11). arg[0] takes
 * the message, arg[1] is the name, arg[2] the value or NULL. */
static int
pragma(char **arg)
{
    if (arg[2] == NULL)
        return SQLITE_NOTFOUND;
    if (sqlite3_stricmp(arg[1], "journal_mode") == 0 ||
        sqlite3_stricmp(arg[1], "locking_mode") == 0 || sqlite3_stricmp(arg[1], "page_size") == 0) {
        arg[0] = sqlite3_mprintf("%s cannot be changed", arg[1]);
        return SQLITE_ERROR;
    }
    return SQLITE_NOTFOUND;
}

static int
file_control(sqlite3_file *f, int op, void *arg)
{
    struct vfs_handle *h = handle_of(f);

    switch (op) {
    case SQLITE_FCNTL_SYNC:
        return prepare(h);
    case SQLITE_FCNTL_COMMIT_PHASETWO:
        return commit(h);
    case SQLITE_FCNTL_PRAGMA:
        return pragma(arg);
    case SQLITE_FCNTL_SIZE_HINT:
        trace(h, "hint", *(sqlite3_int64 *) arg, 0);
        return SQLITE_OK;
    case SQLITE_FCNTL_MMAP_SIZE: /* the pager only tells; frames are always mapped */
    case SQLITE_FCNTL_CHUNK_SIZE:
    case SQLITE_FCNTL_OVERWRITE:
        return SQLITE_OK;
    case SQLITE_FCNTL_LOCKSTATE:
        *(int *) arg = h->level;
        return SQLITE_OK;
    case SQLITE_FCNTL_HAS_MOVED:
        *(int *) arg = 0;
        return SQLITE_OK;
    case SQLITE_FCNTL_VFSNAME:
        *(char **) arg = sqlite3_mprintf("%s", VFS_NAME);
        return SQLITE_OK;
    default: /* SQLite's list, which grows: not ours to exhaust */
        return SQLITE_NOTFOUND;
    }
}

static int
file_sector_size(sqlite3_file *f)
{
    (void) f;
    return (int) PAGE_BYTES; /* makes 8192 the default page size (5.1) */
}

static int
file_characteristics(sqlite3_file *f)
{
    (void) f;
    return 0; /* 5.11: claim nothing that skips calls */
}

const sqlite3_io_methods vfs_file_methods = {
    .iVersion = 3,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    /* no xShm*: journal_mode=WAL is refused (5.11) */
    .xFetch = file_fetch,
    .xUnfetch = file_unfetch,
};
