/* The strict check in front of json-c. */
#include "support/test.h"

#include "control/control_json.h"

#include <stdio.h>
#include <string.h>

static void
accepts_what_varlink_clients_send(void **state)
{
    static const char *const texts[] = {
        "{}",
        " { \"a\" : [ ] , \"b\":{} } \n",
        "{\"method\":\"org.pinion.Control.Ping\",\"parameters\":null,\"more\":true}",
        "{\"a\":[1,-0,2.5,1e3,-9223372036854775808,9223372036854775807,\"\\u00e4\\n\\\"\"]}",
        "{\"a\":{\"k\":1},\"b\":{\"k\":1},\"k\":2}",
        "{\"a\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}",
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
        struct err e = ERR_INIT;
        struct json_object *o = NULL;
        int r = control_json_parse(texts[i], strlen(texts[i]), &o, &e);
        if (r < 0)
            fail_msg("row %zu: %s: %s", i, texts[i], e.message);
        control_json_putp(&o);
    }
}

static void
refuses_what_json_c_would_let_pass(void **state)
{
    static const struct {
        const char *text;
        const char *why;
    } rows[] = {
        { "", "not an object" },
        { "[]", "not an object" },
        { "{'a':1}", "expected a key" },
        { "{\"a\":NaN}", "unexpected character" },
        { "{\"a\":Infinity}", "unexpected character" },
        { "{\"a\":\"x\ny\"}", "raw control character" },
        { "{\"a\":1,\"a\":2}", "duplicate key" },
        { "{\"o\":{\"a\":1,\"b\":[{\"a\":1}],\"a\":2}}", "duplicate key" },
        { "{\"\\u0061\":1}", "escape in a key" },
        { "{\"a\":9223372036854775808}", "integer out of range" },
        { "{\"a\":-9223372036854775809}", "integer out of range" },
        { "{\"a\":01}", "leading zero" },
        { "{\"a\":1.}", "malformed number" },
        { "{\"a\":1}x", "behind the object" },
        { "{\"a\":1}{}", "behind the object" },
        { "{\"a\":1", "unexpected end" },
        { "{\"a\":", "unexpected end" },
        { "{\"a\":1,}", "expected a key" },
        { "{\"a\":[1,]}", "unexpected character" },
        { "{\"a\":[1}", "unbalanced" },
        { "{\"a\"1}", "expected a colon" },
        { "{\"a\":1 \"b\":2}", "expected a comma" },
        { "{\"a\":\"\\u0000\"}", "contains NUL" },
        { "{\"a\":\"\\x41\"}", "unknown escape" },
        { "{\"a\":\"\\u00g0\"}", "incomplete" },
        { "{\"a\":\"unfinished", "unterminated" },
        { "{\"a\":\"\\", "unknown escape" },
        { "{\"a\":tru}", "unexpected character" },
        { "{\"a\":\"\xff\"}", "invalid JSON" }, /* json-c's own UTF-8 check */
        { "{\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", "nested deeper" },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct err e = ERR_INIT;
        struct json_object *o = NULL;
        int r = control_json_parse(rows[i].text, strlen(rows[i].text), &o, &e);
        if (r >= 0 || strstr(e.message, rows[i].why) == NULL)
            fail_msg("row %zu: %s: got %d \"%s\", want \"%s\"", i, rows[i].text, r, e.message,
                     rows[i].why);
    }
}

static void
refuses_more_keys_than_it_can_compare(void **state)
{
    static char text[64 * 1024];
    struct err e = ERR_INIT;
    size_t n = 0;

    (void) state;
    text[n++] = '{';
    for (int i = 0; i <= CONTROL_JSON_KEYS_MAX; i++)
        n += (size_t) snprintf(text + n, sizeof text - n, "%s\"k%d\":1", i > 0 ? "," : "", i);
    text[n++] = '}';
    assert_int_equal(control_json_check(text, n, &e), -ERR_PROGRAM_LIMIT_EXCEEDED);
}

static void
bytes_that_are_not_utf8_are_replaced(void **state)
{
    (void) state;
    struct json_object *o = control_json_string("a\xff\xc3\xa4\xed\xa0\x80");
    assert_string_equal(json_object_get_string(o),
                        "a\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    control_json_putp(&o);
}

static void
a_value_is_shown_to_its_end_however_long_it_is(void **state)
{
    char text[9000];

    (void) state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    struct json_object *o = control_json_string(text);
    assert_int_equal(json_object_get_string_len(o), sizeof text - 1);
    control_json_putp(&o);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_varlink_clients_send),
        cmocka_unit_test(refuses_what_json_c_would_let_pass),
        cmocka_unit_test(refuses_more_keys_than_it_can_compare),
        cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
        cmocka_unit_test(a_value_is_shown_to_its_end_however_long_it_is),
    };

    return cmocka_run_group_tests_name("control_json", tests, NULL, NULL);
}
