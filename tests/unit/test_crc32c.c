/* base/crc32c: the check value of the polynomial, and that both forms agree. */
#include "support/test.h"

#include "base/crc32c.h"
#include "base/rng.h"

static void
check_value_is_castagnolis(void **state)
{
    (void) state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c_table(0, "123456789", 9), 0xE3069283);
}

static void
hardware_and_tables_agree_at_every_length_and_split(void **state)
{
    uint8_t data[2500];
    struct rng rng;

    (void) state;
    rng_init(&rng, 1);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t) rng_u64(&rng);
    for (size_t n = 0; n <= sizeof data; n += n < 900 || n % 768 > 700 ? 1 : 13) {
        size_t cut = n / 3;

        assert_int_equal(crc32c(0, data, n), crc32c_table(0, data, n));
        assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, n - cut), crc32c(0, data, n));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_value_is_castagnolis),
        cmocka_unit_test(hardware_and_tables_agree_at_every_length_and_split),
    };

    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
