/* See control_fake.h. Runs in: unit tests. Owns: nothing. Source: none. */
#include "support/control_fake.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void
fake_status(void *ctx, struct control_status *ret)
{
    const struct control_fake *f = ctx;
    pid_t pid = ret->main_pid;

    *ret = f->status;
    ret->main_pid = pid;
}

static void
fake_processes(void *ctx, control_process_fn fn, void *arg)
{
    static const struct control_process list[] = {
        { .pid = 100,
          .role = "postmaster",
          .state = "running",
          .heartbeat_age_usec = -1,
          .critical = true },
        { .pid = 101,
          .role = "checkpointer",
          .state = "running",
          .heartbeat_age_usec = 1000,
          .critical = true },
        { .pid = 102,
          .role = "backend",
          .state = "active",
          .heartbeat_age_usec = -1,
          .database = "postgres",
          .user = "al\xff",
          .client = "local" },
    };

    const struct control_fake *f = ctx;

    for (size_t i = 0; i < ELEMENTSOF(list); i++)
        fn(arg, &list[i]);
    for (int i = 0; i < f->n_sessions; i++)
        fn(arg, &list[ELEMENTSOF(list) - 1]);
}

static int
fake_checkpoint(void *ctx, bool fast, uint64_t *ret_operation, struct err *e)
{
    struct control_fake *f = ctx;

    (void) e;
    f->last_fast = fast;
    *ret_operation = (uint64_t) ++f->n_checkpoints;
    return 0;
}

static enum control_operation
fake_checkpoint_state(void *ctx, uint64_t operation, struct err *e)
{
    const struct control_fake *f = ctx;

    (void) operation;
    if (f->checkpoint_state == OPERATION_FAILED)
        (void) ERR(e, SYSTEM_ERROR, "checkpoint request failed");
    return f->checkpoint_state;
}

static void
fake_checkpoint_progress(void *ctx, struct control_progress *ret)
{
    const struct control_fake *f = ctx;

    if (f->checkpoint_progress.phase[0] != '\0')
        *ret = f->checkpoint_progress;
}

static int
fake_rotate_log(void *ctx, struct err *e)
{
    struct control_fake *f = ctx;

    if (f->has_log_files) {
        f->n_rotations++;
        return 0;
    }
    return ERR(e, OBJECT_NOT_IN_PREREQUISITE_STATE, "no log file to rotate");
}

static void
fake_history(void *ctx, control_history_fn fn, void *arg)
{
    static const struct control_history list[] = {
        { .time_usec = 1700000000000000, .event = "start", .pid = 99, .message = "Pinion 0.1" },
        { .time_usec = 1700000001000000, .event = "ready", .message = "ready", .timeline = 1 },
        { .time_usec = 1700000002000000,
          .event = "stop",
          .message = "fast stop requested",
          .by = "uid 0 (pinionctl, pid 7)",
          .reason = "up\xffgrade" },
    };

    (void) ctx;
    for (size_t i = 0; i < ELEMENTSOF(list); i++)
        fn(arg, &list[i]);
}

static int
fake_stop(void *ctx, enum control_stop_mode mode, usec_t drain_usec, const struct control_ask *ask,
          struct err *e)
{
    struct control_fake *f = ctx;

    (void) e;
    f->n_stops++;
    f->last_mode = mode;
    f->last_drain_usec = drain_usec;
    (void) snprintf(f->last_by, sizeof f->last_by, "%s", ask->by);
    (void) snprintf(f->last_reason, sizeof f->last_reason, "%s",
                    ask->reason != NULL ? ask->reason : "");
    f->status.stop_requested = true;
    f->status.stop_mode = mode;
    return 0;
}

static int
fake_stop_cancel(void *ctx, const struct control_ask *ask, struct err *e)
{
    struct control_fake *f = ctx;

    (void) ask;
    if (!f->status.stop_requested)
        return ERR(e, OBJECT_NOT_IN_PREREQUISITE_STATE, "no stop that could be canceled");
    f->status.stop_requested = false;
    return 0;
}

static int
fake_reload(void *ctx, const struct control_ask *ask, struct control_reload *ret, struct err *e)
{
    struct control_fake *f = ctx;

    (void) ask;
    f->n_reloads++;
    ret->generation = f->status.config_generation;
    if (f->reload_result == 0) {
        ret->generation = ++f->status.config_generation;
        ret->changed[0] = "log_min_messages";
        ret->pending_restart[0] = "shared_buffers";
        return 0;
    }
    struct control_problem *p = &ret->problems[ret->n_problems++];
    (void) snprintf(p->file, sizeof p->file, "/etc/pinion/main/pinion.conf");
    p->line = 12;
    p->is_error = true;
    (void) snprintf(p->message, sizeof p->message, "max_connections must be >= 1");
    return err_set(e, f->reload_result, "configuration file contains errors");
}

static int
fake_check_config(void *ctx, struct control_reload *ret, struct err *e)
{
    struct control_fake *f = ctx;
    struct control_problem *p = &ret->problems[ret->n_problems++];

    if (f->reload_result < 0) {
        f->n_reloads--; /* it is none */
        ret->n_problems--;
        return fake_reload(ctx, NULL, ret, e);
    }
    (void) snprintf(p->setting, sizeof p->setting, "shared_buffers");
    (void) snprintf(p->message, sizeof p->message, "shared_buffers waits for a restart");
    return 0;
}

static int
fake_settings(void *ctx, const char *name, control_setting_fn fn, void *arg, struct err *e)
{
    static const struct control_setting list[] = {
        { .name = "archive_command",
          .value = "send --password=hush",
          .initial = "",
          .source = "command line",
          .context = "sighup",
          .text = "Shell command." },
        { .name = "archive_mode",
          .value = "on",
          .initial = "off",
          .source = "command line",
          .context = "postmaster",
          .text = "Whether." },
        { .name = "control_socket",
          .value = "/run/x",
          .initial = "",
          .source = "configuration file",
          .file = "/etc/pinion/main/pinion.conf",
          .line = 3,
          .context = "postmaster",
          .text = "Path of the control socket.",
          .is_private = true },
        { .name = "hba_file",
          .value = "hba",
          .initial = "",
          .source = "command line",
          .context = "postmaster",
          .text = "Rules.",
          .is_private = true },
        { .name = "shared_buffers",
          .value = "128MB",
          .initial = "128MB",
          .source = "default",
          .context = "postmaster",
          .text = "Size of the shared page cache.",
          .is_pending = true },
    };
    bool found = name == NULL;

    (void) ctx;
    for (size_t i = 0; i < ELEMENTSOF(list); i++) {
        if (name != NULL && strcmp(name, list[i].name) != 0)
            continue;
        fn(arg, &list[i]);
        found = true;
    }
    return found ? 0
                 : ERR(e, UNDEFINED_OBJECT, "unrecognized configuration parameter \"%s\"", name);
}

static int
fake_signal(void *ctx, int64_t pid, enum control_action action, struct err *e)
{
    struct control_fake *f = ctx;

    if (pid == 101)
        return ERR(e, INSUFFICIENT_PRIVILEGE, "process 101 is the server's own: checkpointer");
    if (pid != 102)
        return err_set(e, -ESRCH, "no process of this server has number %lld", (long long) pid);
    f->n_signals++;
    f->last_action = action;
    return 0;
}

void
control_fake_init(struct control_fake *f)
{
    *f = (struct control_fake){
        .status = { .state = CONTROL_READY,
                    .pm_state = "PM_RUN",
                    .role = "primary",
                    .instance = "main",
                    .data_directory = "/var/lib/pinion/main",
                    .listen = { "127.0.0.1:5454" },
                    .connections = 3,
                    .connections_max = 100,
                    .config_generation = 7,
                    .config_valid = true,
                    .crash_restarts = 0,
                    .timeline = 1,
                    .flush_lsn = UINT64_C(0x100000028) },
    };
}

struct control_view
control_fake_view(struct control_fake *f)
{
    static const struct control_view_ops ops = {
        .status = fake_status,
        .processes = fake_processes,
        .checkpoint = fake_checkpoint,
        .checkpoint_state = fake_checkpoint_state,
        .checkpoint_progress = fake_checkpoint_progress,
        .stop = fake_stop,
        .stop_cancel = fake_stop_cancel,
        .rotate_log = fake_rotate_log,
        .history = fake_history,
        .reload = fake_reload,
        .check_config = fake_check_config,
        .settings = fake_settings,
        .signal = fake_signal,
    };

    return (struct control_view){ .ops = &ops, .ctx = f };
}
