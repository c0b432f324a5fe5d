/* The few messages of PostgreSQL's protocol that asking a question takes. Runs in: `piniond
 * verify`. Owns: the socket, one buffer. Source: wal-format 6.1 … 6.7. */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "proc/verify_int.h"

#define PROTOCOL_3     196608u
#define CANCEL_CODE    80877102u
#define MESSAGE_MAX    (4u << 20)
#define COLUMNS_MAX    8u
#define DATABASE       "postgres"
#define CONNECT_SEC    30
#define EXIT_INTERRUPT 130

struct verify_client {
    int fd;
    uint8_t *bytes; /* the last message's body and a NUL; owned */
    size_t cap;
    uint32_t n;
    char kind;
};

/* For the signal handler: where to, and what. Written before it is installed. */
static struct {
    struct sockaddr_un at;
    uint8_t message[16];
} cancel;

static void
on_signal(int sig)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void) sig;
    if (fd >= 0 && connect(fd, (const struct sockaddr *) &cancel.at, sizeof cancel.at) == 0) {
        ssize_t n = write(fd, cancel.message, sizeof cancel.message);

        (void) n;
        (void) read(fd, cancel.message, 1); /* closed when it was taken */
    }
    _exit(EXIT_INTERRUPT);
}

/* ---- messages ---- */

static int
send_all(struct verify_client *c, const void *p, size_t n, struct err *e)
{
    const uint8_t *at = p;

    while (n > 0) {
        ssize_t sent = send(c->fd, at, n, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return ERR(e, CONNECTION_FAILURE, "could not send to the server: %m");
        at += sent;
        n -= (size_t) sent;
    }
    return 0;
}

static int
receive_all(struct verify_client *c, void *p, size_t n, struct err *e)
{
    uint8_t *at = p;

    while (n > 0) {
        ssize_t got = recv(c->fd, at, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return ERR(e, CONNECTION_FAILURE, "the server closed the connection");
        at += got;
        n -= (size_t) got;
    }
    return 0;
}

static int
receive(struct verify_client *c, struct err *e)
{
    uint8_t head[5];
    int r = receive_all(c, head, sizeof head, e);

    if (r < 0)
        return r;
    c->kind = (char) head[0];
    c->n = get_be32(head + 1) - 4;
    if (c->n > MESSAGE_MAX)
        return ERR(e, PROTOCOL_VIOLATION, "the server sent a message of impossible length");
    if (c->n + 1 > c->cap) {
        uint8_t *grown = realloc(c->bytes, c->n + 1);

        if (grown == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
        c->bytes = grown;
        c->cap = c->n + 1;
    }
    c->bytes[c->n] = '\0';
    return receive_all(c, c->bytes, c->n, e);
}

static int
code_of(const char *sqlstate)
{
    for (int code = ERR_BASE + 1; code < ERR_CODES_END; code++) {
        if (strcmp(err_sqlstate(-code), sqlstate) == 0)
            return code;
    }
    return ERR_INTERNAL_ERROR;
}

/* ErrorResponse. */
static int
failed(const struct verify_client *c, struct err *e)
{
    struct cur cur = cur_init(c->bytes, c->n);
    const char *message = "", *detail = NULL, *hint = NULL, *state = "XX000";
    char field;
    int r;

    while ((field = (char) cur_u8(&cur)) != '\0') {
        const char *text = cur_str(&cur);

        if (text == NULL)
            break;
        if (field == 'M')
            message = text;
        else if (field == 'C')
            state = text;
        else if (field == 'D')
            detail = text;
        else if (field == 'H')
            hint = text;
    }
    r = err_set(e, -code_of(state), "%s", message);
    if (detail != NULL)
        err_detail(e, "%s", detail);
    if (hint != NULL)
        err_hint(e, "%s", hint);
    return r;
}

static int
take_row(struct verify_client *c, verify_row_fn fn, void *arg, struct err *e)
{
    struct cur cur = cur_init(c->bytes, c->n);
    const char *values[COLUMNS_MAX] = { NULL };
    uint32_t n = cur_be16(&cur);

    if (n > COLUMNS_MAX)
        return ERR(e, PROTOCOL_VIOLATION, "the server sent too many columns");
    for (uint32_t i = 0; i < n; i++) {
        int32_t len = (int32_t) cur_be32(&cur);
        uint8_t *at = (uint8_t *) (uintptr_t) cur.p;

        if (i > 0 && values[i - 1] != NULL)
            at[-4] = '\0'; /* where the length was: the value before ends here */
        if (len < 0)
            continue;
        values[i] = (const char *) cur_take(&cur, (size_t) len);
    }
    return cur.failed ? ERR(e, PROTOCOL_VIOLATION, "the server sent a broken row")
                      : fn(arg, n, values);
}

/* ---- connecting ---- */

static const char *
user_name(const char *user, char *bytes, size_t n)
{
    struct passwd pw;
    struct passwd *found = NULL;

    if (user != NULL)
        return user;
    if (getpwuid_r(geteuid(), &pw, bytes, n, &found) != 0 || found == NULL)
        return "postgres";
    return found->pw_name;
}

static int
send_startup(struct verify_client *c, const char *user, struct err *e)
{
    char pw[4096];
    uint8_t bytes[512];
    struct buf b = buf_init(bytes, sizeof bytes);
    const char *name = user_name(user, pw, sizeof pw);

    buf_put_be32(&b, 0);
    buf_put_be32(&b, PROTOCOL_3);
    buf_put(&b, "user", 5);
    buf_put(&b, name, strlen(name) + 1);
    buf_put(&b, "database", 9);
    buf_put(&b, DATABASE, sizeof DATABASE);
    buf_put(&b, "application_name", 17);
    buf_put(&b, "pinionctl verify", 17);
    buf_put_u8(&b, 0);
    if (!buf_ok(&b))
        return ERR(e, INVALID_PARAMETER_VALUE, "the name of the role is too long");
    buf_patch_be32(&b, 0, (uint32_t) b.n);
    return send_all(c, bytes, b.n, e);
}

/* AuthenticationOk … ReadyForQuery. */
static int
log_in(struct verify_client *c, struct err *e)
{
    for (;;) {
        int r = receive(c, e);

        if (r < 0)
            return r;
        if (c->kind == 'E')
            return failed(c, e);
        if (c->kind == 'R' && (c->n < 4 || get_be32(c->bytes) != 0))
            return ERR(e, INVALID_PASSWORD, "the server wants a password");
        if (c->kind == 'K' && c->n == 8)
            memcpy(cancel.message + 8, c->bytes, 8);
        if (c->kind == 'Z')
            return 0;
    }
}

static void
catch_signals(const struct sockaddr_un *at)
{
    struct sigaction sa = { .sa_handler = on_signal };

    cancel.at = *at;
    put_be32(cancel.message, sizeof cancel.message);
    put_be32(cancel.message + 4, CANCEL_CODE);
    (void) sigaction(SIGINT, &sa, NULL);
    (void) sigaction(SIGTERM, &sa, NULL);
}

int
verify_client_open(const char *socket_path, const char *user, struct verify_client **ret,
                   struct err *e)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = CONNECT_SEC };
    struct timeval none = { .tv_sec = 0 };
    struct verify_client *c = calloc(1, sizeof *c);
    int r;

    if (c == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    (void) snprintf(at.sun_path, sizeof at.sun_path, "%s", socket_path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *) &at, sizeof at) < 0) {
        r = ERR(e, CONNECTION_FAILURE, "could not connect to \"%s\": %m", socket_path);
    } else {
        (void) setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        r = send_startup(c, user, e);
    }
    if (r == 0)
        r = log_in(c, e);
    if (r < 0) {
        verify_client_close(c);
        return r;
    }
    (void) setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none); /* a check takes long */
    catch_signals(&at);
    *ret = c;
    return 0;
}

void
verify_client_close(struct verify_client *c)
{
    struct err ignored = ERR_INIT;

    if (c == NULL)
        return;
    if (c->fd >= 0)
        (void) send_all(c, "X\0\0\0\4", 5, &ignored);
    closep(&c->fd);
    free(c->bytes);
    free(c);
}

int
verify_client_query(struct verify_client *c, const char *sql, verify_row_fn fn, void *arg,
                    struct err *e)
{
    uint8_t bytes[1024];
    struct buf b = buf_init(bytes, sizeof bytes);
    int r;

    buf_put_u8(&b, 'Q');
    buf_put_be32(&b, 0);
    buf_put(&b, sql, strlen(sql) + 1);
    ASSERT(buf_ok(&b));
    buf_patch_be32(&b, 1, (uint32_t) b.n - 1);
    r = send_all(c, bytes, b.n, e);
    while (r >= 0) {
        int got = receive(c, e);

        if (got < 0)
            return got;
        if (c->kind == 'E')
            r = failed(c, e);
        else if (c->kind == 'D' && r == 0)
            r = take_row(c, fn, arg, e);
        else if (c->kind == 'Z')
            return 0;
    }
    while (c->kind != 'Z') { /* what follows an error */
        struct err ignored = ERR_INIT;

        if (receive(c, &ignored) < 0)
            break;
    }
    return r;
}
