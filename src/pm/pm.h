/* The postmaster as main() sees it: make, run, free. One per process. */
#pragma once

#include <systemd/sd-event.h>

#include "base/err.h"
#include "conf/conf.h"
#include "proc/segment.h"

struct pm;

struct pm_params {
    struct conf *conf;            /* borrowed; changed by reloads */
    struct conf_where where;      /* strings borrowed */
    const char *const *conf_args; /* -c arguments; borrowed */
    size_t n_conf_args;
    /* segment_create(), or what a test wants instead. */
    int (*make_segment)(const struct conf *conf, const char *data_dir, struct segment **ret,
                        struct err *e);
};

/* Is it a data directory of ours: there, owned by us, not open to others, of our version? Makes it
 * the working directory. pm_new() does this again; main() calls it before it reads settings in it.
 */
int pm_check_dir(const char *dir, struct err *e);

/* Everything before the first child: signals blocked, working directory, lock file, segment,
 * sockets, loop. The order of checks is that of postmaster.md 1.9. On < 0 nothing is left behind;
 * the exit code is pm_exit_code(). Root is refused by the caller. */
int pm_new(const struct pm_params *params, struct pm **ret, struct err *e);
/* The loop, for the control service. */
sd_event *pm_loop(const struct pm *pm);
/* Start the first child and run until the end; returns the exit code. */
int pm_run(struct pm *pm);
/* After pm_new(), instead of pm_run(): something else came to nothing, and the start with it. Tells
 * log and history why, and stderr is again what it was, for the caller to say it there. */
void pm_fail(struct pm *pm, const struct err *e);
/* Accepts NULL. Removes sockets and lock file. */
void pm_free(struct pm *pm);

/* Tell the service manager why the start is refused (STATUS and ERRNO), and wait until it has read
 * it. */
void pm_notify_refused(const struct err *e);

/* systemd-ops.md 3.9: what a refusal to start exits with. */
int pm_exit_code(int r);
