/* The client side of Varlink, and what its errors mean to a person.
 * Runs in: pinionctl. Owns: the connection. Source: UAPI.20 "Varlink IPC"; systemd-ops 2.5, 4.3. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLY_MAX    (16 * 1024 * 1024)
#define SEND_SECONDS 10 /* then a server that takes or reads nothing is given up */
#define OWN          "org.pinion.Control."
#define STANDARD     "org.varlink.service."

static const struct {
    const char *name;
    int exit;
} own_errors[] = {
/* clang-format off */
#define CONTROL_ERROR(id, name, fields, exit) { OWN name, exit },
#include "tbl/control_errors.def"
#undef CONTROL_ERROR
    /* clang-format on */
};

/* A path of any length is reached through its directory's descriptor. */
static int
fill_address(struct sockaddr_un *addr, const char *path, int *ret_dir_fd)
{
    const char *slash = strrchr(path, '/');
    char dir[4096];

    *ret_dir_fd = -1;
    addr->sun_family = AF_UNIX;
    if (strlen(path) < sizeof addr->sun_path) {
        (void) snprintf(addr->sun_path, sizeof addr->sun_path, "%s", path);
        return 0;
    }
    if (slash == NULL || (size_t) (slash - path) >= sizeof dir - 1 || strlen(slash) > 64) {
        errno = ENAMETOOLONG;
        return -1;
    }
    (void) snprintf(dir, sizeof dir, "%.*s", (int) (slash - path + 1), path);
    *ret_dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*ret_dir_fd < 0)
        return -1;
    (void) snprintf(addr->sun_path, sizeof addr->sun_path, "/proc/self/fd/%d%s", *ret_dir_fd,
                    slash);
    return 0;
}

int
client_open(struct client *c, const char *path, struct problem *p)
{
    struct sockaddr_un addr = { 0 };
    CLEANUP(closep) int dir_fd = -1;
    const struct timeval most = { .tv_sec = SEND_SECONDS };
    struct ucred cred;
    socklen_t bytes = sizeof cred;

    memset(c, 0, sizeof *c);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return fail(p, CTL_FAILED, "could not create a socket: %m");
    (void) setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most); /* of connect(), too */
    if (fill_address(&addr, path, &dir_fd) < 0 ||
        connect(c->fd, (struct sockaddr *) &addr, sizeof addr) < 0) {
        int e = errno;
        client_close(c);
        errno = e;
        if (e == ENOENT || e == ECONNREFUSED || e == ENOTDIR)
            return fail(p, CTL_NOT_RUNNING, "no server listens at \"%s\"", path);
        if (e == EAGAIN)
            return fail(p, CTL_UNREACHABLE, "the server takes no connection at \"%s\"", path);
        fail(p, e == EACCES || e == EPERM ? CTL_PERMISSION : CTL_FAILED,
             "could not connect to \"%s\": %m", path);
        if (p->exit == CTL_PERMISSION)
            hint(p, "Run this as root or as the server's user.");
        return p->exit;
    }
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) == 0)
        c->server_pid = cred.pid;
    return 0;
}

void
client_close(struct client *c)
{
    if (c->fd > 0)
        (void) close(c->fd);
    free(c->bytes);
    memset(c, 0, sizeof *c);
}

static int
send_all(struct client *c, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -1;
        p += sent;
        n -= (size_t) sent;
    }
    return 0;
}

int
client_send(struct client *c, const char *method, json_t *parameters, bool more, struct problem *p)
{
    json_auto_t *call = json_object();

    (void) snprintf(c->method, sizeof c->method, "%s%s", strchr(method, '.') == NULL ? OWN : "",
                    method);
    (void) json_object_set_new(call, "method", json_string(c->method));
    if (parameters != NULL)
        (void) json_object_set_new(call, "parameters", parameters);
    if (more)
        (void) json_object_set_new(call, "more", json_true());
    CLEANUP(freep) char *text = json_dumps(call, JSON_COMPACT);
    if (text == NULL)
        return fail(p, CTL_USAGE, "the call cannot be written as JSON");
    if (send_all(c, text, strlen(text) + 1) < 0)
        return fail(p, CTL_UNREACHABLE, "could not send to the server: %m");
    return 0;
}

/* Wait for bytes. */
static int
receive(struct client *c, uint64_t deadline, struct problem *p)
{
    struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
    uint64_t now = now_mono_usec(), left = now >= deadline ? 0 : (deadline - now) / 1000 + 1;
    int r = poll(&pfd, 1,
                 deadline == CLIENT_NO_TIMEOUT ? -1
                 : left > INT_MAX              ? INT_MAX
                                               : (int) left);

    if (util_interrupted)
        return fail(p, CTL_INTERRUPTED, "interrupted; what was asked goes on");
    if (r == 0 && left > INT_MAX)
        return 0;
    if (r == 0)
        return fail(p, CTL_TIMED_OUT, "timed out; what was asked goes on");
    if (r < 0)
        return errno == EINTR ? 0 : fail(p, CTL_FAILED, "could not wait for the server: %m");
    if (c->n == c->cap) {
        size_t cap = c->cap == 0 ? 65536 : 2 * c->cap;
        char *bytes = cap > REPLY_MAX ? NULL : realloc(c->bytes, cap);
        if (bytes == NULL)
            return fail(p, CTL_PROTOCOL, "the server's reply is too long");
        c->bytes = bytes;
        c->cap = cap;
    }
    ssize_t n = recv(c->fd, c->bytes + c->n, c->cap - c->n, 0);
    if (n <= 0)
        return fail(p, CTL_UNREACHABLE, "the server closed the connection");
    c->n += (size_t) n;
    return 0;
}

/* The next complete message as JSON. */
static int
next_object(struct client *c, uint64_t deadline, json_t **ret, struct problem *p)
{
    char *nul;

    while (c->n == 0 || (nul = memchr(c->bytes, '\0', c->n)) == NULL) {
        int r = receive(c, deadline, p);
        if (r != 0)
            return r;
    }
    size_t n = (size_t) (nul - c->bytes);
    *ret = json_loadb(c->bytes, n, JSON_REJECT_DUPLICATES, NULL);
    c->n -= n + 1;
    memmove(c->bytes, nul + 1, c->n);
    if (!json_is_object(*ret))
        return fail(p, CTL_PROTOCOL, "the server sent something that is not a Varlink reply");
    return 0;
}

void
client_add_problem(struct problem *p, const json_t *o)
{
    const char *file = json_string_value(json_object_get(o, "file"));
    const char *message = json_string_value(json_object_get(o, "message"));
    const char *advice = json_string_value(json_object_get(o, "hint"));
    long long line = json_integer_value(json_object_get(o, "line"));
    char place[600] = "";
    size_t n = strlen(p->detail);

    if (file != NULL && line > 0)
        (void) snprintf(place, sizeof place, "%s:%lld: ", file, line);
    else if (file != NULL)
        (void) snprintf(place, sizeof place, "%s: ", file);
    (void) snprintf(p->detail + n, sizeof p->detail - n, "%s%s%s%s%s", n > 0 ? "\n" : "", place,
                    message == NULL ? "?" : message, advice != NULL ? "\n    hint: " : "",
                    advice != NULL ? advice : "");
}

static void
permission_problem(struct client *c, struct problem *p)
{
    const char *name = strrchr(c->method, '.');
    const struct passwd *pw = getpwuid(geteuid()); /* NOLINT(concurrency-mt-unsafe): one thread */
    const char *who = pw == NULL ? "you" : pw->pw_name;

    fail(p, CTL_PERMISSION, "permission denied for %s, uid %u (%s)",
         name == NULL ? c->method : name + 1, (unsigned) geteuid(), who);
    hint(p,
         "It needs root, the server's user or membership in group pinion-admin (to look: "
         "pinion-monitor): sudo adduser %s pinion-admin, then log in again.",
         who);
}

/* An error reply in words. */
static int
explain(struct client *c, const char *name, const json_t *parameters, struct problem *p)
{
    const char *message = json_string_value(json_object_get(parameters, "message"));
    const char *detail = json_string_value(json_object_get(parameters, "detail"));
    const char *advice = json_string_value(json_object_get(parameters, "hint"));
    const char *parameter = json_string_value(json_object_get(parameters, "parameter"));
    size_t i;
    json_t *o;

    if (strcmp(name, STANDARD "PermissionDenied") == 0)
        permission_problem(c, p);
    else if (strcmp(name, STANDARD "MethodNotFound") == 0)
        fail(p, CTL_FAILED, "the server has no method \"%s\"", c->method);
    else if (strcmp(name, STANDARD "InvalidParameter") == 0)
        fail(p, CTL_FAILED, "parameter \"%s\" of \"%s\" is wrong or unknown",
             parameter == NULL ? "?" : parameter, c->method);
    else if (strcmp(name, STANDARD "InterfaceNotFound") == 0)
        fail(p, CTL_FAILED, "the server has no such interface");
    else
        fail(p, CTL_FAILED, "%s", message == NULL ? name : message);
    for (size_t k = 0; k < ELEMENTSOF(own_errors); k++) {
        if (strcmp(own_errors[k].name, name) == 0)
            p->exit = own_errors[k].exit;
    }
    (void) snprintf(p->name, sizeof p->name, "%s", name);
    if (detail != NULL)
        (void) snprintf(p->detail, sizeof p->detail, "%s", detail);
    if (advice != NULL)
        hint(p, "%s", advice);
    json_array_foreach(json_object_get(parameters, "problems"), i, o) client_add_problem(p, o);
    return p->exit;
}

int
client_next(struct client *c, uint64_t deadline_usec, json_t **ret, bool *ret_continues,
            struct problem *p)
{
    json_auto_t *reply = NULL;
    int r = next_object(c, deadline_usec, &reply, p);

    *ret = NULL;
    if (r != 0)
        return r;
    const json_t *error = json_object_get(reply, "error");
    json_t *parameters = json_object_get(reply, "parameters");
    if (ret_continues != NULL)
        *ret_continues = json_is_true(json_object_get(reply, "continues"));
    *ret = json_is_object(parameters) ? json_incref(parameters) : json_object();
    if (error == NULL)
        return 0;
    if (!json_is_string(error))
        return fail(p, CTL_PROTOCOL, "the server sent an error without a name");
    return explain(c, json_string_value(error), *ret, p);
}

int
client_call(struct client *c, const char *method, json_t *parameters, uint64_t deadline_usec,
            json_t **ret, struct problem *p)
{
    int r = client_send(c, method, parameters, false, p);

    *ret = NULL;
    return r != 0 ? r : client_next(c, deadline_usec, ret, NULL, p);
}
