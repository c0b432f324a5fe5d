/* Inside of a backend: for src/proc/backend*.c only. One thread, one client; what is shared is in
 * the slot. */
#pragma once

#include "conf/conf_session.h"
#include "pgwire/pgwire_conn.h"
#include "pgwire/pgwire_fsm.h"
#include "pgwire/pgwire_hba.h"
#include "proc/child.h"
#include "shm/stat.h"
#include "sql/session.h"

/* Which patience ends at b->deadline, and so what the client is told. */
enum backend_patience {
    PATIENCE_NONE,
    PATIENCE_STARTUP,  /* authentication_timeout, start-up packet: not a word */
    PATIENCE_AUTH,     /* authentication_timeout, after it: 57014 */
    PATIENCE_IDLE,     /* idle_session_timeout: 57P05 */
    PATIENCE_IDLE_TXN, /* idle_in_transaction_session_timeout: 25P03 */
    PATIENCE_WRITER,   /* idle_in_write_transaction_timeout: 25P03 */
    PATIENCE_GOODBYE,  /* a last message that nobody takes: not a word */
};

struct attached;

#define BACKEND_TCP_OPTIONS 4

struct backend {
    const struct child_start *start;
    struct slot *slot; /* NULL: dead end */
    struct self *self; /* NULL before login */
    int fd;            /* the client's socket, owned */
    struct pgwire_conn conn;
    enum pgwire_state state;
    bool signalled; /* signals wait at child_signal_fd() */
    int tcp_set[BACKEND_TCP_OPTIONS],
        tcp_default[BACKEND_TCP_OPTIONS]; /* backend_tcp.c; 0: not set */
    bool has_settled;                     /* logged in, and the postmaster knows */
    bool is_trimmed;                      /* in this wait free memory has gone back to the system */
    bool ready_due;                       /* ReadyForQuery is owed */

    /* Looking at the socket instead of sleeping while a writer lock is held: how often in a row it
     * was in vain (to a limit), and how many waits go without it now. */
    uint32_t looks_missed, looks_left_out;

    usec_t deadline; /* monotonic, of the read we wait in; 0 = none */
    enum backend_patience patience;
    bool is_old_client; /* speaks protocol 1 or 2: is told so in its own form */

    struct session *session; /* NULL before login */
    struct conf_session conf;
    bool has_conf;
    void *scratch; /* of the message being served; owned */
    size_t scratch_n;
    bool in_statement;   /* inside a call of the session that may send */
    struct err err;      /* of the message being served */
    struct err sink_err; /* why the sink refused, when the session could not know */

    char role[CATALOG_NAME_BYTES]; /* asked for; cut as PostgreSQL cuts */
    char database[CATALOG_NAME_BYTES];
    struct pgwire_hba_addr peer, local;
    int peer_port;
    usec_t started_usec; /* monotonic */

    char *statement; /* of the portal that runs: a copy for the log, owned */
    size_t statement_cap;
};

/* Statistics of the session, once there is one. */
static inline void
backend_count(const struct backend *b, enum stat_id id, uint64_t n)
{
    if (b->self != NULL)
        stat_add(b->self, id, n);
}

/* ---- backend_io.c: the socket, requests of others, the end ---- */

/* Everything zero, `start` borrowed for ever, its socket owned. */
void backend_init(struct backend *b, const struct child_start *start, struct slot *slot);
/* Send FATAL with e, log it, leave with CHILD_FATAL. */
NORETURN void backend_fatal(struct backend *b, const struct err *e);
/* Roll back, give everything back, leave. */
NORETURN void backend_leave(struct backend *b, enum child_class how);
/* A read or flush gave r < 0: FATAL where the client may still listen, else leave. */
NORETURN void backend_broken(struct backend *b, int r, const struct err *e);
/* Our last words when QUIT comes: made (by the postmaster, for all), and the handler set. */
void backend_prepare_words(void);
void backend_set_last_words(struct backend *b);
/* "127.0.0.1" or "[local]" of the client. Returns p. */
const char *backend_host(const struct backend *b, char *p, size_t cap);

/* ---- backend_startup.c: until a start-up packet is there ---- */

/* Encryption and cancel requests are dealt with inside; returns 0 with *ret (strings borrowed from
 * the connection), or leaves. */
void backend_read_startup(struct backend *b, struct pgwire_startup *ret);
/* Pass a cancel request on: the slot of `pid`, if `key` is its key. */
void backend_cancel(const struct backend *b, uint32_t pid, uint32_t key);

/* ---- backend_login.c: access rules, role, database, settings, session, greeting ---- */

/* Returns < 0 with the words for FATAL. */
int backend_login(struct backend *b, struct attached *a, const struct pgwire_startup *s,
                  struct err *e);

/* ---- backend_query.c, backend_ext.c: the session ---- */

/* Serve the client until it goes. */
NORETURN void backend_loop(struct backend *b);
/* What results are written to. */
struct session_sink backend_sink(struct backend *b);
/* ParameterStatus of what changed. */
void backend_tell_settings(struct backend *b);
/* `text` begins (`how`: "statement: ", "execute NAME: "): for the log, if the settings want it; the
 * result goes to backend_log_end(), with what came out of it. */
struct backend_timed {
    const char *text, *how;
    usec_t start; /* monotonic, 0 = not timed */
    bool is_logged;
};
/* The levels of the log are the session's. */
void backend_log_levels(const struct backend *b);
/* Tell the kernel what tcp_keepalives_… and tcp_user_timeout say; cheap if nothing changed. */
void backend_set_tcp(struct backend *b, const struct conf_values *v);
struct backend_timed backend_log_begin(const struct backend *b, const char *text, const char *how);
void backend_log_end(const struct backend *b, const struct backend_timed *t, int r);
/* A statement begins: activity, text, time for others to see. */
void backend_activity(struct backend *b, enum slot_activity activity, const char *text);
/* One order of the extended protocol. Returns 0 or < 0 with the words for ERROR. */
int backend_extended(struct backend *b, enum pgwire_order order, const struct pgwire_msg *m,
                     struct err *e);
