/* A storm of connects of every kind, as many as one processor can offer; and what it is compared
 * with, a listener that only takes connections and drops them.
 *
 *   storm SECONDS TARGET…   TARGET: path of a Unix socket, or a port of 127.0.0.1; taken in turn.
 *                           Prints one line of JSON: what was offered, and how it ended
 *   storm --listen PATH     says "listening"
 *
 * Good clients log in and leave. Bad ones send what is no start-up packet, or ask for what is not
 * there. Silent ones say nothing, half ones the first bytes, and both stay as long as there is
 * room. Gone ones reset the connection before they can be answered. Cancels name processes at
 * random.
 *
 * Runs in: a program of its own, on one processor. Owns: everything. Source: wal-format.md 6.2. */
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum kind { GOOD, BAD, SILENT, HALF, GONE, CANCEL, KINDS };
enum { BUSY_MAX = 2000, HELD_MAX = 300, CONNS = BUSY_MAX + HELD_MAX, PATIENCE_MS = 20000 };

static const char *const kind_names[KINDS] = { "good", "bad", "silent", "half", "gone", "cancel" };

struct conn {
    int fd; /* -1: free */
    enum kind kind;
    bool is_held, is_connecting, has_spoken;
    int64_t since_ms;
    struct conn *next; /* free, or held after it */
};

struct target {
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in;
    } sa;
    socklen_t len;
};

static struct {
    struct conn conns[CONNS];
    struct conn *free, *held_first, **held_last;
    unsigned n_busy, n_held;
    struct target targets[8];
    unsigned n_targets;
    int epoll_fd;
    uint64_t random;
    uint64_t tried, turned_away, stuck;
    uint64_t n[KINDS], in, refused, closed; /* in, refused: good ones */
} s;

static int64_t
now_ms(void)
{
    struct timespec t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint32_t
draw(void)
{
    s.random ^= s.random << 13;
    s.random ^= s.random >> 7;
    s.random ^= s.random << 17;
    return (uint32_t) (s.random >> 16);
}

/* ---- what is said ---- */
static void
put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t) (v >> (24 - 8 * i));
}

static size_t
put_startup(uint8_t *p, uint32_t protocol, const char *database)
{
    static const char user[] = "user\0postgres\0database";
    size_t n = 8;

    put_u32(p + 4, protocol);
    memcpy(p + n, user, sizeof user);
    n += sizeof user;
    memcpy(p + n, database, strlen(database) + 1);
    n += strlen(database) + 1;
    p[n++] = 0;
    put_u32(p, (uint32_t) n);
    return n;
}

static size_t
put_bad(uint8_t *p)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: pinion\r\n\r\n";

    switch (draw() % 5) {
    case 0:
        for (int i = 0; i < 40; i++)
            p[i] = (uint8_t) draw();
        return 40;
    case 1:
        memcpy(p, http, sizeof http);
        return sizeof http - 1;
    case 2:
        put_u32(p, 0x7fffffff);
        put_u32(p + 4, 196608);
        return 8;
    case 3:
        return put_startup(p, draw() % 2 != 0 ? 99 << 16 : 1 << 16, "postgres");
    default:
        return put_startup(p, 196608, "nowhere");
    }
}

static size_t
put_first(enum kind kind, uint8_t *p)
{
    switch (kind) {
    case GOOD:
        return put_startup(p, 196608, "postgres");
    case BAD:
        return put_bad(p);
    case HALF:
        return put_startup(p, 196608, "postgres") / 2;
    case CANCEL:
        put_u32(p, 16);
        put_u32(p + 4, 80877102);
        put_u32(p + 8, 1 + draw() % 100000);
        put_u32(p + 12, draw());
        return 16;
    case GONE:
        return draw() % 2 != 0 ? put_startup(p, 196608, "postgres") : 0;
    case SILENT:
    case KINDS:
        break;
    }
    return 0;
}

/* ---- connections ---- */
static void
drop(struct conn *c, bool by_reset)
{
    struct linger now = { .l_onoff = 1 };

    if (by_reset)
        (void) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void) close(c->fd);
    c->fd = -1;
    if (!c->is_held) {
        s.n_busy--;
        c->next = s.free;
        s.free = c;
    }
}

/* Who was held longest makes room; who was closed by the server meanwhile has left its place. */
static void
release_oldest(void)
{
    struct conn *c = s.held_first;

    s.held_first = c->next;
    if (s.held_first == NULL)
        s.held_last = &s.held_first;
    if (c->fd >= 0)
        drop(c, true);
    s.n_held--;
    c->is_held = false;
    c->next = s.free;
    s.free = c;
}

static void
hold(struct conn *c)
{
    if (s.n_held == HELD_MAX)
        release_oldest();
    s.n_busy--;
    s.n_held++;
    c->is_held = true;
    c->next = NULL;
    *s.held_last = c;
    s.held_last = &c->next;
}

static void
speak(struct conn *c)
{
    uint8_t text[256];
    size_t n = put_first(c->kind, text);
    struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = c };

    c->is_connecting = false;
    c->has_spoken = true;
    (void) send(c->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (c->kind == GONE) {
        drop(c, true);
        return;
    }
    (void) epoll_ctl(s.epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
    if (c->kind == SILENT || c->kind == HALF)
        hold(c);
}

/* Returns false if the target takes no more now. */
static bool
connect_one(void)
{
    struct target *t = &s.targets[s.tried % s.n_targets];
    struct conn *c = s.free;
    struct epoll_event ev = { .events = EPOLLOUT, .data.ptr = c };
    int fd = socket(t->sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return false;
    s.tried++;
    if (t->sa.any.sa_family == AF_INET) { /* ports of one address would soon be used up */
        struct sockaddr_in from = { .sin_family = AF_INET };
        int on = 1;

        from.sin_addr.s_addr = htonl(0x7f000001u + (uint32_t) (s.tried % 250));
        (void) setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        (void) bind(fd, (struct sockaddr *) &from, sizeof from);
    }
    r = connect(fd, &t->sa.any, t->len);
    if (r < 0 && errno != EINPROGRESS) {
        s.turned_away++;
        (void) close(fd);
        return false;
    }
    s.free = c->next;
    s.n_busy++;
    *c = (struct conn){ .fd = fd, .is_connecting = r < 0, .since_ms = now_ms() };
    c->kind = (enum kind)(draw() % KINDS);
    s.n[c->kind]++;
    (void) epoll_ctl(s.epoll_fd, EPOLL_CTL_ADD, fd, &ev);
    if (r == 0)
        speak(c);
    return true;
}

static void
hear(struct conn *c)
{
    static const uint8_t ready[] = { 'Z', 0, 0, 0, 5 }, leave[] = { 'X', 0, 0, 0, 4 };
    uint8_t text[4096];
    ssize_t n = recv(c->fd, text, sizeof text, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        s.closed++;
        drop(c, false);
    } else if (c->kind == GOOD && memmem(text, (size_t) n, ready, sizeof ready) != NULL) {
        s.in++;
        (void) send(c->fd, leave, sizeof leave, MSG_DONTWAIT | MSG_NOSIGNAL);
        drop(c, false);
    } else if (c->kind == GOOD && text[0] == 'E') {
        s.refused++;
        drop(c, false);
    }
}

static void
look(int wait_ms)
{
    struct epoll_event events[64];
    int n = epoll_wait(s.epoll_fd, events, 64, wait_ms);

    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;

        if (c->fd < 0)
            continue; /* ended by an earlier event of this batch */
        if (!c->is_connecting)
            hear(c);
        else if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0)
            drop(c, false);
        else
            speak(c);
    }
}

/* Who waits in vain. */
static void
give_up(int64_t now)
{
    for (int i = 0; i < CONNS; i++) {
        struct conn *c = &s.conns[i];

        if (c->fd < 0 || c->is_held || now - c->since_ms < PATIENCE_MS)
            continue;
        s.stuck++;
        drop(c, true);
    }
}

static void
storm(int64_t msec)
{
    int64_t end = now_ms() + msec;
    int64_t next_look = 0;
    int64_t now;

    while ((now = now_ms()) < end) {
        bool has_room = true;

        for (int i = 0; i < 16 && has_room; i++)
            has_room = s.n_busy < BUSY_MAX && s.free != NULL && connect_one();
        look(0);
        if (now >= next_look) {
            give_up(now);
            next_look = now + 100;
        }
    }
}

/* ---- the plain listener ---- */
static int
listen_plain(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void) snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof sa) < 0 || listen(fd, 512) < 0) {
        perror("storm: could not listen");
        return 1;
    }
    (void) puts("listening");
    (void) fflush(stdout);
    for (;;) {
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

        if (client >= 0)
            (void) close(client);
    }
}

static void
add_target(const char *text)
{
    struct target *t = &s.targets[s.n_targets++];

    if (strchr(text, '/') != NULL) {
        t->sa.un.sun_family = AF_UNIX;
        (void) snprintf(t->sa.un.sun_path, sizeof t->sa.un.sun_path, "%s", text);
        t->len = sizeof t->sa.un;
    } else {
        t->sa.in.sin_family = AF_INET;
        t->sa.in.sin_port = htons((uint16_t) strtoul(text, NULL, 10));
        t->sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        t->len = sizeof t->sa.in;
    }
}

static void
report(double seconds)
{
    (void) printf("{\"seconds\": %.1f, \"tried\": %llu, \"turned_away\": %llu, \"stuck\": %llu, ",
                  seconds, (unsigned long long) s.tried, (unsigned long long) s.turned_away,
                  (unsigned long long) s.stuck);
    for (int k = 0; k < KINDS; k++)
        (void) printf("\"%s\": %llu, ", kind_names[k], (unsigned long long) s.n[k]);
    (void) printf("\"in\": %llu, \"refused\": %llu, \"closed\": %llu}\n", (unsigned long long) s.in,
                  (unsigned long long) s.refused, (unsigned long long) s.closed);
}

int
main(int argc, char **argv)
{
    struct rlimit files = { 4096, 4096 };
    cpu_set_t one;
    int64_t begin;

    (void) prctl(PR_SET_PDEATHSIG, 9);
    (void) setrlimit(RLIMIT_NOFILE, &files);
    if (argc == 3 && strcmp(argv[1], "--listen") == 0)
        return listen_plain(argv[2]);
    if (argc < 3 || argc > 10) {
        (void) fputs("usage: storm SECONDS TARGET... | storm --listen PATH\n", stderr);
        return 2;
    }
    CPU_ZERO(&one);
    CPU_SET((int) sysconf(_SC_NPROCESSORS_ONLN) - 1, &one);
    (void) sched_setaffinity(0, sizeof one, &one);
    for (int i = 2; i < argc; i++)
        add_target(argv[i]);
    for (int i = 0; i < CONNS; i++) {
        s.conns[i] = (struct conn){ .fd = -1, .next = s.free };
        s.free = &s.conns[i];
    }
    s.held_last = &s.held_first;
    s.random = (uint64_t) time(NULL) * 2654435761u + (uint64_t) getpid();
    s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    begin = now_ms();
    storm((int64_t) (strtod(argv[1], NULL) * 1000));
    report((double) (now_ms() - begin) / 1000);
    return 0;
}
