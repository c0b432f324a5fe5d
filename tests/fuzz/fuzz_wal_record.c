/* What a damaged or foreign log can hold: the input as one record body (with a right checksum,
 * which chance would not find), as bodies of each kind, and as pages of a log. Run: CC=clang meson
 * setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false, then
 * build-fuzz/tests/fuzz/fuzz_wal_record tests/fuzz/corpus_wal_record */
#include <stdlib.h>

#include "wal/wal_delta.h"
#include "wal/wal_file.h"
#include "wal/wal_page.h"
#include "wal/wal_reader.h"
#include "wal/wal_xact.h"
#include "wal/wal_xlog.h"

#define MIB   0x100000u
#define SYSID UINT64_C(1)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Everything a parser hands out is read, so that a sanitizer sees it. */
static uint32_t sum;

static void
touch(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum += ((const uint8_t *) p)[i];
}

static void
parse_xact(const struct wal_decoded *d)
{
    struct wal_prepare prepare;
    struct wal_xact_end end;

    if (wal_xact_get_end(d->main, d->main_bytes, d->info, &end, NULL) == 0) {
        for (uint32_t i = 0; i < end.n_rels; i++)
            sum += wal_xact_rel(end.rels, i).rel;
        for (uint32_t i = 0; i < end.n_subxids; i++)
            sum += wal_xact_subxid(end.subxids, i);
        touch(end.gid, end.gid != NULL ? strlen(end.gid) : 0);
    }
    if (wal_xact_get_prepare(d->main, d->main_bytes, &prepare, NULL) == 0) {
        touch(prepare.gid, strlen(prepare.gid));
        for (uint32_t i = 0; i < prepare.n_abort_rels; i++)
            sum += wal_xact_rel(prepare.abort_rels, i).rel;
    }
}

static void
parse_others(const struct wal_decoded *d)
{
    struct wal_checkpoint checkpoint;
    struct wal_params params;
    struct wal_running running;
    struct wal_truncate truncate;
    struct wal_db_drop drop;
    struct wal_rel rel;
    uint32_t fork;

    (void) wal_xlog_get_checkpoint(d->main, d->main_bytes, &checkpoint, NULL);
    (void) wal_xlog_get_params(d->main, d->main_bytes, &params, NULL);
    if (wal_xlog_get_running(d->main, d->main_bytes, &running, NULL) == 0)
        for (uint32_t i = 0; i < running.n_xids + running.n_subxids; i++)
            sum += wal_running_xid(&running, i);
    (void) wal_file_get_create(d->main, d->main_bytes, &rel, &fork, NULL);
    (void) wal_file_get_truncate(d->main, d->main_bytes, &truncate, NULL);
    if (wal_file_get_db_drop(d->main, d->main_bytes, &drop, NULL) == 0)
        touch(drop.spcs, 4 * (size_t) drop.n_spcs);
}

static void
parse(const struct wal_decoded *d)
{
    static uint8_t page[PAGE_BYTES];

    for (uint32_t i = 0; i < d->n_blocks; i++) {
        const struct wal_block *b = &d->blocks[i];

        if (b->image.p != NULL)
            touch(b->image.p, b->image.bytes);
        if (b->image.p != NULL && (b->image.info & WAL_IMAGE_PACKED) == 0)
            wal_image_spread(&b->image, b->image.p, page);
        if (b->data_bytes > 0)
            (void) wal_delta_apply(page, b->data, b->data_bytes, NULL);
    }
    if (d->main_bytes == 0)
        return;
    touch(d->main, d->main_bytes);
    parse_xact(d);
    parse_others(d);
}

/* rmid, info, then the body. */
static void
as_record(const uint8_t *p, size_t n)
{
    uint32_t bytes = (uint32_t) n - 2 + WAL_RECORD_HEADER;
    uint8_t *record = calloc(1, bytes);
    struct wal_decoded d;

    if (record == NULL)
        return;
    put_u32(record, bytes);
    record[WAL_RECORD_AT_RMID] = p[0];
    record[WAL_RECORD_AT_INFO] = p[1];
    memcpy(record + WAL_RECORD_HEADER, p + 2, n - 2);
    wal_record_seal(record, bytes, 0);
    if (wal_record_decode(record, bytes, &d, NULL) == 0)
        parse(&d);
    free(record);
}

/* The input as the usable bytes of pages with right headers, and as raw pages. */
struct pages {
    const uint8_t *p;
    size_t n;
    bool is_raw;
};

static ssize_t
read_pages(void *arg, lsn_t lsn, void *p, size_t n, struct err *e)
{
    const struct pages *pages = arg;
    struct cur c = cur_init(pages->p, pages->n);
    struct wal_page header = wal_page_of(lsn, 1, 0, SYSID, MIB);
    uint32_t header_bytes = 0;

    (void) e;
    if (!pages->is_raw)
        header_bytes = wal_page_put(p, &header);
    n -= header_bytes;
    (void) cur_take(&c, MIN(c.left, (lsn - MIB) / WAL_PAGE_BYTES * n));
    n = MIN(n, c.left);
    if (n == 0)
        return 0;
    memcpy((uint8_t *) p + header_bytes, c.p, n);
    return (ssize_t) (header_bytes + n);
}

static void
as_log(const uint8_t *p, size_t n, bool is_raw)
{
    struct pages pages = { .p = p, .n = n, .is_raw = is_raw };
    struct wal_reader *r = NULL;
    const struct wal_decoded *d;

    if (wal_reader_new(
            &r,
            &(struct wal_reader_params){ .read = read_pages, .arg = &pages, .segment_bytes = MIB },
            NULL) < 0)
        return;
    wal_reader_seek(r, MIB);
    while (wal_reader_next(r, &d, NULL) == 0)
        parse(d);
    (void) wal_reader_seek_first_after(r, MIB + 100, NULL);
    wal_reader_free(r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct wal_history history = { 0 };

    if (n < 2)
        return 0;
    as_record(p, n);
    as_log(p, n, false);
    as_log(p, n, true);
    if (wal_history_parse((const char *) p, n, 1000, &history, NULL) == 0)
        wal_history_done(&history);
    return 0;
}
