/* The postmaster: start order, event queue, loop. Runs in: postmaster. Owns: struct pm and all in
 * it. Source: postmaster.md 1.5, 1.9, 2.11. */
#include "pm/pm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdlist.h"
#include "base/log.h"
#include "conf/conf_share.h"
#include "pm/pm_int.h"
#include "proc/metrics_listen.h"

#define MINUTE_USEC (60 * USEC_PER_SEC)

/* ---- events ---- */
/* Backends whose client has got through its login. They say so themselves; who lies is waited for
 * or ended with the others, no more. */
static unsigned
count_sessions(const struct pm *pm)
{
    unsigned n = 0;

    for (unsigned i = 0; i < pm->pool[CHILD_BACKEND].n; i++) {
        const struct pm_child *c = &pm->children[pm->pool[CHILD_BACKEND].first + i];
        const struct slot *s = segment_slot(pm->seg, c->slot_idx);

        n += c->pid != 0 &&
             atomic_load_explicit(&s->activity, memory_order_relaxed) != ACTIVITY_STARTING;
    }
    return n;
}

struct pm_view
pm_view(const struct pm *pm)
{
    struct pm_view v = { .restart_after_crash = pm->conf->v.restart_after_crash,
                         .hot_standby = pm->conf->v.hot_standby };
    int slot;

    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        unsigned n = pm_child_count(pm, k);

        v.n_children += child_policies[k].phase != PHASE_OUTLIVES ? n : 0;
        v.n_attached += child_policies[k].is_attached ? n : 0;
        v.n_archivers += child_policies[k].phase == PHASE_ARCHIVE ? n : 0;
        v.n_early += child_policies[k].phase == PHASE_EARLY ? n : 0;
    }
    v.n_backends = pm_child_count(pm, CHILD_BACKEND);
    v.n_sessions = pm->m.stop == PM_STOP_SMART ? count_sessions(pm) : v.n_backends;
    v.has_backend_room = v.n_backends < segment_pool(pm->seg, CHILD_BACKEND, &slot);
    v.has_dead_end_room =
        pm_child_count(pm, CHILD_DEAD_END) < segment_pool(pm->seg, CHILD_DEAD_END, &slot);
    return v;
}

/* The one place where the machine changes (PM-1). */
static void
become(struct pm *pm, const struct pm_step *s, enum pm_event ev)
{
    bool is_change = s->next.state != pm->m.state || s->next.stop != pm->m.stop;

    if (s->next.state != pm->m.state) {
        log_msg(LOG_LEVEL_DEBUG, "%s -> %s on %s (rule %d)", pm_state_id(pm->m.state),
                pm_state_id(s->next.state), pm_event_name(ev), s->rule);
        pm->since_usec = clock_real_usec();
        pm->since_mono_usec = clock_mono_usec();
    }
    pm->m = s->next;
    log_set_state(pm_state_name(pm->m.state));
    if (is_change)
        pm_control_saw(pm, PM_SAW_STATE);
}

static void
handle(struct pm *pm, enum pm_event ev)
{
    struct pm_machine before = pm->m;

    for (;;) {
        struct pm_view v = pm_view(pm);
        struct pm_step s = pm_step(&pm->m, ev, &v);

        if (s.rule < 0 && ev == EV_ADVANCE)
            break;
        if (s.rule >= 0) {
            become(pm, &s, ev);
            pm_exec(pm, s.actions);
        }
        ev = EV_ADVANCE;
    }
    if (!pm->m.has_ended)
        pm_reconcile(pm);
    pm_notify_update(pm, before.state != pm->m.state || before.stop != pm->m.stop);
}

void
pm_event(struct pm *pm, enum pm_event ev)
{
    if (pm->is_handling) {
        ASSERT(pm->n_queued < ELEMENTSOF(pm->queue));
        pm->queue[pm->n_queued++] = ev;
        return;
    }
    pm->is_handling = true;
    handle(pm, ev);
    while (pm->n_queued > 0) {
        enum pm_event next = pm->queue[0];

        pm->n_queued--;
        memmove(pm->queue, pm->queue + 1, pm->n_queued * sizeof pm->queue[0]);
        handle(pm, next);
    }
    pm->is_handling = false;
}

/* ---- signals, messages ---- */
static int
on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    struct pm *pm = arg;
    char by[80];

    (void) s;
    (void) snprintf(by, sizeof by, "SIG%s of uid %u, pid %u", sigabbrev_np((int) si->ssi_signo),
                    si->ssi_uid, si->ssi_pid);
    pm_note_asker(pm, &(struct pm_ask){ .by = by });
    switch (si->ssi_signo) {
    case SIGQUIT:
        pm_event(pm, EV_STOP_IMMEDIATE);
        break;
    case SIGINT:
        pm_event(pm, EV_STOP_FAST);
        break;
    case SIGTERM:
        pm_event(pm, EV_STOP_SMART);
        break;
    case SIGHUP:
        pm_event(pm, EV_RELOAD);
        break;
    case SIGUSR1:
        pm_logger_look(pm);
        break;
    default: /* USR2 is kept harmless */
        break;
    }
    pm_note_asker(pm, NULL);
    return 0;
}

static void
take_messages(struct pm *pm)
{
    uint32_t bits = segment_take_messages(pm->seg);

    if ((bits & MSG_REDO_STARTED) != 0)
        pm_event(pm, EV_REDO_STARTED);
    if ((bits & MSG_CONSISTENT) != 0)
        pm_event(pm, EV_CONSISTENT);
    if ((bits & MSG_WAL_IS_SHUT) != 0)
        pm_event(pm, EV_WAL_IS_SHUT);
    if ((bits & MSG_CHECKPOINT) != 0)
        pm_control_saw(pm, PM_SAW_CHECKPOINT);
    if ((bits & MSG_WORKER) != 0)
        pm_event(pm, EV_WORKER);
    if ((bits & MSG_SETTLED) != 0)
        pm_crowd_look(pm);
    if ((bits & MSG_PROGRESS) != 0)
        pm_notify_update(pm, false);
}

static int
on_message(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    (void) s;
    (void) fd;
    (void) revents;
    take_messages(arg);
    return 0;
}

/* ---- clocks ---- */
void
pm_clock_arm(struct pm_clock *c, usec_t after_usec)
{
    (void) sd_event_source_set_time_relative(c->source, after_usec);
    (void) sd_event_source_set_enabled(c->source, SD_EVENT_ONESHOT);
    c->is_armed = true;
    c->at = clock_mono_usec() + after_usec;
}

void
pm_clock_arm_by(struct pm_clock *c, usec_t at)
{
    usec_t now = clock_mono_usec();

    if (!c->is_armed || at < c->at)
        pm_clock_arm(c, at > now ? at - now : 0);
}

void
pm_clock_disarm(struct pm_clock *c)
{
    (void) sd_event_source_set_enabled(c->source, SD_EVENT_OFF);
    c->is_armed = false;
}

static int
on_kill(sd_event_source *s, uint64_t usec, void *arg)
{
    struct pm *pm = arg;

    (void) s;
    (void) usec;
    pm->kill.is_armed = false;
    pm_event(pm, EV_KILL_TIME);
    return 0;
}

static int
on_patience(sd_event_source *s, uint64_t usec, void *arg)
{
    struct pm *pm = arg;

    (void) s;
    (void) usec;
    pm->patience.is_armed = false;
    pm_event(pm, EV_PATIENCE_OVER);
    return 0;
}

static int
on_drain(sd_event_source *s, uint64_t usec, void *arg)
{
    struct pm *pm = arg;

    (void) s;
    (void) usec;
    pm->drain.is_armed = false;
    if (pm->m.stop != PM_STOP_SMART)
        return 0;
    pm_note_asker(pm, &(struct pm_ask){ .by = "the end of the time to drain" });
    pm_event(pm, EV_STOP_FAST);
    pm_note_asker(pm, NULL);
    return 0;
}

/* A back-off is over: look again who is missing, and whether clients may be taken. */
static int
on_retry(sd_event_source *s, uint64_t usec, void *arg)
{
    struct pm *pm = arg;

    (void) s;
    (void) usec;
    pm->retry.is_armed = false;
    pm_listen_enable(pm, pm_fsm_accepts(&pm->m));
    pm_event(pm, EV_ADVANCE);
    return 0;
}

static int
on_crowd(sd_event_source *s, uint64_t usec, void *arg)
{
    struct pm *pm = arg;

    (void) s;
    (void) usec;
    pm->crowd.is_armed = false;
    pm_crowd_look(pm);
    return 0;
}

static int
on_tick(sd_event_source *s, uint64_t usec, void *arg)
{
    struct pm *pm = arg;
    bool is_quiet = pm->m.state == PM_RUN && pm->m.stop == PM_STOP_NONE;
    usec_t silence = (usec_t) pm->conf->v.progress_timeout;

    (void) s;
    (void) usec;
    pm_beat_look(pm, clock_mono_usec());
    pm_notify_update(pm, false);
    pm->tick_usec =
        (is_quiet && (silence == 0 || silence > 20 * USEC_PER_SEC) ? 5 : 1) * USEC_PER_SEC;
    pm_clock_arm(&pm->tick, pm->tick_usec);
    return 0;
}

static void
check_lock(struct pm *pm)
{
    struct err e = ERR_INIT;
    int r = pm_lock_check(&pm->lock, &e);

    if (r == 0)
        return;
    log_err(LOG_LEVEL_LOG, "", &e);
    if (r == -ERR_LOCK_FILE_EXISTS)
        pm_event(pm, EV_LOCK_LOST);
}

static int
on_lock_change(sd_event_source *s, const struct inotify_event *ev, void *arg)
{
    (void) s;
    (void) ev;
    check_lock(arg);
    return 0;
}

/* postmaster.md 2.12 m: an endless wait is at least not a silent one. */
static void
log_waiting(const struct pm *pm)
{
    char names[400];

    if (pm->m.stop == PM_STOP_NONE && pm->m.state <= PM_RUN)
        return;
    pm_child_names(pm, names, sizeof names);
    log_msg(LOG_LEVEL_LOG, "still waiting for server processes: %s", names);
}

static int
on_minute(sd_event_source *s, uint64_t usec, void *arg)
{
    struct pm *pm = arg;

    (void) s;
    (void) usec;
    check_lock(pm);
    pm_listen_touch(pm);
    log_waiting(pm);
    pm_clock_arm(&pm->minute, MINUTE_USEC);
    return 0;
}

/* ---- making ---- */
static int
add_signals(struct pm *pm, struct err *e)
{
    static const struct {
        int signal;
        int64_t priority;
    } rows[] = {
        { SIGQUIT, PRIO_STOP }, { SIGINT, PRIO_STOP + 1 }, { SIGTERM, PRIO_STOP + 2 },
        { SIGHUP, PRIO_HUP },   { SIGUSR1, PRIO_HUP },     { SIGUSR2, PRIO_HUP },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        sd_event_source *s = NULL;
        int r = sd_event_add_signal(pm->loop, &s, rows[i].signal, on_signal, pm);

        if (r < 0)
            return err_set_errno(e, -r, "could not watch signal %d", rows[i].signal);
        (void) sd_event_source_set_priority(s, rows[i].priority);
        (void) sd_event_source_set_floating(s, true);
        (void) sd_event_source_unref(s);
    }
    return 0;
}

static int
add_clocks(struct pm *pm, struct err *e)
{
    const struct {
        struct pm_clock *clock;
        sd_event_time_handler_t fn;
    } rows[] = {
        { &pm->kill, on_kill },   { &pm->patience, on_patience }, { &pm->drain, on_drain },
        { &pm->retry, on_retry }, { &pm->tick, on_tick },         { &pm->minute, on_minute },
        { &pm->crowd, on_crowd },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        int r = sd_event_add_time(pm->loop, &rows[i].clock->source, CLOCK_MONOTONIC, 0, 0,
                                  rows[i].fn, pm);

        if (r < 0)
            return err_set_errno(e, -r, "could not make a timer");
        (void) sd_event_source_set_priority(rows[i].clock->source, PRIO_TIMER);
        pm_clock_disarm(rows[i].clock);
    }
    (void) sd_event_source_set_time_accuracy(pm->crowd.source, USEC_PER_MSEC / 10);
    return 0;
}

static int
make_loop(struct pm *pm, struct err *e)
{
    int r = sd_event_new(&pm->loop);

    if (r < 0)
        return err_set_errno(e, -r, "could not make the event loop");
    r = add_signals(pm, e);
    if (r == 0)
        r = add_clocks(pm, e);
    if (r < 0)
        return r;
    r = sd_event_add_io(pm->loop, &pm->messages, segment_wake_fd(pm->seg), EPOLLIN, on_message, pm);
    if (r < 0)
        return err_set_errno(e, -r, "could not watch for messages of children");
    (void) sd_event_source_set_priority(pm->messages, PRIO_MESSAGE);
    r = sd_event_add_inotify(pm->loop, &pm->lock_watch, pm->lock.path,
                             IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF, on_lock_change, pm);
    if (r < 0)
        log_msg(LOG_LEVEL_WARNING, "could not watch the lock file, it is looked at each minute: %s",
                strerrordesc_np(-r));
    return 0;
}

static int
check_version(const char *dir, struct err *e)
{
    char path[4200];
    char text[16] = "";
    CLEANUP(closep) int fd = -1;

    (void) snprintf(path, sizeof path, "%s/PG_VERSION", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        (void) ERR(e, DATA_CORRUPTED, "\"%s\" is not a valid data directory", dir);
        err_detail(e, "File \"%s\" is missing.", path);
        err_hint(e, "Make one with \"pinionctl init -D DIR\".");
        return -ERR_DATA_CORRUPTED;
    }
    if (read(fd, text, sizeof text - 1) < 0)
        return ERR_ERRNO(e, "could not read file \"%s\"", path);
    if (strcmp(text, "15\n") != 0) {
        (void) ERR(e, DATA_CORRUPTED, "data directory \"%s\" was made by another version", dir);
        err_detail(e, "PG_VERSION says \"%.*s\", this server needs \"15\".",
                   (int) strcspn(text, "\n"), text);
        return -ERR_DATA_CORRUPTED;
    }
    return 0;
}

/* Roads that this release does not take, or that ended long ago: said at once and by the file's
 * name, before anything is touched. */
static int
refuse_roads(const char *dir, struct err *e)
{
    static const struct {
        const char *name, *message, *hint;
    } rows[] = {
        { "standby.signal", "starting as a standby is not supported",
          "This release has no replication. If this directory shall be a server of its own, remove "
          "the file." },
        { "recovery.conf", "using the file \"recovery.conf\" is not supported",
          "Put its settings into pinion.conf and remove it." },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        if (access(rows[i].name, F_OK) < 0)
            continue;
        (void) ERR(e, FEATURE_NOT_SUPPORTED, "%s", rows[i].message);
        err_detail(e, "\"%s/%s\" exists.", dir, rows[i].name);
        err_hint(e, "%s", rows[i].hint);
        return -ERR_CONFIG_FILE_ERROR; /* 78: the operator's to change */
    }
    return 0;
}

int
pm_check_dir(const char *dir, struct err *e)
{
    struct stat st;

    if (stat(dir, &st) < 0 && errno == ENOENT)
        return ERR(e, UNDEFINED_FILE, "data directory \"%s\" does not exist", dir);
    if (stat(dir, &st) < 0)
        return ERR_ERRNO(e, "could not look at data directory \"%s\"", dir);
    if (!S_ISDIR(st.st_mode))
        return ERR(e, UNDEFINED_FILE, "\"%s\" is not a directory", dir);
    if (st.st_uid != geteuid()) {
        (void) ERR(e, INSUFFICIENT_PRIVILEGE, "data directory \"%s\" has wrong ownership", dir);
        err_hint(e, "The server must be started by the user that owns the data directory.");
        return -ERR_INSUFFICIENT_PRIVILEGE;
    }
    if ((st.st_mode & (S_IWGRP | S_IRWXO)) != 0) {
        (void) ERR(e, INSUFFICIENT_PRIVILEGE, "data directory \"%s\" has invalid permissions", dir);
        err_detail(e, "Permissions should be u=rwx (0700) or u=rwx,g=rx (0750).");
        return -ERR_INSUFFICIENT_PRIVILEGE;
    }
    if (chdir(dir) < 0)
        return ERR_ERRNO(e, "could not change directory to \"%s\"", dir);
    return check_version(dir, e);
}

/* Every signal we use is blocked before the first fork and arrives through the loop (style 3.10).
 */
static void
block_signals(void)
{
    sigset_t set;

    (void) sigfillset(&set);
    for (size_t i = 0; i < 6; i++) {
        static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP };

        (void) sigdelset(&set, faults[i]);
    }
    (void) sigprocmask(SIG_SETMASK, &set, NULL);
    (void) signal(SIGPIPE, SIG_IGN);
}

static void
write_pid_file(struct pm *pm)
{
    struct err e = ERR_INIT;
    struct pm_lock_lines lines = { .data_dir = pm->where.data_dir,
                                   .started_usec = pm->started_usec,
                                   .port = (int) pm->conf->v.port,
                                   .socket_dir = pm_listen_first_dir(pm),
                                   .listen_address = pm->conf->v.listen_addresses,
                                   .control_path = pm->conf->v.control_socket };

    if (pm_lock_write(&pm->lock, &lines, &e) < 0)
        log_err(LOG_LEVEL_LOG, "", &e);
}

/* The stats process will listen there; that it cannot is told now, with the place of the setting.
 */
static int
try_metrics(const struct conf *conf, struct err *e)
{
    const struct conf_origin *o =
        conf->origins != NULL ? &conf->origins[CONF_metrics_listen] : NULL;
    const char *where = conf->v.metrics_listen;
    int r = where[0] != '\0' ? metrics_listen_try(where, e) : 0;

    if (r < 0 && o != NULL && o->file != NULL)
        err_detail(e, "It is set in \"%s\", line %d.", o->file, o->line);
    return r;
}

static int
start_up(struct pm *pm, struct err *e)
{
    int r = pm_check_dir(pm->where.data_dir, e);

    if (r == 0)
        r = refuse_roads(pm->where.data_dir, e);
    if (r == 0)
        r = pm_lock_take(&pm->lock, pm->where.data_dir, e);
    if (r < 0)
        return r;
    pm->started_usec = pm->since_usec = clock_real_usec();
    pm->since_mono_usec = clock_mono_usec();
    pm->conf_fd = conf_share_new(pm->conf, e);
    if (pm->conf_fd < 0)
        return pm->conf_fd;
    fd_inherit(pm->conf_fd, "settings");
    r = pm->params.make_segment(pm->conf, pm->where.data_dir, &pm->seg, e);
    if (r == 0)
        r = pm_children_init(pm, e);
    if (r == 0)
        r = make_loop(pm, e);
    if (r == 0)
        r = pm_logger_start(pm, e);
    if (r < 0)
        return r;
    log_event(LOG_LEVEL_LOG, LOG_EVENT_STARTING, NULL, "starting Pinion %s on PID %d",
              PINION_VERSION, (int) getpid());
    pm_note_begin(pm);
    r = pm_notify_init(pm, e);
    if (r == 0)
        r = pm_control_init(pm, e);
    if (r == 0)
        r = pm_listen_open(pm, e);
    if (r == 0)
        r = try_metrics(pm->conf, e);
    if (r == 0)
        write_pid_file(pm);
    return r;
}

int
pm_new(const struct pm_params *params, struct pm **ret, struct err *e)
{
    struct pm *pm = calloc(1, sizeof *pm);
    int r;

    if (pm == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    pm->params = *params;
    pm->conf = params->conf;
    pm->where = params->where;
    pm->m.state = PM_INIT;
    pm->client_fd = pm->conf_fd = pm->canary_fd = -1;
    pm->lock.fd = -1;
    pm->history.fd = -1;
    pm_logger_init(pm);
    pm_crowd_init(pm);
    pm->reload = (struct pm_reload){ .generation = 1, .loaded_usec = clock_real_usec() };
    pm->reload_is_valid = true;
    block_signals();
    (void) umask(0077);
    pm_park_begin(pm);
    r = start_up(pm, e);
    if (r < 0) {
        pm_fail(pm, e);
        pm_free(pm);
        return r;
    }
    *ret = pm;
    return 0;
}

void
pm_fail(struct pm *pm, const struct err *e)
{
    pm_note_end(pm, e->message);
    pm_logger_fail(pm, e);
}

sd_event *
pm_loop(const struct pm *pm)
{
    return pm->loop;
}

int
pm_run(struct pm *pm)
{
    int r;

    pm->beats_usec = clock_mono_usec();
    pm->tick_usec = USEC_PER_SEC;
    pm_clock_arm(&pm->tick, pm->tick_usec);
    pm_clock_arm(&pm->minute, MINUTE_USEC);
    pm_event(pm, EV_START);
    r = sd_event_loop(pm->loop);
    if (r < 0) {
        log_msg(LOG_LEVEL_FATAL, "event loop failed: %s", strerrordesc_np(-r));
        pm->exit_code = 1;
    }
    if (pm->observer != NULL)
        pm->observer(pm->observer_arg, pm, PM_SAW_EXIT);
    pm_notify_exit(pm);
    return pm->exit_code;
}

static void
free_clock(struct pm_clock *c)
{
    c->source = sd_event_source_disable_unref(c->source);
}

void
pm_free(struct pm *pm)
{
    if (pm == NULL)
        return;
    pm_listen_close(pm);
    pm_park_done(pm);
    pm_children_done(pm);
    free_clock(&pm->kill);
    free_clock(&pm->patience);
    free_clock(&pm->drain);
    free_clock(&pm->retry);
    free_clock(&pm->tick);
    free_clock(&pm->minute);
    free_clock(&pm->crowd);
    pm_crowd_done(pm);
    free_clock(&pm->watchdog);
    (void) sd_event_source_disable_unref(pm->canary);
    closep(&pm->canary_fd);
    (void) sd_event_source_disable_unref(pm->watchdog_turn);
    (void) sd_event_source_disable_unref(pm->observe);
    (void) sd_event_source_disable_unref(pm->messages);
    (void) sd_event_source_disable_unref(pm->lock_watch);
    (void) sd_event_unref(pm->loop);
    segment_free(pm->seg);
    if (pm->lock.fd >= 0 && pm->m.state != PM_INIT)
        log_event(LOG_LEVEL_LOG, LOG_EVENT_STOPPED, NULL, "database system is shut down");
    pm_note_end(pm, NULL);
    pm_logger_finish(pm);
    pm_lock_drop(&pm->lock);
    if (pm->conf_fd >= 0)
        fd_disinherit(pm->conf_fd);
    closep(&pm->conf_fd);
    conf_issues_done(&pm->reload_issues);
    free(pm);
}

/* systemd-ops.md 3.9. */
int
pm_exit_code(int r)
{
    static const struct {
        int code;
        int exit_code;
    } rows[] = {
        { -ERR_LOCK_FILE_EXISTS, 75 },
        { -ERR_CONFIG_FILE_ERROR, 78 },
        { -ERR_INVALID_PARAMETER_VALUE, 78 },
        { -ERR_CONFIGURATION_LIMIT_EXCEEDED, 78 },
        { -ERR_INSUFFICIENT_PRIVILEGE, 77 },
        { -EACCES, 77 },
        { -EPERM, 77 },
        { -ERR_DATA_CORRUPTED, 65 },
        { -ERR_FEATURE_NOT_SUPPORTED, 65 },
        { -ERR_UNDEFINED_FILE, 66 },
        { -EADDRINUSE, 69 },
        { -EADDRNOTAVAIL, 69 },
        { -ERR_INTERNAL_ERROR, 70 },
        { -ERR_OUT_OF_MEMORY, 71 },
        { -ENOMEM, 71 },
        { -EMFILE, 71 },
        { -ENFILE, 71 },
        { -EAGAIN, 71 },
        { -ENOSYS, 72 }, /* the kernel, or /proc, lacks what a server needs */
        { -EROFS, 73 },
        { -ENOENT, 73 }, /* a folder to make a file or socket in */
        { -ENOTDIR, 73 },
        { -EISDIR, 73 },
        { -ENAMETOOLONG, 73 },
        { -ENOSPC, 74 }, /* space may return: the service manager tries again */
        { -EDQUOT, 74 },
        { -EIO, 74 },
        { -ERR_IO_ERROR, 74 },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if (rows[i].code == r)
            return rows[i].exit_code;
    return r < 0 ? 1 : 0;
}
