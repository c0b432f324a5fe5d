/* Opening the sockets of the metrics page: by the stats process to serve it, and once by the
 * postmaster before it starts anybody, so that a place that cannot be had is told at the start.
 *
 * Runs in: postmaster, stats. Owns: nothing; descriptors are the caller's. */
#include "proc/metrics_listen.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/conf_net.h"

#define BACKLOG 16

static int
listen_fd(int fd, const struct sockaddr *sa, socklen_t n, const char *what, struct err *e)
{
    int on = 1;

    if (sa->sa_family != AF_UNIX)
        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, sa, n) < 0 || listen(fd, BACKLOG) < 0)
        return ERR_ERRNO(e, "could not listen on \"%s\" for metrics_listen", what);
    return 0;
}

/* Of a process that was killed: a socket that nobody answers on. Another file gives the same errno.
 */
static bool
is_left_over(int fd, const struct sockaddr_un *sa)
{
    struct stat st;

    return lstat(sa->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
           connect(fd, (const struct sockaddr *) sa, sizeof *sa) < 0 && errno == ECONNREFUSED;
}

static int
open_unix(const char *path, int *ret_fd, struct err *e)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (strlen(path) >= sizeof sa.sun_path)
        return ERR(e, INVALID_PARAMETER_VALUE, "metrics_listen: path \"%s\" is too long", path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    if (fd < 0)
        return ERR_ERRNO(e, "could not create a socket");
    if (is_left_over(fd, &sa))
        (void) unlink(path);
    r = listen_fd(fd, (const struct sockaddr *) &sa, sizeof sa, path, e);
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 1;
}

/* One address; 0: the machine does not know its family. */
static int
open_address(const struct addrinfo *a, const char *text, int *ret_fd, struct err *e)
{
    CLEANUP(closep) int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
    int on = 1;
    int r;

    if (fd < 0 && errno == EAFNOSUPPORT)
        return 0;
    if (a->ai_family == AF_INET6)
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    r = listen_fd(fd, a->ai_addr, a->ai_addrlen, text, e);
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 1;
}

static int
open_tcp(const char *text, int *fds, struct err *e)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *all = NULL;
    const char *port;
    char host[256];
    int n = 0;
    int r = 0;

    if (!conf_net_split(text, host, sizeof host, &port))
        return ERR(e, INVALID_PARAMETER_VALUE,
                   "metrics_listen: \"%s\" is neither host:port nor an absolute path", text);
    int rc = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, port, &want, &all);
    if (rc != 0)
        return ERR(e, INVALID_PARAMETER_VALUE, "metrics_listen: \"%s\": %s", text,
                   gai_strerror(rc));
    for (const struct addrinfo *a = all; a != NULL && r >= 0 && n < METRICS_LISTEN_MAX;
         a = a->ai_next) {
        r = open_address(a, text, &fds[n], e);
        n += r > 0;
    }
    freeaddrinfo(all);
    while (r < 0 && n > 0)
        closep(&fds[--n]);
    return r < 0 ? r : n;
}

int
metrics_listen(const char *where, int *fds, struct err *e)
{
    return where[0] == '/' ? open_unix(where, fds, e) : open_tcp(where, fds, e);
}

int
metrics_listen_try(const char *where, struct err *e)
{
    int fds[METRICS_LISTEN_MAX];
    int n = metrics_listen(where, fds, e);

    if (n < 0)
        return n;
    if (where[0] == '/')
        (void) unlink(where);
    while (n > 0)
        closep(&fds[--n]);
    return 0;
}
