/* Bounded byte writers and readers. Runs in every process; no state. */
#include "base/buf.h"

/* Inline in this file: with the number of bytes known, each function below is a few instructions.
 */
static inline uint8_t *
grow(struct buf *b, size_t n)
{
    if (b->failed || n > b->cap - b->n) {
        b->failed = true;
        return NULL;
    }
    b->n += n;
    return b->p + b->n - n;
}

static inline void
put(struct buf *b, const void *src, size_t n)
{
    uint8_t *p = grow(b, n);

    if (p != NULL)
        memcpy(p, src, n);
}

uint8_t *
buf_grow(struct buf *b, size_t n)
{
    return grow(b, n);
}

void
buf_put(struct buf *b, const void *src, size_t n)
{
    uint8_t *p = grow(b, n);

    if (p != NULL && n > 0)
        memcpy(p, src, n);
}

void
buf_put_zero(struct buf *b, size_t n)
{
    uint8_t *p = buf_grow(b, n);

    if (p != NULL)
        memset(p, 0, n);
}

void
buf_put_u8(struct buf *b, uint8_t v)
{
    put(b, &v, sizeof v);
}

void
buf_put_u16(struct buf *b, uint16_t v)
{
    put(b, &v, sizeof v);
}

void
buf_put_u32(struct buf *b, uint32_t v)
{
    put(b, &v, sizeof v);
}

void
buf_put_u64(struct buf *b, uint64_t v)
{
    put(b, &v, sizeof v);
}

void
buf_put_be16(struct buf *b, uint16_t v)
{
    v = __builtin_bswap16(v);
    put(b, &v, sizeof v);
}

void
buf_put_be32(struct buf *b, uint32_t v)
{
    v = __builtin_bswap32(v);
    put(b, &v, sizeof v);
}

void
buf_put_be64(struct buf *b, uint64_t v)
{
    v = __builtin_bswap64(v);
    put(b, &v, sizeof v);
}

void
buf_patch_u32(struct buf *b, size_t at, uint32_t v)
{
    if (at + sizeof v <= b->n)
        put_u32(b->p + at, v);
    else
        b->failed = true;
}

void
buf_patch_be32(struct buf *b, size_t at, uint32_t v)
{
    buf_patch_u32(b, at, __builtin_bswap32(v));
}

const char *
cur_str(struct cur *c)
{
    const uint8_t *end = c->failed || c->left == 0 ? NULL : memchr(c->p, 0, c->left);

    if (end == NULL) {
        c->failed = true;
        return NULL;
    }
    return (const char *) cur_take(c, (size_t) (end - c->p) + 1);
}

uint16_t
cur_be16(struct cur *c)
{
    return __builtin_bswap16(cur_u16(c));
}

uint32_t
cur_be32(struct cur *c)
{
    return __builtin_bswap32(cur_u32(c));
}

uint64_t
cur_be64(struct cur *c)
{
    return __builtin_bswap64(cur_u64(c));
}

size_t
decimal_u64(char *p, uint64_t v)
{
    char digits[DECIMAL_BYTES];
    size_t n = 0;

    do {
        digits[DECIMAL_BYTES - ++n] = (char) ('0' + v % 10);
        v /= 10;
    } while (v > 0);
    memcpy(p, digits + DECIMAL_BYTES - n, n);
    return n;
}

size_t
decimal_i64(char *p, int64_t v)
{
    if (v >= 0)
        return decimal_u64(p, (uint64_t) v);
    *p = '-';
    return 1 + decimal_u64(p + 1, -(uint64_t) v);
}
