/* Unused bytes of b-tree pages: SQLite never misses what store_btree_keep_unused() puts there, and
 * pages that are none are left alone. */
#include "store/store_btree.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "support/test.h"

static void
run(sqlite3 *db, const char *sql)
{
    char *message = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
}

static char *
text_of(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt;
    char *text;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    text = strdup((const char *) sqlite3_column_text(stmt, 0));
    (void) sqlite3_finalize(stmt);
    return text;
}

#define SUM                                                                                \
    "SELECT (SELECT count(*) || '|' || coalesce(sum(length(b) + c), 0) FROM t) || '|' || " \
    "(SELECT coalesce(group_concat(b), '') FROM (SELECT b FROM t INDEXED BY i ORDER BY b))"

static uint8_t *
image_of(sqlite3 *db, pgno_t *ret_size)
{
    sqlite3_int64 bytes = 0;
    uint8_t *image = sqlite3_serialize(db, "main", &bytes, 0);

    assert_non_null(image);
    *ret_size = (pgno_t) (bytes / PAGE_BYTES);
    return image;
}

/* What a database is after the change of base to image, unused bytes kept. */
static void
expect_same(uint8_t *image, pgno_t size, const uint8_t *base, pgno_t base_size, const char *want)
{
    sqlite3 *db;
    char *got;

    for (pgno_t pgno = 2; pgno <= MIN(size, base_size); pgno++)
        if (store_btree_is_told_by_type(image, pgno, size))
            store_btree_keep_unused(image + (size_t) (pgno - 1) * PAGE_BYTES,
                                    base + (size_t) (pgno - 1) * PAGE_BYTES);
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_deserialize(db, "main", image, (sqlite3_int64) size * PAGE_BYTES,
                                         (sqlite3_int64) size * PAGE_BYTES, 0),
                     SQLITE_OK);
    got = text_of(db, "PRAGMA integrity_check");
    assert_string_equal(got, "ok");
    free(got);
    got = text_of(db, SUM);
    assert_string_equal(got, want);
    free(got);
    (void) sqlite3_close(db);
}

static void
change(sqlite3 *db, struct rng *rng)
{
    static const char *const rows[] = {
        "INSERT INTO t (b, c) SELECT hex(randomblob(?1 % 90)), ?2 FROM s LIMIT ?3 % 40",
        "INSERT INTO t (b, c) VALUES (hex(randomblob(?1)), ?2 + ?3)", /* overflow pages */
        "DELETE FROM t WHERE a % (?1 % 40 + 1) = ?2 % 7",
        "UPDATE t SET c = c * 7 + ?2 WHERE a % (?3 % 9 + 1) = 0",
        "UPDATE t SET b = hex(randomblob(?1 % 60)) WHERE a % (?2 % 60 + 2) = 1",
        "PRAGMA incremental_vacuum(3)",
    };
    sqlite3_stmt *stmt;
    int rc;

    assert_int_equal(
        sqlite3_prepare_v2(db, rows[rng_below(rng, ELEMENTSOF(rows))], -1, &stmt, NULL), SQLITE_OK);
    for (int i = 1; i <= sqlite3_bind_parameter_count(stmt); i++)
        (void) sqlite3_bind_int(stmt, i, (int) rng_below(rng, 20000));
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        ;
    assert_int_equal(rc, SQLITE_DONE);
    (void) sqlite3_finalize(stmt);
}

static void
sqlite_never_misses_what_was_unused(void **state)
{
    struct rng rng;
    int reserved = PAGE_TAIL_BYTES;
    sqlite3 *db;
    uint8_t *base;
    pgno_t base_size;

    (void) state;
    rng_init(&rng, 7);
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    run(db, "PRAGMA page_size = 8192");
    (void) sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    run(db, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA secure_delete = ON;"
            "CREATE TABLE s (i); CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c INTEGER);"
            "CREATE INDEX i ON t (b);"
            "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100) "
            "INSERT INTO s SELECT i FROM n");
    base = image_of(db, &base_size);
    for (unsigned round = 0; round < 150; round++) {
        pgno_t size;
        uint8_t *image;
        char *want;

        change(db, &rng);
        image = image_of(db, &size);
        want = text_of(db, SUM);
        /* The base of the next round holds what was unused, as a published page would. */
        expect_same(image, size, base, base_size, want);
        free(want);
        sqlite3_free(base);
        base = image;
        base_size = size;
    }
    sqlite3_free(base);
    (void) sqlite3_close(db);
}

static void
fill(uint8_t *page, uint8_t type)
{
    static const uint8_t cells[] = { 0x00, 0x64, 0x00, 0x02, 0x00, 0x64, 0x00 };

    memset(page, 1, PAGE_BYTES);
    page[0] = type;
    memcpy(page + 1, cells, sizeof cells);
    memcpy(page + 100, (uint8_t[]){ 0, 200, 0, 10 }, 4); /* free: 100..110, then 200..204 */
    memcpy(page + 200, (uint8_t[]){ 0, 0, 0, 4 }, 4);
}

/* Which bytes of a page of ones become those of a base of nines, as "from-to". */
static void
expect_kept(uint8_t *page, const char *want)
{
    uint8_t base[PAGE_BYTES];
    uint8_t before[PAGE_BYTES];
    char got[200] = "";
    size_t n = 0;

    memset(base, 9, sizeof base);
    memcpy(before, page, sizeof before);
    store_btree_keep_unused(page, base);
    for (uint32_t i = 0; i < PAGE_BYTES; i++) {
        uint32_t from = i;

        while (i < PAGE_BYTES && page[i] != before[i])
            i++;
        if (i > from)
            n += (size_t) snprintf(got + n, sizeof got - n, " %u-%u", from, i);
    }
    assert_string_equal(got, want);
}

static void
only_the_gap_and_the_inside_of_free_blocks_are_given_back(void **state)
{
    static const struct {
        uint8_t type;
        uint16_t at;
        uint8_t byte;
        const char *want;
    } rows[] = {
        { 13, 8000, 1, " 12-100 104-110" },
        { 10, 8000, 1, " 12-100 104-110" },
        { 5, 8000, 1, " 16-100 104-110" },
        { 2, 8000, 1, " 16-100 104-110" },
        { 0, 8000, 1, "" },
        { 1, 8000, 1, "" },
        { 13, 2, 0x00, " 12-100" },   /* no free block */
        { 13, 2, 0x50, " 12-100" },   /* one before the cells */
        { 13, 1, 0xff, " 12-100" },   /* one behind the page */
        { 13, 4, 100, "" },           /* more pointers than room */
        { 13, 5, 0xff, "" },          /* cells behind the page */
        { 13, 103, 3, " 12-100" },    /* a block shorter than its header */
        { 13, 102, 0xff, " 12-100" }, /* one that does not end */
        { 13, 101, 105, " 12-100" },  /* the next one overlaps */
        { 13, 203, 0, " 12-100 104-110" },
    };
    uint8_t page[PAGE_BYTES];

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        fill(page, rows[i].type);
        page[rows[i].at] = rows[i].byte;
        expect_kept(page, rows[i].want);
    }
}

static void
pages_whose_first_byte_says_nothing_are_told_apart(void **state)
{
    uint8_t header[100] = "SQLite format 3";

    (void) state;
    header[20] = PAGE_TAIL_BYTES;
    assert_false(store_btree_is_told_by_type(header, 1, 100));
    assert_false(store_btree_is_told_by_type(header, 2, 100)); /* pointer map, and the next: */
    assert_false(store_btree_is_told_by_type(header, 2 + 8168 / 5 + 1, 10000));
    assert_true(store_btree_is_told_by_type(header, 3, 100));
    assert_true(store_btree_is_told_by_type(header, 2 + 8168 / 5, 10000));
    assert_true(store_btree_is_told_by_type(header, 3, 0xffffff));
    assert_false(store_btree_is_told_by_type(header, 3, 0x1000000));
    header[20] = 0;
    assert_false(store_btree_is_told_by_type(header, 3, 100));
    header[20] = PAGE_TAIL_BYTES;
    header[3] = 'x';
    assert_false(store_btree_is_told_by_type(header, 3, 100));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sqlite_never_misses_what_was_unused),
        cmocka_unit_test(only_the_gap_and_the_inside_of_free_blocks_are_given_back),
        cmocka_unit_test(pages_whose_first_byte_says_nothing_are_told_apart),
    };
    return cmocka_run_group_tests_name("store_btree", tests, NULL, NULL);
}
