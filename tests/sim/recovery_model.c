/* The model of sim/recovery; see recovery_model.h. Runs in tests. */
#include "sim/recovery_model.h"

#include <string.h>

#include "base/buf.h"
#include "sim/cluster.h"

#define CELL_AT(i) (100u + (uint32_t) (i) *250u)
#define NOISE_AT   4200u

void
model_init(struct model *m)
{
    static struct model_commit log[MODEL_LOG]; /* one model at a time */

    memset(m, 0, sizeof *m);
    m->log = log;
    for (uint32_t i = 0; i < 2; i++)
        m->base[i] = (struct model_db){ .is_live = true, .size = 2 };
    m->base[0].oid = CATALOG_DB_OID;
    m->base[1].oid = POSTGRES_DB_OID;
    m->base[0].n_list = 1;
    m->base[0].list[0] = POSTGRES_DB_OID;
    m->last_xid = FIRST_XID - 1;
}

static const struct model_db *
state_of(const struct model_commit *c, uint32_t slot)
{
    if (c->slot == slot)
        return &c->after;
    return c->other_slot == (int32_t) slot ? &c->other : NULL;
}

const struct model_db *
model_now(const struct model *m, uint32_t slot)
{
    for (uint32_t i = m->n_log; i-- > 0;)
        if (state_of(&m->log[i], slot) != NULL)
            return state_of(&m->log[i], slot);
    return &m->base[slot];
}

const struct model_db *
model_at(struct model *m, uint32_t slot, oid_t oid, lsn_t ver)
{
    struct model_commit *unseen = NULL;
    const struct model_db *made = NULL;
    bool is_newest = ver > m->start;

    for (uint32_t i = 0; i < m->n_log; i++) {
        struct model_commit *c = &m->log[i];

        if (c->other_slot == (int32_t) slot && c->other.oid == oid && c->other_ver == ver)
            made = &c->other;
        if (c->slot != slot || c->after.oid != oid) /* slots are used again, oids are not */
            continue;
        if (c->lsn == ver)
            return &c->after;
        if (c->lsn == 0)
            unseen = c;
        is_newest &= c->lsn < ver;
    }
    if (made != NULL)
        return made;
    if (unseen == NULL || !is_newest)
        return &m->base[slot];
    unseen->lsn = ver;
    return &unseen->after;
}

void
model_saw(struct model *m, uint32_t slot, lsn_t snap, lsn_t ver)
{
    m->views[m->n_views++ % MODEL_VIEWS] = (struct model_view){ slot, snap, ver };
}

const struct model_view *
model_missed(const struct model *m, uint32_t slot, lsn_t lsn)
{
    for (uint32_t i = 0; i < MIN(m->n_views, MODEL_VIEWS); i++) {
        const struct model_view *v = &m->views[i];

        if (v->slot == slot && v->snap >= lsn && v->ver < lsn)
            return v;
    }
    return NULL;
}

struct model_commit *
model_commit(struct model *m, xid_t xid, uint32_t slot, const struct model_db *after)
{
    struct model_commit *c;

    if (m->n_log == MODEL_LOG)
        return NULL;
    c = &m->log[m->n_log++];
    *c = (struct model_commit){ .xid = xid, .slot = slot, .after = *after, .other_slot = -1 };
    return c;
}

static void
put_list(const struct model_db *d, uint8_t *p)
{
    put_u32(p + CLUSTER_LIST_AT, d->n_list);
    for (uint32_t i = 0; i < d->n_list; i++)
        put_u32(p + CLUSTER_LIST_AT + 4 + 4 * i, d->list[i]);
}

static void
put_cells(const struct model_page *page, uint8_t *p)
{
    uint64_t noise = page->cell[MODEL_CELLS - 1];

    if (noise % 2 == 1) {
        /* half a page, or all but the cells: an image that cannot be packed */
        uint32_t from = noise % 4 == 1 ? NOISE_AT : 32;
        struct rng r;

        rng_init(&r, noise);
        for (uint32_t at = from; at + 8 <= PAGE_TAIL_AT; at += 8)
            put_u64(p + at, rng_u64(&r));
    }
    for (uint32_t i = 0; i < MODEL_CELLS; i++)
        put_u64(p + CELL_AT(i), page->cell[i]);
}

void
model_bytes(const struct model_db *d, pgno_t pgno, uint8_t *p)
{
    static const struct model_page none;
    const struct model_page *page = &d->page[pgno - 1];

    memset(p, 0, PAGE_BYTES);
    if (pgno == 1)
        put_be32(p + 28, d->size);
    if (pgno <= d->size && memcmp(page, &none, sizeof none) != 0)
        put_cells(page, p);
    if (d->oid == CATALOG_DB_OID && pgno == 2)
        put_list(d, p);
}

static void
change_page(struct rng *r, struct model_page *page, uint32_t noise)
{
    uint32_t n = 1 + (uint32_t) rng_below(r, 3);

    for (uint32_t i = 0; i < n; i++)
        page->cell[rng_below(r, MODEL_CELLS - 1)] = rng_u64(r);
    if (rng_below(r, 8) < noise)
        page->cell[MODEL_CELLS - 1] = rng_u64(r);
}

static void
grow(struct rng *r, struct model_db *d, const struct model_taste *taste, uint64_t *staged)
{
    pgno_t size = d->size + 1 + (pgno_t) rng_below(r, taste->growth);

    size = MIN(size, taste->max_pages);
    for (pgno_t pgno = d->size + 1; pgno <= size; pgno++) {
        memset(&d->page[pgno - 1], 0, sizeof d->page[0]);
        if (rng_below(r, 3) != 0) { /* else a page that SQLite never writes (COMMIT-3) */
            change_page(r, &d->page[pgno - 1], taste->noise);
            *staged |= BIT(pgno - 1);
        }
    }
    d->size = size;
}

void
model_mutate(struct rng *r, struct model_db *d, const struct model_taste *taste,
             uint64_t *ret_staged)
{
    uint64_t dice = rng_below(r, 10);

    *ret_staged = 1;
    d->page[0].cell[0] = rng_u64(r) | 1;
    if (dice == 0 && d->size > 2) {
        pgno_t size = 2 + (pgno_t) rng_below(r, d->size - 1);

        for (pgno_t pgno = size + 1; pgno <= d->size; pgno++)
            memset(&d->page[pgno - 1], 0, sizeof d->page[0]);
        d->size = size;
    }
    for (pgno_t pgno = 2; pgno <= d->size; pgno++)
        if (rng_below(r, taste->one_in) == 0) {
            change_page(r, &d->page[pgno - 1], taste->noise);
            *ret_staged |= BIT(pgno - 1);
        }
    if (dice <= 3 && dice > 0 && d->size < taste->max_pages)
        grow(r, d, taste, ret_staged);
}
