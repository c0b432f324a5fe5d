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

/* A server that does not answer by the deadline, or in ten seconds, is unreachable; it is never
 * asked for less than one. */
static uint64_t
answer_by(uint64_t deadline)
{
    uint64_t now = now_mono_usec();
    uint64_t by = deadline < now + LOOK_USEC ? deadline : now + LOOK_USEC;

    return by > now + USEC_PER_SEC ? by : now + USEC_PER_SEC;
}

/* Returns 0, or why not even that can be said. */
static int
take_look(struct target *t, uint64_t deadline, struct look *ret, struct problem *p)
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
        r = client_call(&c, "GetStatus", NULL, answer_by(deadline), &ret->reply, p);
    client_close(&c);
    if (r == CTL_UNREACHABLE || r == CTL_TIMED_OUT) { /* it went while we asked, or it hangs */
        memset(p, 0, sizeof *p);
        (void) snprintf(ret->state, sizeof ret->state, "unreachable");
        return 0;
    }
    const json_t *s = json_object_get(ret->reply, "status");
    const char *state = json_string_value(json_object_get(s, "state"));
    const char *text = out_text_of(json_object_get(s, "progress"), "message");
    if (state != NULL)
        (void) snprintf(ret->state, sizeof ret->state, "%s", state);
    (void) snprintf(ret->message, sizeof ret->message, "%s", text[0] != '\0' ? text : ret->state);
    return r;
}

static uint64_t
deadline_of(const struct args *a)
{
    return a->timeout_usec == 0 ? CLIENT_NO_TIMEOUT : now_mono_usec() + a->timeout_usec;
}

/* What one look means: an exit code, or GO_ON. is_over: the time is up. */
#define GO_ON (-1)

struct waiting {
    const char *want;
    uint64_t begun;
    char shown[256];
};

typedef int judge_fn(struct waiting *w, const struct target *t, const struct look *l, bool is_over,
                     struct problem *p);

static int
look_until(const struct args *a, uint64_t deadline, judge_fn *judge, struct waiting *w,
           struct problem *p)
{
    struct target t;
    int r = target_find(a, &t, p);

    util_catch_interrupt();
    if (r != 0)
        return r;
    for (;;) {
        CLEANUP(look_done) struct look l = { 0 };

        if ((r = take_look(&t, deadline, &l, p)) != 0)
            return r;
        if ((r = judge(w, &t, &l, now_mono_usec() >= deadline, p)) != GO_ON)
            return r;
        (void) poll(NULL, 0, POLL_MSEC);
    }
}

static int
judge_wait(struct waiting *w, const struct target *t, const struct look *l, bool is_over,
           struct problem *p)
{
    char message[128], took[32];

    if (strcmp(l->state, w->want) == 0) {
        format_duration(took, sizeof took, now_mono_usec() - w->begun);
        (void) snprintf(message, sizeof message, "%s after %s", w->want, took);
        out->result(t, message, l->reply);
        return CTL_OK;
    }
    if (l->message[0] != '\0' && strcmp(l->message, w->shown) != 0) {
        (void) snprintf(w->shown, sizeof w->shown, "%s", l->message);
        out->progress(t, l->message,
                      json_object_get(json_object_get(l->reply, "status"), "progress"));
    }
    if (util_interrupted)
        return fail(p, CTL_INTERRUPTED, "interrupted; it was not %s yet", w->want);
    if (is_over)
        return fail(p, CTL_TIMED_OUT, "not %s in time, but %s", w->want, l->state);
    return GO_ON;
}

int
cmd_wait(const struct args *a, struct problem *p)
{
    struct waiting w = { .want = args_has(a, OPTION_FOR) ? a->value[OPTION_FOR] : "ready",
                         .begun = now_mono_usec() };

    return look_until(a, deadline_of(a), judge_wait, &w, p);
}

static int
judge_ready(struct waiting *w, const struct target *t, const struct look *l, bool is_over,
            struct problem *p)
{
    bool is_ready = strcmp(l->state, "ready") == 0 || strcmp(l->state, "standby") == 0;

    (void) w;
    (void) p;
    if (!is_ready && !util_interrupted && !is_over)
        return GO_ON;
    out->result(t, l->state, l->reply);
    return is_ready ? CTL_OK : strcmp(l->state, "stopped") == 0 ? CTL_NOT_RUNNING : CTL_NOT_READY;
}

int
cmd_is_ready(const struct args *a, struct problem *p)
{
    return look_until(a, now_mono_usec() + a->timeout_usec, judge_ready, NULL, p);
}

int
cmd_is_active(const struct args *a, struct problem *p)
{
    CLEANUP(look_done) struct look l = { 0 };
    struct target t;
    int r = target_find(a, &t, p);

    if (r != 0 || (r = take_look(&t, CLIENT_NO_TIMEOUT, &l, p)) != 0)
        return r;
    out->result(&t, l.state, l.reply);
    return strcmp(l.state, "stopped") == 0 ? CTL_NOT_RUNNING : CTL_OK;
}
