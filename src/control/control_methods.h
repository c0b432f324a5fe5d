/* The handlers, one per row of control_methods.def, and the objects they answer with. */
#pragma once

#include "control/control_dispatch.h"

/* A handler sends its reply or error and returns CONTROL_REPLIED, or returns CONTROL_PARKED. */
typedef int (*control_handler)(struct control_call *call);

/* clang-format off */
#define CONTROL_METHOD(id, iface, name, who, valid, more, sig, comment) \
    int control_on_##id(struct control_call *call);
#include "tbl/control_methods.def"
#undef CONTROL_METHOD
/* clang-format on */

/* Of parked calls; see control_call_poll() and control_call_finish(). */
int control_poll_watch(struct control_call *call, bool quiet);
int control_poll_checkpoint(struct control_call *call, bool quiet);
int control_poll_stop(struct control_call *call, bool quiet);

/* Status and Progress as in the interface description. The caller puts. `who` decides which fields.
 */
struct json_object *control_status_object(const struct control_status *s, enum control_who who);
struct json_object *control_progress_object(const struct control_progress *p);

/* The interface description of `interface`, to be freed, or NULL if there is no such interface. */
char *control_idl(const char *interface);
