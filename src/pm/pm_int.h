/* Inside of struct pm: for src/pm only. One thread, one process; no guards needed. */
#pragma once

#include <signal.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "base/backoff.h"
#include "conf/conf.h"
#include "pm/pm.h"
#include "pm/pm_control.h"
#include "pm/pm_fsm.h"
#include "pm/pm_history.h"
#include "pm/pm_lock.h"
#include "proc/child.h"
#include "proc/segment.h"

/* Order of dispatch in one turn: what people and children say before who died, deaths before
 * clocks, new clients last. */
enum pm_priority {
    PRIO_STOP = -40, /* the stronger stop first: QUIT -40, INT -39, TERM -38 */
    PRIO_HUP = -30,
    PRIO_MESSAGE =
        -20, /* children's words before their deaths: the last message of a startup process */
    PRIO_DEATH = -10,
    PRIO_TIMER = 0,
    PRIO_OBSERVER = 10, /* SD_EVENT_PRIORITY_NORMAL is 0: the control service runs between */
    PRIO_ACCEPT = 20,
    PRIO_WATCHDOG = 100, /* only when everything else of the turn is done */
};

/* One child; slots are allocated at the start, a pool per kind. */
struct pm_child {
    struct pm *pm;
    enum child_kind kind;
    int slot_idx;            /* in the segment, -1 = not attached */
    pid_t pid;               /* 0 = free */
    sd_event_source *source; /* its pidfd */
    int told;                /* strongest signal sent, 0 = none */
    usec_t started_usec;     /* monotonic */
    usec_t started_real_usec;
    /* pm_beat.c */
    uint64_t progress;  /* its slot's, as last looked at */
    usec_t moved_usec;  /* monotonic: when that had moved */
    usec_t abort_usec;  /* monotonic: when SIGABRT was sent because it stands still, else 0 */
    usec_t traced_usec; /* monotonic: when it was last found held by a debugger */
    bool is_stalled;    /* that is said in the log */
    bool is_triggered;  /* the service manager was asked to restart us for that */
    bool is_in;         /* backend: seen logged in */
    bool is_shed;       /* backend: told to give its place to a client that speaks */
};

#define PM_LISTENERS_MAX 64

struct pm_listener {
    int fd;
    sd_event_source *source;
    char text[128]; /* "127.0.0.1:5454", or the path */
    bool is_unix;
    bool is_ours;   /* false: a socket unit's; its name stays */
    bool is_parked; /* the service manager keeps it, too: its name stays */
    int park_no;    /* N of its name listen-N there, -1: none yet */
    dev_t dev;      /* of the socket's name, Unix only */
    ino_t ino;
    int lock_fd; /* of the socket lock file, -1 */
    char lock_path[128];
};

/* Who made a descriptor that was passed at the start; its name says it. */
enum pm_origin {
    ORIGIN_UNKNOWN, /* closed */
    ORIGIN_UNIT,    /* "db": a socket unit for clients */
    ORIGIN_CONTROL, /* "varlink": a socket unit for the control socket */
    ORIGIN_STORE,   /* "listen-N": ourselves, before a restart or a crash */
};

#define PM_PASSED_MAX 128

struct pm_passed {
    int fd; /* -1: taken or closed */
    enum pm_origin origin;
    bool is_wanted; /* its address is configured */
    char name[32];
};

/* The log collector's pipe, for the life of the postmaster; read_fd -1: there is none. */
struct pm_logger {
    int read_fd;   /* kept, so that nothing is lost between two collectors */
    int write_fd;  /* until it is our stderr */
    int log_fd;    /* the same end, not blocking: entries of all processes */
    int ack_fd;    /* eventfd: the collector has written what was asked for */
    int origin_fd; /* what was our stderr */
    bool is_redirected;
};

struct pm_clock {
    sd_event_source *source;
    bool is_armed;
    usec_t at; /* monotonic, if armed */
};

struct pm {
    struct pm_params params;
    struct conf *conf;
    struct conf_where where;
    sd_event *loop;
    struct pm_machine m;
    usec_t started_usec, since_usec, ready_usec; /* real */
    usec_t since_mono_usec;
    unsigned n_restarts; /* resets after a crash */
    int exit_code;

    struct segment *seg;
    bool is_reset_failed;
    sd_event_source *messages;
    struct pm_child *children;
    struct child_key *keys; /* of the backends among them, same index */
    unsigned n_slots;       /* in `children` */
    struct {
        unsigned first, n;
        unsigned n_alive;
    } pool[CHILD_KINDS];
    struct backoff backoff[CHILD_KINDS];
    bool is_retired[CHILD_KINDS]; /* left for good: until a reload, or new memory */

    struct pm_listener listeners[PM_LISTENERS_MAX];
    unsigned n_listeners;
    unsigned n_twice; /* addresses of listen_addresses that were there by another name */
    struct pm_passed passed[PM_PASSED_MAX];
    unsigned n_passed;
    bool has_discarded;         /* of the sockets passed: their ports may still be taken */
    struct seldom not_accepted; /* for one log line a minute */
    int client_fd;              /* the client being decided on, else -1 */
    uint32_t worker_db;         /* oid for the worker being started */

    struct pm_lock lock;
    sd_event_source *lock_watch;

    struct pm_logger logger;

    struct pm_clock kill, patience, retry, tick, minute, crowd;
    struct pm_clock drain; /* armed: then the smart stop becomes a fast one */

    unsigned newcomers_max;  /* pm_crowd.c */
    bool is_crowded;         /* no client is taken until some of them sleep or are in */
    usec_t crowd_open_usec;  /* monotonic: since when they are taken again */
    uint64_t crowd_waited;   /* what schedstat said then */
    usec_t crowd_until_usec; /* monotonic: until when sessions are alone; 0: newcomers are awake */
    int schedstat_fd;

    enum pm_event queue[32]; /* events that came up while one is being handled */
    unsigned n_queued;
    bool is_handling;

    /* pm_beat.c */
    usec_t tick_usec;       /* from one look to the next */
    usec_t beats_usec;      /* of the last look, monotonic */
    usec_t beats_from_usec; /* nobody is judged by what was before */
    char stall_text[140];   /* "" = storage does not stall */
    bool has_unkillable;    /* a child that stands still does not even take SIGKILL */

    /* pm_notify.c */
    char status_text[200];
    char status_sent[200];
    usec_t status_sent_usec;
    char last_crash[160];
    usec_t crash_usec; /* when the crash that is being recovered from was seen; 0: there is none */
    uint64_t moved_value; /* progress as last seen */
    bool has_moved;       /* and the service manager does not know yet */
    usec_t moved_usec;    /* when it moved last, monotonic */
    usec_t phase_usec;    /* when the phase began, monotonic */
    uint64_t watchdog_usec;
    bool is_watchdog_withheld;
    struct pm_clock watchdog;
    sd_event_source *watchdog_turn;
    int canary_fd; /* -1: there is no watchdog */
    sd_event_source *canary;
    uint64_t canary_sent, canary_seen;
    struct pm_progress progress;

    /* pm_note.c */
    struct history history;
    struct pm_ask asked; /* who caused the event that is being handled; strings below */
    char asked_by[120];
    char asked_reason[256];

    /* pm_reload.c */
    int conf_fd; /* conf_share.h; -1 before start_up() */
    struct pm_reload reload;
    bool reload_is_valid;
    struct conf_issues reload_issues; /* why the last one was refused */
    const char *reload_names[2][CONF_SETTINGS];

    /* pm_control.c */
    pm_observer_fn observer;
    void *observer_arg;
    sd_event_source *observe;
    unsigned saw; /* BIT(enum pm_saw) not yet told */
};

/* pm.c */
/* Let the machine decide about `ev` and do what follows; events that come up meanwhile queue. */
void pm_event(struct pm *pm, enum pm_event ev);
struct pm_view pm_view(const struct pm *pm);
void pm_clock_arm(struct pm_clock *c, usec_t after_usec);
/* At `at` (monotonic), or at the time it is armed for if that is earlier. */
void pm_clock_arm_by(struct pm_clock *c, usec_t at);
void pm_clock_disarm(struct pm_clock *c);

/* pm_exec.c */
/* Do the actions of one step, in .def order; failures become events. */
void pm_exec(struct pm *pm, uint64_t actions);
/* Signal who has to leave, start who has to run (PM-2). */
void pm_reconcile(struct pm *pm);

/* pm_child.c */
int pm_children_init(struct pm *pm, struct err *e);
void pm_children_done(struct pm *pm);
/* A free slot of the kind's pool, or NULL. */
struct pm_child *pm_child_free(struct pm *pm, enum child_kind kind);
unsigned pm_child_count(const struct pm *pm, enum child_kind kind);
/* What an end means, and which event it is. Logs what must be logged. */
enum exit_class child_classify(const struct pm_child *c, const siginfo_t *si, bool is_slot_taken);
int pm_on_child_exit(sd_event_source *s, const siginfo_t *si, void *arg);
/* It was killed before it was entered in the table: a crash, if it was attached already. */
void pm_child_lost(struct pm_child *c);
/* Send a signal through the pidfd and wake the child's sleep. */
void pm_child_signal(struct pm_child *c, int signal);

/* Who is waited for, by role and pid, as far as there is room: "checkpointer 4711, backend 4712 and
 * 3 others"; "nobody" if there is none. */
void pm_child_names(const struct pm *pm, char *p, size_t n);

/* What the journal is told about a child beside the message (systemd-ops.md 3.8); room for one
 * more. */
struct pm_child_fields {
    char pid[40], object[40], role[60], end[40];
    const char *list[5];
};
void pm_child_fields(const struct pm_child *c, struct pm_child_fields *f);

/* pm_beat.c */
/* How long ago the process last showed that it lives. Attached children only. */
usec_t pm_beat_age(const struct pm_child *c, usec_t now);
/* Look at the children of which there is one each: end who stands still, tell whose storage
 * stalls. */
void pm_beat_look(struct pm *pm, usec_t now);

/* pm_launch.c */
/* Fork one of `kind`; the client's socket is pm->client_fd for backends and dead ends. Returns 0 or
 * < 0 (nothing was started). Returns in the parent only. */
int pm_launch(struct pm *pm, enum child_kind kind, struct err *e);
/* The autovacuum launcher asks for a worker: start it and take the question away, if the pool and
 * the back-off allow. It asks again if not. */
void pm_launch_worker(struct pm *pm);

/* pm_crowd.c */
void pm_crowd_init(struct pm *pm);
void pm_crowd_done(struct pm *pm);
/* May no further client be taken now? Then none is until pm_crowd_look() finds that it may. */
bool pm_crowd_is_full(struct pm *pm);
/* A newcomer has settled or gone, or some time has passed: go on? */
void pm_crowd_look(struct pm *pm);
/* A client is there: if few places are left, who has been silent for longest is told to leave. */
void pm_crowd_shed(struct pm *pm);

/* pm_listen.c */
int pm_listen_open(struct pm *pm, struct err *e);
void pm_listen_enable(struct pm *pm, bool on);
void pm_listen_close(struct pm *pm);
/* Unix sockets and their lock files that have the times of an hour ago get new ones: whoever cleans
 * /tmp leaves them. Each minute, and at a reload. */
void pm_listen_touch(const struct pm *pm);
const char *pm_listen_first_dir(const struct pm *pm);
/* Remove the name of a Unix socket and its lock file, if nobody holds the lock and it is still the
 * socket that the lock file tells of. */
void pm_listen_unlink(const char *path);

/* pm_park.c */
/* Take what the service manager passed; what has no name that we know is closed and leaves its
 * store. */
void pm_park_begin(struct pm *pm);
/* Close what nobody has taken. */
void pm_park_done(struct pm *pm);
/* Has it come back with listening sockets of ours? */
bool pm_park_has_stored(const struct pm *pm);
/* Keep the stored socket with this address, if there is one, when the others are discarded. `ino`:
 * only if that is its inode (0: whatever it is). */
void pm_park_want(struct pm *pm, const struct sockaddr *sa, ino_t ino);
/* The stored socket with this address: its descriptor, now the caller's, and its number in the
 * store (-1: it is not there any more); or -1. */
int pm_park_take(struct pm *pm, const struct sockaddr *sa, int *ret_no);
/* Close stored sockets that are not wanted, here and in the store. True: there were some; a port
 * may stay taken for a moment. */
bool pm_park_discard(struct pm *pm);
/* Every listening socket of ours is in the store, under its name. */
void pm_park_all(struct pm *pm);

/* pm_notify.c */
int pm_notify_init(struct pm *pm, struct err *e);
void pm_notify_ready(struct pm *pm);
void pm_notify_stopping(struct pm *pm);
void pm_notify_reloading(struct pm *pm);
void pm_notify_reloaded(struct pm *pm, const char *failure);
/* The state changed, or a second has passed: new STATUS=, more time if something moved. */
void pm_notify_update(struct pm *pm, bool is_change);
/* What the phase that runs now has done. */
struct pm_progress pm_notify_progress(const struct pm *pm, usec_t now);
struct pm_progress pm_notify_checkpoint(const struct pm *pm, usec_t now);
void pm_notify_exit(struct pm *pm);
/* Have more time: at the start of a phase. */
void pm_notify_extend(struct pm *pm);

/* pm_logger.c */
void pm_logger_init(struct pm *pm);
/* Pipe and collector, first of all children, if logging_collector is on. A collector that cannot be
 * forked is tried again by pm_reconcile(); < 0: no pipe. */
int pm_logger_start(struct pm *pm, struct err *e);
/* Say so if log_destination asks for what only a collector can do. */
void pm_logger_check(const struct pm *pm);
/* One was forked: stderr is its pipe, if it was not yet. */
void pm_logger_runs(struct pm *pm);
/* In the fork, before child_begin(): nothing of the postmaster but the pipe and the old stderr. */
void pm_logger_in_child(struct pm *pm, struct child_start *start);
/* The collector is gone: the next one runs already, or will. */
void pm_logger_died(const struct pm_child *c, pid_t pid, const siginfo_t *si);
/* USR1: another file, if "logrotate" says so (pg_ctl logrotate, pg_rotate_logfile()). */
void pm_logger_look(struct pm *pm);
/* The start failed: `e` into the log, and stderr is again what it was. */
void pm_logger_fail(struct pm *pm, const struct err *e);
/* At the very end: wait a bounded time until all we said is in the files. */
void pm_logger_finish(struct pm *pm);

/* pm_note.c: entries of the history, besides the log */
void pm_note_begin(struct pm *pm);
void pm_note_ready(struct pm *pm);
void pm_note_crash(struct pm *pm);
/* `how` "fast stop requested": the asker and his reason are pm->asked's. */
void pm_note_stop(struct pm *pm, const char *how);
void pm_note_stop_canceled(struct pm *pm);
void pm_note_reload(struct pm *pm, const char *failure);
/* The end; `refusal`: the start came to nothing. */
void pm_note_end(struct pm *pm, const char *refusal);
/* Whoever caused the next event; NULL: nobody any more. Copied. */
void pm_note_asker(struct pm *pm, const struct pm_ask *ask);

/* pm_reload.c */
int pm_reload_now(struct pm *pm, struct err *e);

/* pm_control.c */
int pm_control_init(struct pm *pm, struct err *e);
void pm_control_saw(struct pm *pm, enum pm_saw what);
