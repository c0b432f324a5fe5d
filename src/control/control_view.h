/* What the control socket knows about the server: one record that the postmaster fills, and a few
 * requests it takes. A table of functions, so that tests run the service over a made-up server. */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "base/types.h"
#include "shm/cache_count.h"

/* clang-format off */
enum control_state {
#define CONTROL_STATE(id, name, glyph, exit) CONTROL_##id,
#include "tbl/control_states.def"
#undef CONTROL_STATE
    CONTROL_STATES
};
/* clang-format on */

enum control_stop_mode { STOP_SMART, STOP_FAST, STOP_IMMEDIATE }; /* rising strictness */

#define CONTROL_LIST_MAX     16  /* listen addresses, settings, causes in one reply */
#define CONTROL_SETTINGS_MAX 512 /* names of settings in one reply */
#define CONTROL_PROBLEMS_MAX 101

/* The phase that runs right now. An empty phase = none; quantities of 0 are unknown and left out.
 */
struct control_progress {
    char phase[32];   /* "redo", "verify", "shutdown_checkpoint", "checkpoint", "clients", … */
    const char *unit; /* "bytes", "buffers", "files", "pages", "clients" …; NULL with total 0 */
    uint64_t done;
    uint64_t total;
    usec_t elapsed_usec;
    usec_t remaining_usec;
    char message[200]; /* the STATUS= text */
};

/* The last finished checkpoint; duration and counters as in PostgreSQL's log line. lsn 0 = none
 * yet. */
struct control_checkpoint {
    const char *cause[CONTROL_LIST_MAX]; /* NULL-terminated */
    usec_t started_usec;                 /* real time */
    usec_t duration_usec, write_usec, sync_usec;
    uint64_t buffers_written, segments_added, segments_removed, segments_recycled;
    lsn_t redo_lsn, lsn;
};

/* One file system. total_bytes 0 = not measured yet. */
struct control_storage {
    const char *name; /* "wal", "data" */
    uint64_t free_bytes, total_bytes;
    bool is_low;
    usec_t full_since_usec; /* real; 0 = not full */
    uint64_t refusals;      /* since the start of the shared memory */
    usec_t refused_usec;    /* real: the last one */
    const char *error;      /* its words, or NULL */
};
#define CONTROL_STORAGES 2

/* Strings are borrowed until the next turn of the loop. 0, NULL and -1 mean unknown: left out of
 * the reply. */
struct control_status {
    enum control_state state;
    const char *pm_state; /* PostgreSQL's name, verbatim */
    const char *role;     /* "primary", "standby" or NULL */
    const char *instance;
    const char *unit;
    pid_t main_pid;
    usec_t state_since_usec, started_usec, ready_usec; /* real time */
    const char *data_directory;
    uint64_t system_identifier;
    const char *listen[CONTROL_LIST_MAX]; /* NULL-terminated */
    int connections, connections_max;     /* -1 unknown */
    uint64_t config_generation;
    bool config_valid;
    usec_t config_loaded_usec;
    const char *pending_restart[CONTROL_SETTINGS_MAX]; /* NULL-terminated */
    tli_t timeline;
    lsn_t insert_lsn, flush_lsn, replay_lsn, visible_lsn;
    int64_t crash_restarts; /* -1 unknown */
    uint32_t refused_databases;
    struct control_checkpoint checkpoint;
    uint64_t cache[CACHE_COUNTS]; /* FRAMES 0: unknown */
    struct control_progress progress;
    int n_storages;
    struct control_storage storages[CONTROL_STORAGES];
    bool stop_requested;
    enum control_stop_mode stop_mode; /* if stop_requested */
};

struct control_process {
    pid_t pid;
    const char *role;
    const char *state; /* or NULL */
    usec_t started_usec;
    int64_t heartbeat_age_usec; /* -1: not a process that beats */
    bool critical;
    const char *database, *user, *client; /* or NULL */
};

typedef void (*control_process_fn)(void *arg, const struct control_process *p);

/* Strings are borrowed until the function that gets it returns. */
struct control_setting {
    const char *name;
    const char *value;   /* as SHOW prints it */
    const char *initial; /* the built-in default, likewise */
    const char *source;  /* "default", "configuration file", "command line" */
    const char *file;    /* or NULL, with its line */
    int line;
    const char *context; /* "postmaster": who may change it, when; pg_settings' words */
    const char *text;    /* what it is for */
    bool is_pending;     /* the files say otherwise; a restart will apply that */
    bool is_private;     /* value and place are for admins */
};

typedef void (*control_setting_fn)(void *arg, const struct control_setting *s);

enum control_action { ACTION_CANCEL, ACTION_TERMINATE }; /* as in control_params.def */

struct control_problem {
    char file[256]; /* empty = unknown */
    int line;       /* 0 = unknown */
    char setting[64];
    bool is_error;
    char message[512];
    char hint[512];
};

/* Of a reload or a check. */
struct control_reload {
    uint64_t generation;                               /* the one that is active now */
    const char *changed[CONTROL_SETTINGS_MAX];         /* NULL-terminated */
    const char *pending_restart[CONTROL_SETTINGS_MAX]; /* NULL-terminated */
    int n_problems;
    struct control_problem problems[CONTROL_PROBLEMS_MAX];
};

/* Who asks for a change, and why: for log and history. */
struct control_ask {
    const char *by;     /* "uid 0 (pinionctl)" */
    const char *reason; /* or NULL */
};

/* One entry of the server's history; strings are borrowed until the function that gets it returns.
 */
struct control_history {
    usec_t time_usec; /* real */
    const char *event;
    int pid; /* of the postmaster, 0 = unknown */
    const char *message;
    const char *by, *reason; /* or NULL */
    uint64_t timeline;       /* 0 = not said */
};

typedef void (*control_history_fn)(void *arg, const struct control_history *h);

enum control_operation { OPERATION_RUNNING, OPERATION_DONE, OPERATION_FAILED };

/* All run in the postmaster's loop and return at once. */
struct control_view_ops {
    /* Fill *ret, which is zeroed except for the "-1 unknown" fields. */
    void (*status)(void *ctx, struct control_status *ret);
    void (*processes)(void *ctx, control_process_fn fn, void *arg);
    /* Ask for a checkpoint; *ret_operation names it, two requests may share one. */
    int (*checkpoint)(void *ctx, bool fast, uint64_t *ret_operation, struct err *e);
    /* OPERATION_FAILED sets e. */
    enum control_operation (*checkpoint_state)(void *ctx, uint64_t operation, struct err *e);
    /* How far the checkpoint that is being written is; untouched if none is. */
    void (*checkpoint_progress)(void *ctx, struct control_progress *ret);
    /* `drain_usec`, of a smart stop: it becomes a fast one after that time; 0 = never. */
    int (*stop)(void *ctx, enum control_stop_mode mode, usec_t drain_usec,
                const struct control_ask *ask, struct err *e);
    /* Take back a smart stop that still waits for clients. */
    int (*stop_cancel)(void *ctx, const struct control_ask *ask, struct err *e);
    /* Begin another log file. */
    int (*rotate_log)(void *ctx, struct err *e);
    /* What is kept of the server's history, the oldest first. */
    void (*history)(void *ctx, control_history_fn fn, void *arg);
    /* 0 applied, -ERR_CONFIG_FILE_ERROR: problems say why and nothing was changed. */
    int (*reload)(void *ctx, const struct control_ask *ask, struct control_reload *ret,
                  struct err *e);
    /* The same without applying: 0 valid. */
    int (*check_config)(void *ctx, struct control_reload *ret, struct err *e);
    /* Of `name`, or all in order of name with NULL. -ERR_UNDEFINED_OBJECT: there is none. */
    int (*settings)(void *ctx, const char *name, control_setting_fn fn, void *arg, struct err *e);
    /* -ESRCH: no such process; other errors: not one of those that can be told. */
    int (*signal)(void *ctx, int64_t pid, enum control_action action, struct err *e);
};

struct control_view {
    const struct control_view_ops *ops;
    void *ctx;
};
