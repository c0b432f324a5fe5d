/* doctor: a list of checks, each with what was found, why it matters and what to do.
 * Runs in: pinionctl. Owns: the findings. Source: systemd-ops 4.4, part 6 (what goes wrong with
 * database services). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "doctor.h"
#include "fields.h"
#include "out.h"

#define REPLY_USEC (10 * USEC_PER_SEC)
#define DAY_USEC   (86400 * USEC_PER_SEC)

void
doctor_say(struct doctor *d, const char *check, enum doctor_level level, const char *why,
           const char *advice, const char *finding, ...)
{
    static const char *const names[] = { "ok", "note", "warning", "bad" };
    char text[1024];
    va_list args;

    va_start(args, finding);
    (void) vsnprintf(text, sizeof text, finding, args);
    va_end(args);
    json_t *o = json_pack("{s:s, s:s, s:o}", "check", check, "level", names[level], "finding",
                          fields_text(text));
    if (why != NULL)
        (void) json_object_set_new(o, "why", json_string(why));
    if (advice != NULL)
        (void) json_object_set_new(o, "advice", json_string(advice));
    (void) json_array_append_new(d->checks, o);
    d->worst = (int) level > d->worst ? (int) level : d->worst;
}

/* ---- what is known ---- */
const char *
doctor_setting(const struct doctor *d, const char *name)
{
    const char *value = json_string_value(json_object_get(d->settings, name));

    return value == NULL ? "" : value;
}

uint64_t
doctor_setting_bytes(const struct doctor *d, const char *name)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = { { "B", 1 },
                  { "kB", 1024 },
                  { "MB", UINT64_C(1) << 20 },
                  { "GB", UINT64_C(1) << 30 },
                  { "TB", UINT64_C(1) << 40 } };
    char *end;
    uint64_t n = strtoull(doctor_setting(d, name), &end, 10);

    for (size_t i = 0; i < ELEMENTSOF(units); i++) {
        if (strcmp(end, units[i].unit) == 0)
            return n * units[i].bytes;
    }
    return 0;
}

const char *
doctor_datadir(const struct doctor *d)
{
    const char *said = json_string_value(json_object_get(d->status, "dataDirectory"));

    return said != NULL ? said : d->t->datadir;
}

pid_t
doctor_pid(const struct doctor *d)
{
    return (pid_t) json_integer_value(json_object_get(d->status, "mainPid"));
}

/* ---- the server's own words ---- */
static void
check_server(struct doctor *d, const struct problem *p)
{
    const char *state = json_string_value(json_object_get(d->status, "state"));

    if (state == NULL && p->exit == CTL_NOT_RUNNING)
        doctor_say(d, "server", DOCTOR_NOTE, "What only a running server knows was not looked at.",
                   NULL, "not running");
    else if (state == NULL && p->exit == CTL_PERMISSION)
        doctor_say(d, "server", DOCTOR_NOTE, "What only a running server knows was not looked at.",
                   "Run this as root or as the server's user.", "%s", p->message);
    else if (state == NULL)
        doctor_say(
            d, "server", DOCTOR_BAD, "It cannot be operated like this.",
            "See its log; if nothing helps: systemctl kill, or kill -QUIT to the postmaster.", "%s",
            p->exit == CTL_TIMED_OUT ? "it does not answer on its control socket" : p->message);
    else if (strcmp(state, "ready") != 0 && strcmp(state, "standby") != 0)
        doctor_say(d, "server", DOCTOR_WARNING, "Clients are refused meanwhile.",
                   "Follow it with 'pinionctl watch'.", "%s", state);
    else if (json_object_get(d->status, "dataDirectory") == NULL)
        doctor_say(d, "server", DOCTOR_NOTE,
                   "You may not see all of its status, so that some checks are left out.",
                   "Run this as root, or as a member of group pinion-monitor.", "%s", state);
    else
        doctor_say(d, "server", DOCTOR_OK, NULL, NULL, "%s, answers on its control socket", state);
}

static void
check_version(struct doctor *d)
{
    const char *version = json_string_value(json_object_get(d->status, "version"));

    if (version == NULL)
        return;
    if (strcmp(version, PINION_VERSION) != 0)
        doctor_say(d, "version", DOCTOR_WARNING,
                   "The package was upgraded; the server is still what it was.",
                   "Restart it when it suits: pinionctl restart.", "server %s, pinionctl %s",
                   version, PINION_VERSION);
    else
        doctor_say(d, "version", DOCTOR_OK, NULL, NULL, "%s, as pinionctl", version);
}

static void
check_config(struct doctor *d)
{
    const json_t *problems = json_object_get(d->config, "problems");
    const json_t *first = json_array_get(problems, 0);
    size_t n = json_array_size(problems);
    const char *file = json_string_value(json_object_get(first, "file"));
    const char *message = json_string_value(json_object_get(first, "message"));

    if (d->config == NULL)
        return;
    if (json_is_false(json_object_get(d->config, "valid")))
        doctor_say(
            d, "configuration", DOCTOR_BAD,
            "A reload is refused, and so is the next start: after a reboot there is no server.",
            "Correct the files; 'pinionctl check-config' names every error.",
            "%zu error%s: %s%s%" JSON_INTEGER_FORMAT "%s%s", n, n == 1 ? "" : "s",
            file == NULL ? "" : file, file == NULL ? "line " : ":",
            json_integer_value(json_object_get(first, "line")), file == NULL ? " " : ": ",
            message == NULL ? "?" : message);
    else if (n > 0)
        doctor_say(d, "configuration", DOCTOR_WARNING,
                   "What the files say and what is in force differ.",
                   "Restart the server when it suits, or take the change back.",
                   "valid, but %zu setting%s for a restart: %s%s", n, n == 1 ? " waits" : "s wait",
                   json_string_value(json_object_get(first, "setting")), n > 1 ? ", …" : "");
    else
        doctor_say(d, "configuration", DOCTOR_OK, NULL, NULL, "valid, all of it in force");
}

static void
check_sessions(struct doctor *d)
{
    json_int_t n = json_integer_value(json_object_get(d->status, "connections"));
    json_int_t max = json_integer_value(json_object_get(d->status, "connectionsMax"));

    if (max == 0)
        return;
    if (n * 10 >= max * 9)
        doctor_say(d, "sessions", DOCTOR_WARNING,
                   "The next clients are refused: too many connections (53300).",
                   "Look with 'pinionctl ps' who they are; raise max_connections or use a pooler.",
                   "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT, n, max);
    else
        doctor_say(d, "sessions", DOCTOR_OK, NULL, NULL,
                   "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT, n, max);
}

/* Crashes, and runs that ended without a stop, of the last day. */
static void
check_history(struct doctor *d)
{
    uint64_t now = now_real_usec();
    unsigned n_crashes = 0, n_killed = 0;
    const char *last = "";
    size_t i;
    json_t *o;

    if (d->history == NULL)
        return;
    json_array_foreach(json_object_get(d->history, "entries"), i, o)
    {
        const char *event = json_string_value(json_object_get(o, "event"));
        const char *message = json_string_value(json_object_get(o, "message"));

        if ((uint64_t) json_integer_value(json_object_get(o, "timeUSec")) + DAY_USEC < now ||
            event == NULL || message == NULL)
            continue;
        if (strcmp(event, "crash") == 0) {
            n_crashes++;
            last = message;
        }
        n_killed += strcmp(event, "start") == 0 && strstr(message, "without a word") != NULL;
    }
    if (n_crashes > 0)
        doctor_say(d, "crashes", DOCTOR_BAD,
                   "Each throws out all sessions; the cause is still there.",
                   "'pinionctl history' and the log around that time; 'pinionctl report' for a bug "
                   "report; coredumpctl for the core.",
                   "%u in 24 hours, the last: %s", n_crashes, last);
    else if (n_killed > 0)
        doctor_say(d, "crashes", DOCTOR_WARNING,
                   "Somebody killed the postmaster, or the machine went down; recovery follows.",
                   "'pinionctl history'; stop it with 'pinionctl stop' instead.",
                   "%u run%s of the last 24 hours ended without a stop", n_killed,
                   n_killed == 1 ? "" : "s");
    else
        doctor_say(d, "crashes", DOCTOR_OK, NULL, NULL, "none in 24 hours");
}

/* ---- all of it ---- */

/* What we may not see is left out, without a word here. */
static json_t *
ask(struct client *c, const char *method)
{
    struct problem ignored = { 0 };
    json_t *reply = NULL;

    if (client_call(c, method, NULL, now_mono_usec() + REPLY_USEC, &reply, &ignored) == 0)
        return reply;
    json_decref(reply);
    return NULL;
}

static json_t *
settings_by_name(const json_t *reply)
{
    json_t *all = json_object();
    size_t i;
    json_t *o;

    json_array_foreach(json_object_get(reply, "settings"), i, o)
    {
        const char *name = json_string_value(json_object_get(o, "name"));
        json_t *value = json_object_get(o, "value");

        if (name != NULL && value != NULL)
            (void) json_object_set(all, name, value);
    }
    return all;
}

static void
gather(struct doctor *d, struct problem *p)
{
    struct client c = { 0 };
    struct problem ignored;

    if (client_open(&c, d->t->socket, p) == 0) {
        json_t *status = NULL;

        if (client_call(&c, "GetStatus", NULL, now_mono_usec() + REPLY_USEC, &status, p) == 0)
            d->status = json_incref(json_object_get(status, "status"));
        json_decref(status);
        json_auto_t *settings = d->status != NULL ? ask(&c, "ListSettings") : NULL;
        d->settings = settings_by_name(settings);
        d->config = d->status != NULL ? ask(&c, "CheckConfig") : NULL;
        d->history = d->status != NULL ? ask(&c, "ListHistory") : NULL;
    }
    client_close(&c);
    if (d->history == NULL && d->t->datadir[0] != '\0')
        (void) history_read_file(d->t->datadir, &d->history, &ignored);
}

int
doctor_examine(const struct target *t, json_t **ret)
{
    static void (*const checks[])(struct doctor * d) = {
        check_version,           check_history,          check_config,
        check_sessions,          doctor_check_directory, doctor_check_space,
        doctor_check_log_volume, doctor_check_archive,   doctor_check_access,
        doctor_check_program,    doctor_check_limits,    doctor_check_memory,
        doctor_check_kernel,     doctor_check_clock,     doctor_check_metrics,
        doctor_check_unit,       doctor_check_groups,
    };
    struct doctor d = { .t = t, .checks = json_array() };
    struct problem p = { 0 };

    gather(&d, &p);
    check_server(&d, &p);
    for (size_t i = 0; i < ELEMENTSOF(checks); i++)
        checks[i](&d);
    json_decref(d.status);
    json_decref(d.settings);
    json_decref(d.config);
    json_decref(d.history);
    *ret = json_pack("{s:o}", "checks", d.checks);
    return d.worst == DOCTOR_BAD ? CTL_FAILED : d.worst == DOCTOR_WARNING ? CTL_NOT_READY : CTL_OK;
}

int
cmd_doctor(const struct args *a, struct problem *p)
{
    json_auto_t *found = NULL;
    struct target t;
    int r = target_find(a, &t, p);

    if (r != 0)
        return r;
    r = doctor_examine(&t, &found);
    out->doctor(found);
    return r;
}
