/* One short function per method of the control socket.
 * Runs in: postmaster (and tests).
 * Owns: nothing; a parked call carries its own state.
 * Source: systemd-ops 2.7. */
#include "control/control_methods.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/control.h"
#include "control/control_json.h"

int
control_on_GET_INFO(struct control_call *call)
{
    struct json_object *p = json_object_new_object();
    struct json_object *interfaces = json_object_new_array();

    control_json_add_str(p, "vendor", "Pinion");
    control_json_add_str(p, "product", "Pinion database server");
    control_json_add_str(p, "version", PINION_VERSION);
    control_json_add_str(p, "url", "man:pinion.control(7)");
    (void) json_object_array_add(interfaces, json_object_new_string("org.varlink.service"));
    (void) json_object_array_add(interfaces, json_object_new_string("org.pinion.Control"));
    json_object_object_add(p, "interfaces", interfaces);
    control_reply(call, p);
    return CONTROL_REPLIED;
}

int
control_on_GET_INTERFACE_DESCRIPTION(struct control_call *call)
{
    const char *name = call->args[ARG_GET_INTERFACE_DESCRIPTION_interface].text;
    struct json_object *p = json_object_new_object();
    CLEANUP(freep) char *text = control_idl(name);

    if (text == NULL) {
        control_json_add_str(p, "interface", name);
        control_error(call, "org.varlink.service.InterfaceNotFound", p);
        return CONTROL_REPLIED;
    }
    json_object_object_add(p, "description", json_object_new_string(text));
    control_reply(call, p);
    return CONTROL_REPLIED;
}

int
control_on_PING(struct control_call *call)
{
    struct json_object *p = json_object_new_object();

    control_json_add_int(p, "monotonicUSec", (int64_t) clock_mono_usec());
    control_reply(call, p);
    return CONTROL_REPLIED;
}

int
control_on_GET_STATUS(struct control_call *call)
{
    struct control_status s;
    struct json_object *p = json_object_new_object();

    control_status_get(call->view, &s);
    json_object_object_add(p, "status", control_status_object(&s, call->peer->who));
    control_reply(call, p);
    return CONTROL_REPLIED;
}

/* Is this one of the states the watcher waits for? */
static bool
is_until(const struct control_call *call, enum control_state state)
{
    struct json_object *list = call->args[ARG_WATCH_STATUS_untilState].list;

    if (list == NULL)
        return false;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(list, i));
        if (strcmp(name, control_state_name(state)) == 0)
            return true;
    }
    return false;
}

/* What a watcher compares: the status without what moves all the time. Positions and connections
 * alone are no news. */
static struct json_object *
watch_key(const struct control_call *call, const struct control_status *s)
{
    const struct control_arg *progress = &call->args[ARG_WATCH_STATUS_progress];
    struct json_object *key = json_object_new_object();

    control_json_add_str(key, "state", control_state_name(s->state));
    control_json_add_str(key, "pmState", s->pm_state);
    control_json_add_int(key, "generation", (int64_t) s->config_generation);
    control_json_add_int(key, "crashes", s->crash_restarts);
    if (!progress->given || progress->is_true)
        control_json_add_str(key, "message", s->progress.message);
    return key;
}

int
control_poll_watch(struct control_call *call, bool quiet)
{
    struct control_status s;

    control_status_get(call->view, &s);
    CLEANUP(control_json_putp) struct json_object *key = watch_key(call, &s);
    bool last = is_until(call, s.state);
    if (!last && !quiet && call->shown != NULL && json_object_equal(key, call->shown))
        return CONTROL_PARKED;

    struct json_object *p = json_object_new_object();
    control_json_add_int(p, "sequence", call->sequence++);
    json_object_object_add(p, "status", control_status_object(&s, call->peer->who));
    control_json_putp(&call->shown);
    call->shown = TAKE_PTR(key);
    if (last)
        control_reply(call, p);
    else
        control_reply_continues(call, p);
    return last ? CONTROL_REPLIED : CONTROL_PARKED;
}

int
control_on_WATCH_STATUS(struct control_call *call)
{
    return control_poll_watch(call, false);
}

struct process_list {
    const char *role; /* or NULL: all */
    struct json_object *list;
};

static void
add_process(void *arg, const struct control_process *p)
{
    struct process_list *to = arg;

    if (to->role != NULL && strcmp(to->role, p->role) != 0)
        return;
    struct json_object *o = json_object_new_object();
    control_json_add_int(o, "pid", p->pid);
    control_json_add_str(o, "role", p->role);
    control_json_add_str(o, "state", p->state);
    control_json_add_int(o, "startedUSec", (int64_t) p->started_usec);
    if (p->heartbeat_age_usec >= 0)
        control_json_add_int(o, "heartbeatAgeUSec", p->heartbeat_age_usec);
    json_object_object_add(o, "critical", json_object_new_boolean(p->critical));
    control_json_add_str(o, "database", p->database);
    control_json_add_str(o, "user", p->user);
    control_json_add_str(o, "client", p->client);
    (void) json_object_array_add(to->list, o);
}

int
control_on_LIST_PROCESSES(struct control_call *call)
{
    struct json_object *p = json_object_new_object();
    struct process_list to = { .role = call->args[ARG_LIST_PROCESSES_role].text,
                               .list = json_object_new_array() };

    call->view->ops->processes(call->view->ctx, add_process, &to);
    json_object_object_add(p, "processes", to.list);
    control_reply(call, p);
    return CONTROL_REPLIED;
}

struct setting_list {
    bool is_admin;
    struct json_object *list;
};

static void
add_setting(void *arg, const struct control_setting *s)
{
    struct setting_list *to = arg;
    bool is_shown = to->is_admin || !s->is_private;
    struct json_object *o = json_object_new_object();

    control_json_add_str(o, "name", s->name);
    control_json_add_str(o, "value", is_shown ? s->value : NULL);
    control_json_add_str(o, "initial", s->initial);
    control_json_add_str(o, "source", s->source);
    if (s->file != NULL && is_shown) {
        control_json_add_str(o, "file", s->file);
        control_json_add_int(o, "line", s->line);
    }
    control_json_add_str(o, "context", s->context);
    control_json_add_str(o, "description", s->text);
    json_object_object_add(o, "pendingRestart", json_object_new_boolean(s->is_pending));
    (void) json_object_array_add(to->list, o);
}

int
control_on_LIST_SETTINGS(struct control_call *call)
{
    struct setting_list to = { .is_admin = call->peer->who >= WHO_ADMIN,
                               .list = json_object_new_array() };
    struct err e = ERR_INIT;
    int r = call->view->ops->settings(call->view->ctx, call->args[ARG_LIST_SETTINGS_name].text,
                                      add_setting, &to, &e);

    if (r < 0) {
        (void) json_object_put(to.list);
        control_error_from(call, r, &e);
        return CONTROL_REPLIED;
    }
    struct json_object *p = json_object_new_object();
    json_object_object_add(p, "settings", to.list);
    control_reply(call, p);
    return CONTROL_REPLIED;
}

int
control_on_SIGNAL_PROCESS(struct control_call *call)
{
    int64_t pid = call->args[ARG_SIGNAL_PROCESS_pid].number;
    enum control_action action = (enum control_action) call->args[ARG_SIGNAL_PROCESS_action].value;
    struct err e = ERR_INIT;
    int r = call->view->ops->signal(call->view->ctx, pid, action, &e);

    if (r == -ESRCH) {
        struct json_object *p = json_object_new_object();
        control_json_add_int(p, "pid", pid);
        control_json_add_str(p, "message", e.message);
        control_error_own(call, CONTROL_ERROR_NO_SUCH_PROCESS, p);
    } else if (r < 0) {
        control_error_from(call, r, &e);
    } else {
        control_reply(call, json_object_new_object());
    }
    return CONTROL_REPLIED;
}

static struct json_object *
string_list(const char *const *names)
{
    struct json_object *list = json_object_new_array();

    for (; *names != NULL; names++)
        (void) json_object_array_add(list, control_json_string(*names));
    return list;
}

static struct json_object *
problem_list(const struct control_reload *reload)
{
    struct json_object *list = json_object_new_array();

    for (int i = 0; i < reload->n_problems; i++) {
        const struct control_problem *p = &reload->problems[i];
        struct json_object *o = json_object_new_object();
        control_json_add_str(o, "file", p->file[0] != '\0' ? p->file : NULL);
        if (p->line > 0)
            control_json_add_int(o, "line", p->line);
        control_json_add_str(o, "setting", p->setting[0] != '\0' ? p->setting : NULL);
        control_json_add_str(o, "severity", p->is_error ? "error" : "warning");
        control_json_add_str(o, "message", p->message);
        control_json_add_str(o, "hint", p->hint[0] != '\0' ? p->hint : NULL);
        (void) json_object_array_add(list, o);
    }
    return list;
}

static struct control_reload reload; /* large; one call at a time runs in the loop */

int
control_on_CHECK_CONFIG(struct control_call *call)
{
    struct err e = ERR_INIT;

    memset(&reload, 0, sizeof reload);
    int r = call->view->ops->check_config(call->view->ctx, &reload, &e);
    if (r < 0 && r != -ERR_CONFIG_FILE_ERROR) {
        control_error_from(call, r, &e);
        return CONTROL_REPLIED;
    }
    struct json_object *p = json_object_new_object();
    json_object_object_add(p, "valid", json_object_new_boolean(r == 0));
    json_object_object_add(p, "problems", problem_list(&reload));
    control_reply(call, p);
    return CONTROL_REPLIED;
}

int
control_on_RELOAD(struct control_call *call)
{
    struct err e = ERR_INIT;
    char message[128], by[100];

    memset(&reload, 0, sizeof reload);
    control_call_asker(call, by, sizeof by);
    int r =
        call->view->ops->reload(call->view->ctx, &(struct control_ask){ .by = by }, &reload, &e);
    if (r < 0 && r != -ERR_CONFIG_FILE_ERROR) {
        control_error_from(call, r, &e);
        return CONTROL_REPLIED;
    }
    struct json_object *p = json_object_new_object();
    if (r < 0) {
        (void) snprintf(message, sizeof message,
                        "configuration rejected, generation %llu stays active",
                        (unsigned long long) reload.generation);
        control_json_add_str(p, "message", message);
        json_object_object_add(p, "problems", problem_list(&reload));
        control_error_own(call, CONTROL_ERROR_CONFIG_INVALID, p);
        return CONTROL_REPLIED;
    }
    control_json_add_int(p, "generation", (int64_t) reload.generation);
    json_object_object_add(p, "changed", string_list(reload.changed));
    json_object_object_add(p, "pendingRestart", string_list(reload.pending_restart));
    json_object_object_add(p, "problems", problem_list(&reload));
    control_reply(call, p);
    return CONTROL_REPLIED;
}

/* Progress of a parked call, if it differs from the last or `quiet`. */
static void
reply_progress(struct control_call *call, const struct control_status *s, bool quiet)
{
    if (!call->more || s->progress.phase[0] == '\0')
        return;
    CLEANUP(control_json_putp)
    struct json_object *now = json_object_new_string(s->progress.message);
    if (!quiet && call->shown != NULL && json_object_equal(now, call->shown))
        return;

    struct json_object *p = json_object_new_object();
    if (call->method == METHOD_CHECKPOINT)
        control_json_add_int(p, "operation", (int64_t) call->operation);
    json_object_object_add(p, "completed", json_object_new_boolean(false));
    json_object_object_add(p, "progress", control_progress_object(&s->progress));
    control_json_putp(&call->shown);
    call->shown = TAKE_PTR(now);
    control_reply_continues(call, p);
}

static void
reply_checkpoint(struct control_call *call, bool completed)
{
    struct json_object *p = json_object_new_object();
    struct control_status s;

    control_json_add_int(p, "operation", (int64_t) call->operation);
    json_object_object_add(p, "completed", json_object_new_boolean(completed));
    if (completed) {
        control_status_get(call->view, &s);
        control_json_add_lsn(p, "lsn", s.checkpoint.lsn);
    }
    control_reply(call, p);
}

int
control_poll_checkpoint(struct control_call *call, bool quiet)
{
    struct control_status s;
    struct err e = ERR_INIT;

    switch (call->view->ops->checkpoint_state(call->view->ctx, call->operation, &e)) {
    case OPERATION_RUNNING:
        control_status_get(call->view, &s);
        call->view->ops->checkpoint_progress(call->view->ctx, &s.progress);
        reply_progress(call, &s, quiet);
        return CONTROL_PARKED;
    case OPERATION_DONE:
        reply_checkpoint(call, true);
        return CONTROL_REPLIED;
    case OPERATION_FAILED:
        break;
    }
    control_error_from(call, e.code, &e);
    return CONTROL_REPLIED;
}

int
control_on_CHECKPOINT(struct control_call *call)
{
    const struct control_arg *mode = &call->args[ARG_CHECKPOINT_mode];
    const struct control_arg *wait = &call->args[ARG_CHECKPOINT_wait];
    struct err e = ERR_INIT;
    bool fast = !mode->given || mode->value == 0;

    int r = call->view->ops->checkpoint(call->view->ctx, fast, &call->operation, &e);
    if (r < 0) {
        control_error_from(call, r, &e);
        return CONTROL_REPLIED;
    }
    if (call->oneway || (wait->given && !wait->is_true)) {
        reply_checkpoint(call, false);
        return CONTROL_REPLIED;
    }
    return control_poll_checkpoint(call, false);
}

/* The final reply comes from control_call_finish(). */
int
control_poll_stop(struct control_call *call, bool quiet)
{
    struct control_status s;

    control_status_get(call->view, &s);
    if (!s.stop_requested) {
        struct err e = ERR_INIT;
        control_error_from(call, ERR(&e, QUERY_CANCELED, "the stop was canceled"), &e);
        return CONTROL_REPLIED;
    }
    reply_progress(call, &s, quiet);
    return CONTROL_PARKED;
}

static int
done(struct control_call *call, int r, const struct err *e)
{
    if (r < 0)
        control_error_from(call, r, e);
    else
        control_reply(call, json_object_new_object());
    return CONTROL_REPLIED;
}

/* Only a stop that waits can stop waiting. */
static int
refuse_drain(struct control_call *call)
{
    struct json_object *p = json_object_new_object();

    control_json_add_str(p, "parameter", "drainUSec");
    control_error(call, "org.varlink.service.InvalidParameter", p);
    return CONTROL_REPLIED;
}

int
control_on_CANCEL_STOP(struct control_call *call)
{
    struct err e = ERR_INIT;
    char by[100];

    control_call_asker(call, by, sizeof by);
    return done(
        call, call->view->ops->stop_cancel(call->view->ctx, &(struct control_ask){ .by = by }, &e),
        &e);
}

int
control_on_ROTATE_LOG(struct control_call *call)
{
    struct err e = ERR_INIT;

    return done(call, call->view->ops->rotate_log(call->view->ctx, &e), &e);
}

/* ---- history ---- */
struct history_list {
    int64_t skip; /* the oldest ones, if only so many were asked for */
    struct json_object *list;
};

static void
count_history(void *arg, const struct control_history *h)
{
    int64_t *n = arg;

    (void) h;
    *n += 1;
}

static void
add_history(void *arg, const struct control_history *h)
{
    struct history_list *to = arg;
    struct json_object *o;

    if (to->skip-- > 0)
        return;
    o = json_object_new_object();
    control_json_add_int(o, "timeUSec", (int64_t) h->time_usec);
    control_json_add_str(o, "event", h->event);
    control_json_add_str(o, "message", h->message);
    if (h->pid != 0)
        control_json_add_int(o, "pid", h->pid);
    control_json_add_str(o, "by", h->by);
    control_json_add_str(o, "reason", h->reason);
    if (h->timeline != 0)
        control_json_add_int(o, "timeline", (int64_t) h->timeline);
    (void) json_object_array_add(to->list, o);
}

int
control_on_LIST_HISTORY(struct control_call *call)
{
    const struct control_arg *limit = &call->args[ARG_LIST_HISTORY_limit];
    struct history_list to = { .list = json_object_new_array() };
    struct json_object *p = json_object_new_object();
    int64_t n = 0;

    call->view->ops->history(call->view->ctx, count_history, &n);
    to.skip = limit->given && limit->number < n ? n - limit->number : 0;
    call->view->ops->history(call->view->ctx, add_history, &to);
    json_object_object_add(p, "entries", to.list);
    control_reply(call, p);
    return CONTROL_REPLIED;
}

/* ---- replication, which is not there yet ---- */
static int
refuse_replication(struct control_call *call, const char *what)
{
    struct err e = ERR_INIT;
    int r = ERR(&e, FEATURE_NOT_SUPPORTED, "%s is not supported: this release has no replication",
                what);

    control_error_from(call, r, &e);
    return CONTROL_REPLIED;
}

int
control_on_PROMOTE(struct control_call *call)
{
    return refuse_replication(call, "Promote");
}

int
control_on_DEMOTE(struct control_call *call)
{
    return refuse_replication(call, "Demote");
}

int
control_on_SWITCHOVER(struct control_call *call)
{
    return refuse_replication(call, "Switchover");
}

int
control_on_LIST_REPLICATION(struct control_call *call)
{
    return refuse_replication(call, "ListReplication");
}

int
control_on_STOP(struct control_call *call)
{
    const struct control_arg *mode = &call->args[ARG_STOP_mode];
    const struct control_arg *reason = &call->args[ARG_STOP_reason];
    const struct control_arg *drain = &call->args[ARG_STOP_drainUSec];
    char text[256], by[100];
    struct err e = ERR_INIT;

    if (reason->given) {
        (void) snprintf(text, sizeof text, "%s", reason->text);
        control_printable(text);
        log_msg(LOG_LEVEL_LOG, "reason of the stop: %s", text);
    }
    call->mode = mode->given ? (enum control_stop_mode) mode->value : STOP_FAST;
    if (drain->given && call->mode != STOP_SMART)
        return refuse_drain(call);
    control_call_asker(call, by, sizeof by);
    int r = call->view->ops->stop(
        call->view->ctx, call->mode, drain->given ? (usec_t) drain->number : 0,
        &(struct control_ask){ .by = by, .reason = reason->given ? text : NULL }, &e);
    if (r < 0) {
        control_error_from(call, r, &e);
        return CONTROL_REPLIED;
    }
    return call->oneway ? CONTROL_REPLIED : control_poll_stop(call, false);
}
