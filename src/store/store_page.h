/* The last 24 bytes of a page: LSN u64 (8168), CRC-32C u32 (8176), format u32 (8180), spare u64
 * (8184; zero).
 *
 * The CRC is over bytes 0..8179 in which the page number (u32, block + 1) stands in the place of
 * the CRC itself (FILE-7): a page that was written to, or read from, the wrong place is found.
 * Format and spare are outside it and are compared as they are. Pure. */
#pragma once

#include "base/err.h"
#include "base/types.h"

#define PAGE_FORMAT    1u
#define PAGE_LSN_AT    PAGE_TAIL_AT
#define PAGE_CRC_AT    (PAGE_TAIL_AT + 8u)
#define PAGE_FORMAT_AT (PAGE_TAIL_AT + 12u)
#define PAGE_SPARE_AT  (PAGE_TAIL_AT + 16u)

/* Stamp `page` (PAGE_BYTES) as block `block` with version LSN `lsn`. */
void page_stamp(uint8_t *page, blk_t block, lsn_t lsn);
/* Check CRC, format and block. 0 and *ret_lsn; an all-zero page is good with LSN 0, and the
 * lock-byte page (block 131072) is good only so. < 0: -ERR_DATA_CORRUPTED with block, expected and
 * found. */
int page_check(const uint8_t *page, blk_t block, lsn_t *ret_lsn, struct err *e);
bool page_is_zero(const uint8_t *page);
/* Size in pages as page 1 says (header bytes 28..31, big-endian). */
pgno_t page1_size(const uint8_t *page1);
