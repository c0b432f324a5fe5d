/* Simulation with SQLite on top: sessions over a disk that loses, tears and reorders, power cuts at
 * any call, also inside recovery; CREATE and DROP DATABASE among it.
 *
 *     sql [--seed N | --seeds FROM TO] [--verbose]
 *
 * Each database counts its transactions in meta.n; what transaction n does to table m follows from
 * the database's number and n alone, so the content at n can be worked out. What was acknowledged
 * or shown outside a write transaction must be there after every crash. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "sim/sql_sim.h"
#include "vfs/vfs.h"
#include "wal/wal_boot.h"

#define CHUNK 20 /* seeds per child: what a crash leaks goes with it */

struct sql_sim sim;
struct sql_stats *stats;
struct conf conf;

void
sim_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void) fprintf(stderr, "seed %" PRIu64 ": ", sim.seed);
    (void) vfprintf(stderr, fmt, ap);
    (void) fprintf(stderr, "\n");
    va_end(ap);
    _exit(1);
}

/* ---- a round ---- */

static bool
one_in(uint64_t n)
{
    return rng_below(&sim.rng, n) == 0;
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
    coro_maybe(4);
}

static void
init_conf(struct proc *p, uint32_t no)
{
    *p = (struct proc){ .no = no };
    rng_init(&p->rng, rng_u64(&sim.rng));
    if (conf_session_init(&p->conf, &conf, true, &p->e) < 0)
        sim_fail("settings: %s", p->e.message);
}

static void
crash(void)
{
    if (sim.verbose)
        (void) fprintf(stderr, "-- %s\n", coro_why());
    cluster_forget(&sim.cluster);
    fault_reset();
    io_sim_fail(sim.disk, SIM_OTHER, "", 0, 0, 0);
    io_sim_cut_after(sim.disk, 0, NULL, NULL);
    if (one_in(2))
        io_sim_power_cut(sim.disk);
    else
        io_sim_process_crash(sim.disk);
}

static void
arm(uint64_t calls)
{
    uint32_t after = (uint32_t) rng_below(&sim.rng, 20);

    switch (rng_below(&sim.rng, 8)) {
    case 0:
        io_sim_fail(sim.disk, SIM_SYNC, "pg_wal", after, 1, EIO);
        break;
    case 1:
        io_sim_fail(sim.disk, SIM_WRITE, "base", after, 1, EIO);
        break;
    case 2:
        fault_arm_any((unsigned) rng_below(&sim.rng, calls), FAULT_DO_CRASH, 0);
        break;
    default:
        io_sim_cut_after(sim.disk, 1 + rng_below(&sim.rng, calls), on_cut, NULL);
        break;
    }
}

static void
work(void)
{
    static void (*const fns[CLUSTER_PROCS])(void *) = {
        checkpointer, background, client, client, client, client, client, ddl,
    };
    enum coro_end end;

    for (uint32_t i = 1; i < CLUSTER_PROCS; i++) {
        if (cluster_attach(&sim.cluster, i, &sim.e) < 0)
            sim_fail("attach: %s", sim.e.message);
    }
    coro_reset(rng_u64(&sim.rng));
    arm(one_in(2) ? 200 : 3000);
    sim.n_busy = 0;
    for (uint32_t i = 0; i < CLUSTER_PROCS; i++) {
        struct proc *p = &sim.procs[i];

        init_conf(p, i);
        if (i >= PROC_WRITER) {
            p->n_ops = (uint32_t) rng_below(&p->rng, i == PROC_DDL ? 6 : 16);
            sim.n_busy++;
        }
        coro_spawn(fns[i], p);
    }
    end = coro_run();
    if (end == CORO_STUCK)
        sim_fail("nobody gets on");
    stats->crashes++;
    crash();
}

/* ---- recovery and check ---- */

/* As the startup process does. */
static void
recover(void *arg)
{
    struct store *st = cluster_store(&sim.cluster, 0);
    struct store_listed *list = NULL;
    struct recover_info info;
    uint32_t n = 0;
    int r;

    (void) arg;
    cluster_fill(&sim.cluster);
    r = cluster_attach(&sim.cluster, 0, &sim.e);
    if (r == 0)
        r = store_recover(st, NULL, NULL, &info, &sim.e);
    if (r == 0)
        r = catalog_list_files(st, &list, &n, &sim.e);
    if (r == 0)
        r = store_recover_finish(st, list, n, &info, &sim.e);
    free(list);
    sim.result = r;
}

static int
count_dirs(void *arg, const char *name, bool is_dir)
{
    (void) name;
    *(uint32_t *) arg += is_dir;
    return 0;
}

/* One database after recovery. */
static void
check_db(struct proc *p, struct catalog *c, uint32_t db, uint32_t *n_there)
{
    struct store *st = cluster_store(&sim.cluster, p->no);
    struct session_cfg cfg = { .store = st, .conf = &p->conf };
    struct sim_db *d = &sim.dbs[db];
    int64_t n = N_UNKNOWN;
    int r = catalog_find_db(c, d->name, &cfg.db, &p->e);

    if (r == CATALOG_NONE) {
        if (d->is_made && !d->may_be_gone)
            sim_fail("database %s is lost", d->name);
        d->is_gone = d->may_be_gone = true;
        d->may_be_made = d->is_made = false;
        return;
    }
    if (d->is_gone || !d->may_be_made)
        sim_fail("database %s came back", d->name);
    ++*n_there;
    d->is_made = true;
    d->may_be_gone = false;
    p->db = db;
    r = catalog_login(c, "sim", d->name, &cfg.role, &cfg.db, &cfg.db_idx, &p->e);
    if (r == 0)
        r = session_open(&cfg, &p->session, &p->e);
    if (r == 0)
        r = read_all(p, &n);
    if (r < 0)
        sim_fail("database %s after recovery: %s [%s] %s", d->name, p->e.message, err_sqlstate(r),
                 p->e.detail);
    if (n < d->promised)
        sim_fail("database %s is at %" PRId64 ", promised was %" PRId64, d->name, n, d->promised);
    d->promised = n;
    if (run(p, "PRAGMA integrity_check") < 0 || strcmp(p->out, "ok|") != 0)
        sim_fail("database %s: %s %s", d->name, p->out, p->e.message);
    leave(p);
    stats->checked++;
}

static void
check(void *arg)
{
    struct proc *p = &sim.procs[0];
    uint32_t n_there = 1, n_dirs = 0; /* the catalogue is one */
    struct catalog *c;

    (void) arg;
    init_conf(p, 0);
    if (catalog_open(cluster_store(&sim.cluster, 0), &c, &p->e) < 0)
        sim_fail("catalogue: %s", p->e.message);
    for (uint32_t i = 0; i < sim.n_dbs; i++)
        check_db(p, c, i, &n_there);
    catalog_close(c);
    (void) io_list(io_sim_io(sim.disk), "base", count_dirs, &n_dirs);
    if (n_dirs != n_there) /* FILE-6 */
        sim_fail("%u directories below base, %u databases", n_dirs, n_there);
}

static void
recover_all(void)
{
    for (uint32_t attempt = 0;; attempt++) {
        bool may_fail = attempt < 2 && one_in(3);
        enum coro_end end;

        err_clear(&sim.e);
        sim.result = 0;
        coro_reset(rng_u64(&sim.rng));
        if (may_fail)
            arm(one_in(2) ? 20 : 100);
        coro_spawn(recover, NULL);
        end = coro_run();
        if (end == CORO_STUCK)
            sim_fail("recovery is stuck");
        if (end == CORO_DONE && sim.result == 0)
            break;
        if (!may_fail)
            sim_fail("recovery failed: %s: %s [%s] %s", coro_why(), sim.e.message,
                     err_sqlstate(sim.result), sim.e.detail);
        stats->recovery_crashes++;
        crash();
    }
    io_sim_fail(sim.disk, SIM_OTHER, "", 0, 0, 0);
    io_sim_cut_after(sim.disk, 0, NULL, NULL);
    fault_reset();
    coro_reset(rng_u64(&sim.rng));
    coro_spawn(check, NULL);
    if (coro_run() != CORO_DONE)
        sim_fail("the check after recovery ended: %s", coro_why());
}

/* ---- a seed ---- */

static void
init_disk(void)
{
    struct io *io = io_sim_io(sim.disk);
    int r = cluster_init_dirs(io);

    if (r == 0)
        r = catalog_init(io, "sim", CLUSTER_SEGSIZE, &sim.e);
    if (r == 0)
        r = cluster_init_log(io, &sim.e);
    if (r < 0)
        sim_fail("init: %s", sim.e.message);
}

static void
run_seed(uint64_t seed, bool verbose)
{
    uint32_t rounds;

    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    sim.verbose = verbose;
    stats->seed = seed;
    rng_init(&sim.rng, seed);
    sim.disk = io_sim_new(rng_u64(&sim.rng));
    if (one_in(2))
        io_sim_set_sector(sim.disk, 4096);
    cluster_make(&sim.cluster, sim.disk, one_in(2) ? 128 : 512);
    cluster_hook_crashes();
    fault_reset();
    init_disk();
    sim.dbs[0] = (struct sim_db){
        .name = "postgres", .is_made = true, .may_be_made = true, .promised = N_UNKNOWN
    };
    sim.n_dbs = 1;
    io_sim_on_call(sim.disk, on_call, NULL);
    rounds = 1 + (uint32_t) rng_below(&sim.rng, 4);
    for (uint32_t i = 0; i < rounds; i++) {
        recover_all();
        work();
    }
    recover_all();
    cluster_free(&sim.cluster);
    io_sim_free(sim.disk);
}

static bool
run_forked(uint64_t from, uint64_t to, bool verbose)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct err e = ERR_INIT;

        if (vfs_register("/tmp", &e) < 0 || conf_init(&conf, &e) < 0 ||
            conf_put(&conf, CONF_session_memory_limit, "2GB", CONF_FROM_ARGS, &e) < 0)
            sim_fail("%s", e.message);
        for (uint64_t seed = from; seed < to; seed++) {
            /* In half of them SQLite keeps seven pages: it spills and reads back all the time. */
            if (conf_put(&conf, CONF_work_mem, seed % 2 == 0 ? "64kB" : "4MB", CONF_FROM_ARGS, &e) <
                0)
                sim_fail("%s", e.message);
            run_seed(seed, verbose);
        }
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return false;
    if (WIFSIGNALED(status))
        (void) fprintf(stderr, "seed %" PRIu64 ": signal %d\n", stats->seed, WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int
main(int argc, char **argv)
{
    uint64_t from = 0, to = 100;
    bool verbose = false, ok = true;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            from = strtoull(argv[++i], NULL, 0);
            to = from + 1;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            from = strtoull(argv[++i], NULL, 0);
            to = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
        } else {
            (void) fprintf(stderr, "usage: sql [--seed N | --seeds FROM TO] [--verbose]\n");
            return 2;
        }
    }
    log_init("sim", verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_PANIC);
    stats = mmap(NULL, sizeof *stats, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (stats == MAP_FAILED)
        return 2;
    for (uint64_t seed = from; seed < to && ok; seed += CHUNK)
        ok = run_forked(seed, MIN(seed + CHUNK, to), verbose);
    (void) printf("seeds %" PRIu64 "..%" PRIu64 ": %s; commits %" PRIu64 ", reads %" PRIu64
                  ", vacuums %" PRIu64 ", databases made %" PRIu64 ", dropped %" PRIu64
                  ", crashes %" PRIu64 ", in recovery %" PRIu64 ", databases checked %" PRIu64 "\n",
                  from, stats->seed + 1, ok ? "ok" : "FAILED", stats->commits, stats->reads,
                  stats->vacuums, stats->creates, stats->drops, stats->crashes,
                  stats->recovery_crashes, stats->checked);
    return ok ? 0 : 1;
}
