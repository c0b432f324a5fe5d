/* The settings that name a place in the network or a socket. */
#pragma once

#include "conf/conf.h"

#define CONF_NET_NAME_CAP 1024

/* Copies the next name of a list by commas at *p, and steps over it: blanks around it do not count,
 * in double quotes it may have commas (PostgreSQL's SplitDirectoriesString()). Returns 1; 0: no
 * more; -EINVAL: no such list, or a name that does not fit. */
int conf_net_next_name(const char **p, char *name, size_t cap);

/* A path as such a list would have it, quoted only if it has to be. 0 or -ENAMETOOLONG. */
int conf_net_quote_name(const char *name, char *to, size_t cap);

/* Is `text` a value of metrics_listen, control_socket or of a list of places to listen? Other
 * settings: yes. Looks up no name. Returns 0 or -ERR_INVALID_PARAMETER_VALUE. */
int conf_net_check(enum conf_id id, const char *text, struct err *e);

/* "host:port" or "[address]:port": the host without brackets, and the port. false: it is neither.
 */
bool conf_net_split(const char *text, char *host, size_t cap, const char **ret_port);

/* The Unix sockets of all unix_socket_directories have paths that fit into an address. On < 0 the
 * one that does not is named. */
int conf_net_check_sockets(const struct conf_values *v, struct err *e);
