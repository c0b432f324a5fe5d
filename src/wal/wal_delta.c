/* Deltas of Generic records.
 * Runs in: backends (make), startup (apply), tests. Pure. Owns: nothing.
 * Source: wal-format.md 2.8. */
#include "wal/wal_delta.h"

/* Equal bytes between two changes that are cheaper kept than a new fragment header. */
#define JOIN_BYTES WAL_DELTA_FRAGMENT_HEADER
#define LONG_STEP  1024u
#define STEP       256u

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
    while (i + LONG_STEP <= n && memcmp(from + i, to + i, LONG_STEP) == 0)
        i += LONG_STEP;
    while (i + STEP <= n && memcmp(from + i, to + i, STEP) == 0)
        i += STEP;
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

/* Are these nothing but whole fragments of a page? */
static bool
is_whole(const uint8_t *p, size_t n)
{
    while (n >= WAL_DELTA_FRAGMENT_HEADER) {
        uint32_t at = get_u16(p);
        uint32_t bytes = get_u16(p + 2);

        n -= WAL_DELTA_FRAGMENT_HEADER;
        if (bytes == 0 || bytes > n || at + bytes > PAGE_BYTES)
            return false;
        p += WAL_DELTA_FRAGMENT_HEADER + bytes;
        n -= bytes;
    }
    return n == 0;
}

/* Most fragments are a few bytes: two words that overlap, and no call. */
static inline void
copy(uint8_t *to, const uint8_t *from, uint32_t n)
{
    if (n > 16)
        memcpy(to, from, n);
    else if (n >= 8) {
        uint64_t last = get_u64(from + n - 8);

        put_u64(to, get_u64(from));
        put_u64(to + n - 8, last);
    } else if (n >= 4) {
        uint32_t last = get_u32(from + n - 4);

        put_u32(to, get_u32(from));
        put_u32(to + n - 4, last);
    } else
        for (uint32_t i = 0; i < n; i++)
            to[i] = from[i];
}

int
wal_delta_apply(uint8_t *page, const void *delta, size_t n, struct err *e)
{
    const uint8_t *p = delta;
    const uint8_t *end = p + n;

    if (!is_whole(p, n)) {
        struct cur c = cur_init(delta, n);
        struct wal_fragment f;
        int r;

        while ((r = wal_delta_next(&c, &f, e)) == 0)
            ;
        return r;
    }
    while (p < end) {
        uint32_t bytes = get_u16(p + 2);

        copy(page + get_u16(p), p + WAL_DELTA_FRAGMENT_HEADER, bytes);
        p += WAL_DELTA_FRAGMENT_HEADER + bytes;
    }
    return 0;
}

void
wal_delta_fetch(const uint8_t *page, const void *delta, size_t n)
{
    const uint8_t *p = delta;

    while (n > WAL_DELTA_FRAGMENT_HEADER) {
        uint32_t at = get_u16(p);
        uint32_t bytes = get_u16(p + 2);

        n -= WAL_DELTA_FRAGMENT_HEADER;
        if (bytes == 0 || bytes > n || at + bytes > PAGE_BYTES)
            return;
        __builtin_prefetch(page + at, 1);
        __builtin_prefetch(page + at + bytes - 1, 1);
        p += WAL_DELTA_FRAGMENT_HEADER + bytes;
        n -= bytes;
    }
}
