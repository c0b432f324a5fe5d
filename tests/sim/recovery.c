/* Simulation: the real prepare, commit, redo and checkpoint over a disk that loses, tears and
 * reorders, with power cuts at any call, also inside recovery. See README.md.
 *
 *     recovery [--seed N | --seeds FROM TO] [--verbose]
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

struct shared {
    uint64_t seed; /* being run */
    struct sim_stats stats;
};

static struct shared *shared;
static bool verbose;

static void
run_chunk(uint64_t from, uint64_t to)
{
    /* segments come and go: keep their memory */
    (void) mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void) mallopt(M_TRIM_THRESHOLD, 1 << 30);
    for (uint64_t seed = from; seed < to; seed++) {
        shared->seed = seed;
        sim_run(seed, verbose, &shared->stats);
    }
}

/* True if all seeds passed. */
static bool
run_forked(uint64_t from, uint64_t to)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        run_chunk(from, to);
        exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return false;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status))
        (void) fprintf(stderr, "seed %" PRIu64 ": signal %d\n", shared->seed, WTERMSIG(status));
    return false;
}

int
main(int argc, char **argv)
{
    uint64_t from = 0;
    uint64_t to = 1000;
    bool ok = true;
    const struct sim_stats *s;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            from = strtoull(argv[++i], NULL, 0);
            to = from + 1;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            from = strtoull(argv[++i], NULL, 0);
            to = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else {
            (void) fprintf(stderr, "usage: recovery [--seed N | --seeds FROM TO] [--verbose]\n");
            return 2;
        }
    }
    log_init("sim", verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_PANIC);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    for (uint64_t seed = from; seed < to && ok; seed += CHUNK)
        ok = run_forked(seed, seed + CHUNK < to ? seed + CHUNK : to);
    s = &shared->stats;
    (void) printf("seeds %" PRIu64 "..%" PRIu64 ": %s; commits %" PRIu64 ", ddl %" PRIu64
                  ", reads %" PRIu64 ", checkpoints %" PRIu64 ", crashes %" PRIu64
                  ", in recovery %" PRIu64 ", panics %" PRIu64 ", clean stops %" PRIu64 "\n",
                  from, shared->seed + 1, ok ? "ok" : "FAILED", s->commits, s->ddl, s->reads,
                  s->checkpoints, s->crashes, s->recovery_crashes, s->panics, s->clean_stops);
    return ok ? 0 : 1;
}
