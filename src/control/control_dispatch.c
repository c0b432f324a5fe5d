/* From the bytes of one Varlink message to its handler: a table decides who, when and with which
 * parameters. Runs in: postmaster (and tests). Owns: struct control_call's message and last shown
 * reply. Source: UAPI.20 "Varlink IPC"; systemd-ops 2.1, 2.7; the table instead of a chain of
 * strcmp after OpenBGPD's lesson. */
#include "control/control_dispatch.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/control.h"
#include "control/control_json.h"
#include "control/control_methods.h"

#define REFUSALS_MAX  20 /* logged in a minute */
#define REFUSALS_USEC (UINT64_C(60) * 1000000)
#define SERVICE       "org.varlink.service"
#define CONTROL       "org.pinion.Control"

/* Masks over enum control_state for the column "valid in". */
#define VALID_ANY     (BIT(CONTROL_STATES) - 1)
#define VALID_UP      (VALID_ANY & ~BIT(CONTROL_STOPPING))
#define VALID_SERVING (BIT(CONTROL_READY) | BIT(CONTROL_STANDBY) | BIT(CONTROL_DRAINING))

struct method {
    const char *interface;
    const char *name;
    const char *full; /* interface and name */
    control_handler handler;
    enum control_who who;
    uint64_t valid_in;
    enum control_more more;
};

struct param {
    enum control_method_id method;
    const char *name;
    enum control_param_type type;
    bool required;
    const char *values;
};

/* clang-format off */
static const struct method methods[] = {
#define CONTROL_METHOD(id, iface, name, who, valid, more, sig, comment) \
    [METHOD_##id] = { iface, #name, iface "." #name, control_on_##id, WHO_##who, VALID_##valid, MORE_##more },
#include "tbl/control_methods.def"
#undef CONTROL_METHOD
};
static const struct param params[] = {
#define CONTROL_PARAM(id, name, type, required, values) \
    [ARG_##id##_##name] = { METHOD_##id, #name, PARAM_##type, required, values },
#include "tbl/control_params.def"
#undef CONTROL_PARAM
};
static const char *const error_names[] = {
#define CONTROL_ERROR(id, name, fields, exit) [CONTROL_ERROR_##id] = CONTROL "." name,
#include "tbl/control_errors.def"
#undef CONTROL_ERROR
};
static const char *const state_names[] = {
#define CONTROL_STATE(id, name, glyph, exit) [CONTROL_##id] = name,
#include "tbl/control_states.def"
#undef CONTROL_STATE
};
/* clang-format on */
static_assert(ELEMENTSOF(methods) == METHODS, "a row per method");
static_assert(ELEMENTSOF(params) == CONTROL_ARGS, "a row per parameter");

const char *
control_state_name(enum control_state s)
{
    return state_names[s];
}

const char *
control_method_name(enum control_method_id m)
{
    return methods[m].full;
}

enum control_who
control_method_who(enum control_method_id m)
{
    return methods[m].who;
}

void
control_status_get(const struct control_view *view, struct control_status *ret)
{
    *ret = (struct control_status){
        .connections = -1, .connections_max = -1, .crash_restarts = -1, .main_pid = getpid()
    };
    view->ops->status(view->ctx, ret);
}

static void
send_reply(struct control_call *call, const char *error, struct json_object *parameters,
           bool continues)
{
    struct json_object *reply = json_object_new_object();

    /* Nothing but these three: systemd's clients hang up on any other key (systemd-ops 2.4, trap
     * 1). */
    if (error != NULL)
        json_object_object_add(reply, "error", json_object_new_string(error));
    if (parameters != NULL)
        json_object_object_add(reply, "parameters", parameters);
    if (continues)
        json_object_object_add(reply, "continues", json_object_new_boolean(true));
    if (!call->oneway)
        call->send(call->sink, reply);
    (void) json_object_put(reply);
}

void
control_reply(struct control_call *call, struct json_object *parameters)
{
    send_reply(call, NULL, parameters, false);
}

void
control_reply_continues(struct control_call *call, struct json_object *parameters)
{
    send_reply(call, NULL, parameters, true);
}

void
control_error(struct control_call *call, const char *name, struct json_object *parameters)
{
    send_reply(call, name, parameters, false);
}

void
control_error_own(struct control_call *call, enum control_error_id id,
                  struct json_object *parameters)
{
    send_reply(call, error_names[id], parameters, false);
}

void
control_error_from(struct control_call *call, int r, const struct err *e)
{
    struct json_object *p = json_object_new_object();

    control_json_add_str(p, "method", control_method_name(call->method));
    control_json_add_str(p, "message", e->message);
    control_json_add_str(p, "sqlstate", err_sqlstate(r));
    control_json_add_str(p, "detail", e->detail[0] != '\0' ? e->detail : NULL);
    control_json_add_str(p, "hint", e->hint[0] != '\0' ? e->hint : NULL);
    control_error_own(call, CONTROL_ERROR_OPERATION_FAILED, p);
}

/* An error of org.varlink.service with its one parameter. */
static int
refuse(struct control_call *call, const char *error, const char *key, const char *value)
{
    struct json_object *p = NULL;

    if (key != NULL) {
        p = json_object_new_object();
        control_json_add_str(p, key, value);
    }
    control_error(call, error, p);
    return CONTROL_REPLIED;
}

/* What the top level of a message may contain. Anything else ends the connection. */
struct header {
    const char *method;
    struct json_object *parameters; /* or NULL */
    bool more, oneway, upgrade;
};

static int
get_flag(struct json_object *v, bool *ret, struct err *e)
{
    if (!json_object_is_type(v, json_type_boolean))
        return ERR(e, PROTOCOL_VIOLATION, "a flag of the call is not a boolean");
    *ret = json_object_get_boolean(v);
    return 0;
}

static int
get_header_field(struct header *h, const char *key, struct json_object *v, struct err *e)
{
    if (strcmp(key, "method") == 0) {
        if (!json_object_is_type(v, json_type_string))
            return ERR(e, PROTOCOL_VIOLATION, "the method is not a string");
        h->method = json_object_get_string(v);
        return 0;
    }
    if (strcmp(key, "parameters") == 0) {
        if (v != NULL && !json_object_is_type(v, json_type_object))
            return ERR(e, PROTOCOL_VIOLATION, "the parameters are not an object");
        h->parameters = v;
        return 0;
    }
    if (strcmp(key, "more") == 0)
        return get_flag(v, &h->more, e);
    if (strcmp(key, "oneway") == 0)
        return get_flag(v, &h->oneway, e);
    if (strcmp(key, "upgrade") == 0)
        return get_flag(v, &h->upgrade, e);
    if (strchr(key, '.') != NULL)
        return 0; /* a vendor's object */
    return ERR(e, PROTOCOL_VIOLATION, "unknown key \"%s\" in the call", key);
}

static int
get_header(struct json_object *message, struct header *h, struct err *e)
{
    *h = (struct header){ 0 };
    json_object_object_foreach(message, key, v)
    {
        int r = get_header_field(h, key, v, e);
        if (r < 0)
            return r;
    }
    if (h->method == NULL)
        return ERR(e, PROTOCOL_VIOLATION, "the call names no method");
    if (h->more + h->oneway + h->upgrade > 1)
        return ERR(e, PROTOCOL_VIOLATION, "the call has more than one flag");
    return 0;
}

/* The method's row, or an error reply. */
static const struct method *
find_method(struct control_call *call, const char *full)
{
    const char *dot = strrchr(full, '.');
    char interface[128];
    bool known = false;

    for (size_t i = 0; i < METHODS; i++) {
        if (strcmp(methods[i].full, full) == 0) {
            call->method = (enum control_method_id) i;
            return &methods[i];
        }
    }
    (void) snprintf(interface, sizeof interface, "%.*s", dot == NULL ? INT_MAX : (int) (dot - full),
                    full);
    for (size_t i = 0; i < METHODS; i++)
        known = known || strcmp(methods[i].interface, interface) == 0;
    if (known)
        (void) refuse(call, SERVICE ".MethodNotFound", "method", full);
    else
        (void) refuse(call, SERVICE ".InterfaceNotFound", "interface", interface);
    return NULL;
}

/* Index of `word` in the space-separated `values`, or -1. */
static int
find_value(const char *values, const char *word)
{
    size_t n = strlen(word);
    int idx = 0;

    for (const char *p = values; *p != '\0'; idx++) {
        size_t len = strcspn(p, " ");
        if (len == n && memcmp(p, word, n) == 0)
            return idx;
        p += len;
        p += strspn(p, " ");
    }
    return -1;
}

static bool
is_string_list(struct json_object *v)
{
    if (!json_object_is_type(v, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(v); i++) {
        if (!json_object_is_type(json_object_array_get_idx(v, i), json_type_string))
            return false;
    }
    return true;
}

static bool
get_arg(const struct param *p, struct json_object *v, struct control_arg *ret)
{
    ret->given = true;
    switch (p->type) {
    case PARAM_BOOL:
        ret->is_true = json_object_get_boolean(v);
        return json_object_is_type(v, json_type_boolean);
    case PARAM_STRING:
        ret->text = json_object_get_string(v);
        return json_object_is_type(v, json_type_string);
    case PARAM_INT:
        ret->number = json_object_get_int64(v);
        return json_object_is_type(v, json_type_int) && ret->number >= 0;
    case PARAM_ENUM:
        ret->text = json_object_get_string(v);
        ret->value = find_value(p->values, ret->text);
        return json_object_is_type(v, json_type_string) && ret->value >= 0;
    case PARAM_STATES:
        ret->list = v;
        return is_string_list(v);
    }
    return false;
}

/* Typed parameters by table. Returns NULL, or the name of the one that is wrong. */
static const char *
get_args(struct control_call *call, struct json_object *given)
{
    if (given != NULL) {
        json_object_object_foreach(given, key, v)
        {
            size_t i = 0;
            while (i < CONTROL_ARGS &&
                   !(params[i].method == call->method && strcmp(params[i].name, key) == 0))
                i++;
            if (i == CONTROL_ARGS || (v != NULL && !get_arg(&params[i], v, &call->args[i])))
                return key;
        }
    }
    for (size_t i = 0; i < CONTROL_ARGS; i++) {
        if (params[i].method == call->method && params[i].required && !call->args[i].given)
            return params[i].name;
    }
    return NULL;
}

/* The method is not for this state. */
static int
refuse_state(struct control_call *call, const struct method *m, const struct control_status *s)
{
    static const char *const modes[] = { "smart", "fast", "immediate" };
    struct json_object *p = json_object_new_object();
    char text[160];

    (void) snprintf(text, sizeof text, "cannot execute %s in state %s (%s)", m->name,
                    control_state_name(s->state), s->pm_state);
    if (s->state == CONTROL_STOPPING && s->stop_requested) {
        control_json_add_str(p, "mode", modes[s->stop_mode]);
        control_json_add_str(p, "message", text);
        control_error_own(call, CONTROL_ERROR_STOP_IN_PROGRESS, p);
        return CONTROL_REPLIED;
    }
    control_json_add_str(p, "state", control_state_name(s->state));
    control_json_add_str(p, "message", text);
    control_json_add_str(p, "hint", "Wait until the server is ready, then try again.");
    control_error_own(call, CONTROL_ERROR_NOT_READY, p);
    return CONTROL_REPLIED;
}

/* Anybody may ask and be refused, but not fill the log with it. */
static bool
may_log_refusal(void)
{
    static usec_t since;
    static unsigned n;
    usec_t now = clock_mono_usec();

    if (since == 0 || now - since > REFUSALS_USEC) {
        since = now;
        n = 0;
    }
    if (n == REFUSALS_MAX)
        log_msg(LOG_LEVEL_LOG, "further refused control calls of this minute are not logged");
    return n++ < REFUSALS_MAX;
}

/* "pinionctl", or "?" if the peer's process cannot be seen. */
static void
peer_comm(const struct control_peer *peer, char *to, size_t cap)
{
    char path[64];

    (void) snprintf(path, sizeof path, "/proc/%d/comm", (int) peer->pid);
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, to, cap - 1);
    to[n > 0 ? n : 0] = '\0';
    control_printable(to);
    if (to[0] == '\0')
        (void) snprintf(to, cap, "?");
}

void
control_call_asker(const struct control_call *call, char *to, size_t cap)
{
    char comm[32];

    peer_comm(call->peer, comm, sizeof comm);
    (void) snprintf(to, cap, "uid %u (%s, pid %d)", (unsigned) call->peer->uid, comm,
                    (int) call->peer->pid);
}

static void
log_admin_call(const struct control_call *call, const struct method *m, const char *refused)
{
    char comm[32];
    char operation[80];
    char uid[40];
    const char *const fields[] = { operation, uid, NULL };

    if (m->who != WHO_ADMIN || (refused != NULL && !may_log_refusal()))
        return;
    peer_comm(call->peer, comm, sizeof comm);
    (void) snprintf(operation, sizeof operation, "PINION_OPERATION=%s", m->name);
    (void) snprintf(uid, sizeof uid, "PINION_REQUESTER_UID=%u", (unsigned) call->peer->uid);
    log_event(LOG_LEVEL_LOG, LOG_EVENT_NONE, fields, "control call %s by uid %u, pid %d (%s): %s",
              m->name, (unsigned) call->peer->uid, (int) call->peer->pid, comm,
              refused != NULL ? refused : "accepted");
}

/* The handler runs only when every column agreed. */
static int
run_method(struct control_call *call, const struct method *m, const struct header *h)
{
    struct control_status s;

    if (call->peer->who < m->who) {
        log_admin_call(call, m, "permission denied");
        return refuse(call, SERVICE ".PermissionDenied", NULL, NULL);
    }
    if (h->upgrade)
        return refuse(call, SERVICE ".MethodNotImplemented", "method", h->method);
    if (m->more == MORE_REQUIRES && !h->more)
        return refuse(call, SERVICE ".ExpectedMore", NULL, NULL);
    const char *wrong = get_args(call, h->parameters);
    if (wrong != NULL)
        return refuse(call, SERVICE ".InvalidParameter", "parameter", wrong);
    if (m->valid_in != VALID_ANY) {
        control_status_get(call->view, &s);
        if (!(m->valid_in & BIT(s.state))) {
            log_admin_call(call, m, "refused in this state");
            return refuse_state(call, m, &s);
        }
    }
    log_admin_call(call, m, NULL);
    return m->handler(call);
}

int
control_dispatch(struct control_call *call, const char *message, size_t n, struct err *e)
{
    struct header h;
    int r;

    if ((r = control_json_parse(message, n, &call->message, e)) < 0 ||
        (r = get_header(call->message, &h, e)) < 0)
        return r;
    call->more = h.more;
    call->oneway = h.oneway;
    const struct method *m = find_method(call, h.method);
    if (m == NULL)
        return CONTROL_REPLIED;
    return run_method(call, m, &h);
}

int
control_call_poll(struct control_call *call, bool now_quiet)
{
    if (call->method == METHOD_WATCH_STATUS)
        return control_poll_watch(call, now_quiet);
    if (call->method == METHOD_CHECKPOINT)
        return control_poll_checkpoint(call, now_quiet);
    return control_poll_stop(call, now_quiet);
}

void
control_call_finish(struct control_call *call, bool clean)
{
    struct json_object *p = json_object_new_object();

    if (call->method == METHOD_STOP) {
        json_object_object_add(p, "completed", json_object_new_boolean(true));
        json_object_object_add(p, "clean", json_object_new_boolean(clean));
        control_reply(call, p);
        return;
    }
    control_json_add_str(p, "method", control_method_name(call->method));
    control_json_add_str(p, "message", "the server has stopped");
    control_error_own(call, CONTROL_ERROR_OPERATION_FAILED, p);
}

void
control_call_done(struct control_call *call)
{
    control_json_putp(&call->message);
    control_json_putp(&call->shown);
    memset(call->args, 0, sizeof call->args);
    call->more = call->oneway = false;
    call->operation = 0;
    call->sequence = 0;
}
