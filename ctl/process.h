/* Other programs: finding piniond, running it and systemctl, waiting for processes. */
#pragma once

#include <sys/types.h>

#include "util.h"

/* The path of piniond: $PINIOND, beside this program in a build tree, the configured place. Returns
 * 0, or CTL_FAILED. */
int process_find_server(char *to, size_t cap, struct problem *p);

/* Start argv detached (new session, stdin from /dev/null, output appended to log_file, or standard
 * error kept and standard output dropped if NULL). Returns 0 with the pid and a pidfd, or
 * CTL_FAILED. */
int process_spawn_server(const char *const *argv, const char *log_file, pid_t *ret_pid,
                         int *ret_pidfd, struct problem *p);

/* Run argv and wait. `output` (or NULL) takes its standard output. Returns its exit status, 128 +
 * signal, or -1 if it could not be run. `uid`/`gid`: become that user first; (uid_t) -1 = stay. */
int process_run(const char *const *argv, char *output, size_t cap, uid_t uid, gid_t gid);

/* Run argv and hand on its standard output line by line (without the new line; to be changed at
 * will). Returns as process_run(). An interrupt (util_interrupted) ends it by SIGTERM, and so does
 * our own end. */
typedef void (*process_line_fn)(void *arg, char *line);
int process_run_lines(const char *const *argv, uid_t uid, gid_t gid, process_line_fn fn, void *arg);

/* Wait until the process behind pidfd has ended, at most until deadline (monotonic). 1 ended, 0 not
 * yet. */
bool process_wait(int pidfd, uint64_t deadline_usec);

/* A pidfd, or -1 (no such process). */
int process_open(pid_t pid);

/* The value of KEY= in the answer of `systemctl show`, in `to`; "" if it is not there. Returns
 * `to`. */
const char *process_property(const char *answer, const char *key, char *to, size_t cap);
