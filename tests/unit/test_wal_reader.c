/* wal/wal_reader: records over pages and segments, the end of the log, abandoned records, damage of
 * every kind. */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "support/golden.h"
#include "support/wal_lay.h"
#include "wal/wal_page.h"
#include "wal/wal_reader.h"
#include "wal/wal_xlog.h"

#define MIB   0x100000u
#define BEGIN ((lsn_t) MIB)

static struct wal_lay lay;
static struct wal_reader *reader;
static uint8_t *pattern;
#define PATTERN_BYTES (3 * MIB)

static void
open_reader(const struct wal_history *history)
{
    struct err e = ERR_INIT;

    assert_ok(wal_reader_new(&reader,
                             &(struct wal_reader_params){ .read = wal_lay_read,
                                                          .arg = &lay,
                                                          .segment_bytes = MIB,
                                                          .sysid = lay.sysid,
                                                          .history = history },
                             &e),
              &e);
    wal_reader_seek(reader, BEGIN);
}

static int
setup(void **state)
{
    (void) state;
    wal_lay_init(&lay, MIB, 4, BEGIN);
    if (pattern == NULL)
        pattern = malloc(PATTERN_BYTES);
    for (uint32_t i = 0; i < PATTERN_BYTES; i++)
        pattern[i] = (uint8_t) (i * 7 + i / 251);
    open_reader(NULL);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    wal_reader_free(reader);
    reader = NULL;
    wal_lay_done(&lay);
    return 0;
}

/* A record of `bytes` bytes altogether, at least 30. */
static struct wal_rec
record(uint32_t bytes)
{
    uint32_t main_bytes = bytes - WAL_RECORD_HEADER - (bytes <= 24 + 2 + 255 ? 2 : 5);

    return (struct wal_rec){ .rmid = 200, .xid = bytes, .main = pattern, .main_bytes = main_bytes };
}

static lsn_t
put(uint32_t bytes)
{
    struct wal_rec rec = record(bytes);

    return wal_lay_put(&lay, &rec);
}

static void
expect_record(lsn_t lsn, uint32_t bytes)
{
    const struct wal_decoded *d = NULL;
    struct err e = ERR_INIT;
    int rc = wal_reader_next(reader, &d, &e);

    if (rc != 0)
        fail_msg("at " LSN_FMT ": %d %s%s", LSN_ARGS(lsn), rc, wal_reader_reason(reader),
                 e.message);
    if (d->lsn != lsn)
        fail_msg("got " LSN_FMT ", want " LSN_FMT, LSN_ARGS(d->lsn), LSN_ARGS(lsn));
    assert_int_equal(d->bytes, bytes);
    assert_int_equal(d->end, wal_reader_end(reader));
    if (d->rmid == 200)
        assert_memory_equal(d->main, pattern, d->main_bytes);
}

static void
expect_end(lsn_t lsn, const char *reason)
{
    const struct wal_decoded *d = NULL;
    struct err e = ERR_INIT;
    int rc = wal_reader_next(reader, &d, &e);

    if (rc != WAL_READER_END || strstr(wal_reader_reason(reader), reason) == NULL)
        fail_msg("got %d, \"%s\", want the end, \"%s\"", rc, wal_reader_reason(reader), reason);
    if (wal_reader_end(reader) != lsn)
        fail_msg("the end is " LSN_FMT ", want " LSN_FMT, LSN_ARGS(wal_reader_end(reader)),
                 LSN_ARGS(lsn));
}

static void
records_of_all_lengths_over_pages_and_segments_come_back(void **state)
{
    static lsn_t lsns[20000];
    static uint32_t sizes[20000];
    struct rng rng;
    unsigned n = 0;

    (void) state;
    rng_init(&rng, 1);
    while (lay.next < BEGIN + 3 * MIB - 200000) {
        uint32_t bytes = 24 + 3;

        switch (rng_below(&rng, 20)) {
        case 0: /* several pages */
            bytes += (uint32_t) rng_below(&rng, 60000);
            break;
        case 1: /* so that it ends within a few bytes of the page's end */
            bytes = WAL_PAGE_BYTES - wal_page_offset(wal_start_of(lay.next, MIB)) +
                    (uint32_t) rng_below(&rng, 20);
            bytes = MAX(bytes, 27u + 8190u * (bytes < 27));
            break;
        default:
            bytes += (uint32_t) rng_below(&rng, 400);
        }
        sizes[n] = bytes;
        if (bytes == 282 || bytes == 283 || bytes == 284) /* between the two forms of the header */
            sizes[n] = bytes = 300;
        lsns[n++] = put(bytes);
    }
    for (unsigned i = 0; i < n; i++)
        expect_record(lsns[i], sizes[i]);
    expect_end(lay.next, "length of 0");
    assert_true(n > 500);
}

static void
one_record_may_span_whole_segments(void **state)
{
    lsn_t a = put(100);
    lsn_t b = put(2 * MIB + 5000);
    lsn_t c = put(100);

    (void) state;
    expect_record(a, 100);
    expect_record(b, 2 * MIB + 5000);
    expect_record(c, 100);
    expect_end(lay.next, "length of 0");
}

static void
a_switch_ends_the_segment(void **state)
{
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_SWITCH };
    lsn_t a = put(100);
    lsn_t b = wal_lay_put(&lay, &rec);
    lsn_t c = put(100);

    (void) state;
    assert_int_equal(c, BEGIN + MIB + 40);
    expect_record(a, 100);
    expect_record(b, 24);
    assert_int_equal(wal_reader_end(reader), BEGIN + MIB);
    expect_record(c, 100);
}

static void
reading_may_begin_at_a_page_boundary_but_not_inside_a_record(void **state)
{
    const struct wal_decoded *d;
    lsn_t a = put((uint32_t) wal_usable_bytes(MIB));
    lsn_t b = put(20000);
    lsn_t c = put(100);

    (void) state;
    wal_reader_seek(reader, BEGIN + MIB);
    expect_record(b, 20000);
    wal_reader_seek(reader, a);
    expect_record(a, (uint32_t) wal_usable_bytes(MIB));
    assert_int_equal(wal_reader_end(reader), BEGIN + MIB);
    wal_reader_seek(reader, BEGIN + MIB + WAL_PAGE_BYTES);
    expect_end(BEGIN + MIB + WAL_PAGE_BYTES, "inside a record");
    wal_reader_seek(reader, b + 4);
    expect_end(b + 4, "no place");
    wal_reader_seek(reader, BEGIN + MIB + 8);
    expect_end(BEGIN + MIB + 8, "no place");
    assert_int_equal(wal_reader_seek_first_after(reader, b + 1, NULL), 0);
    assert_int_equal(wal_reader_next(reader, &d, NULL), 0);
    assert_int_equal(d->lsn, c);
}

static void
the_first_record_behind_any_place_is_found(void **state)
{
    lsn_t lsns[64];
    const struct wal_decoded *d = NULL;
    unsigned n = 0;

    (void) state;
    for (n = 0; n < ELEMENTSOF(lsns); n++)
        lsns[n] = put(30 + n * n * 5 + (n % 7 == 0 ? 17000 : 0));
    for (lsn_t at = BEGIN; at < lay.next; at += 1001) {
        unsigned i = 0;
        int rc = wal_reader_seek_first_after(reader, at, NULL);

        while (i < n && lsns[i] < at)
            i++;
        assert_int_equal(rc, i < n ? 0 : WAL_READER_END);
        if (i == n)
            continue;
        assert_int_equal(wal_reader_next(reader, &d, NULL), 0);
        assert_int_equal(d->lsn, lsns[i]);
    }
}

static void
a_record_cut_off_inside_its_page_is_the_end(void **state)
{
    struct wal_rec rec = record(500);
    lsn_t record_lsn;
    lsn_t page;

    (void) state;
    put(100);
    for (uint32_t n = 0; n < 500; n += 13) {
        wal_reader_seek(reader, BEGIN);
        (void) wal_lay_put_torn(&lay, &rec, n);
        expect_record(BEGIN + 40, 100);
        expect_end(lay.next, "");
        assert_false(wal_reader_aborted(reader, &record_lsn, &page));
        assert_int_equal(wal_reader_last(reader), BEGIN + 40);
    }
}

/* Leave a record of 20000 bytes without what is behind its first `n`, read to the end. */
static void
abandon(uint32_t n, lsn_t *ret_record)
{
    struct wal_rec rec = record(20000);
    lsn_t first = put(100);

    *ret_record = wal_lay_put_torn(&lay, &rec, n);
    expect_record(first, 100);
    expect_end(lay.next, "");
}

static void
a_record_without_its_continuation_is_named_as_abandoned(void **state)
{
    lsn_t want;
    lsn_t got = 0;
    lsn_t got_page = 0;

    (void) state;
    abandon(10000, &want);
    assert_true(wal_reader_aborted(reader, &got, &got_page));
    assert_int_equal(got, want);
    /* 10000 bytes reach into the second page, which is there but cut: nothing tells that before the
     * third */
    assert_int_equal(got_page, BEGIN + 2 * WAL_PAGE_BYTES);
    /* the same with the source itself at its end */
    lay.limit = WAL_PAGE_BYTES;
    expect_end(lay.next, "there is no log");
    assert_true(wal_reader_aborted(reader, &got, &got_page));
    assert_int_equal(got_page, BEGIN + WAL_PAGE_BYTES);
}

/* What recovery does about it (1.10): page header with the flag, then the record. */
static lsn_t
overwrite(lsn_t page, lsn_t names)
{
    uint8_t body[16];
    struct buf b = buf_init(body, sizeof body);
    struct wal_rec rec = {
        .rmid = RM_XLOG, .info = XLOG_OVERWRITE_CONTRECORD, .main = body, .main_bytes = sizeof body
    };

    wal_xlog_put_overwrite(&b, &(struct wal_overwrite){ .lsn = names, .time = 1 });
    lay.next = wal_start_of(page, MIB);
    wal_lay_begin_page(&lay, page, WAL_PAGE_OVERWRITE);
    return wal_lay_put(&lay, &rec);
}

static void
a_continuation_of_another_length_is_not_taken(void **state)
{
    uint8_t *rem_len = lay.p + WAL_PAGE_BYTES + 16;
    lsn_t a = put(20000);

    (void) state;
    put_u32(rem_len, get_u32(rem_len) + 8);
    expect_end(BEGIN, "continues a record with");
    put_u32(rem_len, 0);
    expect_end(BEGIN, "continues a record with 0");
    put_u32(rem_len, 20000 - (WAL_PAGE_BYTES - 40));
    expect_record(a, 20000);
}

static void
reading_goes_on_behind_an_overwritten_record(void **state)
{
    lsn_t record_lsn;
    lsn_t page = BEGIN + 2 * WAL_PAGE_BYTES;
    lsn_t a;
    lsn_t b;

    (void) state;
    abandon(WAL_PAGE_BYTES - 200, &record_lsn);
    assert_true(wal_reader_aborted(reader, &record_lsn, &page));
    a = overwrite(page, record_lsn);
    b = put(100);
    assert_int_equal(a, page + 24);
    expect_record(a, 42); /* the same reader goes on */
    expect_record(b, 100);
    expect_end(lay.next, "length of 0");
    wal_reader_seek(reader, BEGIN); /* and a new one */
    expect_record(BEGIN + 40, 100);
    expect_record(a, 42);
    expect_record(b, 100);
}

static void
an_overwrite_that_names_another_record_is_the_end(void **state)
{
    lsn_t record_lsn;
    lsn_t page;
    lsn_t end;
    lsn_t got;
    lsn_t got_page;

    (void) state;
    abandon(10000, &record_lsn);
    end = lay.next;
    page = BEGIN + 2 * WAL_PAGE_BYTES;
    (void) overwrite(page, record_lsn + 8);
    expect_end(end, "does not name");
    assert_true(wal_reader_aborted(reader, &got, &got_page));
    assert_int_equal(got, record_lsn);
    assert_int_equal(got_page, page);
    /* a crash between the page header and the record: the same record, the same page */
    memset(lay.p + (page - BEGIN) + 24, 0, 100);
    expect_end(end, "length of 0");
    assert_true(wal_reader_aborted(reader, &got, &got_page));
    assert_int_equal(got_page, page);
}

static void
old_bytes_behind_the_end_are_not_taken_for_records(void **state)
{
    lsn_t a = put(100);
    lsn_t b = put(100);
    lsn_t end;

    (void) state;
    /* a record of an earlier life of the file at the right place, its prev elsewhere */
    lay.prev = a;
    end = lay.next;
    (void) put(100);
    expect_record(a, 100);
    expect_record(b, 100);
    expect_end(end, "instead of");
    /* a page of an earlier life: right magic, other address */
    teardown(NULL);
    setup(NULL);
    a = put(MIB / 2 - 40);
    put_u64(lay.p + 5 * WAL_PAGE_BYTES + 8, BEGIN - 11 * MIB);
    expect_end(BEGIN, "has address");
}

static void
a_timeline_never_goes_down_and_must_be_of_the_history(void **state)
{
    struct wal_history_entry entries[] = { { 1, 0, BEGIN + 5 * WAL_PAGE_BYTES },
                                           { 3, BEGIN + 5 * WAL_PAGE_BYTES, UINT64_MAX } };
    struct wal_history history = { .entries = entries, .n = 2 };
    lsn_t a = put(2 * WAL_PAGE_BYTES - 200);
    lsn_t b;
    lsn_t c;

    (void) state;
    lay.tli = 3; /* pages 2, 3 and 4 are of timeline 3 */
    b = put(2 * WAL_PAGE_BYTES);
    lay.tli = 2;
    c = lay.next;
    (void) put(2 * WAL_PAGE_BYTES);
    expect_record(a, 2 * WAL_PAGE_BYTES - 200);
    expect_record(b, 2 * WAL_PAGE_BYTES);
    assert_int_equal(wal_reader_tli(reader), 3);
    expect_end(c, "timeline 2 after timeline 3");
    wal_reader_free(reader);
    open_reader(&history);
    expect_record(a, 2 * WAL_PAGE_BYTES - 200);
    expect_record(b, 2 * WAL_PAGE_BYTES); /* timeline 3 is of the history */
    wal_reader_free(reader);
    entries[0].end = entries[1].begin = BEGIN + WAL_PAGE_BYTES;
    open_reader(&history);
    expect_end(BEGIN, "not of this history"); /* timeline 1 on a page behind its switch point */
}

static void
the_end_can_be_tried_again_when_more_has_come(void **state)
{
    lsn_t lsns[40];

    (void) state;
    for (unsigned i = 0; i < ELEMENTSOF(lsns); i++)
        lsns[i] = put(700 + 100 * i);
    for (unsigned i = 0; i < ELEMENTSOF(lsns); i++) {
        size_t last = (size_t) (wal_end_of(lsns[i], 700 + 100 * i, MIB) - 8 - BEGIN);

        for (lay.limit = (size_t) (lsns[i] - BEGIN); lay.limit < last; lay.limit += 371) {
            const struct wal_decoded *d;
            int rc = wal_reader_next(reader, &d, NULL);

            if (rc == 0) /* the last bytes are padding at most */
                fail_msg("record %u was read from %zu of %zu bytes", i, lay.limit, last);
            assert_int_equal(rc, WAL_READER_END);
        }
        lay.limit = last + 8;
        expect_record(lsns[i], 700 + 100 * i);
    }
}

static int fail_in;
static ssize_t
failing_read(void *arg, lsn_t lsn, void *p, size_t n, struct err *e)
{
    if (fail_in-- == 0)
        return err_set_errno(e, EIO, "could not read");
    return wal_lay_read(arg, lsn, p, n, e);
}

static void
an_error_of_the_source_is_never_the_end_of_the_log(void **state)
{
    const struct wal_decoded *d;
    bool fired = true;

    (void) state;
    for (unsigned i = 0; i < 20; i++)
        (void) put(5000);
    wal_reader_free(reader);
    assert_int_equal(wal_reader_new(&reader,
                                    &(struct wal_reader_params){
                                        .read = failing_read, .arg = &lay, .segment_bytes = MIB },
                                    NULL),
                     0);
    for (int at = 0; fired; at++) { /* REDO-4: at every read there is */
        struct err e = ERR_INIT;
        unsigned n = 0;
        int rc;

        fail_in = at;
        wal_reader_seek(reader, BEGIN);
        while ((rc = wal_reader_next(reader, &d, &e)) == 0)
            n++;
        fired = fail_in < 0;
        if (fired) {
            assert_int_equal(rc, -EIO);
            assert_true(n < 20);
            assert_string_not_equal(e.message, "");
        } else {
            assert_int_equal(rc, WAL_READER_END);
            assert_int_equal(n, 20);
        }
    }
}

static void
a_length_is_not_believed_before_its_pages_are_there(void **state)
{
    static const uint32_t lengths[] = { 1, 23, WAL_RECORD_BYTES_MAX, WAL_RECORD_BYTES_MAX + 1,
                                        UINT32_MAX };
    lsn_t a = put(100);

    (void) state;
    (void) put(100);
    for (size_t i = 0; i < ELEMENTSOF(lengths); i++) {
        put_u32(lay.p + (wal_end_of(a, 100, MIB) - BEGIN), lengths[i]);
        wal_reader_seek(reader, BEGIN);
        expect_record(a, 100);
        expect_end(wal_end_of(a, 100, MIB),
                   lengths[i] == WAL_RECORD_BYTES_MAX ? "magic" : "impossible length");
    }
}

/* Read all; returns the number of records. Any error of the source fails. */
static unsigned
read_all(void)
{
    const struct wal_decoded *d;
    struct err e = ERR_INIT;
    unsigned n = 0;
    int rc;

    wal_reader_seek(reader, lay.begin);
    rc = wal_reader_seek_first_after(reader, lay.begin, &e);
    while (rc == 0 && (rc = wal_reader_next(reader, &d, &e)) == 0) {
        assert_memory_equal(d->p + 8, &d->prev, 8);
        n++;
    }
    assert_int_equal(rc, WAL_READER_END);
    return n;
}

static void
a_damaged_real_segment_ends_where_the_damage_is(void **state)
{
    static const size_t used = 0x287D8; /* up to SWITCH */
    size_t bytes;
    struct rng rng;

    (void) state;
    wal_lay_done(&lay);
    lay = (struct wal_lay){ .begin = 0x1100000, .segment_bytes = MIB };
    lay.p = golden_read("wal/000000010000000000000011.gz", &bytes);
    lay.bytes = lay.limit = bytes;
    lay.sysid = 0;
    wal_reader_free(reader);
    open_reader(NULL);
    assert_int_equal(read_all(), 698);
    rng_init(&rng, 11);
    for (unsigned i = 0; i < 150; i++) { /* cut off anywhere */
        lay.limit = i < 60 ? i * 7 : (size_t) rng_below(&rng, used);
        assert_true(read_all() < 698);
    }
    lay.limit = bytes;
    for (unsigned i = 0; i < 300; i++) { /* one bit wrong anywhere */
        size_t at = i < 100 ? i * 3 : (size_t) rng_below(&rng, used);
        uint8_t bit = (uint8_t) (1u << rng_below(&rng, 8));

        lay.p[at] ^= bit;
        assert_true(read_all() <= 698);
        lay.p[at] ^= bit;
    }
    for (unsigned i = 0; i < 100; i++) { /* a run of bytes wrong */
        size_t at = (size_t) rng_below(&rng, used);
        uint8_t saved[64];

        memcpy(saved, lay.p + at, sizeof saved);
        for (size_t k = 0; k < sizeof saved; k++)
            lay.p[at + k] = (uint8_t) rng_u64(&rng);
        assert_true(read_all() < 698);
        memcpy(lay.p + at, saved, sizeof saved);
    }
    assert_int_equal(read_all(), 698);
}

static int
free_pattern(void **state)
{
    (void) state;
    free(pattern);
    return 0;
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(records_of_all_lengths_over_pages_and_segments_come_back),
        TEST(one_record_may_span_whole_segments),
        TEST(a_switch_ends_the_segment),
        TEST(reading_may_begin_at_a_page_boundary_but_not_inside_a_record),
        TEST(the_first_record_behind_any_place_is_found),
        TEST(a_record_cut_off_inside_its_page_is_the_end),
        TEST(a_record_without_its_continuation_is_named_as_abandoned),
        TEST(a_continuation_of_another_length_is_not_taken),
        TEST(reading_goes_on_behind_an_overwritten_record),
        TEST(an_overwrite_that_names_another_record_is_the_end),
        TEST(old_bytes_behind_the_end_are_not_taken_for_records),
        TEST(a_timeline_never_goes_down_and_must_be_of_the_history),
        TEST(the_end_can_be_tried_again_when_more_has_come),
        TEST(an_error_of_the_source_is_never_the_end_of_the_log),
        TEST(a_length_is_not_believed_before_its_pages_are_there),
        TEST(a_damaged_real_segment_ends_where_the_damage_is),
    };

    return cmocka_run_group_tests_name("wal_reader", tests, NULL, free_pattern);
}
