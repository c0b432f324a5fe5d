/* Bodies of Transaction records.
 * Runs in: backends (make), startup (redo), tests. Pure. Owns: nothing.
 * Source: wal-format.md 2.3. */
#include "wal/wal_xact.h"

#define PREPARE_MAGIC        0x57F94534u
#define PREPARE_HEADER_BYTES 72u
#define PREPARE_END_BYTES    8u /* the two-phase record that ends the list */
#define CRC_BYTES            4u /* of the state file: counted in total_len, not in the record */
#define MESSAGE_BYTES        16u
#define STATS_BYTES          12u

static uint32_t
xinfo_of(const struct wal_xact_end *x)
{
    uint32_t xinfo = x->xinfo & (WAL_XINFO_AE_LOCKS | WAL_XINFO_APPLY_FEEDBACK |
                                 WAL_XINFO_RELCACHE | WAL_XINFO_FORCE_SYNC);

    xinfo |= x->db != 0 ? WAL_XINFO_DB : 0;
    xinfo |= x->n_subxids > 0 ? WAL_XINFO_SUBXACTS : 0;
    xinfo |= x->n_rels > 0 ? WAL_XINFO_RELS : 0;
    xinfo |= x->prepared_xid != 0 ? WAL_XINFO_TWOPHASE : 0;
    xinfo |= x->prepared_xid != 0 && x->gid != NULL ? WAL_XINFO_GID : 0;
    return xinfo;
}

uint8_t
wal_xact_info(uint8_t kind, const struct wal_xact_end *x)
{
    return (uint8_t) (kind | (xinfo_of(x) != 0 ? XACT_INFO_XINFO : 0) |
                      (x->n_rels > 0 ? WAL_INFO_SPECIAL_REL : 0));
}

size_t
wal_xact_end_bytes(const struct wal_xact_end *x)
{
    uint32_t xinfo = xinfo_of(x);

    return 8u + (xinfo != 0 ? 4u : 0u) + ((xinfo & WAL_XINFO_DB) != 0 ? 8u : 0u) +
           (x->n_subxids > 0 ? 4 + 4 * (size_t) x->n_subxids : 0) +
           (x->n_rels > 0 ? 4 + sizeof(struct wal_rel) * x->n_rels : 0) +
           (x->prepared_xid != 0 ? 4u : 0u) +
           ((xinfo & WAL_XINFO_GID) != 0 ? strlen(x->gid) + 1 : 0);
}

void
wal_xact_put_end(struct buf *b, const struct wal_xact_end *x)
{
    uint32_t xinfo = xinfo_of(x);

    buf_put_u64(b, (uint64_t) x->time);
    if (xinfo != 0)
        buf_put_u32(b, xinfo);
    if ((xinfo & WAL_XINFO_DB) != 0) {
        buf_put_u32(b, x->db);
        buf_put_u32(b, x->spc);
    }
    if (x->n_subxids > 0) {
        buf_put_u32(b, x->n_subxids);
        buf_put(b, x->subxids, 4 * (size_t) x->n_subxids);
    }
    if (x->n_rels > 0) {
        buf_put_u32(b, x->n_rels);
        buf_put(b, x->rels, sizeof(struct wal_rel) * x->n_rels);
    }
    if (x->prepared_xid != 0)
        buf_put_u32(b, x->prepared_xid);
    if ((xinfo & WAL_XINFO_GID) != 0)
        buf_put(b, x->gid, strlen(x->gid) + 1);
}

/* A counted list: count, then elements. Takes nothing more than is there. */
static const void *
get_list(struct cur *c, uint32_t *ret_n, size_t element_bytes)
{
    *ret_n = cur_u32(c);
    return cur_take(c, (size_t) *ret_n * element_bytes);
}

int
wal_xact_get_end(const void *p, size_t n, uint8_t info, struct wal_xact_end *ret, struct err *e)
{
    uint8_t kind = info & XACT_INFO_MASK;
    bool is_commit = kind == XACT_COMMIT || kind == XACT_COMMIT_PREPARED;
    struct cur c = cur_init(p, n);

    *ret = (struct wal_xact_end){ .time = (int64_t) cur_u64(&c) };
    if ((info & XACT_INFO_XINFO) != 0)
        ret->xinfo = cur_u32(&c);
    if ((ret->xinfo & WAL_XINFO_DB) != 0) {
        ret->db = cur_u32(&c);
        ret->spc = cur_u32(&c);
    }
    if ((ret->xinfo & WAL_XINFO_SUBXACTS) != 0)
        ret->subxids = get_list(&c, &ret->n_subxids, 4);
    if ((ret->xinfo & WAL_XINFO_RELS) != 0)
        ret->rels = get_list(&c, &ret->n_rels, sizeof(struct wal_rel));
    if ((ret->xinfo & WAL_XINFO_DROPPED_STATS) != 0)
        ret->stats = get_list(&c, &ret->n_stats, STATS_BYTES);
    if ((ret->xinfo & WAL_XINFO_INVALS) != 0 && is_commit)
        ret->messages = get_list(&c, &ret->n_messages, MESSAGE_BYTES);
    if ((ret->xinfo & WAL_XINFO_TWOPHASE) != 0) {
        ret->prepared_xid = cur_u32(&c);
        if ((ret->xinfo & WAL_XINFO_GID) != 0)
            ret->gid = cur_str(&c);
    }
    if ((ret->xinfo & WAL_XINFO_ORIGIN) != 0) {
        ret->has_origin = true;
        ret->origin_lsn = cur_u64(&c);
        ret->origin_time = (int64_t) cur_u64(&c);
    }
    if (c.failed || c.left != 0)
        return ERR(e, DATA_CORRUPTED,
                   "a transaction record with info %02X and %zu bytes of data is not of the form",
                   info, n);
    return 0;
}

/* A block of a PREPARE record is padded to a multiple of 8. */
static size_t
padded(size_t n)
{
    return (size_t) MAXALIGN(n);
}

size_t
wal_xact_prepare_bytes(const struct wal_prepare *x)
{
    return PREPARE_HEADER_BYTES + padded(strlen(x->gid) + 1) + padded(4 * (size_t) x->n_subxids) +
           padded(sizeof(struct wal_rel) * x->n_commit_rels) +
           padded(sizeof(struct wal_rel) * x->n_abort_rels) + PREPARE_END_BYTES;
}

static void
put_padded(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    buf_put(b, p, n);
    buf_put_zero(b, padded(n) - n);
}

void
wal_xact_put_prepare(struct buf *b, const struct wal_prepare *x)
{
    size_t gid_bytes = strlen(x->gid) + 1;

    buf_put_u32(b, PREPARE_MAGIC);
    buf_put_u32(b, (uint32_t) wal_xact_prepare_bytes(x) + CRC_BYTES);
    buf_put_u32(b, x->xid);
    buf_put_u32(b, x->db);
    buf_put_u64(b, (uint64_t) x->time);
    buf_put_u32(b, x->owner);
    buf_put_u32(b, x->n_subxids);
    buf_put_u32(b, x->n_commit_rels);
    buf_put_u32(b, x->n_abort_rels);
    buf_put_zero(b, 12); /* statistics and messages: we have none */
    buf_put_u8(b, x->remove_init_file);
    buf_put_u8(b, 0);
    buf_put_u16(b, (uint16_t) gid_bytes);
    buf_put_u64(b, x->origin_lsn);
    buf_put_u64(b, (uint64_t) x->origin_time);
    put_padded(b, x->gid, gid_bytes);
    put_padded(b, x->subxids, 4 * (size_t) x->n_subxids);
    put_padded(b, x->commit_rels, sizeof(struct wal_rel) * x->n_commit_rels);
    put_padded(b, x->abort_rels, sizeof(struct wal_rel) * x->n_abort_rels);
    buf_put_zero(b, PREPARE_END_BYTES);
}

static void
get_prepare_header(struct cur *c, struct wal_prepare *x, uint16_t *ret_gid_bytes)
{
    x->xid = cur_u32(c);
    x->db = cur_u32(c);
    x->time = (int64_t) cur_u64(c);
    x->owner = cur_u32(c);
    x->n_subxids = cur_u32(c);
    x->n_commit_rels = cur_u32(c);
    x->n_abort_rels = cur_u32(c);
    x->n_commit_stats = cur_u32(c);
    x->n_abort_stats = cur_u32(c);
    x->n_messages = cur_u32(c);
    x->remove_init_file = cur_u8(c) != 0;
    (void) cur_u8(c);
    *ret_gid_bytes = cur_u16(c);
    x->origin_lsn = cur_u64(c);
    x->origin_time = (int64_t) cur_u64(c);
}

/* The two-phase records behind the lists: only that they are there and end. */
static bool
twophase_records_end(struct cur *c)
{
    for (;;) {
        uint32_t bytes = cur_u32(c);
        uint8_t rmid = cur_u8(c);

        (void) cur_take(c, 3);
        if (c->failed)
            return false;
        if (rmid == 0)
            return bytes == 0 && c->left == 0;
        if (cur_take(c, padded(bytes)) == NULL)
            return false;
    }
}

int
wal_xact_get_prepare(const void *p, size_t n, struct wal_prepare *ret, struct err *e)
{
    struct cur c = cur_init(p, n);
    uint32_t magic = cur_u32(&c);
    uint32_t total = cur_u32(&c);
    uint16_t gid_bytes = 0;

    *ret = (struct wal_prepare){ 0 };
    get_prepare_header(&c, ret, &gid_bytes);
    ret->gid = (const char *) cur_take(&c, padded(gid_bytes));
    ret->subxids = cur_take(&c, padded(4 * (size_t) ret->n_subxids));
    ret->commit_rels = cur_take(&c, padded(sizeof(struct wal_rel) * ret->n_commit_rels));
    ret->abort_rels = cur_take(&c, padded(sizeof(struct wal_rel) * ret->n_abort_rels));
    ret->commit_stats = cur_take(&c, padded(STATS_BYTES * (size_t) ret->n_commit_stats));
    ret->abort_stats = cur_take(&c, padded(STATS_BYTES * (size_t) ret->n_abort_stats));
    ret->messages = cur_take(&c, padded(MESSAGE_BYTES * (size_t) ret->n_messages));
    if (c.failed || magic != PREPARE_MAGIC || total != n + CRC_BYTES || gid_bytes == 0 ||
        gid_bytes > WAL_GID_BYTES_MAX || ret->gid[gid_bytes - 1] != '\0' ||
        strlen(ret->gid) + 1 != gid_bytes || !twophase_records_end(&c))
        return ERR(e, DATA_CORRUPTED, "a PREPARE record of %zu bytes is not of the form", n);
    return 0;
}
