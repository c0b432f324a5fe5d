/* What the control service sees and asks. Runs in: postmaster. Owns: the observer and what it has
 * not been told yet. Source: design 8. */
#include "pm/pm_control.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "pm/pm_int.h"

/* A ticket is the number of the reset and of the checkpoint to wait for. */
#define TICKET_SHIFT 40

void
pm_control_status(const struct pm *pm, struct pm_status *ret)
{
    const struct shm_status *st = segment_status(pm->seg);

    *ret = (struct pm_status){
        .state = pm->m.state,
        .pm_state = pm_state_name(pm->m.state),
        .state_word = pm_fsm_state_word(&pm->m),
        .stop = pm->m.stop,
        .state_since_usec = pm->since_usec,
        .started_usec = pm->started_usec,
        .ready_usec = pm->ready_usec,
        .crash_restarts = pm->n_restarts,
        .n_connections = pm_child_count(pm, CHILD_BACKEND),
        .connections_max = (unsigned) pm->conf->v.max_connections,
        .pid = getpid(),
        .shm_ready = atomic_load_explicit(&st->ready, memory_order_acquire) != 0,
        .data_dir = pm->where.data_dir,
        .status_text = pm->status_text,
        .progress = pm_notify_progress(pm, clock_mono_usec()),
    };
}

const struct shm_status *
pm_control_shm_status(const struct pm *pm)
{
    return segment_status(pm->seg);
}

const struct slot *
pm_control_slot(const struct pm *pm, int slot_idx)
{
    return slot_idx < 0 ? NULL : segment_slot(pm->seg, slot_idx);
}

const struct conf *
pm_control_conf(const struct pm *pm)
{
    return pm->conf;
}

const char *
pm_control_listener(const struct pm *pm, unsigned idx)
{
    return idx < pm->n_listeners ? pm->listeners[idx].text : NULL;
}

bool
pm_control_process(const struct pm *pm, unsigned *at, struct pm_process *ret)
{
    if (*at == 0) {
        *at = 1;
        *ret = (struct pm_process){ .pid = getpid(),
                                    .kind = CHILD_KINDS,
                                    .role = "postmaster",
                                    .state = "running",
                                    .is_critical = true,
                                    .slot_idx = -1,
                                    .started_usec = pm->started_usec,
                                    .beat_age_usec = -1 };
        return true;
    }
    while (*at <= pm->n_slots) {
        const struct pm_child *c = &pm->children[(*at)++ - 1];

        if (c->pid == 0)
            continue;
        enum child_life life = child_policies[c->kind].life;
        *ret = (struct pm_process){ .pid = c->pid,
                                    .kind = c->kind,
                                    .role = child_policies[c->kind].role,
                                    .state = c->kind == CHILD_DEAD_END ? "dead end"
                                             : c->told != 0            ? "stopping"
                                                                       : "running",
                                    .is_critical = life == LIFE_STRICT,
                                    .slot_idx = c->slot_idx,
                                    .started_usec = c->started_real_usec,
                                    .beat_age_usec = -1 };
        if (life != LIFE_UNWATCHED)
            ret->beat_age_usec = (int64_t) pm_beat_age(c, clock_mono_usec());
        return true;
    }
    return false;
}

int
pm_control_stop(struct pm *pm, enum pm_stop mode, usec_t drain_usec, const struct pm_ask *ask)
{
    static const enum pm_event events[] = { [PM_STOP_NONE] = EV_ADVANCE,
                                            [PM_STOP_SMART] = EV_STOP_SMART,
                                            [PM_STOP_FAST] = EV_STOP_FAST,
                                            [PM_STOP_IMMEDIATE] = EV_STOP_IMMEDIATE };

    bool is_new = mode > pm->m.stop;

    if (is_new) {
        pm_note_asker(pm, ask);
        pm_event(pm, events[mode]);
        pm_note_asker(pm, NULL);
    }
    if (mode == PM_STOP_SMART && pm->m.stop == PM_STOP_SMART && drain_usec > 0) {
        pm_clock_arm(&pm->drain, drain_usec);
        pm_notify_update(pm, true);
    }
    return is_new ? 0 : 1;
}

int
pm_control_stop_cancel(struct pm *pm, const struct pm_ask *ask, struct err *e)
{
    bool can = pm->m.stop == PM_STOP_SMART && !pm->m.is_crash &&
               (pm->m.state == PM_RUN || pm->m.state == PM_HOT_STANDBY);

    if (!can) {
        (void) ERR(e, OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "no stop that could be canceled: the server is %s", pm_fsm_state_word(&pm->m));
        err_hint(e, "Only a smart stop can be canceled, while it waits for clients.");
        return -ERR_OBJECT_NOT_IN_PREREQUISITE_STATE;
    }
    pm_clock_disarm(&pm->drain);
    pm_note_asker(pm, ask);
    pm_event(pm, EV_STOP_CANCEL);
    pm_note_asker(pm, NULL);
    return 0;
}

/* ---- one child ---- */
int
pm_control_signal(struct pm *pm, int64_t pid, bool is_cancel, struct err *e)
{
    for (unsigned i = 0; i < pm->n_slots && pid > 0; i++) {
        struct pm_child *c = &pm->children[i];

        if (c->pid != pid)
            continue;
        if (c->kind != CHILD_BACKEND && c->kind != CHILD_AV_WORKER)
            return ERR(e, INSUFFICIENT_PRIVILEGE, "process %d is the server's own: %s", (int) pid,
                       child_policies[c->kind].description);
        pm_child_signal(c, is_cancel ? SIGINT : SIGTERM);
        return 0;
    }
    return err_set(e, -ESRCH, "no process of this server has number %lld", (long long) pid);
}

/* ---- reload ---- */
int
pm_control_reload(struct pm *pm, const struct pm_ask *ask, struct pm_reload *ret, struct err *e)
{
    int r;

    if (pm->m.stop >= PM_STOP_FAST || pm->m.state == PM_INIT)
        return ERR(e, OBJECT_NOT_IN_PREREQUISITE_STATE, "cannot reload while the server is %s",
                   pm_fsm_state_word(&pm->m));
    pm_note_asker(pm, ask);
    r = pm_reload_now(pm, e);
    pm_note_asker(pm, NULL);
    if (ret != NULL)
        *ret = pm->reload;
    return r;
}

bool
pm_control_reload_last(const struct pm *pm, struct pm_reload *ret)
{
    *ret = pm->reload;
    return pm->reload_is_valid;
}

/* ---- checkpoints ---- */
int64_t
pm_control_checkpoint(struct pm *pm, bool is_fast, struct err *e)
{
    struct segment_page *page = segment_page(pm->seg);
    const struct pm_child *c = &pm->children[pm->pool[CHILD_CHECKPOINTER].first];
    uint64_t started;

    if (pm->m.state != PM_RUN || pm->m.is_crash || c->pid == 0)
        return ERR(e, OBJECT_NOT_IN_PREREQUISITE_STATE, "cannot checkpoint in state %s",
                   pm_state_name(pm->m.state));
    started = atomic_load_explicit(&page->checkpoint_started, memory_order_acquire);
    (void) atomic_fetch_or_explicit(&page->checkpoint_asked,
                                    is_fast ? SEGMENT_CHECKPOINT_FAST : SEGMENT_CHECKPOINT_SPREAD,
                                    memory_order_release);
    slot_request(segment_slot(pm->seg, c->slot_idx), REQ_WORK);
    return (int64_t) ((uint64_t) pm->n_restarts << TICKET_SHIFT | (started + 1));
}

int
pm_control_checkpoint_done(struct pm *pm, int64_t ticket, struct err *e)
{
    const struct segment_page *page = segment_page(pm->seg);
    uint64_t n = (uint64_t) ticket & (BIT(TICKET_SHIFT) - 1);

    if ((uint64_t) ticket >> TICKET_SHIFT != pm->n_restarts || pm->m.is_crash)
        return ERR(e, CRASH_SHUTDOWN,
                   "checkpoint request failed: the server restarted after a crash");
    if (pm->m.state >= PM_WAIT_CHECKPOINT)
        return ERR(e, ADMIN_SHUTDOWN, "checkpoint request failed: the server is stopping");
    if (atomic_load_explicit(&page->checkpoint_done, memory_order_acquire) < n)
        return 0;
    if (atomic_load_explicit(&page->checkpoint_failed, memory_order_relaxed) >= n) {
        (void) ERR(e, SYSTEM_ERROR, "checkpoint request failed");
        err_hint(e, "Consult recent messages in the server log for details.");
        return -ERR_SYSTEM_ERROR;
    }
    return 1;
}

struct pm_progress
pm_control_checkpoint_progress(const struct pm *pm)
{
    return pm_notify_checkpoint(pm, clock_mono_usec());
}

/* ---- log, history ---- */
int
pm_control_rotate_log(struct pm *pm, struct err *e)
{
    struct pm_child *c = &pm->children[pm->pool[CHILD_SYSLOGGER].first];

    if (!pm->conf->v.logging_collector || c->pid == 0) {
        (void) ERR(e, OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "no log file to rotate: the server writes its log to stderr");
        err_hint(e, "With logging_collector = on the server has log files of its own; the journal "
                    "rotates by itself.");
        return -ERR_OBJECT_NOT_IN_PREREQUISITE_STATE;
    }
    pm_child_signal(c, SIGUSR1);
    return 0;
}

bool
pm_control_history(const struct pm *pm, unsigned idx, char *copy, struct history_entry *ret)
{
    return history_get(&pm->history, idx, copy, ret);
}

/* ---- observing ---- */
static int
on_observe(sd_event_source *s, void *arg)
{
    struct pm *pm = arg;
    unsigned saw = pm->saw;

    (void) s;
    pm->saw = 0;
    for (unsigned what = 0; what < PM_SAW_EXIT && pm->observer != NULL; what++)
        if ((saw & BIT(what)) != 0)
            pm->observer(pm->observer_arg, pm, (enum pm_saw) what);
    return 0;
}

int
pm_control_init(struct pm *pm, struct err *e)
{
    int r = sd_event_add_defer(pm->loop, &pm->observe, on_observe, pm);

    if (r < 0)
        return err_set_errno(e, -r, "could not make an event source");
    (void) sd_event_source_set_priority(pm->observe, PRIO_OBSERVER);
    (void) sd_event_source_set_enabled(pm->observe, SD_EVENT_OFF);
    return 0;
}

void
pm_control_saw(struct pm *pm, enum pm_saw what)
{
    pm->saw |= (unsigned) BIT(what);
    if (pm->observer != NULL)
        (void) sd_event_source_set_enabled(pm->observe, SD_EVENT_ONESHOT);
}

void
pm_control_observe(struct pm *pm, pm_observer_fn fn, void *arg)
{
    pm->observer = fn;
    pm->observer_arg = arg;
}

bool
pm_control_is_clean(const struct pm *pm)
{
    return pm->exit_code == 0 && pm->m.is_clean;
}
