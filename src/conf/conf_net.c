/* What a place in the network or a socket may be: known before anything is opened, so that a wrong
 * one is refused with file and line. Runs in: postmaster, `piniond --check`. Owns: nothing. */
#include "conf/conf_net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define PATH_MAX_BYTES   (sizeof((struct sockaddr_un *) NULL)->sun_path - 1)
#define NAME_CAP         CONF_NET_NAME_CAP
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

/* A name in quotes at *p, of which two are one; on return *p is behind the closing one. */
static int
read_quoted(const char **p, char *name, size_t cap)
{
    size_t n = 0;

    for (++*p;; ++*p) {
        if (**p == '"' && *++*p != '"')
            break;
        if (**p == '\0' || n + 1 >= cap)
            return -EINVAL;
        name[n++] = **p;
    }
    name[n] = '\0';
    *p += strspn(*p, " \t");
    return n > 0 && (**p == '\0' || **p == ',') ? 1 : -EINVAL;
}

int
conf_net_next_name(const char **p, char *name, size_t cap)
{
    size_t n;

    *p += strspn(*p, ", \t");
    if (**p == '\0')
        return 0;
    if (**p == '"')
        return read_quoted(p, name, cap);
    n = strcspn(*p, ",");
    if (n >= cap)
        return -EINVAL;
    memcpy(name, *p, n);
    *p += n;
    while (name[n - 1] == ' ' || name[n - 1] == '\t')
        n--;
    name[n] = '\0';
    return 1;
}

int
conf_net_quote_name(const char *name, char *to, size_t cap)
{
    size_t len = strlen(name), n = 0;
    bool is_plain = strchr(name, ',') == NULL && (len == 0 || strchr(" \t", name[len - 1]) == NULL);

    if (is_plain)
        return (size_t) snprintf(to, cap, "%s", name) < cap ? 0 : -ENAMETOOLONG;
    if (2 * len + 3 > cap)
        return -ENAMETOOLONG;
    to[n++] = '"';
    for (; *name != '\0'; name++) {
        if (*name == '"')
            to[n++] = '"';
        to[n++] = *name;
    }
    to[n++] = '"';
    to[n] = '\0';
    return 0;
}

static int
check_list(const char *setting, const char *text, struct err *e)
{
    const char *p = text;
    char name[NAME_CAP];
    int r;

    do
        r = conf_net_next_name(&p, name, sizeof name);
    while (r > 0);
    if (r == 0)
        return 0;
    (void) ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"%s\": \"%s\"", setting,
               text);
    err_detail(e, "List syntax is invalid.");
    err_hint(e, "Names are separated by commas; one with a comma is in double quotes.");
    return -ERR_INVALID_PARAMETER_VALUE;
}

int
conf_net_check(enum conf_id id, const char *text, struct err *e)
{
    if (id == CONF_listen_addresses || id == CONF_unix_socket_directories)
        return check_list(conf_desc(id)->name, text, e);
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
    char dir[NAME_CAP], name[32];

    (void) snprintf(name, sizeof name, "/.s.PGSQL.%d", (int) v->port);
    while (conf_net_next_name(&p, dir, sizeof dir) > 0) {
        if (strlen(dir) + strlen(name) <= PATH_MAX_BYTES)
            continue;
        (void) ERR(e, CONFIG_FILE_ERROR,
                   "Unix socket path \"%s%s\" is too long (maximum 107 bytes)", dir, name);
        err_hint(e, "Set unix_socket_directories to a shorter path.");
        return -ERR_CONFIG_FILE_ERROR;
    }
    return 0;
}
