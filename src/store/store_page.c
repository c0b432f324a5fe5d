/* Tail of a page: stamp and check. Runs in every process that reads or writes data files. Owns
 * nothing; pure. Source: engine-rules FILE-7; PostgreSQL's page checksum mixes the block number in
 * for the same reason. */
#include "store/store_page.h"

#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"

static uint32_t
page_crc(const uint8_t *page, blk_t block)
{
    uint8_t pgno[4];
    uint32_t crc = crc32c(0, page, PAGE_CRC_AT);

    put_u32(pgno, block + 1);
    return crc32c(crc, pgno, sizeof pgno); /* FILE-7 */
}

void
page_stamp(uint8_t *page, blk_t block, lsn_t lsn)
{
    put_u64(page + PAGE_LSN_AT, lsn);
    put_u32(page + PAGE_FORMAT_AT, PAGE_FORMAT);
    put_u64(page + PAGE_SPARE_AT, 0);
    put_u32(page + PAGE_CRC_AT, page_crc(page, block));
}

bool
page_is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

int
page_check(const uint8_t *page, blk_t block, lsn_t *ret_lsn, struct err *e)
{
    uint32_t found = get_u32(page + PAGE_CRC_AT);
    uint32_t crc;

    *ret_lsn = 0;
    if (page_is_zero(page))
        return 0;
    if (block == LOCK_BYTE_PGNO - 1)
        return ERR(e, DATA_CORRUPTED, "block %u is the lock-byte page, but is not zero", block);
    crc = page_crc(page, block);
    if (found != crc) {
        (void) ERR(e, DATA_CORRUPTED, "checksum of block %u is wrong", block);
        err_detail(e, "The page has %08X, its content gives %08X.", found, crc);
        return -ERR_DATA_CORRUPTED;
    }
    if (get_u32(page + PAGE_FORMAT_AT) != PAGE_FORMAT || get_u64(page + PAGE_SPARE_AT) != 0) {
        (void) ERR(e, DATA_CORRUPTED, "block %u has an unknown page format", block);
        err_detail(e, "The page has format %u, expected %u.", get_u32(page + PAGE_FORMAT_AT),
                   PAGE_FORMAT);
        return -ERR_DATA_CORRUPTED;
    }
    *ret_lsn = get_u64(page + PAGE_LSN_AT);
    return 0;
}

pgno_t
page1_size(const uint8_t *page1)
{
    return get_be32(page1 + 28);
}
