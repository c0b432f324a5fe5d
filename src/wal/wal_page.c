/* Page headers of the log.
 * Runs in: every process, tests. Pure. Owns: nothing.
 * Source: wal-format.md 1.3. */
#include "wal/wal_page.h"

#include "base/buf.h"

struct wal_page
wal_page_of(lsn_t lsn, tli_t tli, uint32_t rem_len, uint64_t sysid, uint32_t segment_bytes)
{
    struct wal_page page = { .info = WAL_PAGE_BKP_REMOVABLE,
                             .tli = tli,
                             .lsn = wal_page_start(lsn),
                             .rem_len = rem_len,
                             .sysid = sysid,
                             .segment_bytes = segment_bytes,
                             .page_bytes = WAL_PAGE_BYTES };

    if (wal_segment_offset(page.lsn, segment_bytes) == 0)
        page.info |= WAL_PAGE_LONG_HEADER;
    if (rem_len > 0)
        page.info |= WAL_PAGE_CONTRECORD;
    return page;
}

uint32_t
wal_page_put(void *p, const struct wal_page *page)
{
    struct buf b = buf_init(p, wal_page_bytes_of(page));

    buf_put_u16(&b, WAL_PAGE_MAGIC);
    buf_put_u16(&b, page->info);
    buf_put_u32(&b, page->tli);
    buf_put_u64(&b, page->lsn);
    buf_put_u32(&b, page->rem_len);
    buf_put_u32(&b, 0);
    if (b.cap == WAL_LONG_HEADER) {
        buf_put_u64(&b, page->sysid);
        buf_put_u32(&b, page->segment_bytes);
        buf_put_u32(&b, page->page_bytes);
    }
    ASSERT(buf_ok(&b));
    return (uint32_t) b.n;
}

static int
check_long_header(const struct wal_page *page, const struct wal_page_want *want, struct err *e)
{
    if (want->sysid != 0 && page->sysid != want->sysid)
        return ERR(e, DATA_CORRUPTED,
                   "page " LSN_FMT " is of another cluster: system identifier %" PRIu64
                   " instead of %" PRIu64,
                   LSN_ARGS(want->lsn), page->sysid, want->sysid);
    if (page->segment_bytes != want->segment_bytes)
        return ERR(e, DATA_CORRUPTED, "page " LSN_FMT " says segments have %u bytes instead of %u",
                   LSN_ARGS(want->lsn), page->segment_bytes, want->segment_bytes);
    if (page->page_bytes != WAL_PAGE_BYTES)
        return ERR(e, DATA_CORRUPTED, "page " LSN_FMT " says pages have %u bytes",
                   LSN_ARGS(want->lsn), page->page_bytes);
    return 0;
}

int
wal_page_get(const void *p, size_t n, const struct wal_page_want *want, struct wal_page *ret,
             struct err *e)
{
    struct cur c = cur_init(p, n);
    struct wal_page page = { 0 };
    uint16_t magic = cur_u16(&c);
    bool is_first = wal_segment_offset(want->lsn, want->segment_bytes) == 0;

    page.info = cur_u16(&c);
    page.tli = cur_u32(&c);
    page.lsn = cur_u64(&c);
    page.rem_len = cur_u32(&c);
    (void) cur_u32(&c);
    if (!c.failed && magic == WAL_PAGE_MAGIC && (page.info & WAL_PAGE_LONG_HEADER) != 0) {
        page.sysid = cur_u64(&c);
        page.segment_bytes = cur_u32(&c);
        page.page_bytes = cur_u32(&c);
    }
    if (c.failed)
        return ERR(e, DATA_CORRUPTED, "page " LSN_FMT " is cut off after %zu bytes",
                   LSN_ARGS(want->lsn), n);
    if (magic != WAL_PAGE_MAGIC)
        return ERR(e, DATA_CORRUPTED, "page " LSN_FMT " has magic number %04X", LSN_ARGS(want->lsn),
                   magic);
    if ((page.info & ~WAL_PAGE_FLAGS) != 0)
        return ERR(e, DATA_CORRUPTED, "page " LSN_FMT " has unknown flags %04X",
                   LSN_ARGS(want->lsn), page.info);
    if (((page.info & WAL_PAGE_LONG_HEADER) != 0) != is_first)
        return ERR(e, DATA_CORRUPTED, "page " LSN_FMT " has a %s header", LSN_ARGS(want->lsn),
                   is_first ? "short" : "long");
    if (is_first) {
        int r = check_long_header(&page, want, e);

        if (r < 0)
            return r;
    }
    if (page.lsn != want->lsn)
        return ERR(e, DATA_CORRUPTED, "page " LSN_FMT " has address " LSN_FMT, LSN_ARGS(want->lsn),
                   LSN_ARGS(page.lsn));
    if (page.tli == 0 || page.tli < want->tli_min)
        return ERR(e, DATA_CORRUPTED, "page " LSN_FMT " is of timeline %u after timeline %u",
                   LSN_ARGS(want->lsn), page.tli, want->tli_min);
    *ret = page;
    return 0;
}
