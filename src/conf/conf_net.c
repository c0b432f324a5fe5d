/* What a place in the network or a socket may be: known before anything is opened, so that a wrong
 * one is refused with file and line. Runs in: postmaster, `piniond --check`. Owns: nothing. */
#include "conf/conf_net.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define PATH_MAX_BYTES   (sizeof((struct sockaddr_un *) NULL)->sun_path - 1)
#define CONTROL_NAME_MAX 60 /* bytes of the last part: it is bound under a longer name first */

bool
conf_net_split(const char *text, char *host, size_t cap, const char **ret_port)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon != NULL ? (size_t) (colon - text) : 0;
    long port = 0;

    if (n == 0 || n >= cap || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strlen(colon + 1) > 5)
        return false;
    port = strtol(colon + 1, NULL, 10);
    if (port < 1 || port > 65535)
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    if (host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        memmove(host, host + 1, n - 1);
    } else if (strchr(host, ':') != NULL)
        return false; /* an address of IPv6 without its brackets */
    *ret_port = colon + 1;
    return host[0] != '\0' && strpbrk(host, "[] \t/") == NULL;
}

static int
check_metrics(const char *text, struct err *e)
{
    char host[256];
    const char *port;

    if (text[0] == '\0' || (text[0] == '/' && strlen(text) <= PATH_MAX_BYTES) ||
        (text[0] != '/' && conf_net_split(text, host, sizeof host, &port)))
        return 0;
    (void) ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"metrics_listen\": \"%s\"",
               text);
    err_hint(e, text[0] == '/'
                    ? "The path of a Unix socket has at most 107 bytes."
                    : "It is host:port, as localhost:9454 or [::1]:9454, or the absolute "
                      "path of a Unix socket.");
    return -ERR_INVALID_PARAMETER_VALUE;
}

static int
check_control(const char *text, struct err *e)
{
    const char *slash = strrchr(text, '/');
    const char *name = slash == NULL ? text : slash + 1;

    if (text[0] == '\0' || (name[0] != '\0' && strlen(name) <= CONTROL_NAME_MAX))
        return 0;
    (void) ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"control_socket\": \"%s\"",
               text);
    err_hint(e, "It is the path of a socket whose last part has 1 to %d bytes.", CONTROL_NAME_MAX);
    return -ERR_INVALID_PARAMETER_VALUE;
}

int
conf_net_check(enum conf_id id, const char *text, struct err *e)
{
    if (id == CONF_metrics_listen)
        return check_metrics(text, e);
    if (id == CONF_control_socket)
        return check_control(text, e);
    return 0;
}

int
conf_net_check_sockets(const struct conf_values *v, struct err *e)
{
    const char *p = v->unix_socket_directories;

    while (p != NULL && *p != '\0') {
        size_t n;
        char name[32];

        p += strspn(p, ", \t");
        n = strcspn(p, ",");
        (void) snprintf(name, sizeof name, "/.s.PGSQL.%d", (int) v->port);
        if (n > 0 && n + strlen(name) > PATH_MAX_BYTES) {
            (void) ERR(e, CONFIG_FILE_ERROR,
                       "Unix socket path \"%.*s%s\" is too long (maximum 107 bytes)", (int) n, p,
                       name);
            err_hint(e, "Set unix_socket_directories to a shorter path.");
            return -ERR_CONFIG_FILE_ERROR;
        }
        p += n;
    }
    return 0;
}
