/* The control socket: Varlink over a Unix socket, in the postmaster's loop (systemd-ops 2). Nothing
 * here blocks. */
#pragma once

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/types.h"
#include "control/control_view.h"

/* Limits, systemd-ops 2.7. */
#define CONTROL_MESSAGE_MAX       (64 * 1024)
#define CONTROL_REPLY_MAX         (16 * 1024 * 1024) /* what pinionctl and sd-varlink read */
#define CONTROL_CLIENTS_MAX       64
#define CONTROL_CLIENTS_RESERVED  4 /* of these, for root and the service user */
#define CONTROL_CLIENTS_PER_UID   16
#define CONTROL_MESSAGES_PER_TURN 64
#define CONTROL_MESSAGE_USEC      (UINT64_C(10) * 1000000)  /* a begun message must end */
#define CONTROL_IDLE_USEC         (UINT64_C(600) * 1000000) /* nothing asked, nothing watched */
#define CONTROL_STUCK_USEC        (UINT64_C(30) * 1000000)  /* output does not move */
#define CONTROL_PROGRESS_USEC     (UINT64_C(250) * 1000) /* progress replies at most this often… */
#define CONTROL_QUIET_USEC        (UINT64_C(5) * 1000000) /* …and at least this often */

struct control;

/* Where clients come. */
struct control_place {
    const char *path; /* absolute or relative to the working directory; borrowed for the call */
    int fd;           /* a socket unit's, not blocking, which listens already: `path` is not looked
                         at, no name is made or removed; taken over. -1: there is none */
};

/* Bind and listen at `place->path` (longer than a socket address allows is fine) with mode 0666:
 * who may do what is decided per method. A socket left there by a dead server is replaced, one that
 * somebody listens on is refused (-EADDRINUSE). `ev` and
 * `view` are borrowed until control_free(). Returns 0 or < 0 with e set. Runs in: postmaster. */
int control_new(sd_event *ev, const struct control_place *place, const struct control_view *view,
                struct control **ret, struct err *e);

/* Look up the groups pinion-admin and pinion-monitor again. NSS may block: at start and reload
 * only. */
void control_load_groups(struct control *c);

/* The server changed state or made progress: answer parked calls and watchers. Cheap if there are
 * none. */
void control_changed(struct control *c);

/* The server is about to exit: final replies to parked Stop calls (`clean`: a shutdown checkpoint
 * was written), then send what is queued, for at most `patience_usec`. The socket's name is gone
 * afterwards. */
void control_finish(struct control *c, bool clean, usec_t patience_usec);

/* NULL is fine; returns NULL. Closes all, removes the socket's name if it is still ours. */
struct control *control_free(struct control *c);

/* In a forked child: close the descriptors, leave loop, names and memory alone. */
void control_close_in_child(struct control *c);

/* The name of a state in the protocol. */
const char *control_state_name(enum control_state s);
