/* control_view.h over pm/pm_control.h and the status block of the segment.
 * Runs in: postmaster.
 * Owns: the service, and the observer of the postmaster.
 * Source: design 8, 11; SHM-1: positions are read only when `ready` was seen, one relaxed atomic
 * each. */
#include "control/control_pm.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "control/control.h"
#include "pm/pm_control.h"
#include "pm/pm_history.h"
#include "shm/shm.h"
#include "shm/slot.h"

#define LAST_WORDS_USEC 200000 /* at exit, for slow readers; the loop has ended then */

struct control_pm {
    struct pm *pm; /* borrowed */
    const char *instance;
    char unit[160];
    struct control_view view;
    struct control *control;
};

/* The words of design 11 are rows of control_states.def. */
static enum control_state
find_state(const char *word)
{
    for (int i = 0; i < CONTROL_STATES; i++) {
        if (strcmp(control_state_name((enum control_state) i), word) == 0)
            return (enum control_state) i;
    }
    return CONTROL_STOPPING;
}

static void
copy_numbers(struct control_progress *to, const struct pm_progress *p)
{
    (void) snprintf(to->phase, sizeof to->phase, "%s", p->phase);
    to->unit = p->unit;
    to->done = p->done;
    to->total = p->total;
    to->elapsed_usec = p->elapsed_usec;
    if (p->done > 0 && p->total > p->done) /* at the pace so far */
        to->remaining_usec =
            (usec_t) ((double) p->elapsed_usec * (double) (p->total - p->done) / (double) p->done);
}

/* The service manager is not told of those. */
static void
copy_checkpoint(struct control_progress *to, const struct pm_progress *p)
{
    copy_numbers(to, p);
    if (p->total == 0)
        (void) snprintf(to->message, sizeof to->message, "Checkpoint");
    else
        (void) snprintf(to->message, sizeof to->message,
                        "Checkpoint: %" PRIu64 " %% (%" PRIu64 " of %" PRIu64 " %s)",
                        p->done * 100 / p->total, p->done, p->total, p->unit);
}

static void
copy_progress(struct control_progress *to, const struct pm_status *s)
{
    const struct pm_progress *p = &s->progress;

    if (!p->is_known)
        return;
    if (strcmp(p->phase, "checkpoint") == 0) {
        copy_checkpoint(to, p);
        return;
    }
    copy_numbers(to, p);
    (void) snprintf(to->message, sizeof to->message, "%s", s->status_text);
}

/* Bits of shm_status.checkpoint_flags (PostgreSQL's CHECKPOINT_*), in the order they are named. */
static void
name_causes(uint32_t flags, const char **to)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } causes[] = {
        { 1u << 0, "shutdown" },  { 1u << 1, "end_of_recovery" },
        { 1u << 2, "immediate" }, { 1u << 3, "force" },
        { 1u << 7, "wal" },       { 1u << 8, "time" },
    };
    int n = 0;

    for (size_t i = 0; i < ELEMENTSOF(causes); i++) {
        if (flags & causes[i].flag)
            to[n++] = causes[i].name;
    }
}

static void
copy_positions(struct control_status *to, const struct shm_status *st)
{
    bool recovers = atomic_load_explicit(&st->in_recovery, memory_order_relaxed) != 0;
    struct control_checkpoint *c = &to->checkpoint;

    to->timeline = atomic_load_explicit(&st->tli, memory_order_relaxed);
    to->system_identifier = peek64(&st->sysid);
    to->visible_lsn = peek64(&st->horizon_lsn);
    to->refused_databases = atomic_load_explicit(&st->startup.n_refused, memory_order_relaxed);
    if (recovers) {
        to->replay_lsn = peek64(&st->redo_lsn);
    } else {
        to->insert_lsn = peek64(&st->insert_lsn);
        to->flush_lsn = peek64(&st->flush_lsn);
    }
    c->lsn = peek64(&st->checkpoint_lsn);
    c->redo_lsn = peek64(&st->checkpoint_redo_lsn);
    c->duration_usec = peek64(&st->checkpoint_total_usec);
    c->buffers_written = peek64(&st->checkpoint_pages);
    usec_t ended = peek64(&st->checkpoint_time_usec);
    c->started_usec = ended > c->duration_usec ? ended - c->duration_usec : ended;
    name_causes(atomic_load_explicit(&st->checkpoint_flags, memory_order_relaxed), c->cause);
}

/* Single atomics that children wrote: shown, not trusted. */
static void
copy_storage(struct control_status *to, const struct shm_status *st)
{
    static const char *const names[SPACE_DISKS] = { [SPACE_WAL] = "wal", [SPACE_DATA] = "data" };

    static_assert(SPACE_DISKS == CONTROL_STORAGES, "a place for each");
    for (int i = 0; i < SPACE_DISKS; i++) {
        const struct shm_space *s = &st->space[i];
        uint32_t error = atomic_load_explicit(&s->error, memory_order_relaxed);

        if (peek64(&s->total_bytes) == 0)
            continue;
        to->storages[to->n_storages++] = (struct control_storage){
            .name = names[i],
            .free_bytes = peek64(&s->free_bytes),
            .total_bytes = peek64(&s->total_bytes),
            .is_low = atomic_load_explicit(&s->is_low, memory_order_relaxed) != 0,
            .full_since_usec = peek64(&s->full_usec),
            .refusals = peek64(&s->n_refused),
            .refused_usec = peek64(&s->refused_usec),
            .error = error != 0 ? strerrordesc_np((int) error) : NULL,
        };
    }
}

static void
copy_cache(struct control_status *to, const struct shm_status *st)
{
    for (int i = 0; i < CACHE_COUNTS; i++)
        to->cache[i] = peek64(&st->cache[i]);
}

static void
copy_config(struct control_status *to, const struct pm *pm)
{
    struct pm_reload reload = { 0 };

    to->config_valid = pm_control_reload_last(pm, &reload);
    to->config_generation = reload.generation;
    to->config_loaded_usec = reload.loaded_usec;
    for (unsigned i = 0; i < reload.n_pending; i++)
        to->pending_restart[i] = reload.pending[i];
}

static void
view_status(void *ctx, struct control_status *ret)
{
    const struct control_pm *c = ctx;
    struct pm_status s;

    pm_control_status(c->pm, &s);
    ret->state = find_state(s.state_word);
    ret->pm_state = s.pm_state;
    ret->role = s.state == PM_RUN ? "primary" : NULL;
    ret->instance = c->instance;
    ret->unit = c->unit[0] != '\0' ? c->unit : NULL;
    ret->main_pid = s.pid;
    ret->state_since_usec = s.state_since_usec;
    ret->started_usec = s.started_usec;
    ret->ready_usec = s.ready_usec;
    ret->data_directory = s.data_dir;
    for (unsigned i = 0; i < CONTROL_LIST_MAX - 1; i++)
        ret->listen[i] = i > 0 && ret->listen[i - 1] == NULL ? NULL : pm_control_listener(c->pm, i);
    ret->connections = (int) s.n_connections;
    ret->connections_max = (int) s.connections_max;
    ret->crash_restarts = s.crash_restarts;
    ret->stop_requested = s.stop != PM_STOP_NONE;
    if (ret->stop_requested)
        ret->stop_mode = (enum control_stop_mode)(s.stop - PM_STOP_SMART);
    copy_progress(&ret->progress, &s);
    copy_config(ret, c->pm);
    if (s.shm_ready) { /* SHM-1 */
        copy_positions(ret, pm_control_shm_status(c->pm));
        copy_storage(ret, pm_control_shm_status(c->pm));
        copy_cache(ret, pm_control_shm_status(c->pm));
    }
}

/* A backend's own words: who, where, doing what. */
static void
describe_backend(struct control_pm *c, int slot_idx, struct control_process *to)
{
    static struct slot copy; /* 2 kB; one call at a time runs in the loop */
    const struct slot *slot = pm_control_slot(c->pm, slot_idx);

    if (slot == NULL || !slot_copy(slot, &copy))
        return;
    uint32_t activity = atomic_load_explicit(&slot->activity, memory_order_relaxed);
    if (activity <= ACTIVITY_IDLE_IN_FAILED_TRANSACTION) /* what a child wrote is checked */
        to->state = slot_activity_name((enum slot_activity) activity);
    copy.db_name[SLOT_NAME_BYTES - 1] = '\0';
    copy.role_name[SLOT_NAME_BYTES - 1] = '\0';
    copy.client_addr[SLOT_NAME_BYTES - 1] = '\0';
    to->database = copy.db_name[0] != '\0' ? copy.db_name : NULL;
    to->user = copy.role_name[0] != '\0' ? copy.role_name : NULL;
    to->client = copy.client_addr[0] != '\0' ? copy.client_addr : NULL;
}

static void
view_processes(void *ctx, control_process_fn fn, void *arg)
{
    struct control_pm *c = ctx;
    struct pm_process p;

    for (unsigned at = 0; pm_control_process(c->pm, &at, &p);) {
        struct control_process out = { .pid = p.pid,
                                       .role = p.role,
                                       .state = p.state,
                                       .started_usec = p.started_usec,
                                       .heartbeat_age_usec = p.beat_age_usec,
                                       .critical = p.is_critical };
        if (p.kind == CHILD_BACKEND)
            describe_backend(c, p.slot_idx, &out);
        fn(arg, &out);
    }
}

static int
view_checkpoint(void *ctx, bool fast, uint64_t *ret_operation, struct err *e)
{
    const struct control_pm *c = ctx;
    int64_t ticket = pm_control_checkpoint(c->pm, fast, e);

    if (ticket < 0)
        return (int) ticket;
    *ret_operation = (uint64_t) ticket;
    return 0;
}

static enum control_operation
view_checkpoint_state(void *ctx, uint64_t operation, struct err *e)
{
    const struct control_pm *c = ctx;
    int r = pm_control_checkpoint_done(c->pm, (int64_t) operation, e);

    return r < 0 ? OPERATION_FAILED : r > 0 ? OPERATION_DONE : OPERATION_RUNNING;
}

static void
view_checkpoint_progress(void *ctx, struct control_progress *ret)
{
    const struct control_pm *c = ctx;
    struct pm_progress p = pm_control_checkpoint_progress(c->pm);

    if (p.is_known)
        copy_checkpoint(ret, &p);
}

static int
view_stop(void *ctx, enum control_stop_mode mode, usec_t drain_usec, const struct control_ask *ask,
          struct err *e)
{
    const struct control_pm *c = ctx;

    (void) e;
    (void) pm_control_stop(c->pm, (enum pm_stop)(PM_STOP_SMART + (int) mode), drain_usec,
                           &(struct pm_ask){ .by = ask->by, .reason = ask->reason });
    return 0;
}

static int
view_stop_cancel(void *ctx, const struct control_ask *ask, struct err *e)
{
    const struct control_pm *c = ctx;

    return pm_control_stop_cancel(c->pm, &(struct pm_ask){ .by = ask->by }, e);
}

static int
view_rotate_log(void *ctx, struct err *e)
{
    const struct control_pm *c = ctx;

    return pm_control_rotate_log(c->pm, e);
}

static void
view_history(void *ctx, control_history_fn fn, void *arg)
{
    const struct control_pm *c = ctx;
    struct history_entry h;
    char copy[HISTORY_LINE_BYTES];

    for (unsigned i = 0; pm_control_history(c->pm, i, copy, &h); i++)
        fn(arg, &(struct control_history){ .time_usec = h.time_usec,
                                           .event = h.event,
                                           .pid = h.pid,
                                           .message = h.message,
                                           .by = h.by,
                                           .reason = h.reason,
                                           .timeline = h.timeline });
}

static_assert((int) CONF_SETTINGS < CONTROL_SETTINGS_MAX, "all names fit, and NULL");

/* All that is wrong; `e` if the issues do not say it. */
static void
take_issues(const struct conf_issues *issues, const struct err *e, struct control_reload *ret)
{
    size_t n = issues != NULL ? MIN(issues->n, (size_t) CONTROL_PROBLEMS_MAX - 1) : 0;
    struct control_problem *p = ret->problems;

    for (size_t i = 0; i < n; i++, p++) {
        const struct conf_issue *it = &issues->items[i];

        (void) snprintf(p->file, sizeof p->file, "%s", it->file != NULL ? it->file : "");
        p->line = it->line;
        (void) snprintf(p->setting, sizeof p->setting, "%s", it->name);
        (void) snprintf(p->message, sizeof p->message, "%s", it->err.message);
        (void) snprintf(p->hint, sizeof p->hint, "%s", it->err.hint);
        p->is_error = true;
    }
    if (n == 0 || issues->n_dropped > 0) {
        p->is_error = true;
        if (n == 0)
            (void) snprintf(p->message, sizeof p->message, "%s", e->message);
        else
            (void) snprintf(p->message, sizeof p->message, "%zu more errors", issues->n_dropped);
        p++;
    }
    ret->n_problems = (int) (p - ret->problems);
}

static int
view_reload(void *ctx, const struct control_ask *ask, struct control_reload *ret, struct err *e)
{
    const struct control_pm *c = ctx;
    struct pm_reload reload = { 0 };
    int r = pm_control_reload(c->pm, &(struct pm_ask){ .by = ask->by }, &reload, e);

    control_load_groups(c->control);
    ret->generation = reload.generation;
    if (r == -ERR_OBJECT_NOT_IN_PREREQUISITE_STATE)
        return r;
    if (r < 0) {
        take_issues(reload.issues, e, ret);
        return -ERR_CONFIG_FILE_ERROR;
    }
    for (unsigned i = 0; i < reload.n_changed; i++)
        ret->changed[i] = reload.changed[i];
    for (unsigned i = 0; i < reload.n_pending; i++)
        ret->pending_restart[i] = reload.pending[i];
    return 0;
}

/* What waits for a restart is a warning. */
static int
view_check_config(void *ctx, struct control_reload *ret, struct err *e)
{
    const struct control_pm *c = ctx;
    CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };
    struct conf_diff diff;

    if (pm_control_check(c->pm, &issues, &diff, e) < 0) {
        take_issues(&issues, e, ret);
        return -ERR_CONFIG_FILE_ERROR;
    }
    for (int id = 0; id < CONF_SETTINGS && ret->n_problems < CONTROL_PROBLEMS_MAX; id++) {
        const char *name = conf_desc((enum conf_id) id)->name;
        struct control_problem *p = &ret->problems[ret->n_problems];

        if (!diff.restart[id])
            continue;
        (void) snprintf(p->setting, sizeof p->setting, "%s", name);
        (void) snprintf(p->message, sizeof p->message,
                        "parameter \"%s\" cannot be changed without restarting the server", name);
        ret->n_problems++;
    }
    return 0;
}

/* One setting as it is in force in the postmaster. */
static void
show_setting(const struct conf *conf, const struct conf *boot, enum conf_id id,
             control_setting_fn fn, void *arg)
{
    static char value[CONF_VALUE_BYTES_MAX + 1], initial[CONF_VALUE_BYTES_MAX + 1];
    const struct conf_desc *d = conf_desc(id);
    const struct conf_origin *o = conf->origins != NULL ? &conf->origins[id] : NULL;
    bool is_filed = o != NULL && o->file != NULL && conf->source[id] == CONF_FROM_FILE;

    fn(arg, &(struct control_setting){
                .name = d->name,
                .value = conf_show(conf, id, value, sizeof value),
                .initial = conf_show(boot, id, initial, sizeof initial),
                .source = conf_source_name((enum conf_source) conf->source[id]),
                .file = is_filed ? o->file : NULL,
                .line = is_filed ? o->line : 0,
                .context = conf_context_name(d->context),
                .text = d->text,
                .is_pending = o != NULL && o->is_pending,
                .is_private = (d->flags & CONF_FLAG_PRIVATE) != 0,
            });
}

static int
view_settings(void *ctx, const char *name, control_setting_fn fn, void *arg, struct err *e)
{
    const struct control_pm *c = ctx;
    const struct conf *conf = pm_control_conf(c->pm);
    CLEANUP(conf_done) struct conf boot = { 0 };
    int id = name != NULL ? conf_find_or_say(name, e) : 0;
    int r;

    if (id < 0)
        return id;
    if ((r = conf_init(&boot, e)) < 0)
        return r;
    for (unsigned i = 0; i < CONF_SETTINGS; i++)
        if (name == NULL || conf_by_name(i) == (enum conf_id) id)
            show_setting(conf, &boot, conf_by_name(i), fn, arg);
    return 0;
}

static int
view_signal(void *ctx, int64_t pid, enum control_action action, struct err *e)
{
    const struct control_pm *c = ctx;

    return pm_control_signal(c->pm, pid, action == ACTION_CANCEL, e);
}

static void
on_saw(void *arg, struct pm *pm, enum pm_saw what)
{
    struct control_pm *c = arg;

    if (what == PM_SAW_EXIT)
        control_finish(c->control, pm_control_is_clean(pm), LAST_WORDS_USEC);
    else
        control_changed(c->control);
}

int
control_pm_new(struct pm *pm, sd_event *loop, const struct control_pm_params *params,
               struct control_pm **ret, struct err *e)
{
    static const struct control_view_ops ops = {
        .status = view_status,
        .processes = view_processes,
        .checkpoint = view_checkpoint,
        .checkpoint_state = view_checkpoint_state,
        .checkpoint_progress = view_checkpoint_progress,
        .stop = view_stop,
        .stop_cancel = view_stop_cancel,
        .rotate_log = view_rotate_log,
        .history = view_history,
        .reload = view_reload,
        .check_config = view_check_config,
        .settings = view_settings,
        .signal = view_signal,
    };
    struct control_pm *c = calloc(1, sizeof *c);

    if (c == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    c->pm = pm;
    c->instance = params->instance;
    c->view = (struct control_view){ .ops = &ops, .ctx = c };
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    if (params->instance != NULL && getenv("INVOCATION_ID") != NULL)
        (void) snprintf(c->unit, sizeof c->unit, "pinion@%s.service", params->instance);
    struct control_place place = { .path = params->path, .fd = pm_control_passed(pm) };
    int r = control_new(loop, &place, &c->view, &c->control, e);
    if (r < 0) {
        free(c);
        return r;
    }
    pm_control_observe(pm, on_saw, c);
    *ret = c;
    return 0;
}

struct control_pm *
control_pm_free(struct control_pm *c)
{
    if (c == NULL)
        return NULL;
    pm_control_observe(c->pm, NULL, NULL);
    c->control = control_free(c->control);
    free(c);
    return NULL;
}
