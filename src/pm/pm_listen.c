/* Listening sockets. Runs in: postmaster. Owns: the sockets, their names, their lock files.
 * Source: design 11 (sockets), postmaster.md 1.9, systemd-ops.md 3.5. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf_net.h"
#include "pm/pm_int.h"

/* As many as the kernel takes by default (net.core.somaxconn): after a restart all come back at
 * once, and a Unix socket has no second try. */
#define BACKLOG          4096
#define ACCEPTS_PER_TURN 16
#define RETRY_USEC       (100 * USEC_PER_MSEC)
#define SAY_USEC         (60 * USEC_PER_SEC)
#define TOUCH_SEC        (58 * 60)
#define FREED_USEC       (2 * USEC_PER_SEC) /* until a discarded socket's port is free */

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

/* It has left again, and said nothing. In a storm of clients with short time-outs that is most of
 * the queue, and each would cost a process, and those behind it their patience. */
static bool
has_left(int client)
{
    char c;
    ssize_t n = recv(client, &c, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
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
        if (client >= 0 && has_left(client)) {
            (void) close(client);
            continue;
        }
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
    *l = (struct pm_listener){ .fd = fd, .lock_fd = -1, .park_no = -1 };
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

/* A socket that the last start discarded may take a moment to close in the service manager. */
static int
bind_patiently(const struct pm *pm, int fd, const struct addrinfo *ai)
{
    usec_t end = clock_mono_usec() + (pm->has_discarded ? FREED_USEC : 0);

    while (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        if (errno != EADDRINUSE || clock_mono_usec() >= end)
            return -errno;
        (void) poll(NULL, 0, 10);
    }
    return 0;
}

static int
bind_tcp(const struct pm *pm, const struct addrinfo *ai, const char *text, int *ret_fd,
         struct err *e)
{
    CLEANUP(closep)
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    int r;

    if (fd < 0)
        return ERR_ERRNO(e, "could not create socket for %s", text);
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (ai->ai_family == AF_INET6)
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    r = bind_patiently(pm, fd, ai);
    if (r < 0) {
        (void) err_set_errno(e, -r, "could not listen on %s", text);
        if (r == -EADDRINUSE)
            err_hint(e, "Is another server already running on port %d? Set another port.",
                     (int) pm->conf->v.port);
        return r;
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* "localhost, 127.0.0.1": one address by two names. */
static bool
is_listened_on(const struct pm *pm, const char *text)
{
    for (unsigned i = 0; i < pm->n_listeners; i++)
        if (!pm->listeners[i].is_unix && strcmp(pm->listeners[i].text, text) == 0)
            return true;
    return false;
}

static int
open_tcp(struct pm *pm, const struct addrinfo *ai, struct err *e)
{
    struct pm_listener *l;
    char text[128];
    int no = -1;
    int fd;
    int r = 0;

    print_address(ai->ai_addr, ai->ai_addrlen, text, sizeof text);
    if (is_listened_on(pm, text)) {
        pm->n_twice++;
        return 0;
    }
    fd = pm_park_take(pm, ai->ai_addr, &no);
    if (fd >= 0)
        (void) listen(fd, BACKLOG);
    else
        r = bind_tcp(pm, ai, text, &fd, e);
    if (r == 0)
        r = add_listener(pm, fd, text, &l, e);
    if (r < 0)
        return r;
    l->is_ours = true;
    l->park_no = no;
    l->is_parked = no >= 0;
    return 0;
}

/* Calls fn for each address of one name, until it says no. */
static int
each_address(struct pm *pm, const char *host,
             int (*fn)(struct pm *pm, const struct addrinfo *ai, struct err *e), struct err *e)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *list;
    char port[16];
    int r;

    (void) snprintf(port, sizeof port, "%d", (int) pm->conf->v.port);
    r = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, port, &hints, &list);
    if (r != 0)
        return ERR(e, CONFIG_FILE_ERROR, "could not find address \"%s\" of listen_addresses: %s",
                   host, gai_strerror(r));
    r = 0;
    for (const struct addrinfo *ai = list; ai != NULL && r != -EADDRINUSE; ai = ai->ai_next)
        r = fn(pm, ai, e);
    freeaddrinfo(list);
    return r;
}

static int
want_address(struct pm *pm, const struct addrinfo *ai, struct err *e)
{
    (void) e;
    pm_park_want(pm, ai->ai_addr, 0);
    return 0;
}

static int
want_host(struct pm *pm, const char *host, struct err *e)
{
    return each_address(pm, host, want_address, e);
}

/* Every address of one name. A name whose addresses are not all there (no IPv6) is enough if one
 * is; a port in use is always a refusal. */
static int
open_host(struct pm *pm, const char *host, struct err *e)
{
    struct err first = ERR_INIT;
    unsigned before = pm->n_listeners + pm->n_twice;
    int r = each_address(pm, host, open_tcp, &first);

    if (r != -EADDRINUSE && pm->n_listeners + pm->n_twice > before)
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
    char name[CONF_NET_NAME_CAP];
    int r = 0;

    while (r == 0 && conf_net_next_name(&list, name, sizeof name) > 0)
        r = fn(pm, name, e);
    return r;
}

/* ---- Unix ---- */
/* The lock file beside the socket: whoever holds it owns the name, and a name nobody holds is
 * stale. Its sixth line tells which socket that is, so that a parked one can be known again. */
static int
lock_socket(const struct pm *pm, struct pm_listener *l, const char *path, struct err *e)
{
    int r;

    (void) snprintf(l->lock_path, sizeof l->lock_path, "%s.lock", path);
    r = pm_lock_path(l->lock_path, &l->lock_fd, e);
    if (r != -EAGAIN)
        return r;
    closep(&l->lock_fd);
    l->lock_fd = -1;
    (void) err_set_errno(e, EADDRINUSE, "could not lock file \"%s\"", l->lock_path);
    err_hint(e, "Is another server already running on port %d? Set another port.",
             (int) pm->conf->v.port);
    return -EADDRINUSE;
}

static int
write_lock(const struct pm *pm, const struct pm_listener *l, struct err *e)
{
    char text[PATH_MAX + 128];
    struct stat st = { 0 };
    int n;

    (void) fstat(l->fd, &st);
    n = snprintf(text, sizeof text, "%d\n%s\n%lld\n%d\n%s\n%llu:%llu:%llu\n", (int) getpid(),
                 pm->where.data_dir, (long long) (pm->started_usec / USEC_PER_SEC),
                 (int) pm->conf->v.port, "", (unsigned long long) l->dev,
                 (unsigned long long) l->ino, (unsigned long long) st.st_ino);
    if (ftruncate(l->lock_fd, 0) < 0 ||
        pwrite(l->lock_fd, text, MIN((size_t) n, sizeof text), 0) < 0)
        return ERR_ERRNO(e, "could not write lock file \"%s\"", l->lock_path);
    return 0;
}

/* Is `path` the name that its lock file tells of? *ret_ino: the inode of the socket itself. */
static bool
is_told_of(int lock_fd, const char *path, unsigned long long *ret_ino)
{
    char text[PATH_MAX + 128];
    unsigned long long dev;
    unsigned long long ino;
    ssize_t n = pread(lock_fd, text, sizeof text - 1, 0);
    const char *line = text;
    struct stat st;

    text[MAX(n, 0)] = '\0';
    for (int i = 0; i < 5 && line != NULL; i++) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return line != NULL && sscanf(line, "%llu:%llu:%llu", &dev, &ino, ret_ino) == 3 &&
           stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == dev && st.st_ino == ino;
}

void
pm_listen_unlink(const char *path)
{
    char lock_path[140];
    unsigned long long sock_ino;
    CLEANUP(closep) int fd = -1;

    (void) snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    fd = open(lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || pm_lock_fd(fd) < 0 || !is_told_of(fd, path, &sock_ino))
        return;
    (void) unlink(path);
    (void) unlink(lock_path);
}

static int
unix_address(const struct pm *pm, const char *dir, struct sockaddr_un *ret, struct err *e)
{
    char path[4200];

    (void) snprintf(path, sizeof path, "%s/.s.PGSQL.%d", dir, (int) pm->conf->v.port);
    if (strlen(path) >= sizeof ret->sun_path) {
        (void) ERR(e, CONFIG_FILE_ERROR, "Unix socket path \"%s\" is too long (maximum 107 bytes)",
                   path);
        err_hint(e, "Set unix_socket_directories to a shorter path.");
        return -ERR_CONFIG_FILE_ERROR;
    }
    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    memcpy(ret->sun_path, path, strlen(path) + 1);
    return 0;
}

/* A parked socket is one of ours as long as its name leads to it, and not to one of a server that
 * ran meanwhile. */
static int
want_unix(struct pm *pm, const char *dir, struct err *e)
{
    struct sockaddr_un sa;
    char lock_path[140];
    unsigned long long sock_ino;
    int r = unix_address(pm, dir, &sa, e);
    CLEANUP(closep) int fd = -1;

    if (r < 0)
        return r;
    (void) snprintf(lock_path, sizeof lock_path, "%s.lock", sa.sun_path);
    fd = open(lock_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && is_told_of(fd, sa.sun_path, &sock_ino))
        pm_park_want(pm, (const struct sockaddr *) &sa, sock_ino);
    return 0;
}

/* With its name locked: the socket from the store, or a new one. */
static int
bind_unix(struct pm *pm, const struct sockaddr_un *sa, int *ret_fd, int *ret_no, struct err *e)
{
    CLEANUP(closep) int fd = pm_park_take(pm, (const struct sockaddr *) sa, ret_no);

    if (fd < 0) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return ERR_ERRNO(e, "could not create socket \"%s\"", sa->sun_path);
        (void) unlink(sa->sun_path); /* stale: its lock was free */
        if (bind(fd, (const struct sockaddr *) sa, sizeof *sa) < 0)
            return ERR_ERRNO(e, "could not listen on Unix socket \"%s\"", sa->sun_path);
    }
    if (chmod(sa->sun_path, (mode_t) pm->conf->v.unix_socket_permissions) < 0 ||
        listen(fd, BACKLOG) < 0)
        return ERR_ERRNO(e, "could not listen on Unix socket \"%s\"", sa->sun_path);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int
open_unix(struct pm *pm, const char *dir, struct err *e)
{
    struct pm_listener lock = { .fd = -1, .lock_fd = -1 };
    struct sockaddr_un sa;
    struct pm_listener *l;
    struct stat st;
    int fd = -1;
    int no = -1;
    int r = unix_address(pm, dir, &sa, e);

    if (r == 0)
        r = lock_socket(pm, &lock, sa.sun_path, e);
    if (r == 0)
        r = bind_unix(pm, &sa, &fd, &no, e);
    if (r == 0)
        r = add_listener(pm, fd, sa.sun_path, &l, e);
    if (r < 0) {
        closep(&lock.lock_fd);
        return r;
    }
    l->lock_fd = lock.lock_fd;
    memcpy(l->lock_path, lock.lock_path, sizeof l->lock_path);
    l->is_unix = l->is_ours = true;
    l->park_no = no;
    l->is_parked = no >= 0;
    if (stat(sa.sun_path, &st) == 0) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    return write_lock(pm, l, e);
}

/* ---- of a socket unit ---- */
/* The sockets of "pinion-db@.socket". They stand for listen_addresses, or for
 * unix_socket_directories. */
static int
take_unit_sockets(struct pm *pm, bool *ret_tcp, bool *ret_unix, struct err *e)
{
    int r = 0;

    *ret_tcp = *ret_unix = false;
    for (unsigned i = 0; i < pm->n_passed && r == 0; i++) {
        struct pm_passed *p = &pm->passed[i];
        struct sockaddr_storage sa = { 0 };
        socklen_t len = sizeof sa - 1;
        struct pm_listener *l;
        char text[128];

        if (p->fd < 0 || p->origin != ORIGIN_UNIT ||
            getsockname(p->fd, (struct sockaddr *) &sa, &len) < 0)
            continue;
        if (sa.ss_family == AF_UNIX)
            (void) snprintf(text, sizeof text, "%s",
                            ((const struct sockaddr_un *) (const void *) &sa)->sun_path);
        else
            print_address((const struct sockaddr *) &sa, len, text, sizeof text);
        r = add_listener(pm, TAKE_FD(p->fd), text, &l, e);
        if (r == 0)
            l->is_unix = sa.ss_family == AF_UNIX;
        *ret_unix |= sa.ss_family == AF_UNIX;
        *ret_tcp |= sa.ss_family != AF_UNIX;
    }
    return r;
}

/* ---- all ---- */
/* What is in the store and still configured, by address; the rest goes before anything is bound:
 * the old address may be part of the new one. */
static int
sort_stored(struct pm *pm, const char *hosts, const char *dirs, struct err *e)
{
    int r;

    if (!pm_park_has_stored(pm))
        return 0;
    r = each_name(pm, hosts, want_host, e);
    if (r == 0)
        r = each_name(pm, dirs, want_unix, e);
    pm->has_discarded = r == 0 && pm_park_discard(pm);
    return r;
}

int
pm_listen_open(struct pm *pm, struct err *e)
{
    bool has_tcp;
    bool has_unix;
    int r = take_unit_sockets(pm, &has_tcp, &has_unix, e);
    const char *hosts = has_tcp ? "" : pm->conf->v.listen_addresses;
    const char *dirs = has_unix ? "" : pm->conf->v.unix_socket_directories;

    if (r == 0)
        r = sort_stored(pm, hosts, dirs, e);
    if (r == 0)
        r = each_name(pm, hosts, open_host, e);
    if (r == 0)
        r = each_name(pm, dirs, open_unix, e);
    if (r == 0 && pm->n_listeners == 0)
        r = ERR(e, CONFIG_FILE_ERROR,
                "no socket to listen on: set listen_addresses or "
                "unix_socket_directories");
    return r;
}

void
pm_listen_touch(const struct pm *pm)
{
    time_t before = (time_t) (clock_real_usec() / USEC_PER_SEC) - TOUCH_SEC;

    for (unsigned i = 0; i < pm->n_listeners; i++) {
        const struct pm_listener *l = &pm->listeners[i];
        struct stat st;

        if (l->lock_fd < 0 || fstat(l->lock_fd, &st) < 0 || st.st_mtime > before)
            continue;
        (void) futimens(l->lock_fd, NULL);
        (void) utimensat(AT_FDCWD, l->text, NULL, AT_SYMLINK_NOFOLLOW);
    }
}

/* Remove the name if it is still the one we made. */
static void
remove_name(const struct pm_listener *l)
{
    struct stat st;

    if (l->is_unix && l->is_ours && !l->is_parked && stat(l->text, &st) == 0 &&
        st.st_ino == l->ino && st.st_dev == l->dev)
        (void) unlink(l->text);
}

/* A parked socket's name and what is told of it stay: the next start knows it by them. */
static void
remove_lock(struct pm_listener *l)
{
    struct stat ours;
    struct stat st;

    if (l->lock_fd < 0)
        return;
    if (!l->is_parked && fstat(l->lock_fd, &ours) == 0 && stat(l->lock_path, &st) == 0 &&
        st.st_ino == ours.st_ino)
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
    static char dir[CONF_NET_NAME_CAP];
    const char *list = pm->conf->v.unix_socket_directories;

    if (conf_net_next_name(&list, dir, sizeof dir) <= 0)
        dir[0] = '\0';
    return dir;
}
