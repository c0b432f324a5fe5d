/* One connection of the control socket: framing, order of calls, queues and their limits. Internal
 * to src/control. */
#pragma once

#include "control/control.h"
#include "control/control_dispatch.h"

struct control_client {
    struct control_client *next;
    sd_event_source *io;
    sd_event_source *again; /* more messages are waiting in the buffer */
    int fd;
    struct control_peer peer;
    bool eof;    /* the peer sends no more; finish and flush */
    bool dead;   /* close at the next chance */
    bool parked; /* `call` waits; nothing else is read meanwhile */
    struct control_call call;

    uint8_t *in; /* CONTROL_MESSAGE_MAX + 1 bytes: a message and its NUL */
    size_t in_n;
    usec_t in_since_usec; /* when the unfinished message began; 0 = none. Monotonic, as all below */

    uint8_t *out; /* grown as needed */
    size_t out_n, out_sent, out_cap;
    usec_t out_moved_usec;

    usec_t active_usec; /* last message or reply */
    usec_t told_usec;   /* last reply of the parked call */
};

/* Takes fd. NULL if memory or the loop refuses. */
struct control_client *control_client_new(sd_event *ev, int fd, const struct control_peer *peer,
                                          const struct control_view *view);
struct control_client *control_client_free(struct control_client *c);

/* The server changed, or time passed: answer the parked call, apply time-outs. May set c->dead. */
void control_client_tick(struct control_client *c, usec_t now);
/* The server ends: last replies into the queue. */
void control_client_finish(struct control_client *c, bool clean);
/* Send what the socket takes. */
void control_client_flush(struct control_client *c);
