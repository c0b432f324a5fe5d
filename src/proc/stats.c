/* The stats process: gives the metrics page to whoever asks by HTTP.
 *
 * Runs in: itself, in PM_RUN, when metrics_listen names a place. It only reads shared memory and
 * the catalogue; counting is done by each process itself (shm/stat.h), keeping over a stop by the
 * checkpointer and the startup process. GET and HEAD of /metrics; everything else is 404 or 405. A
 * client has 5 s and 8 kB. Leaves with 0 on TERM; with 1 if it cannot listen, and is started again
 * by its back-off. Owns: the listening sockets. HTTP and its loop are libevent's; the loop also
 * watches our signals. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/util.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "proc/attach.h"
#include "proc/metrics.h"
#include "sql/catalog.h"
#include "vfs/vfs.h"

#define CLIENT_SECONDS 5
#define HEADER_BYTES   8192
#define DATABASES_MAX  10000
#define BACKLOG        16

static struct attached me;
static struct event_base *base;
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

static void
on_metrics(struct evhttp_request *req, void *arg)
{
    CLEANUP(freep) char *page = NULL;
    size_t bytes = 0;
    struct err e = ERR_INIT;

    (void) arg;
    (void) atomic_fetch_add_explicit(&me.slot->progress, 1, memory_order_relaxed);
    if (make_page(&page, &bytes, &e) < 0) {
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
listen_fd(int fd, const struct sockaddr *sa, socklen_t n, const char *what, struct err *e)
{
    int on = 1;

    if (sa->sa_family != AF_UNIX)
        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, sa, n) < 0 || listen(fd, BACKLOG) < 0)
        return ERR_ERRNO(e, "could not listen on \"%s\" for metrics_listen", what);
    return 0;
}

static int
serve_fd(struct evhttp *http, int fd, const char *what, struct err *e)
{
    if (evutil_make_socket_nonblocking(fd) < 0 || evhttp_accept_socket(http, fd) < 0)
        return ERR(e, SYSTEM_ERROR, "could not serve metrics on \"%s\"", what);
    log_msg(LOG_LEVEL_LOG, "metrics are served on \"%s\"", what);
    return 0;
}

/* Of a process that was killed: a socket that nobody answers on. Another file gives the same errno.
 */
static bool
is_left_over(int fd, const struct sockaddr_un *sa)
{
    struct stat st;

    return lstat(sa->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
           connect(fd, (const struct sockaddr *) sa, sizeof *sa) < 0 && errno == ECONNREFUSED;
}

static int
open_unix(struct evhttp *http, const char *path, struct err *e)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;

    if (strlen(path) >= sizeof sa.sun_path)
        return ERR(e, INVALID_PARAMETER_VALUE, "metrics_listen: path \"%s\" is too long", path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    if (fd < 0)
        return ERR_ERRNO(e, "could not create a socket");
    if (is_left_over(fd, &sa))
        (void) unlink(path);
    r = listen_fd(fd, (const struct sockaddr *) &sa, sizeof sa, path, e);
    if (r == 0) {
        memcpy(unix_path, sa.sun_path, sizeof unix_path);
        r = serve_fd(http, fd, path, e);
    }
    if (r == 0)
        (void) TAKE_FD(fd);
    return r;
}

/* "host:port", "[address]:port"; every address of the host. */
static int
open_tcp(struct evhttp *http, const char *text, struct err *e)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *all = NULL;
    const char *colon = strrchr(text, ':');
    char host[256];
    size_t n = colon != NULL ? (size_t) (colon - text) : 0;
    int r = 0;
    int rc;

    if (colon == NULL || n == 0 || n >= sizeof host)
        return ERR(e, INVALID_PARAMETER_VALUE,
                   "metrics_listen: \"%s\" is neither host:port nor an absolute path", text);
    memcpy(host, text, n);
    host[n] = '\0';
    if (host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        memmove(host, host + 1, n - 1);
    }
    rc = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, colon + 1, &want, &all);
    if (rc != 0)
        return ERR(e, INVALID_PARAMETER_VALUE, "metrics_listen: \"%s\": %s", text,
                   gai_strerror(rc));
    for (const struct addrinfo *a = all; a != NULL && r == 0; a = a->ai_next) {
        CLEANUP(closep) int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
        int on = 1;

        if (fd < 0 && errno == EAFNOSUPPORT)
            continue;
        if (a->ai_family == AF_INET6)
            (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        r = listen_fd(fd, a->ai_addr, a->ai_addrlen, text, e);
        if (r == 0)
            r = serve_fd(http, fd, text, e);
        if (r == 0)
            (void) TAKE_FD(fd);
    }
    freeaddrinfo(all);
    return r;
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
    (void) atomic_fetch_add_explicit(&me.slot->progress, 1, memory_order_relaxed);
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
    return where[0] == '/' ? open_unix(http, where, e) : open_tcp(http, where, e);
}

NORETURN void
stats_main(const struct child_start *start)
{
    struct err e = ERR_INIT;

    attach_or_leave(&me, start);
    if (begin(&e) < 0)
        child_exit_err(CHILD_FATAL, &e);
    (void) event_base_dispatch(base);
    if (unix_path[0] != '\0')
        (void) unlink(unix_path);
    child_exit(CHILD_OK);
}
