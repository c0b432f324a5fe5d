/* base/err: the first failure wins, and every code has its SQLSTATE. */
#include <errno.h>

#include "support/test.h"

static void
the_first_failure_wins(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(ERR(&e, DISK_FULL, "first"), -ERR_DISK_FULL);
    assert_int_equal(ERR(&e, IO_ERROR, "second"), -ERR_IO_ERROR);
    assert_string_equal(e.message, "first");
    assert_string_equal(err_sqlstate(e.code), "53100");
}

static void
errno_maps_to_what_a_user_can_act_on(void **state)
{
    static const struct {
        int errnum;
        const char *sqlstate;
    } rows[] = {
        { ENOSPC, "53100" }, { ENOMEM, "53200" }, { ENOENT, "58P01" },
        { EIO, "58030" },    { EINVAL, "58000" },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        assert_string_equal(err_sqlstate(-rows[i].errnum), rows[i].sqlstate);
    assert_string_equal(err_sqlstate(0), "00000");
    assert_string_equal(err_sqlstate(-99999), "XX000");
    assert_string_equal(err_condition(-ERR_SNAPSHOT_TOO_OLD), "snapshot_too_old");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_wins),
        cmocka_unit_test(errno_maps_to_what_a_user_can_act_on),
    };

    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
