/* Buffers of one connection. A claimed length makes no allocation: the buffer grows as bytes
 * arrive.
 *
 * Runs in: backend, dead-end child, tests. Owns: both buffers; the descriptor belongs to the
 * caller's pgwire_io. Source: wal-format.md 6.1 (framing and limits). */
#include "pgwire/pgwire_conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

void
pgwire_conn_init(struct pgwire_conn *c, const struct pgwire_io *io, void *arg)
{
    *c = (struct pgwire_conn){ .io = io, .arg = arg };
}

void
pgwire_conn_done(struct pgwire_conn *c)
{
    free(c->in);
    pgwire_out_done(&c->out);
    *c = (struct pgwire_conn){ 0 };
}

bool
pgwire_has_input(const struct pgwire_conn *c)
{
    return c->in_n > c->in_at;
}

/* Room for at least one more byte, of n that are wanted in all. */
static int
make_room(struct pgwire_conn *c, size_t n, struct err *e)
{
    size_t cap = c->in_cap > 0 ? c->in_cap * 2 : PGWIRE_IN_BYTES;
    uint8_t *p;

    if (c->in_at > 0) {
        memmove(c->in, c->in + c->in_at, c->in_n - c->in_at);
        c->in_n -= c->in_at;
        c->in_at = 0;
    }
    if (c->in_n < c->in_cap)
        return 0;
    if (cap > PGWIRE_KEEP_BYTES && n > c->in_cap)
        cap = MIN(cap, n); /* a large message has its length, not twice that */
    p = realloc(c->in, cap);
    if (p == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    c->in = p;
    c->in_cap = cap;
    return 0;
}

/* Before a new message: give a large buffer back. */
static void
shrink(struct pgwire_conn *c)
{
    if (c->in_at == c->in_n)
        c->in_at = c->in_n = 0;
    if (c->in_cap > PGWIRE_KEEP_BYTES && c->in_n - c->in_at <= PGWIRE_IN_BYTES) {
        uint8_t *p = malloc(PGWIRE_IN_BYTES);

        if (p == NULL)
            return;
        if (c->in_n > c->in_at)
            memcpy(p, c->in + c->in_at, c->in_n - c->in_at);
        free(c->in);
        c->in_n -= c->in_at;
        c->in_at = 0;
        c->in = p;
        c->in_cap = PGWIRE_IN_BYTES;
    }
}

/* Until n unread bytes are in the buffer. Returns 0, PGWIRE_EOF if none is, < 0. A socket that gave
 * less than there was room for is empty: wait first, and save the call that would say so. */
static int
need(struct pgwire_conn *c, size_t n, struct err *e)
{
    while (c->in_n - c->in_at < n) {
        ssize_t got;
        int r = c->in_n == c->in_cap ? make_room(c, n, e) : 0;

        if (r == 0 && !c->may_have_more)
            r = c->io->wait(c->arg, false, e);
        if (r < 0)
            return r;
        got = c->io->recv(c->arg, c->in + c->in_n, c->in_cap - c->in_n);
        c->may_have_more = got == (ssize_t) (c->in_cap - c->in_n) || got == -EINTR;
        if (got > 0) {
            c->in_n += (size_t) got;
            continue;
        }
        if (got == -EINTR || got == -EAGAIN)
            continue;
        if (got == 0 && c->in_n == c->in_at)
            return PGWIRE_EOF;
        if (got == 0)
            return ERR(e, CONNECTION_FAILURE, "unexpected EOF on client connection");
        return ERR(e, CONNECTION_FAILURE, "could not receive data from client: %s",
                   strerrordesc_np((int) -got));
    }
    return 0;
}

int
pgwire_read_startup(struct pgwire_conn *c, const uint8_t **ret_p, size_t *ret_n, struct err *e)
{
    uint32_t n;
    int r;

    shrink(c);
    r = need(c, 4, e);
    if (r != 0)
        return r;
    n = get_be32(c->in + c->in_at);
    if (n < PGWIRE_STARTUP_BYTES_MIN || n > PGWIRE_STARTUP_BYTES_MAX)
        return ERR(e, PROTOCOL_VIOLATION, "invalid length of startup packet");
    r = need(c, n, e);
    if (r != 0)
        return r;
    *ret_p = c->in + c->in_at + 4;
    *ret_n = n - 4;
    c->in_at += n;
    return 0;
}

/* Past n bytes that nobody wants. */
static int
skip(struct pgwire_conn *c, size_t n, struct err *e)
{
    while (n > 0) {
        size_t part = MIN(n, c->in_n - c->in_at);
        int r;

        c->in_at += part;
        n -= part;
        if (n == 0)
            break;
        c->in_at = c->in_n = 0;
        r = need(c, 1, e);
        if (r == PGWIRE_EOF)
            r = ERR(e, CONNECTION_FAILURE, "unexpected EOF on client connection");
        if (r < 0)
            return r;
    }
    return 0;
}

int
pgwire_read_message(struct pgwire_conn *c, struct pgwire_msg *ret, struct err *e)
{
    size_t max;
    uint32_t n;
    int r;

    shrink(c);
    r = need(c, 1, e);
    if (r != 0)
        return r;
    ret->type = (char) c->in[c->in_at];
    max = pgwire_length_max(ret->type);
    if (max == 0)
        return ERR(e, PROTOCOL_VIOLATION, "invalid frontend message type %d",
                   (unsigned char) ret->type);
    r = need(c, 5, e);
    if (r != 0)
        return r;
    n = get_be32(c->in + c->in_at + 1);
    if (n < 4 || n > max)
        return ERR(e, PROTOCOL_VIOLATION, "invalid message length");
    ret->too_long = 0;
    if (c->in_max != 0 && n > c->in_max) {
        ret->too_long = n;
        ret->body = NULL;
        ret->n = 0;
        return skip(c, (size_t) n + 1, e);
    }
    r = need(c, (size_t) n + 1, e);
    if (r != 0)
        return r;
    ret->body = c->in + c->in_at + 5;
    ret->n = n - 4;
    c->in_at += (size_t) n + 1;
    return 0;
}

int
pgwire_flush(struct pgwire_conn *c, struct err *e)
{
    if (c->out.failed)
        return ERR(e, OUT_OF_MEMORY, "could not build a message to the client");
    while (c->out_at < c->out.n) {
        ssize_t sent = c->io->send(c->arg, c->out.p + c->out_at, c->out.n - c->out_at);
        int r;

        if (sent > 0) {
            c->out_at += (size_t) sent;
            continue;
        }
        if (sent == -EINTR)
            continue;
        if (sent != -EAGAIN)
            return ERR(e, CONNECTION_FAILURE, "could not send data to client: %s",
                       strerrordesc_np(sent < 0 ? (int) -sent : EPIPE));
        r = c->io->wait(c->arg, true, e);
        if (r < 0)
            return r;
    }
    c->out_at = 0;
    c->out.n = 0;
    if (c->out.cap > 2 * PGWIRE_KEEP_BYTES)
        pgwire_out_done(&c->out);
    return 0;
}

int
pgwire_relieve(struct pgwire_conn *c, struct err *e)
{
    return c->out.failed || c->out.n >= PGWIRE_FLUSH_BYTES ? pgwire_flush(c, e) : 0;
}

ssize_t
pgwire_sock_recv(int fd, void *p, size_t n)
{
    ssize_t r = recv(fd, p, n, MSG_DONTWAIT);

    return r >= 0 ? r : -errno;
}

ssize_t
pgwire_sock_send(int fd, const void *p, size_t n)
{
    ssize_t r = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    return r >= 0 ? r : -errno;
}
