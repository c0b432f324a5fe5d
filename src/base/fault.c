/* Armed fault points. Runs in every process; state is per process and inherited over fork. */
#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct armed {
    unsigned after;
    unsigned times;
    enum fault_what what;
    int error;
};

void (*fault_crash_hook)(enum fault_point p);

static struct armed armed[FAULT_POINTS];
static unsigned hits[FAULT_POINTS];
static struct armed armed_any;
static unsigned hits_any;
static bool fired;

/* clang-format off */
static const char *const names[FAULT_POINTS] = {
#define FAULT_DEF(name, text) [FAULT_##name] = #name,
#include "tbl/fault_points.def"
#undef FAULT_DEF
};
/* clang-format on */

static int
fire(enum fault_point p, const struct armed *a)
{
    fired = true;
    switch (a->what) {
    case FAULT_DO_ERROR:
        return -a->error;
    case FAULT_DO_CRASH:
        if (fault_crash_hook != NULL)
            fault_crash_hook(p);
        (void) kill(getpid(), SIGKILL);
        return 0;
    case FAULT_DO_STOP:
        (void) raise(SIGSTOP);
        return 0;
    }
    return 0;
}

static bool
is_due(const struct armed *a, unsigned hit)
{
    return a->times > 0 && hit > a->after && hit - a->after <= a->times;
}

int
fault_hit(enum fault_point p)
{
    hits[p]++;
    hits_any++;
    if (is_due(&armed[p], hits[p]))
        return fire(p, &armed[p]);
    if (is_due(&armed_any, hits_any))
        return fire(p, &armed_any);
    return 0;
}

void
fault_arm(enum fault_point p, unsigned after, unsigned times, enum fault_what what, int error)
{
    hits[p] = 0;
    armed[p] = (struct armed){ after, times, what, error };
}

void
fault_arm_any(unsigned after, enum fault_what what, int error)
{
    hits_any = 0;
    armed_any = (struct armed){ after, 1, what, error };
}

void
fault_reset(void)
{
    memset(armed, 0, sizeof armed);
    memset(hits, 0, sizeof hits);
    memset(&armed_any, 0, sizeof armed_any);
    hits_any = 0;
    fired = false;
}

bool
fault_fired(void)
{
    return fired;
}

unsigned
fault_hits(void)
{
    return hits_any;
}

const char *
fault_name(enum fault_point p)
{
    return names[p];
}

static int
arm_one(const char *spec, struct err *e)
{
    static const struct {
        const char *name;
        enum fault_what what;
        int error;
    } whats[] = {
        { "EIO", FAULT_DO_ERROR, EIO },       { "ENOSPC", FAULT_DO_ERROR, ENOSPC },
        { "ENOMEM", FAULT_DO_ERROR, ENOMEM }, { "crash", FAULT_DO_CRASH, 0 },
        { "stop", FAULT_DO_STOP, 0 },
    };
    char point[64];
    char what[16];
    unsigned after;
    unsigned times;

    if (sscanf(spec, "%63[A-Z0-9_]:%u:%u:%15s", point, &after, &times, what) != 4)
        return ERR(e, INVALID_PARAMETER_VALUE, "invalid fault \"%s\" in PINION_FAULT", spec);
    for (int p = 0; p < FAULT_POINTS; p++)
        for (size_t i = 0; i < ELEMENTSOF(whats); i++)
            if (strcmp(names[p], point) == 0 && strcmp(whats[i].name, what) == 0) {
                fault_arm((enum fault_point) p, after, times, whats[i].what, whats[i].error);
                return 0;
            }
    return ERR(e, INVALID_PARAMETER_VALUE, "unknown fault point or effect \"%s\" in PINION_FAULT",
               spec);
}

int
fault_arm_from_env(struct err *e)
{
    const char *env = getenv("PINION_FAULT");
    char copy[512];
    char *rest = copy;
    int r = 0;

    if (env == NULL)
        return 0;
#ifndef PINION_FAULTS
    return ERR(e, FEATURE_NOT_SUPPORTED, "PINION_FAULT is set, but this build has no fault points");
#endif
    (void) snprintf(copy, sizeof copy, "%s", env);
    for (char *spec = strsep(&rest, ","); spec != NULL && r == 0; spec = strsep(&rest, ","))
        r = arm_one(spec, e);
    return r;
}
