/* One call: look-up, permission, state, flags, parameters — each "no" a named error — and only then
 * its handler. Knows no sockets: bytes in, reply objects out through the call's sink, so tests and
 * fuzzing run it alone. */
#pragma once

#include <json-c/json.h>

#include "base/err.h"
#include "control/control_view.h"

/* clang-format off */
enum control_method_id {
#define CONTROL_METHOD(id, iface, name, who, valid, more, sig, comment) METHOD_##id,
#include "tbl/control_methods.def"
#undef CONTROL_METHOD
    METHODS
};
enum control_error_id {
#define CONTROL_ERROR(id, name, fields, exit) CONTROL_ERROR_##id,
#include "tbl/control_errors.def"
#undef CONTROL_ERROR
    CONTROL_ERRORS
};
/* clang-format on */

enum control_who { WHO_PUBLIC, WHO_MONITOR, WHO_ADMIN }; /* rising */
enum control_more { MORE_ONCE, MORE_SUPPORTS, MORE_REQUIRES };
enum control_param_type { PARAM_BOOL, PARAM_STRING, PARAM_INT, PARAM_ENUM, PARAM_STATES };

/* A parameter as the handler sees it. */
struct control_arg {
    bool given;
    bool is_true;             /* BOOL */
    int value;                /* ENUM: index */
    int64_t number;           /* INT */
    const char *text;         /* STRING, ENUM; borrowed until the call ends */
    struct json_object *list; /* STATES; borrowed until the call ends */
};

/* clang-format off */
/* Index of a parameter in control_call.args: ARG_<METHOD>_<name>. */
enum control_arg_idx {
#define CONTROL_PARAM(id, name, type, required, values) ARG_##id##_##name,
#include "tbl/control_params.def"
#undef CONTROL_PARAM
    CONTROL_ARGS
};
/* clang-format on */

struct control_peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
    enum control_who who;
};

struct control_call;

/* One call from its arrival to its last reply. */
struct control_call {
    /* Set by the caller of control_dispatch(). */
    const struct control_view *view;
    const struct control_peer *peer;
    void (*send)(void *sink,
                 struct json_object *reply); /* puts nothing; the object is the caller's */
    void *sink;

    /* Set by control_dispatch(). */
    enum control_method_id method;
    bool more, oneway;
    struct json_object *message;
    struct control_arg args[CONTROL_ARGS];

    /* Of a parked call. */
    uint64_t operation;          /* Checkpoint */
    enum control_stop_mode mode; /* Stop */
    int64_t sequence;            /* WatchStatus: replies so far */
    struct json_object *shown;   /* what the last reply with continues said */
};

enum { CONTROL_REPLIED = 0, CONTROL_PARKED = 1 };

/* Handle one message. Returns CONTROL_REPLIED (the call is over, at most one reply was sent),
 * CONTROL_PARKED (it waits: call control_call_poll() whenever the server changed), or
 * -ERR_PROTOCOL_VIOLATION and the like with e set: the connection must be closed without a reply.
 * End with control_call_done() in each case. */
int control_dispatch(struct control_call *call, const char *message, size_t n, struct err *e);

/* Has a parked call something to say? `now_quiet`: nothing was sent for CONTROL_QUIET_USEC, repeat
 * progress. Returns CONTROL_PARKED or CONTROL_REPLIED (final reply sent). */
int control_call_poll(struct control_call *call, bool now_quiet);

/* The server ends: final reply to whatever is parked. */
void control_call_finish(struct control_call *call, bool clean);

/* Give back what the call holds; view, peer and sink stay. */
void control_call_done(struct control_call *call);

/* Who calls, as log and history name him: "uid 0 (pinionctl, pid 4711)". */
void control_call_asker(const struct control_call *call, char *to, size_t cap);

/* For handlers. Each sends; parameters are taken (put). */
void control_reply(struct control_call *call, struct json_object *parameters);
void control_reply_continues(struct control_call *call, struct json_object *parameters);
void control_error(struct control_call *call, const char *name, struct json_object *parameters);
/* org.pinion.Control.<name>. */
void control_error_own(struct control_call *call, enum control_error_id id,
                       struct json_object *parameters);
/* OperationFailed from a struct err. */
void control_error_from(struct control_call *call, int r, const struct err *e);

const char *control_method_name(enum control_method_id m); /* with its interface */
enum control_who control_method_who(enum control_method_id m);
/* Fill the record through the view, defaults first. */
void control_status_get(const struct control_view *view, struct control_status *ret);
