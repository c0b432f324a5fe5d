/* When a disk counts as full and when space counts as low: notes of refusals and the pure decision.
 */
#include <errno.h>

#include "shm/space.h"
#include "support/test.h"

#define MB (UINT64_C(1) << 20)

static bool
is_low(uint64_t free_mb, uint64_t threshold_mb, bool was_low)
{
    struct space_view v = { .free_bytes = free_mb * MB,
                            .threshold = threshold_mb * MB,
                            .was_low = was_low };

    return space_judge(&v).is_low;
}

static void
space_is_low_below_the_threshold_until_an_eighth_more_is_free(void **state)
{
    (void) state;
    assert_false(is_low(80, 80, false));
    assert_true(is_low(79, 80, false));
    assert_true(is_low(80, 80, true));
    assert_true(is_low(89, 80, true));
    assert_false(is_low(90, 80, true));
}

static void
space_is_never_low_without_a_threshold(void **state)
{
    (void) state;
    assert_false(is_low(0, 0, false));
    assert_false(is_low(0, 0, true));
}

static bool
is_full(uint64_t free_mb, uint64_t wanted_mb, usec_t since, bool was_full)
{
    struct space_view v = { .free_bytes = free_mb * MB,
                            .wanted = wanted_mb * MB,
                            .since_refusal = since,
                            .was_full = was_full };

    return space_judge(&v).is_full;
}

static void
a_disk_is_full_until_what_was_refused_is_free_for_a_while(void **state)
{
    (void) state;
    assert_false(is_full(0, 16, 100 * USEC_PER_SEC, false)); /* nobody was refused anything */
    assert_true(is_full(15, 16, 100 * USEC_PER_SEC, true));
    assert_false(is_full(16, 16, 100 * USEC_PER_SEC, true));
    assert_true(is_full(16, 16, USEC_PER_MSEC, true)); /* measured before the refusal, perhaps */
}

static void
a_refusal_is_remembered_until_something_fits(void **state)
{
    struct shm_space s = { 0 };
    uint64_t since;

    (void) state;
    space_note(&s, 0, 1);
    space_note(&s, -EIO, 1); /* says nothing about space */
    assert_int_equal(s.full_usec, 0);
    assert_int_equal(s.n_refused, 0);
    space_note(&s, -ENOSPC, 7);
    since = s.full_usec;
    assert_true(since > 0);
    assert_int_equal(s.wanted, 7);
    assert_int_equal(s.error, ENOSPC);
    space_note(&s, -EDQUOT, 8);
    assert_int_equal(s.full_usec, since); /* since the first */
    assert_int_equal(s.n_refused, 2);
    assert_int_equal(s.error, EDQUOT);
    space_note(&s, 0, 8);
    assert_int_equal(s.full_usec, 0);
    assert_true(s.refused_usec >= since); /* the last error stays to be seen */
    space_note(NULL, -ENOSPC, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(space_is_low_below_the_threshold_until_an_eighth_more_is_free),
        cmocka_unit_test(space_is_never_low_without_a_threshold),
        cmocka_unit_test(a_disk_is_full_until_what_was_refused_is_free_for_a_while),
        cmocka_unit_test(a_refusal_is_remembered_until_something_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
