/* conf/conf_recovery: recovery targets as settings. */
#include "support/test.h"

#include <string.h>

#include "conf/conf_recovery.h"

static void
times_are_read_with_and_without_a_zone(void **state)
{
    static const struct {
        const char *text;
        int64_t want; /* 0 = no time */
    } rows[] = {
        { "2026-11-21 13:40:00+00", INT64_C(1795268400000000) },
        { "2026-11-21 13:40:00", INT64_C(1795268400000000) },
        { "2026-11-21T13:40:00Z", INT64_C(1795268400000000) },
        { "2026-11-21 13:40:00 UTC", INT64_C(1795268400000000) },
        { "2026-11-21 15:40:00+02", INT64_C(1795268400000000) },
        { "2026-11-21 10:10:00-03:30", INT64_C(1795268400000000) },
        { "2026-11-21 10:10:00-0330", INT64_C(1795268400000000) },
        { "2026-11-21 13:40", INT64_C(1795268400000000) },
        { "2026-11-21 13:40:00.000001+00", INT64_C(1795268400000001) },
        { "2026-11-21 13:40:00.5", INT64_C(1795268400500000) },
        { "2026-11-21", INT64_C(1795219200000000) },
        { "yesterday", 0 },
        { "2026-02-30 00:00:00", 0 },
        { "2026-11-21 13:40:00 CEST", 0 },
        { "2026-11-21 25:00:00", 0 },
        { "2026-11-21 13:40:00+99", 0 },
        { "2026-11-21 13:40:00 x", 0 },
        { "", 0 },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        int64_t got = 0;

        if (conf_parse_time(rows[i].text, &got) != (rows[i].want != 0) || got != rows[i].want)
            fail_msg("\"%s\": %lld", rows[i].text, (long long) got);
    }
}

static int
read_with(enum conf_id id, const char *value, struct conf_recovery *ret, struct err *e)
{
    CLEANUP(conf_done) struct conf conf = { 0 };
    const char *setting;

    assert_ok(conf_init(&conf, e), e);
    assert_ok(conf_put(&conf, id, value, CONF_FROM_FILE, e), e);
    return conf_recovery_read(&conf.v, ret, &setting, e);
}

static void
each_target_is_read(void **state)
{
    struct conf_recovery r;
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(read_with(CONF_recovery_target_xid, "4294967301", &r, &e), &e);
    assert_int_equal(r.kind, CONF_RECOVERY_XID);
    assert_int_equal(r.xid, 5); /* the low word */
    assert_ok(read_with(CONF_recovery_target_lsn, "1/A0", &r, &e), &e);
    assert_int_equal(r.kind, CONF_RECOVERY_LSN);
    assert_true(r.lsn == UINT64_C(0x1000000A0));
    assert_ok(read_with(CONF_recovery_target, "immediate", &r, &e), &e);
    assert_int_equal(r.kind, CONF_RECOVERY_IMMEDIATE);
    assert_int_equal(r.timeline, CONF_TIMELINE_LATEST);
    assert_ok(read_with(CONF_recovery_target_timeline, "7", &r, &e), &e);
    assert_int_equal(r.kind, CONF_RECOVERY_END);
    assert_int_equal(r.timeline, CONF_TIMELINE_NUMBER);
    assert_int_equal(r.tli, 7);
}

static void
what_is_no_target_is_refused(void **state)
{
    static const struct {
        enum conf_id id;
        const char *value;
    } rows[] = {
        { CONF_recovery_target_xid, "five" },
        { CONF_recovery_target_xid, "-5" },
        { CONF_recovery_target_lsn, "1A0" },
        { CONF_recovery_target_lsn, "0/1 " },
        { CONF_recovery_target_lsn, " 0/1" },
        { CONF_recovery_target_lsn, "-1/0" },
        { CONF_recovery_target_lsn, "0x1/0" },
        { CONF_recovery_target_lsn, "123456789/0" },
        { CONF_recovery_target_xid, "+5" },
        { CONF_recovery_target, "consistent" },
        { CONF_recovery_target_time, "now" },
        { CONF_recovery_target_timeline, "0" },
        { CONF_recovery_target_timeline, "first" },
        { CONF_recovery_target_timeline, "4294967297" }, /* not timeline 1 */
        { CONF_recovery_target_name,
          "0123456789012345678901234567890123456789012345678901234567890123" },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        struct conf_recovery r;
        struct err e = ERR_INIT;

        if (read_with(rows[i].id, rows[i].value, &r, &e) != -ERR_INVALID_PARAMETER_VALUE)
            fail_msg("%s = '%s' is taken", conf_desc(rows[i].id)->name, rows[i].value);
    }
}

static void
two_targets_are_refused(void **state)
{
    CLEANUP(conf_done) struct conf conf = { 0 };
    struct conf_recovery r;
    const char *setting = "";
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(conf_init(&conf, &e), &e);
    assert_ok(conf_put(&conf, CONF_recovery_target_xid, "5", CONF_FROM_FILE, &e), &e);
    assert_ok(conf_put(&conf, CONF_recovery_target_name, "x", CONF_FROM_FILE, &e), &e);
    assert_int_equal(conf_recovery_read(&conf.v, &r, &setting, &e), -ERR_INVALID_PARAMETER_VALUE);
    assert_string_equal(e.message, "multiple recovery targets specified");
    assert_string_equal(setting, "recovery_target_name");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_with_and_without_a_zone),
        cmocka_unit_test(each_target_is_read),
        cmocka_unit_test(what_is_no_target_is_refused),
        cmocka_unit_test(two_targets_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
