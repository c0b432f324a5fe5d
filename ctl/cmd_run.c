/* Commands that change what runs: start, stop, restart, checkpoint.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 4.2 (waiting, systemd first), design 11.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "cmd.h"
#include "out.h"
#include "process.h"

#define POLL_USEC    (USEC_PER_SEC / 20)
#define REFUSAL_USEC (USEC_PER_SEC / 2)
#define REACH_USEC   (10 * USEC_PER_SEC)
#define REPLY_USEC   (60 * USEC_PER_SEC) /* answers that come from the postmaster's loop */

static uint64_t
deadline_of(const struct args *a)
{
    return a->timeout_usec == 0 ? CLIENT_NO_TIMEOUT : now_mono_usec() + a->timeout_usec;
}

/* Already so: fine, or exit 2 with --strict. */
static int
already(const struct args *a, const struct target *t, const char *how, struct problem *p)
{
    if (args_has(a, OPTION_STRICT))
        return fail(p, CTL_USAGE, "%s is %s", t->name, how);
    memset(p, 0, sizeof *p);
    out->result(t, how, NULL);
    return CTL_OK;
}

/* One look at a starting server. Returns 1 ready, 0 not yet; *ret_message changes when something is
 * worth saying. */
static bool
look(const struct target *t, char *message, size_t cap, json_t **ret_reply)
{
    struct client c = { 0 };
    struct problem ignored;
    bool ready = false;

    *ret_reply = NULL;
    if (client_open(&c, t->socket, &ignored) == 0 &&
        client_call(&c, "GetStatus", NULL, now_mono_usec() + USEC_PER_SEC, ret_reply, &ignored) ==
            0) {
        const json_t *s = json_object_get(*ret_reply, "status");
        const char *state = json_string_value(json_object_get(s, "state"));
        const char *text = out_text_of(json_object_get(s, "progress"), "message");
        ready = state != NULL && (strcmp(state, "ready") == 0 || strcmp(state, "standby") == 0);
        (void) snprintf(message, cap, "%s", text[0] != '\0' ? text : state != NULL ? state : "");
    }
    client_close(&c);
    return ready;
}

/* Wait until the server is ready or its process has ended. */
static int
wait_ready(const struct args *a, struct target *t, int pidfd, struct problem *p)
{
    uint64_t deadline = deadline_of(a), begun = now_mono_usec(), told = 0;
    char message[256] = "", shown[256] = "", took[32];

    for (;;) {
        json_auto_t *reply = NULL;
        target_refresh(t);
        if (look(t, message, sizeof message, &reply)) {
            format_duration(took, sizeof took, now_mono_usec() - begun);
            (void) snprintf(message, sizeof message, "ready after %s", took);
            out->result(t, message, reply);
            return CTL_OK;
        }
        uint64_t now = now_mono_usec();
        if (message[0] != '\0' && strcmp(message, shown) != 0 && now - told > USEC_PER_SEC / 4) {
            (void) snprintf(shown, sizeof shown, "%s", message);
            out->progress(t, message,
                          json_object_get(json_object_get(reply, "status"), "progress"));
            told = now;
        }
        if (process_wait(pidfd, now + POLL_USEC))
            return -1; /* ended */
        if (util_interrupted)
            return fail(p, CTL_INTERRUPTED, "interrupted; the start goes on");
        if (now >= deadline) {
            format_duration(took, sizeof took, a->timeout_usec);
            fail(p, CTL_TIMED_OUT, "not ready after %s; the start goes on", took);
            hint(p, "Follow it with 'pinionctl watch', or wait without limit: 'pinionctl wait "
                    "--for=ready'.");
            return CTL_TIMED_OUT;
        }
    }
}

/* What the server wrote to its log before it ended, from `offset` on: the lines that say why. */
static void
add_last_words(const char *log_file, long offset, struct problem *p)
{
    static const char *const levels[] = { "FATAL:  ", "DETAIL:  ", "HINT:  ", "PANIC:  " };
    FILE *f = fopen(log_file, "re");
    char line[1024];

    if (f == NULL || fseek(f, offset, SEEK_SET) < 0)
        line[0] = '\0';
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
            const char *at = strstr(line, levels[i]);
            size_t n = strlen(p->detail);

            if (at == NULL)
                continue;
            line[strcspn(line, "\n")] = '\0';
            at += i == 0 || i == 3 ? strlen(levels[i]) : 0;
            (void) snprintf(p->detail + n, sizeof p->detail - n, "%s%s", n > 0 ? "\n" : "", at);
            break;
        }
    }
    if (f != NULL)
        (void) fclose(f);
}

static long
size_of(const char *path)
{
    struct stat st;

    return path != NULL && stat(path, &st) == 0 ? (long) st.st_size : 0;
}

/* Why the server we started has ended. */
static int
explain_end(pid_t pid, const char *log_file, long offset, struct problem *p)
{
    int status = 0;

    (void) waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        fail(p, CTL_FAILED, "the server was ended by signal %d while starting", WTERMSIG(status));
    else
        fail(p,
             WEXITSTATUS(status) == CTL_PERMISSION || WEXITSTATUS(status) == CTL_CONFIG
                 ? WEXITSTATUS(status)
                 : CTL_FAILED,
             "could not start the server: it ended with status %d", WEXITSTATUS(status));
    if (log_file == NULL)
        return p->exit; /* it said why itself, on this terminal */
    add_last_words(log_file, offset, p);
    hint(p, "See %s.", log_file);
    return p->exit;
}

/* --no-wait: what is refused at once is told, nothing else is waited for. -1: it has ended. */
static int
start_requested(struct target *t, int pidfd)
{
    uint64_t deadline = now_mono_usec() + REFUSAL_USEC;
    struct client c = { 0 };
    struct problem ignored;

    for (uint64_t now = now_mono_usec(); now < deadline; now = now_mono_usec()) {
        target_refresh(t);
        int r = client_open(&c, t->socket, &ignored); /* it listens: nothing refuses it any more */
        client_close(&c);
        if (r == 0)
            break;
        if (process_wait(pidfd, now + POLL_USEC))
            return -1;
    }
    out->result(t, "start requested", NULL);
    return CTL_OK;
}

static int
start_directly(const struct args *a, struct target *t, struct problem *p)
{
    char server[4096];
    const char *argv[] = { server, t->instance[0] != '\0' ? "--instance" : "-D",
                           t->instance[0] != '\0' ? t->instance : t->datadir, NULL };
    CLEANUP(closep) int pidfd = -1;
    long log_size;
    pid_t pid;
    int r;

    if (t->datadir[0] == '\0')
        return fail(p, CTL_USAGE, "a start needs -D or -i");
    if (access(t->datadir, F_OK) < 0 && errno == ENOENT && t->instance[0] == '\0') {
        fail(p, CTL_NO_INSTANCE, "there is no data directory \"%s\"", t->datadir);
        hint(p, "Make one: pinionctl init -D %.300s", t->datadir);
        return CTL_NO_INSTANCE;
    }
    log_size = size_of(a->value[OPTION_LOG]);
    if ((r = process_find_server(server, sizeof server, p)) != 0 ||
        (r = process_spawn_server(argv, a->value[OPTION_LOG], &pid, &pidfd, p)) != 0)
        return r;
    r = args_has(a, OPTION_NO_WAIT) ? start_requested(t, pidfd) : wait_ready(a, t, pidfd, p);
    return r >= 0 ? r : explain_end(pid, a->value[OPTION_LOG], log_size, p);
}

/* What the unit said last, and whether it was about the configuration. */
static void
explain_unit(const struct target *t, struct problem *p)
{
    const char *argv[] = { "systemctl", "show", "-p", "StatusText,ExecMainStatus", t->unit, NULL };
    char answer[2048], value[600];

    if (process_run(argv, answer, sizeof answer, (uid_t) -1, 0) != 0)
        return;
    if (strcmp(process_property(answer, "ExecMainStatus", value, sizeof value), "78") == 0)
        p->exit = CTL_CONFIG;
    (void) snprintf(p->detail, sizeof p->detail, "%s",
                    process_property(answer, "StatusText", value, sizeof value));
}

/* Run systemctl and meanwhile tell what the server says. Returns 0 with its exit status; or
 * CTL_TIMED_OUT, CTL_INTERRUPTED: its job goes on. */
static int
follow_systemctl(const struct args *a, const struct target *t, const char *const *argv,
                 int *ret_status, struct problem *p)
{
    uint64_t deadline = deadline_of(a);
    char message[256] = "", shown[256] = "", took[32];
    pid_t pid = fork();

    if (pid < 0)
        return fail(p, CTL_FAILED, "could not fork: %m");
    if (pid == 0)
        _exit(process_run(argv, NULL, 0, (uid_t) -1, 0) & 0xff);
    CLEANUP(closep) int pidfd = process_open(pid);
    while (pidfd >= 0 && !process_wait(pidfd, now_mono_usec() + 4 * POLL_USEC)) {
        json_auto_t *reply = NULL;

        if (util_interrupted)
            return fail(p, CTL_INTERRUPTED, "interrupted; the service manager goes on");
        if (!look(t, message, sizeof message, &reply) && message[0] != '\0' &&
            strcmp(message, shown) != 0) {
            (void) snprintf(shown, sizeof shown, "%s", message);
            out->progress(t, message,
                          json_object_get(json_object_get(reply, "status"), "progress"));
        }
        if (now_mono_usec() < deadline)
            continue;
        format_duration(took, sizeof took, a->timeout_usec);
        fail(p, CTL_TIMED_OUT, "not done after %s; the service manager goes on", took);
        hint(p, "Follow it with 'pinionctl -i %s watch', or wait: 'pinionctl -i %s wait'.",
             t->instance, t->instance);
        return CTL_TIMED_OUT;
    }
    (void) waitpid(pid, ret_status, 0);
    return 0;
}

/* `verb` on the unit. */
static int
through_systemd(const struct args *a, const struct target *t, const char *verb, const char *done,
                struct problem *p)
{
    const char *argv[] = { "systemctl",
                           args_has(a, OPTION_NO_WAIT) ? "--no-block" : "--no-ask-password", verb,
                           t->unit, NULL };

    if (geteuid() != 0) {
        fail(p, CTL_PERMISSION, "permission denied: the service manager needs root for this");
        hint(p, "sudo systemctl %s %s", verb, t->unit);
        return CTL_PERMISSION;
    }
    int status = -1;
    int r = follow_systemctl(a, t, argv, &status, p);
    if (r != 0)
        return r;
    if (status != 0) {
        fail(p, CTL_FAILED, "'systemctl %s %s' failed", verb, t->unit);
        explain_unit(t, p);
        hint(p, "See 'pinionctl -i %s status' and 'pinionctl -i %s logs -n 20'.", t->instance,
             t->instance);
        return p->exit;
    }
    out->result(t, args_has(a, OPTION_NO_WAIT) ? "requested" : done, NULL);
    return CTL_OK;
}

/* What a start finds where it wants to be. */
enum tenant {
    TENANT_NONE,
    TENANT_STARTS,
    TENANT_RUNS,
    TENANT_STOPS,
    TENANT_SILENT, /* of a server that was killed: until the kernel has cleared it away it takes
                      connections, and its children keep the lock file for a moment longer */
};

static enum tenant
find_tenant(struct target *t, uint64_t deadline, char *message, size_t cap)
{
    uint64_t soon = now_mono_usec() + USEC_PER_SEC, late = soon + REACH_USEC;
    uint64_t by = deadline < soon ? soon : deadline < late ? deadline : late;
    struct client c = { 0 };
    struct problem ignored;
    json_auto_t *reply = NULL;

    target_refresh(t);
    int r = client_open(&c, t->socket, &ignored);
    if (r == 0)
        r = client_call(&c, "GetStatus", NULL, by, &reply, &ignored);
    client_close(&c);
    if (r == CTL_NOT_RUNNING && !target_is_locked(t))
        return TENANT_NONE;
    if (r == CTL_NOT_RUNNING || r == CTL_UNREACHABLE)
        return TENANT_SILENT;
    const json_t *s = json_object_get(reply, "status");
    (void) snprintf(message, cap, "%s", out_text_of(json_object_get(s, "progress"), "message"));
    const char *state = out_text_of(s, "state");
    if (strcmp(state, "starting") == 0 || strcmp(state, "recovering") == 0)
        return TENANT_STARTS;
    return strcmp(state, "stopping") == 0 ? TENANT_STOPS : TENANT_RUNS;
}

/* Until nobody is there whom a start would meet. The service manager waits for a stop or a start
 * itself, but a start of what it has not seen die yet would be none. Returns 0; -1, a server runs;
 * or an exit code. */
static int
wait_free(const struct args *a, struct target *t, bool by_systemd, struct problem *p)
{
    uint64_t begun = now_mono_usec(), patience = begun + REACH_USEC, deadline = deadline_of(a);
    char message[256] = "";

    for (;;) {
        enum tenant is = find_tenant(t, deadline, message, sizeof message);
        uint64_t now = now_mono_usec();

        if (util_interrupted)
            return fail(p, CTL_INTERRUPTED, "interrupted; it was not asked to start");
        if (is == TENANT_NONE || (by_systemd && (is == TENANT_STOPS || is == TENANT_STARTS)))
            return 0;
        if (is == TENANT_RUNS || is == TENANT_STARTS)
            return -1;
        if (is == TENANT_SILENT && now >= patience)
            return 0; /* the server knows best whom it meets */
        if (now >= deadline || (args_has(a, OPTION_NO_WAIT) && now >= patience))
            return fail(p, CTL_TIMED_OUT, "the server still stops; it was not asked to start");
        if (is == TENANT_STOPS)
            out->progress(t, message, NULL);
        else if (now - begun > USEC_PER_SEC)
            out->progress(t, "waiting for the end of the server that was there", NULL);
        (void) poll(NULL, 0, POLL_USEC / 1000);
    }
}

/* Where the service manager starts it, it says where the output goes. */
static int
refuse_log(const struct args *a, bool by_systemd, struct problem *p)
{
    if (!by_systemd || !args_has(a, OPTION_LOG))
        return 0;
    fail(p, CTL_USAGE, "--log goes with -D; the output of an instance goes to the journal");
    hint(p, "See it with 'pinionctl logs', or set logging_collector.");
    return CTL_USAGE;
}

int
cmd_start(const struct args *a, struct problem *p)
{
    struct target t;
    int r = target_find(a, &t, p);

    bool by_systemd = t.unit[0] != '\0' && has_systemd();

    if (r != 0 || (r = refuse_log(a, by_systemd, p)) != 0 ||
        (t.instance[0] != '\0' && (r = target_exists(&t, p)) != 0))
        return r;
    util_catch_interrupt();
    if ((r = wait_free(a, &t, by_systemd, p)) > 0)
        return r;
    if (r < 0)
        return already(a, &t, "already running", p);
    return by_systemd ? through_systemd(a, &t, "start", "started", p) : start_directly(a, &t, p);
}

/* Follow the replies of a long call, a smart stop among them. Returns 0 with the final reply's
 * parameters. */
static int
follow(struct client *c, const struct target *t, bool can_cancel, uint64_t deadline, json_t **ret,
       struct problem *p)
{
    for (;;) {
        bool more;
        int r = client_next(c, deadline, ret, &more, p);
        if (r != 0 || !more)
            return r;
        const json_t *progress = json_object_get(*ret, "progress");
        const char *phase = json_string_value(json_object_get(progress, "phase"));
        if (can_cancel && phase != NULL && strcmp(phase, "clients") == 0) {
            out->remark("Ctrl-C: stop waiting; 'pinionctl cancel-stop': let clients in again");
            can_cancel = false;
        }
        out->progress(t, out_text_of(progress, "message"), progress);
        json_decrefp(ret);
    }
}

static json_t *
stop_parameters(const struct args *a)
{
    const char *mode = a->value[OPTION_MODE], *reason = a->value[OPTION_REASON];
    json_t *o = json_pack("{s:s}", "mode", mode == NULL ? "fast" : mode);

    if (a->drain_usec > 0)
        (void) json_object_set_new(o, "drainUSec", json_integer((json_int_t) a->drain_usec));
    if (reason != NULL)
        (void) json_object_set_new(o, "reason", json_string(reason));
    return o;
}

/* Behind the final reply, or the end of the connection: the process must be gone before we say so.
 */
static int
confirm_end(int pidfd, const struct target *t, uint64_t begun, uint64_t deadline,
            const json_t *reply, struct problem *p)
{
    char message[128], took[32];

    if (pidfd >= 0 && !process_wait(pidfd, deadline))
        return util_interrupted ? fail(p, CTL_INTERRUPTED, "interrupted; the stop goes on")
                                : fail(p, CTL_TIMED_OUT, "not stopped in time; the stop goes on");
    format_duration(took, sizeof took, now_mono_usec() - begun);
    (void) snprintf(message, sizeof message, "stopped%s after %s",
                    json_is_true(json_object_get(reply, "clean")) ? " cleanly"
                    : json_is_false(json_object_get(reply, "clean"))
                        ? " without a shutdown checkpoint"
                        : "",
                    took);
    out->result(t, message, reply);
    return CTL_OK;
}

/* The connection is gone before the final reply: with a server that stops, or because that one
 * wants no more of us. Returns 0 if there is an end to wait for. */
static int
judge_silence(const struct target *t, int pidfd, struct problem *p)
{
    struct client c = { 0 };
    struct problem ignored;
    json_auto_t *reply = NULL;

    if (pidfd < 0)
        return p->exit;
    bool is_over = process_wait(pidfd, now_mono_usec() + REFUSAL_USEC);
    int r = is_over ? 0 : client_open(&c, t->socket, &ignored);
    if (!is_over && r == 0)
        r = client_call(&c, "GetStatus", NULL, now_mono_usec() + REPLY_USEC, &reply, &ignored);
    client_close(&c);
    const char *state = out_text_of(json_object_get(reply, "status"), "state");
    if (is_over || r == CTL_NOT_RUNNING || strcmp(state, "stopping") == 0) {
        memset(p, 0, sizeof *p);
        return 0;
    }
    hint(p, "It may have too many callers, and was not asked to stop. Try again, or send SIGINT to "
            "its main process.");
    return p->exit;
}

/* --no-wait: an error comes at once, nothing else has to. */
static int
stop_requested(struct client *c, const struct target *t, struct problem *p)
{
    json_auto_t *reply = NULL;
    int r = client_next(c, now_mono_usec() + REFUSAL_USEC, &reply, NULL, p);

    client_close(c);
    if (r != 0 && r != CTL_TIMED_OUT && r != CTL_UNREACHABLE)
        return r;
    memset(p, 0, sizeof *p);
    out->result(t, "stop requested", NULL);
    return CTL_OK;
}

static bool
is_smart(const struct args *a)
{
    return a->value[OPTION_MODE] != NULL && strcmp(a->value[OPTION_MODE], "smart") == 0;
}

/* Who is being started or ends does not listen for a moment: it is not "not running". */
static int
reach(struct target *t, struct client *c, uint64_t deadline, struct problem *p)
{
    uint64_t patience = now_mono_usec() + REACH_USEC;
    int r = target_open(t, c, p);

    while (r == CTL_UNREACHABLE && now_mono_usec() < (deadline < patience ? deadline : patience)) {
        (void) poll(NULL, 0, POLL_USEC / 1000);
        if (util_interrupted)
            return fail(p, CTL_INTERRUPTED, "interrupted; it was not asked to stop");
        target_refresh(t);
        r = target_open(t, c, p);
    }
    return r;
}

static int
stop(const struct args *a, struct target *t, struct problem *p)
{
    struct client c = { 0 };
    json_auto_t *reply = NULL;
    uint64_t begun = now_mono_usec(), deadline = deadline_of(a);
    int r = reach(t, &c, deadline, p);

    if (r == CTL_NOT_RUNNING)
        return already(a, t, "not running", p);
    CLEANUP(closep) int pidfd = process_open(c.server_pid);
    if (r == 0)
        r = client_send(&c, "Stop", stop_parameters(a), true, p);
    if (r == 0 && args_has(a, OPTION_NO_WAIT))
        return stop_requested(&c, t, p);
    if (r == 0)
        r = follow(&c, t, is_smart(a), deadline, &reply, p);
    client_close(&c);
    if (r == CTL_UNREACHABLE)
        r = judge_silence(t, pidfd, p);
    return r != 0 ? r : confirm_end(pidfd, t, begun, deadline, reply, p);
}

int
cmd_stop(const struct args *a, struct problem *p)
{
    struct target t;
    int r = target_find(a, &t, p);

    util_catch_interrupt();
    return r != 0 ? r : stop(a, &t, p);
}

int
cmd_restart(const struct args *a, struct problem *p)
{
    struct target t;
    int r = target_find(a, &t, p);

    bool by_systemd = t.unit[0] != '\0' && has_systemd();

    if (r != 0 || (r = refuse_log(a, by_systemd, p)) != 0 || (r = conf_refuse_errors(&t, p)) != 0)
        return r;
    util_catch_interrupt();
    bool is_fast = a->value[OPTION_MODE] == NULL || strcmp(a->value[OPTION_MODE], "fast") == 0;
    if (by_systemd && is_fast) /* its stop signal means fast */
        return through_systemd(a, &t, "restart", "restarted", p);
    if ((r = stop(a, &t, p)) != 0)
        return r;
    return by_systemd ? through_systemd(a, &t, "start", "started", p) : start_directly(a, &t, p);
}

static json_t *
checkpoint_parameters(const struct args *a)
{
    json_t *o = json_pack("{s:s}", "mode", args_has(a, OPTION_SPREAD) ? "spread" : "fast");

    if (args_has(a, OPTION_NO_WAIT))
        (void) json_object_set_new(o, "wait", json_false());
    return o;
}

int
cmd_checkpoint(const struct args *a, struct problem *p)
{
    struct target t;
    struct client c = { 0 };
    json_auto_t *reply = NULL;
    char message[128], took[32];
    uint64_t begun = now_mono_usec();
    int r = target_find(a, &t, p);

    util_catch_interrupt();
    if (r == 0)
        r = target_open(&t, &c, p);
    if (r == 0)
        r = client_send(&c, "Checkpoint", checkpoint_parameters(a), true, p);
    if (r == 0)
        r = follow(&c, &t, false, deadline_of(a), &reply, p);
    client_close(&c);
    if (r != 0)
        return r;
    const char *lsn = json_string_value(json_object_get(reply, "lsn"));
    format_duration(took, sizeof took, now_mono_usec() - begun);
    if (!json_is_true(json_object_get(reply, "completed")))
        (void) snprintf(message, sizeof message, "checkpoint requested");
    else
        (void) snprintf(message, sizeof message, "checkpoint complete after %s%s%s", took,
                        lsn != NULL ? ", at " : "", lsn != NULL ? lsn : "");
    out->result(&t, message, reply);
    return CTL_OK;
}
