/* A transaction as the VFS sees it: snapshot, reading, staging. Runs in backends and in startup.
 * Owns: struct store_txn, a snapshot entry. Source: engine-rules SNAP, VFS-1 … -6. */
#include "store/store_txn.h"

#include <string.h>

#include "store/store_commit.h"
#include "store/store_page.h"
#include "store/store_shared.h"
#include "store/store_txn_impl.h"

/* ---- handles ---- */

int
store_txn_open(struct store *st, uint32_t db, struct store_txn **ret, struct err *e)
{
    struct store_txn *t = calloc(1, sizeof *t);
    int r;

    if (t == NULL)
        return ERR(e, OUT_OF_MEMORY, "could not allocate a transaction");
    t->st = st;
    t->db = db;
    t->oid = store_db_oid(st, db);
    r = cache_entry_claim(st->cache, db, &t->entry, e);
    if (r < 0) {
        free(t);
        return r;
    }
    t->next = st->txns;
    st->txns = t;
    *ret = t;
    return 0;
}

void
store_txn_close(struct store_txn *t)
{
    if (t == NULL)
        return;
    store_txn_end(t);
    cache_entry_release(t->st->cache, t->entry);
    for (struct store_txn **at = &t->st->txns; *at != NULL; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    store_ws_free(&t->ws);
    store_plan_free(&t->plan);
    free(t);
}

void
store_txn_set_memory(struct store_txn *t, uint64_t bytes)
{
    t->ws.heap_max = bytes;
}

/* ---- snapshot ---- */

/* FILE-5: which file holds this snapshot. */
static oid_t
choose_file(const struct store_txn *t)
{
    const struct store_db *d = store_db_at(t->st, t->db);
    uint32_t cur = atomic_load_explicit(&d->cur, memory_order_acquire);

    if (t->snap < atomic_load_explicit(&d->file[cur].since, memory_order_relaxed))
        cur = 1 - cur;
    return atomic_load_explicit(&d->file[cur].rel, memory_order_relaxed);
}

static int
read_page1(struct store_txn *t, struct err *e)
{
    struct store *st = t->st;
    struct cache_page page;
    int r = cache_get(st->cache, t->entry, t->rel, 0, st->spare_buf, &page, e);

    if (r < 0)
        return r;
    memcpy(t->header, page.data, sizeof t->header);
    t->ver = page.lsn;
    t->base_size = t->size_floor = page1_size(page.data);
    cache_unpin(st->cache, &page);
    if (t->base_size == 0)
        return ERR(e, DATA_CORRUPTED, "page 1 of database %u says that it has no pages", t->oid);
    return 0;
}

int
store_txn_begin(struct store_txn *t, struct err *e)
{
    struct store *st = t->st;
    int r;

    ASSERT(!t->is_open);
    t->is_under_writer = store_writer_is_mine(st, t->db);
    if (t->is_under_writer) { /* SNAP-3 */
        t->snap = store_db_published(st, t->db);
        cache_snapshot_take_at(st->cache, t->entry, t->snap);
    } else {
        t->snap = cache_snapshot_take(st->cache, t->entry, t->own);
    }
    t->rel = choose_file(t);
    r = read_page1(t, e);
    if (r < 0) { /* VFS-1: the entry is cleared first */
        t->upsets++;
        cache_snapshot_drop(st->cache, t->entry);
        return r;
    }
    t->is_open = true;
    return 0;
}

void
store_txn_end(struct store_txn *t)
{
    store_txn_end_write(t);
    if (!t->is_open)
        return;
    ASSERT(t->n_pins == 0); /* SNAP-4 */
    if (t->is_under_writer) /* SNAP-5: what was read here may not be durable */
        t->must = MAX(t->must, t->snap);
    cache_snapshot_drop(t->st->cache, t->entry);
    t->is_open = false;
}

bool
store_txn_is_open(const struct store_txn *t)
{
    return t->is_open;
}

bool
store_txn_is_cancelled(const struct store_txn *t)
{
    return t->is_open && cache_snapshot_cancelled(t->st->cache, t->entry);
}

lsn_t
store_txn_snapshot(const struct store_txn *t)
{
    return t->is_open ? t->snap : 0;
}

lsn_t
store_txn_version(const struct store_txn *t)
{
    return t->ver;
}

const uint8_t *
store_txn_header(const struct store_txn *t)
{
    return t->header;
}

pgno_t
store_txn_size(const struct store_txn *t)
{
    if (t->write == WRITE_PREPARED) /* VFS-6: a larger frozen set makes the pager truncate */
        return MAX(t->plan.size, t->ws.max);
    return MAX(t->size_floor, t->ws.max);
}

uint64_t
store_txn_upsets(const struct store_txn *t)
{
    return t->upsets;
}

/* ---- reading ---- */

int
store_txn_read(struct store_txn *t, pgno_t pgno, void *p, struct err *e)
{
    const uint8_t *staged = store_ws_find(&t->ws, pgno);
    struct cache_page page;
    int r;

    ASSERT(t->is_open);
    if (staged != NULL) {
        memcpy(p, staged, PAGE_BYTES);
        return 0;
    }
    if (pgno > t->base_size || pgno > t->size_floor) {
        memset(p, 0, PAGE_BYTES);
        return STORE_SHORT;
    }
    r = cache_get(t->st->cache, t->entry, t->rel, pgno - 1, p, &page, e);
    if (r < 0) {
        t->upsets++;
        return r;
    }
    if (page.data != p)
        memcpy(p, page.data, PAGE_BYTES);
    cache_unpin(t->st->cache, &page);
    return 0;
}

int
store_txn_fetch(struct store_txn *t, pgno_t pgno, const void **ret, struct err *e)
{
    struct txn_pin *pin;
    int r;

    ASSERT(t->is_open);
    *ret = NULL;
    if (pgno == 1 || pgno > t->base_size || pgno > t->size_floor || t->n_pins == CACHE_PINS ||
        store_ws_find(&t->ws, pgno) != NULL) /* VFS-4 */
        return 0;
    pin = &t->pins[t->n_pins];
    r = cache_get(t->st->cache, t->entry, t->rel, pgno - 1, NULL, &pin->page, e);
    if (r < 0) {
        t->upsets++;
        return r;
    }
    if (r == CACHE_NO_PIN)
        return 0;
    pin->p = pin->page.data;
    t->n_pins++;
    *ret = pin->p;
    return 0;
}

void
store_txn_unfetch(struct store_txn *t, const void *p)
{
    for (uint32_t i = t->n_pins; i-- > 0;)
        if (t->pins[i].p == p) {
            cache_unpin(t->st->cache, &t->pins[i].page);
            t->pins[i] = t->pins[--t->n_pins];
            return;
        }
    assert_failed("page was not fetched", __FILE__, __LINE__);
}

/* ---- staging ---- */

int
store_txn_begin_write(struct store_txn *t, struct err *e)
{
    struct store *st = t->st;

    ASSERT(t->is_open);
    ASSERT(store_writer_is_mine(st, t->db));
    if (st->status != NULL &&
        atomic_load_explicit(&st->status->in_recovery, memory_order_acquire) != 0)
        return ERR(e, READ_ONLY_SQL_TRANSACTION,
                   "cannot execute a write in a read-only transaction");
    if (t->ver != store_db_published(st, t->db)) /* VFS-3 */
        return STORE_STALE;
    /* Pages of the base may yet be cut off; what is beyond that will not fit into the cache. */
    t->ws.bytes_max = st->cfg.txn_bytes_max != 0
                          ? st->cfg.txn_bytes_max
                          : (cache_frames_most(st->cache) + t->base_size) * PAGE_BYTES;
    if (t->write == WRITE_NONE)
        t->write = WRITE_OPEN;
    return 0;
}

void
store_txn_keep_writer(struct store_txn *t, bool keep)
{
    t->keeps_writer = keep;
}

bool
store_txn_is_writing(const struct store_txn *t)
{
    return t->write != WRITE_NONE;
}

/* After this everything is swallowed: the pager writes the originals back (VFS-6). */
static void
refuse(struct store_txn *t)
{
    t->write = WRITE_REFUSED;
    t->upsets++;
    store_ws_clear(&t->ws);
    t->size_floor = t->base_size;
}

int
store_txn_stage(struct store_txn *t, pgno_t pgno, const void *p, struct err *e)
{
    int r;

    if (t->write == WRITE_REFUSED)
        return 0;
    ASSERT(t->write == WRITE_OPEN);
    r = store_ws_put(&t->ws, pgno, p, e);
    if (r < 0)
        refuse(t);
    return r;
}

int
store_txn_truncate(struct store_txn *t, pgno_t n_pages, struct err *e)
{
    (void) e;
    if (t->write == WRITE_REFUSED)
        return 0;
    if (t->write == WRITE_PREPARED) { /* VFS-6: cannot fail, must name the new size */
        ASSERT(n_pages == t->plan.size);
        return 0;
    }
    ASSERT(t->write == WRITE_OPEN);
    store_ws_truncate(&t->ws, n_pages);
    t->size_floor = n_pages;
    return 0;
}

int
store_txn_prepare(struct store_txn *t, struct err *e)
{
    int r;

    if (t->write != WRITE_OPEN || (t->ws.n == 0 && t->ride == NULL))
        return 0;
    r = store_commit_prepare(t, e);
    if (r < 0) {
        refuse(t);
        return r;
    }
    t->write = WRITE_PREPARED;
    return 0;
}

void
store_txn_commit(struct store_txn *t)
{
    ASSERT(t->write != WRITE_REFUSED);
    ASSERT(t->write == WRITE_PREPARED || t->ws.n == 0);
    if (t->write != WRITE_PREPARED)
        return; /* COMMIT-7: an empty write set; SNAP-5 is kept in end_write */
    store_commit_publish(t);
    t->write = WRITE_DONE;
    t->must = MAX(t->must, t->snap);
    t->size_floor = t->base_size;
    store_ws_clear(&t->ws);
}

void
store_txn_end_write(struct store_txn *t)
{
    struct store *st = t->st;

    if (t->write == WRITE_NONE)
        return;
    if (t->write == WRITE_PREPARED)
        store_commit_discard(t);
    if (t->write == WRITE_PREPARED || t->ws.n > 0)
        t->upsets++;
    store_plan_reset(&t->plan);
    store_ws_clear(&t->ws);
    t->size_floor = t->base_size;
    t->ride = NULL;
    if (t->xid != 0)
        store_xact_running(st, 0);
    t->xid = 0;
    t->must = MAX(t->must, t->snap); /* SNAP-5: C, or the S it read */
    if (!t->keeps_writer || t->write == WRITE_DONE)
        store_writer_drop(st, t->db);
    t->write = WRITE_NONE;
    if (t->has_held)
        self_resume(st->self);
    t->has_held = false;
}

/* ---- around it ---- */

void
store_txn_barrier(struct store_txn *t, bool wait)
{
    struct store *st = t->st;
    lsn_t must = t->must;
    uint64_t async;

    t->must = 0;
    if (must == 0)
        return;
    t->own = MAX(t->own, must);
    if (must <= cache_horizon(st->cache))
        return;
    if (wait) {
        store_wait_durable(st, must);
        return;
    }
    async = atomic_load_explicit(&st->sh->async_lsn, memory_order_relaxed);
    while (async < must &&
           !atomic_compare_exchange_weak_explicit(&st->sh->async_lsn, &async, must,
                                                  memory_order_release, memory_order_relaxed))
        ;
    store_role_wake(st, STORE_ROLE_WALWRITER); /* SNAP-7 */
}

int
store_txn_xid(struct store_txn *t, xid_t *ret, struct err *e)
{
    int r = 0;

    if (t->xid == 0)
        r = store_xid_assign(t->st, &t->xid, e);
    if (r < 0)
        return r;
    store_xact_running(t->st, t->xid);
    *ret = t->xid;
    return 0;
}

xid_t
store_txn_xid_if_any(const struct store_txn *t)
{
    return t->xid;
}

void
store_txn_ride(struct store_txn *t, struct store_ride *ride)
{
    t->ride = ride;
}
