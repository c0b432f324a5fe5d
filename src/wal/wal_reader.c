/* Records from any source.
 * Runs in: startup, walsender, tools, tests. Owns: one page, one gathered record.
 * Source: wal-format.md 1.3, 1.9-1.14; engine-rules REDO-4. */
#include "wal/wal_reader.h"

#include <stdarg.h>
#include <stdio.h>

#include "wal/wal_page.h"
#include "wal/wal_xlog.h"

struct wal_reader {
    struct wal_reader_params params;

    lsn_t next;         /* where the next record is looked for, in either spelling */
    lsn_t last;         /* start of the last valid record; 0 = none since the seek */
    lsn_t overwritten;  /* an abandoned record was met: the next one has to name it (1.10) */
    lsn_t aborted;      /* start of the record that could not be finished at the end; 0 = none */
    lsn_t missing_page; /* first page on which its bytes are missing */

    uint8_t page[WAL_PAGE_BYTES];
    lsn_t page_lsn;
    uint32_t page_bytes; /* valid bytes in `page`; 0 = nothing cached */
    struct wal_page page_header;
    lsn_t newest_lsn; /* page with the highest address read since the seek … */
    tli_t newest_tli; /* … and its timeline */

    uint8_t *record; /* heap: a record gathered from several pages */
    size_t record_cap;
    struct wal_decoded decoded;
    char reason[sizeof((struct err *) 0)->message];
};

int
wal_reader_new(struct wal_reader **ret, const struct wal_reader_params *params, struct err *e)
{
    struct wal_reader *r;

    if (!wal_segment_bytes_ok(params->segment_bytes))
        return ERR(e, INVALID_PARAMETER_VALUE, "log segments cannot have %u bytes",
                   params->segment_bytes);
    r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory for a log reader");
    r->params = *params;
    *ret = r;
    return 0;
}

void
wal_reader_free(struct wal_reader *r)
{
    if (r == NULL)
        return;
    free(r->record);
    free(r);
}

void
wal_reader_seek(struct wal_reader *r, lsn_t lsn)
{
    r->next = lsn;
    r->last = 0;
    r->overwritten = 0;
    r->aborted = 0;
    r->page_bytes = 0;
    r->newest_lsn = 0;
    r->newest_tli = 0;
    r->reason[0] = '\0';
}

static int PRINTF(2, 3) end_of_log(struct wal_reader *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(r->reason, sizeof r->reason, fmt, ap);
    va_end(ap);
    return WAL_READER_END;
}

/* Is the page just read one of this log's timelines, at a place where that one was in force? */
static bool
page_is_in_history(const struct wal_reader *r, const struct wal_page *page)
{
    const struct wal_history_entry *entry;

    if (r->params.history == NULL)
        return true;
    entry = wal_history_find(r->params.history, page->tli);
    return entry != NULL && page->lsn < entry->end;
}

static int
check_page(struct wal_reader *r, lsn_t lsn)
{
    struct err e = ERR_INIT;
    struct wal_page_want want = { .lsn = lsn,
                                  .sysid = r->params.sysid,
                                  .segment_bytes = r->params.segment_bytes,
                                  .tli_min = lsn > r->newest_lsn ? r->newest_tli : 0 };

    if (wal_page_get(r->page, r->page_bytes, &want, &r->page_header, &e) < 0)
        return end_of_log(r, "%s", e.message);
    if (!page_is_in_history(r, &r->page_header))
        return end_of_log(r, "page " LSN_FMT " is of timeline %u, which is not of this history",
                          LSN_ARGS(lsn), r->page_header.tli);
    if (lsn >= r->newest_lsn) {
        r->newest_lsn = lsn;
        r->newest_tli = r->page_header.tli;
    }
    return 0;
}

/* Have the page at lsn with at least `need` bytes in r->page, its header checked. 0, END or < 0. */
static int
load_page(struct wal_reader *r, lsn_t lsn, uint32_t need, struct err *e)
{
    ssize_t n;
    int rc;

    if (r->page_bytes == 0 || r->page_lsn != lsn) {
        r->page_bytes = 0;
        n = r->params.read(r->params.arg, lsn, r->page, WAL_PAGE_BYTES, e);
        if (n < 0)
            return (int) n;
        if (n == 0)
            return end_of_log(r, "there is no log at " LSN_FMT, LSN_ARGS(lsn));
        r->page_lsn = lsn;
        r->page_bytes = (uint32_t) MIN(n, (ssize_t) WAL_PAGE_BYTES);
        rc = check_page(r, lsn);
        if (rc != 0) {
            r->page_bytes = 0;
            return rc;
        }
    }
    if (r->page_bytes < need)
        return end_of_log(r, "the log ends at " LSN_FMT, LSN_ARGS(lsn + r->page_bytes));
    return 0;
}

/* The header fields that protect against believing old or foreign bytes (1.12). */
static int
check_record_start(struct wal_reader *r, lsn_t lsn, const uint8_t *header)
{
    lsn_t prev = get_u64(header + WAL_RECORD_AT_PREV);
    uint8_t rmid = header[WAL_RECORD_AT_RMID];

    if (!wal_rmgr_ok(rmid))
        return end_of_log(r, "the record at " LSN_FMT " is of resource manager %u", LSN_ARGS(lsn),
                          rmid);
    if (r->last != 0 ? prev != r->last : prev >= lsn)
        return end_of_log(r, "the record at " LSN_FMT " follows " LSN_FMT " instead of " LSN_FMT,
                          LSN_ARGS(lsn), LSN_ARGS(prev), LSN_ARGS(r->last));
    return 0;
}

static int
reserve_record(struct wal_reader *r, size_t need, uint32_t tot_len, struct err *e)
{
    size_t cap = MIN(MAX(need, MAX(2 * r->record_cap, 8 * WAL_PAGE_BYTES)),
                     MAX(need, MAX(tot_len, 8 * WAL_PAGE_BYTES)));
    uint8_t *p;

    if (need <= r->record_cap)
        return 0;
    p = realloc(r->record, cap);
    if (p == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory for a log record of %u bytes", tot_len);
    r->record = p;
    r->record_cap = cap;
    return 0;
}

static int
append_record(struct wal_reader *r, size_t done, const uint8_t *p, size_t n, struct err *e)
{
    int rc = reserve_record(r, done + n, get_u32(done == 0 ? p : r->record), e);

    if (rc == 0)
        memcpy(r->record + done, p, n);
    return rc;
}

/* Outcome of gather(): the record was abandoned; go on with the first record of the page loaded
 * last. */
enum { GATHER_OVERWRITTEN = 2 };

/* One continuation page: check that it continues this record, append its part. */
static int
gather_page(struct wal_reader *r, lsn_t page, uint32_t tot_len, uint32_t *done, struct err *e)
{
    const struct wal_page *h = &r->page_header;
    uint32_t header = wal_page_header_bytes(page, r->params.segment_bytes);
    uint32_t part = MIN(tot_len - *done, WAL_PAGE_BYTES - header);
    int rc = load_page(r, page, header, e);

    if (rc != 0)
        return rc;
    if ((h->info & WAL_PAGE_CONTRECORD) == 0)
        return (h->info & WAL_PAGE_OVERWRITE) != 0
                   ? GATHER_OVERWRITTEN
                   : end_of_log(r, "page " LSN_FMT " does not continue a record", LSN_ARGS(page));
    if (h->rem_len == 0 || h->rem_len != tot_len - *done)
        return end_of_log(r, "page " LSN_FMT " continues a record with %u bytes instead of %u",
                          LSN_ARGS(page), h->rem_len, tot_len - *done);
    rc = load_page(r, page, header + part, e);
    if (rc == 0)
        rc = append_record(r, *done, r->page + header, part, e);
    if (rc == 0)
        *done += part;
    return rc;
}

/* Put a record together that begins at lsn on the loaded page and does not end there. */
static int
gather(struct wal_reader *r, lsn_t lsn, uint32_t tot_len, struct err *e)
{
    uint32_t done = WAL_PAGE_BYTES - wal_page_offset(lsn);
    lsn_t page = wal_page_start(lsn);
    bool is_checked = done >= WAL_RECORD_HEADER;
    int rc = load_page(r, page, WAL_PAGE_BYTES, e);

    if (rc == 0 && is_checked)
        rc = check_record_start(r, lsn, r->page + wal_page_offset(lsn));
    if (rc == 0)
        rc = append_record(r, 0, r->page + wal_page_offset(lsn), done, e);
    if (rc != 0)
        return rc;
    while (done < tot_len && rc == 0) {
        page += WAL_PAGE_BYTES;
        rc = gather_page(r, page, tot_len, &done, e);
        if (rc == 0 && !is_checked) {
            is_checked = true;
            rc = check_record_start(r, lsn, r->record);
        }
    }
    if (rc == WAL_READER_END) { /* 1.10: what recovery overwrites from that page on */
        r->aborted = lsn;
        r->missing_page = page;
    }
    return rc;
}

/* Record at lsn (start spelling) into r->decoded. 0, END, GATHER_OVERWRITTEN or < 0. */
static int
read_record(struct wal_reader *r, lsn_t lsn, struct err *e)
{
    uint32_t at = wal_page_offset(lsn);
    uint32_t header = wal_page_header_bytes(lsn, r->params.segment_bytes);
    const uint8_t *p = r->page + at;
    struct err bad;
    uint32_t tot_len;
    int rc;

    err_clear(&bad); /* not all 1.5 kB: this runs for every record */
    if (lsn % 8 != 0 || at < header)
        return end_of_log(r, LSN_FMT " is no place for a record", LSN_ARGS(lsn));
    rc = load_page(r, wal_page_start(lsn), at + 8, e);
    if (rc != 0)
        return rc;
    if (at == header && (r->page_header.info & WAL_PAGE_CONTRECORD) != 0)
        return end_of_log(r, LSN_FMT " is inside a record begun before it", LSN_ARGS(lsn));
    tot_len = get_u32(p);
    if (tot_len < WAL_RECORD_HEADER || tot_len > WAL_RECORD_BYTES_MAX)
        return end_of_log(r, "the record at " LSN_FMT " has an impossible length of %u bytes",
                          LSN_ARGS(lsn), tot_len);
    if (tot_len <= WAL_PAGE_BYTES - at) {
        rc = load_page(r, wal_page_start(lsn), at + tot_len, e);
        if (rc == 0)
            rc = check_record_start(r, lsn, p);
    } else {
        rc = gather(r, lsn, tot_len, e);
        p = r->record;
    }
    if (rc != 0)
        return rc;
    if (wal_record_decode(p, tot_len, &r->decoded, &bad) == 0)
        return 0;
    if (p == r->record) {
        r->aborted = lsn;
        r->missing_page = r->page_lsn;
    }
    return end_of_log(r, "the record at " LSN_FMT " is not valid: %s", LSN_ARGS(lsn), bad.message);
}

/* After an abandoned record only the record that names it may follow (1.10). */
static int
check_overwrite(struct wal_reader *r, lsn_t lsn)
{
    const struct wal_decoded *d = &r->decoded;
    struct wal_overwrite overwrite = { 0 };

    if (!wal_decoded_is(d, RM_XLOG, XLOG_OVERWRITE_CONTRECORD) ||
        wal_xlog_get_overwrite(d->main, d->main_bytes, &overwrite, NULL) < 0 ||
        overwrite.lsn != r->overwritten)
        return end_of_log(
            r, "the record at " LSN_FMT " does not name the abandoned record at " LSN_FMT,
            LSN_ARGS(lsn), LSN_ARGS(r->overwritten));
    return 0;
}

static lsn_t
end_of_record(const struct wal_reader *r, lsn_t lsn)
{
    uint32_t segment_bytes = r->params.segment_bytes;
    lsn_t end = wal_end_of(lsn, r->decoded.bytes, segment_bytes);

    if (wal_decoded_is(&r->decoded, RM_XLOG, XLOG_SWITCH)) /* 1.11 */
        end = (end + segment_bytes - 1) / segment_bytes * segment_bytes;
    return end;
}

int
wal_reader_next(struct wal_reader *r, const struct wal_decoded **ret, struct err *e)
{
    lsn_t lsn = wal_start_of(r->next, r->params.segment_bytes);
    lsn_t page = 0;
    int rc;

    r->aborted = 0;
    r->overwritten = 0;
    rc = read_record(r, lsn, e);
    if (rc == GATHER_OVERWRITTEN) {
        r->overwritten = lsn;
        page = r->page_lsn;
        lsn = wal_start_of(page, r->params.segment_bytes);
        rc = read_record(r, lsn, e);
        if (rc == GATHER_OVERWRITTEN)
            rc = end_of_log(r, "the record at " LSN_FMT " is abandoned too", LSN_ARGS(lsn));
        if (rc == 0)
            rc = check_overwrite(r, lsn);
        if (rc == WAL_READER_END) { /* the page was begun anew, its record is missing */
            r->aborted = r->overwritten;
            r->missing_page = page;
        }
    }
    if (rc != 0) {
        r->page_bytes = 0; /* a later try reads it again */
        return rc;
    }
    r->last = lsn;
    r->next = end_of_record(r, lsn);
    r->decoded.lsn = lsn;
    r->decoded.end = r->next;
    *ret = &r->decoded;
    return 0;
}

/* First place on the page at or behind lsn's where a record starts. 0, END or < 0. */
static int
first_record_start(struct wal_reader *r, lsn_t lsn, lsn_t *ret, struct err *e)
{
    for (lsn_t page = wal_page_start(lsn);; page += WAL_PAGE_BYTES) {
        uint32_t header = wal_page_header_bytes(page, r->params.segment_bytes);
        uint64_t skip = 0;
        int rc = load_page(r, page, header, e);

        if (rc != 0)
            return rc;
        if ((r->page_header.info & WAL_PAGE_CONTRECORD) != 0)
            skip = MAXALIGN((uint64_t) r->page_header.rem_len);
        if (skip < WAL_PAGE_BYTES - header) {
            *ret = page + header + skip;
            return 0;
        }
    }
}

int
wal_reader_seek_first_after(struct wal_reader *r, lsn_t lsn, struct err *e)
{
    const struct wal_decoded *d;
    lsn_t start = 0;
    int rc;

    wal_reader_seek(r, lsn);
    rc = first_record_start(r, lsn, &start, e);
    if (rc != 0)
        return rc;
    wal_reader_seek(r, start);
    do
        rc = wal_reader_next(r, &d, e);
    while (rc == 0 && d->lsn < lsn);
    if (rc == 0)
        wal_reader_seek(r, d->lsn);
    return rc;
}

lsn_t
wal_reader_end(const struct wal_reader *r)
{
    return r->next;
}

lsn_t
wal_reader_last(const struct wal_reader *r)
{
    return r->last;
}

tli_t
wal_reader_tli(const struct wal_reader *r)
{
    return r->newest_tli;
}

const char *
wal_reader_reason(const struct wal_reader *r)
{
    return r->reason;
}

bool
wal_reader_aborted(const struct wal_reader *r, lsn_t *ret_record, lsn_t *ret_missing_page)
{
    if (r->aborted == 0)
        return false;
    *ret_record = r->aborted;
    *ret_missing_page = r->missing_page;
    return true;
}
