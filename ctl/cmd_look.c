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
        r = client_open(c, t->socket, p);
    if (r == CTL_NOT_RUNNING)
        hint(p, "Start it first, or see 'pinionctl status'.");
    return r;
}

/* The value of KEY= in systemctl's answer. */
static void
get_property(const char *answer, const char *key, char *to, size_t cap)
{
    size_t n = strlen(key);

    to[0] = '\0';
    for (const char *line = answer; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (strncmp(line, key, n) == 0 && line[n] == '=')
            (void) snprintf(to, cap, "%.*s", (int) (len - n - 1), line + n + 1);
        line += len + (line[len] == '\n');
    }
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
    get_property(answer, "ActiveState", state, sizeof state);
    get_property(answer, "StatusText", s->status_text, sizeof s->status_text);
    get_property(answer, "InactiveEnterTimestamp", s->since, sizeof s->since);
    get_property(answer, "ExecMainStatus", status, sizeof status);
    get_property(answer, "ExecMainCode", code, sizeof code);
    s->is_active = strcmp(state, "active") == 0 || strcmp(state, "activating") == 0 ||
                   strcmp(state, "deactivating") == 0 || strcmp(state, "reloading") == 0;
    if (!s->is_active && s->since[0] != '\0')
        (void) snprintf(s->last_exit, sizeof s->last_exit, "%s %s",
                        strcmp(code, "1") == 0 ? "status" : "signal", status);
}

/* Nothing listens: does the instance exist at all? */
static int
report_stopped(const struct target *t, struct problem *p)
{
    struct out_stopped s = { 0 };
    char path[4200];
    struct stat st;

    (void) snprintf(
        path, sizeof path, "%s%s%s/pinion.conf", t->instance[0] != '\0' ? PINION_SYSCONFDIR : "",
        t->instance[0] != '\0' ? "/" : "", t->instance[0] != '\0' ? t->instance : t->datadir);
    if (t->datadir[0] != '\0' && stat(path, &st) < 0)
        return fail(p, CTL_NO_INSTANCE, "no server there: could not find \"%s\": %m", path);
    if (t->unit[0] != '\0' && has_systemd())
        ask_systemd(t, &s);
    else
        s.is_active = target_is_locked(t);
    out->stopped(t, &s);
    return s.is_active ? CTL_UNREACHABLE : CTL_NOT_RUNNING;
}

static int
status_of(const struct target *t, struct problem *p)
{
    struct client c = { 0 };
    json_auto_t *reply = NULL;
    int r = client_open(&c, t->socket, p);

    if (r == CTL_NOT_RUNNING) {
        r = report_stopped(t, p);
        if (r != CTL_NO_INSTANCE)
            p->exit = 0; /* said already */
        return r;
    }
    if (r == 0)
        r = client_call(&c, "GetStatus", NULL, now_mono_usec() + LOOK_USEC, &reply, p);
    client_close(&c);
    if (r != 0)
        return r == CTL_TIMED_OUT ? fail(p, CTL_UNREACHABLE, "the server does not answer") : r;
    const json_t *status = json_object_get(reply, "status");
    const char *state = json_string_value(json_object_get(status, "state"));
    if (state == NULL)
        return fail(p, CTL_PROTOCOL, "the server's status has no state");
    out->status(t, status);
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
    int r = status_of(&t, &p);
    if (r > all->worst)
        all->worst = r;
    if (p.exit != 0)
        all->problem = p;
}

int
cmd_status(const struct args *a, struct problem *p)
{
    struct target t;

    if (args_has(a, OPTION_ALL)) {
        struct all all = { 0 };
        out->list_begin();
        (void) target_each_instance(status_of_one, &all);
        out->list_end();
        *p = all.problem;
        return all.worst;
    }
    int r = target_find(a, &t, p);
    return r != 0 ? r : status_of(&t, p);
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

int
cmd_watch(const struct args *a, struct problem *p)
{
    struct target t;
    struct client c = { 0 };
    bool more = true;
    int r = open_target(a, &t, &c, p);

    if (r == 0)
        r = client_send(&c, "WatchStatus", NULL, true, p);
    uint64_t deadline = deadline_of(a);
    while (r == 0 && more) {
        json_auto_t *reply = NULL;
        r = client_next(&c, deadline, &reply, &more, p);
        if (r == 0)
            out->watch(reply);
    }
    client_close(&c);
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
