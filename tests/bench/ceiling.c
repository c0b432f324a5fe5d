/* The ceiling: what the machine allows a server that does nothing.
 *
 *   ceiling serve PATH         forks per connection as the postmaster does and answers pgbench's
 * statements with replies of the right shape, through our own wire code: no SQL, no log, no sync
 *   ceiling echo PATH BYTES    answers each request that ends in NUL with BYTES bytes: beside the
 * control socket ceiling sync FILE SECONDS  writes 8 kB in sequence and syncs each: prints how many
 * a second
 *
 * Runs in: a program of its own, which ends with its parent. Owns: everything. Source: design 10;
 * wal-format.md 6.7, 6.8. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "pgwire/pgwire_conn.h"
#include "pgwire/pgwire_fsm.h"

enum { NAMES_MAX = 64, SYNC_BYTES = 8192, SYNC_FILE_BYTES = 16 << 20 };

/* ---- what statements answer ---- */

/* clang-format off */
static const struct answer {
    const char *word, *tag;
    char status; /* of the session afterwards; 0: as before */
    bool has_row;
} answers[] = {
    { "BEGIN",  "BEGIN",      'T', false },
    { "END",    "COMMIT",     'I', false },
    { "COMMIT", "COMMIT",     'I', false },
    { "UPDATE", "UPDATE 1",   0,   false },
    { "INSERT", "INSERT 0 1", 0,   false },
    { "SELECT", "SELECT 1",   0,   true },
};
/* clang-format on */

struct client {
    int fd;
    struct pgwire_conn conn;
    char status;
    struct {
        char name[64];
        const struct answer *answer;
    } named[NAMES_MAX]; /* prepared statements */
    unsigned n_named;
    const struct answer *portal;
};

static const struct answer *
answer_of(const char *text)
{
    for (size_t i = 0; i < ELEMENTSOF(answers); i++)
        if (strncasecmp(text, answers[i].word, strlen(answers[i].word)) == 0)
            return &answers[i];
    return NULL;
}

static void
put_columns(struct client *c)
{
    static const struct pgwire_column column = {
        .name = "abalance", .type_oid = 23, .type_len = 4, .type_mod = -1
    };

    pgwire_begin_columns(&c->conn.out, 1);
    pgwire_put_column(&c->conn.out, &column);
    pgwire_end(&c->conn.out);
}

static void
put_answer(struct client *c, const struct answer *a)
{
    if (a->has_row) {
        pgwire_begin_row(&c->conn.out, 1);
        pgwire_put_value(&c->conn.out, "0", 1);
        pgwire_end(&c->conn.out);
    }
    pgwire_put_complete(&c->conn.out, a->tag);
    if (a->status != 0)
        c->status = a->status;
}

/* ---- the socket ---- */

static ssize_t
on_recv(void *arg, void *p, size_t n)
{
    return pgwire_sock_recv(((struct client *) arg)->fd, p, n);
}

static ssize_t
on_send(void *arg, const void *p, size_t n)
{
    return pgwire_sock_send(((struct client *) arg)->fd, p, n);
}

static int
on_wait(void *arg, bool for_write, struct err *e)
{
    struct pollfd p = { .fd = ((struct client *) arg)->fd, .events = for_write ? POLLOUT : POLLIN };

    return poll(&p, 1, -1) < 0 ? ERR_ERRNO(e, "could not wait for the client") : 0;
}

static const struct pgwire_io sock = { .recv = on_recv, .send = on_send, .wait = on_wait };

/* ---- messages ---- */

static int
on_query(struct client *c, const struct pgwire_msg *m, struct err *e)
{
    const char *text;
    int r = pgwire_get_query(m, &text, e);

    while (r == 0 && text != NULL && *(text += strspn(text, " \n\t;")) != '\0') {
        const struct answer *a = answer_of(text);

        if (a == NULL)
            return ERR(e, FEATURE_NOT_SUPPORTED, "no answer to: %s", text);
        if (a->has_row)
            put_columns(c);
        put_answer(c, a);
        text = strchr(text, ';');
    }
    return r;
}

static int
on_parse(struct client *c, const struct pgwire_msg *m, struct err *e)
{
    struct pgwire_parse p;
    int r = pgwire_get_parse(m, &p, e);

    if (r < 0)
        return r;
    c->portal = answer_of(p.text);
    if (c->portal == NULL || c->n_named == NAMES_MAX)
        return ERR(e, FEATURE_NOT_SUPPORTED, "no answer to: %s", p.text);
    (void) snprintf(c->named[c->n_named].name, sizeof c->named[0].name, "%s", p.name);
    c->named[c->n_named].answer = c->portal;
    c->n_named += p.name[0] != '\0';
    pgwire_put_bare(&c->conn.out, PGWIRE_PARSE_COMPLETE);
    return 0;
}

static int
on_bind(struct client *c, const struct pgwire_msg *m, struct err *e)
{
    struct pgwire_bind b;
    int r = pgwire_get_bind(m, &b, e);

    for (unsigned i = 0; r == 0 && i < c->n_named; i++)
        if (strcmp(c->named[i].name, b.name) == 0)
            c->portal = c->named[i].answer;
    pgwire_put_bare(&c->conn.out, PGWIRE_BIND_COMPLETE);
    return r;
}

static int
on_execute(struct client *c, enum pgwire_event what, struct err *e)
{
    if (c->portal == NULL)
        return ERR(e, PROTOCOL_VIOLATION, "nothing was bound");
    if (what == PGWIRE_ON_EXECUTE)
        put_answer(c, c->portal);
    else if (c->portal->has_row)
        put_columns(c);
    else
        pgwire_put_bare(&c->conn.out, PGWIRE_NO_DATA);
    return 0;
}

/* One message. < 0: the end. */
static int
answer(struct client *c, const struct pgwire_msg *m, struct err *e)
{
    enum pgwire_event what = pgwire_event_of_type(m->type);
    int r = 0;

    if (what == PGWIRE_ON_TERMINATE)
        _exit(0);
    if (what == PGWIRE_ON_QUERY)
        r = on_query(c, m, e);
    else if (what == PGWIRE_ON_PARSE)
        r = on_parse(c, m, e);
    else if (what == PGWIRE_ON_BIND)
        r = on_bind(c, m, e);
    else if (what == PGWIRE_ON_DESCRIBE || what == PGWIRE_ON_EXECUTE)
        r = on_execute(c, what, e);
    else if (what != PGWIRE_ON_SYNC && what != PGWIRE_ON_FLUSH)
        r = ERR(e, FEATURE_NOT_SUPPORTED, "no answer to message '%c'", m->type);
    if (r < 0)
        return r;
    if (what == PGWIRE_ON_QUERY || what == PGWIRE_ON_SYNC)
        pgwire_put_ready(&c->conn.out, c->status);
    return pgwire_has_input(&c->conn) ? 0 : pgwire_flush(&c->conn, e);
}

static int
greet(struct client *c, struct err *e)
{
    static const char *const settings[][2] = {
        { "application_name", "" },
        { "client_encoding", "UTF8" },
        { "DateStyle", "ISO, MDY" },
        { "integer_datetimes", "on" },
        { "is_superuser", "on" },
        { "server_encoding", "UTF8" },
        { "server_version", "15.0" },
        { "TimeZone", "UTC" },
        { "standard_conforming_strings", "on" },
    };
    const uint8_t *p;
    size_t n;
    int r = pgwire_read_startup(&c->conn, &p, &n, e);

    if (r != 0)
        return r < 0 ? r : ERR(e, CONNECTION_FAILURE, "nothing came");
    pgwire_put_auth_ok(&c->conn.out);
    for (size_t i = 0; i < ELEMENTSOF(settings); i++)
        pgwire_put_parameter(&c->conn.out, settings[i][0], settings[i][1]);
    pgwire_put_backend_key(&c->conn.out, (uint32_t) getpid(), 1);
    pgwire_put_ready(&c->conn.out, c->status);
    return pgwire_flush(&c->conn, e);
}

NORETURN static void
serve_client(int fd)
{
    static struct client client;
    struct err e = ERR_INIT;
    int r;

    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    client.fd = fd;
    client.status = 'I';
    pgwire_conn_init(&client.conn, &sock, &client);
    r = greet(&client, &e);
    while (r == 0) {
        struct pgwire_msg m;

        r = pgwire_read_message(&client.conn, &m, &e);
        if (r == 0)
            r = answer(&client, &m, &e);
    }
    if (r < 0 && r != -ERR_CONNECTION_FAILURE)
        (void) fprintf(stderr, "ceiling: %s\n", e.message);
    _exit(r < 0);
}

/* ---- programs ---- */

/* A Unix socket that listens, or -1. */
static int
listen_at(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void) snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof sa) < 0 || listen(fd, 1024) < 0)
        return -1;
    (void) puts("listening");
    (void) fflush(stdout);
    return fd;
}

static int
run_serve(const char *path)
{
    int at, fd;

    (void) signal(SIGCHLD, SIG_IGN); /* nobody waits for them */
    at = listen_at(path);
    while (at >= 0 && (fd = accept4(at, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        pid_t pid = fork();

        if (pid == 0)
            serve_client(fd);
        (void) close(fd);
    }
    perror("ceiling serve");
    return 1;
}

static void
echo_client(int fd, const char *reply, size_t n)
{
    char in[4096];
    ssize_t got;

    while ((got = recv(fd, in, sizeof in, 0)) > 0)
        if (in[got - 1] == '\0' && send(fd, reply, n, MSG_NOSIGNAL) != (ssize_t) n)
            break;
    (void) close(fd);
}

static int
run_echo(const char *path, const char *bytes)
{
    static char reply[65536];
    size_t n = strtoul(bytes, NULL, 10);
    int at, fd;

    if (n < 1 || n > sizeof reply)
        return 64;
    memset(reply, 'x', n - 1);
    at = listen_at(path);
    while (at >= 0 && (fd = accept4(at, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        echo_client(fd, reply, n);
    perror("ceiling echo");
    return 1;
}

static int
run_sync(const char *path, const char *seconds)
{
    static char block[SYNC_BYTES];
    usec_t from, now, end;
    off_t at = 0;
    long n = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    memset(block, 'x', sizeof block);
    for (off_t i = 0; fd >= 0 && i < SYNC_FILE_BYTES; i += SYNC_BYTES)
        if (pwrite(fd, block, sizeof block, i) != (ssize_t) sizeof block)
            break;
    if (fd < 0 || fsync(fd) < 0) {
        perror("ceiling sync");
        return 1;
    }
    from = now = clock_mono_usec();
    end = from + (usec_t) (strtod(seconds, NULL) * USEC_PER_SEC);
    for (; now < end; n++, now = clock_mono_usec()) {
        if (pwrite(fd, block, sizeof block, at) != (ssize_t) sizeof block || fdatasync(fd) < 0)
            return 1;
        at = (at + SYNC_BYTES) % SYNC_FILE_BYTES;
    }
    (void) printf("%.1f\n", (double) n * USEC_PER_SEC / (double) (now - from));
    return 0;
}

int
main(int argc, char **argv)
{
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return run_serve(argv[2]);
    if (argc == 4 && strcmp(argv[1], "echo") == 0)
        return run_echo(argv[2], argv[3]);
    if (argc == 4 && strcmp(argv[1], "sync") == 0)
        return run_sync(argv[2], argv[3]);
    (void) fputs("usage: ceiling serve PATH | echo PATH BYTES | sync FILE SECONDS\n", stderr);
    return 64;
}
