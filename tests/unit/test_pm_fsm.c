/* The postmaster's rules, walked: every reachable machine, every event, every class of view; then a
 * million random events over a model of children. `test_pm_fsm --diagram` prints the block of
 * src/pm/README.md. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "pm/pm_fsm.h"
#include "support/test.h"

/* The table of kinds names the mains; none is called here. */
#define CHILD_KIND(id, role, description, main_, max, runs, attaches, exit0, exit1, phase, life) \
    void main_(const struct child_start *start)                                                  \
    {                                                                                            \
        (void) start;                                                                            \
        abort();                                                                                 \
    }
#include "tbl/child_kinds.def"
#undef CHILD_KIND

static const char *
actions_text(uint64_t actions, char *p, size_t n)
{
    size_t at = 0;

    p[0] = '\0';
    for (unsigned i = 0; i < PM_ACTIONS && at < n; i++)
        if ((actions & BIT(i)) != 0)
            at += (size_t) snprintf(p + at, n - at, "%s%s", at > 0 ? "+" : "", pm_action_name(i));
    return at > 0 ? p : "nothing";
}

static void
expect_step(struct pm_machine m, enum pm_event ev, struct pm_view v, enum pm_state want,
            uint64_t act)
{
    struct pm_step s = pm_step(&m, ev, &v);
    char got_text[400];
    char want_text[400];

    if (s.next.state != want || s.actions != act)
        fail_msg("in %s on %s with %u children (%u backends): got %s and %s, want %s and %s",
                 pm_state_id(m.state), pm_event_name(ev), v.n_children, v.n_backends,
                 pm_state_id(s.next.state), actions_text(s.actions, got_text, sizeof got_text),
                 pm_state_id(want), actions_text(act, want_text, sizeof want_text));
}

#define MACHINE(...) ((struct pm_machine){ __VA_ARGS__ })
#define VIEW(...)    ((struct pm_view){ __VA_ARGS__ })

static void
a_crash_throws_all_out_and_memory_is_reset_only_when_the_last_is_gone(void **state)
{
    struct pm_machine m = { .state = PM_WAIT_BACKENDS, .is_crash = true, .is_restart = true };

    (void) state;
    expect_step(MACHINE(.state = PM_RUN), EV_CHILD_CRASHED, VIEW(.n_children = 6, .n_attached = 6),
                PM_WAIT_BACKENDS, DO(LOG_CRASH) | DO(REASON_CRASH) | DO(ARM_KILL));
    for (enum child_kind k = 0; k < CHILD_KINDS; k++)
        assert_int_equal(pm_fsm_signal(&m, k),
                         k == CHILD_SYSLOGGER || k == CHILD_DEAD_END ? 0 : SIGQUIT);
    expect_step(m, EV_ADVANCE, VIEW(.n_children = 1, .n_attached = 1), PM_WAIT_BACKENDS, 0);
    expect_step(m, EV_ADVANCE, VIEW(.n_children = 1), PM_WAIT_DEAD_END,
                DO(ACCEPT_OFF) | DO(ARM_DEAD_END));
    m.state = PM_NO_CHILDREN;
    expect_step(m, EV_ADVANCE, VIEW(.restart_after_crash = true), PM_STARTUP,
                DO(LOG_REINIT) | DO(SHM_RESET) | DO(ACCEPT_ON) | DO(LAUNCH_STARTUP));
    expect_step(m, EV_ADVANCE, VIEW(.restart_after_crash = false), PM_NO_CHILDREN,
                DO(LOG_NO_RESTART) | DO(EXIT_FAILED));
}

static void
a_second_crash_while_memory_is_made_anew_is_handled_like_the_first(void **state)
{
    (void) state;
    expect_step(MACHINE(.state = PM_STARTUP, .is_restart = true), EV_CHILD_CRASHED,
                VIEW(.n_children = 2, .n_attached = 2), PM_WAIT_BACKENDS,
                DO(LOG_CRASH) | DO(REASON_CRASH) | DO(ARM_KILL));
}

static void
the_checkpointer_leaves_last_and_only_after_its_checkpoint(void **state)
{
    struct pm_machine m = { .state = PM_WAIT_BACKENDS, .stop = PM_STOP_FAST };

    (void) state;
    assert_int_equal(pm_fsm_signal(&m, CHILD_CHECKPOINTER), 0);
    assert_int_equal(pm_fsm_signal(&m, CHILD_BACKEND), SIGTERM);
    expect_step(m, EV_ADVANCE, VIEW(.n_children = 1, .n_attached = 1), PM_WAIT_CHECKPOINT, 0);
    m.state = PM_WAIT_CHECKPOINT;
    assert_int_equal(pm_fsm_signal(&m, CHILD_CHECKPOINTER), SIGINT);
    expect_step(m, EV_WAL_IS_SHUT, VIEW(.n_children = 1), PM_WAIT_ARCHIVER, DO(ARM_PATIENCE));
    m.state = PM_WAIT_ARCHIVER;
    expect_step(m, EV_ADVANCE, VIEW(.n_children = 2, .n_archivers = 1), PM_WAIT_ARCHIVER, 0);
    expect_step(m, EV_PATIENCE_OVER, VIEW(.n_children = 2, .n_archivers = 1), PM_WAIT_DEAD_END,
                DO(LOG_PATIENCE) | DO(ACCEPT_OFF) | DO(REASON_STOP) | DO(ARM_KILL));
    expect_step(m, EV_ADVANCE, VIEW(.n_children = 1), PM_WAIT_CHECKPOINTER, 0);
    expect_step(m, EV_CHECKPOINTER_LEFT, VIEW(0), PM_WAIT_DEAD_END,
                DO(LOG_CRASH) | DO(ACCEPT_OFF) | DO(REASON_CRASH) | DO(ARM_KILL));
    m.state = PM_WAIT_CHECKPOINTER;
    assert_int_equal(pm_fsm_signal(&m, CHILD_CHECKPOINTER), SIGUSR2);
    expect_step(m, EV_CHECKPOINTER_LEFT, VIEW(0), PM_WAIT_DEAD_END,
                DO(ACCEPT_OFF) | DO(ARM_DEAD_END));
}

static void
the_archiver_works_until_the_checkpoint_and_once_more_behind_it(void **state)
{
    struct pm_machine m = { .state = PM_WAIT_BACKENDS, .stop = PM_STOP_FAST };

    (void) state;
    assert_int_equal(pm_fsm_signal(&m, CHILD_ARCHIVER), 0);
    m.state = PM_WAIT_CHECKPOINT;
    assert_int_equal(pm_fsm_signal(&m, CHILD_ARCHIVER), 0);
    m.state = PM_WAIT_ARCHIVER;
    assert_int_equal(pm_fsm_signal(&m, CHILD_ARCHIVER), SIGUSR2);
    assert_int_equal(pm_fsm_signal(&m, CHILD_CHECKPOINTER), 0);
    expect_step(m, EV_ADVANCE, VIEW(.n_children = 2, .n_attached = 2, .n_archivers = 1),
                PM_WAIT_ARCHIVER, 0);
    expect_step(m, EV_ADVANCE, VIEW(.n_children = 1, .n_attached = 1), PM_WAIT_CHECKPOINTER, 0);
}

static void
a_failing_startup_process_ends_the_server(void **state)
{
    (void) state;
    expect_step(MACHINE(.state = PM_RECOVERY), EV_STARTUP_FAILED, VIEW(.n_children = 2),
                PM_WAIT_BACKENDS, DO(LOG_CRASH) | DO(REASON_CRASH) | DO(ARM_KILL));
    expect_step(MACHINE(.state = PM_NO_CHILDREN, .is_crash = true, .startup_failed = true),
                EV_ADVANCE, VIEW(.restart_after_crash = true), PM_NO_CHILDREN,
                DO(LOG_STARTUP_FAILED) | DO(EXIT_FAILED));
}

static void
the_log_collector_is_told_nothing_and_runs_while_anybody_does(void **state)
{
    (void) state;
    for (enum pm_state s = 0; s < PM_STATES; s++) {
        for (unsigned bits = 0; bits < 8; bits++) {
            struct pm_machine m = { .state = s,
                                    .stop = (bits & 1) != 0 ? PM_STOP_IMMEDIATE : PM_STOP_NONE,
                                    .is_crash = (bits & 2) != 0,
                                    .is_killing = (bits & 4) != 0 };

            assert_int_equal(pm_fsm_signal(&m, CHILD_SYSLOGGER), 0);
            assert_true(pm_fsm_may_live(&m, CHILD_SYSLOGGER));
            assert_int_equal(pm_fsm_must_run(&m, CHILD_SYSLOGGER),
                             s != PM_INIT && s != PM_NO_CHILDREN);
        }
    }
}

static void
promotion_during_a_smart_stop_keeps_waiting_for_clients(void **state)
{
    struct pm_machine m = { .state = PM_HOT_STANDBY, .stop = PM_STOP_SMART };
    struct pm_step s =
        pm_step(&m, EV_STARTUP_DONE, &VIEW(.n_backends = 1, .n_sessions = 1, .n_children = 3));

    (void) state;
    assert_string_equal(pm_state_id(s.next.state), "RUN");
    assert_string_equal(pm_fsm_state_word(&s.next), "draining");
    s = pm_step(&s.next, EV_ADVANCE, &VIEW(.n_children = 2));
    assert_string_equal(pm_state_id(s.next.state), "STOP_BACKENDS");
    for (enum child_kind k = 0; k < CHILD_KINDS; k++)
        if (child_policies[k].phase == PHASE_EARLY)
            assert_int_equal(pm_fsm_signal(&s.next, k), SIGTERM);
}

static void
a_standby_serves_reads_when_it_is_consistent_or_only_says_that_it_is(void **state)
{
    struct pm_machine m = { .state = PM_RECOVERY, .is_restart = true };
    struct pm_step s = pm_step(&m, EV_CONSISTENT, &VIEW(.hot_standby = true, .n_children = 3));

    (void) state;
    expect_step(m, EV_CONSISTENT, VIEW(.hot_standby = true), PM_HOT_STANDBY,
                DO(LOG_READ_ONLY) | DO(NOTIFY_READY) | DO(PIDFILE_READY));
    assert_string_equal(pm_fsm_state_word(&s.next), "standby"); /* its crash is over */
    expect_step(m, EV_CONSISTENT, VIEW(.hot_standby = false), PM_RECOVERY,
                DO(NOTIFY_READY) | DO(PIDFILE_STANDBY));
    for (enum pm_state st = 0; st < PM_STATES; st++) {
        bool is_replaying = st >= PM_STARTUP && st <= PM_HOT_STANDBY;

        expect_step(MACHINE(.state = st), EV_PROMOTE, VIEW(.n_children = 1), st,
                    is_replaying ? DO(PROMOTE) : 0);
    }
}

static void
a_recovery_target_ends_the_server_also_when_a_smart_stop_waits_for_readers(void **state)
{
    (void) state;
    for (enum pm_stop stop = PM_STOP_NONE; stop <= PM_STOP_SMART; stop++)
        expect_step(MACHINE(.state = PM_HOT_STANDBY, .stop = stop), EV_STARTUP_TARGET,
                    VIEW(.n_backends = 2, .n_children = 4), PM_STOP_BACKENDS,
                    DO(LOG_TARGET) | DO(NOTIFY_STOPPING) | DO(PIDFILE_STOPPING));
}

static void
clients_hear_why_they_cannot_come_in(void **state)
{
    static const struct {
        const char *label;
        struct pm_machine m;
        struct pm_view v;
        enum client_verdict want;
    } rows[] = {
        { "running", { .state = PM_RUN }, { .has_backend_room = true }, CLIENT_OK },
        { "full", { .state = PM_RUN }, { .has_backend_room = false }, CLIENT_TOO_MANY },
        { "smart",
          { .state = PM_RUN, .stop = PM_STOP_SMART },
          { .has_backend_room = true },
          CLIENT_STOPPING },
        { "starting", { .state = PM_STARTUP }, { 0 }, CLIENT_STARTING },
        { "redo", { .state = PM_RECOVERY }, { .hot_standby = true }, CLIENT_NOT_CONSISTENT },
        { "redo without hot standby", { .state = PM_RECOVERY }, { 0 }, CLIENT_NO_HOT_STANDBY },
        { "redo after crash",
          { .state = PM_RECOVERY, .is_restart = true },
          { 0 },
          CLIENT_RECOVERING },
        { "crash",
          { .state = PM_WAIT_BACKENDS, .is_crash = true, .is_restart = true },
          { 0 },
          CLIENT_RECOVERING },
        { "checkpoint",
          { .state = PM_WAIT_CHECKPOINT, .stop = PM_STOP_FAST },
          { 0 },
          CLIENT_STOPPING },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if (pm_fsm_verdict(&rows[i].m, &rows[i].v) != rows[i].want)
            fail_msg("%s: verdict %d, want %d", rows[i].label,
                     (int) pm_fsm_verdict(&rows[i].m, &rows[i].v), (int) rows[i].want);
}

static void
state_words_follow_the_design(void **state)
{
    static const struct {
        struct pm_machine m;
        const char *want;
    } rows[] = {
        { { .state = PM_INIT }, "initializing" },
        { { .state = PM_STARTUP }, "starting" },
        { { .state = PM_RECOVERY }, "recovering" },
        { { .state = PM_RECOVERY, .is_restart = true }, "crash_recovering" },
        { { .state = PM_RUN }, "ready" },
        { { .state = PM_RUN, .stop = PM_STOP_SMART }, "draining" },
        { { .state = PM_WAIT_BACKENDS, .is_crash = true, .is_restart = true }, "crash_recovering" },
        { { .state = PM_WAIT_BACKENDS, .stop = PM_STOP_FAST }, "stopping" },
        { { .state = PM_WAIT_CHECKPOINTER, .stop = PM_STOP_FAST }, "stopping" },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        assert_string_equal(pm_fsm_state_word(&rows[i].m), rows[i].want);
}

/* ---- the walk ---- */
#define VIEW_CLASSES 512

static struct pm_view
view_of(unsigned bits)
{
    unsigned backend = bits & 1u;
    unsigned early = bits >> 1 & 1u;
    unsigned checkpointer = bits >> 2 & 1u;
    unsigned dead_end = bits >> 3 & 1u;
    unsigned archival = bits >> 7 & 1u;

    return (struct pm_view){ .n_children = backend + early + checkpointer + dead_end + archival,
                             .n_attached = backend + early + checkpointer + archival,
                             .n_early = backend + early,
                             .n_archivers = archival,
                             .n_backends = backend,
                             .n_sessions = backend,
                             .has_backend_room = (bits & 16u) != 0,
                             .has_dead_end_room = (bits & 32u) != 0,
                             .restart_after_crash = (bits & 64u) != 0,
                             .hot_standby = (bits & 256u) != 0 };
}

#define MACHINES (PM_STATES * 4u * 64u)

static unsigned
machine_id(const struct pm_machine *m)
{
    unsigned flags = (unsigned) m->is_crash | (unsigned) m->is_restart << 1 |
                     (unsigned) m->startup_failed << 2 | (unsigned) m->is_killing << 3 |
                     (unsigned) m->is_clean << 4 | (unsigned) m->has_ended << 5;

    return ((unsigned) m->state * 4u + (unsigned) m->stop) * 64u + flags;
}

static struct pm_machine
machine_of(unsigned id)
{
    return (struct pm_machine){ .state = id / 64u / 4u,
                                .stop = id / 64u % 4u,
                                .is_crash = (id & 1u) != 0,
                                .is_restart = (id & 2u) != 0,
                                .startup_failed = (id & 4u) != 0,
                                .is_killing = (id & 8u) != 0,
                                .is_clean = (id & 16u) != 0,
                                .has_ended = (id & 32u) != 0 };
}

static void
check_step(const struct pm_machine *m, enum pm_event ev, const struct pm_view *v,
           const struct pm_step *s)
{
    const struct pm_machine *n = &s->next;
    const char *wrong = NULL;

    if (n->stop < m->stop && !(ev == EV_STOP_CANCEL && m->stop == PM_STOP_SMART))
        wrong = "a stop was forgotten";
    if (m->startup_failed && !n->startup_failed)
        wrong = "a failed startup process was forgotten";
    if ((s->actions & DO(LAUNCH_STARTUP)) != 0 && (n->state != PM_STARTUP || n->is_crash))
        wrong = "a startup process outside STARTUP";
    if ((s->actions & DO(LAUNCH_BACKEND)) != 0 &&
        (n->stop != PM_STOP_NONE || n->is_crash ||
         (n->state != PM_RUN && n->state != PM_HOT_STANDBY)))
        wrong = "a backend where none may be";
    if ((s->actions & (DO(EXIT_OK) | DO(EXIT_FAILED))) != 0 && m->state != PM_NO_CHILDREN)
        wrong = "an exit while children may live";
    if ((s->actions & DO(SHM_RESET)) != 0 && m->state != PM_NO_CHILDREN)
        wrong = "memory reset while children may live";
    if ((n->is_crash || n->stop == PM_STOP_IMMEDIATE) && n->state < PM_WAIT_BACKENDS)
        wrong = "a crash or immediate stop that does not wait for all";
    if (n->state == PM_RUN && n->stop >= PM_STOP_FAST)
        wrong = "service goes on in a fast stop";
    if ((n->is_crash || n->stop == PM_STOP_IMMEDIATE) &&
        !(m->is_crash || m->stop == PM_STOP_IMMEDIATE) && n->state != PM_NO_CHILDREN &&
        (s->actions & DO(ARM_KILL)) == 0)
        wrong = "all are told to quit, but no clock runs";
    if (wrong != NULL)
        fail_msg("in %s (stop %d, crash %d) on %s with %u children: %s (rule %d)",
                 pm_state_id(m->state), (int) m->stop, m->is_crash, pm_event_name(ev),
                 v->n_children, wrong, s->rule);
}

static unsigned
walk(uint8_t *seen, uint8_t *fired, uint8_t *decided)
{
    static unsigned queue[MACHINES];
    unsigned head = 0;
    unsigned tail = 0;
    struct pm_machine init = { .state = PM_INIT };

    queue[tail++] = machine_id(&init);
    seen[queue[0]] = 1;
    while (head < tail) {
        struct pm_machine m = machine_of(queue[head++]);

        for (unsigned i = 0; i < PM_EVENTS * VIEW_CLASSES; i++) {
            struct pm_view v = view_of(i % VIEW_CLASSES);
            enum pm_event ev = i / VIEW_CLASSES;
            struct pm_step s;
            unsigned id;

            if (m.state == PM_NO_CHILDREN && v.n_children > 0)
                continue; /* what the state means */
            s = pm_step(&m, ev, &v);
            check_step(&m, ev, &v, &s);
            id = machine_id(&s.next);
            if (s.rule >= 0) {
                fired[s.rule] = 1;
                decided[(unsigned) m.state * PM_EVENTS + ev] = 1;
            }
            if (!seen[id]) {
                seen[id] = 1;
                queue[tail++] = id;
            }
        }
    }
    return tail;
}

static uint8_t seen[MACHINES], fired[128], decided[PM_STATES * PM_EVENTS];

static int
do_walk(void **state)
{
    (void) state;
    (void) walk(seen, fired, decided);
    return 0;
}

static void
no_rule_is_shadowed(void **state)
{
    (void) state;
    for (unsigned i = 0; i < pm_fsm_n_rules(); i++)
        if (!fired[i])
            fail_msg("rule %u (%s) never fires", i, pm_fsm_rule(i).guard);
}

static void
every_state_is_reached_and_reaches_the_end(void **state)
{
    bool ends[MACHINES] = { false };
    bool is_new = true;

    (void) state;
    while (is_new) {
        is_new = false;
        for (unsigned id = 0; id < MACHINES; id++) {
            struct pm_machine m = machine_of(id);

            if (!seen[id] || ends[id])
                continue;
            for (unsigned i = 0; i < PM_EVENTS * VIEW_CLASSES && !ends[id]; i++) {
                struct pm_view v = view_of(i % VIEW_CLASSES);
                struct pm_step s = pm_step(&m, i / VIEW_CLASSES, &v);

                ends[id] = m.has_ended || s.next.has_ended || ends[machine_id(&s.next)];
            }
            is_new |= ends[id];
        }
    }
    for (unsigned id = 0; id < MACHINES; id++)
        if (seen[id] && !ends[id])
            fail_msg("%s with flags %u never ends", pm_state_id(id / 256u), id % 256u);
    for (enum pm_state s = 0; s < PM_STATES; s++) {
        bool is_reached = false;

        for (unsigned i = 0; i < 256; i++)
            is_reached |= seen[s * 256u + i] != 0;
        if (!is_reached)
            fail_msg("%s is never reached", pm_state_id(s));
    }
}

/* Pairs without a rule: cannot happen there, or means nothing there. */
#define NOWHERE  (BIT(PM_STATES) - 1)
#define BUT(...) (NOWHERE & ~(__VA_ARGS__))
#define S(id)    BIT(PM_##id)
static const uint64_t ignored[PM_EVENTS] = {
    [EV_START] = BUT(S(INIT)),
    [EV_REDO_STARTED] = BUT(S(STARTUP)), /* late messages never set the state back */
    [EV_CONSISTENT] = BUT(S(RECOVERY)),
    [EV_PROMOTE] = BUT(S(STARTUP) | S(RECOVERY) | S(HOT_STANDBY)), /* a primary already */
    [EV_STARTUP_DONE] = BUT(S(STARTUP) | S(RECOVERY) | S(HOT_STANDBY)),
    [EV_STARTUP_TARGET] = BUT(S(STARTUP) | S(RECOVERY) | S(HOT_STANDBY)),
    [EV_STARTUP_FAILED] = S(INIT) | S(WAIT_CHECKPOINT) | S(WAIT_ARCHIVER) | S(WAIT_CHECKPOINTER) |
                          S(WAIT_DEAD_END) | S(NO_CHILDREN),
    [EV_STARTUP_NO_FORK] = S(INIT) | S(WAIT_CHECKPOINT) | S(WAIT_ARCHIVER) | S(WAIT_CHECKPOINTER) |
                           S(WAIT_DEAD_END) | S(NO_CHILDREN),
    [EV_CHECKPOINTER_LEFT] = S(INIT),
    [EV_CHECKPOINTER_NO_FORK] = S(INIT),
    [EV_WAL_IS_SHUT] = S(INIT) | S(WAIT_ARCHIVER) | S(WAIT_CHECKPOINTER) | S(NO_CHILDREN),
    [EV_CHILD_GONE] = NOWHERE, /* ADVANCE looks at the counts */
    [EV_CHILD_CRASHED] = S(INIT),
    [EV_STOP_SMART] = S(STOP_BACKENDS) | S(WAIT_CHECKPOINT) | S(WAIT_ARCHIVER) |
                      S(WAIT_CHECKPOINTER) | S(NO_CHILDREN), /* a stop is asked already */
    [EV_STOP_FAST] = S(NO_CHILDREN),
    [EV_STOP_IMMEDIATE] = S(NO_CHILDREN),
    [EV_STOP_CANCEL] = BUT(S(HOT_STANDBY) | S(RUN)), /* too late, or nothing to take back */
    [EV_LOCK_LOST] = S(NO_CHILDREN),
    [EV_PATIENCE_OVER] = BUT(S(STOP_BACKENDS) | S(WAIT_BACKENDS) | S(WAIT_ARCHIVER)), /* armed */
    [EV_KILL_TIME] = BUT(S(WAIT_BACKENDS) | S(WAIT_DEAD_END)), /* armed there */
    [EV_WORKER] = BUT(S(RUN)),
    [EV_RELOAD] = S(INIT) | S(NO_CHILDREN),
    [EV_ADVANCE] = S(INIT) | S(STARTUP) | S(RECOVERY) | S(WAIT_CHECKPOINT) | S(WAIT_CHECKPOINTER),
};

static void
every_pair_of_state_and_event_is_decided_or_on_the_ignore_list(void **state)
{
    (void) state;
    for (enum pm_state s = 0; s < PM_STATES; s++)
        for (enum pm_event ev = 0; ev < PM_EVENTS; ev++)
            if (decided[(unsigned) s * PM_EVENTS + ev] == 0 && (ignored[ev] & BIT(s)) == 0)
                fail_msg("nothing decides %s in %s", pm_event_name(ev), pm_state_id(s));
}

/* ---- a model with children ---- */
#define MODEL_CHILDREN 13

struct model {
    struct pm_machine m;
    struct {
        bool is_alive;
        enum child_kind kind;
        int told;
    } child[MODEL_CHILDREN];
    bool must_wake[CHILD_KINDS]; /* a missing kind whose back-off runs */
    bool kill_clock, patience_clock, reset_done;
    unsigned n_events;
};

static unsigned
model_count(const struct model *w, enum child_kind kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < MODEL_CHILDREN; i++)
        n += w->child[i].is_alive && w->child[i].kind == kind;
    return n;
}

static struct pm_view
model_view(const struct model *w)
{
    struct pm_view v = { .restart_after_crash = true,
                         .has_dead_end_room = model_count(w, CHILD_DEAD_END) < 2 };

    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        unsigned n = model_count(w, k);

        v.n_children += child_policies[k].phase == PHASE_OUTLIVES ? 0 : n;
        v.n_attached += child_policies[k].is_attached ? n : 0;
        v.n_early += child_policies[k].phase == PHASE_EARLY ? n : 0;
        v.n_archivers += child_policies[k].phase == PHASE_ARCHIVE ? n : 0;
        v.n_backends += k == CHILD_BACKEND ? n : 0;
    }
    v.n_sessions = v.n_backends;
    v.has_backend_room = v.n_backends < 3;
    return v;
}

static bool
model_launch(struct model *w, enum child_kind kind, struct rng *r)
{
    if (rng_below(r, 50) == 0)
        return false; /* fork failed */
    for (unsigned i = 0; i < MODEL_CHILDREN; i++) {
        if (!w->child[i].is_alive) {
            w->child[i].is_alive = true;
            w->child[i].kind = kind;
            w->child[i].told = 0;
            return true;
        }
    }
    fail_msg("more children than the model holds");
    return false;
}

static void model_event(struct model *w, enum pm_event ev, struct rng *r);

static void
model_reconcile(struct model *w, struct rng *r)
{
    bool has_failed = false;

    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        bool is_due = !w->must_wake[k] || rng_below(r, 2) == 0;

        w->must_wake[k] = false;
        if (!pm_fsm_must_run(&w->m, k) || model_count(w, k) > 0)
            continue;
        w->must_wake[k] = !is_due || !model_launch(w, k, r);
        has_failed |= is_due && w->must_wake[k] && k == CHILD_CHECKPOINTER;
    }
    for (unsigned i = 0; i < MODEL_CHILDREN; i++) {
        int signal = pm_fsm_signal(&w->m, w->child[i].kind);

        if (w->child[i].is_alive && pm_fsm_is_stronger(signal, w->child[i].told))
            w->child[i].told = signal;
    }
    if (has_failed)
        model_event(w, EV_CHECKPOINTER_NO_FORK, r);
}

static void
model_exec(struct model *w, uint64_t actions, struct rng *r)
{
    if ((actions & (DO(ARM_KILL) | DO(ARM_DEAD_END))) != 0)
        w->kill_clock = true;
    if ((actions & DO(ARM_PATIENCE)) != 0)
        w->patience_clock = true;
    if ((actions & DO(DISARM)) != 0)
        w->kill_clock = w->patience_clock = false;
    if ((actions & DO(SHM_RESET)) != 0)
        assert_int_equal(model_view(w).n_children, 0);
    if ((actions & DO(LAUNCH_BACKEND)) != 0)
        (void) model_launch(w, CHILD_BACKEND, r);
    if ((actions & DO(LAUNCH_DEAD_END)) != 0)
        (void) model_launch(w, CHILD_DEAD_END, r);
    if ((actions & DO(LAUNCH_STARTUP)) != 0) {
        assert_int_equal(model_count(w, CHILD_STARTUP), 0);
        if (!model_launch(w, CHILD_STARTUP, r))
            model_event(w, EV_STARTUP_NO_FORK, r);
    }
}

static void
model_invariants(const struct model *w)
{
    for (unsigned i = 0; i < MODEL_CHILDREN; i++) {
        if (!w->child[i].is_alive)
            continue;
        if (!pm_fsm_may_live(&w->m, w->child[i].kind))
            fail_msg("a %s lives in %s", child_policies[w->child[i].kind].role,
                     pm_state_id(w->m.state));
        if (pm_fsm_is_stronger(pm_fsm_signal(&w->m, w->child[i].kind), w->child[i].told))
            fail_msg("a %s was not told to leave in %s", child_policies[w->child[i].kind].role,
                     pm_state_id(w->m.state));
    }
    for (enum child_kind k = 0; k < CHILD_KINDS; k++)
        if (pm_fsm_must_run(&w->m, k) && model_count(w, k) == 0 && !w->must_wake[k])
            fail_msg("no %s in %s and nobody wakes up to start one", child_policies[k].role,
                     pm_state_id(w->m.state));
    assert_true(model_count(w, CHILD_STARTUP) <= 1);
    if (w->m.has_ended)
        assert_int_equal(model_view(w).n_children, 0);
}

static void
model_event(struct model *w, enum pm_event ev, struct rng *r)
{
    for (unsigned turns = 0;; turns++) {
        struct pm_view v = model_view(w);
        struct pm_step s = pm_step(&w->m, ev, &v);

        w->n_events++;
        if (turns > 20)
            fail_msg("ADVANCE does not come to rest in %s", pm_state_id(w->m.state));
        if (s.rule < 0 && ev == EV_ADVANCE)
            break;
        w->m = s.next;
        model_exec(w, s.actions, r);
        ev = EV_ADVANCE;
    }
    model_reconcile(w, r);
    model_invariants(w);
}

/* A child ends: what the postmaster would make of it. */
static void
model_death(struct model *w, unsigned i, bool is_bad, struct rng *r)
{
    enum child_kind kind = w->child[i].kind;
    int told = w->child[i].told;
    enum pm_event ev = is_bad ? EV_CHILD_CRASHED : EV_CHILD_GONE;

    w->child[i].is_alive = false;
    if (kind == CHILD_DEAD_END)
        ev = EV_CHILD_GONE;
    if (kind == CHILD_CHECKPOINTER && !is_bad)
        ev = EV_CHECKPOINTER_LEFT;
    if (kind == CHILD_STARTUP && told == 0)
        ev = is_bad ? EV_STARTUP_FAILED : EV_STARTUP_DONE;
    if (kind == CHILD_STARTUP && told != 0)
        ev = EV_CHILD_GONE;
    model_event(w, ev, r);
}

static void
model_turn(struct model *w, struct rng *r)
{
    unsigned i = (unsigned) rng_below(r, MODEL_CHILDREN);

    switch (rng_below(r, 40)) {
    case 0:
        model_event(w, EV_STOP_SMART + (enum pm_event) rng_below(r, 4), r); /* or its cancel */
        break;
    case 1:
    case 2:
        if (w->child[i].is_alive)
            model_death(w, i, true, r);
        break;
    case 3:
        if (w->kill_clock) {
            w->kill_clock = false;
            model_event(w, EV_KILL_TIME, r);
        } else if (w->patience_clock) {
            w->patience_clock = false;
            model_event(w, EV_PATIENCE_OVER, r);
        }
        break;
    case 4:
        model_event(w, EV_REDO_STARTED, r);
        break;
    case 5:
        if (model_count(w, CHILD_STARTUP) > 0)
            model_event(w, EV_CONSISTENT, r);
        break;
    case 6:
        if (w->m.state == PM_WAIT_CHECKPOINT && model_count(w, CHILD_CHECKPOINTER) > 0)
            model_event(w, EV_WAL_IS_SHUT, r);
        break;
    default:
        if (rng_below(r, 3) == 0)
            model_event(w, rng_below(r, 20) == 0 ? EV_RELOAD : EV_CLIENT, r);
        else if (w->child[i].is_alive && (w->child[i].told != 0 || rng_below(r, 8) == 0) &&
                 (w->child[i].kind != CHILD_CHECKPOINTER || w->child[i].told > SIGINT))
            model_death(w, i, false, r);
        break;
    }
}

static void
a_million_random_events_keep_the_invariants(void **state)
{
    struct rng r;
    unsigned n_events = 0;
    unsigned n_ends = 0;

    (void) state;
    rng_init(&r, 20261121);
    while (n_events < 1000000) {
        struct model w = { .m = { .state = PM_INIT } };

        model_event(&w, EV_START, &r);
        for (unsigned turn = 0; turn < 3000 && !w.m.has_ended; turn++)
            model_turn(&w, &r);
        n_events += w.n_events;
        n_ends += w.m.has_ended;
    }
    assert_true(n_ends > 1000);
}

/* ---- the diagram ---- */
static size_t
diagram(char *p, size_t n)
{
    size_t at = (size_t) snprintf(p, n, "digraph postmaster {\n    rankdir=LR;\n");

    for (unsigned i = 0; i < pm_fsm_n_rules(); i++) {
        struct pm_rule_text r = pm_fsm_rule(i);

        for (enum pm_state from = 0; from < PM_STATES; from++) {
            const char *sep = "";

            if ((r.in & BIT(from)) == 0 || r.go == PM_STATES || r.go == from)
                continue;
            at += (size_t) snprintf(p + at, n - at, "    %s -> %s [label=\"", pm_state_id(from),
                                    pm_state_id(r.go));
            for (enum pm_event ev = 0; ev < PM_EVENTS; ev++) {
                if ((r.on & BIT(ev)) == 0)
                    continue;
                at += (size_t) snprintf(p + at, n - at, "%s%s", sep, pm_event_name(ev));
                sep = ", ";
            }
            at += (size_t) snprintf(p + at, n - at, "%s%s\"];\n",
                                    strcmp(r.guard, "always") == 0 ? "" : " if ",
                                    strcmp(r.guard, "always") == 0 ? "" : r.guard);
            assert_true(at < n);
        }
    }
    at += (size_t) snprintf(p + at, n - at, "}\n");
    return at;
}

static char want_text[65536], readme[131072];

static void
the_diagram_in_the_readme_is_the_table(void **state)
{
    FILE *f = fopen(TEST_SOURCE_ROOT "/src/pm/README.md", "re");
    size_t n;

    (void) state;
    assert_non_null(f);
    n = fread(readme, 1, sizeof readme - 1, f);
    readme[n] = '\0';
    (void) fclose(f);
    (void) diagram(want_text, sizeof want_text);
    if (strstr(readme, want_text) == NULL)
        fail_msg("src/pm/README.md shows another machine; put the output of `test_pm_fsm "
                 "--diagram` there");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_throws_all_out_and_memory_is_reset_only_when_the_last_is_gone),
        cmocka_unit_test(a_second_crash_while_memory_is_made_anew_is_handled_like_the_first),
        cmocka_unit_test(the_checkpointer_leaves_last_and_only_after_its_checkpoint),
        cmocka_unit_test(the_archiver_works_until_the_checkpoint_and_once_more_behind_it),
        cmocka_unit_test(a_failing_startup_process_ends_the_server),
        cmocka_unit_test(the_log_collector_is_told_nothing_and_runs_while_anybody_does),
        cmocka_unit_test(promotion_during_a_smart_stop_keeps_waiting_for_clients),
        cmocka_unit_test(a_standby_serves_reads_when_it_is_consistent_or_only_says_that_it_is),
        cmocka_unit_test(
            a_recovery_target_ends_the_server_also_when_a_smart_stop_waits_for_readers),
        cmocka_unit_test(clients_hear_why_they_cannot_come_in),
        cmocka_unit_test(state_words_follow_the_design),
        cmocka_unit_test(no_rule_is_shadowed),
        cmocka_unit_test(every_state_is_reached_and_reaches_the_end),
        cmocka_unit_test(every_pair_of_state_and_event_is_decided_or_on_the_ignore_list),
        cmocka_unit_test(a_million_random_events_keep_the_invariants),
        cmocka_unit_test(the_diagram_in_the_readme_is_the_table),
    };

    if (argc > 1 && strcmp(argv[1], "--diagram") == 0) {
        (void) diagram(want_text, sizeof want_text);
        (void) fputs(want_text, stdout);
        return 0;
    }
    return cmocka_run_group_tests_name("pm_fsm", tests, do_walk, NULL);
}
