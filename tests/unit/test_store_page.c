/* Page tail: what a stamp gives, what a check refuses, and the lock-byte page of a file above
 * 1 GiB. */
#include "store/store_page.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/rng.h"
#include "support/test.h"

static void
fill(uint8_t *page, uint64_t seed)
{
    struct rng r;

    rng_init(&r, seed);
    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        page[i] = (uint8_t) rng_u64(&r);
}

static void
a_stamped_page_passes_and_gives_its_lsn(void **state)
{
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;
    lsn_t lsn = 0;

    (void) state;
    fill(page, 1);
    page_stamp(page, 7, 0x1234567890);
    assert_ok(page_check(page, 7, &lsn, &e), &e);
    assert_int_equal(lsn, 0x1234567890);
    assert_int_equal(get_u32(page + PAGE_FORMAT_AT), PAGE_FORMAT);
    assert_int_equal(get_u64(page + PAGE_SPARE_AT), 0);
}

static void
every_flipped_bit_is_found(void **state)
{
    uint8_t page[PAGE_BYTES];
    lsn_t lsn;

    (void) state;
    fill(page, 2);
    page_stamp(page, 0, 99);
    for (uint32_t at = 0; at < PAGE_BYTES; at++) {
        uint8_t bit = (uint8_t) (1u << (at % 8));

        page[at] ^= bit;
        assert_int_equal(page_check(page, 0, &lsn, NULL), -ERR_DATA_CORRUPTED);
        page[at] ^= bit;
    }
    assert_int_equal(page_check(page, 0, &lsn, NULL), 0);
}

static void
a_page_in_another_place_is_found(void **state)
{
    uint8_t page[PAGE_BYTES];
    lsn_t lsn;

    (void) state;
    fill(page, 3);
    page_stamp(page, 41, 99);
    assert_int_equal(page_check(page, 42, &lsn, NULL), -ERR_DATA_CORRUPTED);
    assert_int_equal(page_check(page, 41, &lsn, NULL), 0);
}

static void
each_torn_half_is_found(void **state)
{
    uint8_t older[PAGE_BYTES];
    uint8_t newer[PAGE_BYTES];
    uint8_t torn[PAGE_BYTES];
    lsn_t lsn;

    (void) state;
    fill(older, 4);
    memcpy(newer, older, PAGE_BYTES);
    newer[100] ^= 1;
    newer[5000] ^= 1;
    page_stamp(older, 3, 100);
    page_stamp(newer, 3, 200);
    memcpy(torn, older, PAGE_BYTES);
    memcpy(torn, newer, PAGE_BYTES / 2);
    assert_int_equal(page_check(torn, 3, &lsn, NULL), -ERR_DATA_CORRUPTED);
    memcpy(torn, newer, PAGE_BYTES);
    memcpy(torn, older, PAGE_BYTES / 2);
    assert_int_equal(page_check(torn, 3, &lsn, NULL), -ERR_DATA_CORRUPTED);
}

static void
zeros_are_a_page_never_written(void **state)
{
    uint8_t page[PAGE_BYTES] = { 0 };
    lsn_t lsn = 5;

    (void) state;
    assert_true(page_is_zero(page));
    assert_int_equal(page_check(page, 12, &lsn, NULL), 0);
    assert_int_equal(lsn, 0);
    page[PAGE_BYTES - 1] = 1;
    assert_false(page_is_zero(page));
    assert_int_equal(page_check(page, 12, &lsn, NULL), -ERR_DATA_CORRUPTED);
}

static void
the_lock_byte_page_must_be_zero(void **state)
{
    uint8_t page[PAGE_BYTES];
    lsn_t lsn;

    (void) state;
    fill(page, 5);
    page_stamp(page, LOCK_BYTE_PGNO - 1, 77);
    assert_int_equal(page_check(page, LOCK_BYTE_PGNO - 1, &lsn, NULL), -ERR_DATA_CORRUPTED);
    memset(page, 0, sizeof page);
    assert_int_equal(page_check(page, LOCK_BYTE_PGNO - 1, &lsn, NULL), 0);
}

static void
a_sparse_file_keeps_its_lock_byte_page_zero(void **state)
{
    char path[] = "/tmp/pinion_page_XXXXXX";
    int fd = mkstemp(path);
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;

    (void) state;
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    for (int i = -1; i <= 1; i += 2) { /* its neighbours are written */
        blk_t block = (blk_t) ((int) LOCK_BYTE_PGNO - 1 + i);

        fill(page, block);
        page_stamp(page, block, block);
        assert_int_equal(pwrite(fd, page, PAGE_BYTES, (off_t) block * PAGE_BYTES), PAGE_BYTES);
    }
    for (int i = -1; i <= 1; i++) {
        blk_t block = (blk_t) ((int) LOCK_BYTE_PGNO - 1 + i);
        lsn_t lsn = 1;

        assert_int_equal(pread(fd, page, PAGE_BYTES, (off_t) block * PAGE_BYTES), PAGE_BYTES);
        assert_ok(page_check(page, block, &lsn, &e), &e);
        assert_int_equal(lsn, i == 0 ? 0 : block);
    }
    assert_int_equal((uint64_t) (LOCK_BYTE_PGNO - 1) * PAGE_BYTES, UINT64_C(1) << 30);
    (void) close(fd);
}

static void
the_size_is_in_page_one(void **state)
{
    uint8_t page[PAGE_BYTES] = { 0 };

    (void) state;
    put_be32(page + 28, 0x01020304);
    assert_int_equal(page1_size(page), 0x01020304);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stamped_page_passes_and_gives_its_lsn),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(a_page_in_another_place_is_found),
        cmocka_unit_test(each_torn_half_is_found),
        cmocka_unit_test(zeros_are_a_page_never_written),
        cmocka_unit_test(the_lock_byte_page_must_be_zero),
        cmocka_unit_test(a_sparse_file_keeps_its_lock_byte_page_zero),
        cmocka_unit_test(the_size_is_in_page_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
