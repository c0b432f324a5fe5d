/* One call: every "no" has a name, and nothing runs behind it. */
#include "support/test.h"

#include "control/control.h"
#include "control/control_dispatch.h"
#include "control/control_json.h"
#include "control/control_methods.h"
#include "control/control_peer.h"
#include "support/control_fake.h"

#include <stdio.h>
#include <string.h>

struct box {
    struct control_fake fake;
    struct control_view view;
    struct control_peer peer;
    struct control_call call;
    char last[65536]; /* newest reply */
    int n;
};

static void
keep(void *sink, struct json_object *reply)
{
    struct box *b = sink;

    (void) snprintf(b->last, sizeof b->last, "%s",
                    json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN |
                                                              JSON_C_TO_STRING_NOSLASHESCAPE));
    b->n++;
}

static struct box *
new_box(enum control_who who)
{
    static struct box b;

    control_call_done(&b.call);
    memset(&b, 0, sizeof b);
    control_fake_init(&b.fake);
    b.view = control_fake_view(&b.fake);
    b.peer = (struct control_peer){ .uid = 1000, .gid = 1000, .pid = 1, .who = who };
    b.call = (struct control_call){ .view = &b.view, .peer = &b.peer, .send = keep, .sink = &b };
    return &b;
}

static int
ask(struct box *b, const char *message)
{
    struct err e = ERR_INIT;
    int r = control_dispatch(&b->call, message, strlen(message), &e);

    if (r != CONTROL_PARKED)
        control_call_done(&b->call);
    return r;
}

static void
expect(struct box *b, const char *message, const char *want)
{
    b->last[0] = '\0';
    int r = ask(b, message);
    if (r < 0 || strstr(b->last, want) == NULL)
        fail_msg("%s: got %d %s, want %s", message, r, b->last, want);
}

static void
every_no_has_its_name(void **state)
{
    static const struct {
        const char *call, *want;
    } rows[] = {
        { "{\"method\":\"nothing\"}", "{\"error\":\"org.varlink.service.InterfaceNotFound\","
                                      "\"parameters\":{\"interface\":\"nothing\"}}" },
        { "{\"method\":\"org.x.Y.Z\"}", "{\"error\":\"org.varlink.service.InterfaceNotFound\","
                                        "\"parameters\":{\"interface\":\"org.x.Y\"}}" },
        { "{\"method\":\"org.pinion.Control.Dance\"}",
          "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"org."
          "pinion.Control.Dance\"}}" },
        { "{\"method\":\"org.pinion.Control.Promote\"}", "Promote is not supported" },
        { "{\"method\":\"org.pinion.Control.Demote\",\"parameters\":{\"upstream\":\"b\"}}",
          "\"sqlstate\":\"0A000\"" },
        { "{\"method\":\"org.pinion.Control.Demote\"}", "{\"parameter\":\"upstream\"}" },
        { "{\"method\":\"org.pinion.Control.Switchover\",\"parameters\":{\"target\":\"b\"}}",
          "this release has no replication" },
        { "{\"method\":\"org.pinion.Control.ListReplication\"}", "OperationFailed" },
        { "{\"method\":\"org.pinion.Control.Stop\",\"parameters\":{\"drainUSec\":1}}",
          "{\"parameter\":\"drainUSec\"}" },
        { "{\"method\":\"org.pinion.Control.RotateLog\"}", "no log file to rotate" },
        { "{\"method\":\"org.pinion.Control.Stop\",\"parameters\":{\"mode\":\"slow\"}}",
          "InvalidParameter\",\"parameters\":{\"parameter\":\"mode\"}}" },
        { "{\"method\":\"org.pinion.Control.Stop\",\"parameters\":{\"mode\":1}}",
          "InvalidParameter" },
        { "{\"method\":\"org.pinion.Control.Stop\",\"parameters\":{\"what\":1}}",
          "{\"parameter\":\"what\"}" },
        { "{\"method\":\"org.pinion.Control.Checkpoint\",\"parameters\":{\"wait\":\"yes\"}}",
          "{\"parameter\":\"wait\"}" },
        { "{\"method\":\"org.pinion.Control.WatchStatus\",\"more\":true,\"parameters\":{"
          "\"untilState\":[1]}}",
          "{\"parameter\":\"untilState\"}" },
        { "{\"method\":\"org.pinion.Control.WatchStatus\"}",
          "{\"error\":\"org.varlink.service.ExpectedMore\"}" },
        { "{\"method\":\"org.varlink.service.GetInterfaceDescription\"}",
          "{\"parameter\":\"interface\"}" },
        { "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{"
          "\"interface\":\"a.b\"}}",
          "InterfaceNotFound" },
        { "{\"method\":\"org.pinion.Control.Ping\",\"upgrade\":true}", "MethodNotImplemented" },
    };
    struct box *b = new_box(WHO_ADMIN);

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        expect(b, rows[i].call, rows[i].want);
    assert_int_equal(b->fake.n_stops + b->fake.n_checkpoints, 0);
}

static void
a_broken_call_ends_the_connection(void **state)
{
    static const char *const calls[] = {
        "{}",
        "[]",
        "{\"method\":1}",
        "{\"method\":\"org.pinion.Control.Ping\",\"more\":1}",
        "{\"method\":\"org.pinion.Control.Ping\",\"more\":null}",
        "{\"method\":\"org.pinion.Control.Ping\",\"more\":true,\"oneway\":true}",
        "{\"method\":\"org.pinion.Control.Ping\",\"parameters\":[]}",
        "{\"method\":\"org.pinion.Control.Ping\",\"id\":1}",
    };
    struct box *b = new_box(WHO_ADMIN);

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
        if (ask(b, calls[i]) >= 0)
            fail_msg("%s was answered: %s", calls[i], b->last);
    }
    assert_int_equal(b->n, 0);
}

static void
vendor_keys_and_null_parameters_are_fine(void **state)
{
    struct box *b = new_box(WHO_PUBLIC);

    (void) state;
    expect(b, "{\"method\":\"org.pinion.Control.Ping\",\"org.x\":{\"a\":1},\"parameters\":null}",
           "{\"parameters\":{\"monotonicUSec\":");
    expect(b, "{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":{}}",
           "\"interfaces\":[\"org.varlink.service\",\"org.pinion.Control\"]");
}

static void
permission_is_decided_per_method(void **state)
{
    static const struct {
        const char *method;
        enum control_who least;
    } rows[] = {
        { "org.varlink.service.GetInfo", WHO_PUBLIC },
        { "org.pinion.Control.Ping", WHO_PUBLIC },
        { "org.pinion.Control.GetStatus", WHO_PUBLIC },
        { "org.pinion.Control.ListProcesses", WHO_MONITOR },
        { "org.pinion.Control.WatchStatus", WHO_MONITOR },
        { "org.pinion.Control.CheckConfig", WHO_MONITOR },
        { "org.pinion.Control.ListSettings", WHO_MONITOR },
        { "org.pinion.Control.SignalProcess", WHO_ADMIN },
        { "org.pinion.Control.Reload", WHO_ADMIN },
        { "org.pinion.Control.Checkpoint", WHO_ADMIN },
        { "org.pinion.Control.CancelStop", WHO_ADMIN },
        { "org.pinion.Control.Stop", WHO_ADMIN },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        for (int who = WHO_PUBLIC; who <= WHO_ADMIN; who++) {
            struct box *b = new_box((enum control_who) who);
            char call[128];
            (void) snprintf(call, sizeof call, "{\"method\":\"%s\"}", rows[i].method);
            (void) ask(b, call);
            bool denied =
                strcmp(b->last, "{\"error\":\"org.varlink.service.PermissionDenied\"}") == 0;
            if (denied != (who < (int) rows[i].least))
                fail_msg("%s at level %d: %s", rows[i].method, who, b->last);
        }
    }
}

static void
levels_come_from_uid_and_groups(void **state)
{
    const struct control_groups g = { .admin = 500, .monitor = 501 };
    const struct control_groups none = { .admin = (gid_t) -1, .monitor = (gid_t) -1 };
    const gid_t plain[] = { 1000 }, admin[] = { 1000, 500 }, monitor[] = { 501, 1000 },
                both[] = { 501, 500 };
    const gid_t odd[] = { (gid_t) -1 };

    (void) state;
    assert_int_equal(control_peer_level(&g, 70, 0, plain, 1), WHO_ADMIN);
    assert_int_equal(control_peer_level(&g, 70, 70, plain, 1), WHO_ADMIN);
    assert_int_equal(control_peer_level(&g, 70, 1000, plain, 1), WHO_PUBLIC);
    assert_int_equal(control_peer_level(&g, 70, 1000, admin, 2), WHO_ADMIN);
    assert_int_equal(control_peer_level(&g, 70, 1000, monitor, 2), WHO_MONITOR);
    assert_int_equal(control_peer_level(&g, 70, 1000, both, 2), WHO_ADMIN);
    assert_int_equal(control_peer_level(&g, 65534, 65534, admin, 2), WHO_PUBLIC);
    assert_int_equal(control_peer_level(&none, 70, 1000, odd, 1), WHO_PUBLIC);
}

static void
the_public_status_leaves_private_fields_out(void **state)
{
    struct box *b = new_box(WHO_PUBLIC);

    (void) state;
    expect(b, "{\"method\":\"org.pinion.Control.GetStatus\"}",
           "\"state\":\"ready\",\"pmState\":\"PM_RUN\"");
    assert_null(strstr(b->last, "dataDirectory"));
    assert_null(strstr(b->last, "listen"));
    assert_null(strstr(b->last, "connections"));
    assert_non_null(strstr(b->last, "\"flushLsn\":\"1/28\""));
    assert_null(strstr(b->last, "replayLsn"));

    b = new_box(WHO_MONITOR);
    expect(b, "{\"method\":\"org.pinion.Control.GetStatus\"}",
           "\"connections\":3,\"connectionsMax\":100");
    assert_non_null(strstr(b->last, "\"dataDirectory\":\"/var/lib/pinion/main\""));
}

static void
a_method_runs_only_in_its_states(void **state)
{
    struct box *b = new_box(WHO_ADMIN);

    (void) state;
    b->fake.status.state = CONTROL_RECOVERING;
    b->fake.status.pm_state = "PM_RECOVERY";
    expect(b, "{\"method\":\"org.pinion.Control.Checkpoint\"}",
           "{\"error\":\"org.pinion.Control.NotReady\",\"parameters\":{\"state\":\"recovering\","
           "\"message\":\"cannot execute Checkpoint in state recovering (PM_RECOVERY)\"");
    expect(b, "{\"method\":\"org.pinion.Control.Ping\"}", "monotonicUSec");
    b->fake.status.state = CONTROL_STOPPING;
    b->fake.status.stop_requested = true;
    b->fake.status.stop_mode = STOP_FAST;
    expect(b, "{\"method\":\"org.pinion.Control.Reload\"}",
           "StopInProgress\",\"parameters\":{\"mode\":\"fast\"");
    assert_int_equal(b->fake.n_checkpoints + b->fake.n_reloads, 0);
}

static void
a_reload_says_what_changed_or_which_line_is_wrong(void **state)
{
    struct box *b = new_box(WHO_ADMIN);

    (void) state;
    expect(b, "{\"method\":\"org.pinion.Control.Reload\"}",
           "{\"parameters\":{\"generation\":8,\"changed\":[\"log_min_messages\"],"
           "\"pendingRestart\":[\"shared_buffers\"],\"problems\":[]}}");
    expect(b, "{\"method\":\"org.pinion.Control.CheckConfig\"}",
           "{\"parameters\":{\"valid\":true,\"problems\":[{\"setting\":\"shared_buffers\","
           "\"severity\":\"warning\",\"message\":\"shared_buffers waits for a restart\"}]}}");
    b->fake.reload_result = -ERR_CONFIG_FILE_ERROR;
    expect(b, "{\"method\":\"org.pinion.Control.CheckConfig\"}",
           "{\"parameters\":{\"valid\":false,\"problems\":[{\"file\":\"/etc/pinion/main/"
           "pinion.conf\"");
    expect(
        b, "{\"method\":\"org.pinion.Control.Reload\"}",
        "ConfigInvalid\",\"parameters\":{\"message\":\"configuration rejected, generation 8 stays "
        "active\",\"problems\":[");
    expect(b, "{\"method\":\"org.pinion.Control.Reload\"}",
           "\"line\":12,\"severity\":\"error\",\"message\":\"max_connections must be >= 1\"");
    b->fake.reload_result = -ERR_OUT_OF_MEMORY;
    expect(b, "{\"method\":\"org.pinion.Control.Reload\"}",
           "{\"error\":\"org.pinion.Control.OperationFailed\",\"parameters\":{\"method\":\"org."
           "pinion.Control.Reload\","
           "\"message\":\"configuration file contains errors\",\"sqlstate\":\"53200\"}}");
}

static void
a_checkpoint_waits_reports_and_ends(void **state)
{
    struct box *b = new_box(WHO_ADMIN);

    (void) state;
    assert_int_equal(ask(b, "{\"method\":\"org.pinion.Control.Checkpoint\",\"more\":true,"
                            "\"parameters\":{\"mode\":\"spread\"}}"),
                     CONTROL_PARKED);
    assert_false(b->fake.last_fast);
    assert_int_equal(b->n, 0);
    struct control_progress *p = &b->fake.checkpoint_progress;
    *p = (struct control_progress){ .phase = "checkpoint",
                                    .unit = "buffers",
                                    .done = 41,
                                    .total = 120,
                                    .message = "Checkpoint: 34 %" };
    assert_int_equal(control_call_poll(&b->call, false), CONTROL_PARKED);
    assert_string_equal(
        b->last,
        "{\"parameters\":{\"operation\":1,\"completed\":false,\"progress\":{\"phase\":"
        "\"checkpoint\","
        "\"done\":41,\"total\":120,\"unit\":\"buffers\",\"percent\":34.1,\"elapsedUSec\":0,"
        "\"message\":\"Checkpoint: 34 %\"}},\"continues\":true}");
    assert_int_equal(control_call_poll(&b->call, false), CONTROL_PARKED);
    assert_int_equal(b->n, 1); /* nothing new */
    assert_int_equal(control_call_poll(&b->call, true), CONTROL_PARKED);
    assert_int_equal(b->n, 2); /* quiet for too long */
    b->fake.checkpoint_state = OPERATION_DONE;
    b->fake.status.checkpoint.lsn = 0x3000148;
    assert_int_equal(control_call_poll(&b->call, false), CONTROL_REPLIED);
    assert_string_equal(
        b->last, "{\"parameters\":{\"operation\":1,\"completed\":true,\"lsn\":\"0/3000148\"}}");
    control_call_done(&b->call);

    b->fake.checkpoint_state = OPERATION_FAILED;
    expect(b, "{\"method\":\"org.pinion.Control.Checkpoint\"}",
           "\"message\":\"checkpoint request failed\",\"sqlstate\":\"58000\"");
    b->fake.checkpoint_state = OPERATION_RUNNING;
    expect(b, "{\"method\":\"org.pinion.Control.Checkpoint\",\"parameters\":{\"wait\":false}}",
           "{\"parameters\":{\"operation\":3,\"completed\":false}}");
}

static void
a_stop_is_answered_when_the_server_has_ended(void **state)
{
    struct box *b = new_box(WHO_ADMIN);

    (void) state;
    assert_int_equal(ask(b, "{\"method\":\"org.pinion.Control.Stop\"}"), CONTROL_PARKED);
    assert_int_equal(b->fake.last_mode, STOP_FAST);
    b->fake.status.progress =
        (struct control_progress){ .phase = "clients", .message = "Stopping" };
    assert_int_equal(control_call_poll(&b->call, true), CONTROL_PARKED);
    assert_int_equal(b->n, 0); /* no progress without `more` */
    control_call_finish(&b->call, true);
    assert_string_equal(b->last, "{\"parameters\":{\"completed\":true,\"clean\":true}}");
    control_call_done(&b->call);
    assert_int_equal(ask(b, "{\"method\":\"org.pinion.Control.Stop\",\"oneway\":true,"
                            "\"parameters\":{\"mode\":\"immediate\"}}"),
                     CONTROL_REPLIED);
    assert_int_equal(b->fake.last_mode, STOP_IMMEDIATE);
    assert_int_equal(b->n, 1); /* oneway: not a byte */
}

static void
a_watch_ends_in_the_state_it_waits_for(void **state)
{
    struct box *b = new_box(WHO_MONITOR);

    (void) state;
    b->fake.status.state = CONTROL_RECOVERING;
    assert_int_equal(ask(b, "{\"method\":\"org.pinion.Control.WatchStatus\",\"more\":true,"
                            "\"parameters\":{\"untilState\":[\"ready\",\"later\"]}}"),
                     CONTROL_PARKED);
    assert_non_null(strstr(b->last, "\"sequence\":0"));
    assert_non_null(strstr(b->last, "\"continues\":true"));
    b->fake.status.flush_lsn++;
    assert_int_equal(control_call_poll(&b->call, false), CONTROL_PARKED);
    assert_int_equal(b->n, 1);
    b->fake.status.state = CONTROL_READY;
    assert_int_equal(control_call_poll(&b->call, false), CONTROL_REPLIED);
    assert_non_null(strstr(b->last, "\"sequence\":1"));
    assert_null(strstr(b->last, "continues"));
}

static void
processes_are_listed_by_role_and_with_clean_text(void **state)
{
    struct box *b = new_box(WHO_MONITOR);

    (void) state;
    expect(b, "{\"method\":\"org.pinion.Control.ListProcesses\"}",
           "\"role\":\"checkpointer\",\"state\":\"running\"");
    assert_non_null(strstr(b->last, "\"user\":\"al\xef\xbf\xbd\""));
    expect(b,
           "{\"method\":\"org.pinion.Control.ListProcesses\",\"parameters\":{\"role\":"
           "\"postmaster\"}}",
           "{\"parameters\":{\"processes\":[{\"pid\":100,\"role\":\"postmaster\"");
    assert_null(strstr(b->last, "checkpointer"));
}

static void
who_waits_for_a_stop_hears_that_it_was_taken_back(void **state)
{
    struct box *b = new_box(WHO_ADMIN);
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(
        ask(b, "{\"method\":\"org.pinion.Control.Stop\",\"parameters\":{\"mode\":\"smart\"}}"),
        CONTROL_PARKED);
    assert_int_equal(control_call_poll(&b->call, false), CONTROL_PARKED);
    assert_int_equal(b->view.ops->stop_cancel(b->view.ctx, &(struct control_ask){ .by = "" }, &e),
                     0);
    assert_int_equal(control_call_poll(&b->call, false), CONTROL_REPLIED);
    assert_non_null(strstr(b->last, "the stop was canceled"));
    control_call_done(&b->call);
    expect(b, "{\"method\":\"org.pinion.Control.CancelStop\"}", "\"sqlstate\":\"55000\"");
}

static void
a_stop_says_who_wants_it_why_and_how_long_it_may_wait(void **state)
{
    struct box *b = new_box(WHO_ADMIN);

    (void) state;
    assert_int_equal(ask(b, "{\"method\":\"org.pinion.Control.Stop\",\"parameters\":{\"mode\":"
                            "\"smart\",\"drainUSec\":300000000,\"reason\":\"up\\ngrade\"}}"),
                     CONTROL_PARKED);
    assert_int_equal(b->fake.last_drain_usec, 300000000);
    assert_string_equal(b->fake.last_reason, "up grade");
    assert_non_null(strstr(b->fake.last_by, "uid 1000 ("));
}

static void
the_history_is_the_newest_entries_the_oldest_first(void **state)
{
#define HISTORY(p) "{\"method\":\"org.pinion.Control.ListHistory\"" p "}"
    struct box *b = new_box(WHO_MONITOR);

    (void) state;
    expect(b, HISTORY(""), "{\"timeUSec\":1700000000000000,\"event\":\"start\"");
    assert_non_null(strstr(b->last, "\"timeline\":1"));
    assert_non_null(strstr(b->last, "\"by\":\"uid 0 (pinionctl, pid 7)\""));
    assert_non_null(strstr(b->last, "\"reason\":\"up\xef\xbf\xbdgrade\""));
    expect(b, HISTORY(",\"parameters\":{\"limit\":1}"), "{\"entries\":[{\"timeUSec\":1700000002");
    expect(b, HISTORY(",\"parameters\":{\"limit\":0}"), "{\"entries\":[]}");
    expect(b, HISTORY(",\"parameters\":{\"limit\":9}"), "\"event\":\"start\"");
    b = new_box(WHO_PUBLIC);
    expect(b, HISTORY(""), "PermissionDenied");
}

static void
private_settings_are_for_admins(void **state)
{
    struct box *b = new_box(WHO_MONITOR);

    (void) state;
    expect(b, "{\"method\":\"org.pinion.Control.ListSettings\"}",
           "\"name\":\"shared_buffers\",\"value\":\"128MB\"");
    assert_null(strstr(b->last, "/run/x"));
    assert_null(strstr(b->last, "pinion.conf"));
    assert_non_null(strstr(b->last, "\"pendingRestart\":true"));
    b = new_box(WHO_ADMIN);
    expect(b,
           "{\"method\":\"org.pinion.Control.ListSettings\",\"parameters\":{\"name\":"
           "\"control_socket\"}}",
           "\"value\":\"/run/x\"");
    assert_null(strstr(b->last, "shared_buffers"));
    expect(b, "{\"method\":\"org.pinion.Control.ListSettings\",\"parameters\":{\"name\":\"x\"}}",
           "\"sqlstate\":\"42704\"");
}

static void
only_sessions_are_signalled(void **state)
{
#define SIGNAL(pid, action)                                                         \
    "{\"method\":\"org.pinion.Control.SignalProcess\",\"parameters\":{\"pid\":" pid \
    ",\"action\":\"" action "\"}}"
    struct box *b = new_box(WHO_ADMIN);

    (void) state;
    expect(b, SIGNAL("102", "terminate"), "{\"parameters\":{");
    assert_int_equal(b->fake.last_action, ACTION_TERMINATE);
    expect(b, SIGNAL("102", "cancel"), "{\"parameters\":{");
    assert_int_equal(b->fake.last_action, ACTION_CANCEL);
    expect(b, SIGNAL("101", "cancel"), "\"sqlstate\":\"42501\"");
    expect(b, SIGNAL("7", "cancel"), "Control.NoSuchProcess");
    expect(b, SIGNAL("-1", "cancel"), "InvalidParameter");
    expect(b, SIGNAL("\"102\"", "cancel"), "InvalidParameter");
    expect(b, SIGNAL("102", "hug"), "InvalidParameter");
    assert_int_equal(b->fake.n_signals, 2);
}

static void
the_description_lists_exactly_the_methods_and_parameters_there_are(void **state)
{
    CLEANUP(freep) char *text = control_idl("org.pinion.Control");
    int n = 0;

    (void) state;
    assert_null(control_idl("org.pinion.Other"));
    assert_non_null(text);
    for (const char *p = text; (p = strstr(p, "\nmethod ")) != NULL; p++)
        n++;
    assert_int_equal(n, METHODS - 2);
/* clang-format off */
#define CONTROL_PARAM(id, name, type, required, values)                                                   \
    if (strncmp(control_method_name(METHOD_##id), "org.pinion.", 11) == 0) {                              \
        char line[128];                                                                                   \
        (void) snprintf(line, sizeof line, "method %s(", strrchr(control_method_name(METHOD_##id), '.') + 1); \
        const char *at = strstr(text, line);                                                              \
        assert_non_null(at);                                                                              \
        const char *end = strstr(at, "->");                                                               \
        const char *found = strstr(at, #name ": ");                                                       \
        assert_true(found != NULL && found < end);                                                        \
        assert_int_equal(found[sizeof #name + 1] == '?', !(required));                                    \
    }
#include "tbl/control_params.def"
#undef CONTROL_PARAM
    /* clang-format on */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_no_has_its_name),
        cmocka_unit_test(a_broken_call_ends_the_connection),
        cmocka_unit_test(vendor_keys_and_null_parameters_are_fine),
        cmocka_unit_test(permission_is_decided_per_method),
        cmocka_unit_test(levels_come_from_uid_and_groups),
        cmocka_unit_test(the_public_status_leaves_private_fields_out),
        cmocka_unit_test(a_method_runs_only_in_its_states),
        cmocka_unit_test(a_reload_says_what_changed_or_which_line_is_wrong),
        cmocka_unit_test(a_checkpoint_waits_reports_and_ends),
        cmocka_unit_test(a_stop_is_answered_when_the_server_has_ended),
        cmocka_unit_test(a_watch_ends_in_the_state_it_waits_for),
        cmocka_unit_test(processes_are_listed_by_role_and_with_clean_text),
        cmocka_unit_test(who_waits_for_a_stop_hears_that_it_was_taken_back),
        cmocka_unit_test(a_stop_says_who_wants_it_why_and_how_long_it_may_wait),
        cmocka_unit_test(the_history_is_the_newest_entries_the_oldest_first),
        cmocka_unit_test(private_settings_are_for_admins),
        cmocka_unit_test(only_sessions_are_signalled),
        cmocka_unit_test(the_description_lists_exactly_the_methods_and_parameters_there_are),
    };

    return cmocka_run_group_tests_name("control_dispatch", tests, NULL, NULL);
}
