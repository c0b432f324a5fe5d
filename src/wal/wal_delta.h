/* Deltas of Generic records: fragments of u16 offset, u16 length, bytes (wal-format.md 2.8). Pure.
 * In a record the delta is the block's data; there is no main data. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/types.h"

#define WAL_DELTA_FRAGMENT_HEADER 4u

/* Append the fragments that turn `from` into `to`, two pages of 8192 bytes of which the first `n`
 * count (SQLite pages: PAGE_TAIL_AT, the tail is not logged). Equal runs of up to 4 bytes stay
 * inside a fragment. If they do not fit, b is failed: log an image instead. Equal pages append
 * nothing. */
void wal_delta_put(struct buf *b, const uint8_t *from, const uint8_t *to, uint32_t n);
/* Append one fragment. */
void wal_delta_put_fragment(struct buf *b, uint32_t at, const void *p, uint32_t n);

struct wal_fragment {
    uint16_t at;
    uint16_t bytes;
    const uint8_t *p;
};
/* The next fragment from c, a cursor over the block's data. Returns 0, 1 at the end, or
 * -ERR_DATA_CORRUPTED: cut off, empty, or behind the page's end. */
int wal_delta_next(struct cur *c, struct wal_fragment *ret, struct err *e);
/* Apply a delta of n bytes to a page of 8192. All of it is checked first: on failure the page is as
 * it was. */
int wal_delta_apply(uint8_t *page, const void *delta, size_t n, struct err *e);
/* Have the processor fetch what wal_delta_apply() will change. Anything may stand in the delta. */
void wal_delta_fetch(const uint8_t *page, const void *delta, size_t n);
