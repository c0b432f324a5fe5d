/* A program that pinionctl takes for piniond: the real control socket over a made-up server
 * (control_fake.c).
 *
 *   fake_piniond init -D DIR       makes DIR with a pinion.conf
 *   fake_piniond -D DIR            serves DIR/control
 *
 * It recovers as long as there is DIR/recovering; a stop takes 100 ms, and as long as there is
 * DIR/stopping. DIR/broken makes a reload fail; DIR/exit78 makes the start fail.
 * Runs in: its own process, in tests of pinionctl. Owns: the socket. Source: none.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/control.h"
#include "support/control_fake.h"

#define STOP_USEC 100000

struct fake {
    struct control_fake server;
    struct control_view_ops ops; /* the fake's, some replaced */
    const struct control_view_ops *base;
    struct control_view view;
    struct control *control;
    sd_event *ev;
    sd_event_source *timer;
    bool is_recovering;
    usec_t stop_usec; /* monotonic: the stop ends; 0 = none */
    usec_t checkpoint_usec;
};

static struct fake fake;

static bool
is_held(const char *name)
{
    return access(name, F_OK) == 0;
}

/* One more, if FAKE_METRICS says where. */
static int
fake_settings(void *ctx, const char *name, control_setting_fn fn, void *arg, struct err *e)
{
    struct control_setting metrics = { .name = "metrics_listen",
                                       .value = getenv("FAKE_METRICS"), /* NOLINT: one thread */
                                       .initial = "",
                                       .source = "command line",
                                       .context = "postmaster",
                                       .text = "Where." };

    if (name == NULL && metrics.value != NULL)
        fn(arg, &metrics);
    return fake.base->settings(ctx, name, fn, arg, e);
}

static int
fake_stop(void *ctx, enum control_stop_mode mode, usec_t drain_usec, const struct control_ask *ask,
          struct err *e)
{
    int r = fake.base->stop(ctx, mode, drain_usec, ask, e);

    fake.stop_usec = clock_mono_usec() + STOP_USEC;
    fake.server.status.state = CONTROL_STOPPING;
    fake.server.status.pm_state = "PM_SHUTDOWN";
    fake.server.status.progress =
        (struct control_progress){ .phase = "shutdown_checkpoint",
                                   .unit = "buffers",
                                   .done = 41,
                                   .total = 100,
                                   .message = "Stopping: checkpoint 41 %" };
    return r;
}

static int
fake_rotate_log(void *ctx, struct err *e)
{
    fake.server.has_log_files = access("logfiles", F_OK) == 0;
    return fake.base->rotate_log(ctx, e);
}

static int
fake_checkpoint(void *ctx, bool fast, uint64_t *ret_operation, struct err *e)
{
    fake.checkpoint_usec = clock_mono_usec() + 20000;
    fake.server.checkpoint_state = OPERATION_RUNNING;
    return fake.base->checkpoint(ctx, fast, ret_operation, e);
}

static int
fake_reload(void *ctx, const struct control_ask *ask, struct control_reload *ret, struct err *e)
{
    fake.server.reload_result = access("broken", F_OK) == 0 ? -ERR_CONFIG_FILE_ERROR : 0;
    return fake.base->reload(ctx, ask, ret, e);
}

static int
on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    usec_t now = clock_mono_usec();

    (void) usec;
    (void) arg;
    if (fake.is_recovering && !is_held("recovering")) {
        fake.is_recovering = false;
        fake.server.status.state = CONTROL_READY;
        fake.server.status.pm_state = "PM_RUN";
        fake.server.status.progress = (struct control_progress){ 0 };
    }
    if (fake.checkpoint_usec != 0 && now >= fake.checkpoint_usec) {
        fake.server.checkpoint_state = OPERATION_DONE;
        fake.server.status.checkpoint.lsn = 0x3000148;
    }
    control_changed(fake.control);
    if (fake.stop_usec != 0 && now >= fake.stop_usec && !is_held("stopping")) {
        control_finish(fake.control, true, 1000000);
        return sd_event_exit(fake.ev, 0);
    }
    (void) sd_event_source_set_time(s, now + 10000);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int
make(const char *dir)
{
    char path[4096];

    (void) mkdir(dir, 0700);
    (void) snprintf(path, sizeof path, "%s/pinion.conf", dir);
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return 1;
    (void) fprintf(f, "port = 5454\n");
    return fclose(f) == 0 ? 0 : 1;
}

static int
serve(void)
{
    static char dir[4096];
    struct err e = ERR_INIT;

    control_fake_init(&fake.server);
    fake.server.status.data_directory = getcwd(dir, sizeof dir);
    fake.server.status.started_usec = fake.server.status.state_since_usec = clock_real_usec();
    fake.is_recovering = true;
    fake.server.status.state = CONTROL_RECOVERING;
    fake.server.status.pm_state = "PM_RECOVERY";
    fake.server.status.progress = (struct control_progress){ .phase = "redo",
                                                             .unit = "bytes",
                                                             .done = 36,
                                                             .total = 100,
                                                             .message = "Recovering: redo 36 %" };
    fake.view = control_fake_view(&fake.server);
    fake.base = fake.view.ops;
    fake.ops = *fake.base;
    fake.ops.settings = fake_settings;
    fake.ops.stop = fake_stop;
    fake.ops.checkpoint = fake_checkpoint;
    fake.ops.reload = fake_reload;
    fake.ops.rotate_log = fake_rotate_log;
    fake.view.ops = &fake.ops;
    if (sd_event_new(&fake.ev) < 0 ||
        control_new(fake.ev, &(struct control_place){ "control", -1 }, &fake.view, &fake.control,
                    &e) < 0 ||
        sd_event_add_time(fake.ev, &fake.timer, CLOCK_MONOTONIC, 0, 1, on_timer, NULL) < 0) {
        log_err(LOG_LEVEL_FATAL, "", &e);
        return 1;
    }
    int r = sd_event_loop(fake.ev);
    fake.control = control_free(fake.control);
    (void) sd_event_source_disable_unref(fake.timer);
    (void) sd_event_unref(fake.ev);
    return r;
}

int
main(int argc, char **argv)
{
    log_init("postmaster", LOG_LEVEL_WARNING);
    (void) signal(SIGPIPE, SIG_IGN); /* NOLINT(bugprone-signal-handler) */
    (void) alarm(120);               /* whatever the test does, nothing stays behind */
    if (argc == 4 && strcmp(argv[1], "init") == 0)
        return make(argv[3]);
    if (argc != 3 || strcmp(argv[1], "-D") != 0 || chdir(argv[2]) < 0)
        return 64;
    if (access("exit78", F_OK) == 0)
        return 78;
    return serve();
}
