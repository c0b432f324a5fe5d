/* Pages between cache and disk: reading, writing back, cutting, syncing. Runs in every attached
 * process: readers read, whoever needs frames and the checkpointer write. Owns: store_db.filelock
 * while it writes, the fsync set. Source: engine-rules EVICT-4, EVICT-6, CKPT-3. */
#include "store/store_writeback.h"

#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "store/store_fd.h"
#include "store/store_page.h"
#include "store/store_shared.h"

/* ---- reading ---- */

int
store_file_read(struct store *st, const struct cache_key *key, void *p, lsn_t *ret_lsn,
                struct err *e)
{
    struct err found = ERR_INIT;
    ssize_t n;
    int fd = -1;
    int r;

    *ret_lsn = 0;
    r = store_fd_get(st->fds, key->oid, key->rel, &fd, e);
    if (r < 0)
        return r;
    n = FAULT(STORE_PAGE_READ);
    if (n == 0)
        n = io_pread(st->io, fd, p, PAGE_BYTES, (uint64_t) key->block * PAGE_BYTES);
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read block %u of file \"base/%u/%u\"",
                             key->block, key->oid, key->rel);
    memset((uint8_t *) p + n, 0, PAGE_BYTES - (size_t) n); /* beyond the end: zeros */
    r = page_check(p, key->block, ret_lsn, &found);
    if (r < 0) {
        stat_add(st->self, STAT_CHECKSUM_FAILURES, 1);
        (void) err_set(e, r, "page %u of database %u is damaged: %.200s", key->block + 1, key->oid,
                       found.message);
        err_detail(e, "%.200s The file is \"base/%u/%u\".", found.detail, key->oid, key->rel);
    }
    return r;
}

int
store_file_size(struct store *st, oid_t oid, oid_t rel, uint64_t *ret_bytes, struct err *e)
{
    int fd = -1;
    int r = store_fd_get(st->fds, oid, rel, &fd, e);

    if (r < 0)
        return r;
    r = io_size(st->io, fd, ret_bytes);
    if (r < 0)
        return err_set_errno(e, -r, "could not read the size of file \"base/%u/%u\"", oid, rel);
    return 0;
}

int
store_page_read(void *arg, uint32_t db, const struct cache_key *key, void *p, lsn_t *ret_lsn,
                struct err *e)
{
    struct store *st = arg;
    int r = store_file_read(st, key, p, ret_lsn, e);

    (void) db;
    if (atomic_load_explicit(&st->sh->in_redo, memory_order_relaxed) == 0)
        return r;
    if (r == -ENOENT) {
        err_clear(e); /* FILE-6: a file that a later record drops */
        memset(p, 0, PAGE_BYTES);
        r = 0;
    }
    *ret_lsn = 0; /* REDO-3: what the tail says is older or newer than the commit being redone */
    return r;
}

/* ---- writing back (EVICT-4) ---- */

/* What EVICT-6 says about a block, read in its order under the shared filelock. */
enum verdict { WRITE_IT, SKIP_IT, DROP_IT };

static enum verdict
judge(const struct store_db *d, const struct cache_wb *wb)
{
    lsn_t p = atomic_load_explicit(&d->published, memory_order_acquire);
    pgno_t size = atomic_load_explicit(&d->size, memory_order_acquire);
    lsn_t shrink = atomic_load_explicit(&d->shrink_lsn, memory_order_acquire);

    if (atomic_load_explicit(&d->drop_lsn, memory_order_acquire) != 0) /* FILE-3 */
        return SKIP_IT;
    if (wb->key.block < size || shrink != 0)
        return WRITE_IT;
    return wb->is_sole && wb->lsn <= p ? DROP_IT : SKIP_IT;
}

static int
write_page(struct store *st, struct store_db *d, const struct cache_wb *wb, struct err *e)
{
    ssize_t n;
    int fd = -1;
    int r;

    memcpy(st->page_buf, wb->data, PAGE_BYTES);
    page_stamp(st->page_buf, wb->key.block, wb->lsn);
    r = store_fd_get(st->fds, wb->key.oid, wb->key.rel, &fd, e);
    if (r < 0)
        return r;
    n = FAULT(STORE_PAGE_WRITE);
    if (n == 0)
        n = io_pwrite(st->io, fd, st->page_buf, PAGE_BYTES, (uint64_t) wb->key.block * PAGE_BYTES);
    if (n < 0) {
        (void) err_set_errno(e, (int) -n, "could not write block %u of file \"base/%u/%u\"",
                             wb->key.block, wb->key.oid, wb->key.rel);
        return store_note_space(st, (int) n, PAGE_BYTES, e);
    }
    /* Into the fsync set between the write and disk_lsn. Not before the write, as EVICT-4 has it: a
     * checkpoint that owes nothing of this page may take the set in between, and the next one finds
     * the page clean and the file not in the set (sim_recovery, mutant syncorder). */
    atomic_store_explicit(&d->needs_sync, 1, memory_order_seq_cst);
    st->wrote_oid = wb->key.oid;
    st->wrote_rel = wb->key.rel;
    return 0;
}

/* Ends wb. */
static int
write_or_skip(struct store *st, struct cache_wb *wb, struct err *e)
{
    struct store_db *d = store_db_at(st, wb->db);
    enum verdict verdict;
    int r = STORE_WB_PAID;

    rwlock_take_shared(st->self, &d->filelock, LOCK_DB_FILE, WAIT_DB_FILE);
    verdict = judge(d, wb);
    if (verdict == WRITE_IT)
        r = write_page(st, d, wb, e);
    rwlock_drop_shared(st->self, &d->filelock, LOCK_DB_FILE);
    if (verdict == DROP_IT)
        (void) cache_wb_drop(st->cache, wb);
    else
        cache_wb_end(st->cache, wb, r == 0 ? wb->lsn : 0);
    return r;
}

/* The log must be durable to the version, and nobody may need what is on disk. 0, or as
 * store_write_back(), with wb ended. */
static int
make_writable(struct store *st, struct cache_wb *wb, struct err *e)
{
    int r;

    if (atomic_load_explicit(&st->sh->in_redo, memory_order_acquire) == 0 &&
        wal_durable(st->wal) < wb->lsn)
        store_wait_durable(st, wb->lsn);
    if (st->redo_guard != NULL) {
        r = st->redo_guard(st->redo_guard_arg, wb->lsn, e);
        if (r < 0) {
            cache_wb_end(st->cache, wb, 0);
            return r;
        }
    }
    if (!cache_wb_must_save(st->cache, wb))
        return 0;
    r = cache_wb_save_disk(st->cache, wb, e);
    if (r == 0)
        return 0;
    cache_wb_end(st->cache, wb, 0);
    return r < 0 ? r : STORE_WB_LATER;
}

int
store_write_back(struct store *st, uint32_t page_idx, struct err *e)
{
    struct cache_wb wb;
    int r;

    self_hold(st->self);
    r = cache_wb_begin(st->cache, page_idx, &wb);
    if (r == 0) {
        r = make_writable(st, &wb, e);
        if (r == 0)
            r = write_or_skip(st, &wb, e);
    } else {
        r = r == CACHE_WB_BUSY ? STORE_WB_BUSY : 0;
    }
    self_resume(st->self);
    return r;
}

int
store_page_evict(void *arg, uint32_t page_idx, struct err *e)
{
    return store_write_back(arg, page_idx, e);
}

#define SCAN_IDS 64u

/* One pass. Returns how many pages could not be written now, or < 0. */
static int
write_back_pass(struct store *st, struct err *e)
{
    uint32_t ids[SCAN_IDS];
    uint32_t pos = 0;
    uint32_t n;
    int n_left = 0;

    while ((n = cache_scan_dirty(st->cache, UINT64_MAX, &pos, ids, SCAN_IDS)) > 0)
        for (uint32_t i = 0; i < n; i++) {
            int r = store_write_back(st, ids[i], e);

            if (r < 0)
                return r;
            if (r == STORE_WB_BUSY)
                cache_io_wait(st->cache, ids[i]);
            n_left += r == STORE_WB_BUSY || r == STORE_WB_LATER;
        }
    return n_left;
}

int
store_write_back_all(struct store *st, uint32_t db, struct err *e)
{
    for (int pass = 0; pass < 3; pass++) {
        int r = write_back_pass(st, e);

        if (r <= 0)
            return r;
        (void) cache_prune(st->cache, db);
    }
    return 1;
}

/* ---- cutting (EVICT-6) ---- */

/* The file ends at `want`, and so do its blocks: those behind were allocated for commits that were
 * not made, or not written (a truncation to the size it has gives them back). */
static int
end_file_at(struct store *st, struct store_db *d, int fd, uint64_t bytes, uint64_t want)
{
    int r = FAULT(STORE_FILE_CUT);

    if (r < 0)
        return r;
    atomic_store_explicit(&d->allocated, want, memory_order_relaxed);
    if (bytes < want)
        r = io_truncate(st->io, fd, want);
    if (r == 0)
        r = io_truncate(st->io, fd, want);
    atomic_store_explicit(&d->needs_sync, 1, memory_order_seq_cst);
    return r;
}

/* With filelock, exclusive, and the writer lock, or alone. */
static int
cut_locked(struct store *st, uint32_t db, uint64_t want, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    oid_t oid = store_db_oid(st, db);
    oid_t rel = store_db_rel(d);
    uint64_t bytes = 0;
    int fd = -1;
    int r = store_file_size(st, oid, rel, &bytes, e);

    if (r < 0 || MAX(bytes, atomic_load_explicit(&d->allocated, memory_order_relaxed)) <= want)
        return r;
    r = store_fd_get(st->fds, oid, rel, &fd, e);
    if (r == 0)
        r = end_file_at(st, d, fd, bytes, want);
    if (r < 0)
        (void) err_set(e, r, "could not cut file \"base/%u/%u\" to %" PRIu64 " bytes", oid, rel,
                       want);
    return r;
}

static int
cut(struct store *st, uint32_t db, lsn_t shrink, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    int r;

    rwlock_take_exclusive(st->self, &d->filelock, LOCK_DB_FILE, WAIT_DB_FILE);
    uint64_t want = (uint64_t) atomic_load_explicit(&d->size, memory_order_acquire) * PAGE_BYTES;

    r = cut_locked(st, db, want, e);
    if (r == 0)
        (void) atomic_compare_exchange_strong_explicit(&d->shrink_lsn, &shrink, 0,
                                                       memory_order_acq_rel, memory_order_relaxed);
    rwlock_drop_exclusive(st->self, &d->filelock, LOCK_DB_FILE);
    return r;
}

void
store_file_give_back(struct store *st, uint32_t db)
{
    struct store_db *d = store_db_at(st, db);

    /* EVICT-6 has its own time for a file that may be longer because somebody still reads it. */
    if (atomic_load_explicit(&d->shrink_lsn, memory_order_acquire) != 0)
        return;
    rwlock_take_exclusive(st->self, &d->filelock, LOCK_DB_FILE, WAIT_DB_FILE);
    (void) cut_locked(st, db,
                      (uint64_t) atomic_load_explicit(&d->size, memory_order_acquire) * PAGE_BYTES,
                      NULL); /* another time, then */
    rwlock_drop_exclusive(st->self, &d->filelock, LOCK_DB_FILE);
}

int
store_file_cut(struct store *st, uint32_t db, bool alone, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    lsn_t shrink = atomic_load_explicit(&d->shrink_lsn, memory_order_acquire);
    int r;

    if (shrink == 0 || atomic_load_explicit(&d->drop_lsn, memory_order_acquire) != 0)
        return 0;
    /* One question asks both: cap, fence, entries (EVICT-1). */
    if (cache_cap(st->cache) < shrink || cache_snapshot_below(st->cache, db, shrink))
        return 1;
    if (!alone && !fair_try(st->self, &d->writer, LOCK_WRITER))
        return 1;
    self_hold(st->self);
    /* A commit may have shrunk it again before the lock was ours: that one waits for its turn. */
    r = atomic_load_explicit(&d->shrink_lsn, memory_order_acquire) == shrink
            ? cut(st, db, shrink, e)
            : 1;
    self_resume(st->self);
    if (!alone)
        fair_drop(st->self, &d->writer, store_waits(st), LOCK_WRITER);
    return r;
}

/* ---- syncing (CKPT-3) ---- */

NORETURN static void
not_synced(int r, oid_t oid, oid_t rel, struct err *e)
{
    /* never retried: the kernel may have dropped what it could not write */
    (void) err_set_errno(e, -r, "could not fsync file \"base/%u/%u\"", oid, rel);
    log_panic(e);
}

void
store_write_out(struct store *st)
{
    struct err e = ERR_INIT;
    int fd = -1;
    int r;

    if (st->wrote_oid == 0 || store_fd_get(st->fds, st->wrote_oid, st->wrote_rel, &fd, NULL) < 0)
        return; /* it is only a hint */
    r = io_write_out(st->io, fd);
    if (r < 0)
        not_synced(r, st->wrote_oid, st->wrote_rel, &e);
}

/* Whatever the set says. */
static int
sync_file(struct store *st, uint32_t db, struct err *e)
{
    oid_t oid = store_db_oid(st, db);
    oid_t rel = store_db_rel(store_db_at(st, db));
    int fd = -1;
    int r = store_fd_get(st->fds, oid, rel, &fd, e);

    if (r < 0)
        return r;
    r = FAULT(STORE_FILE_SYNC);
    if (r == 0)
        r = io_fsync(st->io, fd);
    if (r < 0)
        not_synced(r, oid, rel, e);
    return 1;
}

int
store_file_sync(struct store *st, uint32_t db, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    int r;

    /* Out of the set before the sync: a later write puts it in again. */
    if (atomic_exchange_explicit(&d->needs_sync, 0, memory_order_seq_cst) == 0)
        return 0;
    r = sync_file(st, db, e);
    if (r < 0)
        atomic_store_explicit(&d->needs_sync, 1, memory_order_relaxed);
    return r;
}

int
store_file_sync_idle(struct store *st, uint32_t db, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    int r;

    if (atomic_load_explicit(&d->needs_sync, memory_order_seq_cst) == 0)
        return 0;
    r = sync_file(st, db, e);
    /* Not before: a checkpoint that runs meanwhile must find it in the set, and wait for the disk
     * as well (CKPT-3). */
    if (r > 0)
        atomic_store_explicit(&d->needs_sync, 0, memory_order_seq_cst);
    return r;
}
