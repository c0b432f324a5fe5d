/* Reload: all or nothing, then to the children. Runs in: postmaster. Owns: the names of what
 * changed. Source: postmaster.md 1.5 (HUP), systemd-ops.md 3.6. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf_log.h"
#include "conf/conf_share.h"
#include "pm/pm_int.h"
#include "proc/access.h"

static void
remember(struct pm *pm, const struct conf_diff *diff)
{
    unsigned n_changed = 0;
    unsigned n_pending = 0;

    for (int id = 0; id < CONF_SETTINGS; id++) {
        if (diff->changed[id])
            pm->reload_names[0][n_changed++] = conf_desc((enum conf_id) id)->name;
        if (diff->restart[id])
            pm->reload_names[1][n_pending++] = conf_desc((enum conf_id) id)->name;
    }
    pm->reload = (struct pm_reload){ .generation = pm->reload.generation + 1,
                                     .n_changed = n_changed,
                                     .n_pending = n_pending,
                                     .changed = pm->reload_names[0],
                                     .pending = pm->reload_names[1],
                                     .loaded_usec = clock_real_usec() };
}

static void
tell_children(struct pm *pm)
{
    for (unsigned i = 0; i < pm->n_slots; i++)
        if (pm->children[i].pid != 0 && pm->children[i].kind != CHILD_DEAD_END)
            pm_child_signal(&pm->children[i], SIGHUP);
}

static int
apply(struct pm *pm, struct conf_issues *issues, struct err *e)
{
    CLEANUP(conf_packed_done) struct conf_packed packed = { .n = 0 };
    CLEANUP(conf_done) struct conf next = { 0 };
    struct conf_diff diff;
    int r = conf_load(&pm->where, pm->params.conf_args, pm->params.n_conf_args, &next, issues, e);

    if (r < 0) { /* what is wrong with the rules is told as well */
        if (access_rules() != NULL)
            (void) access_check(pm->conf->v.hba_file, issues, NULL);
        return r;
    }
    conf_diff(pm->conf, &next, &diff);
    r = conf_share_pack(pm->conf_fd, pm->conf, &next, &diff, &packed, e);
    if (r == 0 && access_rules() != NULL)
        r = access_load(pm->conf->v.hba_file, issues, e);
    if (r < 0)
        return r;
    /* From here on nothing fails. */
    memset(pm->is_retired, 0, sizeof pm->is_retired); /* those that the settings ask for */
    conf_apply(pm->conf, &next, &diff);
    conf_share_put(pm->conf_fd, &packed);
    remember(pm, &diff);
    return 0;
}

/* With file and line of the first error as fields. */
static void
log_rejected(const struct conf_issues *issues, const struct err *e)
{
    const struct conf_issue *first = issues->n > 0 ? &issues->items[0] : NULL;
    char file[CONF_PATH_BYTES + 32];
    char line[40];
    const char *const fields[] = { file, line, NULL };
    bool has_place = first != NULL && first->file != NULL;

    if (has_place) {
        (void) snprintf(file, sizeof file, "PINION_CONFIG_FILE=%s", first->file);
        (void) snprintf(line, sizeof line, "PINION_CONFIG_LINE=%d", first->line);
    }
    log_event(LOG_LEVEL_LOG, LOG_EVENT_CONFIG_REJECTED, has_place ? fields : NULL,
              "configuration was not changed because of errors: %s", e->message);
}

int
pm_reload_now(struct pm *pm, struct err *e)
{
    int r;

    log_msg(LOG_LEVEL_LOG, "received SIGHUP, reloading configuration files");
    pm_listen_touch(pm);
    pm_notify_reloading(pm);
    conf_issues_done(&pm->reload_issues);
    r = apply(pm, &pm->reload_issues, e);
    pm->reload.issues = &pm->reload_issues;
    pm->reload_is_valid = r == 0;
    if (r < 0) {
        conf_issues_log(&pm->reload_issues);
        log_rejected(&pm->reload_issues, e);
        pm_note_reload(pm, e->message);
        pm_notify_reloaded(pm, e->message);
    } else {
        conf_log_apply(&pm->conf->v);
        pm_logger_check(pm);
        for (unsigned i = 0; i < pm->reload.n_pending; i++)
            log_event(LOG_LEVEL_LOG, LOG_EVENT_NEEDS_RESTART, NULL,
                      "parameter \"%s\" cannot be changed without restarting the server",
                      pm->reload.pending[i]);
        log_event(LOG_LEVEL_LOG, LOG_EVENT_CONFIG_APPLIED, NULL,
                  "configuration %u active, %u changed", pm->reload.generation,
                  pm->reload.n_changed);
        pm_note_reload(pm, NULL);
        tell_children(pm);
        pm_reconcile(pm); /* who is wanted may have changed */
        pm_notify_reloaded(pm, NULL);
    }
    pm_control_saw(pm, PM_SAW_RELOAD);
    return r;
}

int
pm_control_check(const struct pm *pm, struct conf_issues *issues, struct conf_diff *ret_diff,
                 struct err *e)
{
    CLEANUP(conf_done) struct conf next = { 0 };
    int r = conf_load(&pm->where, pm->params.conf_args, pm->params.n_conf_args, &next, issues, e);
    int r_rules = access_rules() != NULL ? access_check(pm->conf->v.hba_file, issues, e) : 0;

    *ret_diff = (struct conf_diff){ .n_changed = 0 };
    if (r == 0)
        conf_diff(pm->conf, &next, ret_diff);
    return r < 0 ? r : r_rules;
}
