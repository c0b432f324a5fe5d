/* Bounded readers and writers for bytes of disk and wire. An overflow is sticky: check once, at the
 * end.
 *
 * struct buf writes into memory of a fixed size that the caller owns. struct cur reads memory it
 * borrows. Names say the byte order: _u32 little-endian (files), _be32 big-endian (wire). */
#pragma once

#include <string.h>

#include "base/macro.h"

struct buf {
    uint8_t *p;  /* borrowed until the buf is dropped */
    size_t cap;  /* bytes at p */
    size_t n;    /* bytes written */
    bool failed; /* something did not fit; n is unchanged from then on */
};

static inline struct buf
buf_init(void *p, size_t cap)
{
    return (struct buf){ .p = p, .cap = cap };
}

static inline bool
buf_ok(const struct buf *b)
{
    return !b->failed;
}

/* Room for n bytes at the end, or NULL (and failed). The bytes are not initialised. */
uint8_t *buf_grow(struct buf *b, size_t n);

/* Append: bytes, zeros, numbers in the machine's order (little-endian, as in the log), numbers in
 * network order (be). What does not fit sets `failed` and writes nothing. */
void buf_put(struct buf *b, const void *src, size_t n);
void buf_put_zero(struct buf *b, size_t n);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
void buf_put_be64(struct buf *b, uint64_t v);
/* Overwrite bytes already written at offset `at`. */
void buf_patch_u32(struct buf *b, size_t at, uint32_t v);
void buf_patch_be32(struct buf *b, size_t at, uint32_t v);

struct cur {
    const uint8_t *p; /* next byte; borrowed */
    size_t left;      /* bytes left */
    bool failed;      /* asked for more than there was; reads give 0 from then on */
};

static inline struct cur
cur_init(const void *p, size_t n)
{
    return (struct cur){ .p = p, .left = n };
}

/* Unaligned loads and stores. */
static inline uint16_t
get_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t
get_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t
get_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t
get_be32(const void *p)
{
    return __builtin_bswap32(get_u32(p));
}
static inline void
put_u16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void
put_u32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void
put_u64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void
put_be16(void *p, uint16_t v)
{
    put_u16(p, __builtin_bswap16(v));
}
static inline void
put_be32(void *p, uint32_t v)
{
    put_u32(p, __builtin_bswap32(v));
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "files are little-endian (wal-format.md 0)");

/* ---- reading ---- */

/* n bytes, or NULL (and failed). */
static inline const uint8_t *
cur_take(struct cur *c, size_t n)
{
    const uint8_t *p = c->p;

    if (c->failed || n > c->left) {
        c->failed = true;
        return NULL;
    }
    c->p += n;
    c->left -= n;
    return p;
}

static inline uint8_t
cur_u8(struct cur *c)
{
    const uint8_t *p = cur_take(c, 1);

    return p != NULL ? *p : 0;
}

static inline uint16_t
cur_u16(struct cur *c)
{
    const uint8_t *p = cur_take(c, 2);

    return p != NULL ? get_u16(p) : 0;
}

static inline uint32_t
cur_u32(struct cur *c)
{
    const uint8_t *p = cur_take(c, 4);

    return p != NULL ? get_u32(p) : 0;
}

static inline uint64_t
cur_u64(struct cur *c)
{
    const uint8_t *p = cur_take(c, 8);

    return p != NULL ? get_u64(p) : 0;
}

/* A NUL-terminated string inside the rest, or NULL (and failed). */
const char *cur_str(struct cur *c);
uint16_t cur_be16(struct cur *c);
uint32_t cur_be32(struct cur *c);
uint64_t cur_be64(struct cur *c);

/* ---- decimals ---- */

#define DECIMAL_BYTES 20 /* the longest there is */

/* v in decimal at p, which has DECIMAL_BYTES; no NUL. Returns how many bytes. */
size_t decimal_u64(char *p, uint64_t v);
size_t decimal_i64(char *p, int64_t v);
