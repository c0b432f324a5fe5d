/* What the control service may see of the postmaster and ask of it. Runs in: postmaster, inside its
 * event loop.
 *
 * The edge goes one way: control includes this, pm never includes control. Everything here is
 * answered at once, in every state, and touches no lock; a request becomes an event of the state
 * machine. Times are real-clock microseconds (clock_real_usec) unless named mono. Strings are
 * static or live as long as struct pm. */
#pragma once

#include "base/err.h"
#include "base/types.h"
#include "proc/mains.h"

struct pm;
struct conf;
struct conf_diff;
struct conf_issues;
struct shm_status;
struct slot;

/* clang-format off */
enum pm_state {
#define PM_STATE(id, shown, word, text) PM_##id,
#include "tbl/pm_states.def"
#undef PM_STATE
    PM_STATES
};
/* clang-format on */

/* Who asks for something, and why: for log and history. */
struct pm_ask {
    const char *by;     /* "uid 0 (pinionctl)" */
    const char *reason; /* in his own words, or NULL */
};

enum pm_stop { PM_STOP_NONE, PM_STOP_SMART, PM_STOP_FAST, PM_STOP_IMMEDIATE };

/* What a phase that takes long has done of what it has to do. */
struct pm_progress {
    bool is_known;     /* false: no such phase runs; the rest is zero */
    const char *phase; /* "redo", "verify", "checkpoint", "shutdown_checkpoint", "clients", … */
    const char *unit;  /* "bytes", "buffers", "files", "pages", "clients"; NULL: total is 0 */
    uint64_t done;
    uint64_t total;      /* 0 = unknown */
    usec_t elapsed_usec; /* since the phase began */
};

struct pm_status {
    enum pm_state state;
    const char *pm_state;     /* "PM_RUN": PostgreSQL 15's name */
    const char *state_word;   /* "ready": design section 11 */
    enum pm_stop stop;        /* strongest stop asked so far */
    usec_t state_since_usec;  /* of pm_state */
    usec_t started_usec;      /* of the postmaster */
    usec_t ready_usec;        /* last time state RUN was entered; 0 = never */
    unsigned crash_restarts;  /* how often shared memory was reset after a crash */
    unsigned n_connections;   /* live backends (dead-end children not counted) */
    unsigned connections_max; /* max_connections */
    pid_t pid;
    bool shm_ready; /* the segment is initialised: positions in it may be read (SHM-1) */
    const char *data_dir;
    const char *status_text; /* the text of STATUS= to the service manager, one line */
    struct pm_progress progress;
};

/* The listening control socket of a socket unit (descriptor "varlink"), now the caller's; -1: there
 * is none. */
int pm_control_passed(struct pm *pm);

/* All that is shown of the postmaster, now. Strings are borrowed until the loop turns. */
void pm_control_status(const struct pm *pm, struct pm_status *ret);

/* The status block of the segment (shm/shm.h): single atomics, meaningful when shm_ready. */
const struct shm_status *pm_control_shm_status(const struct pm *pm);
/* A slot of the segment (shm/slot.h), for slot_copy(); NULL for -1. */
const struct slot *pm_control_slot(const struct pm *pm, int slot_idx);
/* The settings in force. */
const struct conf *pm_control_conf(const struct pm *pm);

/* One listening address, as "127.0.0.1:5454" or a path; NULL past the last. */
const char *pm_control_listener(const struct pm *pm, unsigned idx);

struct pm_process {
    pid_t pid;
    enum child_kind kind;
    const char *role;  /* "checkpointer" */
    const char *state; /* "running", "stopping" (told to leave), "dead end" */
    bool is_critical;  /* has to show life all the time */
    int slot_idx;      /* in the segment, -1 = not attached */
    usec_t started_usec;
    int64_t beat_age_usec; /* since its last sign of life; -1: nobody looks for one */
};

/* The next live process, the postmaster itself first; *at begins as 0. Returns false past the last.
 */
bool pm_control_process(const struct pm *pm, unsigned *at, struct pm_process *ret);

/* Ask for a stop, as the signals TERM, INT, QUIT do. `drain_usec`, of a smart one: it becomes a
 * fast one after that time, 0 = never; a second call sets it anew. Returns 0; 1 if an equal or
 * stronger stop is already asked. */
int pm_control_stop(struct pm *pm, enum pm_stop mode, usec_t drain_usec, const struct pm_ask *ask);

/* Take back a smart stop that still waits for clients. 55000 if none does. */
int pm_control_stop_cancel(struct pm *pm, const struct pm_ask *ask, struct err *e);

/* Have a session, or an autovacuum worker, cancel its statement or end, as INT and TERM to it do.
 * -ESRCH: no child has that pid; 42501: a child of another kind. It is told, not waited for. */
int pm_control_signal(struct pm *pm, int64_t pid, bool is_cancel, struct err *e);

struct pm_reload {
    unsigned generation; /* of the configuration now in force, from 1 */
    unsigned n_changed;
    unsigned n_pending;         /* settings that differ in the files but need a restart */
    const char *const *changed; /* names; live until the next reload */
    const char *const *pending;
    const struct conf_issues *issues; /* all that was wrong; live until the next reload */
    usec_t loaded_usec;
};

/* Read the files again, all or nothing, and hand the result to all children (as HUP does). On < 0
 * nothing was changed, `e` says file, line and why (F0000), ret->issues has the rest; 55000 while
 * stopping fast. `ret` may be NULL. */
int pm_control_reload(struct pm *pm, const struct pm_ask *ask, struct pm_reload *ret,
                      struct err *e);
/* The same numbers without reloading; is_valid: the files as last read were good. */
bool pm_control_reload_last(const struct pm *pm, struct pm_reload *ret);

/* Read the files without applying them: 0, or -ERR_CONFIG_FILE_ERROR with all that is wrong in
 * `issues` (starts zeroed, the caller's to release). *ret_diff: what a reload would change, and
 * what would wait for a restart. In every state. */
int pm_control_check(const struct pm *pm, struct conf_issues *issues, struct conf_diff *ret_diff,
                     struct err *e);

/* Ask the checkpointer for a checkpoint: fast (no throttling) or spread. Returns a ticket > 0, or <
 * 0 with e set: 55000 in a state without checkpoints. */
int64_t pm_control_checkpoint(struct pm *pm, bool is_fast, struct err *e);
/* Is the checkpoint of that ticket done? 0 not yet, 1 done, < 0 it failed (e set). Ask again on
 * PM_SAW_CHECKPOINT. */
int pm_control_checkpoint_done(struct pm *pm, int64_t ticket, struct err *e);

/* How far the checkpoint under way has got; is_known is false without one. */
struct pm_progress pm_control_checkpoint_progress(const struct pm *pm);

/* Another log file, as pg_rotate_logfile() does. 55000 without logging_collector. */
int pm_control_rotate_log(struct pm *pm, struct err *e);

struct history_entry;
/* The `idx`-th entry of the history that is kept, the oldest first; its strings live in `copy`
 * (HISTORY_LINE_BYTES). false past the last. */
bool pm_control_history(const struct pm *pm, unsigned idx, char *copy, struct history_entry *ret);

enum pm_saw {
    PM_SAW_STATE,      /* pm_status.state, stop or state_word changed */
    PM_SAW_PROGRESS,   /* progress or status_text changed; at most once a second */
    PM_SAW_CHECKPOINT, /* a checkpoint began, ended or failed */
    PM_SAW_RELOAD,     /* a reload was tried, by whatever way */
    PM_SAW_EXIT, /* the loop is about to end: the last chance to write replies; must not wait */
};

typedef void (*pm_observer_fn)(void *arg, struct pm *pm, enum pm_saw what);

/* One observer; called from the loop after each change, never from inside a pm_control_* call. NULL
 * takes it away. */
void pm_control_observe(struct pm *pm, pm_observer_fn fn, void *arg);

/* At PM_SAW_EXIT: was the end the one that was asked for, with a shutdown checkpoint? */
bool pm_control_is_clean(const struct pm *pm);
