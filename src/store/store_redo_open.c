/* The open set of redo: records of transactions whose end has not been seen. Runs in: startup.
 * Owns: struct redo's lists. Source: engine-rules REDO-5. */
#include <string.h>

#include "store/store_redo.h"
#include "store/store_redo_open.h"

struct redo_open *
redo_open_find(struct redo *r, xid_t xid)
{
    for (uint32_t i = r->n_open; i-- > 0;) /* the newest is the likeliest */
        if (r->open[i].xid == xid)
            return &r->open[i];
    return NULL;
}

void
redo_open_empty(struct redo_open *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        free(o->items[i].memory);
    o->n = 0;
    o->kept = 0;
}

/* An emptied entry keeps its memory behind the end of the set, for the next transaction. */
static void
move_behind(struct redo *r, struct redo_open *o)
{
    struct redo_open last = r->open[--r->n_open];

    r->open[r->n_open] = *o;
    *o = last;
}

void
redo_open_drop(struct redo *r, xid_t xid)
{
    struct redo_open *o = redo_open_find(r, xid);

    if (o == NULL)
        return;
    redo_open_empty(o);
    move_behind(r, o);
}

void
redo_open_take(struct redo *r, struct redo_open *o, struct redo_open *ret)
{
    struct redo_open empty = *ret;

    ASSERT(empty.n == 0);
    *ret = *o;
    *o = empty;
    move_behind(r, o);
}

void
redo_open_clear(struct redo *r)
{
    while (r->n_open > 0)
        redo_open_empty(&r->open[--r->n_open]);
}

static int
check_room(struct redo *r, struct err *e)
{
    uint32_t max = r->st->cfg.max_procs + r->st->cfg.max_prepared;

    if (r->n_open >= max) { /* REDO-5 */
        (void) ERR(e, DATA_CORRUPTED, "more than %u transactions are open in the log", max);
        err_hint(e, "If max_connections was lowered, raise it again for this start.");
        return -ERR_DATA_CORRUPTED;
    }
    if (r->n_open == r->open_cap) {
        uint32_t cap = MAX(16u, r->open_cap * 2);
        struct redo_open *open = realloc(r->open, cap * sizeof *open);

        if (open == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory for open transactions");
        memset(open + r->open_cap, 0, (cap - r->open_cap) * sizeof *open);
        r->open = open;
        r->open_cap = cap;
    }
    return 0;
}

static const uint8_t *
moved(const uint8_t *p, const struct wal_decoded *d, const struct redo_item *item)
{
    return p == NULL ? NULL : item->p + (p - d->p);
}

/* A copy that need not be checked and taken apart again at its COMMIT. */
static int
keep(struct redo_open *o, struct redo_item *item, const struct wal_decoded *d, struct err *e)
{
    uint32_t n = d->rmid == RM_GENERIC ? d->n_blocks : 0;
    size_t bytes = n * sizeof *item->blocks + d->bytes;

    if (o->kept + bytes > REDO_KEPT_BYTES)
        return 0;
    item->memory = malloc(bytes);
    if (item->memory == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory for the records of a transaction");
    o->kept += (uint32_t) bytes;
    item->blocks = item->memory;
    item->n_blocks = n;
    item->p = (uint8_t *) (item->blocks + n);
    memcpy(item->p, d->p, d->bytes);
    for (uint32_t i = 0; i < n; i++) {
        item->blocks[i] = d->blocks[i];
        item->blocks[i].data = moved(d->blocks[i].data, d, item);
        item->blocks[i].image.p = moved(d->blocks[i].image.p, d, item);
    }
    return 0;
}

int
redo_open_add(struct redo *r, xid_t xid, const struct wal_decoded *d, struct err *e)
{
    struct redo_open *o = redo_open_find(r, xid);
    struct redo_item *item;

    if (o == NULL) {
        int rc = check_room(r, e);

        if (rc < 0)
            return rc;
        o = &r->open[r->n_open++];
        o->xid = xid;
    }
    if (o->n == o->cap) {
        uint32_t cap = MAX(4u, o->cap * 2);
        struct redo_item *items = realloc(o->items, cap * sizeof *items);

        if (items == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory for the records of a transaction");
        o->items = items;
        o->cap = cap;
    }
    item = &o->items[o->n];
    *item = (struct redo_item){ .lsn = d->lsn, .bytes = d->bytes };
    if (keep(o, item, d, e) < 0)
        return -ERR_OUT_OF_MEMORY;
    o->n++;
    return 0;
}

static int
make_reader(struct redo *r, struct err *e)
{
    struct wal_reader_params params = { .read = wal_source_io_read,
                                        .arg = &r->source,
                                        .segment_bytes = r->st->wal->cfg.segsize,
                                        .sysid = r->st->wal->cfg.system_id,
                                        .history = r->history };

    wal_source_io_init(&r->source, r->st->io, r->history, params.segment_bytes);
    return wal_reader_new(&r->reader, &params, e);
}

static int
read_again(struct redo *r, const struct redo_open *o, const struct redo_item *item,
           struct wal_decoded *ret, struct err *e)
{
    const struct wal_decoded *d = NULL;
    int rc = r->reader == NULL ? make_reader(r, e) : 0;

    if (rc < 0)
        return rc;
    wal_reader_seek(r->reader, item->lsn);
    rc = wal_reader_next(r->reader, &d, e);
    if (rc < 0)
        return rc;
    if (rc == WAL_READER_END || d->lsn != item->lsn || d->bytes != item->bytes ||
        d->xid != (uint32_t) o->xid)
        return ERR(e, DATA_CORRUPTED, "record at " LSN_FMT " is not what it was when first read",
                   LSN_ARGS(item->lsn));
    *ret = *d;
    return 0;
}

int
redo_open_bytes(struct redo *r, const struct redo_open *o, uint32_t i, struct wal_decoded *ret,
                struct err *e)
{
    const struct redo_item *item = &o->items[i];

    if (item->p == NULL)
        return read_again(r, o, item, ret, e);
    return wal_record_decode(item->p, item->bytes, ret, e);
}
