/* Listening sockets. Runs in: postmaster. Owns: the sockets, their names, their lock files.
 * Source: design 11 (sockets), postmaster.md 1.9, systemd-ops.md 3.5. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pm/pm_int.h"

#define BACKLOG          512
#define ACCEPTS_PER_TURN 16
#define RETRY_USEC       (100 * USEC_PER_MSEC)
#define SAY_USEC         (60 * USEC_PER_SEC)

/* ---- accepting ---- */
/* Nothing is left to accept with: the retry clock opens again. Said once, then once a minute. */
static void
pause_accepting(struct pm *pm, int error)
{
    usec_t now = clock_mono_usec();
    unsigned n = seldom_say(&pm->not_accepted, now, SAY_USEC);

    if (n == 1)
        log_msg(LOG_LEVEL_LOG, "could not accept new connection: %s", strerrordesc_np(error));
    else if (n > 1)
        log_msg(LOG_LEVEL_LOG,
                "could not accept new connection: %s (%u times since this was last said)",
                strerrordesc_np(error), n);
    pm_listen_enable(pm, false);
    pm_clock_arm_by(&pm->retry, now + RETRY_USEC);
}

static int
on_client(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    struct pm *pm = arg;

    (void) s;
    (void) revents;
    for (unsigned i = 0; i < ACCEPTS_PER_TURN && pm_fsm_accepts(&pm->m); i++) {
        int client;

        if (pm_crowd_is_full(pm))
            break;
        client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0) {
            pm_crowd_shed(pm);
            pm->client_fd = client;
            pm_event(pm, EV_CLIENT);
            ASSERT(pm->client_fd < 0); /* every rule disposes of the client */
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            pause_accepting(pm, errno);
        break;
    }
    return 0;
}

void
pm_listen_enable(struct pm *pm, bool on)
{
    on = on && !pm->is_crowded;
    for (unsigned i = 0; i < pm->n_listeners; i++)
        (void) sd_event_source_set_enabled(pm->listeners[i].source,
                                           on ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* Takes fd. */
static int
add_listener(struct pm *pm, int fd, const char *text, struct pm_listener **ret, struct err *e)
{
    struct pm_listener *l = &pm->listeners[pm->n_listeners];
    int r;

    if (pm->n_listeners >= PM_LISTENERS_MAX) {
        (void) close(fd);
        return ERR(e, CONFIGURATION_LIMIT_EXCEEDED, "more than %d listening sockets",
                   PM_LISTENERS_MAX);
    }
    *l = (struct pm_listener){ .fd = fd, .lock_fd = -1 };
    (void) snprintf(l->text, sizeof l->text, "%s", text);
    r = sd_event_add_io(pm->loop, &l->source, fd, EPOLLIN, on_client, pm);
    if (r < 0) {
        (void) close(fd);
        return err_set_errno(e, -r, "could not watch socket \"%s\"", text);
    }
    (void) sd_event_source_set_priority(l->source, PRIO_ACCEPT);
    (void) sd_event_source_set_enabled(l->source, SD_EVENT_OFF);
    pm->n_listeners++;
    *ret = l;
    log_msg(LOG_LEVEL_LOG, "listening on %s", text);
    return 0;
}

/* ---- TCP ---- */
static void
print_address(const struct sockaddr *sa, socklen_t len, char *p, size_t n)
{
    char host[80];
    char port[16];

    if (getnameinfo(sa, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        (void) snprintf(p, n, "TCP socket");
    else
        (void) snprintf(p, n, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
}

static int
open_tcp(struct pm *pm, const struct addrinfo *ai, struct err *e)
{
    CLEANUP(closep)
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pm_listener *l;
    char text[128];
    int one = 1;

    print_address(ai->ai_addr, ai->ai_addrlen, text, sizeof text);
    if (fd < 0)
        return ERR_ERRNO(e, "could not create socket for %s", text);
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (ai->ai_family == AF_INET6)
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        int r = ERR_ERRNO(e, "could not listen on %s", text);

        if (r == -EADDRINUSE)
            err_hint(e, "Is another server already running on port %d? Set another port.",
                     (int) pm->conf->v.port);
        return r;
    }
    return add_listener(pm, TAKE_FD(fd), text, &l, e);
}

/* Every address of one name. A name whose addresses are not all there (no IPv6) is enough if one
 * is; a port in use is always a refusal. */
static int
open_host(struct pm *pm, const char *host, struct err *e)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *list;
    struct err first = ERR_INIT;
    unsigned before = pm->n_listeners;
    char port[16];
    int r;

    (void) snprintf(port, sizeof port, "%d", (int) pm->conf->v.port);
    r = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, port, &hints, &list);
    if (r != 0)
        return ERR(e, CONFIG_FILE_ERROR, "could not find address \"%s\" of listen_addresses: %s",
                   host, gai_strerror(r));
    r = 0;
    for (const struct addrinfo *ai = list; ai != NULL && r != -EADDRINUSE; ai = ai->ai_next)
        r = open_tcp(pm, ai, &first);
    freeaddrinfo(list);
    if (r != -EADDRINUSE && pm->n_listeners > before)
        return 0;
    if (e != NULL)
        *e = first;
    return first.code;
}

/* Calls fn for each name of a list by commas. */
static int
each_name(struct pm *pm, const char *list,
          int (*fn)(struct pm *pm, const char *name, struct err *e), struct err *e)
{
    char copy[4096];
    char *rest = copy;
    char *name;
    int r = 0;

    (void) snprintf(copy, sizeof copy, "%s", list);
    while (r == 0 && (name = strsep(&rest, ",")) != NULL) {
        size_t n;

        name += strspn(name, " \t");
        n = strcspn(name, " \t");
        name[n] = '\0';
        if (n > 0)
            r = fn(pm, name, e);
    }
    return r;
}

/* ---- Unix ---- */
/* The lock file beside the socket: whoever holds it owns the name, and a name nobody holds is
 * stale. */
static int
lock_socket(struct pm *pm, struct pm_listener *l, const char *path, struct err *e)
{
    char text[512];
    int n;
    int r;

    (void) snprintf(l->lock_path, sizeof l->lock_path, "%s.lock", path);
    l->lock_fd = open(l->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->lock_fd < 0)
        return ERR_ERRNO(e, "could not open lock file \"%s\"", l->lock_path);
    r = pm_lock_fd(l->lock_fd);
    if (r < 0) {
        closep(&l->lock_fd);
        l->lock_fd = -1;
        (void) err_set_errno(e, r == -EAGAIN ? EADDRINUSE : -r, "could not lock file \"%s\"",
                             l->lock_path);
        err_hint(e, "Is another server already running on port %d? Set another port.",
                 (int) pm->conf->v.port);
        return r == -EAGAIN ? -EADDRINUSE : r;
    }
    n = snprintf(text, sizeof text, "%d\n%s\n%lld\n%d\n%s\n", (int) getpid(), pm->where.data_dir,
                 (long long) (pm->started_usec / USEC_PER_SEC), (int) pm->conf->v.port, "");
    if (ftruncate(l->lock_fd, 0) < 0 ||
        pwrite(l->lock_fd, text, MIN((size_t) n, sizeof text), 0) < 0)
        return ERR_ERRNO(e, "could not write lock file \"%s\"", l->lock_path);
    return 0;
}

static int
bind_unix(struct pm *pm, const char *path, int *ret_fd, struct err *e)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return ERR_ERRNO(e, "could not create socket \"%s\"", path);
    (void) snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    (void) unlink(path); /* stale: its lock was free */
    if (bind(fd, (const struct sockaddr *) &sa, sizeof sa) < 0 ||
        chmod(path, (mode_t) pm->conf->v.unix_socket_permissions) < 0 || listen(fd, BACKLOG) < 0)
        return ERR_ERRNO(e, "could not listen on Unix socket \"%s\"", path);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int
open_unix(struct pm *pm, const char *dir, struct err *e)
{
    struct pm_listener lock = { .fd = -1, .lock_fd = -1 };
    struct pm_listener *l;
    struct stat st;
    char path[4200];
    int fd = -1;
    int r;

    (void) snprintf(path, sizeof path, "%s/.s.PGSQL.%d", dir, (int) pm->conf->v.port);
    if (strlen(path) >= sizeof((struct sockaddr_un *) NULL)->sun_path) {
        (void) ERR(e, CONFIG_FILE_ERROR, "Unix socket path \"%s\" is too long (maximum 107 bytes)",
                   path);
        err_hint(e, "Set unix_socket_directories to a shorter path.");
        return -ERR_CONFIG_FILE_ERROR;
    }
    r = lock_socket(pm, &lock, path, e);
    if (r == 0)
        r = bind_unix(pm, path, &fd, e);
    if (r == 0)
        r = add_listener(pm, fd, path, &l, e);
    if (r < 0) {
        closep(&lock.lock_fd);
        return r;
    }
    l->lock_fd = lock.lock_fd;
    memcpy(l->lock_path, lock.lock_path, sizeof l->lock_path);
    l->is_unix = l->is_ours = true;
    if (stat(path, &st) == 0) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    return 0;
}

/* ---- from the service manager ---- */
static void
print_passed(int fd, bool *ret_is_unix, char *p, size_t n)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;

    *ret_is_unix = false;
    (void) snprintf(p, n, "passed socket %d", fd);
    if (getsockname(fd, (struct sockaddr *) &sa, &len) < 0)
        return;
    if (sa.ss_family == AF_UNIX) {
        *ret_is_unix = true;
        (void) snprintf(p, n, "%s", ((const struct sockaddr_un *) (const void *) &sa)->sun_path);
    } else {
        print_address((const struct sockaddr *) &sa, len, p, n);
    }
}

/* Sockets that systemd opened: all stream listeners but those named "control…". */
static int
take_passed(struct pm *pm, bool *ret_tcp, bool *ret_unix, struct err *e)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);
    int r = 0;

    *ret_tcp = *ret_unix = false;
    for (int i = 0; i < n; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        struct pm_listener *l;
        char text[128];
        bool is_unix;

        if (r == 0 && strncmp(names[i], "control", 7) != 0 &&
            sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0) {
            print_passed(fd, &is_unix, text, sizeof text);
            (void) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
            r = add_listener(pm, fd, text, &l, e);
            if (r == 0)
                l->is_unix = is_unix;
            *ret_unix |= is_unix;
            *ret_tcp |= !is_unix;
        }
        free(names[i]);
    }
    free(names);
    return r;
}

/* ---- all ---- */
int
pm_listen_open(struct pm *pm, struct err *e)
{
    bool has_tcp;
    bool has_unix;
    int r = take_passed(pm, &has_tcp, &has_unix, e);

    if (r == 0 && !has_tcp)
        r = each_name(pm, pm->conf->v.listen_addresses, open_host, e);
    if (r == 0 && !has_unix)
        r = each_name(pm, pm->conf->v.unix_socket_directories, open_unix, e);
    if (r == 0 && pm->n_listeners == 0)
        r = ERR(e, CONFIG_FILE_ERROR,
                "no socket to listen on: set listen_addresses or "
                "unix_socket_directories");
    return r;
}

/* Remove the name if it is still the one we made. */
static void
remove_name(const struct pm_listener *l)
{
    struct stat st;

    if (l->is_unix && l->is_ours && stat(l->text, &st) == 0 && st.st_ino == l->ino &&
        st.st_dev == l->dev)
        (void) unlink(l->text);
}

static void
remove_lock(struct pm_listener *l)
{
    struct stat ours;
    struct stat st;

    if (l->lock_fd < 0)
        return;
    if (fstat(l->lock_fd, &ours) == 0 && stat(l->lock_path, &st) == 0 && st.st_ino == ours.st_ino)
        (void) unlink(l->lock_path);
    closep(&l->lock_fd);
}

void
pm_listen_close(struct pm *pm)
{
    for (unsigned i = 0; i < pm->n_listeners; i++) {
        struct pm_listener *l = &pm->listeners[i];

        (void) sd_event_source_disable_unref(l->source);
        remove_name(l);
        remove_lock(l);
        (void) close(l->fd);
    }
    pm->n_listeners = 0;
}

const char *
pm_listen_first_dir(const struct pm *pm)
{
    static char dir[4096];

    (void) snprintf(dir, sizeof dir, "%s", pm->conf->v.unix_socket_directories);
    dir[strcspn(dir, ",")] = '\0';
    return dir;
}
