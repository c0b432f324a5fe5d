/* One client connection: buffered, bounded reading and writing of whole messages over non-blocking
 * I/O. */
#pragma once

#include <sys/types.h>

#include "pgwire/pgwire_msg.h"

#define PGWIRE_EOF 1 /* outcome: the client closed between two messages */

struct pgwire_conn;

/* The socket, or a test's memory. All return at once but `wait`. */
struct pgwire_io {
    /* Bytes moved, 0 = end (recv only), -EAGAIN, or another -errno. */
    ssize_t (*recv)(void *arg, void *p, size_t n);
    ssize_t (*send)(void *arg, const void *p, size_t n);
    /* Wait until recv (or, for_write, send) may get on. 0, or < 0: an interrupt or time-out; it
     * ends the read or flush with that code. What was read or sent so far stays, the call can be
     * repeated. */
    int (*wait)(void *arg, bool for_write, struct err *e);
};

enum {
    PGWIRE_IN_BYTES = 8192,     /* of an idle connection */
    PGWIRE_KEEP_BYTES = 65536,  /* larger buffers are given back after use */
    PGWIRE_FLUSH_BYTES = 32768, /* pgwire_relieve() sends from here on */
};

struct pgwire_conn {
    const struct pgwire_io *io; /* borrowed */
    void *arg;
    uint8_t *in;                /* owned */
    size_t in_at, in_n, in_cap; /* in[in_at .. in_n) is unread */
    size_t in_max;              /* longest message that is kept; 0: pgwire_length_max() */
    bool may_have_more;         /* the last recv filled the buffer: try again before waiting */
    struct pgwire_out out;
    size_t out_at; /* out.p[0 .. out_at) is sent */
};

/* `io` and `arg` are borrowed; buffers are made when they are needed. */
void pgwire_conn_init(struct pgwire_conn *c, const struct pgwire_io *io, void *arg);
/* Free the buffers; the socket is the caller's. */
void pgwire_conn_done(struct pgwire_conn *c);

/* Read one start-up packet (no type byte): *ret_p is borrowed until the next read, n bytes behind
 * the length word. Returns 0, PGWIRE_EOF (nothing came), -ERR_PROTOCOL_VIOLATION (length),
 * -ERR_CONNECTION_FAILURE (closed inside, I/O), -ENOMEM, or what wait() gave. */
int pgwire_read_startup(struct pgwire_conn *c, const uint8_t **ret_p, size_t *ret_n, struct err *e);
/* The same for a message. An unknown type or a length beyond pgwire_length_max() is
 * -ERR_PROTOCOL_VIOLATION: the stream is lost, the connection must end. One beyond in_max is
 * skipped: ret->too_long. */
int pgwire_read_message(struct pgwire_conn *c, struct pgwire_msg *ret, struct err *e);
/* Are there unread bytes in the buffer? (After an SSLRequest: a violation; in a pipeline: no need
 * to flush yet.) */
bool pgwire_has_input(const struct pgwire_conn *c);

/* Send all of c->out. Returns 0, -ERR_OUT_OF_MEMORY / -ERR_PROGRAM_LIMIT_EXCEEDED (a message could
 * not be built), -ERR_CONNECTION_FAILURE, or what wait() gave. */
int pgwire_flush(struct pgwire_conn *c, struct err *e);
/* The same if a good deal is waiting: call between rows. */
int pgwire_relieve(struct pgwire_conn *c, struct err *e);

/* recv and send for a real socket: never block, never SIGPIPE. */
ssize_t pgwire_sock_recv(int fd, void *p, size_t n);
ssize_t pgwire_sock_send(int fd, const void *p, size_t n);
