/* When autovacuum has something to do: the pure decision. */
#include "sql/session.h"
#include "support/test.h"

static struct session_upkeep_plan
decide(int64_t n_pages, int64_t n_free, int64_t n_rows, int64_t n_changed)
{
    static const struct conf_values c = { .autovacuum_vacuum_threshold = 50,
                                          .autovacuum_vacuum_scale_factor = 0.2,
                                          .autovacuum_analyze_threshold = 50,
                                          .autovacuum_analyze_scale_factor = 0.1 };
    const struct session_upkeep_view v = { n_pages, n_free, n_rows, n_changed };

    return session_upkeep_decide(&v, &c);
}

static void
free_pages_are_given_back_above_threshold_and_share(void **state)
{
    (void) state;
    assert_false(decide(1000, 0, 0, 0).vacuum);
    assert_false(decide(1000, 250, 0, 0).vacuum);
    assert_true(decide(1000, 251, 0, 0).vacuum);
    assert_int_equal(decide(1000, 251, 0, 0).keep, 50);
    assert_false(decide(40, 40, 0, 0).vacuum); /* a small one may be all free */
    assert_true(decide(INT64_C(1) << 32, (INT64_C(1) << 32) - 1, 0, 0).vacuum);
}

static void
tables_are_analyzed_when_enough_rows_have_changed(void **state)
{
    (void) state;
    assert_false(decide(10, 0, 0, 50).analyze);
    assert_true(decide(10, 0, 0, 51).analyze);
    assert_false(decide(10, 0, 1000, 150).analyze);
    assert_true(decide(10, 0, 1000, 151).analyze);
    assert_false(decide(10, 0, 1000, -5).analyze); /* pg_stat_reset() came between */
}

static void
the_longest_hold_and_that_of_99_in_100_are_known(void **state)
{
    struct session_holds h = { .n = 0 };

    (void) state;
    assert_int_equal(session_holds_p99(&h), 0);
    session_holds_add(&h, 100);
    assert_int_equal(session_holds_p99(&h), 100);
    for (int i = 0; i < 97; i++)
        session_holds_add(&h, 1100);
    session_holds_add(&h, 3100);
    assert_int_equal(session_holds_p99(&h), 3100);
    session_holds_add(&h, 200 * USEC_PER_MSEC);
    assert_int_equal(session_holds_p99(&h), 3250); /* the end of its step */
    assert_int_equal(h.longest, 200 * USEC_PER_MSEC);
    session_holds_add(&h, 300 * USEC_PER_MSEC);
    assert_int_equal(session_holds_p99(&h), 300 * USEC_PER_MSEC);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_pages_are_given_back_above_threshold_and_share),
        cmocka_unit_test(tables_are_analyzed_when_enough_rows_have_changed),
        cmocka_unit_test(the_longest_hold_and_that_of_99_in_100_are_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
