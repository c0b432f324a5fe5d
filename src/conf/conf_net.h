/* The settings that name a place in the network or a socket. */
#pragma once

#include "conf/conf.h"

/* Is `text` a value of metrics_listen or control_socket? Other settings: yes. Looks up no name.
 * Returns 0 or -ERR_INVALID_PARAMETER_VALUE. */
int conf_net_check(enum conf_id id, const char *text, struct err *e);

/* "host:port" or "[address]:port": the host without brackets, and the port. false: it is neither.
 */
bool conf_net_split(const char *text, char *host, size_t cap, const char **ret_port);

/* The Unix sockets of all unix_socket_directories have paths that fit into an address. On < 0 the
 * one that does not is named. */
int conf_net_check_sockets(const struct conf_values *v, struct err *e);
