/* Signs of life of the children, and what follows if there are none: the child first, the service
 * manager last. Runs in: postmaster. Owns: what was seen of each child, what is said of a stall.
 * Source: systemd-ops.md 3.7. */
#include "pm/pm_beat.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pm/pm_int.h"
#include "shm/wait.h"

#define ABORT_USEC (5 * USEC_PER_SEC) /* from SIGABRT to SIGKILL */

/* ---- the decision ---- */
static enum pm_beat_verdict
judge_told(const struct pm_beat_view *v, const struct pm_beat_limits *l, usec_t now)
{
    usec_t ago = now - v->abort_usec;

    if (ago < ABORT_USEC)
        return BEAT_DYING;
    return ago < ABORT_USEC + l->silence || v->is_in_kernel ? BEAT_STUBBORN : BEAT_UNKILLABLE;
}

static usec_t
since(usec_t now, usec_t then)
{
    return now > then ? now - then : 0;
}

enum pm_beat_verdict
pm_beat_judge(const struct pm_beat_view *v, const struct pm_beat_limits *l, usec_t now,
              usec_t *ret_silent)
{
    /* A declared call is silence with leave; when that is over the clock begins. */
    usec_t excused = MIN(v->deadline_usec, now);
    usec_t silent = since(now, MAX(v->last_usec, excused));
    usec_t still = since(now, MAX(v->moved_usec, excused));
    /* Who waits, or is less needed, is never judged sooner than who works. */
    usec_t patience = MAX(l->patience, l->silence);
    usec_t most_silent = v->is_critical ? l->silence : patience;
    usec_t most_still = v->is_critical && !v->is_waiting ? 2 * l->silence : patience;
    bool is_late = silent >= most_silent || (!v->is_idle && still >= most_still);

    *ret_silent =
        v->call_usec != 0 ? since(now, v->call_usec) : MAX(silent, v->is_idle ? 0 : still);
    if (v->abort_usec != 0)
        return judge_told(v, l, now);
    if (l->silence == 0)
        return BEAT_HEALTHY;
    if (v->deadline_usec > now)
        return *ret_silent >= l->silence ? BEAT_STALLED : BEAT_HEALTHY;
    if (!is_late)
        return BEAT_HEALTHY;
    return v->is_in_kernel ? BEAT_STALLED : BEAT_STUCK;
}

/* ---- looking ---- */
usec_t
pm_beat_age(const struct pm_child *c, usec_t now)
{
    const struct beat *b = &segment_slot(c->pm->seg, c->slot_idx)->beat;

    return since(now, MAX(peek64(&b->last_usec), c->started_usec));
}

/* Values of a child are shown and compared, not trusted: at worst it is ended. */
static struct pm_beat_view
view_of(const struct pm *pm, struct pm_child *c, usec_t now)
{
    const struct slot *s = segment_slot(pm->seg, c->slot_idx);
    uint32_t wait = atomic_load_explicit(&s->wait_event, memory_order_relaxed);
    uint32_t call = atomic_load_explicit(&s->beat.call, memory_order_acquire);
    uint64_t progress = peek64(&s->beat.progress);
    usec_t from = MAX(MAX(c->started_usec, c->traced_usec), pm->beats_from_usec);

    if (progress != c->progress) {
        c->progress = progress;
        c->moved_usec = now;
    }
    return (struct pm_beat_view){
        .last_usec = MAX(peek64(&s->beat.last_usec), from),
        .moved_usec = MAX(c->moved_usec, from),
        .call_usec = call != BEAT_NO_CALL ? peek64(&s->beat.since_usec) : 0,
        .deadline_usec = call != BEAT_NO_CALL ? peek64(&s->beat.deadline_usec) : 0,
        .abort_usec = c->abort_usec,
        .is_idle = wait == WAIT_MAIN,
        .is_waiting = wait != WAIT_NONE,
        .is_critical = child_policies[c->kind].life == LIFE_STRICT,
    };
}

/* One word of /proc/PID/NAME, or "". */
static void
read_proc(pid_t pid, const char *name, char *p, size_t n)
{
    char path[60];
    FILE *f;

    p[0] = '\0';
    (void) snprintf(path, sizeof path, "/proc/%d/%s", (int) pid, name);
    f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fgets(p, (int) n, f) == NULL)
        p[0] = '\0';
    (void) fclose(f);
}

/* The letter of its state; 'D': it sleeps in the kernel and no signal would be delivered. */
static char
state_of(pid_t pid)
{
    char text[200];
    const char *end;

    read_proc(pid, "stat", text, sizeof text);
    end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' ? end[2] : '?';
}

/* ---- telling ---- */
/* "fsync of base/5/5", as far as it can be found out. */
static void
name_call(const struct pm *pm, const struct pm_child *c, char *p, size_t n)
{
    static const char *const names[BEAT_CALLS] = { [BEAT_NO_CALL] = "a system call",
                                                   [BEAT_FSYNC] = "fsync",
                                                   [BEAT_READ] = "read",
                                                   [BEAT_WRITE] = "write",
                                                   [BEAT_ALLOCATE] = "allocation" };
    const struct beat *b = &segment_slot(pm->seg, c->slot_idx)->beat;
    uint32_t call = atomic_load_explicit(&b->call, memory_order_acquire);
    int fd = atomic_load_explicit(&b->fd, memory_order_relaxed);
    size_t dir = strlen(pm->where.data_dir);
    char link[60];
    char file[200];
    ssize_t got = -1;

    if (call != BEAT_NO_CALL && call < BEAT_CALLS && fd >= 0) {
        (void) snprintf(link, sizeof link, "/proc/%d/fd/%d", (int) c->pid, fd);
        got = readlink(link, file, sizeof file - 1);
    }
    file[MAX(got, 0)] = '\0';
    if (got > 0 && strncmp(file, pm->where.data_dir, dir) == 0 && file[dir] == '/')
        memmove(file, file + dir + 1, strlen(file + dir + 1) + 1);
    (void) snprintf(p, n, got > 0 ? "%s of %.60s" : "%s",
                    names[call < BEAT_CALLS ? call : BEAT_NO_CALL], file);
}

static void
ask_for_restart(const struct pm *pm)
{
    static const char setting[] = "restart_on_storage_stall is on";
    int r = sd_notifyf(0, "STATUS=Fatal: %s\nWATCHDOG=trigger", pm->stall_text);

    if (r > 0)
        log_event(LOG_LEVEL_WARNING, LOG_EVENT_WATCHDOG_WITHHELD, NULL,
                  "%s: the service manager is asked to restart the server", setting);
    else if (r == 0)
        log_msg(LOG_LEVEL_WARNING,
                "%s, but the server goes on waiting: no service manager has started it", setting);
    else
        log_msg(LOG_LEVEL_WARNING,
                "%s, but the server goes on waiting: could not ask the service manager: %s",
                setting, strerrordesc_np(-r));
}

static void
tell_stall(struct pm *pm, struct pm_child *c, usec_t age)
{
    struct pm_child_fields f;
    char call[100];

    name_call(pm, c, call, sizeof call);
    (void) snprintf(pm->stall_text, sizeof pm->stall_text, "storage stalled for %.0f s in %s (%s)",
                    (double) age / 1e6, call, child_policies[c->kind].role);
    if (!c->is_stalled) {
        pm_child_fields(c, &f);
        log_event(LOG_LEVEL_WARNING, LOG_EVENT_STORAGE_STALL, f.list,
                  "storage has stalled for %.0f s in %s of %s (PID %d)", (double) age / 1e6, call,
                  child_policies[c->kind].description, (int) c->pid);
    }
    c->is_stalled = true;
    if (!pm->conf->v.restart_on_storage_stall || c->is_triggered ||
        age < (usec_t) pm->conf->v.storage_stall_timeout)
        return;
    c->is_triggered = true;
    ask_for_restart(pm);
}

static void
tell_stuck(struct pm *pm, struct pm_child *c, usec_t age)
{
    struct err e = ERR_INIT;
    struct pm_child_fields f;
    char call[100];
    char where[80];

    name_call(pm, c, call, sizeof call);
    read_proc(c->pid, "wchan", where, sizeof where);
    pm_child_fields(c, &f);
    (void) ERR(&e, SYSTEM_ERROR, "%s (PID %d) has shown no progress for %.0f s",
               child_policies[c->kind].description, (int) c->pid, (double) age / 1e6);
    err_detail(&e, "State %c, last seen in %s, kernel function %s. It is ended with SIGABRT.",
               state_of(c->pid), call, where[0] != '\0' ? where : "unknown");
    log_err_event(LOG_LEVEL_WARNING, LOG_EVENT_CHILD_STUCK, f.list, "", &e);
}

/* ---- acting ---- */
static void
look_at(struct pm *pm, struct pm_child *c, usec_t now)
{
    const struct pm_beat_limits limits = { .silence = (usec_t) pm->conf->v.progress_timeout,
                                           .patience = (usec_t) pm->conf->v.storage_stall_timeout };
    struct pm_beat_view v = view_of(pm, c, now);
    usec_t age;
    enum pm_beat_verdict verdict = pm_beat_judge(&v, &limits, now, &age);

    if (verdict != BEAT_HEALTHY && verdict != BEAT_DYING) { /* that costs a look into /proc */
        char state = state_of(c->pid);

        if (state == 't' && c->abort_usec == 0) { /* a debugger holds it: somebody knows */
            c->traced_usec = now;
            return;
        }
        v.is_in_kernel = state == 'D';
        if (state == 'T') /* stopped in the middle of a call: that is not the storage's fault */
            v.call_usec = v.deadline_usec = 0;
        verdict = pm_beat_judge(&v, &limits, now, &age);
    }
    if (verdict != BEAT_STALLED && c->is_stalled) {
        c->is_stalled = c->is_triggered = false;
        log_msg(LOG_LEVEL_LOG, "storage answers %s (PID %d) again",
                child_policies[c->kind].description, (int) c->pid);
    }
    switch (verdict) {
    case BEAT_HEALTHY:
    case BEAT_DYING:
        break;
    case BEAT_STALLED:
        tell_stall(pm, c, age);
        break;
    case BEAT_STUCK:
        tell_stuck(pm, c, age);
        c->abort_usec = now;
        pm_child_signal(c, SIGABRT); /* a core, then the crash cycle; */
        pm_child_signal(c, SIGCONT); /* a stopped process takes it only now */
        break;
    case BEAT_UNKILLABLE:
        pm->has_unkillable = true;
        break;
    case BEAT_STUBBORN:
        pm_child_signal(c, SIGKILL);
        break;
    }
}

void
pm_beat_look(struct pm *pm, usec_t now)
{
    /* We stood still ourselves, as they may have: nobody is judged by what was before. */
    if (now - pm->beats_usec > 2 * pm->tick_usec)
        pm->beats_from_usec = now;
    pm->beats_usec = now;
    pm->has_unkillable = false;
    pm->stall_text[0] = '\0';
    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        struct pm_child *c = &pm->children[pm->pool[k].first];

        if (child_policies[k].life != LIFE_UNWATCHED && c->slot_idx >= 0 && c->pid != 0 &&
            c->told != SIGQUIT && c->told != SIGKILL)
            look_at(pm, c, now);
    }
}
