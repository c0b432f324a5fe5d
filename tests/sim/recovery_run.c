/* One seed: rounds of work, crash, recovery (crashed as well), check. Runs in sim/recovery. */
#include "sim/recovery_run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "store/store_checkpoint.h"

#define FRAMES 64

static void
export_disk(struct sim *s)
{
    const char *dir = getenv("SIM_EXPORT");
    CLEANUP(closep) int fd = dir == NULL ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0)
        (void) io_sim_export(s->disk, fd);
}

void
sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void) fprintf(stderr, "seed %" PRIu64 ": ", s->seed);
    (void) vfprintf(stderr, fmt, ap);
    (void) fprintf(stderr, "\n");
    va_end(ap);
    export_disk(s);
    _exit(1);
}

static void
on_cut(void *arg)
{
    (void) arg;
    coro_crash("cut");
}

static void
on_call(void *arg)
{
    (void) arg;
    coro_maybe(3);
}

static bool
one_in(struct sim *s, uint64_t n)
{
    return rng_below(&s->rng, n) == 0;
}

/* The machine is gone, or only the processes are. */
static void
crash(struct sim *s)
{
    bool is_power = one_in(s, 2);

    if (s->verbose)
        (void) fprintf(stderr, "-- %s: %s\n", is_power ? "power cut" : "processes die", coro_why());
    cluster_forget(&s->cluster);
    fault_reset();
    io_sim_fail(s->disk, SIM_OTHER, "", 0, 0, 0);
    io_sim_set_space(s->disk, UINT64_MAX);
    io_sim_cut_after(s->disk, 0, NULL, NULL);
    if (is_power)
        io_sim_power_cut(s->disk);
    else
        io_sim_process_crash(s->disk);
}

/* What will go wrong in the next `calls` calls, if anything. */
static void
arm(struct sim *s, uint64_t calls, bool in_recovery)
{
    uint32_t after = (uint32_t) rng_below(&s->rng, 10);

    switch (rng_below(&s->rng, 10)) {
    case 0:
        io_sim_fail(s->disk, SIM_SYNC, "pg_wal", after, 1, EIO);
        break;
    case 1:
        io_sim_fail(s->disk, SIM_SYNC, "base", after, 1, EIO);
        break;
    case 2:
        io_sim_fail(s->disk, SIM_WRITE, "pg_wal", after, 1, EIO);
        break;
    case 3:
        fault_arm_any((unsigned) rng_below(&s->rng, calls), FAULT_DO_CRASH, 0);
        break;
    case 4:
        if (in_recovery) /* REDO-4 */
            io_sim_fail(s->disk, SIM_READ, "pg_wal", after, 1, EIO);
        else if (one_in(s, 2))
            io_sim_fail(s->disk, SIM_READ, "base", after, 1, EIO);
        else
            io_sim_set_space(s->disk, rng_below(&s->rng, 3 * CLUSTER_SEGSIZE));
        break;
    default:
        io_sim_cut_after(s->disk, 1 + rng_below(&s->rng, calls), on_cut, NULL);
        break;
    }
}

/* ---- recovery ---- */

static void
recover(void *arg)
{
    struct sim *s = arg;
    struct store_listed list[MODEL_DBS + 1];
    uint32_t n;

    s->result = cluster_recover(&s->cluster, list, ELEMENTSOF(list), &n, &s->info, &s->e);
    s->is_recovering = false;
}

/* The bgwriter, which starts when the startup process does: pages may be written at any time during
 * redo (REDO-3), also between the pages of a commit and its size. */
static void
write_during_recovery(void *arg)
{
    struct sim *s = arg;
    struct err e = ERR_INIT;

    while (s->is_recovering && !s->cluster.procs[0].is_attached)
        coro_switch();
    if (!s->is_recovering)
        return;
    if (cluster_attach(&s->cluster, 1, &e) < 0)
        sim_fail(s, "attach in recovery: %s", e.message);
    while (s->is_recovering) {
        (void) store_bgwriter_round(cluster_store(&s->cluster, 1), 64, &e);
        err_clear(&e); /* an error that was put there; the startup process meets its own */
        coro_switch();
    }
}

/* Until it has gone through; the first attempts may be cut. */
static void
recover_all(struct sim *s)
{
    for (uint32_t attempt = 0;; attempt++) {
        bool may_fail = attempt < 3 && one_in(s, 2);
        enum coro_end end;

        err_clear(&s->e);
        s->result = 0;
        coro_reset(rng_u64(&s->rng));
        if (may_fail)
            arm(s, one_in(s, 2) ? 20 : 100, true);
        s->is_recovering = true;
        coro_spawn(recover, s);
        if (s->seed % 4 == 3)
            coro_spawn(write_during_recovery, s);
        end = coro_run();
        if (end == CORO_STUCK)
            sim_fail(s, "recovery is stuck");
        if (end == CORO_DONE && s->result == 0)
            break;
        if (!may_fail)
            sim_fail(s, "recovery failed: %s: %s [%s] %s", coro_why(), s->e.message,
                     err_sqlstate(s->result), s->e.detail);
        s->stats->recovery_crashes++;
        s->was_clean = false;
        crash(s);
    }
    io_sim_fail(s->disk, SIM_OTHER, "", 0, 0, 0);
    io_sim_cut_after(s->disk, 0, NULL, NULL);
    fault_reset();
    coro_reset(rng_u64(&s->rng));
    coro_spawn(sim_check, s);
    if (coro_run() != CORO_DONE)
        sim_fail(s, "the check after recovery ended: %s", coro_why());
}

/* ---- work ---- */

static void
shut_down(void *arg)
{
    struct sim *s = arg;

    s->result = cluster_shutdown(&s->cluster, 0, &s->e);
}

static void
stop_clean(struct sim *s)
{
    for (uint32_t i = 1; i < CLUSTER_PROCS; i++)
        store_process_exit(cluster_store(&s->cluster, i));
    coro_reset(rng_u64(&s->rng));
    coro_spawn(shut_down, s);
    if (coro_run() != CORO_DONE || s->result < 0)
        sim_fail(s, "shutdown checkpoint failed: %s %s", coro_why(), s->e.message);
    s->was_clean = true;
    s->stats->clean_stops++;
}

static void
work(struct sim *s)
{
    enum coro_end end;

    for (uint32_t i = 1; i < CLUSTER_PROCS; i++)
        if (!s->cluster.procs[i].is_attached && cluster_attach(&s->cluster, i, &s->e) < 0)
            sim_fail(s, "attach: %s", s->e.message);
    coro_reset(rng_u64(&s->rng));
    arm(s, one_in(s, 2) ? 60 : s->many > 1 ? 6000 : 600, false);
    sim_spawn_procs(s);
    end = coro_run();
    if (end == CORO_STUCK)
        sim_fail(s, "nobody gets on");
    s->was_clean = false;
    if (end == CORO_CRASH)
        s->stats->panics += strncmp(coro_why(), "PANIC", 5) == 0;
    else if (one_in(s, 2)) {
        io_sim_fail(s->disk, SIM_OTHER, "", 0, 0, 0);
        io_sim_cut_after(s->disk, 0, NULL, NULL);
        io_sim_set_space(s->disk, UINT64_MAX);
        fault_reset();
        stop_clean(s);
    }
    s->stats->crashes++;
    crash(s);
}

/* Most runs are small; some fill segments, some have commits of more than WAL_GROUP_BYTES. */
static void
choose_taste(struct sim *s)
{
    s->taste = (struct model_taste){ .max_pages = 14, .noise = 1, .one_in = 3, .growth = 4 };
    s->many = 1;
    if (one_in(s, 8)) {
        s->taste.noise = 8;
        s->many = 6;
    } else if (one_in(s, 16)) {
        s->taste = (struct model_taste){
            .max_pages = MODEL_PAGES, .noise = 8, .one_in = 1, .growth = MODEL_PAGES
        };
        s->many = 2;
    }
}

void
sim_run(uint64_t seed, bool verbose, struct sim_stats *stats)
{
    static struct sim sim;
    struct sim *s = &sim;
    uint32_t rounds;

    *s = (struct sim){ .seed = seed, .verbose = verbose, .stats = stats };
    rng_init(&s->rng, seed);
    s->disk = io_sim_new(rng_u64(&s->rng));
    if (one_in(s, 2))
        io_sim_set_sector(s->disk, 4096);
    choose_taste(s);
    s->burns = one_in(s, 64);
    model_init(&s->model);
    cluster_make(&s->cluster, s->disk, s->taste.max_pages > 16 ? 4 * FRAMES : FRAMES);
    cluster_hook_crashes();
    fault_reset();
    if (cluster_init_disk(&s->cluster, &s->e) < 0)
        sim_fail(s, "init: %s", s->e.message);
    s->was_clean = true;
    io_sim_on_call(s->disk, on_call, NULL);
    rounds = 1 + (uint32_t) rng_below(&s->rng, 4);
    for (uint32_t i = 0; i < rounds; i++) {
        recover_all(s);
        work(s);
    }
    recover_all(s);
    export_disk(s);
    cluster_free(&s->cluster);
    io_sim_free(s->disk);
}
