/* The stats process: gives the metrics page to whoever asks by HTTP.
 *
 * Runs in: itself, in PM_RUN, when metrics_listen names a place. It only reads shared memory and
 * the catalogue; counting is done by each process itself (shm/stat.h), keeping over a stop by the
 * checkpointer and the startup process. GET and HEAD of /metrics; everything else is 404 or 405. A
 * client has 5 s and 8 kB, and there are a few hundred at most. Leaves with 0 on TERM; with 1 if it
 * cannot listen (any more), and is started again by its back-off. Owns: the listening sockets. HTTP
 * and its loop are libevent's; the loop also watches our signals. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "proc/attach.h"
#include "proc/metrics.h"
#include "proc/metrics_listen.h"
#include "sql/catalog.h"
#include "vfs/vfs.h"

#define CLIENT_SECONDS 5
#define HEADER_BYTES   8192
#define DATABASES_MAX  10000
#define CLIENT_FDS     256 /* the numbers of theirs are less */
#define SAY_USEC       (60 * USEC_PER_SEC)

static struct attached me;
static struct event_base *base;
static struct evconnlistener *listeners[METRICS_LISTEN_MAX];
static int n_listeners;
static struct rlimit all_fds; /* what we may have, with our own files */
static struct seldom not_accepted;
static char unix_path[108]; /* of ours, to be removed; "" = none */

/* ---- the page ---- */

/* Lines "<oid> <relfilenode> <name>", which stay in `text`. Returns how many. */
static size_t
split_list(char *text, struct metrics_db *dbs)
{
    char *line;
    size_t n = 0;

    while (n < DATABASES_MAX && (line = strsep(&text, "\n")) != NULL) {
        unsigned oid;
        unsigned rel;
        int at = 0;

        if (sscanf(line, "%u %u %n", &oid, &rel, &at) == 2 && at > 0)
            dbs[n++] = (struct metrics_db){ .oid = oid, .name = line + at };
    }
    return n;
}

static int
read_databases(char **ret_text, struct metrics_db **ret, size_t *ret_n, struct err *e)
{
    struct catalog *c = NULL;
    int r = catalog_open(&me.store, &c, e);

    if (r == 0)
        r = catalog_list_text(c, ret_text, e);
    catalog_close(c);
    if (r < 0)
        return r;
    *ret = calloc(DATABASES_MAX, sizeof **ret);
    if (*ret == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    *ret_n = split_list(*ret_text, *ret);
    return 0;
}

static int
make_page(char **ret, size_t *ret_bytes, struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    CLEANUP(freep) struct metrics_db *dbs = NULL;
    size_t n_dbs = 0;
    FILE *f;
    bool failed;
    int r = read_databases(&text, &dbs, &n_dbs, e);

    if (r < 0)
        return r;
    f = open_memstream(ret, ret_bytes);
    if (f == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    metrics_write(f, &me, dbs, n_dbs);
    failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    return 0;
}

/* ---- HTTP ---- */

/* Clients that say nothing cannot take what our files need. */
static void
limit_fds(bool for_clients)
{
    struct rlimit r = all_fds;

    if (for_clients)
        r.rlim_cur = MIN(r.rlim_cur, (rlim_t) CLIENT_FDS);
    (void) setrlimit(RLIMIT_NOFILE, &r);
}

/* The next look is in a second: the kernel would tell of the one that waits again at once. */
static void
on_accept_error(struct evconnlistener *l, void *arg)
{
    int error = EVUTIL_SOCKET_ERROR();

    (void) arg;
    (void) evconnlistener_disable(l);
    if (seldom_say(&not_accepted, clock_mono_usec(), SAY_USEC) > 0)
        log_msg(LOG_LEVEL_LOG, "could not accept a connection for the metrics page: %s",
                strerrordesc_np(error));
}

static void
on_metrics(struct evhttp_request *req, void *arg)
{
    CLEANUP(freep) char *page = NULL;
    size_t bytes = 0;
    struct err e = ERR_INIT;

    int r;

    (void) arg;
    beat_step(&me.slot->beat);
    limit_fds(false);
    r = make_page(&page, &bytes, &e);
    limit_fds(true);
    if (r < 0) {
        log_err(LOG_LEVEL_WARNING, "metrics: ", &e);
        evhttp_send_error(req, HTTP_SERVUNAVAIL, NULL);
        return;
    }
    (void) evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", METRICS_TYPE);
    if (evbuffer_add(evhttp_request_get_output_buffer(req), page, bytes) < 0)
        evhttp_send_error(req, HTTP_INTERNAL, NULL);
    else
        evhttp_send_reply(req, HTTP_OK, "OK", NULL);
}

/* ---- listening ---- */

static int
listen_to(struct evhttp *http, const char *where, struct err *e)
{
    int fds[METRICS_LISTEN_MAX];
    int n = metrics_listen(where, fds, e);

    if (n > 0 && where[0] == '/')
        (void) snprintf(unix_path, sizeof unix_path, "%s", where);
    for (int i = 0; i < n; i++) { /* what fails here ends the process */
        struct evhttp_bound_socket *s = NULL;

        if (evutil_make_socket_nonblocking(fds[i]) == 0)
            s = evhttp_accept_socket_with_handle(http, fds[i]);
        if (s == NULL)
            return ERR(e, SYSTEM_ERROR, "could not serve metrics on \"%s\"", where);
        listeners[n_listeners] = evhttp_bound_socket_get_listener(s);
        evconnlistener_set_error_cb(listeners[n_listeners++], on_accept_error);
    }
    if (n > 0)
        log_msg(LOG_LEVEL_LOG, "metrics are served on \"%s\"", where);
    return n < 0 ? n : 0;
}

/* ---- life ---- */

static void
on_signal(evutil_socket_t fd, short what, void *arg)
{
    uint32_t bits = child_take_signals();

    (void) fd;
    (void) what;
    (void) arg;
    bits |= atomic_load_explicit(&me.slot->request, memory_order_acquire);
    slot_request_clear(me.slot, bits);
    if ((bits & REQ_RELOAD) != 0)
        (void) child_reload(me.start, NULL);
    if ((bits & (REQ_STOP | REQ_TERMINATE)) != 0)
        (void) event_base_loopbreak(base);
}

static void
on_beat(evutil_socket_t fd, short what, void *arg)
{
    (void) fd;
    (void) what;
    (void) arg;
    beat_step(&me.slot->beat);
    for (int i = 0; i < n_listeners; i++)
        (void) evconnlistener_enable(listeners[i]);
}

static struct evhttp *
make_http(void)
{
    struct evhttp *http = evhttp_new(base);

    if (http == NULL)
        return NULL;
    evhttp_set_timeout(http, CLIENT_SECONDS);
    evhttp_set_max_headers_size(http, HEADER_BYTES);
    evhttp_set_max_body_size(http, 0);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    (void) evhttp_set_cb(http, "/metrics", on_metrics, NULL);
    return http;
}

static int
begin(struct err *e)
{
    const struct timeval second = { .tv_sec = 1 };
    const char *where = me.start->conf->v.metrics_listen;
    struct evhttp *http;
    struct event *signals;
    struct event *beat;
    int r = vfs_register(CHILD_TEMP_DIR, e);

    if (r < 0)
        return r;
    base = event_base_new();
    http = base != NULL ? make_http() : NULL;
    signals = http != NULL
                  ? event_new(base, child_signal_fd(), EV_READ | EV_PERSIST, on_signal, NULL)
                  : NULL;
    beat = http != NULL ? event_new(base, -1, EV_PERSIST, on_beat, NULL) : NULL;
    if (signals == NULL || beat == NULL || event_add(signals, NULL) < 0 ||
        event_add(beat, &second) < 0)
        return ERR(e, OUT_OF_MEMORY, "could not make an event loop");
    return listen_to(http, where, e);
}

NORETURN void
stats_main(const struct child_start *start)
{
    struct err e = ERR_INIT;

    attach_or_leave(&me, start);
    (void) getrlimit(RLIMIT_NOFILE, &all_fds);
    if (begin(&e) < 0)
        child_exit_err(CHILD_FATAL, &e);
    limit_fds(true);
    (void) event_base_dispatch(base);
    if (unix_path[0] != '\0')
        (void) unlink(unix_path);
    child_exit(CHILD_OK);
}
