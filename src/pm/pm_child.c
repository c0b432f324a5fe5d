/* The table of children. Runs in: postmaster. Owns: the slots, each child's pidfd.
 * Source: postmaster.md 1.3, 1.6, 1.7; pools after PostgreSQL 18's pmchild.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pm/pm_int.h"

static bool
was_told_to_quit(const struct pm_child *c)
{
    return c->told == SIGQUIT || c->told == SIGKILL;
}

int
pm_children_init(struct pm *pm, struct err *e)
{
    unsigned n = 0;
    int first_slot[CHILD_KINDS];

    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        pm->pool[k].first = n;
        pm->pool[k].n = segment_pool(pm->seg, k, &first_slot[k]);
        n += pm->pool[k].n;
    }
    pm->children = calloc(n, sizeof *pm->children);
    pm->keys = calloc(n, sizeof *pm->keys);
    if (pm->children == NULL || pm->keys == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    pm->n_slots = n;
    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        for (unsigned i = 0; i < pm->pool[k].n; i++) {
            struct pm_child *c = &pm->children[pm->pool[k].first + i];

            c->pm = pm;
            c->kind = k;
            c->slot_idx = first_slot[k] < 0 ? -1 : first_slot[k] + (int) i;
        }
    }
    return 0;
}

void
pm_children_done(struct pm *pm)
{
    for (unsigned i = 0; i < pm->n_slots; i++)
        (void) sd_event_source_disable_unref(pm->children[i].source);
    free(pm->children);
    free(pm->keys);
    pm->children = NULL;
    pm->keys = NULL;
    pm->n_slots = 0;
}

struct pm_child *
pm_child_free(struct pm *pm, enum child_kind kind)
{
    for (unsigned i = 0; i < pm->pool[kind].n; i++) {
        struct pm_child *c = &pm->children[pm->pool[kind].first + i];

        if (c->pid == 0)
            return c;
    }
    return NULL;
}

unsigned
pm_child_count(const struct pm *pm, enum child_kind kind)
{
    return pm->pool[kind].n_alive;
}

/* ---- signals ---- */
void
pm_child_signal(struct pm_child *c, int signal)
{
    int r = sd_event_source_send_child_signal(c->source, signal, NULL, 0);

    /* A command that it runs, which is in its process group, goes with it. Not reaped yet, so the
     * number is still its own. */
    if ((signal == SIGQUIT || signal == SIGKILL) &&
        (c->kind == CHILD_ARCHIVER || c->kind == CHILD_STARTUP))
        (void) kill(-c->pid, signal);

    if (r < 0 && r != -ESRCH)
        log_msg(LOG_LEVEL_WARNING, "could not send signal %d to PID %d: %s", signal, (int) c->pid,
                strerrordesc_np(-r));
    /* A futex wake is no lock: the child looks at its signals at once and not within 100 ms. */
    if (c->slot_idx >= 0)
        slot_wake(segment_slot(c->pm->seg, c->slot_idx));
}

/* A smart stop waits for clients; whoever was told to leave is waited for. */
static bool
is_waited_for(const struct pm *pm, const struct pm_child *c)
{
    if (c->pid == 0)
        return false;
    return pm->m.state > PM_RUN ? c->told != 0
                                : pm->m.stop != PM_STOP_NONE && c->kind == CHILD_BACKEND;
}

void
pm_child_names(const struct pm *pm, char *p, size_t n)
{
    unsigned n_named = 0;
    unsigned n_left = 0;
    size_t at = 0;

    (void) snprintf(p, n, "nobody");
    for (unsigned i = 0; i < pm->n_slots; i++) {
        const struct pm_child *c = &pm->children[i];

        if (!is_waited_for(pm, c))
            continue;
        if (n_left > 0 || at + 60 > n) {
            n_left++;
            continue;
        }
        at += (size_t) snprintf(p + at, n - at, "%s%s %d", n_named++ > 0 ? ", " : "",
                                child_policies[c->kind].role, (int) c->pid);
    }
    if (n_left > 0)
        (void) snprintf(p + at, n - at, " and %u others", n_left);
}

/* ---- for the journal ---- */
void
pm_child_fields(const struct pm_child *c, struct pm_child_fields *f)
{
    (void) snprintf(f->pid, sizeof f->pid, "PINION_CHILD_PID=%d", (int) c->pid);
    (void) snprintf(f->object, sizeof f->object, "OBJECT_PID=%d", (int) c->pid);
    (void) snprintf(f->role, sizeof f->role, "PINION_CHILD_ROLE=%s", child_policies[c->kind].role);
    f->end[0] = '\0';
    memcpy(f->list, (const char *[]){ f->pid, f->object, f->role, NULL, NULL }, sizeof f->list);
}

/* ---- deaths ---- */
enum exit_class
child_classify(const struct pm_child *c, const siginfo_t *si, bool is_slot_taken)
{
    const struct child_policy *k = &child_policies[c->kind];

    if (!k->is_attached)
        return EXIT_DONE; /* it maps nothing, so it can have harmed nothing */
    if (is_slot_taken || si->si_code != CLD_EXITED)
        return EXIT_CRASH; /* PM-4: memory may be half-written, whatever the status says */
    if (si->si_status == CHILD_OK)
        return k->on_exit0;
    if (si->si_status == CHILD_FATAL)
        return k->on_exit1;
    if (c->kind == CHILD_STARTUP && si->si_status == CHILD_TARGET)
        return EXIT_STARTUP;
    return EXIT_CRASH;
}

/* Which event the machine hears. */
static enum pm_event
event_of(const struct pm_child *c, const siginfo_t *si, bool is_slot_taken, enum exit_class class)
{
    if (c->kind == CHILD_STARTUP) {
        if (was_told_to_quit(c) || (c->told == SIGTERM && class == EXIT_STARTUP))
            return EV_CHILD_GONE;
        if (class == EXIT_STARTUP && si->si_status == CHILD_OK)
            return EV_STARTUP_DONE;
        if (class == EXIT_STARTUP && si->si_status == CHILD_TARGET)
            return EV_STARTUP_TARGET;
        return EV_STARTUP_FAILED;
    }
    if (was_told_to_quit(c))
        return EV_CHILD_GONE;
    if (c->kind == CHILD_CHECKPOINTER && si->si_code == CLD_EXITED && si->si_status == CHILD_OK &&
        !is_slot_taken)
        return EV_CHECKPOINTER_LEFT;
    return class == EXIT_CRASH ? EV_CHILD_CRASHED : EV_CHILD_GONE;
}

static void
log_death(struct pm *pm, const struct pm_child *c, const siginfo_t *si)
{
    char text[120];
    struct pm_child_fields f;

    if (si->si_code == CLD_EXITED)
        (void) snprintf(text, sizeof text, "exited with exit code %d", si->si_status);
    else
        (void) snprintf(text, sizeof text, "was terminated by signal %d: %s", si->si_status,
                        strsignal(si->si_status));
    pm_child_fields(c, &f);
    (void) snprintf(f.end, sizeof f.end, "%s=%d",
                    si->si_code == CLD_EXITED ? "PINION_EXIT_CODE" : "PINION_SIGNAL",
                    si->si_status);
    f.list[3] = f.end;
    (void) snprintf(pm->last_crash, sizeof pm->last_crash, "%s %d %s", child_policies[c->kind].role,
                    (int) c->pid, text);
    log_event(LOG_LEVEL_LOG, LOG_EVENT_CHILD_CRASHED, f.list, "%s (PID %d) %s",
              child_policies[c->kind].description, (int) c->pid, text);
}

/* The slot goes back to its pool. Was the child still attached? */
static bool
release_slot(struct pm *pm, struct pm_child *c)
{
    struct slot *s;
    bool is_taken;

    if (c->slot_idx < 0)
        return false;
    s = segment_slot(pm->seg, c->slot_idx);
    is_taken = atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_ATTACHED;
    atomic_store_explicit(&s->pid, 0, memory_order_relaxed);
    atomic_store_explicit(&s->state, SLOT_FREE, memory_order_release);
    return is_taken;
}

void
pm_child_lost(struct pm_child *c)
{
    if (release_slot(c->pm, c))
        pm_event(c->pm, EV_CHILD_CRASHED);
}

int
pm_on_child_exit(sd_event_source *s, const siginfo_t *si, void *arg)
{
    struct pm_child *c = arg;
    struct pm *pm = c->pm;
    bool is_taken = release_slot(pm, c);
    pid_t pid = c->pid;
    enum exit_class class = child_classify(c, si, is_taken);
    enum pm_event ev = event_of(c, si, is_taken, class);
    usec_t now = clock_mono_usec();
    bool is_abrupt = pm->m.is_crash || pm->m.stop == PM_STOP_IMMEDIATE;
    bool is_early = ev == EV_CHECKPOINTER_LEFT && pm->m.state != PM_WAIT_CHECKPOINTER;

    (void) s;
    if (ev == EV_CHILD_CRASHED || ev == EV_STARTUP_FAILED || is_early) {
        if (!is_abrupt) {
            log_death(pm, c, si);
            pm_note_crash(pm);
        }
    } else if (!is_abrupt && c->kind == CHILD_DEAD_END && si->si_code != CLD_EXITED &&
               !was_told_to_quit(c)) {
        log_death(pm, c, si);
    } else if (class == EXIT_RESTART && si->si_status != CHILD_OK && c->kind != CHILD_SYSLOGGER &&
               !is_abrupt) {
        log_msg(LOG_LEVEL_LOG, "%s (PID %d) exited with exit code 1",
                child_policies[c->kind].description, (int) c->pid);
    } else {
        log_msg(LOG_LEVEL_DEBUG, "%s (PID %d) is gone, status %d", child_policies[c->kind].role,
                (int) c->pid, si->si_status);
    }
    if (class == EXIT_RESTART || c->kind == CHILD_SYSLOGGER)
        backoff_left(&pm->backoff[c->kind], c->started_usec, now);
    pm->is_retired[c->kind] = class == EXIT_RETIRE;
    pm->keys[c - pm->children] = (struct child_key){ 0 };
    pm->pool[c->kind].n_alive--;
    c->pid = 0;
    c->told = 0;
    c->source = sd_event_source_disable_unref(c->source);
    pm_event(pm, ev);
    pm_crowd_look(pm);
    if (c->kind == CHILD_SYSLOGGER) /* K17: first the next one, then what happened */
        pm_logger_died(c, pid, si);
    return 0;
}
