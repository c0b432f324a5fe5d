/* base/buf: bounded readers and writers. */
#include <stdio.h>

#include "support/test.h"

#include "base/buf.h"

static void
overflow_is_sticky_and_writes_nothing(void **state)
{
    uint8_t mem[8] = { 0 };
    struct buf b = buf_init(mem, 6);

    (void) state;
    buf_put_u32(&b, 0x04030201);
    buf_put_u32(&b, 0xFFFFFFFF);
    assert_false(buf_ok(&b));
    buf_put_u8(&b, 9); /* would fit, but the buffer has failed */
    assert_int_equal(b.n, 4);
    assert_int_equal(mem[4], 0);
    assert_int_equal(mem[0], 1);
}

static void
cursor_never_reads_behind_its_end(void **state)
{
    const uint8_t bytes[] = { 1, 0, 'a', 'b', 0, 'c' };
    struct cur c = cur_init(bytes, sizeof bytes);

    (void) state;
    assert_int_equal(cur_u16(&c), 1);
    assert_string_equal(cur_str(&c), "ab");
    assert_null(cur_str(&c)); /* 'c' has no NUL behind it */
    assert_true(c.failed);
    assert_int_equal(cur_u8(&c), 0);
}

static void
big_endian_integers_are_the_wire_order(void **state)
{
    uint8_t mem[14];
    struct buf b = buf_init(mem, sizeof mem);
    struct cur c;

    (void) state;
    buf_put_be16(&b, 0x0102);
    buf_put_be32(&b, 0x03040506);
    buf_put_be64(&b, UINT64_C(0x0708090A0B0C0D0E));
    for (size_t i = 0; i < sizeof mem; i++)
        assert_int_equal(mem[i], i + 1);
    c = cur_init(mem, sizeof mem);
    assert_int_equal(cur_be16(&c), 0x0102);
    assert_int_equal(cur_be32(&c), 0x03040506);
    assert_true(cur_be64(&c) == UINT64_C(0x0708090A0B0C0D0E));
}

static void
decimals_are_what_printf_says(void **state)
{
    static const int64_t values[] = { 0, 7, 10, -1, 1234567890, -99, INT64_MAX, INT64_MIN };
    char want[32], got[DECIMAL_BYTES + 1];

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(values); i++) {
        (void) snprintf(want, sizeof want, "%lld", (long long) values[i]);
        got[decimal_i64(got, values[i])] = '\0';
        assert_string_equal(got, want);
    }
    got[decimal_u64(got, UINT64_MAX)] = '\0';
    assert_string_equal(got, "18446744073709551615");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overflow_is_sticky_and_writes_nothing),
        cmocka_unit_test(cursor_never_reads_behind_its_end),
        cmocka_unit_test(big_endian_integers_are_the_wire_order),
        cmocka_unit_test(decimals_are_what_printf_says),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
