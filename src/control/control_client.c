/* One connection: bytes to messages, messages to calls one at a time, replies to bytes, all
 * bounded. Runs in: postmaster. Owns: the descriptor, both buffers, the call that runs. Source:
 * UAPI.20 framing (one object, one NUL); systemd-ops 2.3 (half-close), 2.6 (an unterminated
 * rest), 2.7 (limits). */
#include "control/control_client.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define OUT_PAUSE (64 * 1024) /* read no further call while this much is unsent */
#define OUT_KEEP  (64 * 1024) /* of the queue's memory, when all is sent */

static void
drop(struct control_client *c, const char *why)
{
    if (!c->dead)
        log_msg(LOG_LEVEL_DEBUG, "control connection of uid %u closed: %s", (unsigned) c->peer.uid,
                why);
    c->dead = true;
}

/* One reply behind less than OUT_PAUSE of others: no call is taken beyond that, so that it may be
 * as long as a list of ten thousand sessions is. */
static void
put_out(struct control_client *c, const char *text, size_t n)
{
    if (c->out_sent > 0) {
        memmove(c->out, c->out + c->out_sent, c->out_n - c->out_sent);
        c->out_n -= c->out_sent;
        c->out_sent = 0;
    }
    if (n > CONTROL_REPLY_MAX) {
        drop(c, "no client reads a reply as long as that");
        return;
    }
    if (c->out_n + n > c->out_cap) {
        size_t cap = MAX(c->out_n + n, 2 * c->out_cap);
        uint8_t *p = realloc(c->out, cap);
        if (p == NULL) {
            drop(c, "out of memory");
            return;
        }
        c->out = p;
        c->out_cap = cap;
    }
    if (c->out_n == 0)
        c->out_moved_usec = clock_mono_usec();
    memcpy(c->out + c->out_n, text, n);
    c->out_n += n;
}

static void
send_object(void *sink, struct json_object *reply)
{
    struct control_client *c = sink;
    size_t n;
    const char *text = json_object_to_json_string_length(
        reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);

    if (!c->dead)
        put_out(c, text, n + 1); /* with its NUL */
    c->active_usec = c->told_usec = clock_mono_usec();
}

/* All is sent: a long reply need not cost memory for as long as the connection lives. */
static void
give_back(struct control_client *c)
{
    uint8_t *p = c->out_cap > OUT_KEEP ? realloc(c->out, OUT_KEEP) : NULL;

    if (p == NULL)
        return;
    c->out = p;
    c->out_cap = OUT_KEEP;
}

void
control_client_flush(struct control_client *c)
{
    while (!c->dead && c->out_sent < c->out_n) {
        ssize_t n =
            send(c->fd, c->out + c->out_sent, c->out_n - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            drop(c, strerror(errno)); /* NOLINT(concurrency-mt-unsafe): one thread */
            return;
        }
        c->out_sent += (size_t) n;
        c->out_moved_usec = clock_mono_usec();
    }
    c->out_sent = c->out_n = 0;
    give_back(c);
}

static void
end_call(struct control_client *c)
{
    control_call_done(&c->call);
    c->parked = false;
}

static void
run_message(struct control_client *c, size_t n)
{
    struct err e = ERR_INIT;
    int r = control_dispatch(&c->call, (const char *) c->in, n, &e);

    c->active_usec = clock_mono_usec();
    if (r < 0)
        drop(c, e.message);
    if (r == CONTROL_PARKED)
        c->parked = true;
    else
        end_call(c);
}

/* The first message in the buffer, its bytes without the NUL, or SIZE_MAX. At the end of input an
 * unterminated rest counts too: `echo '{…}' | nc -UN` should work. */
static size_t
first_message(const struct control_client *c)
{
    const uint8_t *nul = memchr(c->in, '\0', c->in_n);

    if (nul != NULL)
        return (size_t) (nul - c->in);
    return c->eof && c->in_n > 0 ? c->in_n : SIZE_MAX;
}

static bool
may_run(const struct control_client *c)
{
    return !c->dead && !c->parked && c->out_n - c->out_sent < OUT_PAUSE;
}

static void
run_messages(struct control_client *c)
{
    size_t n;

    for (int i = 0; may_run(c) && (n = first_message(c)) != SIZE_MAX; i++) {
        if (i == CONTROL_MESSAGES_PER_TURN) { /* others first */
            (void) sd_event_source_set_enabled(c->again, SD_EVENT_ONESHOT);
            break;
        }
        run_message(c, n);
        size_t used = MIN(n + 1, c->in_n);
        memmove(c->in, c->in + used, c->in_n - used);
        c->in_n -= used;
        c->in_since_usec = c->in_n > 0 ? clock_mono_usec() : 0;
        if (c->eof && n == used)
            c->in_n = 0; /* it was the unterminated rest */
    }
}

static void
fill(struct control_client *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_n, CONTROL_MESSAGE_MAX + 1 - c->in_n, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        drop(c, strerror(errno)); /* NOLINT(concurrency-mt-unsafe): one thread */
        return;
    }
    if (n == 0)
        c->eof = true;
    else if (c->in_n == 0)
        c->in_since_usec = clock_mono_usec();
    c->in_n += (size_t) n;
}

static bool
wants_input(const struct control_client *c)
{
    return !c->eof && may_run(c) && c->in_n <= CONTROL_MESSAGE_MAX;
}

/* Dead: the peer learns it at once; the memory goes with the next sweep. */
static void
hang_up_if_dead(struct control_client *c)
{
    if (!c->dead)
        return;
    c->io = sd_event_source_disable_unref(c->io);
    c->again = sd_event_source_disable_unref(c->again);
    closep(&c->fd);
}

/* After anything happened: run what can run, send, decide what to wait for. */
static void
settle(struct control_client *c)
{
    run_messages(c);
    control_client_flush(c);
    if (c->in_n > CONTROL_MESSAGE_MAX && !c->parked && first_message(c) == SIZE_MAX)
        drop(c, "its message is too long");
    bool all_sent = c->out_n == c->out_sent;
    if (c->eof && !c->parked && c->in_n == 0 && all_sent)
        drop(c, "end of input");
    if (may_run(c) && first_message(c) != SIZE_MAX)
        (void) sd_event_source_set_enabled(c->again, SD_EVENT_ONESHOT);
    uint32_t events =
        (wants_input(c) ? (uint32_t) EPOLLIN : 0u) | (all_sent ? 0u : (uint32_t) EPOLLOUT);
    (void) sd_event_source_set_io_events(c->io, c->dead ? 0 : events);
}

static int
on_io(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    struct control_client *c = arg;

    (void) s;
    (void) fd;
    /* A peer that hung up for good may still have left calls behind: take them first. */
    if ((revents & (EPOLLIN | EPOLLHUP)) != 0 && wants_input(c))
        fill(c);
    settle(c);
    if ((revents & (EPOLLHUP | EPOLLERR)) != 0 && !(revents & EPOLLIN))
        drop(c, "the peer has gone");
    hang_up_if_dead(c);
    return 0;
}

static int
on_again(sd_event_source *s, void *arg)
{
    (void) s;
    settle(arg);
    hang_up_if_dead(arg);
    return 0;
}

void
control_client_tick(struct control_client *c, usec_t now)
{
    if (c->dead)
        return;
    if (c->parked) {
        bool quiet = now - c->told_usec >= CONTROL_QUIET_USEC;
        /* A watcher that does not read gets no second reply queued: it sees the newest state later.
         */
        bool room = c->out_n == c->out_sent;
        if (room && control_call_poll(&c->call, quiet) == CONTROL_REPLIED)
            end_call(c);
    }
    if (!c->dead)
        settle(c);
    if (c->out_n > c->out_sent && now - c->out_moved_usec > CONTROL_STUCK_USEC)
        drop(c, "its output is stuck");
    if (c->in_since_usec != 0 && !c->parked && now > c->in_since_usec + CONTROL_MESSAGE_USEC)
        drop(c, "its message does not end");
    if (!c->parked && now > c->active_usec + CONTROL_IDLE_USEC)
        drop(c, "idle");
    hang_up_if_dead(c);
}

void
control_client_finish(struct control_client *c, bool clean)
{
    if (c->dead)
        return;
    if (c->parked) {
        control_call_finish(&c->call, clean);
        end_call(c);
    }
    control_client_flush(c);
}

struct control_client *
control_client_new(sd_event *ev, int fd, const struct control_peer *peer,
                   const struct control_view *view)
{
    struct control_client *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->fd = fd;
    c->peer = *peer;
    c->call =
        (struct control_call){ .view = view, .peer = &c->peer, .send = send_object, .sink = c };
    c->active_usec = c->told_usec = clock_mono_usec();
    c->in = malloc(CONTROL_MESSAGE_MAX + 1);
    c->out_cap = 4096;
    c->out = malloc(c->out_cap);
    if (c->in == NULL || c->out == NULL || sd_event_add_io(ev, &c->io, fd, EPOLLIN, on_io, c) < 0 ||
        sd_event_add_defer(ev, &c->again, on_again, c) < 0) {
        c->fd = -1; /* still the caller's */
        return control_client_free(c);
    }
    (void) sd_event_source_set_enabled(c->again, SD_EVENT_OFF);
    return c;
}

struct control_client *
control_client_free(struct control_client *c)
{
    if (c == NULL)
        return NULL;
    control_call_done(&c->call);
    (void) sd_event_source_disable_unref(c->io);
    (void) sd_event_source_disable_unref(c->again);
    closep(&c->fd);
    free(c->in);
    free(c->out);
    free(c);
    return NULL;
}
