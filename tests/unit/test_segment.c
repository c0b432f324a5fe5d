/* The segment: who gets which slot, reset in place, messages to the postmaster. */
#include <poll.h>

#include "proc/segment.h"
#include "support/test.h"

static struct segment *seg;

static int
setup(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    return segment_create_bare(10, &seg, &e) < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
    (void) state;
    segment_free(seg);
    return 0;
}

static void
every_attached_kind_has_slots_of_its_own_and_no_other_has_any(void **state)
{
    bool seen[64] = { false };
    unsigned n_all = 0;

    (void) state;
    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        int first;
        unsigned n = segment_pool(seg, k, &first);

        if (k == CHILD_DEAD_END || k == CHILD_SYSLOGGER) {
            assert_int_equal(first, -1);
            assert_true(n > 0);
            continue;
        }
        n_all += n;
        for (unsigned i = 0; i < n; i++) {
            assert_false(seen[first + (int) i]);
            seen[first + (int) i] = true;
            assert_non_null(segment_slot(seg, first + (int) i));
        }
    }
    assert_int_equal(n_all, 11 + 2 * 10);
}

static void
what_children_say_arrives_once_and_wakes(void **state)
{
    struct pollfd p = { .fd = segment_wake_fd(seg), .events = POLLIN };

    (void) state;
    assert_int_equal(poll(&p, 1, 0), 0);
    segment_tell(seg, MSG_REDO_STARTED);
    segment_tell(seg, MSG_CHECKPOINT);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(segment_take_messages(seg), MSG_REDO_STARTED | MSG_CHECKPOINT);
    assert_int_equal(segment_take_messages(seg), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
}

static void
a_reset_leaves_nothing_but_the_layout(void **state)
{
    struct err e = ERR_INIT;
    struct segment_page *page = segment_page(seg);

    (void) state;
    atomic_store(&page->quit_reason, 1);
    atomic_store(&page->checkpoint_done, 9);
    atomic_store(&segment_status(seg)->ready, 1);
    atomic_store(&segment_slot(seg, 3)->state, SLOT_ATTACHED);
    assert_ok(segment_reset(seg, &e), &e);
    assert_int_equal(atomic_load(&page->quit_reason), 0);
    assert_int_equal(atomic_load(&page->checkpoint_done), 0);
    assert_int_equal(atomic_load(&segment_status(seg)->ready), 0);
    assert_int_equal(atomic_load(&segment_slot(seg, 3)->state), SLOT_FREE);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_attached_kind_has_slots_of_its_own_and_no_other_has_any),
        TEST(what_children_say_arrives_once_and_wakes),
        TEST(a_reset_leaves_nothing_but_the_layout),
    };

    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
