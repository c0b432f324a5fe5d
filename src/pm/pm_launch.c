/* Forking. Runs in: postmaster (and, for the first lines, the child). Owns: nothing.
 * Source: postmaster.md 1.6, 2.6; pidfds as in systemd. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "pm/pm_int.h"

/* Ready for a new owner. Nobody else writes to it: it is free. */
static void
prepare_slot(struct pm *pm, const struct pm_child *c)
{
    struct slot *s;

    if (c->slot_idx < 0)
        return;
    s = segment_slot(pm->seg, c->slot_idx);
    memset(s, 0, sizeof *s);
    s->kind = c->kind;
    atomic_store_explicit(&s->state, SLOT_STARTING, memory_order_release);
}

static struct child_start
start_of(struct pm *pm, const struct pm_child *c, pid_t parent)
{
    struct pm_view v = pm_view(pm);
    bool is_client = c->kind == CHILD_BACKEND || c->kind == CHILD_DEAD_END;
    struct child_start start = {
        .kind = c->kind,
        .role = child_policies[c->kind].role,
        .slot_idx = c->slot_idx,
        .client_fd = is_client ? pm->client_fd : -1,
        .verdict = c->kind == CHILD_DEAD_END ? pm_fsm_verdict(&pm->m, &v) : CLIENT_OK,
        .is_stopping = pm->m.state >= PM_STOP_BACKENDS,
        .db_oid = c->kind == CHILD_AV_WORKER ? pm->worker_db : 0,
        .after_crash = pm->m.is_restart,
        .parent = parent,
        .log_read_fd = pm->logger.read_fd,
        .log_ack_fd = pm->logger.ack_fd,
        .segment = pm->seg,
        .keys = pm->keys,
        .n_keys = pm->n_slots,
        .conf = pm->conf,
        .conf_fd = pm->conf_fd,
        .data_dir = pm->where.data_dir,
    };

    return start;
}

/* In the child: nothing of the postmaster is used any more but its memory. */
NORETURN static void
run_child(struct pm *pm, const struct child_start *start)
{
    static struct child_start kept;

    kept = *start;
    if (kept.kind == CHILD_SYSLOGGER)
        pm_logger_in_child(pm, &kept);
    child_begin(&kept);
    if (kept.slot_idx < 0)
        kept.segment = NULL; /* unmapped */
    child_policies[kept.kind].main(&kept);
}

/* A child needs a descriptor of ours, by which we see its end: better not born than killed at once,
 * wherever it is by then. */
static int
check_descriptor(const struct pm *pm)
{
    int fd = fcntl(pm->lock.fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    (void) close(fd);
    return FAULT(PM_FORK);
}

static int
watch_child(struct pm *pm, struct pm_child *c, pid_t pid, struct err *e)
{
    int r = sd_event_add_child(pm->loop, &c->source, pid, WEXITED, pm_on_child_exit, c);

    if (r < 0) {
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        pm_child_lost(c);
        return err_set_errno(e, -r, "could not watch PID %d", (int) pid);
    }
    (void) sd_event_source_set_priority(c->source, PRIO_DEATH);
    return 0;
}

int
pm_launch(struct pm *pm, enum child_kind kind, struct err *e)
{
    struct pm_child *c = pm_child_free(pm, kind);
    struct child_start start;
    pid_t pid;
    int r;

    ASSERT(c != NULL);
    prepare_slot(pm, c);
    start = start_of(pm, c, getpid());
    if (kind == CHILD_BACKEND &&
        getrandom(&start.cancel_key, sizeof start.cancel_key, 0) != sizeof start.cancel_key)
        return ERR_ERRNO(e, "could not draw a cancel key");
    r = check_descriptor(pm);
    pid = r < 0 ? -1 : fork();
    if (pid == 0)
        run_child(pm, &start);
    if (pid < 0)
        return err_set_errno(e, r < 0 ? -r : errno, "could not fork %s",
                             child_policies[kind].description);
    r = watch_child(pm, c, pid, e);
    if (r < 0)
        return r;
    c->pid = pid;
    pm->pool[kind].n_alive++;
    if (kind == CHILD_BACKEND)
        pm->keys[c - pm->children] = (struct child_key){ pid, start.cancel_key };
    c->told = 0;
    c->started_usec = clock_mono_usec();
    c->progress = 0;
    c->moved_usec = c->started_usec;
    c->is_stalled = c->is_triggered = false;
    c->abort_usec = c->traced_usec = 0;
    c->is_in = c->is_shed = false;
    c->started_real_usec = clock_real_usec();
    if (kind == CHILD_SYSLOGGER)
        pm_logger_runs(pm);
    return 0;
}

void
pm_launch_worker(struct pm *pm)
{
    _Atomic uint32_t *asked = &segment_page(pm->seg)->worker_db;
    struct backoff *b = &pm->backoff[CHILD_AV_WORKER];
    usec_t now = clock_mono_usec();
    struct err e = ERR_INIT;
    int r;

    pm->worker_db = atomic_load_explicit(asked, memory_order_acquire);
    if (pm->worker_db == 0 || !backoff_is_due(b, now) || pm_child_free(pm, CHILD_AV_WORKER) == NULL)
        return;
    r = pm_launch(pm, CHILD_AV_WORKER, &e);
    if (r == 0) {
        atomic_store_explicit(asked, 0, memory_order_release);
        backoff_reset(b);
    } else if (backoff_fail(b, now, r)) {
        log_err(LOG_LEVEL_LOG, "", &e);
    }
}
