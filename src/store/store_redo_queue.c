/* Commits whose turn comes soon: while the records behind them are read, the processor fetches what
 * they will change. Runs in: startup. Owns: struct redo_queue. Source: engine-rules REDO-3; to
 * fetch ahead by the log is an idea of PostgreSQL's (of blocks there, of lines of memory here). */
#include "store/store_redo_queue.h"

#include "store/store_redo.h"
#include "store/store_shared.h"
#include "wal/wal_delta.h"

static struct redo_decided *
nth(struct redo_queue *q, uint32_t i)
{
    return &q->commits[(q->first + i) % REDO_QUEUE_COMMITS];
}

/* Only changes of pages may wait: whatever makes or removes a file comes at once. */
bool
redo_queue_may_wait(const struct redo_open *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->items[i].n_blocks == 0)
            return false;
    return true;
}

/* First the notes about the pages … */
static void
fetch_notes(struct redo *r, const struct redo_open *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        for (uint32_t k = 0; k < o->items[i].n_blocks; k++)
            redo_batch_fetch(r, &o->items[i].blocks[k]);
}

/* … and when they have come, the bytes that change. */
static void
fetch_bytes(struct redo *r, const struct redo_open *o, lsn_t lsn)
{
    for (uint32_t i = 0; i < o->n; i++)
        for (uint32_t k = 0; k < o->items[i].n_blocks; k++) {
            const struct wal_block *b = &o->items[i].blocks[k];
            const uint8_t *frame = redo_batch_look(r, b, lsn);

            if (frame != NULL)
                wal_delta_fetch(frame, b->data, b->data_bytes);
        }
}

void
redo_queue_add(struct redo *r, struct redo_open *o, lsn_t lsn)
{
    struct redo_queue *q = &r->queue;
    struct redo_decided *last = nth(q, q->n);

    ASSERT(q->n < REDO_QUEUE_COMMITS);
    redo_open_take(r, o, &last->open);
    last->lsn = lsn;
    q->n++;
    fetch_notes(r, &last->open);
    if (q->n > REDO_QUEUE_COMMITS / 2) {
        const struct redo_decided *d = nth(q, q->n - 1 - REDO_QUEUE_COMMITS / 2);

        fetch_bytes(r, &d->open, d->lsn);
    }
}

int
redo_queue_apply(struct redo *r, uint32_t leave, struct err *e)
{
    struct redo_queue *q = &r->queue;
    int rc = 0;

    while (rc == 0 && q->n > leave) {
        struct redo_decided *d = nth(q, 0);

        for (uint32_t i = 0; rc == 0 && i < d->open.n; i++)
            rc = redo_apply_pages(r, d->open.items[i].blocks, d->open.items[i].n_blocks, d->lsn, e);
        if (rc < 0)
            err_detail(e, "Redo of the commit that ends at " LSN_FMT " failed.", LSN_ARGS(d->lsn));
        redo_open_empty(&d->open);
        q->first = (q->first + 1) % REDO_QUEUE_COMMITS;
        q->n--;
    }
    return rc;
}

void
redo_queue_done(struct redo *r)
{
    for (uint32_t i = 0; i < REDO_QUEUE_COMMITS; i++) {
        redo_open_empty(&r->queue.commits[i].open);
        free(r->queue.commits[i].open.items);
    }
}
