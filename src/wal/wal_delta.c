/* Deltas of Generic records.
 * Runs in: backends (make), startup (apply), tests. Pure. Owns: nothing.
 * Source: wal-format.md 2.8. */
#include "wal/wal_delta.h"

/* Equal bytes between two changes that are cheaper kept than a new fragment header. */
#define JOIN_BYTES WAL_DELTA_FRAGMENT_HEADER
#define STEP_BYTES 256u

void
wal_delta_put_fragment(struct buf *b, uint32_t at, const void *p, uint32_t n)
{
    ASSERT(n > 0);
    ASSERT(at + n <= PAGE_BYTES);
    buf_put_u16(b, (uint16_t) at);
    buf_put_u16(b, (uint16_t) n);
    buf_put(b, p, n);
}

/* First place at or behind i where the pages differ, or n. Most of a page is equal: big steps
 * first, then eight bytes at a time. */
static uint32_t
skip_equal(const uint8_t *from, const uint8_t *to, uint32_t i, uint32_t n)
{
    while (i + STEP_BYTES <= n && memcmp(from + i, to + i, STEP_BYTES) == 0)
        i += STEP_BYTES;
    while (i + 8 <= n) {
        uint64_t x = get_u64(from + i) ^ get_u64(to + i);

        if (x != 0)
            return i + (uint32_t) __builtin_ctzll(x) / 8;
        i += 8;
    }
    while (i < n && from[i] == to[i])
        i++;
    return i;
}

void
wal_delta_put(struct buf *b, const uint8_t *from, const uint8_t *to, uint32_t n)
{
    uint32_t i = skip_equal(from, to, 0, n);

    ASSERT(n <= PAGE_BYTES);
    while (i < n && buf_ok(b)) {
        uint32_t start = i;
        uint32_t end = i;
        uint32_t next = i;

        while (next < n && next <= end + JOIN_BYTES) {
            for (end = next; end < n && from[end] != to[end]; end++)
                ;
            next = skip_equal(from, to, end, n);
        }
        wal_delta_put_fragment(b, start, to + start, end - start);
        i = next;
    }
}

int
wal_delta_next(struct cur *c, struct wal_fragment *ret, struct err *e)
{
    if (c->left == 0 && !c->failed)
        return 1;
    ret->at = cur_u16(c);
    ret->bytes = cur_u16(c);
    ret->p = cur_take(c, ret->bytes);
    if (c->failed)
        return ERR(e, DATA_CORRUPTED, "a page delta ends inside a fragment");
    if (ret->bytes == 0 || (uint32_t) ret->at + ret->bytes > PAGE_BYTES)
        return ERR(e, DATA_CORRUPTED, "a page delta has a fragment of %u bytes at %u", ret->bytes,
                   ret->at);
    return 0;
}

int
wal_delta_apply(uint8_t *page, const void *delta, size_t n, struct err *e)
{
    struct cur c = cur_init(delta, n);
    struct wal_fragment f;
    int r;

    while ((r = wal_delta_next(&c, &f, e)) == 0)
        ;
    if (r < 0)
        return r;
    c = cur_init(delta, n);
    while (wal_delta_next(&c, &f, e) == 0)
        memcpy(page + f.at, f.p, f.bytes);
    return 0;
}
