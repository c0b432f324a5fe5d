/* The service manager: readiness, STATUS, more time, watchdog. Runs in: postmaster. Owns: the texts
 * and clocks for it in struct pm. Without $NOTIFY_SOCKET everything here only computes the status
 * text. Source: systemd-ops.md 3.6, 3.7. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pm/pm_int.h"

#define EXTEND_USEC       (60 * USEC_PER_SEC)
#define STATUS_EVERY_USEC USEC_PER_SEC
#define QUIET_USEC        (USEC_PER_SEC / 2)
#define WATCHDOG_MAX_USEC (5 * USEC_PER_SEC)

/* ---- progress ---- */
/* The slot of the only child of a kind. */
static const struct slot *
slot_of(const struct pm *pm, enum child_kind kind)
{
    int first;

    (void) segment_pool(pm->seg, kind, &first);
    return segment_slot(pm->seg, first);
}

/* One number that moves while whoever we wait for gets on. Values come from children: used, not
 * trusted. */
static uint64_t
movement(const struct pm *pm)
{
    const struct shm_status *st = segment_status(pm->seg);

    if (pm->m.state < PM_RUN)
        return peek64(&st->redo_lsn) + peek64(&slot_of(pm, CHILD_STARTUP)->beat.progress) +
               peek64(&st->startup.blocks_done) + (uint64_t) pm->m.state;
    if (pm->m.state == PM_WAIT_CHECKPOINT)
        return peek64(&st->checkpoint.buffers_done) + peek64(&st->checkpoint.files_synced) +
               peek64(&slot_of(pm, CHILD_CHECKPOINTER)->beat.progress) + (uint64_t) pm->m.state;
    if (pm->m.state == PM_WAIT_ARCHIVER) /* a command that hangs is given no more time */
        return peek64(&st->n_archived) + ((uint64_t) pm->m.state << 32);
    return pm_view(pm).n_children + ((uint64_t) pm->m.state << 32);
}

/* `left` of those there were when the phase began. */
static void
count_down(struct pm_progress *p, const struct pm_progress *before, const char *what, unsigned left)
{
    bool goes_on = before->is_known && strcmp(before->phase, what) == 0;

    p->is_known = true;
    p->phase = p->unit = what;
    p->total = goes_on ? MAX(before->total, left) : left;
    p->done = p->total - left;
}

static usec_t
since(uint64_t then, usec_t now)
{
    return then != 0 && now > then ? now - then : 0;
}

/* What a checkpoint has to write, and to sync after that. */
static void
checkpoint_progress(const struct shm_checkpoint *c, struct pm_progress *p)
{
    bool is_syncing =
        atomic_load_explicit(&c->phase, memory_order_relaxed) >= CHECKPOINT_PHASE_FILES;

    p->unit = is_syncing ? "files" : "buffers";
    p->total = peek64(is_syncing ? &c->files_total : &c->buffers_total);
    p->done = MIN(peek64(is_syncing ? &c->files_synced : &c->buffers_done), p->total);
}

static void
redo_progress(const struct shm_status *st, struct pm_progress *p)
{
    uint64_t from = peek64(&st->redo_from_lsn);
    uint64_t at = peek64(&st->redo_lsn);
    uint64_t end = peek64(&st->redo_end_lsn);

    p->unit = "bytes";
    if (at >= from)
        p->done = at - from;
    p->total = end > at && end > from ? end - from : p->done;
}

/* The pass of the startup process that runs now. Redo begins in PM_STARTUP with a look at what
 * there is to redo. */
static void
startup_progress(const struct pm *pm, usec_t now, struct pm_progress *p)
{
    const struct shm_status *st = segment_status(pm->seg);
    uint32_t pass = atomic_load_explicit(&st->startup.pass, memory_order_relaxed);

    if (pass == STARTUP_NOT_BEGUN || pass >= STARTUP_DONE)
        return;
    p->elapsed_usec = since(peek64(&st->startup.began_usec[pass]), now);
    if (pm->m.state == PM_STARTUP && p->elapsed_usec < QUIET_USEC)
        return; /* after a clean stop no pass is worth a line */
    p->is_known = true;
    p->phase = startup_pass_name(pass);
    if (pass == STARTUP_REDO && pm->m.state == PM_RECOVERY)
        redo_progress(st, p);
    if (pass == STARTUP_SETTLE &&
        atomic_load_explicit(&st->checkpoint.phase, memory_order_relaxed) != CHECKPOINT_NONE)
        checkpoint_progress(&st->checkpoint, p);
    if (pass == STARTUP_VERIFY) {
        p->unit = "pages";
        p->total = peek64(&st->startup.blocks_total);
        p->done = MIN(peek64(&st->startup.blocks_done), p->total);
    }
}

struct pm_progress
pm_notify_checkpoint(const struct pm *pm, usec_t now)
{
    const struct shm_checkpoint *c = &segment_status(pm->seg)->checkpoint;
    struct pm_progress p = {
        .is_known = atomic_load_explicit(&c->phase, memory_order_acquire) != CHECKPOINT_NONE,
        .phase = "checkpoint",
        .elapsed_usec = since(peek64(&c->began_mono_usec), now),
    };

    checkpoint_progress(c, &p);
    return p;
}

struct pm_progress
pm_notify_progress(const struct pm *pm, usec_t now)
{
    struct pm_progress p = { .elapsed_usec = now - pm->since_mono_usec };

    if (pm->m.state == PM_STARTUP || pm->m.state == PM_RECOVERY) {
        startup_progress(pm, now, &p);
    } else if (pm->m.state == PM_WAIT_CHECKPOINT) {
        p.is_known = true;
        p.phase = "shutdown_checkpoint";
        checkpoint_progress(&segment_status(pm->seg)->checkpoint, &p);
    } else if (pm->m.stop != PM_STOP_NONE && pm_view(pm).n_backends > 0) {
        count_down(&p, &pm->progress, "clients", pm_view(pm).n_backends);
    } else if (pm->m.stop != PM_STOP_NONE && pm->m.state > PM_RUN && pm_view(pm).n_children > 0) {
        count_down(&p, &pm->progress, "processes", pm_view(pm).n_children);
    } else if (pm->m.state == PM_RUN) {
        p = pm_notify_checkpoint(pm, now);
    }
    return p;
}

/* ---- the text ---- */
/* ": redo 6.5 of 18.0 MiB (36 %), 118 MiB/s, about 100 s left", ": verify 7 of 9 pages (78 %)". */
static void
add_pass(const struct pm_progress *g, char *p, size_t n)
{
    bool is_bytes = g->unit != NULL && strcmp(g->unit, "bytes") == 0;
    double scale = is_bytes ? 1024.0 * 1024.0 : 1.0;
    double done = (double) g->done / scale;
    double total = (double) g->total / scale;
    double sec = (double) g->elapsed_usec / 1e6;
    double rate = sec > 0.5 ? done / sec : 0;
    const char *unit = is_bytes ? "MiB" : g->unit;
    int at;

    if (!g->is_known)
        return;
    at = snprintf(p, n, ": %s", g->phase);
    if (g->total == 0)
        return;
    at += snprintf(p + at, n - (size_t) at, " %.*f of %.*f %s (%.0f %%)", is_bytes, done, is_bytes,
                   total, unit, 100.0 * done / MAX(total, 0.001));
    if (rate > 0)
        (void) snprintf(p + at, n - (size_t) at, ", %.0f %s/s, about %.0f s left", rate, unit,
                        (total - done) / rate);
}

static void
recovery_text(const struct pm *pm, char *p, size_t n)
{
    const char *what = pm->m.is_restart ? "Crash recovery" : "Recovering";
    int at = pm->m.is_restart && pm->last_crash[0] != '\0'
                 ? snprintf(p, n, "%s after %.80s", what, pm->last_crash)
                 : snprintf(p, n, "%s", what);

    add_pass(&pm->progress, p + at, n - (size_t) at);
}

static void
stopping_text(const struct pm_progress *g, char *p, size_t n)
{
    int at = snprintf(p, n, "Stopping: checkpoint");

    if (g->total > 0)
        (void) snprintf(p + at, n - (size_t) at, " %.0f %% (%" PRIu64 " of %" PRIu64 " %s)",
                        100.0 * (double) g->done / (double) g->total, g->done, g->total, g->unit);
}

/* What an operator must know of the disks, behind the rest of the line. */
static void
add_space(const struct pm *pm, char *p, size_t n)
{
    static const char *const names[SPACE_DISKS] = { [SPACE_WAL] = "log", [SPACE_DATA] = "data" };
    const struct shm_status *st = segment_status(pm->seg);

    for (int i = 0; i < SPACE_DISKS; i++) {
        const struct shm_space *s = &st->space[i];
        bool is_full = peek64(&s->full_usec) != 0;
        size_t at = strlen(p);

        if (is_full || atomic_load_explicit(&s->is_low, memory_order_relaxed) != 0)
            (void) snprintf(p + at, n - at, "; %s: %s (%" PRIu64 " MB free)", names[i],
                            is_full ? "disk full" : "low disk space", peek64(&s->free_bytes) >> 20);
    }
    if (pm->stall_text[0] != '\0') {
        size_t at = strlen(p);

        (void) snprintf(p + at, n - at, "; %s", pm->stall_text);
    }
}

/* Databases that the start found damaged. */
static void
add_refused(const struct pm *pm, char *p, size_t n)
{
    const struct shm_startup *s = &segment_status(pm->seg)->startup;
    uint32_t refused = atomic_load_explicit(&s->n_refused, memory_order_relaxed);
    size_t at = strlen(p);

    if (refused > 0)
        (void) snprintf(p + at, n - at, "; %u damaged database%s refused", refused,
                        refused == 1 ? "" : "s");
}

/* Who holds it up, if it takes longer than anybody should need. */
static void
add_names(const struct pm *pm, char *p, size_t n)
{
    char names[120];
    size_t at = strlen(p);

    if (clock_mono_usec() - pm->since_mono_usec < USEC_PER_SEC || pm_view(pm).n_children == 0)
        return;
    pm_child_names(pm, names, sizeof names);
    (void) snprintf(p + at, n - at, ": %s", names);
}

/* When a smart stop will not wait any more. */
static void
add_drain(const struct pm *pm, char *p, size_t n)
{
    usec_t now = clock_mono_usec();
    usec_t left = pm->drain.at > now ? (pm->drain.at - now) / USEC_PER_SEC : 0;
    size_t at = strlen(p);

    if (!pm->drain.is_armed)
        return;
    if (left >= 60)
        (void) snprintf(p + at, n - at, ", fast stop in %llu min %llu s",
                        (unsigned long long) left / 60, (unsigned long long) left % 60);
    else
        (void) snprintf(p + at, n - at, ", fast stop in %llu s", (unsigned long long) left);
}

static void
make_text(const struct pm *pm, char *p, size_t n)
{
    struct pm_view v = pm_view(pm);
    const struct pm_progress *g = &pm->progress;

    switch (pm->m.state) {
    case PM_INIT:
    case PM_STARTUP:
        (void) snprintf(p, n, pm->m.is_restart ? "Restarting after a crash: %s" : "Starting%s",
                        pm->m.is_restart ? pm->last_crash : "");
        add_pass(g, p + strlen(p), n - strlen(p));
        break;
    case PM_RECOVERY:
        recovery_text(pm, p, n);
        break;
    case PM_HOT_STANDBY:
    case PM_RUN:
        if (pm->m.stop == PM_STOP_SMART) {
            (void) snprintf(p, n, "Draining: %u client%s left", v.n_backends,
                            v.n_backends == 1 ? "" : "s");
            add_drain(pm, p, n);
            add_names(pm, p, n);
        } else {
            (void) snprintf(p, n, "Ready: %s, %u/%d connections, listening on %s",
                            pm->m.state == PM_RUN ? "primary" : "standby", v.n_backends,
                            (int) pm->conf->v.max_connections,
                            pm->n_listeners > 0 ? pm->listeners[0].text : "nothing");
        }
        break;
    case PM_STOP_BACKENDS:
    case PM_WAIT_BACKENDS:
    case PM_WAIT_DEAD_END:
    case PM_NO_CHILDREN:
        if (pm->m.stop == PM_STOP_NONE)
            (void) snprintf(p, n, "Restarting after a crash: %.80s, %u processes left",
                            pm->last_crash, v.n_children);
        else
            (void) snprintf(p, n, "Stopping: %u client%s, %u process%s left", v.n_backends,
                            v.n_backends == 1 ? "" : "s", v.n_children,
                            v.n_children == 1 ? "" : "es");
        add_names(pm, p, n);
        break;
    case PM_WAIT_CHECKPOINT:
        stopping_text(g, p, n);
        break;
    case PM_WAIT_ARCHIVER:
        (void) snprintf(p, n, "Stopping: the log is being archived");
        break;
    case PM_WAIT_CHECKPOINTER:
        (void) snprintf(p, n, "Stopping: checkpoint complete");
        break;
    case PM_STATES:
        break;
    }
}

static void
add_warnings(struct pm *pm)
{
    add_refused(pm, pm->status_text, sizeof pm->status_text);
    add_space(pm, pm->status_text, sizeof pm->status_text);
}

static void
send_status(struct pm *pm, bool with_time)
{
    (void) sd_notifyf(0, "STATUS=%s%s%s", pm->status_text,
                      with_time ? "\nEXTEND_TIMEOUT_USEC=" : "", with_time ? "60000000" : "");
}

void
pm_notify_update(struct pm *pm, bool is_change)
{
    usec_t now = clock_mono_usec();
    uint64_t moved = movement(pm);
    bool is_waiting = pm->m.state != PM_RUN && pm->m.state != PM_HOT_STANDBY;
    bool is_new;

    if (moved != pm->moved_value) {
        pm->moved_value = moved;
        pm->moved_usec = now;
        pm->has_moved = true; /* until it was told */
    }
    pm->progress = pm_notify_progress(pm, now);
    make_text(pm, pm->status_text, sizeof pm->status_text);
    add_warnings(pm);
    is_new = strcmp(pm->status_text, pm->status_sent) != 0;
    if (!is_change && now - pm->status_sent_usec < STATUS_EVERY_USEC)
        return;
    if (!is_new && !(is_waiting && pm->has_moved))
        return;
    send_status(pm, is_waiting && pm->has_moved);
    pm->has_moved = false;
    memcpy(pm->status_sent, pm->status_text, sizeof pm->status_sent);
    pm->status_sent_usec = now;
    pm_control_saw(pm, PM_SAW_PROGRESS);
}

void
pm_notify_extend(struct pm *pm)
{
    (void) pm;
    (void) sd_notify(0, "EXTEND_TIMEOUT_USEC=60000000");
}

/* ---- turning points ---- */
void
pm_notify_ready(struct pm *pm)
{
    pm->progress = pm_notify_progress(pm, clock_mono_usec());
    if (pm->crash_usec != 0)
        (void) snprintf(pm->status_text, sizeof pm->status_text,
                        "Ready: primary, crash restart %u completed after %.1f s", pm->n_restarts,
                        (double) (clock_mono_usec() - pm->crash_usec) / 1e6);
    else
        make_text(pm, pm->status_text, sizeof pm->status_text);
    pm->crash_usec = 0;
    add_warnings(pm);
    (void) sd_notifyf(0, "READY=1\nSTATUS=%s", pm->status_text);
    pm_park_all(pm);
}

void
pm_notify_stopping(struct pm *pm)
{
    make_text(pm, pm->status_text, sizeof pm->status_text);
    add_warnings(pm);
    (void) sd_notifyf(0, "STOPPING=1\nSTATUS=%s\nEXTEND_TIMEOUT_USEC=60000000", pm->status_text);
}

/* The end of a reload is READY=1, which before the first one would be the end of the start, and
 * behind STOPPING=1 nonsense. */
static bool
may_tell_reload(const struct pm *pm)
{
    return pm->ready_usec != 0 && (pm->m.state <= PM_RUN || pm->m.stop == PM_STOP_NONE);
}

void
pm_notify_reloading(struct pm *pm)
{
    if (!may_tell_reload(pm))
        return;
    (void) sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reloading configuration",
                      (unsigned long long) clock_mono_usec());
}

void
pm_notify_reloaded(struct pm *pm, const char *failure)
{
    const char *what = pm->m.state == PM_RUN || pm->m.state == PM_HOT_STANDBY
                           ? "Ready: configuration"
                           : "Configuration";

    if (failure != NULL)
        (void) snprintf(pm->status_text, sizeof pm->status_text,
                        "%s %u still active, reload FAILED: %.120s", what, pm->reload.generation,
                        failure);
    else if (pm->reload.n_pending > 0)
        (void) snprintf(pm->status_text, sizeof pm->status_text,
                        "%s %u active, %u %s restart (%.80s%s)", what, pm->reload.generation,
                        pm->reload.n_pending,
                        pm->reload.n_pending > 1 ? "settings need" : "setting needs",
                        pm->reload.pending[0], pm->reload.n_pending > 1 ? ", …" : "");
    else
        (void) snprintf(pm->status_text, sizeof pm->status_text, "%s %u active", what,
                        pm->reload.generation);
    (void) sd_notifyf(0, "%sSTATUS=%s", may_tell_reload(pm) ? "READY=1\n" : "", pm->status_text);
    memcpy(pm->status_sent, pm->status_text, sizeof pm->status_sent);
}

void
pm_notify_exit(struct pm *pm)
{
    const char *text = pm->m.startup_failed ? "Recovery failed: see the log"
                       : pm->exit_code != 0 ? "Stopped after a failure"
                       : pm->m.is_clean     ? "Stopped cleanly"
                                            : "Stopped, recovery at next start";

    (void) sd_notifyf(0, "STATUS=%s", text);
    (void) sd_notify_barrier(0, 5 * USEC_PER_SEC);
}

void
pm_notify_refused(const struct err *e)
{
    bool is_conf = e->code == -ERR_CONFIG_FILE_ERROR || e->code == -ERR_INVALID_PARAMETER_VALUE;

    (void) sd_notifyf(0, "STATUS=%s: %.150s\nERRNO=%d",
                      is_conf ? "Configuration error" : "Refused to start", e->message,
                      e->sys_errno != 0 ? e->sys_errno : EINVAL);
    (void) sd_notify_barrier(0, 5 * USEC_PER_SEC);
}

/* ---- watchdog (systemd-ops.md 3.7, rules 1, 2) ---- */

/* Rule 2: what we wrote has come back through the dispatch of events. */
static int
on_canary(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    struct pm *pm = arg;
    uint64_t n = 0;

    (void) s;
    (void) revents;
    if (read(fd, &n, sizeof n) == sizeof n)
        pm->canary_seen += n;
    return 0;
}

/* The last source of a turn: everything that was ready has been dispatched. Children that stand
 * still are ended first (pm_beat.c); only if that fails it is the service manager's turn. */
static int
on_turn_done(sd_event_source *s, void *arg)
{
    static const uint64_t one = 1;
    struct pm *pm = arg;
    bool was_withheld = pm->is_watchdog_withheld;
    bool has_turned = pm->canary_seen == pm->canary_sent;

    (void) s;
    pm->is_watchdog_withheld = !has_turned || pm->has_unkillable;
    if (!pm->is_watchdog_withheld)
        (void) sd_notify(0, "WATCHDOG=1");
    else if (!was_withheld)
        log_event(LOG_LEVEL_WARNING, LOG_EVENT_WATCHDOG_WITHHELD, NULL,
                  "%s, the watchdog is not answered any more",
                  has_turned ? "a process that stands still cannot be killed"
                             : "the event loop does not dispatch events");
    if (has_turned && write(pm->canary_fd, &one, sizeof one) == sizeof one)
        pm->canary_sent++;
    return 0;
}

static int
on_watchdog(sd_event_source *s, uint64_t usec, void *arg)
{
    struct pm *pm = arg;

    (void) s;
    (void) usec;
    (void) sd_event_source_set_enabled(pm->watchdog_turn, SD_EVENT_ONESHOT);
    pm_clock_arm(&pm->watchdog, MIN(pm->watchdog_usec / 4, WATCHDOG_MAX_USEC));
    return 0;
}

int
pm_notify_init(struct pm *pm, struct err *e)
{
    uint64_t usec = 0;
    int r = sd_watchdog_enabled(0, &usec);

    pm->moved_usec = clock_mono_usec();
    (void) sd_notify(0, "STATUS=Starting: reading configuration");
    if (r <= 0)
        return 0;
    pm->watchdog_usec = usec;
    pm->canary_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pm->canary_fd < 0)
        return ERR_ERRNO(e, "could not make the watchdog");
    r = sd_event_add_io(pm->loop, &pm->canary, pm->canary_fd, EPOLLIN, on_canary, pm);
    if (r >= 0)
        r = sd_event_add_time(pm->loop, &pm->watchdog.source, CLOCK_MONOTONIC, 0, 0, on_watchdog,
                              pm);
    if (r >= 0)
        r = sd_event_add_defer(pm->loop, &pm->watchdog_turn, on_turn_done, pm);
    if (r < 0)
        return err_set_errno(e, -r, "could not make the watchdog");
    (void) sd_event_source_set_priority(pm->watchdog.source, PRIO_TIMER);
    (void) sd_event_source_set_priority(pm->watchdog_turn, PRIO_WATCHDOG);
    (void) sd_event_source_set_priority(pm->canary, PRIO_TIMER);
    pm_clock_arm(&pm->watchdog, 0); /* arms it already now */
    return 0;
}
