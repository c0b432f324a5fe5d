/* The store as a backend: each function of the table is one of store_txn.h. Runs in: backend,
 * startup, checkpointer (catalogue). */
#include "vfs/vfs_store.h"

#include "vfs/vfs_file.h"

/* CACHE-4: below this quota of pins xFetch would mostly answer NULL. */
#define FETCH_QUOTA_MIN 4

struct handle {
    struct store *st;
    uint32_t db;
    struct store_txn *txn; /* owned */
};

static struct store_txn *
txn_of(void *t)
{
    return ((struct handle *) t)->txn;
}

static int
do_begin(void *t, struct err *e)
{
    return store_txn_begin(txn_of(t), e);
}

static void
do_end(void *t)
{
    store_txn_end(txn_of(t));
}

static lsn_t
do_version(void *t)
{
    return store_txn_version(txn_of(t));
}

static uint64_t
do_epoch(void *t)
{
    return cache_epoch(((struct handle *) t)->st->cache);
}

static const uint8_t *
do_header(void *t)
{
    return store_txn_header(txn_of(t));
}

static pgno_t
do_size(void *t)
{
    return store_txn_size(txn_of(t));
}

static int
do_read(void *t, pgno_t pgno, void *p, struct err *e)
{
    int r = store_txn_read(txn_of(t), pgno, p, e);

    return r == STORE_SHORT ? VFS_SHORT : r;
}

static int
do_fetch(void *t, pgno_t pgno, const void **ret, struct err *e)
{
    return store_txn_fetch(txn_of(t), pgno, ret, e);
}

static void
do_unfetch(void *t, const void *p)
{
    store_txn_unfetch(txn_of(t), p);
}

static int
do_begin_write(void *t, struct err *e)
{
    const struct handle *h = t;
    int r;

    if (!store_writer_is_mine(h->st, h->db)) /* 5.14: never RESERVED without it */
        return ERR(e, INTERNAL_ERROR, "a write began without the writer lock");
    r = store_txn_begin_write(h->txn, e);
    return r == STORE_STALE ? VFS_STALE : r;
}

static int
do_check(void *t, struct err *e)
{
    return self_check(((struct handle *) t)->st->self, e);
}

static int
do_stage(void *t, pgno_t pgno, const void *p, struct err *e)
{
    return store_txn_stage(txn_of(t), pgno, p, e);
}

static int
do_truncate(void *t, pgno_t n_pages, struct err *e)
{
    return store_txn_truncate(txn_of(t), n_pages, e);
}

static int
do_prepare(void *t, struct err *e)
{
    return store_txn_prepare(txn_of(t), e);
}

static void
do_commit(void *t)
{
    store_txn_commit(txn_of(t));
}

static void
do_end_write(void *t)
{
    store_txn_end_write(txn_of(t));
}

static void
do_close(void *t)
{
    struct handle *h = t;

    store_txn_close(h->txn);
    free(h);
}

static const struct vfs_ops store_ops = {
    .begin = do_begin,
    .end = do_end,
    .version = do_version,
    .epoch = do_epoch,
    .header = do_header,
    .size = do_size,
    .read = do_read,
    .fetch = do_fetch,
    .unfetch = do_unfetch,
    .begin_write = do_begin_write,
    .check = do_check,
    .stage = do_stage,
    .truncate = do_truncate,
    .prepare = do_prepare,
    .commit = do_commit,
    .end_write = do_end_write,
    .close = do_close,
};

int
vfs_store_connect(struct store *st, uint32_t db, sqlite3 **ret_db, struct vfs_handle **ret_handle,
                  struct store_txn **ret_txn, struct err *e)
{
    struct vfs_open_args args = { .ops = &store_ops,
                                  .use_fetch = st->cache->pin_quota >= FETCH_QUOTA_MIN };
    CLEANUP(freep) struct handle *h = calloc(1, sizeof *h);
    int r;

    if (h == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    h->st = st;
    h->db = db;
    r = store_txn_open(st, db, &h->txn, e);
    if (r < 0)
        return r;
    *ret_txn = h->txn;
    args.t = TAKE_PTR(h);
    return vfs_connect(&args, ret_db, ret_handle, e);
}
