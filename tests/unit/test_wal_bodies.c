/* wal/wal_xlog, wal_xact, wal_file, wal_delta: bodies come back as they were written, and nothing
 * else is accepted. */
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "wal/wal_delta.h"
#include "wal/wal_file.h"
#include "wal/wal_xact.h"
#include "wal/wal_xlog.h"

static uint8_t mem[64 * 1024];

static struct buf
start(void)
{
    return buf_init(mem, sizeof mem);
}

static void
bodies_of_fixed_length_have_the_lengths_of_the_format(void **state)
{
    struct wal_rel rel = { 1663, 16384, 16385 };
    struct wal_checkpoint ckpt = { .tli = 1 };
    struct wal_params params = { 0 };
    struct wal_running running = { .n_xids = 2, .n_subxids = 1, .xids = mem + 1000 };
    struct buf b;

    (void) state;
#define CHECK(call, want)            \
    do {                             \
        b = start();                 \
        call;                        \
        assert_int_equal(b.n, want); \
    } while (0)
    CHECK(wal_xlog_put_checkpoint(&b, &ckpt), 88);
    CHECK(wal_xlog_put_params(&b, &params), 28);
    CHECK(wal_xlog_put_nextoid(&b, 1), 4);
    CHECK(wal_xlog_put_backup_end(&b, 1), 8);
    CHECK(wal_xlog_put_end_of_recovery(&b, &(struct wal_end_of_recovery){ 0 }), 16);
    CHECK(wal_xlog_put_overwrite(&b, &(struct wal_overwrite){ 0 }), 16);
    CHECK(wal_xlog_put_fpw(&b, true), 1);
    CHECK(wal_xlog_put_running(&b, &running), WAL_RUNNING_BYTES(3));
    CHECK(wal_file_put_create(&b, &rel), WAL_FILE_CREATE_BYTES);
    CHECK(wal_file_put_truncate(&b, &(struct wal_truncate){ 0 }), WAL_FILE_TRUNCATE_BYTES);
    CHECK(wal_file_put_db_create(&b, 5, 1663), WAL_FILE_DB_CREATE_BYTES);
    CHECK(wal_file_put_db_drop(&b, 5, 1663), WAL_FILE_DB_DROP_BYTES);
#undef CHECK
}

static void
a_commit_lists_its_database_and_the_files_that_go(void **state)
{
    const struct wal_rel rels[] = { { 1663, 16384, 16385 }, { 1663, 16384, 16390 } };
    struct wal_xact_end x = { .time = 123456789, .db = 16384, .spc = 1663 };
    struct wal_xact_end got;
    struct err e = ERR_INIT;
    struct buf b = start();

    (void) state;
    assert_int_equal(wal_xact_info(XACT_COMMIT, &x), 0x80); /* WAL-1 */
    wal_xact_put_end(&b, &x);
    assert_int_equal(b.n, 20); /* tot 46 */
    assert_int_equal(b.n, wal_xact_end_bytes(&x));
    x.n_rels = 2;
    x.rels = rels;
    assert_int_equal(wal_xact_info(XACT_COMMIT, &x), 0x81);
    b = start();
    wal_xact_put_end(&b, &x);
    assert_int_equal(b.n, wal_xact_end_bytes(&x));
    assert_ok(wal_xact_get_end(mem, b.n, 0x81, &got, &e), &e);
    assert_int_equal(got.xinfo, WAL_XINFO_DB | WAL_XINFO_RELS);
    assert_int_equal(got.time, 123456789);
    assert_int_equal(got.db, 16384);
    assert_int_equal(got.n_rels, 2);
    assert_int_equal(wal_xact_rel(got.rels, 1).rel, 16390);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(wal_xact_get_end(mem, n, 0x81, &got, NULL), -ERR_DATA_CORRUPTED);
    assert_int_equal(wal_xact_get_end(mem, b.n + 1, 0x81, &got, NULL), -ERR_DATA_CORRUPTED);
}

static void
a_commit_prepared_carries_the_xid_in_its_body(void **state)
{
    struct wal_xact_end x = {
        .time = 1, .db = 16384, .spc = 1663, .prepared_xid = 904, .gid = "g1"
    };
    struct wal_xact_end got;
    struct err e = ERR_INIT;
    struct buf b = start();
    uint8_t info;

    (void) state;
    info = wal_xact_info(XACT_COMMIT_PREPARED, &x);
    assert_int_equal(info, 0xB0); /* TWO-3 */
    wal_xact_put_end(&b, &x);
    assert_int_equal(b.n, wal_xact_end_bytes(&x));
    assert_ok(wal_xact_get_end(mem, b.n, info, &got, &e), &e);
    assert_int_equal(got.prepared_xid, 904);
    assert_string_equal(got.gid, "g1");
    x.gid = NULL;
    b = start();
    wal_xact_put_end(&b, &x);
    assert_ok(wal_xact_get_end(mem, b.n, info, &got, &e), &e);
    assert_int_equal(got.xinfo, 0x0011);
    assert_null(got.gid);
}

static void
a_prepare_comes_back_and_wrong_counts_are_refused(void **state)
{
    const struct wal_rel rels[] = { { 1663, 16384, 16385 } };
    struct wal_prepare x = { .xid = 904,
                             .db = 16384,
                             .time = 5,
                             .owner = 10,
                             .gid = "a gid",
                             .n_abort_rels = 1,
                             .abort_rels = rels };
    struct wal_prepare got;
    struct err e = ERR_INIT;
    struct buf b = start();

    (void) state;
    wal_xact_put_prepare(&b, &x);
    assert_int_equal(b.n, wal_xact_prepare_bytes(&x));
    assert_int_equal(b.n, 72 + 8 + 16 + 8);
    assert_ok(wal_xact_get_prepare(mem, b.n, &got, &e), &e);
    assert_string_equal(got.gid, "a gid");
    assert_int_equal(got.xid, 904);
    assert_int_equal(got.n_abort_rels, 1);
    assert_int_equal(wal_xact_rel(got.abort_rels, 0).rel, 16385);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(wal_xact_get_prepare(mem, n, &got, NULL), -ERR_DATA_CORRUPTED);
    for (size_t at = 28; at < 52; at += 4) { /* each of the counts */
        put_u32(mem + at, get_u32(mem + at) + 0x10000000);
        assert_int_equal(wal_xact_get_prepare(mem, b.n, &got, NULL), -ERR_DATA_CORRUPTED);
        put_u32(mem + at, get_u32(mem + at) - 0x10000000);
    }
    mem[76] = 0; /* a NUL inside the gid */
    assert_int_equal(wal_xact_get_prepare(mem, b.n, &got, NULL), -ERR_DATA_CORRUPTED);
}

static void
counts_that_do_not_fit_the_body_are_refused(void **state)
{
    struct wal_running running;
    struct wal_db_drop drop;
    struct buf b = start();

    (void) state;
    wal_xlog_put_running(&b, &(struct wal_running){ .next_xid = 9, .oldest_running_xid = 9 });
    assert_int_equal(wal_xlog_get_running(mem, b.n, &running, NULL), 0);
    assert_int_equal(running.next_xid, 9);
    put_u32(mem, UINT32_MAX);
    put_u32(mem + 4, 1);
    assert_int_equal(wal_xlog_get_running(mem, b.n, &running, NULL), -ERR_DATA_CORRUPTED);
    b = start();
    wal_file_put_db_drop(&b, 16384, 1663);
    assert_int_equal(wal_file_get_db_drop(mem, b.n, &drop, NULL), 0);
    assert_int_equal(drop.n_spcs, 1);
    put_u32(mem + 4, 0x40000001);
    assert_int_equal(wal_file_get_db_drop(mem, b.n, &drop, NULL), -ERR_DATA_CORRUPTED);
}

static void
a_delta_turns_one_page_into_the_other(void **state)
{
    static uint8_t from[PAGE_BYTES];
    static uint8_t to[PAGE_BYTES];
    static uint8_t got[PAGE_BYTES];
    struct rng rng;

    (void) state;
    rng_init(&rng, 42);
    for (unsigned round = 0; round < 2000; round++) {
        struct buf b = start();
        struct err e = ERR_INIT;

        for (size_t i = 0; i < sizeof from; i += 8)
            put_u64(from + i, rng_u64(&rng));
        memcpy(to, from, sizeof to);
        for (uint64_t n = rng_below(&rng, 30); n > 0; n--) {
            size_t at = rng_below(&rng, PAGE_TAIL_AT);
            size_t len = rng_below(&rng, 1 + round % 200) + 1;

            memset(to + at, (int) rng_u64(&rng), MIN(len, PAGE_TAIL_AT - at));
        }
        wal_delta_put(&b, from, to, PAGE_TAIL_AT);
        assert_true(buf_ok(&b));
        memcpy(got, from, sizeof got);
        assert_ok(wal_delta_apply(got, mem, b.n, &e), &e);
        assert_memory_equal(got, to, sizeof got);
    }
}

static void
short_equal_runs_stay_inside_a_fragment(void **state)
{
    static const struct {
        uint16_t changed[4];
        size_t want_bytes;
    } rows[] = {
        { { 10, 10, 10, 10 }, 4 + 1 },
        { { 10, 11, 12, 13 }, 4 + 4 },
        { { 10, 15, 15, 15 }, 4 + 6 },       /* 4 equal bytes between: one fragment */
        { { 10, 16, 16, 16 }, 2 * (4 + 1) }, /* 5: two */
        { { 0, 8167, 8167, 8167 }, 2 * (4 + 1) },
    };
    static uint8_t from[PAGE_BYTES];
    static uint8_t to[PAGE_BYTES];

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct buf b = start();

        memset(to, 0, sizeof to);
        for (size_t k = 0; k < 4; k++)
            to[rows[i].changed[k]] = 1;
        wal_delta_put(&b, from, to, PAGE_TAIL_AT);
        if (b.n != rows[i].want_bytes)
            fail_msg("row %zu: %zu bytes instead of %zu", i, b.n, rows[i].want_bytes);
    }
    struct buf none = start();
    wal_delta_put(&none, from, from, PAGE_TAIL_AT);
    assert_int_equal(none.n, 0);
}

static void
a_bad_delta_changes_nothing(void **state)
{
    static const struct {
        uint8_t n;
        uint8_t bytes[16];
    } rows[] = {
        { 3, { 0, 0, 1 } },                             /* cut in a head */
        { 5, { 0, 0, 2, 0, 9 } },                       /* cut in the bytes */
        { 4, { 0, 0, 0, 0 } },                          /* empty fragment */
        { 6, { 0xFF, 0x1F, 2, 0, 9, 9 } },              /* over the page's end */
        { 5, { 0, 0x20, 1, 0, 9 } },                    /* behind it */
        { 10, { 0, 0, 1, 0, 9, 0xFF, 0xFF, 1, 0, 9 } }, /* a good one before a bad one */
    };
    static uint8_t page[PAGE_BYTES];

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        assert_int_equal(wal_delta_apply(page, rows[i].bytes, rows[i].n, NULL),
                         -ERR_DATA_CORRUPTED);
        for (size_t k = 0; k < sizeof page; k++)
            assert_int_equal(page[k], 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_of_fixed_length_have_the_lengths_of_the_format),
        cmocka_unit_test(a_commit_lists_its_database_and_the_files_that_go),
        cmocka_unit_test(a_commit_prepared_carries_the_xid_in_its_body),
        cmocka_unit_test(a_prepare_comes_back_and_wrong_counts_are_refused),
        cmocka_unit_test(counts_that_do_not_fit_the_body_are_refused),
        cmocka_unit_test(a_delta_turns_one_page_into_the_other),
        cmocka_unit_test(short_equal_runs_stay_inside_a_fragment),
        cmocka_unit_test(a_bad_delta_changes_nothing),
    };

    return cmocka_run_group_tests_name("wal_bodies", tests, NULL, NULL);
}
