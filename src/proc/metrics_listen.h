/* The sockets of the metrics page. */
#pragma once

#include "base/err.h"

#define METRICS_LISTEN_MAX 16

/* Listen at every address of "host:port", or at the path of a Unix socket; a socket that a killed
 * process left there is replaced, any other file is not. Returns how many descriptors are in `fds`
 * (METRICS_LISTEN_MAX), or < 0 with e set: -EADDRINUSE and the like, or
 * -ERR_INVALID_PARAMETER_VALUE for a host that is none. Resolving a name may block. */
int metrics_listen(const char *where, int *fds, struct err *e);

/* Could it? Leaves nothing behind. */
int metrics_listen_try(const char *where, struct err *e);
