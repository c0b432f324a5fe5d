/* Commands that wait for a state without changing one: wait, is-ready.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 4.3, 4.4. GetStatus again and again and
 * not WatchStatus: anybody may ask it, and who waits for a start finds nobody at first. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "cmd.h"
#include "out.h"

#define POLL_MSEC 100
#define LOOK_USEC (10 * USEC_PER_SEC)

/* What one look found. */
struct look {
    char state[32]; /* "stopped": nobody listens and nobody holds the lock file */
    char message[256];
    json_t *reply; /* of GetStatus, or NULL */
};

static void
look_done(struct look *l)
{
    json_decref(l->reply);
}

/* Returns 0, or why not even that can be said. */
static int
take_look(struct target *t, struct look *ret, struct problem *p)
{
    struct client c = { 0 };

    *ret = (struct look){ .state = "stopped" };
    target_refresh(t);
    int r = client_open(&c, t->socket, p);
    if (r == CTL_NOT_RUNNING) {
        memset(p, 0, sizeof *p);
        if (target_is_locked(t)) /* not yet, or not any more */
            (void) snprintf(ret->state, sizeof ret->state, "unreachable");
        return 0;
    }
    if (r == 0)
        r = client_call(&c, "GetStatus", NULL, now_mono_usec() + LOOK_USEC, &ret->reply, p);
    client_close(&c);
    if (r == CTL_UNREACHABLE) { /* it went while we asked */
        memset(p, 0, sizeof *p);
        (void) snprintf(ret->state, sizeof ret->state, "unreachable");
        return 0;
    }
    const json_t *s = json_object_get(ret->reply, "status");
    const char *state = json_string_value(json_object_get(s, "state"));
    const char *text =
        json_string_value(json_object_get(json_object_get(s, "progress"), "message"));
    if (state != NULL)
        (void) snprintf(ret->state, sizeof ret->state, "%s", state);
    (void) snprintf(ret->message, sizeof ret->message, "%s", text != NULL ? text : ret->state);
    return r;
}

static uint64_t
deadline_of(const struct args *a)
{
    return a->timeout_usec == 0 ? CLIENT_NO_TIMEOUT : now_mono_usec() + a->timeout_usec;
}

int
cmd_wait(const struct args *a, struct problem *p)
{
    const char *want = args_has(a, OPTION_FOR) ? a->value[OPTION_FOR] : "ready";
    uint64_t deadline = deadline_of(a), begun = now_mono_usec();
    char shown[256] = "", message[128], took[32];
    struct target t;
    int r = target_find(a, &t, p);

    util_catch_interrupt();
    while (r == 0) {
        CLEANUP(look_done) struct look l = { 0 };

        if ((r = take_look(&t, &l, p)) != 0)
            return r;
        if (strcmp(l.state, want) == 0) {
            format_duration(took, sizeof took, now_mono_usec() - begun);
            (void) snprintf(message, sizeof message, "%s after %s", want, took);
            out->result(&t, message, l.reply);
            return CTL_OK;
        }
        if (l.message[0] != '\0' && strcmp(l.message, shown) != 0) {
            (void) snprintf(shown, sizeof shown, "%s", l.message);
            out->progress(&t, l.message, NULL);
        }
        if (util_interrupted)
            return fail(p, CTL_INTERRUPTED, "interrupted; it was not %s yet", want);
        if (now_mono_usec() >= deadline)
            return fail(p, CTL_TIMED_OUT, "not %s in time, but %s", want, l.state);
        (void) poll(NULL, 0, POLL_MSEC);
    }
    return r;
}

int
cmd_is_ready(const struct args *a, struct problem *p)
{
    uint64_t deadline = now_mono_usec() + a->timeout_usec;
    struct target t;
    int r = target_find(a, &t, p);

    util_catch_interrupt();
    while (r == 0) {
        CLEANUP(look_done) struct look l = { 0 };

        if ((r = take_look(&t, &l, p)) != 0)
            return r;
        bool is_ready = strcmp(l.state, "ready") == 0 || strcmp(l.state, "standby") == 0;
        if (is_ready || util_interrupted || now_mono_usec() >= deadline) {
            out->result(&t, l.state, l.reply);
            return is_ready                          ? CTL_OK
                   : strcmp(l.state, "stopped") == 0 ? CTL_NOT_RUNNING
                                                     : CTL_NOT_READY;
        }
        (void) poll(NULL, 0, POLL_MSEC);
    }
    return r;
}
