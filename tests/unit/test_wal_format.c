/* wal/wal_format, wal_page: positions, names, page headers. */
#include "support/test.h"

#include <string.h>

#include "base/buf.h"
#include "wal/wal_format.h"
#include "wal/wal_page.h"

#define MIB 0x100000u

/* The next byte behind lsn that a record may use, walking one byte. */
static lsn_t
step(lsn_t lsn, uint32_t segment_bytes)
{
    return wal_start_of(lsn + 1, segment_bytes);
}

static void
usable_positions_count_the_bytes_that_records_use(void **state)
{
    lsn_t lsn = wal_start_of(3 * (lsn_t) MIB, MIB);
    uint64_t u = 3 * wal_usable_bytes(MIB);

    (void) state;
    assert_int_equal(wal_usable_bytes(MIB), 128 * 8168 - 16);
    for (uint64_t i = 0; i < 2 * wal_usable_bytes(MIB); i++) {
        bool is_first = wal_page_offset(lsn) == wal_page_header_bytes(lsn, MIB);

        if (wal_usable_to_start(u, MIB) != lsn || wal_usable_of(lsn, MIB) != u ||
            wal_usable_to_end(u, MIB) != (is_first ? wal_page_start(lsn) : lsn) ||
            wal_usable_of(wal_usable_to_end(u, MIB), MIB) != u)
            fail_msg("position %" PRIu64 " is not " LSN_FMT, u, LSN_ARGS(lsn));
        lsn = step(lsn, MIB);
        u++;
    }
    assert_int_equal(wal_page_start(lsn), 5 * (lsn_t) MIB);
}

static void
the_end_of_a_record_counts_page_headers_and_alignment(void **state)
{
    static const struct {
        lsn_t start;
        uint64_t bytes;
        lsn_t want;
    } rows[] = {
        { 0x1100028, 50, 0x1100060 },   { 0x11287C0, 24, 0x11287D8 },
        { 0x1101FE0, 32, 0x1102000 }, /* fills its page: the boundary */
        { 0x1101FE0, 33, 0x1102020 }, /* one byte on the next page, behind 24 of header */
        { 0x11FFFF8, 24, 0x1200038 }, /* into the next segment, behind 40 */
        { 0x11FFFF8, 8, 0x1200000 },    { 0x1100028, 8152, 0x1102000 },
        { 0x1100028, 8153, 0x1102020 },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if (wal_end_of(rows[i].start, rows[i].bytes, MIB) != rows[i].want)
            fail_msg("row %zu: got " LSN_FMT, i,
                     LSN_ARGS(wal_end_of(rows[i].start, rows[i].bytes, MIB)));
}

static void
segment_names_go_both_ways(void **state)
{
    static const struct {
        tli_t tli;
        uint64_t segno;
        uint32_t segment_bytes;
        const char *name;
    } rows[] = {
        { 1, 17, MIB, "000000010000000000000011" },
        { 1, 0x1000, MIB, "000000010000000100000000" },
        { 0xAB, 0x1FF, 16 * MIB, "000000AB00000001000000FF" },
        { 2, 5, 1024 * MIB, "000000020000000100000001" },
    };
    static const char *const bad[] = {
        "",
        "00000001000000000000001",
        "0000000100000000000000111",
        "00000001000000000000001a",
        "00000001000000000000001G",
        "000000000000000000000011",
        "000000010000000000001000",
        "000000010000000000000011.partial",
    };
    tli_t tli;
    uint64_t segno;

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        char name[WAL_SEGMENT_NAME_BYTES];

        wal_segment_name(name, rows[i].tli, rows[i].segno, rows[i].segment_bytes);
        assert_string_equal(name, rows[i].name);
        assert_true(wal_segment_parse(name, rows[i].segment_bytes, &tli, &segno));
        assert_int_equal(tli, rows[i].tli);
        assert_int_equal(segno, rows[i].segno);
    }
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        if (wal_segment_parse(bad[i], MIB, &tli, &segno))
            fail_msg("\"%s\" was taken for a segment", bad[i]);
    assert_int_equal(wal_segno_of_end(0x1200000, MIB), 0x11);
    assert_int_equal(wal_segno(0x1200000, MIB), 0x12);
}

static void
every_record_type_of_the_table_has_a_name(void **state)
{
    char name[16];

    (void) state;
    wal_rmgr_name(20, name);
    assert_string_equal(name, "Generic");
    wal_rmgr_name(200, name);
    assert_string_equal(name, "custom200");
    assert_string_equal(wal_info_name(RM_STORAGE, 0x21), "TRUNCATE");
    assert_string_equal(wal_info_name(RM_XACT, 0x81), "COMMIT");
    assert_string_equal(wal_info_name(RM_XACT, 0xB0), "COMMIT_PREPARED");
    assert_null(wal_info_name(RM_XLOG, 0xC0));
    assert_true(wal_rmgr_ok(21));
    assert_false(wal_rmgr_ok(22));
    assert_false(wal_rmgr_ok(127));
    assert_true(wal_rmgr_ok(128));
}

static void
a_page_header_is_read_as_it_was_written(void **state)
{
    static const lsn_t at[] = { 0x1100000, 0x1102000 };
    uint8_t p[WAL_LONG_HEADER];

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(at); i++) {
        struct wal_page page = wal_page_of(at[i], 7, 100, 99, MIB);
        struct wal_page_want want = { .lsn = at[i], .sysid = 99, .segment_bytes = MIB };
        struct wal_page got;
        struct err e = ERR_INIT;

        assert_int_equal(wal_page_put(p, &page), at[i] % MIB == 0 ? 40 : 24);
        assert_int_equal(get_u16(p), 0xD110);
        assert_int_equal(get_u16(p + 2), at[i] % MIB == 0 ? 0x0007 : 0x0005);
        assert_ok(wal_page_get(p, sizeof p, &want, &got, &e), &e);
        assert_int_equal(got.tli, 7);
        assert_int_equal(got.rem_len, 100);
        assert_int_equal(got.lsn, at[i]);
        assert_int_equal(wal_page_get(p, wal_page_bytes_of(&page) - 1, &want, &got, NULL),
                         -ERR_DATA_CORRUPTED);
    }
}

static void
a_wrong_page_header_is_refused_with_its_reason(void **state)
{
    static const struct {
        uint32_t at;
        uint8_t xor ;
        const char *want;
    } rows[] = {
        { 0, 1, "magic" },
        { 3, 1, "flags" },
        { 2, 2, "short header" },
        { 10, 1, "has address" },
        { 4, 8, "after timeline 8" },
        { 24, 1, "another cluster" },
        { 34, 1, "segments have" },
        { 37, 1, "pages have" },
    };
    struct wal_page_want want = {
        .lsn = 0x1100000, .sysid = 99, .segment_bytes = MIB, .tli_min = 8
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct wal_page page = wal_page_of(want.lsn, 8, 0, 99, MIB);
        struct wal_page got;
        struct err e = ERR_INIT;
        uint8_t p[WAL_LONG_HEADER];

        (void) wal_page_put(p, &page);
        p[rows[i].at] ^= rows[i].xor ;
        assert_int_equal(wal_page_get(p, sizeof p, &want, &got, &e), -ERR_DATA_CORRUPTED);
        if (strstr(e.message, rows[i].want) == NULL)
            fail_msg("row %zu: got \"%s\", want \"%s\"", i, e.message, rows[i].want);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usable_positions_count_the_bytes_that_records_use),
        cmocka_unit_test(the_end_of_a_record_counts_page_headers_and_alignment),
        cmocka_unit_test(segment_names_go_both_ways),
        cmocka_unit_test(every_record_type_of_the_table_has_a_name),
        cmocka_unit_test(a_page_header_is_read_as_it_was_written),
        cmocka_unit_test(a_wrong_page_header_is_refused_with_its_reason),
    };

    return cmocka_run_group_tests_name("wal_format", tests, NULL, NULL);
}
