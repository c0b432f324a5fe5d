/* Page headers of the log (wal-format.md 1.3). Pure. */
#pragma once

#include "base/err.h"
#include "base/types.h"
#include "wal/wal_format.h"

struct wal_page {
    uint16_t info; /* WAL_PAGE_*; LONG_HEADER decides the length */
    tli_t tli;
    lsn_t lsn;        /* address of the page's first byte */
    uint32_t rem_len; /* bytes of an unfinished record from this page on */
    uint64_t sysid;   /* long header only, as the next two */
    uint32_t segment_bytes;
    uint32_t page_bytes;
};

/* Header of the page at `lsn` of a log with this segment size: flags BKP_REMOVABLE, LONG_HEADER
 * where it belongs, and CONTRECORD if rem_len > 0. */
struct wal_page wal_page_of(lsn_t lsn, tli_t tli, uint32_t rem_len, uint64_t sysid,
                            uint32_t segment_bytes);
/* Write the header to p (24 or 40 bytes). Returns its length. */
uint32_t wal_page_put(void *p, const struct wal_page *page);

/* What a reader expects of a page. */
struct wal_page_want {
    lsn_t lsn;              /* the address it should have */
    uint64_t sysid;         /* 0 = do not check */
    uint32_t segment_bytes; /* of the log */
    tli_t tli_min;          /* of an earlier page; 0 = none */
};

/* Check and read a header. p holds at least `n` bytes, of which a short header needs 24 and a long
 * one 40. Returns 0, or -ERR_DATA_CORRUPTED with the reason in e. */
int wal_page_get(const void *p, size_t n, const struct wal_page_want *want, struct wal_page *ret,
                 struct err *e);
static inline uint32_t
wal_page_bytes_of(const struct wal_page *page)
{
    return (page->info & WAL_PAGE_LONG_HEADER) != 0 ? WAL_LONG_HEADER : WAL_SHORT_HEADER;
}
