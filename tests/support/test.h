/* cmocka with what it forgets to include, in the order it needs. Include only this, never
 * <cmocka.h>. */
#pragma once

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/err.h"

/* Fail with the error's own words. */
#define assert_ok(r, e)                                                                           \
    do {                                                                                          \
        int assert_ok_r = (int) (r);                                                              \
        if (assert_ok_r < 0)                                                                      \
            fail_msg("%s: %s [%s] %s", #r, (e)->message, err_sqlstate(assert_ok_r), (e)->detail); \
    } while (0)
