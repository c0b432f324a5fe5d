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
    assert_ok(shm_reset(&s, &e), &e);
    assert_ptr_equal(shm_region(&s, 1), mid);
    assert_int_equal(mid[4999], 0);
    assert_int_equal(s.slots[2].kind, 0);
    assert_true(s.head->magic == SHM_MAGIC);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_gives_zeros_in_place_and_the_same_layout),
        cmocka_unit_test(texts_are_cut_to_their_field),
    };

    return cmocka_run_group_tests_name("shm", tests, NULL, NULL);
}
