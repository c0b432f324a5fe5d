/* wal: segments and records of a stock PostgreSQL, read by us and compared with what pg_waldump
 * says of them. */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/golden.h"
#include "support/wal_lay.h"
#include "support/wal_text.h"
#include "wal/wal_reader.h"

#define MIB 0x100000u

static char text[256 * 1024];

/* Compare our text with the next lines of pg_waldump's. Returns what is behind them. */
static const char *
compare(const struct wal_decoded *d, const char *want, unsigned n)
{
    size_t detail_at = 0;
    size_t len;

    wal_text(d, true, text, sizeof text, &detail_at);
    if (detail_at > 0) { /* a resource manager of no interest: head and block lines only */
        const char *want_end = strchr(want, '\n');

        if (strncmp(text, want, detail_at) != 0)
            fail_msg("record %u: got\n%.300s\nwant\n%.300s", n, text, want);
        want = want_end;
        memmove(text, text + detail_at, strlen(text + detail_at) + 1);
    }
    len = strlen(text);
    if (strncmp(text, want, len) != 0 || want[len] != '\n')
        fail_msg("record %u: got\n%.600s\nwant\n%.600s", n, text, want);
    return want + len + 1;
}

static void
read_segment(const char *name, lsn_t begin, unsigned want_records, lsn_t want_end)
{
    char file[128];
    size_t bytes = 0;
    size_t want_bytes = 0;
    struct wal_lay lay = { .begin = begin };
    struct wal_reader *r = NULL;
    struct err e = ERR_INIT;
    const struct wal_decoded *d = NULL;
    const char *want_all;
    const char *want;
    unsigned n = 0;
    int rc;

    (void) snprintf(file, sizeof file, "wal/%s.gz", name);
    lay.p = golden_read(file, &bytes);
    lay.bytes = lay.limit = bytes;
    assert_int_equal(bytes, MIB);
    (void) snprintf(file, sizeof file, "wal/%s.waldump-b.txt.gz", name);
    want_all = want = (const char *) golden_read(file, &want_bytes);
    assert_ok(wal_reader_new(&r,
                             &(struct wal_reader_params){ .read = wal_lay_read,
                                                          .arg = &lay,
                                                          .segment_bytes = MIB,
                                                          .sysid = UINT64_C(7710407667967067528) },
                             &e),
              &e);
    assert_int_equal(wal_reader_seek_first_after(r, begin, &e), 0);
    while ((rc = wal_reader_next(r, &d, &e)) == 0)
        want = compare(d, want, n++);
    assert_int_equal(rc, WAL_READER_END);
    assert_int_equal(n, want_records);
    assert_string_equal(want, "");
    if (wal_reader_end(r) != want_end)
        fail_msg("ends at " LSN_FMT ": %s", LSN_ARGS(wal_reader_end(r)), wal_reader_reason(r));
    wal_reader_free(r);
    free(lay.p);
    free((void *) want_all);
}

static void
a_segment_of_timeline_1_reads_as_pg_waldump_says(void **state)
{
    (void) state;
    read_segment("000000010000000000000011", 0x1100000, 698, 0x1200000);
}

static void
a_segment_of_timeline_2_with_an_abandoned_record_reads_as_pg_waldump_says(void **state)
{
    (void) state;
    read_segment("000000020000000000000013", 0x1300000, 1507, 0x1400000);
}

static int
hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Encode the decoded parts again. Only what we write ourselves can come out equal: no origin, no
 * top-level xid. */
static void
compare_encoded(const struct wal_decoded *d)
{
    static uint8_t again[64 * 1024];
    struct buf b = buf_init(again, sizeof again);
    struct wal_rec rec = { .rmid = d->rmid,
                           .info = d->info,
                           .xid = d->xid,
                           .n_blocks = d->n_blocks,
                           .blocks = d->blocks,
                           .main = d->main,
                           .main_bytes = d->main_bytes };
    struct err e = ERR_INIT;

    if (d->has_origin || d->has_top_xid)
        return;
    assert_int_equal(wal_record_bytes(&rec), d->bytes);
    assert_ok(wal_record_put(&b, &rec, &e), &e);
    assert_int_equal(b.n, d->bytes);
    wal_record_seal(again, d->bytes, d->prev);
    assert_memory_equal(again, d->p, d->bytes);
}

static void
each_vector_decodes_to_its_text_and_encodes_to_its_bytes(void **state)
{
    size_t bytes = 0;
    char *all = (char *) golden_read("wal/record-vectors.txt", &bytes);
    unsigned lsn_high = 0;
    unsigned lsn_low = 0;
    static uint8_t record[128 * 1024];
    size_t n = 0;
    unsigned n_vectors = 0;
    struct wal_decoded d = { 0 };
    struct err e = ERR_INIT;
    char *save = NULL;

    (void) state;
    for (char *line = strtok_r(all, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "tli=", 4) == 0) {
            assert_int_equal(sscanf(line, "tli=%*u lsn=%X/%X", &lsn_high, &lsn_low), 2);
        } else if (strncmp(line, "hex ", 4) == 0) {
            n = 0;
            for (const char *p = line + 4; p[0] != '\0' && p[1] != '\0'; p += 2)
                record[n++] = (uint8_t) (hex_digit(p[0]) << 4 | hex_digit(p[1]));
        } else if (strncmp(line, "txt ", 4) == 0) {
            size_t detail_at = 0;

            assert_ok(wal_record_decode(record, n, &d, &e), &e);
            d.lsn = (lsn_t) lsn_high << 32 | lsn_low;
            wal_text(&d, false, text, sizeof text, &detail_at);
            if (detail_at > 0)
                text[detail_at] = '\0';
            if (detail_at > 0 ? strncmp(text, line + 4, detail_at) != 0
                              : strcmp(text, line + 4) != 0)
                fail_msg("got\n%.600s\nwant\n%.600s", text, line + 4);
            compare_encoded(&d);
            n_vectors++;
        }
    }
    assert_int_equal(n_vectors, 58);
    free(all);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_of_timeline_1_reads_as_pg_waldump_says),
        cmocka_unit_test(a_segment_of_timeline_2_with_an_abandoned_record_reads_as_pg_waldump_says),
        cmocka_unit_test(each_vector_decodes_to_its_text_and_encodes_to_its_bytes),
    };

    return cmocka_run_group_tests_name("wal_golden", tests, NULL, NULL);
}
