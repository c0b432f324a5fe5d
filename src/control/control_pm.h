/* The control service over the real postmaster: what main() starts between pm_new() and pm_run().
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/err.h"

struct pm;
struct control_pm;

struct control_pm_params {
    const char *path;     /* of the socket; copied */
    const char *instance; /* NAME in instance mode, NULL with -D; borrowed */
};

/* Serve `pm` from `loop`; both are borrowed until control_pm_free(). Returns 0 or < 0 with e set
 * (the server must not start without its control socket). Runs in: postmaster. */
int control_pm_new(struct pm *pm, sd_event *loop, const struct control_pm_params *params,
                   struct control_pm **ret, struct err *e);
/* After pm_run() (the last replies were sent at PM_SAW_EXIT) and before pm_free(). Accepts NULL;
 * returns NULL. */
struct control_pm *control_pm_free(struct control_pm *c);
