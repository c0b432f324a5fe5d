/* Commands that look: status, ps, watch, call.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 4.3, 4.4, 4.5. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client.h"
#include "cmd.h"
#include "out.h"
#include "process.h"

#define LOOK_USEC                                                                   \
    (10 * USEC_PER_SEC) /* the postmaster answers from its loop: longer means stuck \
                         */

static const struct {
    const char *name;
    int exit;
} states[] = {
/* clang-format off */
#define CONTROL_STATE(id, name, glyph, exit) { name, exit },
#include "tbl/control_states.def"
#undef CONTROL_STATE
    /* clang-format on */
};

static uint64_t
deadline_of(const struct args *a)
{
    return a->timeout_usec == 0 ? CLIENT_NO_TIMEOUT : now_mono_usec() + a->timeout_usec;
}

/* Connect for a command that needs a running server. */
static int
open_target(const struct args *a, struct target *t, struct client *c, struct problem *p)
{
    int r = target_find(a, t, p);

    if (r == 0)
        r = target_open(t, c, p);
    if (r == CTL_NOT_RUNNING)
        hint(p, "Start it first, or see 'pinionctl status'.");
    return r;
}

/* What the service manager remembers of a unit that does not answer. */
static void
ask_systemd(const struct target *t, struct out_stopped *s)
{
    const char *argv[] = { "systemctl",
                           "show",
                           "-p",
                           "ActiveState,StatusText,ExecMainStatus,"
                           "ExecMainCode,InactiveEnterTimestamp",
                           t->unit,
                           NULL };
    char answer[2048], state[32], status[16], code[16];

    if (process_run(argv, answer, sizeof answer, (uid_t) -1, 0) != 0)
        return;
    (void) process_property(answer, "ActiveState", state, sizeof state);
    (void) process_property(answer, "StatusText", s->status_text, sizeof s->status_text);
    (void) process_property(answer, "InactiveEnterTimestamp", s->since, sizeof s->since);
    (void) process_property(answer, "ExecMainStatus", status, sizeof status);
    (void) process_property(answer, "ExecMainCode", code, sizeof code);
    s->is_active = strcmp(state, "active") == 0 || strcmp(state, "activating") == 0 ||
                   strcmp(state, "deactivating") == 0 || strcmp(state, "reloading") == 0;
    if (!s->is_active && s->since[0] != '\0')
        (void) snprintf(s->last_exit, sizeof s->last_exit, "%s %s",
                        strcmp(code, "1") == 0 ? "status" : "signal", status);
    if (strcmp(state, "failed") == 0)
        (void) snprintf(s->advice, sizeof s->advice,
                        "see 'pinionctl -i %.60s logs -n 20', then: sudo "
                        "systemctl start %.60s",
                        t->instance, t->unit);
}

/* What the server itself wrote last, if we may read it. */
static void
ask_history(const struct target *t, struct out_stopped *s)
{
    json_auto_t *history = NULL;
    struct problem ignored;
    char ago[32];

    if (t->datadir[0] == '\0' || history_read_file(t->datadir, &history, &ignored) != 0)
        return;
    const json_t *entries = json_object_get(history, "entries");
    const json_t *last = json_array_get(entries, json_array_size(entries) - 1);
    uint64_t at = (uint64_t) json_integer_value(json_object_get(last, "timeUSec"));
    uint64_t now = now_real_usec();
    if (last == NULL || s->is_active)
        return;
    /* A start that was refused later wrote nothing here: the service manager knows why. */
    if (strncmp(s->last_exit, "status ", 7) == 0 && strcmp(s->last_exit, "status 0") != 0)
        return;
    if (strcmp(out_text_of(last, "event"), "stopped") != 0) {
        (void) snprintf(s->status_text, sizeof s->status_text,
                        "it ended without a word: killed, or power was cut");
        return;
    }
    if (s->since[0] == '\0') {
        format_time(s->since, sizeof s->since, at);
        format_duration(ago, sizeof ago, now > at ? now - at : 0);
        size_t n = strlen(s->since);
        (void) snprintf(s->since + n, sizeof s->since - n, ", %s ago", ago);
    }
    (void) snprintf(s->status_text, sizeof s->status_text, "%s", out_text_of(last, "message"));
    last = json_array_get(entries, json_array_size(entries) - 2);
    if (strcmp(out_text_of(last, "event"), "stop") == 0)
        (void) snprintf(
            s->last_exit, sizeof s->last_exit, "%s%s%s%s%s", out_text_of(last, "message"),
            out_text_of(last, "by")[0] != '\0' ? ", by " : "", out_text_of(last, "by"),
            out_text_of(last, "reason")[0] != '\0' ? ": " : "", out_text_of(last, "reason"));
}

/* Nothing listens: does the instance exist at all? */
static int
report_stopped(const struct target *t, struct problem *p)
{
    struct out_stopped s = { 0 };
    int r = target_exists(t, p);

    if (r != 0)
        return r;
    if (t->unit[0] != '\0' && has_systemd())
        ask_systemd(t, &s);
    else
        s.is_active = target_is_locked(t);
    ask_history(t, &s);
    out->stopped(t, &s);
    return s.is_active ? CTL_UNREACHABLE : CTL_NOT_RUNNING;
}

/* "progress.percent" of the status, as a word or as JSON; nothing if it is not there. */
static int
print_field(json_t *status, const char *path, struct problem *p)
{
    char name[128];

    if (path[0] == '\0')
        return fail(p, CTL_USAGE, "--field needs the name of a field, as in --field=state");
    for (const char *at = path; *at != '\0' && status != NULL;) {
        size_t n = strcspn(at, ".");

        (void) snprintf(name, sizeof name, "%.*s", (int) n, at);
        status = json_object_get(status, name);
        at += n + (at[n] == '.');
    }
    if (status == NULL) {
        fail(p, CTL_FAILED, "the status has no field \"%s\" now", path);
        hint(p, "'pinionctl status --json' shows what there is, 'pinionctl introspect' what there "
                "can be.");
        return CTL_FAILED;
    }
    if (json_is_string(status))
        (void) puts(out_word(status));
    else {
        out_print_json(stdout, status, JSON_ENCODE_ANY | JSON_COMPACT);
        (void) putchar('\n');
    }
    return CTL_OK;
}

/* Nobody listens (any more): not so if it closes each connection, having too many. */
static bool
is_gone(const struct target *t)
{
    struct client c = { 0 };
    struct problem ignored;
    int r = target_is_locked(t) ? 0 : client_open(&c, t->socket, &ignored);

    client_close(&c);
    return r == CTL_NOT_RUNNING;
}

static int
status_of(const struct target *t, const char *field, struct problem *p)
{
    struct client c = { 0 };
    json_auto_t *reply = NULL;
    int r = client_open(&c, t->socket, p);

    if (r == CTL_NOT_RUNNING && field != NULL) {
        memset(p, 0, sizeof *p);
        if (strcmp(field, "state") != 0)
            return fail(p, CTL_NOT_RUNNING, "%s is not running", t->name);
        (void) puts(target_is_locked(t) ? "unreachable" : "stopped");
        return CTL_NOT_RUNNING;
    }
    if (r == CTL_NOT_RUNNING) {
        memset(p, 0, sizeof *p);
        return report_stopped(t, p);
    }
    if (r == 0)
        r = client_call(&c, "GetStatus", NULL, now_mono_usec() + LOOK_USEC, &reply, p);
    client_close(&c);
    if (r == CTL_UNREACHABLE && is_gone(t)) /* it ended while we asked */
        return status_of(t, field, p);
    if (r != 0)
        return r == CTL_TIMED_OUT ? fail(p, CTL_UNREACHABLE, "the server does not answer") : r;
    json_t *status = json_object_get(reply, "status");
    const char *state = json_string_value(json_object_get(status, "state"));
    if (state == NULL)
        return fail(p, CTL_PROTOCOL, "the server's status has no state");
    if (field == NULL)
        out->status(t, status);
    else if ((r = print_field(status, field, p)) != 0)
        return r;
    for (size_t i = 0; i < ELEMENTSOF(states); i++) {
        if (strcmp(states[i].name, state) == 0)
            return states[i].exit;
    }
    return CTL_NOT_READY; /* a state of a newer server */
}

struct all {
    int worst;
    struct problem problem;
};

static void
status_of_one(void *arg, const char *name)
{
    struct all *all = arg;
    struct target t;
    struct problem p = { 0 };

    target_set_instance(&t, name);
    int r = status_of(&t, NULL, &p);
    if (r > all->worst)
        all->worst = r;
    if (p.exit != 0)
        all->problem = p;
}

static int
no_instances(struct problem *p)
{
    fail(p, CTL_NO_INSTANCE, "no instance found in %s", PINION_SYSCONFDIR);
    hint(p, "Make one: sudo pinionctl create main");
    return CTL_NO_INSTANCE;
}

int
cmd_status(const struct args *a, struct problem *p)
{
    struct target t;

    if (args_has(a, OPTION_ALL)) {
        struct all all = { 0 };
        if (args_has(a, OPTION_FIELD))
            return fail(p, CTL_USAGE, "\"status\" takes --all or --field, not both");
        if (args_names_server(a) > 0)
            return fail(p, CTL_USAGE, "--all goes without -D, -i and --socket");
        out->list_begin();
        int n = target_each_instance(status_of_one, &all);
        out->list_end();
        if (n == 0)
            return no_instances(p);
        *p = all.problem;
        return all.worst;
    }
    int r = target_find(a, &t, p);
    return r != 0 ? r : status_of(&t, a->value[OPTION_FIELD], p);
}

/* A row of `list`: the status as far as we may see it. */
static void
list_one(void *arg, const char *name)
{
    struct target t;
    struct client c = { 0 };
    struct problem p = { 0 };
    json_auto_t *reply = NULL;

    target_set_instance(&t, name);
    int r = target_open(&t, &c, &p);
    if (r == 0)
        r = client_call(&c, "GetStatus", NULL, now_mono_usec() + LOOK_USEC, &reply, &p);
    client_close(&c);
    json_t *row = r == 0 ? json_incref(json_object_get(reply, "status")) : json_object();
    (void) json_object_set_new(row, "instance", json_string(name));
    if (r != 0)
        (void) json_object_set_new(row, "state",
                                   json_string(r == CTL_NOT_RUNNING ? "stopped" : "unreachable"));
    if (json_object_get(row, "dataDirectory") == NULL)
        (void) json_object_set_new(row, "dataDirectory", json_string(t.datadir));
    (void) json_array_append_new(arg, row);
}

int
cmd_list(const struct args *a, struct problem *p)
{
    json_t *rows = json_array();
    json_auto_t *all = json_pack("{s:o}", "instances", rows);

    (void) a;
    if (target_each_instance(list_one, rows) == 0)
        return no_instances(p);
    out->instances(all);
    return CTL_OK;
}

int
cmd_ps(const struct args *a, struct problem *p)
{
    struct target t;
    struct client c = { 0 };
    json_auto_t *reply = NULL;
    int r = open_target(a, &t, &c, p);

    if (r == 0)
        r = client_call(&c, "ListProcesses", NULL, now_mono_usec() + LOOK_USEC, &reply, p);
    if (r == 0)
        out->processes(reply);
    client_close(&c);
    return r;
}

/* The server's last words to who watches it. */
static bool
is_stopped(const struct problem *p)
{
    return strcmp(p->name, "org.pinion.Control.OperationFailed") == 0;
}

int
cmd_watch(const struct args *a, struct problem *p)
{
    struct target t;
    struct client c = { 0 };
    bool more = true, is_shown = false;
    int r = open_target(a, &t, &c, p);

    if (r == 0)
        r = client_send(&c, "WatchStatus", NULL, true, p);
    uint64_t deadline = deadline_of(a);
    while (r == 0 && more) {
        json_auto_t *reply = NULL;
        r = client_next(&c, deadline, &reply, &more, p);
        if (r == 0)
            out->watch(reply);
        is_shown = is_shown || r == 0;
    }
    client_close(&c);
    if (is_shown && (r == CTL_UNREACHABLE ? is_gone(&t) : is_stopped(p))) {
        memset(p, 0, sizeof *p);
        return CTL_OK;
    }
    return r;
}

int
cmd_call(const struct args *a, struct problem *p)
{
    struct target t;
    struct client c = { 0 };
    json_t *parameters = NULL;
    json_error_t where;
    bool more = true;

    if (a->n_rest > 1) {
        parameters = json_loads(a->rest[1], JSON_REJECT_DUPLICATES, &where);
        if (!json_is_object(parameters)) {
            json_decref(parameters);
            return fail(p, CTL_USAGE, "the parameters are not a JSON object");
        }
    }
    int r = open_target(a, &t, &c, p);
    if (r != 0) {
        json_decref(parameters);
        return r;
    }
    r = client_send(&c, a->rest[0], parameters, args_has(a, OPTION_MORE), p);
    uint64_t deadline = deadline_of(a);
    while (r == 0 && more) {
        json_auto_t *reply = NULL;
        r = client_next(&c, deadline, &reply, &more, p);
        if (r == 0)
            out->reply(reply);
    }
    client_close(&c);
    return r;
}
