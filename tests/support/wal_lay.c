/* Lay records into memory as a log. */
#include "support/wal_lay.h"

#include <stdlib.h>
#include <string.h>

#include "support/test.h"
#include "wal/wal_page.h"

void
wal_lay_init(struct wal_lay *l, uint32_t segment_bytes, uint32_t n_segments, lsn_t begin)
{
    *l = (struct wal_lay){ .bytes = (size_t) segment_bytes * n_segments,
                           .limit = (size_t) segment_bytes * n_segments,
                           .begin = begin,
                           .segment_bytes = segment_bytes,
                           .tli = 1,
                           .sysid = UINT64_C(0x1122334455667788),
                           .next = begin };
    l->p = calloc(1, l->bytes);
    assert_non_null(l->p);
}

void
wal_lay_done(struct wal_lay *l)
{
    free(l->p);
    l->p = NULL;
}

static void
put_header(struct wal_lay *l, lsn_t lsn, uint32_t rem_len, uint16_t flags)
{
    struct wal_page page = wal_page_of(lsn, l->tli, rem_len, l->sysid, l->segment_bytes);

    page.info |= flags;
    (void) wal_page_put(l->p + (lsn - l->begin), &page);
}

void
wal_lay_begin_page(struct wal_lay *l, lsn_t lsn, uint16_t flags)
{
    put_header(l, lsn, 0, flags);
}

/* Copy n of `total` bytes to `at`, with page headers on the way. Returns where it stopped. */
static lsn_t
copy(struct wal_lay *l, lsn_t at, const uint8_t *src, uint32_t n, uint32_t total)
{
    uint32_t done = 0;

    while (done < n) {
        uint32_t part;

        if (wal_page_offset(at) == 0) {
            put_header(l, at, done == 0 ? 0 : total - done, 0);
            at = wal_start_of(at, l->segment_bytes);
        }
        part = MIN(n - done, WAL_PAGE_BYTES - wal_page_offset(at));
        if (at - l->begin + part > l->bytes)
            fail_msg("no room in the log of this test");
        memcpy(l->p + (at - l->begin), src + done, part);
        done += part;
        at += part;
    }
    return at;
}

static lsn_t
put(struct wal_lay *l, const struct wal_rec *rec, uint32_t n, bool is_torn)
{
    uint32_t bytes = (uint32_t) wal_record_bytes(rec);
    uint8_t *p = malloc(bytes);
    struct buf b = buf_init(p, bytes);
    lsn_t start = wal_start_of(l->next, l->segment_bytes);
    struct err e = ERR_INIT;

    assert_non_null(p);
    assert_ok(wal_record_put(&b, rec, &e), &e);
    assert_int_equal(b.n, bytes);
    wal_record_seal(p, bytes, l->prev);
    (void) copy(l, l->next, p, is_torn ? n : bytes, bytes);
    if (!is_torn) {
        l->prev = start;
        l->next = wal_end_of(start, bytes, l->segment_bytes);
        if (rec->rmid == RM_XLOG && rec->info == XLOG_SWITCH)
            l->next = (l->next + l->segment_bytes - 1) / l->segment_bytes * l->segment_bytes;
    }
    free(p);
    return start;
}

lsn_t
wal_lay_put(struct wal_lay *l, const struct wal_rec *rec)
{
    return put(l, rec, 0, false);
}

lsn_t
wal_lay_put_torn(struct wal_lay *l, const struct wal_rec *rec, uint32_t n)
{
    return put(l, rec, n, true);
}

ssize_t
wal_lay_read(void *arg, lsn_t lsn, void *p, size_t n, struct err *e)
{
    const struct wal_lay *l = arg;
    size_t at = (size_t) (lsn - l->begin);

    (void) e;
    if (lsn < l->begin || at >= l->limit)
        return 0;
    n = MIN(n, l->limit - at);
    memcpy(p, l->p + at, n);
    return (ssize_t) n;
}
