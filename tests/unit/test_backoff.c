/* Restart delays: what a history and a clock make of the next start. */
#include "base/backoff.h"
#include "support/test.h"

static void
delays_double_from_100_ms_up_to_10_s(void **state)
{
    static const usec_t want_msec[] = { 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 };
    struct backoff b = { 0 };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(want_msec); i++) {
        (void) backoff_fail(&b, 5000, 11);
        if (b.not_before != 5000 + want_msec[i] * USEC_PER_MSEC)
            fail_msg("failure %zu: not before %llu", i + 1, (unsigned long long) b.not_before);
    }
    assert_false(backoff_is_due(&b, 5000));
    assert_true(backoff_is_due(&b, b.not_before));
    backoff_reset(&b);
    assert_true(backoff_is_due(&b, 0));
}

static void
only_the_first_failure_and_a_new_reason_are_news(void **state)
{
    struct backoff b = { 0 };

    (void) state;
    assert_true(backoff_fail(&b, 0, 11));
    assert_false(backoff_fail(&b, 1, 11));
    assert_true(backoff_fail(&b, 2, 12));
    assert_false(backoff_fail(&b, 3, 12));
    backoff_reset(&b);
    assert_true(backoff_fail(&b, 4, 12));
}

static void
a_child_that_lived_long_is_replaced_at_once(void **state)
{
    struct backoff b = { 0 };

    (void) state;
    backoff_left(&b, 1000, 1000 + BACKOFF_STABLE_USEC);
    assert_true(backoff_is_due(&b, 1000 + BACKOFF_STABLE_USEC));
    backoff_left(&b, 1000, 2000);
    assert_false(backoff_is_due(&b, 2000));
}

static void
what_repeats_is_said_at_once_and_then_once_a_while_with_its_number(void **state)
{
    struct seldom s = { 0 };

    (void) state;
    assert_int_equal(seldom_say(&s, 5, 100), 1);
    for (usec_t t = 6; t < 105; t++)
        assert_int_equal(seldom_say(&s, t, 100), 0);
    assert_int_equal(seldom_say(&s, 105, 100), 100);
    assert_int_equal(seldom_say(&s, 1000, 100), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_double_from_100_ms_up_to_10_s),
        cmocka_unit_test(only_the_first_failure_and_a_new_reason_are_news),
        cmocka_unit_test(a_child_that_lived_long_is_replaced_at_once),
        cmocka_unit_test(what_repeats_is_said_at_once_and_then_once_a_while_with_its_number),
    };

    return cmocka_run_group_tests_name("backoff", tests, NULL, NULL);
}
