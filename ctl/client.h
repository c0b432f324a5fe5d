/* One Varlink connection to the control socket, and whom it reaches. */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "util.h"

struct client {
    int fd;
    pid_t server_pid; /* who listens there */
    char *bytes;      /* received, not yet consumed */
    size_t n, cap;
    char method[128]; /* of the last call, with its interface */
};

#define CLIENT_NO_TIMEOUT UINT64_MAX

/* Connect to the socket at `path`, however long. Returns 0, or CTL_NOT_RUNNING (nothing listens
 * there), CTL_PERMISSION, CTL_FAILED with p set. */
int client_open(struct client *c, const char *path, struct problem *p);
void client_close(struct client *c); /* a zeroed one is fine */

/* Send a call; takes parameters (NULL = none). A method without a dot belongs to
 * org.pinion.Control. */
int client_send(struct client *c, const char *method, json_t *parameters, bool more,
                struct problem *p);

/* Wait for the next reply until deadline_usec (monotonic, or CLIENT_NO_TIMEOUT). Returns 0 with the
 * reply's parameters (an object, to be decref'ed) and whether more will come; or an exit code with
 * p set: what the error reply means, CTL_TIMED_OUT, CTL_INTERRUPTED, CTL_PROTOCOL, CTL_UNREACHABLE
 * (the server hung up). On an error reply *ret holds its parameters too. */
int client_next(struct client *c, uint64_t deadline_usec, json_t **ret, bool *ret_continues,
                struct problem *p);

/* One call, one reply. */
int client_call(struct client *c, const char *method, json_t *parameters, uint64_t deadline_usec,
                json_t **ret, struct problem *p);

/* A ConfigProblem as a line of p's detail: place, message, and its hint below. */
void client_add_problem(struct problem *p, const json_t *o);
