/* What the kernel is told about a client's TCP connection: when a peer that says nothing is asked
 * whether it is still there, and given up.
 *
 * Runs in: backend, dead-end child. Owns: what was set. Source: PostgreSQL 15's settings of the
 * same names; tcp(7). */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "proc/backend.h"

static const struct {
    int option;
    const char *setting;
} rows[BACKEND_TCP_OPTIONS] = {
    { TCP_KEEPIDLE, "tcp_keepalives_idle" },
    { TCP_KEEPINTVL, "tcp_keepalives_interval" },
    { TCP_KEEPCNT, "tcp_keepalives_count" },
    { TCP_USER_TIMEOUT, "tcp_user_timeout" },
};

/* 0 is the system's own value, as it was before we came. */
static void
apply(struct backend *b, int i, int wanted)
{
    socklen_t n = sizeof b->tcp_default[i];
    int value;

    if (wanted == b->tcp_set[i])
        return;
    if (b->tcp_set[i] == 0 &&
        getsockopt(b->fd, IPPROTO_TCP, rows[i].option, &b->tcp_default[i], &n) < 0)
        b->tcp_default[i] = 0;
    value = wanted != 0 ? wanted : b->tcp_default[i];
    if (setsockopt(b->fd, IPPROTO_TCP, rows[i].option, &value, sizeof value) < 0)
        log_msg(LOG_LEVEL_WARNING, "could not set %s to %d for the connection: %s", rows[i].setting,
                value, strerrordesc_np(errno));
    b->tcp_set[i] = wanted;
}

void
backend_set_tcp(struct backend *b, const struct conf_values *v)
{
    const int wanted[BACKEND_TCP_OPTIONS] = {
        (int) (v->tcp_keepalives_idle / (int64_t) USEC_PER_SEC),
        (int) (v->tcp_keepalives_interval / (int64_t) USEC_PER_SEC),
        (int) v->tcp_keepalives_count,
        (int) (v->tcp_user_timeout / (int64_t) USEC_PER_MSEC),
    };

    if (b->peer.family == 0) /* a Unix socket has none of them */
        return;
    for (int i = 0; i < BACKEND_TCP_OPTIONS; i++)
        apply(b, i, wanted[i]);
}
