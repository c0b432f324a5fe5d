/* One record: parts to bytes and bytes to parts.
 * Runs in: every process, tests. Pure. Owns: nothing.
 * Source: wal-format.md 1.4-1.8. */
#include "wal/wal_record.h"

#include "base/crc32c.h"

static bool
image_has_hole(const struct wal_image *image)
{
    return image->hole_bytes != 0;
}

static uint32_t
data_header_bytes(uint32_t main_bytes)
{
    if (main_bytes == 0)
        return 0;
    return main_bytes <= 255 ? 2 : 5;
}

/* Does block i take its relation from the block before it? */
static bool
same_rel(const struct wal_rec *rec, uint32_t i)
{
    return i > 0 && wal_rel_equal(&rec->blocks[i].rel, &rec->blocks[i - 1].rel);
}

uint64_t
wal_record_bytes(const struct wal_rec *rec)
{
    uint64_t n =
        WAL_RECORD_HEADER + data_header_bytes(rec->main_bytes) + (uint64_t) rec->main_bytes;

    for (uint32_t i = 0; i < rec->n_blocks; i++) {
        const struct wal_block *b = &rec->blocks[i];

        n += 4 + 4 + (same_rel(rec, i) ? 0 : 12) + b->data_bytes;
        if (b->image.p == NULL)
            continue;
        n += 5u + b->image.bytes;
        if (image_has_hole(&b->image) && (b->image.info & WAL_IMAGE_PACKED) != 0)
            n += 2;
    }
    return n;
}

/* The rules of 1.7 for an image, before writing and after reading. NULL if it keeps them. */
static const char *
image_fault(const struct wal_image *image)
{
    bool hole = (image->info & WAL_IMAGE_HAS_HOLE) != 0;
    bool packed = (image->info & WAL_IMAGE_PACKED) != 0;

    if (hole && (image->hole_at == 0 || image->hole_bytes == 0 || image->bytes == WAL_PAGE_BYTES))
        return "has an impossible hole";
    if (!hole && (image->hole_at != 0 || image->hole_bytes != 0))
        return "has a hole without its flag";
    if (packed && image->bytes == WAL_PAGE_BYTES)
        return "is packed but not shorter than a page";
    if (!hole && !packed && image->bytes != WAL_PAGE_BYTES)
        return "has neither hole nor packing but is not as long as a page";
    if (image->bytes > WAL_PAGE_BYTES)
        return "is longer than a page";
    if ((uint32_t) image->hole_at + image->hole_bytes > WAL_PAGE_BYTES)
        return "has a hole behind the page's end";
    return NULL;
}

static int
check_block_to_put(const struct wal_rec *rec, uint32_t i, struct err *e)
{
    const struct wal_block *b = &rec->blocks[i];
    struct wal_image image = b->image;
    const char *fault = NULL;

    if (b->id >= WAL_BLOCKS || (i > 0 && b->id <= rec->blocks[i - 1].id))
        return ERR(e, INVALID_PARAMETER_VALUE, "block reference %u follows %u in a log record",
                   b->id, i > 0 ? rec->blocks[i - 1].id : 0u);
    if ((b->flags & WAL_FORK_MASK) > WAL_FORK_INIT)
        return ERR(e, INVALID_PARAMETER_VALUE, "block reference %u names fork %u", b->id,
                   b->flags & WAL_FORK_MASK);
    if (image.p == NULL)
        return 0;
    image.info |= image_has_hole(&image) ? WAL_IMAGE_HAS_HOLE : 0;
    fault = image_fault(&image);
    if (fault == NULL && (image.info & WAL_IMAGE_PACKED) == 0 &&
        image.bytes + image.hole_bytes != WAL_PAGE_BYTES)
        fault = "and its hole do not make a page";
    if (fault != NULL)
        return ERR(e, INVALID_PARAMETER_VALUE, "the image of block reference %u %s", b->id, fault);
    return 0;
}

static void
put_block_header(struct buf *b, const struct wal_rec *rec, uint32_t i)
{
    const struct wal_block *block = &rec->blocks[i];
    const struct wal_image *image = &block->image;
    bool same = same_rel(rec, i);
    uint8_t flags = block->flags & (WAL_FORK_MASK | WAL_BLOCK_WILL_INIT);

    flags |= image->p != NULL ? WAL_BLOCK_HAS_IMAGE : 0;
    flags |= block->data_bytes > 0 ? WAL_BLOCK_HAS_DATA : 0;
    flags |= same ? WAL_BLOCK_SAME_REL : 0;
    buf_put_u8(b, block->id);
    buf_put_u8(b, flags);
    buf_put_u16(b, block->data_bytes);
    if (image->p != NULL) {
        bool hole = image_has_hole(image);

        buf_put_u16(b, image->bytes);
        buf_put_u16(b, image->hole_at);
        buf_put_u8(b, (uint8_t) (image->info | (hole ? WAL_IMAGE_HAS_HOLE : 0)));
        if (hole && (image->info & WAL_IMAGE_PACKED) != 0)
            buf_put_u16(b, image->hole_bytes);
    }
    if (!same) {
        buf_put_u32(b, block->rel.spc);
        buf_put_u32(b, block->rel.db);
        buf_put_u32(b, block->rel.rel);
    }
    buf_put_u32(b, block->blk);
}

static void
put_main_header(struct buf *b, uint32_t main_bytes)
{
    if (main_bytes == 0)
        return;
    if (main_bytes <= 255) {
        buf_put_u8(b, WAL_ID_DATA_SHORT);
        buf_put_u8(b, (uint8_t) main_bytes);
    } else {
        buf_put_u8(b, WAL_ID_DATA_LONG);
        buf_put_u32(b, main_bytes);
    }
}

int
wal_record_put(struct buf *b, const struct wal_rec *rec, struct err *e)
{
    uint64_t bytes = wal_record_bytes(rec);

    if (!wal_rmgr_ok(rec->rmid) || rec->n_blocks > WAL_BLOCKS)
        return ERR(e, INVALID_PARAMETER_VALUE,
                   "a log record of resource manager %u with %u block references cannot be written",
                   rec->rmid, rec->n_blocks);
    if (bytes > WAL_RECORD_BYTES_MAX)
        return ERR(e, INVALID_PARAMETER_VALUE, "a log record of %" PRIu64 " bytes is too long",
                   bytes);
    for (uint32_t i = 0; i < rec->n_blocks; i++) {
        int r = check_block_to_put(rec, i, e);

        if (r < 0)
            return r;
    }
    buf_put_u32(b, (uint32_t) bytes);
    buf_put_u32(b, rec->xid);
    buf_put_u64(b, 0);
    buf_put_u8(b, rec->info);
    buf_put_u8(b, rec->rmid);
    buf_put_u16(b, 0);
    buf_put_u32(b, 0);
    for (uint32_t i = 0; i < rec->n_blocks; i++)
        put_block_header(b, rec, i);
    put_main_header(b, rec->main_bytes);
    for (uint32_t i = 0; i < rec->n_blocks; i++) {
        if (rec->blocks[i].image.p != NULL)
            buf_put(b, rec->blocks[i].image.p, rec->blocks[i].image.bytes);
        if (rec->blocks[i].data_bytes > 0)
            buf_put(b, rec->blocks[i].data, rec->blocks[i].data_bytes);
    }
    if (rec->main_bytes > 0)
        buf_put(b, rec->main, rec->main_bytes);
    if (!buf_ok(b))
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "a log record of %" PRIu64 " bytes does not fit",
                   bytes);
    return 0;
}

uint32_t
wal_record_crc(const void *p, uint32_t bytes)
{
    uint32_t crc = crc32c(0, (const uint8_t *) p + WAL_RECORD_HEADER, bytes - WAL_RECORD_HEADER);

    return crc32c(crc, p, WAL_RECORD_AT_CRC);
}

void
wal_record_seal(void *p, uint32_t bytes, lsn_t prev)
{
    ASSERT(bytes >= WAL_RECORD_HEADER);
    put_u64((uint8_t *) p + WAL_RECORD_AT_PREV, prev);
    put_u32((uint8_t *) p + WAL_RECORD_AT_CRC, wal_record_crc(p, bytes));
}

/* State of taking a body apart. `announced`: payload bytes that the headers so far promise; all
 * headers are read when exactly these are left. */
struct decode {
    struct cur c;
    uint64_t announced;
    struct wal_decoded *d;
    const struct wal_rel *rel; /* nearest earlier one, for SAME_REL */
    struct err *e;
};

static int
get_image_header(struct decode *s, struct wal_block *b)
{
    const uint8_t *p = cur_take(&s->c, 5);
    struct wal_image *image = &b->image;
    const char *fault;

    if (p == NULL)
        return 0; /* reported by the caller */
    image->bytes = get_u16(p);
    image->hole_at = get_u16(p + 2);
    image->info = p[4];
    if ((image->info & WAL_IMAGE_HAS_HOLE) != 0) {
        if ((image->info & WAL_IMAGE_PACKED) != 0)
            image->hole_bytes = cur_u16(&s->c);
        else if (image->bytes < WAL_PAGE_BYTES)
            image->hole_bytes = (uint16_t) (WAL_PAGE_BYTES - image->bytes);
    }
    if (s->c.failed)
        return 0;
    fault = image_fault(image);
    if (fault != NULL)
        return ERR(s->e, DATA_CORRUPTED, "the image of block reference %u %s", b->id, fault);
    s->announced += image->bytes;
    return 0;
}

/* Relation and number of the block. */
static int
get_block_place(struct decode *s, struct wal_block *b)
{
    bool is_same = (b->flags & WAL_BLOCK_SAME_REL) != 0;
    const uint8_t *p = cur_take(&s->c, is_same ? 4 : 16);

    if (is_same && s->rel == NULL)
        return ERR(s->e, DATA_CORRUPTED, "block reference %u repeats no relation", b->id);
    if (p == NULL)
        return 0; /* reported by the caller */
    if (is_same) {
        b->rel = *s->rel;
        b->blk = get_u32(p);
    } else {
        b->rel = (struct wal_rel){ get_u32(p), get_u32(p + 4), get_u32(p + 8) };
        b->blk = get_u32(p + 12);
    }
    s->rel = &b->rel;
    return 0;
}

static int
get_block_header(struct decode *s, uint8_t id)
{
    struct wal_decoded *d = s->d;
    struct wal_block *b = &d->blocks[d->n_blocks];
    const uint8_t *p = cur_take(&s->c, 3);
    int r = 0;

    if (d->n_blocks > 0 && id <= d->blocks[d->n_blocks - 1].id)
        return ERR(s->e, DATA_CORRUPTED, "block reference %u follows %u", id,
                   d->blocks[d->n_blocks - 1].id);
    if (p == NULL)
        return 0;
    *b = (struct wal_block){ .id = id, .flags = p[0], .data_bytes = get_u16(p + 1) };
    if ((b->flags & WAL_FORK_MASK) > WAL_FORK_INIT)
        return ERR(s->e, DATA_CORRUPTED, "block reference %u names fork %u", id,
                   b->flags & WAL_FORK_MASK);
    if (((b->flags & WAL_BLOCK_HAS_DATA) != 0) != (b->data_bytes > 0))
        return ERR(s->e, DATA_CORRUPTED, "block reference %u has data flag and length %u", id,
                   b->data_bytes);
    s->announced += b->data_bytes;
    if ((b->flags & WAL_BLOCK_HAS_IMAGE) != 0)
        r = get_image_header(s, b);
    if (r == 0)
        r = get_block_place(s, b);
    d->n_blocks++;
    return r;
}

/* One header element. The main data header is the last: *ret_last. */
static int
get_element(struct decode *s, bool *ret_last)
{
    struct wal_decoded *d = s->d;
    uint8_t id = cur_u8(&s->c);
    int r = 0;

    *ret_last = false;
    if (id == WAL_ID_DATA_SHORT || id == WAL_ID_DATA_LONG) {
        d->main_bytes = id == WAL_ID_DATA_SHORT ? cur_u8(&s->c) : cur_u32(&s->c);
        s->announced += d->main_bytes;
        *ret_last = true;
    } else if (id == WAL_ID_ORIGIN) {
        d->has_origin = true;
        d->origin = cur_u16(&s->c);
    } else if (id == WAL_ID_TOP_XID) {
        d->has_top_xid = true;
        d->top_xid = cur_u32(&s->c);
    } else if (id < WAL_BLOCKS) {
        r = get_block_header(s, id);
    } else {
        return ERR(s->e, DATA_CORRUPTED, "a header element has id %u", id);
    }
    if (r == 0 && s->c.failed)
        return ERR(s->e, DATA_CORRUPTED, "the record ends inside its headers");
    return r;
}

static void
point_into_payload(struct decode *s)
{
    struct wal_decoded *d = s->d;

    for (uint32_t i = 0; i < d->n_blocks; i++) {
        struct wal_block *b = &d->blocks[i];

        if ((b->flags & WAL_BLOCK_HAS_IMAGE) != 0)
            b->image.p = cur_take(&s->c, b->image.bytes);
        if (b->data_bytes > 0)
            b->data = cur_take(&s->c, b->data_bytes);
    }
    if (d->main_bytes > 0)
        d->main = cur_take(&s->c, d->main_bytes);
}

static int
get_header(const uint8_t *p, size_t n, struct wal_decoded *d, struct err *e)
{
    if (n < WAL_RECORD_HEADER || n > UINT32_MAX)
        return ERR(e, DATA_CORRUPTED, "a record cannot have %zu bytes", n);
    if (get_u32(p) != n)
        return ERR(e, DATA_CORRUPTED, "the record says %u bytes instead of %zu", get_u32(p), n);
    d->p = p;
    d->bytes = (uint32_t) n;
    d->xid = get_u32(p + WAL_RECORD_AT_XID);
    d->prev = get_u64(p + WAL_RECORD_AT_PREV);
    d->info = p[WAL_RECORD_AT_INFO];
    d->rmid = p[WAL_RECORD_AT_RMID];
    if (!wal_rmgr_ok(d->rmid))
        return ERR(e, DATA_CORRUPTED, "the record is of resource manager %u", d->rmid);
    if (get_u32(p + WAL_RECORD_AT_CRC) != wal_record_crc(p, d->bytes))
        return ERR(e, DATA_CORRUPTED, "the record's checksum is %08X instead of %08X",
                   get_u32(p + WAL_RECORD_AT_CRC), wal_record_crc(p, d->bytes));
    return 0;
}

int
wal_record_decode(const void *p, size_t n, struct wal_decoded *ret, struct err *e)
{
    struct decode s = { .d = ret, .e = e };
    bool last = false;
    int r;

    ret->lsn = ret->end = ret->prev = 0;
    ret->has_origin = ret->has_top_xid = false;
    ret->n_blocks = ret->main_bytes = 0;
    ret->main = NULL;
    r = get_header(p, n, ret, e);
    if (r < 0)
        return r;
    s.c = cur_init((const uint8_t *) p + WAL_RECORD_HEADER, n - WAL_RECORD_HEADER);
    while (!last && s.c.left > s.announced) {
        r = get_element(&s, &last);
        if (r < 0)
            return r;
    }
    if (s.c.left != s.announced)
        return ERR(e, DATA_CORRUPTED, "the record has %zu bytes of payload instead of %" PRIu64,
                   s.c.left, s.announced);
    point_into_payload(&s);
    return 0;
}

void
wal_image_spread(const struct wal_image *image, const void *raw, void *ret_page)
{
    uint32_t at = image->hole_bytes > 0 ? image->hole_at : WAL_PAGE_BYTES;
    uint32_t behind = at + image->hole_bytes;

    ASSERT(behind <= WAL_PAGE_BYTES);
    memcpy(ret_page, raw, at);
    if (image->hole_bytes == 0)
        return;
    memset((uint8_t *) ret_page + at, 0, image->hole_bytes);
    memcpy((uint8_t *) ret_page + behind, (const uint8_t *) raw + at, WAL_PAGE_BYTES - behind);
}
