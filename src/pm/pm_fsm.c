/* The postmaster's rules. Pure; runs in: postmaster, tests. Owns nothing.
 * Source: postmaster.md 2.2, 2.10, 2.11; none of the holes of 2.12. */
#include "pm/pm_fsm.h"

#include <signal.h>

/* ---- names ---- */
/* clang-format off */
static const struct {
    const char *id, *shown, *word;
} state_rows[PM_STATES] = {
#define PM_STATE(id, shown, word, text) [PM_##id] = { #id, shown, word },
#include "tbl/pm_states.def"
#undef PM_STATE
};
static const char *const event_names[PM_EVENTS] = {
#define PM_EVENT(id, text) [EV_##id] = #id,
#include "tbl/pm_events.def"
#undef PM_EVENT
};
static const char *const action_names[PM_ACTIONS] = {
#define PM_ACTION(id, text) [ACT_##id] = #id,
#include "tbl/pm_actions.def"
#undef PM_ACTION
};

/* ---- sets ---- */
#define IN(id) BIT(PM_##id)
#define ON(id) BIT(EV_##id)

#define RECOVERING  (IN(STARTUP) | IN(RECOVERY) | IN(HOT_STANDBY))
#define SERVING     (RECOVERING | IN(RUN))
#define BEFORE_CKPT (SERVING | IN(STOP_BACKENDS) | IN(WAIT_BACKENDS)) /* the shutdown checkpoint is not begun */
#define CKPT        (IN(WAIT_CHECKPOINT) | IN(WAIT_ARCHIVER) | IN(WAIT_CHECKPOINTER))
#define ENDING      (IN(WAIT_DEAD_END) | IN(NO_CHILDREN))
#define ALIVE       (BEFORE_CKPT | CKPT | IN(WAIT_DEAD_END))
#define ANYWHERE    (ALIVE | IN(INIT) | IN(NO_CHILDREN))

/* ---- child kinds ---- */
#define RUNS_NEVER      0
#define RUNS_RECOVERY   RECOVERING
#define RUNS_OPEN       IN(RUN)
#define RUNS_RUN        IN(RUN)
#define RUNS_ALIVE      ALIVE
#define RUNS_CHECKPOINT IN(WAIT_CHECKPOINT)
#define ATTACHED        true
#define DETACHED        false
const struct child_policy child_policies[CHILD_KINDS] = {
#define CHILD_KIND(id, role_, descr, main_, max, runs, attaches, exit0, exit1, phase_, life_) \
    [CHILD_##id] = { .role = role_, .description = descr, .main = main_, .runs_in = (runs), .is_attached = attaches, \
                     .on_exit0 = EXIT_##exit0, .on_exit1 = EXIT_##exit1, .phase = PHASE_##phase_, .life = LIFE_##life_ },
#include "tbl/child_kinds.def"
#undef CHILD_KIND
};
/* clang-format on */

/* ---- guards ---- */
static bool
if_always(const struct pm_machine *m, const struct pm_view *v)
{
    (void) m;
    (void) v;
    return true;
}

/* Everybody attached is being thrown out: by a crash or by an immediate stop. */
static bool
is_abrupt(const struct pm_machine *m)
{
    return m->is_crash || m->stop == PM_STOP_IMMEDIATE;
}

static bool
if_abrupt(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return is_abrupt(m);
}

static bool
if_calm(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->stop == PM_STOP_NONE && !m->is_crash;
}

static bool
if_smart(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->stop == PM_STOP_SMART && !m->is_crash;
}

static bool
if_not_stopping(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->stop == PM_STOP_NONE;
}

static bool
if_below_fast(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->stop < PM_STOP_FAST;
}

static bool
if_fast(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->stop == PM_STOP_FAST;
}

static bool
if_below_immediate(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->stop < PM_STOP_IMMEDIATE;
}

static bool
if_drained(const struct pm_machine *m, const struct pm_view *v)
{
    return if_smart(m, v) && v->n_sessions == 0;
}

static bool
if_all_out(const struct pm_machine *m, const struct pm_view *v)
{
    return is_abrupt(m) && v->n_attached == 0;
}

static bool
if_early_out(const struct pm_machine *m, const struct pm_view *v)
{
    return !is_abrupt(m) && v->n_early == 0;
}

static bool
if_alone(const struct pm_machine *m, const struct pm_view *v)
{
    (void) m;
    return v->n_children == 0;
}

static bool
if_archived(const struct pm_machine *m, const struct pm_view *v)
{
    (void) m;
    return v->n_archivers == 0;
}

static bool
if_no_hot_standby(const struct pm_machine *m, const struct pm_view *v)
{
    (void) m;
    return !v->hot_standby;
}

static bool
if_startup_failed(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->startup_failed;
}

static bool
if_stopped(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->stop != PM_STOP_NONE && !m->is_crash;
}

static bool
if_stopped_by_crash(const struct pm_machine *m, const struct pm_view *v)
{
    (void) v;
    return m->stop != PM_STOP_NONE && m->is_crash;
}

static bool
if_no_restart(const struct pm_machine *m, const struct pm_view *v)
{
    (void) m;
    return !v->restart_after_crash;
}

static bool
if_welcome(const struct pm_machine *m, const struct pm_view *v)
{
    return pm_fsm_verdict(m, v) == CLIENT_OK;
}

static bool
if_refusable(const struct pm_machine *m, const struct pm_view *v)
{
    (void) m;
    return v->has_dead_end_room;
}

/* ---- rules ---- */
enum pm_set {
    SET_SMART = 1u << 0,
    SET_FAST = 1u << 1,
    SET_IMMEDIATE = 1u << 2,
    SET_CRASH = 1u << 3,  /* with is_restart */
    SET_FAILED = 1u << 4, /* startup_failed */
    SET_KILLING = 1u << 5,
    SET_CLEAN = 1u << 6,
    SET_FRESH = 1u << 7,   /* the crash is handled: memory is new */
    SET_SERVING = 1u << 8, /* service has resumed */
    SET_ENDED = 1u << 9,
    SET_NO_STOP = 1u << 10, /* no stop is asked any more */
};

typedef bool (*pm_guard)(const struct pm_machine *m, const struct pm_view *v);
struct pm_rule {
    uint64_t in;
    uint64_t on;
    pm_guard when;
    const char *guard;
    enum pm_state go;
    unsigned set;
    uint64_t actions;
};

#define SAME     PM_STATES
#define WHEN(id) if_##id, #id

#define OUT_ALL  (DO(ARM_KILL))
#define STOPPING (DO(LOG_STOP) | DO(NOTIFY_STOPPING) | DO(PIDFILE_STOPPING))
#define BAD_END  (ON(CHILD_CRASHED) | ON(CHECKPOINTER_LEFT) | ON(CHECKPOINTER_NO_FORK))

/* clang-format off */
static const struct pm_rule pm_rules[] = {
    /* in            on                      when                   go                 set              and do */

    /* Life. */
    { IN(INIT),      ON(START),              WHEN(always),          PM_STARTUP,        0,               DO(ACCEPT_ON) | DO(LAUNCH_STARTUP) },
    { IN(STARTUP),   ON(REDO_STARTED),       WHEN(calm),            PM_RECOVERY,       0,               DO(LOG_REDO) },
    { IN(RECOVERY),  ON(CONSISTENT),         WHEN(no_hot_standby),  SAME,              SET_SERVING,     DO(NOTIFY_READY) | DO(PIDFILE_STANDBY) },
    { IN(RECOVERY),  ON(CONSISTENT),         WHEN(calm),            PM_HOT_STANDBY,    SET_SERVING,     DO(LOG_READ_ONLY) | DO(NOTIFY_READY) | DO(PIDFILE_READY) },
    { RECOVERING,    ON(PROMOTE),            WHEN(always),          SAME,              0,               DO(PROMOTE) },
    { RECOVERING,    ON(STARTUP_DONE),       WHEN(calm),            PM_RUN,            SET_SERVING,     DO(LOG_READY) | DO(NOTIFY_READY) | DO(PIDFILE_READY) | DO(DISARM) },
    /* A smart stop waits for readers of a standby that is promoted meanwhile: it goes on waiting (2.11 rule 7). */
    { IN(HOT_STANDBY), ON(STARTUP_DONE),     WHEN(smart),           PM_RUN,            SET_SERVING,     0 },
    { RECOVERING,    ON(STARTUP_TARGET),     WHEN(always),          PM_STOP_BACKENDS,  SET_SMART,       DO(LOG_TARGET) | DO(NOTIFY_STOPPING) | DO(PIDFILE_STOPPING) },

    /* The startup process fails by itself: the server ends, it is never tried again (finding 2). */
    { BEFORE_CKPT,   ON(STARTUP_FAILED) | ON(STARTUP_NO_FORK), WHEN(below_immediate), PM_WAIT_BACKENDS, SET_CRASH | SET_FAILED, DO(LOG_CRASH) | DO(REASON_CRASH) | OUT_ALL },

    /* Stops, from every state. */
    { IN(INIT),      ON(STOP_SMART) | ON(STOP_FAST) | ON(STOP_IMMEDIATE) | ON(LOCK_LOST), WHEN(not_stopping), PM_NO_CHILDREN, SET_FAST, STOPPING },
    { IN(STARTUP) | IN(RECOVERY), ON(STOP_SMART), WHEN(not_stopping), PM_STOP_BACKENDS, SET_SMART,      STOPPING },
    { IN(HOT_STANDBY) | IN(RUN), ON(STOP_SMART), WHEN(not_stopping), SAME,             SET_SMART,       DO(LOG_STOP) | DO(PIDFILE_STOPPING) },
    { ALIVE,         ON(STOP_SMART),         WHEN(not_stopping),    SAME,              SET_SMART,       STOPPING },
    { IN(HOT_STANDBY) | IN(RUN), ON(STOP_CANCEL), WHEN(smart),      SAME,              SET_NO_STOP,     DO(LOG_STOP_CANCELED) | DO(PIDFILE_READY) },
    { IN(STARTUP) | IN(RECOVERY), ON(STOP_FAST), WHEN(below_fast),  PM_STOP_BACKENDS,  SET_FAST,        STOPPING | DO(ARM_PATIENCE) },
    { IN(HOT_STANDBY) | IN(RUN), ON(STOP_FAST), WHEN(below_fast),   PM_STOP_BACKENDS,  SET_FAST,        STOPPING | DO(LOG_ABORTING) | DO(ARM_PATIENCE) },
    { ALIVE,         ON(STOP_FAST),          WHEN(below_fast),      SAME,              SET_FAST,        STOPPING | DO(ARM_PATIENCE) },
    { BEFORE_CKPT,   ON(STOP_IMMEDIATE),     WHEN(below_immediate), PM_WAIT_BACKENDS,  SET_IMMEDIATE,   STOPPING | DO(REASON_STOP) | OUT_ALL },
    { BEFORE_CKPT,   ON(LOCK_LOST),          WHEN(below_immediate), PM_WAIT_BACKENDS,  SET_IMMEDIATE,   DO(LOG_LOCK_LOST) | STOPPING | DO(REASON_STOP) | OUT_ALL },
    { CKPT | IN(WAIT_DEAD_END), ON(STOP_IMMEDIATE), WHEN(below_immediate), PM_WAIT_DEAD_END, SET_IMMEDIATE, STOPPING | DO(ACCEPT_OFF) | DO(REASON_STOP) | OUT_ALL },
    { CKPT | IN(WAIT_DEAD_END), ON(LOCK_LOST), WHEN(below_immediate), PM_WAIT_DEAD_END, SET_IMMEDIATE,  DO(LOG_LOCK_LOST) | STOPPING | DO(ACCEPT_OFF) | DO(REASON_STOP) | OUT_ALL },
    { BEFORE_CKPT,   ON(PATIENCE_OVER),      WHEN(fast),            PM_WAIT_BACKENDS,  SET_IMMEDIATE,   DO(LOG_PATIENCE) | DO(REASON_STOP) | OUT_ALL },

    { IN(WAIT_ARCHIVER), ON(PATIENCE_OVER),  WHEN(below_immediate), PM_WAIT_DEAD_END,  SET_IMMEDIATE,   DO(LOG_PATIENCE) | DO(ACCEPT_OFF) | DO(REASON_STOP) | OUT_ALL },

    /* A crash. Handled once; further deaths of the same episode only count (finding 5: a crash while starting anew is a new episode). */
    { ANYWHERE,      BAD_END | ON(WAL_IS_SHUT), WHEN(abrupt),       SAME,              0,               0 },
    { IN(WAIT_CHECKPOINT), ON(WAL_IS_SHUT),  WHEN(always),          PM_WAIT_ARCHIVER,  SET_CLEAN,       DO(ARM_PATIENCE) },
    { IN(WAIT_CHECKPOINTER), ON(CHECKPOINTER_LEFT), WHEN(always),   PM_WAIT_DEAD_END,  0,               DO(ACCEPT_OFF) | DO(ARM_DEAD_END) },
    { BEFORE_CKPT,   ON(WAL_IS_SHUT),        WHEN(always),          PM_WAIT_BACKENDS,  SET_CRASH,       DO(LOG_WAL_SHUT) | DO(LOG_CRASH) | DO(REASON_CRASH) | OUT_ALL },
    { BEFORE_CKPT & ~IN(STOP_BACKENDS), ON(CHECKPOINTER_NO_FORK), WHEN(always), SAME,  0,               0 },
    { BEFORE_CKPT,   BAD_END,                WHEN(always),          PM_WAIT_BACKENDS,  SET_CRASH,       DO(LOG_CRASH) | DO(REASON_CRASH) | OUT_ALL },
    { CKPT | IN(WAIT_DEAD_END), BAD_END,     WHEN(always),          PM_WAIT_DEAD_END,  SET_CRASH,       DO(LOG_CRASH) | DO(ACCEPT_OFF) | DO(REASON_CRASH) | OUT_ALL },
    { ALIVE,         ON(KILL_TIME),          WHEN(abrupt),          SAME,              SET_KILLING,     DO(KILL_ALL) },
    { IN(WAIT_DEAD_END), ON(KILL_TIME),      WHEN(always),          SAME,              SET_KILLING,     DO(KILL_ALL) },

    /* Clients. */
    { SERVING | IN(STOP_BACKENDS) | IN(WAIT_BACKENDS) | CKPT, ON(CLIENT), WHEN(welcome), SAME, 0,       DO(LAUNCH_BACKEND) },
    { SERVING | IN(STOP_BACKENDS) | IN(WAIT_BACKENDS) | CKPT, ON(CLIENT), WHEN(refusable), SAME, 0,     DO(LAUNCH_DEAD_END) },
    { ANYWHERE,      ON(CLIENT),             WHEN(always),          SAME,              0,               DO(DROP_CLIENT) },
    { IN(RUN),       ON(WORKER),             WHEN(always),          SAME,              0,               DO(LAUNCH_WORKER) },
    { ALIVE,         ON(RELOAD),             WHEN(below_fast),      SAME,              0,               DO(RELOAD) },

    /* Looked at after every event, until nothing changes. */
    { IN(HOT_STANDBY) | IN(RUN), ON(ADVANCE), WHEN(drained),        PM_STOP_BACKENDS,  0,               DO(NOTIFY_STOPPING) },
    { IN(STOP_BACKENDS), ON(ADVANCE),        WHEN(always),          PM_WAIT_BACKENDS,  0,               0 },
    { IN(WAIT_BACKENDS), ON(ADVANCE),        WHEN(all_out),         PM_WAIT_DEAD_END,  0,               DO(ACCEPT_OFF) | DO(ARM_DEAD_END) },
    { IN(WAIT_BACKENDS), ON(ADVANCE),        WHEN(early_out),       PM_WAIT_CHECKPOINT, 0,              0 },
    { IN(WAIT_ARCHIVER), ON(ADVANCE),        WHEN(archived),        PM_WAIT_CHECKPOINTER, 0,            0 },
    { IN(WAIT_DEAD_END), ON(ADVANCE),        WHEN(alone),           PM_NO_CHILDREN,    0,               DO(DISARM) },
    { IN(NO_CHILDREN), ON(ADVANCE),          WHEN(startup_failed),  SAME,              SET_ENDED,       DO(LOG_STARTUP_FAILED) | DO(EXIT_FAILED) },
    { IN(NO_CHILDREN), ON(ADVANCE),          WHEN(stopped),         SAME,              SET_ENDED,       DO(EXIT_OK) },
    { IN(NO_CHILDREN), ON(ADVANCE),          WHEN(stopped_by_crash), SAME,             SET_ENDED,       DO(LOG_ABNORMAL) | DO(EXIT_FAILED) },
    { IN(NO_CHILDREN), ON(ADVANCE),          WHEN(no_restart),      SAME,              SET_ENDED,       DO(LOG_NO_RESTART) | DO(EXIT_FAILED) },
    { IN(NO_CHILDREN), ON(ADVANCE),          WHEN(always),          PM_STARTUP,        SET_FRESH,       DO(LOG_REINIT) | DO(SHM_RESET) | DO(ACCEPT_ON) | DO(LAUNCH_STARTUP) },
};
/* clang-format on */

static void
apply_set(struct pm_machine *m, unsigned set)
{
    static const struct {
        unsigned bit;
        enum pm_stop stop;
    } stops[] = { { SET_SMART, PM_STOP_SMART },
                  { SET_FAST, PM_STOP_FAST },
                  { SET_IMMEDIATE, PM_STOP_IMMEDIATE } };

    for (size_t i = 0; i < ELEMENTSOF(stops); i++)
        if ((set & stops[i].bit) != 0 && m->stop < stops[i].stop)
            m->stop = stops[i].stop;
    if ((set & SET_NO_STOP) != 0)
        m->stop = PM_STOP_NONE;
    if ((set & SET_CRASH) != 0) {
        m->is_crash = true;
        m->is_restart = true;
    }
    if ((set & SET_FRESH) != 0) {
        m->is_crash = false;
        m->is_killing = false;
    }
    m->startup_failed |= (set & SET_FAILED) != 0;
    m->is_killing |= (set & SET_KILLING) != 0;
    m->is_clean |= (set & SET_CLEAN) != 0;
    m->is_restart &= (set & SET_SERVING) == 0;
    m->has_ended |= (set & SET_ENDED) != 0;
}

struct pm_step
pm_step(const struct pm_machine *m, enum pm_event ev, const struct pm_view *v)
{
    struct pm_step s = { .rule = -1, .next = *m, .actions = 0 };

    if (m->has_ended)
        return s;
    for (size_t i = 0; i < ELEMENTSOF(pm_rules); i++) {
        const struct pm_rule *r = &pm_rules[i];

        if ((r->in & BIT(m->state)) == 0 || (r->on & BIT(ev)) == 0 || !r->when(m, v))
            continue;
        s.rule = (int) i;
        s.actions = r->actions;
        if (r->go != SAME)
            s.next.state = r->go;
        apply_set(&s.next, r->set);
        return s;
    }
    return s;
}

/* ---- what holds in a state ---- */
int
pm_fsm_signal(const struct pm_machine *m, enum child_kind kind)
{
    enum stop_phase phase = child_policies[kind].phase;

    if (phase == PHASE_OUTLIVES)
        return 0;
    /* Not before their turn, whatever happens to the others: they tell clients what it is. */
    if (phase == PHASE_LAST && m->state < PM_WAIT_DEAD_END)
        return 0;
    if (m->is_killing)
        return SIGKILL;
    if (is_abrupt(m) || m->state == PM_NO_CHILDREN)
        return SIGQUIT;
    if (m->state < PM_STOP_BACKENDS)
        return 0;
    switch (phase) {
    case PHASE_EARLY:
        return SIGTERM;
    case PHASE_CHECKPOINT:
        if (m->state == PM_WAIT_CHECKPOINT)
            return SIGINT;
        if (m->state == PM_WAIT_CHECKPOINTER)
            return SIGUSR2;
        return m->state == PM_WAIT_DEAD_END ? SIGQUIT : 0;
    case PHASE_ARCHIVE:
        if (m->state == PM_WAIT_ARCHIVER)
            return SIGUSR2; /* once more over all that is ready */
        return m->state > PM_WAIT_ARCHIVER ? SIGQUIT : 0;
    case PHASE_LAST:
        return m->state == PM_WAIT_DEAD_END ? SIGTERM : 0;
    case PHASE_OUTLIVES:
        break;
    }
    return 0;
}

static int
strength(int signal)
{
    switch (signal) {
    case SIGINT:
        return 1;
    case SIGTERM:
    case SIGUSR2:
        return 2;
    case SIGQUIT:
        return 3;
    case SIGKILL:
        return 4;
    default: /* signals are the kernel's numbers, not an enum of ours */
        return 0;
    }
}

bool
pm_fsm_is_stronger(int signal, int told)
{
    return strength(signal) > strength(told);
}

bool
pm_fsm_must_run(const struct pm_machine *m, enum child_kind kind)
{
    if (m->has_ended || (is_abrupt(m) && child_policies[kind].phase != PHASE_OUTLIVES))
        return false;
    return (child_policies[kind].runs_in & BIT(m->state)) != 0;
}

bool
pm_fsm_may_live(const struct pm_machine *m, enum child_kind kind)
{
    if (child_policies[kind].phase == PHASE_OUTLIVES)
        return true;
    if (m->state == PM_INIT || m->state == PM_NO_CHILDREN)
        return false;
    if (pm_fsm_must_run(m, kind) || pm_fsm_signal(m, kind) != 0)
        return true;
    switch (child_policies[kind].phase) {
    case PHASE_LAST:
    case PHASE_OUTLIVES:
        return true; /* dead-end children live in every state, by their own time-out */
    case PHASE_CHECKPOINT:
        return (BIT(m->state) & (BEFORE_CKPT | CKPT)) != 0;
    case PHASE_ARCHIVE:
        return m->state >= PM_RUN && m->state <= PM_WAIT_ARCHIVER;
    case PHASE_EARLY:
        break;
    }
    if (kind == CHILD_STARTUP)
        return (BIT(m->state) & RECOVERING) != 0;
    if (kind == CHILD_AV_WORKER)
        return m->state == PM_RUN;
    if (kind == CHILD_BACKEND)
        return m->state == PM_RUN || m->state == PM_HOT_STANDBY;
    return false;
}

/* ---- clients ---- */
enum client_verdict
pm_fsm_verdict(const struct pm_machine *m, const struct pm_view *v)
{
    if (m->state != PM_RUN && m->state != PM_HOT_STANDBY) {
        if (m->stop != PM_STOP_NONE || m->startup_failed)
            return CLIENT_STOPPING;
        if (m->state == PM_STARTUP && !m->is_restart)
            return CLIENT_STARTING;
        if (m->state == PM_RECOVERY && !m->is_restart)
            return v->hot_standby ? CLIENT_NOT_CONSISTENT : CLIENT_NO_HOT_STANDBY;
        return m->is_restart ? CLIENT_RECOVERING : CLIENT_STARTING;
    }
    if (m->stop != PM_STOP_NONE)
        return CLIENT_STOPPING;
    return v->has_backend_room ? CLIENT_OK : CLIENT_TOO_MANY;
}

bool
pm_fsm_accepts(const struct pm_machine *m)
{
    return m->state != PM_INIT && (BIT(m->state) & ENDING) == 0;
}

bool
pm_fsm_takes(const struct pm_machine *m, const struct pm_view *v)
{
    enum client_verdict verdict = pm_fsm_verdict(m, v);

    return pm_fsm_accepts(m) &&
           (verdict == CLIENT_OK || verdict == CLIENT_TOO_MANY || v->has_dead_end_room);
}

/* ---- names ---- */
const char *
pm_state_name(enum pm_state s)
{
    return state_rows[s].shown;
}

const char *
pm_state_id(enum pm_state s)
{
    return state_rows[s].id;
}

const char *
pm_event_name(enum pm_event ev)
{
    return event_names[ev];
}

const char *
pm_action_name(enum pm_action a)
{
    return action_names[a];
}

const char *
pm_fsm_state_word(const struct pm_machine *m)
{
    if (m->state >= PM_STOP_BACKENDS || m->is_crash)
        return m->stop == PM_STOP_NONE && !m->startup_failed ? "crash_recovering" : "stopping";
    if (m->is_restart && m->state != PM_RUN)
        return "crash_recovering";
    if (m->stop != PM_STOP_NONE)
        return "draining";
    return state_rows[m->state].word;
}

unsigned
pm_fsm_n_rules(void)
{
    return (unsigned) ELEMENTSOF(pm_rules);
}

struct pm_rule_text
pm_fsm_rule(unsigned idx)
{
    const struct pm_rule *r = &pm_rules[idx];

    return (struct pm_rule_text){
        .in = r->in, .on = r->on, .guard = r->guard, .go = r->go, .actions = r->actions
    };
}
