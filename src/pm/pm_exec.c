/* Carrying decisions out. Runs in: postmaster. Owns: nothing. A failure becomes the next event. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pm/pm_int.h"

#define KILL_AFTER_USEC     (5 * USEC_PER_SEC)
#define DEAD_END_AFTER_USEC (1 * USEC_PER_SEC)

typedef void (*action_fn)(struct pm *pm);

/* ---- log ---- */
static const char *
stop_name(enum pm_stop stop)
{
    static const char *const names[] = { "no", "smart", "fast", "immediate" };

    return names[stop];
}

static void
do_log_stop(struct pm *pm)
{
    char operation[40];
    const char *const fields[] = { operation, NULL };

    (void) snprintf(operation, sizeof operation, "PINION_OPERATION=stop-%s", stop_name(pm->m.stop));
    log_event(LOG_LEVEL_LOG, LOG_EVENT_STOP_REQUESTED, fields, "received %s shutdown request",
              stop_name(pm->m.stop));
    (void) snprintf(operation, sizeof operation, "%s stop requested", stop_name(pm->m.stop));
    pm_note_stop(pm, operation);
}

static void
do_log_stop_canceled(struct pm *pm)
{
    pm_note_stop_canceled(pm);
    log_msg(LOG_LEVEL_LOG, "smart shutdown canceled, accepting connections again");
}

static void
do_log_aborting(struct pm *pm)
{
    (void) pm;
    log_msg(LOG_LEVEL_LOG, "aborting any active transactions");
}

static void
do_log_lock_lost(struct pm *pm)
{
    pm_note_stop(pm, "immediate stop: the lock file is gone or not ours");
    log_event(LOG_LEVEL_LOG, LOG_EVENT_LOCK_LOST, NULL,
              "performing immediate shutdown because data directory lock file is invalid");
}

static void
do_log_patience(struct pm *pm)
{
    char names[200];

    pm_child_names(pm, names, sizeof names);
    log_msg(LOG_LEVEL_LOG,
            "fast_shutdown_patience is over: performing immediate shutdown without waiting for %s",
            names);
    pm_note_stop(pm, "immediate stop: fast_shutdown_patience is over");
}

static void
do_log_crash(struct pm *pm)
{
    if (pm->crash_usec == 0)
        pm->crash_usec = clock_mono_usec();
    log_msg(LOG_LEVEL_LOG, "terminating any other active server processes");
}

static void
do_log_wal_shut(struct pm *pm)
{
    (void) pm;
    log_msg(LOG_LEVEL_LOG, "WAL was shut down unexpectedly");
}

static void
do_log_target(struct pm *pm)
{
    (void) pm;
    log_msg(LOG_LEVEL_LOG, "shutdown at recovery target");
}

static void
do_log_startup_failed(struct pm *pm)
{
    (void) pm;
    log_event(LOG_LEVEL_LOG, LOG_EVENT_STARTUP_FAILED, NULL,
              "shutting down due to startup process failure");
}

static void
do_log_abnormal(struct pm *pm)
{
    log_event(LOG_LEVEL_LOG, LOG_EVENT_STOPPED_BADLY, NULL, "abnormal database system shutdown");
    if (pm->m.is_clean) /* postmaster.md 2.12 l */
        log_msg(LOG_LEVEL_LOG, "the shutdown checkpoint is complete");
}

static void
do_log_no_restart(struct pm *pm)
{
    pm_note_stop(pm, "the server ends: restart_after_crash is off");
    log_event(LOG_LEVEL_LOG, LOG_EVENT_STOPPED_BADLY, NULL,
              "shutting down because restart_after_crash is off");
}

static void
do_log_reinit(struct pm *pm)
{
    (void) pm;
    log_event(LOG_LEVEL_LOG, LOG_EVENT_REINITIALIZING, NULL,
              "all server processes terminated; reinitializing");
}

static void
do_log_redo(struct pm *pm)
{
    pm->phase_usec = clock_mono_usec();
}

static void
do_log_ready(struct pm *pm)
{
    char took[60];
    const char *const fields[] = { took, NULL };

    pm->ready_usec = clock_real_usec();
    (void) snprintf(took, sizeof took, "PINION_DURATION_USEC=%llu",
                    (unsigned long long) (clock_mono_usec() - pm->phase_usec));
    log_event(LOG_LEVEL_LOG, LOG_EVENT_READY, fields,
              "database system is ready to accept connections");
    pm_note_ready(pm);
}

static void
do_log_read_only(struct pm *pm)
{
    pm->ready_usec = clock_real_usec();
    log_event(LOG_LEVEL_LOG, LOG_EVENT_READY, NULL,
              "database system is ready to accept read-only connections");
}

/* ---- the lock file's status line, reasons, clocks ---- */
static void
do_pidfile_ready(struct pm *pm)
{
    pm_lock_status(&pm->lock, "ready");
}

static void
do_pidfile_standby(struct pm *pm)
{
    pm->ready_usec = clock_real_usec();
    pm_lock_status(&pm->lock, "standby");
}

static void
do_pidfile_stopping(struct pm *pm)
{
    pm_lock_status(&pm->lock, "stopping");
}

static void
do_reason_crash(struct pm *pm)
{
    atomic_store_explicit(&segment_page(pm->seg)->quit_reason, QUIT_CRASH, memory_order_seq_cst);
}

static void
do_reason_stop(struct pm *pm)
{
    atomic_store_explicit(&segment_page(pm->seg)->quit_reason, QUIT_STOP, memory_order_seq_cst);
}

static void
do_arm_kill(struct pm *pm)
{
    if (!pm->kill.is_armed)
        pm_clock_arm(&pm->kill, KILL_AFTER_USEC);
}

static void
do_arm_dead_end(struct pm *pm)
{
    pm_clock_arm(&pm->kill, DEAD_END_AFTER_USEC);
}

static void
do_arm_patience(struct pm *pm)
{
    if (pm->conf->v.fast_shutdown_patience > 0)
        pm_clock_arm(&pm->patience, (usec_t) pm->conf->v.fast_shutdown_patience);
}

static void
do_disarm(struct pm *pm)
{
    pm_clock_disarm(&pm->kill);
    pm_clock_disarm(&pm->patience);
}

static void
do_kill_all(struct pm *pm)
{
    char names[200];

    pm_child_names(pm, names, sizeof names);
    if (pm_view(pm).n_children > 0)
        log_msg(LOG_LEVEL_LOG, "issuing SIGKILL to recalcitrant children: %s", names);
    /* The state says SIGKILL now; pm_reconcile() sends it. */
}

/* ---- clients ---- */
static void
do_accept_off(struct pm *pm)
{
    pm_listen_enable(pm, false);
}

static void
do_accept_on(struct pm *pm)
{
    pm_listen_enable(pm, true);
}

/* Old protocol form, sent once without blocking (postmaster.md 2.6). */
static void
tell_no_fork(int fd, const struct err *e)
{
    char text[600];
    int n = snprintf(text, sizeof text, "Ecould not fork new process for connection: %s\n",
                     e->sys_errno != 0 ? strerrordesc_np(e->sys_errno) : e->message);
    ssize_t sent = send(fd, text, (size_t) n + 1, MSG_DONTWAIT | MSG_NOSIGNAL);

    (void) sent;
}

static void
launch_for_client(struct pm *pm, enum child_kind kind)
{
    struct err e = ERR_INIT;

    if (pm_launch(pm, kind, &e) < 0) {
        log_err(LOG_LEVEL_LOG, "", &e);
        tell_no_fork(pm->client_fd, &e);
    }
    closep(&pm->client_fd);
    pm->client_fd = -1;
}

static void
do_launch_backend(struct pm *pm)
{
    launch_for_client(pm, CHILD_BACKEND);
}

static void
do_launch_dead_end(struct pm *pm)
{
    launch_for_client(pm, CHILD_DEAD_END);
}

static void
do_drop_client(struct pm *pm)
{
    closep(&pm->client_fd);
    pm->client_fd = -1;
}

/* ---- life ---- */
static void
do_shm_reset(struct pm *pm)
{
    struct err e = ERR_INIT;

    pm->n_restarts++;
    memset(pm->is_retired, 0, sizeof pm->is_retired);
    backoff_reset(&pm->backoff[CHILD_BGWORKER]); /* at once, whatever became of the last one */
    pm->is_reset_failed = segment_reset(pm->seg, &e) < 0;
    if (!pm->is_reset_failed)
        return;
    log_err(LOG_LEVEL_FATAL, "", &e);
    pm_event(pm, EV_STARTUP_NO_FORK);
}

static void
do_launch_startup(struct pm *pm)
{
    struct err e = ERR_INIT;

    if (pm->is_reset_failed)
        return; /* the event is on its way */
    pm->phase_usec = pm->moved_usec = clock_mono_usec();
    pm_notify_extend(pm);
    if (pm_launch(pm, CHILD_STARTUP, &e) == 0)
        return;
    log_err(LOG_LEVEL_LOG, "", &e);
    pm_event(pm, EV_STARTUP_NO_FORK);
}

static void
do_promote(struct pm *pm)
{
    struct pm_child *c = &pm->children[pm->pool[CHILD_STARTUP].first];

    if (c->pid != 0)
        pm_child_signal(c, SIGUSR2);
}

static void
do_reload(struct pm *pm)
{
    struct err e = ERR_INIT;

    (void) pm_reload_now(pm, &e);
}

static void
end(struct pm *pm, int exit_code)
{
    pm->exit_code = exit_code;
    (void) sd_event_exit(pm->loop, exit_code);
}

static void
do_exit_ok(struct pm *pm)
{
    end(pm, 0);
}

/* 1; but a start that failed for a reason of its own says it, so that a service manager does not
 * try again what no restart will mend (systemd-ops.md 3.9). */
static void
do_exit_failed(struct pm *pm)
{
    uint32_t verdict =
        atomic_load_explicit(&segment_page(pm->seg)->startup_verdict, memory_order_acquire);
    bool is_start = pm->m.startup_failed && pm->ready_usec == 0;

    end(pm, is_start && verdict >= 65 && verdict <= 78 ? (int) verdict : 1);
}

/* clang-format off */
static const action_fn actions_by_id[PM_ACTIONS] = {
    [ACT_LOG_STOP_CANCELED] = do_log_stop_canceled,
    [ACT_LOG_STOP] = do_log_stop,                 [ACT_LOG_ABORTING] = do_log_aborting,
    [ACT_LOG_LOCK_LOST] = do_log_lock_lost,       [ACT_LOG_PATIENCE] = do_log_patience,
    [ACT_LOG_CRASH] = do_log_crash,               [ACT_LOG_WAL_SHUT] = do_log_wal_shut,
    [ACT_LOG_TARGET] = do_log_target,             [ACT_LOG_STARTUP_FAILED] = do_log_startup_failed,
    [ACT_LOG_ABNORMAL] = do_log_abnormal,         [ACT_LOG_NO_RESTART] = do_log_no_restart,
    [ACT_LOG_REINIT] = do_log_reinit,             [ACT_LOG_REDO] = do_log_redo,
    [ACT_LOG_READY] = do_log_ready,               [ACT_LOG_READ_ONLY] = do_log_read_only,
    [ACT_NOTIFY_READY] = pm_notify_ready,         [ACT_NOTIFY_STOPPING] = pm_notify_stopping,
    [ACT_PIDFILE_READY] = do_pidfile_ready,       [ACT_PIDFILE_STOPPING] = do_pidfile_stopping,
    [ACT_REASON_CRASH] = do_reason_crash,         [ACT_REASON_STOP] = do_reason_stop,
    [ACT_ARM_KILL] = do_arm_kill,                 [ACT_ARM_DEAD_END] = do_arm_dead_end,
    [ACT_ARM_PATIENCE] = do_arm_patience,         [ACT_DISARM] = do_disarm,
    [ACT_KILL_ALL] = do_kill_all,                 [ACT_ACCEPT_OFF] = do_accept_off,
    [ACT_SHM_RESET] = do_shm_reset,               [ACT_ACCEPT_ON] = do_accept_on,
    [ACT_LAUNCH_STARTUP] = do_launch_startup,     [ACT_LAUNCH_BACKEND] = do_launch_backend,
    [ACT_LAUNCH_DEAD_END] = do_launch_dead_end,   [ACT_DROP_CLIENT] = do_drop_client,
    [ACT_LAUNCH_WORKER] = pm_launch_worker,
    [ACT_PIDFILE_STANDBY] = do_pidfile_standby,   [ACT_PROMOTE] = do_promote,
    [ACT_RELOAD] = do_reload,                     [ACT_EXIT_OK] = do_exit_ok,
    [ACT_EXIT_FAILED] = do_exit_failed,
};
/* clang-format on */

void
pm_exec(struct pm *pm, uint64_t actions)
{
    for (unsigned i = 0; i < PM_ACTIONS; i++)
        if ((actions & BIT(i)) != 0)
            actions_by_id[i](pm);
}

/* ---- what holds in a state (PM-2) ---- */
static void
signal_who_must_leave(struct pm *pm)
{
    for (unsigned i = 0; i < pm->n_slots; i++) {
        struct pm_child *c = &pm->children[i];
        int signal;

        if (c->pid == 0)
            continue;
        ASSERT(pm_fsm_may_live(&pm->m, c->kind));
        signal = pm_fsm_signal(&pm->m, c->kind);
        if (pm_fsm_is_stronger(signal, c->told)) {
            c->told = signal;
            pm_child_signal(c, signal);
        }
    }
}

/* Start one of `kind` unless its back-off says later; returns when to look again, 0 = no need. */
static usec_t
start_missing(struct pm *pm, enum child_kind kind, usec_t now)
{
    struct backoff *b = &pm->backoff[kind];
    struct err e = ERR_INIT;
    int r;

    if (!backoff_is_due(b, now))
        return b->not_before;
    r = pm_launch(pm, kind, &e);
    if (r == 0) {
        if (b->last_error != 0) /* forks work again; leaving again and again is another matter */
            backoff_reset(b);
        return 0;
    }
    if (backoff_fail(b, now, r))
        log_err(LOG_LEVEL_LOG, "", &e);
    if (kind == CHILD_CHECKPOINTER)
        pm_event(pm, EV_CHECKPOINTER_NO_FORK);
    return b->not_before;
}

/* Do the settings ask for this kind at all? */
static bool
is_wanted(const struct pm *pm, enum child_kind kind)
{
    if (kind == CHILD_SYSLOGGER)
        return pm->logger.read_fd >= 0;
    if (kind == CHILD_ARCHIVER)
        return pm->conf->v.archive_mode != CONF_ARCHIVE_OFF;
    if (kind == CHILD_STATS)
        return pm->conf->v.metrics_listen[0] != '\0';
    if (kind == CHILD_BGWORKER)
        return pm->conf->v.autoprewarm && !pm->is_retired[kind];
    return kind != CHILD_AV_LAUNCHER || pm->conf->v.autovacuum;
}

void
pm_reconcile(struct pm *pm)
{
    usec_t now = clock_mono_usec();
    usec_t wake = 0;

    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        usec_t later;

        if (!pm_fsm_must_run(&pm->m, k) || !is_wanted(pm, k) || pm_child_count(pm, k) > 0)
            continue;
        later = start_missing(pm, k, now);
        if (later != 0 && (wake == 0 || later < wake))
            wake = later;
    }
    if (wake != 0)
        pm_clock_arm_by(&pm->retry, wake);
    signal_who_must_leave(pm); /* also who has just come: the last checkpointer, forked late */
}
