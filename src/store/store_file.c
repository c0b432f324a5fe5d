/* Database files and directories by name: made, removed, swept, locked; build handles. Runs in
 * init, startup, checkpointer, and in a backend that creates a database. Owns: nothing but the
 * build handle's descriptor. Source: engine-rules FILE-2, FILE-6, FILE-8, INIT-1. */
#include "store/store_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "shm/wait.h"
#include "store/store_fd.h"
#include "store/store_page.h"
#include "store/store_shared.h"

#define BASE_DIR        "base"
#define PG_VERSION_TEXT "15\n"
#define LOCKED_MAX      4096 /* FILE-8: as many as the limit of descriptors is asked for */
#define HAND_OVER_USEC  USEC_PER_SEC

void
store_path_dir(char *p, size_t n, oid_t oid)
{
    (void) snprintf(p, n, BASE_DIR "/%u", oid);
}

void
store_path_file(char *p, size_t n, oid_t oid, oid_t rel)
{
    (void) snprintf(p, n, BASE_DIR "/%u/%u", oid, rel);
}

/* ---- directories ---- */

int
store_dir_make(struct io *io, oid_t oid, bool *ret_made, struct err *e)
{
    char dir[STORE_PATH_BYTES];
    char version[STORE_PATH_BYTES + 16];
    char have[8];
    int r;

    store_path_dir(dir, sizeof dir, oid);
    (void) snprintf(version, sizeof version, "%s/PG_VERSION", dir);
    r = io_mkdir(io, dir, 0700);
    if (ret_made != NULL)
        *ret_made = r == 0;
    if (r == -EEXIST)
        r = 0;
    if (r == 0)
        r = io_fsync_dir(io, BASE_DIR);
    if (r < 0)
        return err_set_errno(e, -r, "could not create directory \"%s\"", dir);
    if (io_read_file(io, version, have, sizeof have) > 0)
        return 0;
    return io_write_file_durably(io, dir, version, PG_VERSION_TEXT, strlen(PG_VERSION_TEXT), e);
}

struct removing {
    struct io *io;
    const char *dir;
};

static int
remove_entry(void *arg, const char *name, bool is_dir)
{
    struct removing *x = arg;
    char path[512];
    int r;

    (void) snprintf(path, sizeof path, "%s/%s", x->dir, name);
    r = is_dir ? -EISDIR : io_unlink(x->io, path);
    return r == -ENOENT ? 0 : r;
}

int
store_dir_remove(struct io *io, oid_t oid, struct err *e)
{
    char dir[STORE_PATH_BYTES];
    struct removing x = { .io = io, .dir = dir };
    int r;

    store_path_dir(dir, sizeof dir, oid);
    r = FAULT(FILE_REMOVE);
    if (r == 0)
        r = io_list(io, dir, remove_entry, &x);
    if (r == 0)
        r = io_rmdir(io, dir);
    if (r == -ENOENT)
        r = 0;
    if (r == 0)
        r = io_fsync_dir(io, BASE_DIR);
    return r < 0 ? err_set_errno(e, -r, "could not remove directory \"%s\"", dir) : 0;
}

int
store_file_remove(struct io *io, oid_t oid, oid_t rel, struct err *e)
{
    char dir[STORE_PATH_BYTES];
    char path[STORE_PATH_BYTES];
    int r;

    store_path_dir(dir, sizeof dir, oid);
    store_path_file(path, sizeof path, oid, rel);
    r = FAULT(FILE_REMOVE);
    if (r == 0)
        r = io_unlink(io, path);
    if (r == 0)
        r = io_fsync_dir(io, dir);
    if (r == -ENOENT)
        r = 0;
    return r < 0 ? err_set_errno(e, -r, "could not remove file \"%s\"", path) : 0;
}

/* ---- build handles (FILE-2) ---- */

static bool
exists(struct io *io, const char *path)
{
    int fd = io_open(io, path, O_RDONLY, 0);

    if (fd >= 0)
        (void) io_close(io, fd);
    return fd != -ENOENT;
}

int
store_build_begin(struct store_build *b, struct io *io, oid_t oid, oid_t rel, lsn_t lsn,
                  struct err *e)
{
    char path[STORE_PATH_BYTES];
    char tmp[STORE_PATH_BYTES + 8];
    int r;

    ASSERT(lsn != 0); /* FILE-2: never 0 */
    *b = (struct store_build){ .io = io, .oid = oid, .rel = rel, .lsn = lsn, .fd = -1 };
    store_path_file(path, sizeof path, oid, rel);
    r = store_dir_make(io, oid, &b->made_dir, e);
    if (r < 0) {
        if (b->made_dir)
            (void) store_dir_remove(io, oid, NULL);
        return r;
    }
    /* FILE-8: locked before anybody can see it under its name. */
    (void) snprintf(tmp, sizeof tmp, "%s.tmp", path);
    r = exists(io, path) ? -EEXIST : 0;
    if (r == 0)
        r = b->fd = io_open(io, tmp, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (r >= 0)
        r = store_fd_lock_pending(io, b->fd);
    if (r >= 0)
        r = io_rename(io, tmp, path);
    if (r >= 0)
        return 0;
    if (b->fd >= 0)
        (void) io_unlink(io, tmp);
    store_build_close(b);
    if (b->made_dir)
        (void) store_dir_remove(io, oid, NULL);
    return err_set_errno(e, -r, "could not create file \"%s\"", path);
}

int
store_build_read(struct store_build *b, pgno_t pgno, void *p, struct err *e)
{
    lsn_t lsn;
    ssize_t got = io_pread(b->io, b->fd, p, PAGE_BYTES, (uint64_t) (pgno - 1) * PAGE_BYTES);
    int r;

    if (got < 0)
        return err_set_errno(e, (int) -got, "could not read file \"base/%u/%u\"", b->oid, b->rel);
    if (got < (ssize_t) PAGE_BYTES) {
        memset(p, 0, PAGE_BYTES);
        return STORE_SHORT;
    }
    r = page_check(p, pgno - 1, &lsn, e);
    memset((uint8_t *) p + PAGE_TAIL_AT, 0, PAGE_TAIL_BYTES);
    return r;
}

int
store_build_write(struct store_build *b, pgno_t pgno, const void *p, struct err *e)
{
    uint8_t copy[PAGE_BYTES];
    ssize_t r;

    b->n_pages = MAX(b->n_pages, pgno);
    if (pgno == LOCK_BYTE_PGNO)
        return 0;
    memcpy(copy, p, PAGE_BYTES);
    page_stamp(copy, pgno - 1, b->lsn);
    r = FAULT(BUILD_WRITE);
    if (r == 0)
        r = io_pwrite(b->io, b->fd, copy, PAGE_BYTES, (uint64_t) (pgno - 1) * PAGE_BYTES);
    if (r < 0)
        return err_set_errno(e, (int) -r, "could not write file \"base/%u/%u\"", b->oid, b->rel);
    return 0;
}

int
store_build_finish(struct store_build *b, struct err *e)
{
    char dir[STORE_PATH_BYTES];
    int r;

    store_path_dir(dir, sizeof dir, b->oid);
    r = FAULT(BUILD_SYNC);
    if (r == 0)
        r = io_fsync(b->io, b->fd);
    if (r == 0)
        r = io_fsync_dir(b->io, dir);
    if (r == 0)
        r = io_fsync_dir(b->io, BASE_DIR);
    if (r < 0) {
        (void) err_set_errno(e, -r, "could not sync file \"base/%u/%u\"", b->oid, b->rel);
        return r;
    }
    return 0;
}

void
store_build_close(struct store_build *b)
{
    if (b->fd >= 0)
        (void) io_close(b->io, b->fd);
    b->fd = -1;
}

void
store_build_hand_over(struct store_build *b, struct store *st)
{
    _Atomic uint32_t nobody_wakes = 0;
    usec_t deadline = clock_mono_usec() + HAND_OVER_USEC;

    while (store_role_is_taken(st, STORE_ROLE_CHECKPOINTER) &&
           !store_fd_is_taken_over(b->io, b->fd)) {
        store_role_wake(st, STORE_ROLE_CHECKPOINTER);
        if (clock_mono_usec() >= deadline ||
            wait_sleep(st->self, &nobody_wakes, 0, clock_mono_usec() + USEC_PER_MSEC, WAIT_DB_STATE,
                       NULL) < 0) {
            (void) store_fd_adopt(st->fds, b->oid, b->rel, b->fd, NULL);
            b->fd = -1;
            return;
        }
    }
    store_build_close(b);
}

void
store_build_abort(struct store_build *b)
{
    store_build_close(b);
    if (b->made_dir)
        (void) store_dir_remove(b->io, b->oid, NULL);
    else
        (void) store_file_remove(b->io, b->oid, b->rel, NULL);
}

/* ---- sweep (FILE-6) ---- */

struct sweep {
    struct store *st;
    const struct store_listed *list;
    uint32_t n;
    oid_t oid; /* the directory being looked at */
    struct err *e;
};

/* A name of digits as a number; 0 = it is none. */
static oid_t
oid_of_name(const char *name)
{
    char *end;
    unsigned long v;

    if (name[0] < '1' || name[0] > '9')
        return 0;
    errno = 0;
    v = strtoul(name, &end, 10);
    return *end == '\0' && errno == 0 && v <= UINT32_MAX ? (oid_t) v : 0;
}

static bool
is_listed(const struct sweep *s, oid_t oid, oid_t rel)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->list[i].oid == oid && (rel == 0 || s->list[i].rel == rel))
            return true;
    return oid == CATALOG_DB_OID && (rel == 0 || rel == CATALOG_DB_OID);
}

static void
forget_cached(struct sweep *s, oid_t oid, oid_t rel)
{
    uint32_t db = store_db_find(s->st, oid);

    store_fd_forget(s->st->fds, oid, rel);
    if (db != CACHE_NONE)
        cache_purge(s->st->cache, db, rel);
}

static int
sweep_file(void *arg, const char *name, bool is_dir)
{
    struct sweep *s = arg;
    oid_t rel = is_dir ? 0 : oid_of_name(name);

    if (rel == 0 || is_listed(s, s->oid, rel))
        return 0;
    forget_cached(s, s->oid, rel);
    return store_file_remove(s->st->io, s->oid, rel, s->e);
}

static int
sweep_dir(void *arg, const char *name, bool is_dir)
{
    struct sweep *s = arg;
    oid_t oid = is_dir ? oid_of_name(name) : 0;
    char dir[STORE_PATH_BYTES];

    if (oid == 0)
        return 0;
    if (!is_listed(s, oid, 0)) {
        forget_cached(s, oid, 0);
        return store_dir_remove(s->st->io, oid, s->e);
    }
    s->oid = oid;
    store_path_dir(dir, sizeof dir, oid);
    return io_list(s->st->io, dir, sweep_file, s);
}

int
store_sweep(struct store *st, const struct store_listed *list, uint32_t n, struct err *e)
{
    struct sweep s = { .st = st, .list = list, .n = n, .e = e };
    int r = io_list(st->io, BASE_DIR, sweep_dir, &s);

    return r < 0 ? err_set_errno(e, r > -1000 ? -r : EIO, "could not clean directory \"base\"") : 0;
}

int
store_lock_files(struct store *st, const struct store_listed *list, uint32_t n, struct err *e)
{
    int result = 0;

    for (uint32_t i = 0; i < n; i++) {
        int r = store_fd_keep(st->fds, list[i].oid, list[i].rel, true, e);

        if (r < 0)
            return r;
        result = MAX(result, r);
    }
    return result;
}

static int
open_one(void *arg, const char *name, bool is_dir)
{
    struct sweep *s = arg;
    oid_t rel = is_dir ? 0 : oid_of_name(name);
    int fd;
    int r;

    if (rel == 0 || s->n == 0)
        return 0;
    s->n--;
    r = store_fd_get(s->st->fds, s->oid, rel, &fd, s->e);
    if (r >= 0 || r <= -ERR_BASE)
        return r;
    /* One that cannot be opened is no use to others either; its database is told when it is used.
     */
    log_err(LOG_LEVEL_WARNING, "", s->e);
    err_clear(s->e);
    return 0;
}

static int
open_dir(void *arg, const char *name, bool is_dir)
{
    struct sweep *s = arg;
    char dir[STORE_PATH_BYTES];

    s->oid = is_dir ? oid_of_name(name) : 0;
    store_path_dir(dir, sizeof dir, s->oid);
    return s->oid == 0 ? 0 : io_list(s->st->io, dir, open_one, s);
}

int
store_lock_present(struct store *st, usec_t patience, struct err *e)
{
    struct sweep s = { .st = st, .n = LOCKED_MAX, .e = e };
    int r;

    store_fds_lock_opened(st->fds, st->self, patience);
    r = io_list(st->io, BASE_DIR, open_dir, &s);
    if (r < 0 && e->code == 0)
        return err_set_errno(e, -r, "could not lock the files of directory \"base\"");
    return r;
}
