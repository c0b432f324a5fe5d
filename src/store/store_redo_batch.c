/* Pages of one file that redo has in its hands: changed by commit after commit in frames of its
 * own, published when somebody could miss them. Runs in: startup. Owns: struct redo_batch.
 * Source: engine-rules REDO-3. */
#include <string.h>

#include "base/fault.h"
#include "store/store_db.h"
#include "store/store_page.h"
#include "store/store_redo.h"
#include "store/store_shared.h"

static uint32_t *
slot_of(struct redo_batch *b, blk_t block)
{
    uint32_t i = block * UINT32_C(2654435769) >> 19 & (REDO_BATCH_SLOTS - 1);

    while (b->slots[i] != 0 && b->blocks[b->slots[i] - 1] != block)
        i = (i + 1) & (REDO_BATCH_SLOTS - 1);
    return &b->slots[i];
}

/* A rewrite gave the database another file (FILE-5). */
static void
follow_file(struct store_db *d, oid_t rel)
{
    uint32_t cur = atomic_load_explicit(&d->cur, memory_order_acquire);

    if (store_db_rel(d) != rel)
        atomic_store_explicit(&d->file[cur].rel, rel, memory_order_release);
}

int
redo_batch_open(struct redo *r, const struct wal_rel *rel, lsn_t lsn, struct err *e)
{
    struct redo_batch *b = r->batch;
    int rc = 0;

    if (b->is_open && (b->oid != rel->db || b->rel != rel->rel))
        rc = redo_batch_publish(r, e);
    if (rc < 0 || b->is_open)
        return rc;
    rc = redo_file_want(r, rel->db, rel->rel, lsn, true, e);
    if (rc == 0)
        rc = store_db_attach_redo(r->st, rel->db, rel->rel, &b->db, e);
    if (rc < 0)
        return rc;
    follow_file(store_db_at(r->st, b->db), rel->rel);
    b->oid = rel->db;
    b->rel = rel->rel;
    b->is_open = true;
    return 0;
}

uint8_t *
redo_batch_find(struct redo *r, blk_t block, lsn_t lsn)
{
    struct redo_batch *b = r->batch;
    uint32_t i = *slot_of(b, block);

    if (i == 0)
        return NULL;
    b->lsns[i - 1] = lsn;
    return cache_frame(r->st->cache, b->frames[i - 1]);
}

int
redo_batch_add(struct redo *r, blk_t block, lsn_t lsn, uint8_t **ret, struct err *e)
{
    struct redo_batch *b = r->batch;
    int rc = cache_frames_take(r->st->cache, b->db, 1, &b->frames[b->n], e);

    if (rc < 0)
        return rc;
    *ret = cache_frame(r->st->cache, b->frames[b->n]);
    b->blocks[b->n] = block;
    b->lsns[b->n] = lsn;
    *slot_of(b, block) = ++b->n;
    return 0;
}

void
redo_batch_resized(struct redo *r, pgno_t size)
{
    r->batch->size_max = MAX(r->batch->size_max, size);
}

bool
redo_batch_is_full(const struct redo *r)
{
    /* One record more must fit. What we hold cannot be written back or evicted. */
    return r->batch->n > MIN(REDO_BATCH_PAGES - WAL_BLOCKS, r->st->cache->cfg.n_frames / 8);
}

static void
close_batch(struct redo *r)
{
    struct redo_batch *b = r->batch;

    if (!b->is_open)
        return;
    store_db_detach(r->st, b->db);
    memset(b->slots, 0, sizeof b->slots);
    b->n = 0;
    b->size_max = 0;
    b->is_open = false;
}

void
redo_batch_drop(struct redo *r)
{
    if (r->batch == NULL)
        return;
    if (r->batch->n > 0)
        cache_frames_give_back(r->st->cache, r->batch->frames, r->batch->n);
    close_batch(r);
}

int
redo_batch_publish(struct redo *r, struct err *e)
{
    struct redo_batch *b = r->batch;
    struct store *st = r->st;
    lsn_t lsn = 0;
    pgno_t size = 0;
    int rc = 0;

    for (uint32_t i = 0; i < b->n; i++) {
        if (b->blocks[i] == 0) {
            size = page1_size(cache_frame(st->cache, b->frames[i]));
            lsn = b->lsns[i];
        }
        cache_publish(st->cache, b->db, b->rel, &b->blocks[i], &b->frames[i], 1, b->lsns[i]);
    }
    if (b->n > 0)
        rc = FAULT(REDO_PUBLISH);
    if (rc == 0 && size != 0) { /* REDO-3: as COMMIT-5 does; EVICT-6 must see what shrank */
        if (b->size_max > size)
            store_db_publish(st, b->db, b->size_max, lsn);
        store_db_publish(st, b->db, size, lsn);
    }
    close_batch(r);
    return rc < 0 ? err_set_errno(e, -rc, "could not publish pages in redo") : 0;
}
