/* An attached child's handles. Runs in: every attached child. Owns: nothing but what the caller
 * gave. Source: SHM-1, SNAP-4. */
#include "proc/attach.h"

#include <errno.h>
#include <fcntl.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "proc/segment_int.h"

/* How often a waiting child looks whether the startup process is ready. */
#define READY_POLL_USEC (10 * USEC_PER_MSEC)

static void
on_exit_cb(void *arg)
{
    struct attached *a = arg;

    store_process_exit(&a->store); /* SNAP-4 */
    stat_process_exit(&a->stats);
}

/* In every wait, and by self_check(): a process that waits lives. */
static void
look(void *arg)
{
    struct slot *s = arg;

    child_poll(NULL);
    beat_alive(&s->beat);
}

static int
init_self(struct attached *a, const struct child_start *start, struct err *e)
{
    int dir_fd = open(start->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* until the end */

    a->start = start;
    a->slot = segment_slot(start->segment, start->slot_idx);
    self_init(&a->self, (uint32_t) start->slot_idx, a->slot);
    a->self.poll = look;
    a->self.poll_arg = a->slot;
    if (dir_fd < 0)
        return ERR_ERRNO(e, "could not open data directory \"%s\"", start->data_dir);
    io_real_init(&a->io, dir_fd);
    if (start->kind != CHILD_BACKEND && start->kind != CHILD_AV_WORKER)
        a->io.beat = &a->slot->beat;
    a->io.patience = (usec_t) start->conf->v.storage_stall_timeout;
    return 0;
}

/* What the handles keep copies of and a reload may change. */
static void
take_settings(void *arg)
{
    struct attached *a = arg;
    const struct conf_values *v = &a->start->conf->v;

    a->io.patience = (usec_t) v->storage_stall_timeout;
    a->store.cfg.max_wal_size = (uint64_t) v->max_wal_size;
    a->store.cfg.min_wal_size = (uint64_t) v->min_wal_size;
    a->store.cfg.completion_target = v->checkpoint_completion_target;
    a->store.cfg.snapshot_patience = (usec_t) v->snapshot_patience;
    a->cache.cfg.snapshot_patience = (usec_t) v->snapshot_patience;
}

/* A segment is finished and marked. */
static void
wake_archiver(void *arg)
{
    slot_request(attach_slot_of(arg, CHILD_ARCHIVER), REQ_WORK);
}

static int
make_handles(struct attached *a, struct err *e)
{
    const struct segment *seg = a->start->segment;
    struct shm_status *status = segment_status(seg);
    struct cache_ops ops;
    int r;

    wal_attach(&a->wal, shm_region(&seg->shm, REGION_WAL), &seg->wal_cfg, &a->io, &a->self, status);
    a->wal.on_durable = store_on_durable;
    a->wal.on_durable_arg = &a->cache;
    a->wal.on_finished = wake_archiver;
    a->wal.on_finished_arg = a;
    ops = store_cache_ops(&a->store);
    cache_attach(&a->cache, shm_region(&seg->shm, REGION_CACHE), &seg->cache_cfg, seg->over_map,
                 seg->over_fd, &a->self, &ops);
    r = store_attach(&a->store, shm_region(&seg->shm, REGION_STORE), &seg->store_cfg, &a->io,
                     &a->wal, &a->cache, &a->self, status, e);
    if (r < 0)
        return r;
    a->logins = shm_region(&seg->shm, REGION_LOGINS); /* zeros are valid */
    stat_attach(&a->stats, shm_region(&seg->shm, REGION_STATS), seg->max_procs, &a->self);
    child_on_exit(on_exit_cb, a);
    child_on_reload(take_settings, a);
    take_settings(a); /* the segment's are those of the start: a reload may have come since */
    return 0;
}

int
attach_first(struct attached *a, const struct child_start *start, struct err *e)
{
    const struct segment *seg = start->segment;
    struct shm_status *status = segment_status(seg);
    int r = init_self(a, start, e);

    if (r < 0)
        return r;
    wal_shm_init(shm_region(&seg->shm, REGION_WAL), &seg->wal_cfg);
    cache_shm_init(shm_region(&seg->shm, REGION_CACHE), &seg->cache_cfg);
    store_shm_init(shm_region(&seg->shm, REGION_STORE), &seg->store_cfg);
    atomic_store_explicit(&status->in_recovery, 1, memory_order_relaxed);
    r = make_handles(a, e);
    if (r < 0)
        return r;
    atomic_store_explicit(&status->ready, 1, memory_order_release);
    return 0;
}

int
attach_begin(struct attached *a, const struct child_start *start, struct err *e)
{
    struct shm_status *status = segment_status(start->segment);
    int r = init_self(a, start, e);

    while (r == 0 && atomic_load_explicit(&status->ready, memory_order_acquire) == 0) {
        uint32_t bits = attach_sleep(a, clock_mono_usec() + READY_POLL_USEC);

        if ((bits & (REQ_STOP | REQ_TERMINATE | REQ_FINISH)) != 0)
            return ERR(e, ADMIN_SHUTDOWN, "told to leave before recovery had begun");
    }
    return r < 0 ? r : make_handles(a, e);
}

void
attach_or_leave(struct attached *a, const struct child_start *start)
{
    struct err e = ERR_INIT;
    int r = attach_begin(a, start, &e);

    if (r == -ERR_ADMIN_SHUTDOWN)
        child_exit(CHILD_OK);
    if (r < 0)
        child_exit_err(CHILD_FATAL, &e);
}

void
attach_report(const struct err *e, const char *prefix, int *last_code)
{
    if (e->code != 0 && e->code != *last_code)
        log_err(LOG_LEVEL_WARNING, prefix, e);
    *last_code = e->code;
}

struct slot *
attach_slot_of(const struct attached *a, enum child_kind kind)
{
    int first;

    (void) segment_pool(a->start->segment, kind, &first);
    return segment_slot(a->start->segment, first);
}

uint32_t
attach_sleep(struct attached *a, usec_t deadline)
{
    for (;;) {
        uint32_t seen = atomic_load_explicit(&a->slot->wake, memory_order_acquire);
        uint32_t bits;

        child_poll(NULL);
        bits = atomic_load_explicit(&a->slot->request, memory_order_acquire);
        if (bits != 0)
            return bits;
        if (wait_sleep(&a->self, &a->slot->wake, seen, deadline, WAIT_MAIN, NULL) == WAIT_TIMED_OUT)
            return 0;
    }
}

uint32_t
attach_nap(struct attached *a, usec_t usec)
{
    uint32_t seen = atomic_load_explicit(&a->slot->wake, memory_order_acquire);

    child_poll(NULL);
    (void) wait_sleep(&a->self, &a->slot->wake, seen, clock_mono_usec() + usec, WAIT_MAIN, NULL);
    return atomic_load_explicit(&a->slot->request, memory_order_acquire);
}

bool
attach_in_recovery(const struct attached *a)
{
    return atomic_load_explicit(&segment_status(a->start->segment)->in_recovery,
                                memory_order_acquire) != 0;
}
