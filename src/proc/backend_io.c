/* A backend's socket and its ends: waiting for the client and for requests at once, FATAL, last
 * words.
 *
 * Runs in: backend, dead-end child. Owns: the client's socket. Source: INT-1, SNAP-6;
 * postmaster.md 1.4, 3.4; style 3.10. */
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "proc/backend.h"
#include "proc/segment.h"
#include "shm/wait.h"

/* While a snapshot may be held, requests that come without a signal are looked for this often
 * (INT-1). */
#define LOOK_USEC (100 * USEC_PER_MSEC)
#define TRIM_USEC USEC_PER_SEC
/* look() in vain: up to 2^6 waits in a row then begin without. */
#define LOOKS_MISSED_MAX 6
/* How long a client may take to accept our last message, or to say its first to a server that
 * leaves. */
#define GOODBYE_USEC (200 * USEC_PER_MSEC)

/* ---- last words ---- */

/* What the handler of QUIT needs, ready before it can come. */
static struct {
    volatile sig_atomic_t is_sending; /* send() runs: wait for it, it never blocks */
    volatile sig_atomic_t came;       /* QUIT came meanwhile */
    volatile sig_atomic_t may_speak;  /* logged in, and no message is cut at the socket */
    int fd;
    struct {
        uint8_t bytes[600];
        size_t n;
    } words[3]; /* by enum quit_reason */
} last;

NORETURN static void
quit_now(void)
{
    enum quit_reason reason = child_quit_reason();

    if (last.may_speak)
        (void) send(last.fd, last.words[reason].bytes, last.words[reason].n,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    _exit(CHILD_PANIC);
}

static void
on_quit(int signal)
{
    (void) signal;
    if (last.is_sending)
        last.came = 1;
    else
        quit_now();
}

static void
prepare_words(enum quit_reason reason, int code, const char *message, const char *detail,
              const char *hint)
{
    struct err e = ERR_INIT;

    (void) err_set(&e, code, "%s", message);
    if (detail != NULL)
        err_detail(&e, "%s", detail);
    if (hint != NULL)
        err_hint(&e, "%s", hint);
    last.words[reason].n = pgwire_build_notice(last.words[reason].bytes,
                                               sizeof last.words[reason].bytes, "WARNING", &e);
}

void
backend_prepare_words(void)
{
    static const char *const hint =
        "In a moment you should be able to reconnect to the database and repeat your command.";

    prepare_words(QUIT_UNKNOWN, -ERR_ADMIN_SHUTDOWN,
                  "terminating connection because of unexpected SIGQUIT signal", NULL, NULL);
    prepare_words(QUIT_CRASH, -ERR_CRASH_SHUTDOWN,
                  "terminating connection because of crash of another server process",
                  "The current transaction is rolled back: shared memory may be damaged and is "
                  "made anew.",
                  hint);
    prepare_words(QUIT_STOP, -ERR_ADMIN_SHUTDOWN,
                  "terminating connection due to immediate shutdown command", NULL, NULL);
}

void
backend_set_last_words(struct backend *b)
{
    last.fd = b->fd;
    if (last.words[0].n == 0)
        backend_prepare_words();
    child_set_quit_handler(on_quit);
}

/* ---- requests and time ---- */

/* What a patience that ended says. */
static int
out_of_patience(const struct backend *b, enum backend_patience patience, struct err *e)
{
    switch (patience) {
    case PATIENCE_NONE:
    case PATIENCE_STARTUP:
    case PATIENCE_GOODBYE:
        return ERR(e, CONNECTION_FAILURE, "client did not answer in time");
    case PATIENCE_AUTH:
        return ERR(e, QUERY_CANCELED, "canceling authentication due to timeout");
    case PATIENCE_IDLE:
        return ERR(e, IDLE_SESSION_TIMEOUT, "terminating connection due to idle-session timeout");
    case PATIENCE_IDLE_TXN:
        return ERR(e, IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                   "terminating connection due to idle-in-transaction timeout");
    case PATIENCE_WRITER:
        (void) ERR(e, IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                   "terminating connection due to idle-in-write-transaction timeout");
        err_detail(e, "The transaction held the writer lock of database \"%s\".", b->database);
        return -ERR_IDLE_IN_TRANSACTION_SESSION_TIMEOUT;
    }
    return -ERR_INTERNAL_ERROR;
}

static void
reload(struct backend *b)
{
    struct err e = ERR_INIT;

    slot_request_clear(b->slot, REQ_RELOAD);
    if (child_reload(b->start, NULL) < 0)
        return; /* the postmaster has said it */
    if (b->has_conf && conf_session_reload(&b->conf, b->start->conf, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "could not take over new settings: ", &e);
    if (!b->has_conf)
        return;
    backend_log_levels(b); /* the session's own */
    backend_set_tcp(b, &b->conf.cur.v);
}

/* Act on what others ask of us while we wait for the client. */
static int
take_requests(struct backend *b, struct err *e)
{
    uint32_t bits = b->signalled ? child_take_signals() : 0;

    b->signalled = false;
    if (b->slot != NULL)
        bits |= atomic_load_explicit(&b->slot->request, memory_order_acquire);
    /* It may be about to say who it is: then it hears why it is refused. */
    if ((bits & REQ_TERMINATE) != 0 && b->patience == PATIENCE_STARTUP)
        b->deadline = MIN(b->deadline, clock_mono_usec() + GOODBYE_USEC);
    if ((bits & REQ_TERMINATE) != 0 && b->patience != PATIENCE_STARTUP &&
        b->patience != PATIENCE_GOODBYE)
        return ERR(e, ADMIN_SHUTDOWN, "terminating connection due to administrator command");
    if (b->in_statement) /* SNAP-6: the statement is given up */
        return (bits & REQ_SNAPSHOT) != 0 ? ERR(e, SNAPSHOT_TOO_OLD, "snapshot too old") : 0;
    if (b->slot == NULL)
        return 0;
    if ((bits & REQ_CANCEL) != 0)
        slot_request_clear(b->slot, REQ_CANCEL); /* nothing runs */
    if ((bits & REQ_RELOAD) != 0)
        reload(b);
    if ((bits & REQ_SNAPSHOT) != 0) {
        slot_request_clear(b->slot, REQ_SNAPSHOT);
        if (b->session != NULL)
            session_on_snapshot_cancelled(b->session); /* SNAP-6 */
    }
    return 0;
}

static bool
may_hold_snapshot(const struct backend *b)
{
    return b->session != NULL && (b->state != PGWIRE_IDLE || session_status(b->session) != 'I');
}

/* The end of this wait, and whose patience that is. */
static usec_t
wait_deadline(const struct backend *b, bool for_write, enum backend_patience *ret)
{
    usec_t limit;

    *ret = b->patience;
    if (!for_write || b->deadline != 0)
        return b->deadline;
    /* A client that does not read is as silent as one that does not ask. */
    limit = b->has_conf ? (usec_t) b->conf.cur.v.idle_in_write_transaction_timeout : 0;
    if (limit == 0 || b->session == NULL || !session_is_writing(b->session))
        return 0;
    *ret = PATIENCE_WRITER;
    return clock_mono_usec() + limit;
}

/* A client that has said nothing for a while may stay silent for long: what malloc keeps free for
 * the next statement goes back to the system, once (design 10: an idle connection's memory). */
static void
give_back_memory(struct backend *b, usec_t since)
{
    if (!b->is_trimmed && clock_mono_usec() - since >= TRIM_USEC) {
        b->is_trimmed = true;
        (void) malloc_trim(0);
    }
}

/* Returns > 0 if the socket is ready, 0, or -errno; notes signals. */
static int
poll_for(struct backend *b, bool for_write, int msec)
{
    struct pollfd fds[2] = { { .fd = b->fd, .events = for_write ? POLLOUT : POLLIN },
                             { .fd = child_signal_fd(), .events = POLLIN } };
    int n = poll(fds, 2, msec);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    b->signalled = fds[1].revents != 0;
    return fds[0].revents != 0;
}

/* While others wait for the writer lock, two sleeps and wake-ups for each message of its holder are
 * the larger part of what they wait for: look for the answer of a quick client without sleeping.
 * Each look in vain doubles the number of waits that begin with none. */
static int
look(struct backend *b)
{
    usec_t limit = b->has_conf ? (usec_t) b->conf.cur.v.writer_lock_spin : 0;
    usec_t end;

    if (limit == 0 || b->session == NULL || !session_is_writing(b->session))
        return 0;
    if (b->looks_left_out > 0) {
        b->looks_left_out--;
        return 0;
    }
    end = clock_mono_usec() + limit;
    do {
        int ready = poll_for(b, false, 0);

        if (ready != 0 || b->signalled) {
            b->looks_missed = 0;
            return ready;
        }
    } while (clock_mono_usec() < end);
    b->looks_missed = MIN(b->looks_missed + 1, LOOKS_MISSED_MAX);
    b->looks_left_out = UINT32_C(1) << b->looks_missed;
    return 0;
}

/* poll() for at most until `deadline` (0 = none). Returns as poll_for(). */
static int
sleep_once(struct backend *b, bool for_write, usec_t deadline)
{
    usec_t usec = may_hold_snapshot(b) ? LOOK_USEC
                  : b->is_trimmed      ? INT32_MAX * USEC_PER_MSEC
                                       : TRIM_USEC;

    if (deadline != 0) {
        usec_t now = clock_mono_usec();

        usec = MIN(usec, deadline > now ? deadline - now : 0);
    }
    return poll_for(b, for_write, (int) ((usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC));
}

static void
set_wait_event(const struct backend *b, enum wait_event why)
{
    if (b->slot != NULL)
        atomic_store_explicit(&b->slot->wait_event, (uint32_t) why, memory_order_relaxed);
}

/* The postmaster takes the next client when this one costs nothing for a while (PM-9). */
static void
tell_settled(const struct backend *b)
{
    struct segment *seg = b->start->segment;

    if (b->slot == NULL || seg == NULL || b->has_settled)
        return;
    atomic_thread_fence(memory_order_seq_cst); /* the wait is seen, or we see who looks for it */
    if (atomic_load_explicit(&segment_page(seg)->newcomers_wait, memory_order_relaxed) != 0)
        segment_tell(seg, MSG_SETTLED);
}

static int
io_wait(void *arg, bool for_write, struct err *e)
{
    struct backend *b = arg;
    enum backend_patience patience;
    usec_t deadline = wait_deadline(b, for_write, &patience);
    usec_t since = clock_mono_usec();
    bool may_look = !for_write;
    int r;

    set_wait_event(b, for_write ? WAIT_CLIENT_WRITE : WAIT_CLIENT_READ);
    tell_settled(b);
    b->has_settled = b->session != NULL;
    for (;;) {
        int ready;

        r = take_requests(b, e);
        if (r < 0)
            break;
        if (patience == PATIENCE_STARTUP)
            deadline = b->deadline;
        ready = may_look ? look(b) : 0;
        may_look = false;
        if (ready == 0 && !b->signalled)
            ready = sleep_once(b, for_write, deadline);
        if (ready < 0)
            r = err_set(e, -ERR_CONNECTION_FAILURE, "could not wait for client");
        else if (ready == 0 && deadline != 0 && clock_mono_usec() >= deadline)
            r = out_of_patience(b, patience, e);
        else if (ready > 0) /* what was asked of us before the client spoke comes first */
            r = take_requests(b, e);
        if (ready != 0 || r < 0)
            break;
        give_back_memory(b, since);
    }
    b->is_trimmed = false;
    set_wait_event(b, WAIT_NONE);
    return r;
}

static ssize_t
io_recv(void *arg, void *p, size_t n)
{
    struct backend *b = arg;

    return pgwire_sock_recv(b->fd, p, n);
}

static ssize_t
io_send(void *arg, const void *p, size_t n)
{
    struct backend *b = arg;
    ssize_t r;

    last.is_sending = 1;
    r = pgwire_sock_send(b->fd, p, n);
    last.may_speak = r == (ssize_t) n && b->session != NULL; /* whole messages are out */
    last.is_sending = 0;
    if (last.came)
        quit_now();
    return r;
}

static const struct pgwire_io io = { io_recv, io_send, io_wait };

static void
learn_addresses(struct backend *b)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t n = sizeof sa;

    if (getpeername(b->fd, (struct sockaddr *) &sa, &n) == 0)
        b->peer = pgwire_hba_addr((const struct sockaddr *) &sa);
    if (sa.ss_family == AF_INET || sa.ss_family == AF_INET6)
        b->peer_port = ntohs(((const struct sockaddr_in *) &sa)->sin_port); /* same place in both */
    n = sizeof sa;
    if (getsockname(b->fd, (struct sockaddr *) &sa, &n) == 0)
        b->local = pgwire_hba_addr((const struct sockaddr *) &sa);
}

void
backend_init(struct backend *b, const struct child_start *start, struct slot *slot)
{
    char host[64];

    *b = (struct backend){ .start = start, .slot = slot, .fd = start->client_fd };
    b->started_usec = clock_mono_usec();
    learn_addresses(b);
    log_set_client(backend_host(b, host, sizeof host), b->peer.family != 0 ? b->peer_port : 0);
    pgwire_conn_init(&b->conn, &io, b);
}

/* ---- the end ---- */

const char *
backend_host(const struct backend *b, char *p, size_t cap)
{
    return pgwire_hba_addr_text(&b->peer, p, cap);
}

static void
log_end(const struct backend *b)
{
    usec_t ms = (clock_mono_usec() - b->started_usec) / USEC_PER_MSEC;
    char host[64];

    if (b->session == NULL || !b->start->conf->v.log_disconnections)
        return;
    log_msg(LOG_LEVEL_LOG,
            "disconnection: session time: %u:%02u:%02u.%03u user=%s database=%s host=%s",
            (unsigned) (ms / 3600000), (unsigned) (ms / 60000 % 60), (unsigned) (ms / 1000 % 60),
            (unsigned) (ms % 1000), b->role, b->database, backend_host(b, host, sizeof host));
}

NORETURN void
backend_leave(struct backend *b, enum child_class how)
{
    char drop[8192];

    log_end(b);
    session_leave(b->session);
    b->session = NULL;
    last.may_speak = 0;
    (void) shutdown(b->fd, SHUT_WR);
    while (pgwire_sock_recv(b->fd, drop, sizeof drop) == (ssize_t) sizeof drop)
        ; /* unread input would reset the connection under our last message */
    (void) close(b->fd);
    child_exit(how); /* which frees all memory */
}

NORETURN void
backend_fatal(struct backend *b, const struct err *e)
{
    log_err(LOG_LEVEL_FATAL, "", e);
    backend_count(b, e->code == -ERR_ADMIN_SHUTDOWN ? STAT_SESSIONS_KILLED : STAT_SESSIONS_FATAL,
                  1);
    if (!b->conn.out.failed) {
        if (b->is_old_client)
            pgwire_put_error_old(&b->conn.out, "FATAL", e);
        else
            pgwire_put_error(&b->conn.out, "FATAL", e);
        b->patience = PATIENCE_GOODBYE;
        b->deadline = clock_mono_usec() + GOODBYE_USEC;
        (void) pgwire_flush(&b->conn, NULL);
    }
    backend_leave(b, CHILD_FATAL);
}

NORETURN void
backend_broken(struct backend *b, int r, const struct err *e)
{
    if (r != -ERR_CONNECTION_FAILURE && r != -ERR_OUT_OF_MEMORY)
        backend_fatal(b, e);
    if (b->patience != PATIENCE_STARTUP)
        log_err(LOG_LEVEL_LOG, "", e);
    backend_count(b, STAT_SESSIONS_ABANDONED, 1);
    backend_leave(b, r == -ERR_CONNECTION_FAILURE ? CHILD_OK : CHILD_FATAL);
}
