/* Simulation: the real prepare, commit, redo and checkpoint over a disk that loses, tears and
 * reorders, with power cuts at any call, also inside recovery. See README.md.
 *
 *     sim_recovery [--seed N | --seeds FROM TO] [--jobs N] [--verbose]
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "sim/recovery_run.h"

#define CHUNK 50 /* seeds per child: what a crash leaks goes with it */

#define JOBS_MAX 16

/* One child at a time per element. */
struct job {
    pid_t pid;     /* 0 = none */
    uint64_t seed; /* being run */
    struct sim_stats stats;
};

static struct job *jobs; /* shared */
static uint32_t n_jobs = 1;
static bool verbose;

static void
run_chunk(struct job *job, uint64_t from, uint64_t to)
{
    /* segments come and go: keep their memory */
    (void) mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void) mallopt(M_TRIM_THRESHOLD, 1 << 30);
    for (uint64_t seed = from; seed < to; seed++) {
        job->seed = seed;
        sim_run(seed, verbose, &job->stats);
    }
}

static struct job *
job_of(pid_t pid)
{
    for (uint32_t i = 0; i < n_jobs; i++)
        if (jobs[i].pid == pid)
            return &jobs[i];
    return NULL;
}

/* Wait for one child; true if all of its seeds passed. */
static bool
reap(void)
{
    int status = 0;
    pid_t pid = wait(&status);
    struct job *job = pid < 0 ? NULL : job_of(pid);

    if (job == NULL)
        return false;
    job->pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status))
        (void) fprintf(stderr, "seed %" PRIu64 ": signal %d\n", job->seed, WTERMSIG(status));
    return false;
}

/* A child for each chunk, n_jobs at once, until one fails. */
static bool
run_all(uint64_t from, uint64_t to)
{
    uint32_t n = 0;
    bool ok = true;

    while (n > 0 || (ok && from < to)) {
        struct job *job = job_of(0);
        uint64_t end = MIN(from + CHUNK, to);

        if (job == NULL || !ok || from >= to) {
            ok &= reap();
            n--;
            continue;
        }
        pid_t pid = fork();

        if (pid == 0) {
            run_chunk(job, from, end);
            exit(0);
        }
        if (pid < 0)
            return false;
        job->pid = pid; /* the child sees it too */
        from = end;
        n++;
    }
    return ok;
}

static void
print_result(uint64_t from, bool ok)
{
    struct sim_stats s = { 0 };
    uint64_t last = from;

    for (uint32_t i = 0; i < n_jobs; i++) {
        const struct sim_stats *j = &jobs[i].stats;

        last = MAX(last, jobs[i].seed);
        s.commits += j->commits;
        s.ddl += j->ddl;
        s.reads += j->reads;
        s.checkpoints += j->checkpoints;
        s.crashes += j->crashes;
        s.recovery_crashes += j->recovery_crashes;
        s.panics += j->panics;
        s.clean_stops += j->clean_stops;
    }
    (void) printf("seeds %" PRIu64 "..%" PRIu64 ": %s; commits %" PRIu64 ", ddl %" PRIu64
                  ", reads %" PRIu64 ", checkpoints %" PRIu64 ", crashes %" PRIu64
                  ", in recovery %" PRIu64 ", panics %" PRIu64 ", clean stops %" PRIu64 "\n",
                  from, last + 1, ok ? "ok" : "FAILED", s.commits, s.ddl, s.reads, s.checkpoints,
                  s.crashes, s.recovery_crashes, s.panics, s.clean_stops);
}

int
main(int argc, char **argv)
{
    uint64_t from = 0;
    uint64_t to = 1000;
    bool ok;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            from = strtoull(argv[++i], NULL, 0);
            to = from + 1;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            from = strtoull(argv[++i], NULL, 0);
            to = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
            n_jobs = (uint32_t) strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else
            n_jobs = 0;
    }
    if (n_jobs == 0 || n_jobs > JOBS_MAX) {
        (void) fprintf(stderr, "usage: sim_recovery [--seed N | --seeds FROM TO] [--jobs N] "
                               "[--verbose]\n");
        return 2;
    }
    log_init("sim", verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_PANIC);
    jobs = mmap(NULL, n_jobs * sizeof *jobs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                0);
    if (jobs == MAP_FAILED)
        return 2;
    ok = run_all(from, to);
    print_result(from, ok);
    return ok ? 0 : 1;
}
