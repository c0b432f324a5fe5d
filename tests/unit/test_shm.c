/* shm/shm: layout, and a reset that keeps the mapping. */
#include <string.h>

#include "support/test.h"

#include "shm/shm.h"
#include "shm/wait.h"

static void
reset_gives_zeros_in_place_and_the_same_layout(void **state)
{
    const uint64_t regions[] = { 100, 5000, 1 };
    struct shm s;
    struct err e = ERR_INIT;
    uint8_t *mid;

    (void) state;
    assert_ok(shm_create(&s, 3, regions, 3, &e), &e);
    mid = shm_region(&s, 1);
    memset(mid, 0xAB, 5000);
    s.slots[2].kind = 7;
    assert_ptr_equal(shm_region(&s, 2), mid + 8192); /* 5000 bytes take two pages */
    memset(s.head, 0x7F, sizeof *s.head);            /* by whoever crashed */
    assert_ok(shm_reset(&s, &e), &e);
    assert_ptr_equal(shm_region(&s, 1), mid);
    assert_int_equal(mid[4999], 0);
    assert_int_equal(s.slots[2].kind, 0);
    assert_true(s.head->magic == SHM_MAGIC);
    assert_int_equal(s.head->n_regions, 3);
    assert_true(s.head->region[1].bytes == 5000);
    shm_close(&s);
}

static void
texts_are_cut_to_their_field(void **state)
{
    static struct slot s;
    static struct slot copy;
    char query[2 * SLOT_QUERY_BYTES];

    (void) state;
    memset(query, 'q', sizeof query);
    slot_set_text(&s, s.query, sizeof s.query, query, sizeof query);
    assert_true(slot_copy(&s, &copy));
    assert_int_equal(strlen(copy.query), SLOT_QUERY_BYTES - 1);
    assert_string_equal(wait_event_name(WAIT_WRITER_LOCK), "WriterLock");
}

static void
a_pass_lasts_until_the_next_one_that_ran(void **state)
{
    struct shm_startup s = { .pid = 0 };

    (void) state;
    assert_int_equal(startup_pass_usec(&s, STARTUP_REDO, 1000), 0);
    s.began_usec[STARTUP_REDO] = 100;
    assert_int_equal(startup_pass_usec(&s, STARTUP_REDO, 1000), 900);
    s.began_usec[STARTUP_SETTLE] = 300; /* nothing was to be resolved */
    assert_int_equal(startup_pass_usec(&s, STARTUP_REDO, 1000), 200);
    assert_int_equal(startup_pass_usec(&s, STARTUP_RESOLVE, 1000), 0);
    assert_int_equal(startup_pass_usec(&s, STARTUP_SETTLE, 200), 0); /* a clock is not trusted */
    s.began_usec[STARTUP_DONE] = 700;
    assert_int_equal(startup_pass_usec(&s, STARTUP_SETTLE, 1000), 400);
    assert_string_equal(startup_pass_name(STARTUP_VERIFY), "verify");
    assert_string_equal(startup_pass_name(99), "");
    assert_string_equal(checkpoint_phase_name(CHECKPOINT_PHASE_BUFFERS), "writing buffers");
    assert_string_equal(checkpoint_phase_name(99), "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_gives_zeros_in_place_and_the_same_layout),
        cmocka_unit_test(texts_are_cut_to_their_field),
        cmocka_unit_test(a_pass_lasts_until_the_next_one_that_ran),
    };

    return cmocka_run_group_tests_name("shm", tests, NULL, NULL);
}
