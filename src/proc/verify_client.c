/* The few messages of PostgreSQL's protocol that asking a question takes.
 *
 * Not libpq: `piniond verify` is the same program as the server, and a library that is linked for
 * one tool is mapped and relocated in every fork of the postmaster (libpq brings Kerberos, LDAP and
 * SASL with it). What is needed here are five messages over a Unix socket.
 *
 * A question may keep the server busy for minutes. While one is under way SIGINT and SIGTERM are
 * blocked and arrive by a descriptor; the server is told to cancel it, then the signal has its way.
 *
 * Runs in: `piniond verify`. Owns: the socket, one buffer. Source: wal-format 6.1 … 6.7. */
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "proc/verify_int.h"

#define PROTOCOL_3   196608u
#define CANCEL_CODE  80877102u
#define CANCEL_BYTES 16u
#define MESSAGE_MAX  (4u << 20)
#define COLUMNS_MAX  8u
#define DATABASE     "postgres"
#define CONNECT_MSEC (30 * 1000)

struct verify_client {
    int fd;
    int signal_fd;
    int patience_msec; /* for each part of an answer; -1 = for ever */
    struct sockaddr_un at;
    uint8_t key[8]; /* of a cancel request */
    uint8_t *bytes; /* the last message's body and a NUL; owned */
    size_t cap;
    uint32_t n;
    char kind;
};

/* ---- signals ---- */

static sigset_t
signals(void)
{
    sigset_t set;

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGINT);
    (void) sigaddset(&set, SIGTERM);
    return set;
}

/* The server closes the connection when it has taken the request. */
static void
cancel(const struct verify_client *c)
{
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd closed = { .fd = fd, .events = POLLIN };
    uint8_t message[CANCEL_BYTES];

    put_be32(message, CANCEL_BYTES);
    put_be32(message + 4, CANCEL_CODE);
    memcpy(message + 8, c->key, sizeof c->key);
    if (fd >= 0 && connect(fd, (const struct sockaddr *) &c->at, sizeof c->at) == 0 &&
        send(fd, message, sizeof message, MSG_NOSIGNAL) == (ssize_t) sizeof message)
        (void) poll(&closed, 1, CONNECT_MSEC);
}

/* Until there is something to read. A signal ends the process. */
static int
wait_readable(const struct verify_client *c, struct err *e)
{
    struct pollfd fds[] = { { .fd = c->fd, .events = POLLIN },
                            { .fd = c->signal_fd, .events = POLLIN } };
    const sigset_t set = signals();
    int r = poll(fds, ELEMENTSOF(fds), c->patience_msec);

    if (r > 0 && fds[1].revents != 0) {
        cancel(c);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL); /* and it is delivered */
    }
    if (r == 0)
        return ERR(e, CONNECTION_FAILURE, "the server does not answer");
    return 0;
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
        int r = wait_readable(c, e);
        ssize_t got = r < 0 ? 0 : recv(c->fd, at, n, MSG_DONTWAIT);

        if (r < 0)
            return r;
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
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
            memcpy(c->key, c->bytes, sizeof c->key);
        if (c->kind == 'Z')
            return 0;
    }
}

int
verify_client_open(const char *socket_path, const char *user, struct verify_client **ret,
                   struct err *e)
{
    struct verify_client *c = calloc(1, sizeof *c);
    const sigset_t set = signals();
    int r;

    if (c == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    c->at.sun_family = AF_UNIX;
    (void) snprintf(c->at.sun_path, sizeof c->at.sun_path, "%s", socket_path);
    c->patience_msec = CONNECT_MSEC;
    c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->signal_fd < 0 || c->fd < 0 ||
        connect(c->fd, (const struct sockaddr *) &c->at, sizeof c->at) < 0)
        r = ERR(e, CONNECTION_FAILURE, "could not connect to \"%s\": %m", socket_path);
    else
        r = send_startup(c, user, e);
    if (r == 0)
        r = log_in(c, e);
    if (r < 0) {
        verify_client_close(c);
        return r;
    }
    c->patience_msec = -1; /* a check takes long */
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
    closep(&c->signal_fd);
    free(c->bytes);
    free(c);
}

static int
ask(struct verify_client *c, const char *sql, struct err *e)
{
    uint8_t bytes[1024];
    struct buf b = buf_init(bytes, sizeof bytes);

    buf_put_u8(&b, 'Q');
    buf_put_be32(&b, 0);
    buf_put(&b, sql, strlen(sql) + 1);
    ASSERT(buf_ok(&b));
    buf_patch_be32(&b, 1, (uint32_t) b.n - 1);
    return send_all(c, bytes, b.n, e);
}

/* All messages up to ReadyForQuery, also behind an error. */
static int
take_answer(struct verify_client *c, verify_row_fn fn, void *arg, struct err *e)
{
    struct err ignored = ERR_INIT;
    int r = 0;

    do {
        int got = receive(c, r < 0 ? &ignored : e);

        if (got < 0)
            return r < 0 ? r : got;
        if (c->kind == 'E' && r >= 0)
            r = failed(c, e);
        else if (c->kind == 'D' && r >= 0)
            r = take_row(c, fn, arg, e);
    } while (c->kind != 'Z');
    return r < 0 ? r : 0;
}

int
verify_client_query(struct verify_client *c, const char *sql, verify_row_fn fn, void *arg,
                    struct err *e)
{
    const sigset_t set = signals();
    sigset_t before;
    int r;

    (void) sigprocmask(SIG_BLOCK, &set, &before);
    r = ask(c, sql, e);
    if (r >= 0)
        r = take_answer(c, fn, arg, e);
    (void) sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}
