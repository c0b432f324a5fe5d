/* Who stands still, and what is to be done about it: the decision, without effects
 * (systemd-ops.md 3.7, rules 3 to 6). */
#pragma once

#include "base/types.h"

enum pm_beat_verdict {
    BEAT_HEALTHY,
    BEAT_STALLED,    /* in a call to storage: told, not killed */
    BEAT_STUCK,      /* to be ended: SIGABRT */
    BEAT_DYING,      /* was told */
    BEAT_STUBBORN,   /* took no notice: SIGKILL */
    BEAT_UNKILLABLE, /* nor of that: the service manager's turn */
};

/* What was seen of a child. Times are monotonic. */
struct pm_beat_view {
    usec_t last_usec;     /* it turned */
    usec_t moved_usec;    /* it was last found to have got on */
    usec_t call_usec;     /* since when it is in a call to storage; 0: in none */
    usec_t deadline_usec; /* until when it may be */
    usec_t abort_usec;    /* it was told to end; 0: it was not */
    bool is_idle;         /* has nothing to do */
    bool is_waiting;      /* for somebody else: getting on is up to that one */
    bool is_critical;     /* has to show life all the time; others have as long as storage */
    bool is_in_kernel;    /* sleeps there, and takes no signal */
};

struct pm_beat_limits {
    usec_t silence;  /* no sign of life; 0: nobody is judged */
    usec_t patience; /* storage_stall_timeout */
};

/* Pure. *ret_silent: for how long it has shown nothing, or has been in its call. */
enum pm_beat_verdict pm_beat_judge(const struct pm_beat_view *v, const struct pm_beat_limits *l,
                                   usec_t now, usec_t *ret_silent);
