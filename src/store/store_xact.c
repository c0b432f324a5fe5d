/* Transaction ids: handing out, limits, fate. Runs in every attached process. Owns
 * struct store_xact_shared together with store_xact_file.c. Source: engine-rules XID; the layout of
 * pg_xact and the careful limit are PostgreSQL's ideas. */
#include "store/store_xact.h"

#include <string.h>

#include "store/store_shared.h"
#include "store/store_xact_file.h"
#include "wal/wal_record.h"
#include "wal/wal_xlog.h"

xid_t
store_xid_widen(xid_t near, uint32_t low)
{
    int32_t off = (int32_t) (low - (uint32_t) near);

    if (off < 0 && near < (xid_t) - (int64_t) off)
        return low; /* before the first epoch there is nothing */
    return near + (xid_t) (int64_t) off;
}

xid_t
store_xid_after(xid_t x)
{
    xid_t n = x + 1;

    return (uint32_t) n < FIRST_XID ? (n & ~(xid_t) UINT32_MAX) + FIRST_XID : n; /* XID-1 */
}

xid_t
store_xid_after_recovery(xid_t next)
{
    xid_t step = XID_LIMIT_STEP;
    xid_t n = (next + step - 1) / step * step + step; /* XID-3 */

    return (uint32_t) n < FIRST_XID ? n + FIRST_XID : n;
}

xid_t
store_xid_next(const struct store *st)
{
    return atomic_load_explicit(&st->sh->xact.next, memory_order_acquire);
}

void
store_xid_limit_set(struct store *st, xid_t next)
{
    struct store_xact_shared *x = &st->sh->xact;
    uint64_t limit = next + XID_LIMIT_STEP;
    uint64_t seen = atomic_load_explicit(&x->limit, memory_order_relaxed);

    while (seen < limit && !atomic_compare_exchange_weak_explicit(
                               &x->limit, &seen, limit, memory_order_release, memory_order_relaxed))
        ;
    atomic_fetch_add_explicit(&x->limit_wake, 1, memory_order_release);
    wait_wake(&x->limit_wake, WAIT_ALL);
}

static int
wait_for_limit(struct store *st, xid_t next, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;
    uint32_t seen = atomic_load_explicit(&x->limit_wake, memory_order_acquire);

    if (next < atomic_load_explicit(&x->limit, memory_order_acquire))
        return 0;
    return wait_sleep(st->self, &x->limit_wake, seen, 0, WAIT_XID_LIMIT, e);
}

static void
remember_running(struct store *st, xid_t xid)
{
    atomic_store_explicit(&st->sh->proc[st->self->procno].xid, xid, memory_order_seq_cst);
}

int
store_xid_assign(struct store *st, xid_t *ret, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;

    for (;;) {
        uint64_t next = atomic_load_explicit(&x->next, memory_order_acquire);
        int r = 0;

        if (next >= atomic_load_explicit(&x->limit, memory_order_acquire)) /* XID-2 */
            r = wait_for_limit(st, next, e);
        else if (next >= atomic_load_explicit(&x->ready, memory_order_acquire)) /* XID-4 */
            r = xact_file_make_ready(st, next / XACT_XIDS_PAGE, e);
        else {
            remember_running(st, next); /* before anybody can ask for it */
            if (atomic_compare_exchange_strong_explicit(&x->next, &next, store_xid_after(next),
                                                        memory_order_seq_cst,
                                                        memory_order_relaxed)) {
                *ret = next;
                break;
            }
        }
        if (r < 0) {
            remember_running(st, 0);
            return r;
        }
    }
    if (st->status != NULL)
        atomic_store_explicit(&st->status->next_xid, store_xid_next(st), memory_order_relaxed);
    return 0;
}

void
store_xact_running(struct store *st, xid_t xid)
{
    remember_running(st, xid);
}

bool
store_xact_is_running(const struct store *st, xid_t xid)
{
    for (uint32_t i = 0; i < st->cfg.max_procs; i++)
        if (atomic_load_explicit(&st->sh->proc[i].xid, memory_order_seq_cst) == xid)
            return true;
    return false;
}

static void
or_bits(struct store_xact_shared *x, xid_t xid, unsigned bits)
{
    uint32_t slot = (uint32_t) (xid / XACT_XIDS_PAGE % XACT_RING_PAGES);
    uint32_t at = (uint32_t) (xid % XACT_XIDS_PAGE);

    ASSERT(atomic_load_explicit(&x->ring[slot], memory_order_acquire) == xid / XACT_XIDS_PAGE + 1);
    atomic_fetch_or_explicit(&x->status[slot][at / 4], (uint8_t) (bits << (at % 4 * 2)),
                             memory_order_release);
    atomic_store_explicit(&x->dirty[slot], 1, memory_order_release);
}

void
store_xact_set_committed(struct store *st, xid_t xid)
{
    or_bits(&st->sh->xact, xid, XACT_BIT_COMMITTED);
}

int
store_xact_redo(struct store *st, xid_t xid, unsigned bits, struct err *e)
{
    int r = xact_file_bring(st, xid / XACT_XIDS_PAGE, e);

    if (r == 0)
        or_bits(&st->sh->xact, xid, bits);
    return r;
}

int
store_xact_bits(struct store *st, xid_t xid, unsigned *ret, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;
    uint64_t page = xid / XACT_XIDS_PAGE;
    uint32_t slot = (uint32_t) (page % XACT_RING_PAGES);
    uint32_t at = (uint32_t) (xid % XACT_XIDS_PAGE);
    uint8_t byte = 0;
    bool found = false;

    if (atomic_load_explicit(&x->ring[slot], memory_order_acquire) == page + 1) {
        byte = atomic_load_explicit(&x->status[slot][at / 4], memory_order_acquire);
        /* still that page? It leaves only after it was written (XID-4) */
        found = atomic_load_explicit(&x->ring[slot], memory_order_acquire) == page + 1;
    }
    if (!found) {
        int r = xact_file_read_byte(st, page, at / 4, &byte, e);

        if (r < 0)
            return r;
    }
    *ret = (unsigned) (byte >> (at % 4 * 2)) & 3u;
    return 0;
}

int
store_xact_status(struct store *st, xid_t xid, enum xact_status *ret, struct err *e)
{
    xid_t next = store_xid_next(st);
    lsn_t upto;
    unsigned bits = 0;

    *ret = XACT_UNKNOWN;
    if (xid >= next || (uint32_t) xid < FIRST_XID || next - xid > XACT_KEPT_XIDS)
        return 0;
    if (store_xact_is_running(st,
                              xid)) /* before the bits: a commit sets them, then stops running */
        *ret = XACT_IN_PROGRESS;
    else {
        int r = store_xact_bits(st, xid, &bits, e);

        if (r < 0)
            return r;
        *ret = (bits & XACT_BIT_COMMITTED) != 0 ? XACT_COMMITTED : XACT_ABORTED;
    }
    upto = wal_insert_end(st->wal); /* XID-4: read after the status */
    wal_flush(st->wal, upto);
    return cache_horizon_wait(st->cache, upto, e);
}

int
store_xid_advance_limit(struct store *st, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;
    xid_t next = store_xid_next(st);
    uint8_t main[WAL_RUNNING_BYTES(0)];
    struct buf m = buf_init(main, sizeof main);
    struct wal_running run = { .next_xid = (uint32_t) next,
                               .oldest_running_xid = (uint32_t) next,
                               .latest_completed_xid = (uint32_t) (next - 1) };
    struct wal_rec rec = { .rmid = RM_STANDBY, .info = STANDBY_RUNNING_XACTS };
    int r;

    if (next + XID_LIMIT_NEAR < atomic_load_explicit(&x->limit, memory_order_acquire))
        return 0;
    wal_xlog_put_running(&m, &run);
    rec.main = main;
    rec.main_bytes = (uint32_t) m.n;
    r = store_log_small(st, &rec, NULL, e);
    if (r < 0)
        return r;
    store_xid_limit_set(st, next); /* XID-2: only now is it durable */
    return 1;
}

int
store_xact_start(struct store *st, xid_t next, xid_t limit_of, struct err *e)
{
    struct store_xact_shared *x = &st->sh->xact;

    if (next % XACT_XIDS_PAGE != 0) {
        int r = xact_file_bring(st, next / XACT_XIDS_PAGE, e);

        if (r < 0)
            return r;
        atomic_store_explicit(&x->ready, (next / XACT_XIDS_PAGE + 1) * XACT_XIDS_PAGE,
                              memory_order_release);
    } else
        atomic_store_explicit(&x->ready, next, memory_order_release);
    atomic_store_explicit(&x->next, next, memory_order_release);
    store_xid_limit_set(st, limit_of);
    if (st->status != NULL)
        atomic_store_explicit(&st->status->next_xid, next, memory_order_relaxed);
    return 0;
}
