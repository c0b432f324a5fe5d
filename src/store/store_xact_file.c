/* pg_xact on disk: pages out of the ring and back, in CKPT-4's order. Runs in the checkpointer, the
 * startup process, and in whoever is handed the first id of a page. Owns the ring's places, under
 * LOCK_XACT_PAGE. Source: engine-rules XID-4, CKPT-4; file names and page layout are PostgreSQL's.
 */
#include "store/store_xact_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "store/store_shared.h"

void
store_xact_path(char ret[XACT_PATH_BYTES], uint64_t page)
{
    uint32_t file =
        (uint32_t) ((uint32_t) (page * XACT_XIDS_PAGE) / XACT_XIDS_PAGE / XACT_PAGES_FILE);

    (void) snprintf(ret, XACT_PATH_BYTES, XACT_DIR "/%04X", file & 0xFFFu);
}

static uint64_t
offset_of(uint64_t page)
{
    return page % XACT_PAGES_FILE * PAGE_BYTES;
}

/* One file while its pages are written. */
struct out {
    char path[XACT_PATH_BYTES];
    int fd;
    bool is_new;
};

static int
out_open(struct io *io, struct out *o, uint64_t page, struct err *e)
{
    store_xact_path(o->path, page);
    o->is_new = false;
    o->fd = io_open(io, o->path, O_RDWR, 0);
    if (o->fd == -ENOENT) {
        o->is_new = true;
        o->fd = io_open(io, o->path, O_RDWR | O_CREAT, 0600);
    }
    if (o->fd < 0)
        return err_set_errno(e, -o->fd, "could not open file \"%s\"", o->path);
    return 0;
}

/* Sync and close. What failed to sync may be lost for good: never tried again (CKPT-3). */
static void
out_close(struct io *io, struct out *o)
{
    int r;

    if (o->fd < 0)
        return;
    r = FAULT(XACT_SYNC);
    if (r == 0)
        r = io_fsync(io, o->fd);
    if (r == 0 && o->is_new)
        r = io_fsync_dir(io, XACT_DIR);
    if (r < 0)
        log_panicf("could not sync file \"%s\": %s", o->path, strerror(-r));
    (void) io_close(io, o->fd);
    o->fd = -1;
}

/* Write the page in ring place `slot` to o. The caller holds LOCK_XACT_PAGE (or is alone). */
static int
out_put(struct store *st, struct out *o, uint32_t slot, bool flush, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;
    uint64_t page = atomic_load_explicit(&x->ring[slot], memory_order_relaxed) - 1;
    uint8_t copy[PAGE_BYTES];
    ssize_t r;

    /* whoever sets a status now marks the page again */
    (void) atomic_exchange_explicit(&x->dirty[slot], 0, memory_order_acq_rel);
    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        copy[i] = atomic_load_explicit(&x->status[slot][i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (flush)
        wal_flush(st->wal, wal_insert_end(st->wal)); /* CKPT-4: read after the copy */
    r = FAULT(XACT_WRITE);
    if (r == 0)
        r = io_pwrite(st->io, o->fd, copy, PAGE_BYTES, offset_of(page));
    if (r >= 0)
        return 0;
    atomic_store_explicit(&x->dirty[slot], 1, memory_order_release);
    (void) err_set_errno(e, (int) -r, "could not write file \"%s\"", o->path);
    return store_note_space(st, (int) r, PAGE_BYTES, e);
}

static int
write_one(struct store *st, uint32_t slot, bool flush, struct err *e)
{
    uint64_t page = atomic_load_explicit(&st->sh->xact.ring[slot], memory_order_relaxed) - 1;
    struct out o = { .fd = -1 };
    int r = out_open(st->io, &o, page, e);

    if (r == 0) {
        r = out_put(st, &o, slot, flush, e);
        out_close(st->io, &o);
    }
    return r;
}

static void
fill_place(struct store_xact_shared *x, uint64_t page, const uint8_t *content)
{
    uint32_t slot = (uint32_t) (page % XACT_RING_PAGES);

    atomic_store_explicit(&x->ring[slot], 0, memory_order_seq_cst);
    /* Who reads a status of the new page reads 0 here after it (store_xact_bits()). No store's own
     * order does that: it holds back what is before it, not what follows. */
    atomic_thread_fence(memory_order_release);
    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        atomic_store_explicit(&x->status[slot][i], content == NULL ? 0 : content[i],
                              memory_order_relaxed);
    atomic_store_explicit(&x->dirty[slot], 0, memory_order_relaxed);
    atomic_store_explicit(&x->ring[slot], page + 1, memory_order_release);
}

static bool
is_dirty(struct store_xact_shared *x, uint32_t slot)
{
    return atomic_load_explicit(&x->ring[slot], memory_order_acquire) != 0 &&
           atomic_load_explicit(&x->dirty[slot], memory_order_acquire) != 0;
}

int
xact_file_make_ready(struct store *st, uint64_t page, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;
    uint32_t slot = (uint32_t) (page % XACT_RING_PAGES);
    int r = 0;

    rwlock_take_exclusive(st->self, &x->page_lock, LOCK_XACT_PAGE, WAIT_XACT_PAGE);
    if (atomic_load_explicit(&x->ready, memory_order_relaxed) <= page * XACT_XIDS_PAGE) {
        if (is_dirty(x, slot))
            r = write_one(st, slot, true, e); /* XID-4: leaves only clean */
        if (r == 0) {
            fill_place(x, page, NULL);
            atomic_store_explicit(&x->ready, (page + 1) * XACT_XIDS_PAGE, memory_order_release);
        }
    }
    rwlock_drop_exclusive(st->self, &x->page_lock, LOCK_XACT_PAGE);
    return r;
}

/* Up to n bytes at `at` of a page; what is not there is zeros. */
static int
read_part(struct store *st, uint64_t page, uint32_t at, uint8_t *p, size_t n, struct err *e)
{
    char path[XACT_PATH_BYTES];
    ssize_t got;
    int fd;

    memset(p, 0, n);
    store_xact_path(path, page);
    fd = io_open(st->io, path, O_RDONLY, 0);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return err_set_errno(e, -fd, "could not open file \"%s\"", path);
    got = io_pread(st->io, fd, p, n, offset_of(page) + at);
    (void) io_close(st->io, fd);
    if (got < 0)
        return err_set_errno(e, (int) -got, "could not read file \"%s\"", path);
    return 0;
}

int
xact_file_bring(struct store *st, uint64_t page, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;
    uint32_t slot = (uint32_t) (page % XACT_RING_PAGES);
    uint8_t content[PAGE_BYTES];
    int r = 0;

    if (atomic_load_explicit(&x->ring[slot], memory_order_acquire) == page + 1)
        return 0;
    if (is_dirty(x, slot))
        r = write_one(st, slot, false, e); /* in redo all of the log that was read is durable */
    if (r == 0)
        r = read_part(st, page, 0, content, PAGE_BYTES, e);
    if (r == 0)
        fill_place(x, page, content);
    return r;
}

int
xact_file_read_byte(struct store *st, uint64_t page, uint32_t at, uint8_t *ret, struct err *e)
{
    return read_part(st, page, at, ret, 1, e);
}

struct old_files {
    struct io *io;
    uint32_t next; /* low word of nextXid */
};

static int
remove_old(void *arg, const char *name, bool is_dir)
{
    struct old_files *o = arg;
    char path[XACT_PATH_BYTES];
    unsigned file;
    char tail;

    if (is_dir || strlen(name) != 4 || sscanf(name, "%4X%c", &file, &tail) != 1 || file > 0xFFFu)
        return 0;
    if (o->next - (file * XACT_PAGES_FILE * XACT_XIDS_PAGE) <
        XACT_KEPT_XIDS + XACT_PAGES_FILE * XACT_XIDS_PAGE)
        return 0;
    (void) snprintf(path, sizeof path, XACT_DIR "/%04X", file);
    return io_unlink(o->io, path);
}

/* Write every page that changed, file by file. The caller holds LOCK_XACT_PAGE. */
static int
write_dirty(struct store *st, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;
    struct out o = { .fd = -1 };
    int r = 0;

    for (uint32_t slot = 0; slot < XACT_RING_PAGES && r == 0; slot++) {
        char path[XACT_PATH_BYTES];

        if (!is_dirty(x, slot))
            continue;
        store_xact_path(path, atomic_load_explicit(&x->ring[slot], memory_order_relaxed) - 1);
        if (o.fd < 0 || strcmp(path, o.path) != 0) {
            out_close(st->io, &o);
            r = out_open(st->io, &o, atomic_load_explicit(&x->ring[slot], memory_order_relaxed) - 1,
                         e);
        }
        if (r == 0)
            r = out_put(st, &o, slot, true, e);
    }
    out_close(st->io, &o);
    return r;
}

int
store_xact_write(struct store *st, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;
    int r;

    rwlock_take_exclusive(st->self, &x->page_lock, LOCK_XACT_PAGE, WAIT_XACT_PAGE);
    r = write_dirty(st, e);
    rwlock_drop_exclusive(st->self, &x->page_lock, LOCK_XACT_PAGE);
    return r;
}

int
store_xact_checkpoint(struct store *st, struct err *e)
{
    struct old_files old = { .io = st->io, .next = (uint32_t) store_xid_next(st) };
    int r = store_xact_write(st, e);

    if (r == 0) {
        r = io_list(st->io, XACT_DIR, remove_old, &old);
        if (r < 0)
            (void) err_set_errno(e, -r, "could not clean directory \"%s\"", XACT_DIR);
    }
    return r;
}
