/* The server's end of one client: a backend, or a dead end that only says why there is none.
 *
 * Runs in: backend, dead-end child. Owns: everything of the process. Source:
 * postmaster.md 3.1, 3.6; style 3.10. */
#include "proc/backend.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/log.h"
#include "proc/attach.h"
#include "proc/segment.h"
#include "vfs/vfs.h"

/* One per process, for ever: what a handler or exit callback may look at must not be on a stack. */
static struct backend backend;
static struct attached attached;
static struct pgwire_startup startup;

static void
log_received(const struct backend *b)
{
    char host[64];

    if (!b->start->conf->v.log_connections)
        return;
    (void) backend_host(b, host, sizeof host);
    if (b->peer.family != 0)
        log_msg(LOG_LEVEL_LOG, "connection received: host=%s port=%d", host, b->peer_port);
    else
        log_msg(LOG_LEVEL_LOG, "connection received: host=%s", host);
}

static void
set_socket_options(struct backend *b)
{
    int on = 1;

    if (b->peer.family == 0) /* a Unix socket needs neither */
        return;
    (void) setsockopt(b->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void) setsockopt(b->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    backend_set_tcp(b, &b->start->conf->v);
}

NORETURN void
backend_main(const struct child_start *start)
{
    struct backend *b = &backend;
    struct err e = ERR_INIT;
    int r;

    backend_init(b, start, segment_slot(start->segment, start->slot_idx));
    backend_set_last_words(b);
    set_socket_options(b);
    log_received(b);
    backend_read_startup(b, &startup);
    r = attach_begin(&attached, start, &e);
    if (r == 0)
        r = vfs_register(CHILD_TEMP_DIR, &e);
    if (r == 0)
        r = backend_login(b, &attached, &startup, &e);
    if (r == -ERR_ADMIN_SHUTDOWN) { /* of a session that never was: it may come again */
        err_clear(&e);
        (void) ERR(&e, CANNOT_CONNECT_NOW, "connection was given up before login");
        err_detail(&e, "The server stops, or it needed the place of a client that was silent.");
    }
    if (r < 0)
        backend_fatal(b, &e);
    backend_loop(b);
}

NORETURN void
dead_end_main(const struct child_start *start)
{
    struct backend *b = &backend;
    struct err e = ERR_INIT;

    backend_init(b, start, NULL);
    backend_set_last_words(b);
    set_socket_options(b);
    backend_read_startup(b, &startup);
    (void) child_verdict_err(start->verdict, &e);
    backend_fatal(b, &e);
}
