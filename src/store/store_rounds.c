/* What is asked of the checkpointer, and the rounds of bgwriter and walwriter. Runs in every
 * attached process. Owns: store_ckpt_shared but for the redo pointer. Source: postmaster.md 5.6,
 * 5.11; engine-rules SNAP-7, WAL-3, XID-2. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/store_fd.h"
#include "store/store_shared.h"
#include "store/store_writeback.h"

/* ---- requests (P01 … P06) ---- */

#define STARTED_ONE (UINT64_C(1) << 32)

uint64_t
store_checkpoint_ask(struct store *st, uint32_t flags)
{
    struct store_ckpt_shared *c = &st->sh->ckpt;
    uint64_t failed = atomic_load_explicit(&c->failed, memory_order_acquire);
    uint64_t was;

    /* One word: the flags are in it before a number that is greater than the one we saw. */
    was = atomic_fetch_or_explicit(&c->asked, flags, memory_order_acq_rel);
    store_role_wake(st, STORE_ROLE_CHECKPOINTER);
    return failed << 32 | was >> 32;
}

uint32_t
store_checkpoint_peek(const struct store *st)
{
    return (uint32_t) atomic_load_explicit(&st->sh->ckpt.asked, memory_order_relaxed);
}

uint32_t
store_checkpoint_take_request(struct store *st, uint64_t *ret_ticket)
{
    struct store_ckpt_shared *c = &st->sh->ckpt;
    uint64_t was = atomic_load_explicit(&c->asked, memory_order_acquire);
    uint64_t now;

    do {
        if ((uint32_t) was == 0)
            return 0;
        now = (was & ~(STARTED_ONE - 1)) + STARTED_ONE;
    } while (!atomic_compare_exchange_weak_explicit(&c->asked, &was, now, memory_order_acq_rel,
                                                    memory_order_acquire));
    *ret_ticket = now >> 32;
    atomic_store_explicit(&c->started, (uint32_t) (now >> 32), memory_order_release);
    wait_wake(&c->started, WAIT_ALL);
    return (uint32_t) was;
}

void
store_checkpoint_done(struct store *st, uint64_t ticket, int result, const struct err *e)
{
    struct store_ckpt_shared *c = &st->sh->ckpt;

    if (result < 0) {
        atomic_store_explicit(&c->failed_code, result, memory_order_relaxed);
        (void) snprintf(c->failed_text, sizeof c->failed_text, "%.199s",
                        e != NULL ? e->message : "");
        (void) atomic_fetch_add_explicit(&c->failed, 1, memory_order_release);
    }
    atomic_store_explicit(&c->done, (uint32_t) ticket, memory_order_release);
    wait_wake(&c->done, WAIT_ALL);
}

/* Until *word, a number that wraps around, has reached `want`. */
static int
wait_for(struct store *st, _Atomic uint32_t *word, uint32_t want, struct err *e)
{
    for (;;) {
        uint32_t seen = atomic_load_explicit(word, memory_order_acquire);
        int r;

        if ((int32_t) (seen - want) >= 0)
            return 0;
        r = wait_sleep(st->self, word, seen, 0, WAIT_CHECKPOINT, e);
        if (r < 0)
            return r;
    }
}

int
store_checkpoint_wait(struct store *st, uint64_t ticket, struct err *e)
{
    struct store_ckpt_shared *c = &st->sh->ckpt;
    int r = wait_for(st, &c->done, (uint32_t) ticket + 1, e);

    if (r < 0)
        return r;
    if (atomic_load_explicit(&c->failed, memory_order_acquire) == (uint32_t) (ticket >> 32))
        return 0;
    r = atomic_load_explicit(&c->failed_code, memory_order_relaxed);
    r = err_set(e, r, "checkpoint request failed");
    err_detail(e, "The last failed checkpoint said: %.199s.", c->failed_text);
    err_hint(e, "Consult recent messages in the server log for details.");
    return r;
}

bool
store_checkpoint_is_due(const struct store *st)
{
    lsn_t redo = store_redo_pointer(st);
    lsn_t end = wal_insert_end(st->wal);

    /* Nothing was logged since the last, although much was while it was made. */
    if (end == atomic_load_explicit(&st->sh->ckpt.last_end, memory_order_relaxed))
        return false;
    return end > redo && (double) (end - redo) >=
                             (double) st->cfg.max_wal_size / (1.0 + st->cfg.completion_target);
}

void
store_checkpoint_for_space(struct store *st)
{
    uint32_t seg = st->wal->cfg.segsize;

    /* Behind the next redo point a segment becomes free only if it lies below this one. */
    if (store_redo_pointer(st) / seg < wal_insert_end(st->wal) / seg)
        (void) store_checkpoint_ask(st, CKPT_CAUSE_XLOG | CKPT_IMMEDIATE);
}

/* ---- bgwriter ---- */

static bool
is_in_table(void *arg, oid_t oid, oid_t rel)
{
    (void) rel;
    return store_db_find(arg, oid) != CACHE_NONE;
}

/* For people: GetStatus reads what stands there. */
static void
show_counts(const struct store *st)
{
    uint64_t counts[CACHE_COUNTS];

    if (st->status == NULL)
        return;
    cache_counts(st->cache, counts);
    for (int i = 0; i < CACHE_COUNTS; i++)
        atomic_store_explicit(&st->status->cache[i], counts[i], memory_order_relaxed);
}

uint32_t
store_bgwriter_round(struct store *st, uint32_t max_pages, struct err *e)
{
    uint32_t n_dbs = atomic_load_explicit(&st->sh->n_dbs, memory_order_acquire);
    uint32_t n_written = 0;
    uint32_t pos = 0;

    for (uint32_t i = 0; i < n_dbs; i++)
        if (store_db_state(st, i) == DB_READY)
            (void) cache_prune(st->cache, i);
    for (uint32_t i = 0; i < max_pages; i++) {
        uint32_t id = cache_clean_candidate(st->cache, &pos);
        int r;

        if (id == CACHE_NONE)
            break;
        r = store_write_back(st, id, e);
        if (r < 0)
            break; /* the page stays dirty, the caller logs e */
        n_written += r == 0;
    }
    if (max_pages > 0 && n_written == max_pages)
        stat_add(st->self, STAT_MAXWRITTEN, 1);
    cache_maintain(st->cache);
    store_fd_sweep(st->fds, is_in_table, st);
    show_counts(st);
    return n_written;
}

/* ---- walwriter ---- */

#define SEGMENTS_AHEAD 2u /* WAL-3 */

int
store_walwriter_round(struct store *st, struct err *e)
{
    lsn_t async = atomic_load_explicit(&st->sh->async_lsn, memory_order_acquire);
    int r;
    int x;

    if (async > wal_durable(st->wal))
        store_wait_durable(st, async); /* SNAP-7 */
    else
        (void) wal_write_background(st->wal);
    r = wal_keep_ahead(st->wal, SEGMENTS_AHEAD, e);
    /* Also on a full disk, from the standing reserve: who waits at X waits for nobody else (XID-2).
     */
    x = store_xid_advance_limit(st, r < 0 ? NULL : e);
    if (r == -ENOSPC || r == -EDQUOT)
        store_checkpoint_for_space(st);
    return r < 0 ? r : MIN(x, 0);
}
