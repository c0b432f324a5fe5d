/* Birth and end of a child. Runs in: every child, before and after its main. Owns: the signalfd,
 * the exit callbacks, the process' word on why QUIT comes. Source: postmaster.md 1.4, 1.6, 2.7;
 * style 3.10. */
#include "proc/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdlist.h"
#include "base/log.h"
#include "base/title.h"
#include "conf/conf_log.h"
#include "conf/conf_share.h"
#include "proc/confine.h"
#include "proc/segment.h"

#define ON_EXIT_MAX 8

/* How long a child waits for a log collector that does not read, before it drops entries. */
#define LOG_PATIENCE_USEC (5 * USEC_PER_SEC)

static struct {
    const struct child_start *start;
    struct slot *slot; /* NULL: not attached */
    int signal_fd;
    struct {
        void (*fn)(void *arg);
        void *arg;
    } on_exit[ON_EXIT_MAX];
    unsigned n_on_exit;
    void (*on_reload)(void *arg);
    void *on_reload_arg;
} me = { .signal_fd = -1 };

/* ---- signals ---- */

/* What each kind makes of a signal; 0 = nothing (postmaster.md 1.4). */
/* clang-format off */
static const struct {
    uint32_t on_term, on_int, on_usr1, on_usr2;
} orders[CHILD_KINDS] = {
    [CHILD_SYSLOGGER]    = { .on_usr1 = REQ_WORK },
    [CHILD_STARTUP]      = { .on_term = REQ_TERMINATE },
    [CHILD_CHECKPOINTER] = { .on_int = REQ_FINISH, .on_usr2 = REQ_STOP },
    [CHILD_BGWRITER]     = { .on_term = REQ_STOP },
    [CHILD_WALWRITER]    = { .on_term = REQ_STOP, .on_int = REQ_STOP },
    [CHILD_ARCHIVER]     = { .on_term = REQ_STOP, .on_usr2 = REQ_FINISH },
    [CHILD_AV_LAUNCHER]  = { .on_term = REQ_STOP },
    [CHILD_AV_WORKER]    = { .on_term = REQ_TERMINATE, .on_int = REQ_CANCEL },
    [CHILD_STATS]        = { .on_term = REQ_STOP },
    [CHILD_BGWORKER]     = { .on_term = REQ_STOP },
    [CHILD_BACKEND]      = { .on_term = REQ_TERMINATE, .on_int = REQ_CANCEL },
    [CHILD_DEAD_END]     = { .on_term = REQ_TERMINATE },
};
/* clang-format on */

static uint32_t
order_of(uint32_t signal)
{
    enum child_kind kind = me.start->kind;

    switch (signal) {
    case SIGTERM:
        return orders[kind].on_term;
    case SIGINT:
        return orders[kind].on_int;
    case SIGUSR1: /* others only look */
        return orders[kind].on_usr1;
    case SIGUSR2:
        return orders[kind].on_usr2;
    case SIGHUP:
        return REQ_RELOAD;
    default: /* signals are the kernel's numbers, not an enum of ours */
        return 0;
    }
}

int
child_signal_fd(void)
{
    return me.signal_fd;
}

uint32_t
child_take_signals(void)
{
    struct signalfd_siginfo si[8];
    uint32_t bits = 0;
    ssize_t n;

    while ((n = read(me.signal_fd, si, sizeof si)) > 0)
        for (size_t i = 0; i < (size_t) n / sizeof si[0]; i++)
            bits |= order_of(si[i].ssi_signo);
    if (bits != 0 && me.slot != NULL)
        slot_request(me.slot, bits);
    return bits;
}

void
child_poll(void *arg)
{
    (void) arg;
    (void) child_take_signals();
}

/* QUIT: leave without a word (backends say one first) and without a core. */
static void
quit_now(int signal)
{
    (void) signal;
    _exit(CHILD_PANIC);
}

void
child_set_quit_handler(void (*handler)(int))
{
    struct sigaction sa = { .sa_handler = handler };

    (void) sigfillset(&sa.sa_mask);
    (void) sigaction(SIGQUIT, &sa, NULL);
}

enum quit_reason
child_quit_reason(void)
{
    uint32_t reason;

    if (me.start == NULL || me.start->segment == NULL || me.start->slot_idx < 0)
        return QUIT_UNKNOWN; /* a dead end has unmapped it */
    reason =
        atomic_load_explicit(&segment_page(me.start->segment)->quit_reason, memory_order_relaxed);
    return reason <= QUIT_STOP ? (enum quit_reason) reason : QUIT_UNKNOWN;
}

/* ---- birth ---- */
/* PROC-3 does not hold for it: it has no shared memory, and ends with its pipe. */
static bool
outlives(const struct child_start *start)
{
    return start->kind == CHILD_SYSLOGGER;
}

/* All signals stay blocked as the postmaster had them, but QUIT; the ones we use come by
 * descriptor. */
static int
open_signals(struct err *e)
{
    sigset_t set;
    sigset_t quit;
    static const int used[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };

    (void) sigemptyset(&set);
    for (size_t i = 0; i < ELEMENTSOF(used); i++)
        (void) sigaddset(&set, used[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return ERR_ERRNO(e, "could not block signals");
    me.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (me.signal_fd < 0)
        return ERR_ERRNO(e, "could not create signal descriptor");
    if (outlives(me.start))
        return 0; /* QUIT stays blocked like the others that it does not know */
    child_set_quit_handler(quit_now);
    (void) sigemptyset(&quit);
    (void) sigaddset(&quit, SIGQUIT);
    if (sigprocmask(SIG_UNBLOCK, &quit, NULL) < 0)
        return ERR_ERRNO(e, "could not unblock SIGQUIT");
    return 0;
}

static void
take_slot(const struct child_start *start)
{
    struct slot *s = segment_slot(start->segment, start->slot_idx);

    s->kind = start->kind;
    s->cancel_key = start->cancel_key;
    atomic_store_explicit(&s->pid, (int32_t) getpid(), memory_order_relaxed);
    atomic_store_explicit(&s->started_usec, clock_real_usec(), memory_order_relaxed);
    atomic_store_explicit(&s->state, SLOT_ATTACHED, memory_order_release);
    me.slot = s;
}

/* The service manager is the postmaster's to speak to; programs that we start inherit this. */
static void
forget_manager(void)
{
    static const char *const names[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                         "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES",
                                         "FDSTORE" };

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        (void) unsetenv(names[i]); /* NOLINT(concurrency-mt-unsafe): one thread */
}

void
child_begin(const struct child_start *start)
{
    struct err e = ERR_INIT;
    char title[64];
    int r;

    me.start = start;
    log_init(start->role, (enum log_level) start->conf->v.log_min_messages);
    log_set_patience(LOG_PATIENCE_USEC);
    (void) prctl(PR_SET_NAME, start->role);
    (void) snprintf(title, sizeof title, "pinion: %s", start->role);
    title_set(title);
    /* No orphan outlives its segment: the signal, and the race before it was asked for. */
    if (!outlives(start) && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != start->parent))
        _exit(CHILD_FATAL);
    /* A group of its own: a ^C at the postmaster's terminal is not for us, and what we start can be
     * signalled with us. Not a session: the kernel would make a scheduling group for each
     * (sched_autogroup), which costs milliseconds where other work waits for the processor. */
    (void) setpgid(0, 0);
    confine_child(start->kind);
    forget_manager();
    /* Who is not attached cannot harm what it does not map. First of all: later the numbers of its
     * descriptors would be somebody else's. */
    if (start->slot_idx < 0 && start->segment != NULL)
        segment_free(start->segment);
    r = fdlist_close_others(start->client_fd);
    if (r == 0)
        r = open_signals(&e);
    if (r < 0) {
        if (e.code == 0)
            (void) err_set_errno(&e, -r, "could not close inherited descriptors");
        log_err(LOG_LEVEL_FATAL, "", &e);
        _exit(CHILD_FATAL);
    }
    if (start->slot_idx >= 0)
        take_slot(start);
}

/* ---- end ---- */
void
child_on_exit(void (*fn)(void *arg), void *arg)
{
    ASSERT(me.n_on_exit < ON_EXIT_MAX);
    me.on_exit[me.n_on_exit].fn = fn;
    me.on_exit[me.n_on_exit].arg = arg;
    me.n_on_exit++;
}

NORETURN void
child_exit(enum child_class how)
{
    if (how == CHILD_PANIC)
        _exit(CHILD_PANIC);
    while (me.n_on_exit > 0) {
        me.n_on_exit--;
        me.on_exit[me.n_on_exit].fn(me.on_exit[me.n_on_exit].arg);
    }
    /* Last: from here on the death is harmless. Seen ATTACHED at the reaping it would be a crash.
     */
    if (me.slot != NULL)
        atomic_store_explicit(&me.slot->state, SLOT_STARTING, memory_order_release);
    _exit((int) how);
}

NORETURN void
child_exit_err(enum child_class how, const struct err *e)
{
    log_err(how == CHILD_PANIC ? LOG_LEVEL_PANIC : LOG_LEVEL_FATAL, "", e);
    child_exit(how);
}

/* ---- the rest ---- */
int
child_reload(const struct child_start *start, struct err *e)
{
    CLEANUP(conf_done) struct conf next = { 0 };
    struct conf_diff diff;
    int r = conf_share_get(start->conf_fd, &next, e);

    if (r < 0)
        return r;
    conf_diff(start->conf, &next, &diff);
    conf_apply(start->conf, &next, &diff);
    conf_log_apply(&start->conf->v);
    if (me.on_reload != NULL)
        me.on_reload(me.on_reload_arg);
    return 0;
}

void
child_on_reload(void (*fn)(void *arg), void *arg)
{
    me.on_reload = fn;
    me.on_reload_arg = arg;
}

int
child_verdict_err(enum client_verdict v, struct err *e)
{
    switch (v) {
    case CLIENT_OK:
        return 0;
    case CLIENT_STARTING:
        return ERR(e, CANNOT_CONNECT_NOW, "the database system is starting up");
    case CLIENT_NOT_CONSISTENT:
        (void) ERR(e, CANNOT_CONNECT_NOW, "the database system is not yet accepting connections");
        err_detail(e, "Consistent recovery state has not been yet reached.");
        return -ERR_CANNOT_CONNECT_NOW;
    case CLIENT_NO_HOT_STANDBY:
        (void) ERR(e, CANNOT_CONNECT_NOW, "the database system is not accepting connections");
        err_detail(e, "Hot standby mode is disabled.");
        return -ERR_CANNOT_CONNECT_NOW;
    case CLIENT_RECOVERING:
        return ERR(e, CANNOT_CONNECT_NOW, "the database system is in recovery mode");
    case CLIENT_STOPPING:
        return ERR(e, CANNOT_CONNECT_NOW, "the database system is shutting down");
    case CLIENT_TOO_MANY:
        return ERR(e, TOO_MANY_CONNECTIONS, "sorry, too many clients already");
    case CLIENT_VERDICTS:
        break;
    }
    return ERR(e, INTERNAL_ERROR, "unknown verdict %d", (int) v);
}
