/* The control socket: binding its name, accepting within limits, ticking clients, the last replies.
 * Runs in: postmaster.
 * Owns: the listening descriptor, the socket's name, all connections.
 * Source: systemd-ops 2.7; design 8, 11 (paths longer than a socket address). */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/control_client.h"
#include "control/control_peer.h"

#define ACCEPT_PER_TURN 16
#define IDLE_TICK_USEC  (UINT64_C(1) * 1000000)

struct control {
    sd_event *ev; /* borrowed */
    const struct control_view *view;
    int fd;     /* listening */
    int dir_fd; /* of the socket's directory */
    char name[64];
    dev_t dev;
    ino_t ino; /* of the name when we made it */
    sd_event_source *io;
    sd_event_source *timer;
    struct control_groups groups;
    struct control_client *clients;
    int n_clients;
    bool is_full; /* no descriptor left: nothing is accepted until the next tick */
};

static int on_accept(sd_event_source *s, int fd, uint32_t revents, void *arg);
static int on_tick(sd_event_source *s, uint64_t usec, void *arg);

/* Split path into an open directory and the last part. */
static int
open_dir(struct control *c, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    char dir[4096];

    if (strlen(name) == 0 || strlen(name) > 60 || (slash != NULL && slash - path >= 4096))
        return ERR(e, CONFIG_FILE_ERROR, "control socket path \"%s\" is not usable", path);
    (void) snprintf(dir, sizeof dir, "%.*s", slash == NULL ? 1 : (int) (slash - path + 1),
                    slash == NULL ? "." : path);
    (void) snprintf(c->name, sizeof c->name, "%s", name);
    c->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (c->dir_fd < 0)
        return ERR_ERRNO(e, "could not open directory \"%s\" of the control socket", dir);
    return 0;
}

/* Where the name leads, however long its path is. */
static struct sockaddr_un
address_of(const struct control *c, const char *name)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    (void) snprintf(addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/%s", c->dir_fd, name);
    return addr;
}

/* A socket there that somebody listens on is another server's, whose callers would come to us. */
static int
check_unused(const struct control *c, const char *path, struct err *e)
{
    struct sockaddr_un addr = address_of(c, c->name);
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return ERR_ERRNO(e, "could not create control socket");
    if (connect(fd, (struct sockaddr *) &addr, sizeof addr) < 0 && errno != EAGAIN)
        return 0;
    (void) err_set_errno(e, EADDRINUSE, "control socket \"%s\" is in use by another server", path);
    err_hint(e, "Set another control_socket, or stop that server.");
    return -EADDRINUSE;
}

/* Bind under a name of our own, then rename: the real name is never missing and never half-made.
 * All through /proc/self/fd, so the length of the directory's path does not matter. */
static int
bind_name(struct control *c, const char *path, struct err *e)
{
    struct sockaddr_un addr;
    char tmp[80];
    struct stat st;

    (void) snprintf(tmp, sizeof tmp, ".%s.%d", c->name, (int) getpid());
    addr = address_of(c, tmp);
    (void) unlinkat(c->dir_fd, tmp, 0);
    if (bind(c->fd, (struct sockaddr *) &addr, sizeof addr) < 0)
        return ERR_ERRNO(e, "could not bind control socket \"%s\"", path);
    if (fchmodat(c->dir_fd, tmp, 0666, 0) < 0 || listen(c->fd, CONTROL_CLIENTS_MAX) < 0 ||
        fstatat(c->dir_fd, tmp, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        renameat(c->dir_fd, tmp, c->dir_fd, c->name) < 0) {
        int r = ERR_ERRNO(e, "could not set up control socket \"%s\"", path);
        (void) unlinkat(c->dir_fd, tmp, 0);
        return r;
    }
    c->dev = st.st_dev;
    c->ino = st.st_ino;
    return 0;
}

static void
remove_name(const struct control *c)
{
    struct stat st;

    if (c->ino != 0 && fstatat(c->dir_fd, c->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_dev == c->dev && st.st_ino == c->ino)
        (void) unlinkat(c->dir_fd, c->name, 0);
}

static int
add_sources(struct control *c, struct err *e)
{
    int r = sd_event_add_io(c->ev, &c->io, c->fd, EPOLLIN, on_accept, c);

    if (r >= 0)
        r = sd_event_add_time(c->ev, &c->timer, CLOCK_MONOTONIC, 0, 0, on_tick, c);
    if (r < 0)
        return err_set_errno(e, -r, "could not watch the control socket");
    (void) sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
    (void) sd_event_source_set_priority(c->io, SD_EVENT_PRIORITY_NORMAL + 20); /* accept last */
    return 0;
}

static int
make_socket(struct control *c, const char *path, struct err *e)
{
    int r;

    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return ERR_ERRNO(e, "could not create control socket");
    r = open_dir(c, path, e);
    if (r == 0)
        r = check_unused(c, path, e);
    return r < 0 ? r : bind_name(c, path, e);
}

int
control_new(sd_event *ev, const struct control_place *place, const struct control_view *view,
            struct control **ret, struct err *e)
{
    struct control *c = calloc(1, sizeof *c);
    int r;

    if (c == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    c->ev = ev;
    c->view = view;
    c->dir_fd = -1;
    c->fd = place->fd;
    r = c->fd >= 0 ? 0 : make_socket(c, place->path, e);
    if (r < 0 || (r = add_sources(c, e)) < 0) {
        (void) control_free(c);
        return r;
    }
    control_groups_load(&c->groups);
    *ret = c;
    return 0;
}

void
control_load_groups(struct control *c)
{
    control_groups_load(&c->groups);
}

/* Close what is dead, then sleep until something may be due: soon if a call is parked, else a slow
 * look at time-outs, else not at all. */
static void
sweep(struct control *c)
{
    bool parked = false;

    for (struct control_client **at = &c->clients; *at != NULL;) {
        struct control_client *client = *at;
        if (!client->dead) {
            parked = parked || client->parked;
            at = &client->next;
            continue;
        }
        *at = client->next;
        c->n_clients--;
        (void) control_client_free(client);
    }
    if (c->clients == NULL && !c->is_full) {
        (void) sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
        return;
    }
    usec_t wait = parked ? CONTROL_PROGRESS_USEC : IDLE_TICK_USEC;
    (void) sd_event_source_set_time(c->timer, clock_mono_usec() + wait);
    (void) sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

static void
tick(struct control *c)
{
    usec_t now = clock_mono_usec();

    for (struct control_client *client = c->clients; client != NULL; client = client->next)
        control_client_tick(client, now);
    c->is_full = false;
    (void) sd_event_source_set_enabled(c->io, SD_EVENT_ON);
    sweep(c);
}

static int
on_tick(sd_event_source *s, uint64_t usec, void *arg)
{
    (void) s;
    (void) usec;
    tick(arg);
    return 0;
}

void
control_changed(struct control *c)
{
    if (c->clients != NULL || c->is_full)
        tick(c);
}

/* Is there room for this peer? */
static bool
is_admissible(const struct control *c, const struct control_peer *peer)
{
    bool owner = peer->uid == 0 || peer->uid == geteuid();
    int of_uid = 0;

    for (const struct control_client *client = c->clients; client != NULL; client = client->next)
        of_uid += client->peer.uid == peer->uid && !client->dead;
    return c->n_clients < CONTROL_CLIENTS_MAX - (owner ? 0 : CONTROL_CLIENTS_RESERVED) &&
           of_uid < CONTROL_CLIENTS_PER_UID;
}

static void
accept_client(struct control *c, int fd)
{
    struct control_peer peer;
    struct control_client *client = NULL;

    if (control_peer_get(fd, &c->groups, &peer) >= 0 && is_admissible(c, &peer))
        client = control_client_new(c->ev, fd, &peer, c->view);
    if (client == NULL) {
        (void) close(fd);
        return;
    }
    client->next = c->clients;
    c->clients = client;
    c->n_clients++;
}

static int
on_accept(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    struct control *c = arg;

    (void) s;
    (void) revents;
    sweep(c); /* places of those who left come first */
    for (int i = 0; i < ACCEPT_PER_TURN; i++) {
        int client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client_fd < 0) {
            c->is_full = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
            break;
        }
        accept_client(c, client_fd);
    }
    if (c->is_full) /* else the loop would spin on the one it cannot take */
        (void) sd_event_source_set_enabled(c->io, SD_EVENT_OFF);
    sweep(c);
    return 0;
}

static bool
flush_all(struct control *c)
{
    bool left = false;

    for (struct control_client *client = c->clients; client != NULL; client = client->next) {
        control_client_flush(client);
        left = left || (!client->dead && client->out_sent < client->out_n);
    }
    return left;
}

void
control_finish(struct control *c, bool clean, usec_t patience_usec)
{
    usec_t deadline = clock_mono_usec() + patience_usec;

    remove_name(c);
    c->ino = 0;
    for (struct control_client *client = c->clients; client != NULL; client = client->next)
        control_client_finish(client, clean);
    while (flush_all(c) && clock_mono_usec() < deadline)
        (void) poll(NULL, 0, 1);
}

struct control *
control_free(struct control *c)
{
    if (c == NULL)
        return NULL;
    while (c->clients != NULL) {
        struct control_client *client = c->clients;
        c->clients = client->next;
        (void) control_client_free(client);
    }
    (void) sd_event_source_disable_unref(c->io);
    (void) sd_event_source_disable_unref(c->timer);
    remove_name(c);
    closep(&c->fd);
    closep(&c->dir_fd);
    free(c);
    return NULL;
}

void
control_close_in_child(struct control *c)
{
    if (c == NULL)
        return;
    for (struct control_client *client = c->clients; client != NULL; client = client->next)
        closep(&client->fd);
    closep(&c->fd);
    closep(&c->dir_fd);
}
