/* The postmaster's machine with children, walked whole: from INIT through everything that signals,
 * clocks, messages, deaths and failing forks can do to it, one event at a time. After each event
 * the two invariants of postmaster.md 2.11 rule 6 hold, and what the holes of 2.12 taught; from
 * every point the machine comes to its end (or back to service) when all do as they are told.
 *
 * The world is the four kinds that the machine knows by name and one of the others in turn: others
 * meet only in counts, and test_pm_fsm has them all together in its random events. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

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

/* ---- what should be, said once more and independently (postmaster.md 1.2) ---- */
#define S(id)      BIT(PM_##id)
#define RECOVERING (S(STARTUP) | S(RECOVERY) | S(HOT_STANDBY))
#define LEAVING    (S(STOP_BACKENDS) | S(WAIT_BACKENDS))
#define CKPT       (S(WAIT_CHECKPOINT) | S(WAIT_ARCHIVER) | S(WAIT_CHECKPOINTER))
#define ALL        (BIT(PM_STATES) - 1)

/* must: missing, it is started again. left: may be there though nobody told it to leave, and why.
 */
static const struct {
    uint64_t must, left;
    const char *why;
} table[CHILD_KINDS] = {
    [CHILD_SYSLOGGER] = { ALL & ~(S(INIT) | S(NO_CHILDREN)), S(INIT) | S(NO_CHILDREN),
                          "it leaves when nobody else is left, the postmaster included" },
    [CHILD_STARTUP] = { 0, RECOVERING, "it recovers" },
    [CHILD_CHECKPOINTER] = { RECOVERING | S(RUN) | S(WAIT_CHECKPOINT), LEAVING,
                             "the shutdown checkpoint is still to come" },
    [CHILD_BGWRITER] = { RECOVERING | S(RUN), 0, "" },
    [CHILD_WALWRITER] = { S(RUN), 0, "" },
    [CHILD_STATS] = { S(RUN), 0, "" },
    [CHILD_ARCHIVER] = { S(RUN), LEAVING | S(WAIT_CHECKPOINT),
                         "the end of the log is still to come" },
    [CHILD_AV_LAUNCHER] = { S(RUN), 0, "" },
    [CHILD_AV_WORKER] = { 0, S(RUN), "it was asked for" },
    [CHILD_BGWORKER] = { S(RUN), 0, "" },
    [CHILD_BACKEND] = { 0, S(HOT_STANDBY) | S(RUN), "it serves" },
    [CHILD_DEAD_END] = { 0, ALL & ~(S(INIT) | S(WAIT_DEAD_END) | S(NO_CHILDREN)),
                         "it refuses a client and leaves within a second or two" },
};

/* ---- a world ---- */
enum told { ABSENT, UNTOLD, TOLD_INT, TOLD_TERM, TOLD_QUIT, TOLD_KILL };

struct world {
    struct pm_machine m;
    enum told child[CHILD_KINDS];
    bool kill_clock, patience_clock;
};

/* One step of the walk: the world as it becomes, and what is chosen on the way. */
struct run {
    struct world w;
    enum pm_event queue[8];
    unsigned n_queued;
    uint64_t woken;  /* kinds whose fork failed: their back-off wakes us */
    uint64_t script; /* outcomes of forks, one bit each: 1 fails */
    unsigned n_forks;
    bool restart_after_crash, hot_standby;
    bool with_options;   /* archiver and autovacuum are asked for */
    bool is_backing_off; /* no missing kind is due yet */
    bool exit_ok, exit_failed;
    char story[200];
};

static enum told
level(int signal)
{
    switch (signal) {
    case 0:
        return UNTOLD;
    case SIGINT:
        return TOLD_INT;
    case SIGQUIT:
        return TOLD_QUIT;
    case SIGKILL:
        return TOLD_KILL;
    default: /* TERM, USR2: signals are the kernel's numbers */
        return TOLD_TERM;
    }
}

static bool
is_alive(const struct world *w, enum child_kind k)
{
    return w->child[k] != ABSENT;
}

static struct pm_view
view_of(const struct run *r)
{
    struct pm_view v = { .has_backend_room = !is_alive(&r->w, CHILD_BACKEND),
                         .has_dead_end_room = !is_alive(&r->w, CHILD_DEAD_END),
                         .restart_after_crash = r->restart_after_crash,
                         .hot_standby = r->hot_standby };

    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        const struct child_policy *p = &child_policies[k];

        if (!is_alive(&r->w, k))
            continue;
        v.n_children += p->phase != PHASE_OUTLIVES;
        v.n_attached += p->is_attached;
        v.n_early += p->phase == PHASE_EARLY;
        v.n_archivers += p->phase == PHASE_ARCHIVE;
        v.n_backends += k == CHILD_BACKEND;
        v.n_sessions += k == CHILD_BACKEND;
    }
    return v;
}

NORETURN static void
wrong(const struct run *r, const char *what, const char *role)
{
    char text[300];
    size_t at = 0;

    text[0] = '\0';
    for (enum child_kind k = 0; k < CHILD_KINDS; k++)
        if (is_alive(&r->w, k))
            at += (size_t) snprintf(text + at, sizeof text - at, " %s(%d)", child_policies[k].role,
                                    (int) r->w.child[k]);
    fail_msg("%s: %s%s; now %s, stop %d, crash %d, killing %d, children%s", r->story, role, what,
             pm_state_id(r->w.m.state), (int) r->w.m.stop, r->w.m.is_crash, r->w.m.is_killing,
             text);
    abort();
}

static bool
launch(struct run *r, enum child_kind k)
{
    bool fails = (r->script >> r->n_forks & 1u) != 0;

    r->n_forks++;
    if (is_alive(&r->w, k))
        wrong(r, " is started twice", child_policies[k].role);
    if (!fails)
        r->w.child[k] = UNTOLD;
    return !fails;
}

static void
queue(struct run *r, enum pm_event ev)
{
    assert_true(r->n_queued < ELEMENTSOF(r->queue));
    r->queue[r->n_queued++] = ev;
}

/* What pm_exec() does, as far as it can be seen here. */
static void
exec(struct run *r, uint64_t actions)
{
    unsigned n_children = view_of(r).n_children;

    if ((actions & (DO(ARM_KILL) | DO(ARM_DEAD_END))) != 0)
        r->w.kill_clock = true;
    if ((actions & DO(ARM_PATIENCE)) != 0)
        r->w.patience_clock = true;
    if ((actions & DO(DISARM)) != 0)
        r->w.kill_clock = r->w.patience_clock = false;
    if (n_children > 0 && (actions & (DO(SHM_RESET) | DO(LAUNCH_STARTUP))) != 0)
        wrong(r, "memory made new beside children", "");
    if (n_children > 0 && (actions & (DO(EXIT_OK) | DO(EXIT_FAILED))) != 0)
        wrong(r, "an end beside children", "");
    if ((actions & DO(LAUNCH_BACKEND)) != 0)
        (void) launch(r, CHILD_BACKEND);
    if ((actions & DO(LAUNCH_WORKER)) != 0 && !is_alive(&r->w, CHILD_AV_WORKER))
        (void) launch(r, CHILD_AV_WORKER);
    if ((actions & DO(LAUNCH_DEAD_END)) != 0)
        (void) launch(r, CHILD_DEAD_END);
    if ((actions & DO(LAUNCH_STARTUP)) != 0 && !launch(r, CHILD_STARTUP))
        queue(r, EV_STARTUP_NO_FORK);
    r->exit_ok |= (actions & DO(EXIT_OK)) != 0;
    r->exit_failed |= (actions & DO(EXIT_FAILED)) != 0;
}

/* Do the settings ask for this kind? */
static bool
is_wanted(const struct run *r, enum child_kind k)
{
    return (k != CHILD_ARCHIVER && k != CHILD_AV_LAUNCHER && k != CHILD_STATS &&
            k != CHILD_BGWORKER) ||
           r->with_options;
}

static void
signal_who_must_leave(struct run *r)
{
    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        enum told want = level(pm_fsm_signal(&r->w.m, k));

        if (is_alive(&r->w, k) && want > r->w.child[k])
            r->w.child[k] = want;
    }
}

/* What pm_reconcile() does; a kind whose fork failed is not tried again before its back-off is
 * over. */
static void
reconcile(struct run *r)
{
    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        if (is_alive(&r->w, k) || !pm_fsm_must_run(&r->w.m, k) || (r->woken & BIT(k)) != 0 ||
            !is_wanted(r, k))
            continue;
        if (r->is_backing_off || !launch(r, k))
            r->woken |= BIT(k);
        if (r->is_backing_off || is_alive(&r->w, k))
            continue;
        if (k == CHILD_CHECKPOINTER)
            queue(r, EV_CHECKPOINTER_NO_FORK);
    }
    signal_who_must_leave(r);
}

/* ---- invariants ---- */
static bool
is_abrupt(const struct world *w)
{
    return w->m.is_crash || w->m.stop == PM_STOP_IMMEDIATE;
}

/* 2.11 rule 6: each live child is wanted, or signalled, or deliberately left; each that must run is
 * alive, or there is a time at which it will be. */
static void
check_children(const struct run *r)
{
    const struct world *w = &r->w;

    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        bool is_last = k == CHILD_SYSLOGGER; /* whatever happens to the others */
        bool must =
            (table[k].must & BIT(w->m.state)) != 0 && (is_last || !is_abrupt(w)) && !w->m.has_ended;
        bool is_late = k == CHILD_DEAD_END && w->m.state < PM_WAIT_DEAD_END; /* has its turn */
        bool is_out = is_abrupt(w) && !is_late;
        bool left = (table[k].left & BIT(w->m.state)) != 0 && !is_out;

        if (must && !is_alive(w, k) && is_wanted(r, k) && (r->woken & BIT(k)) == 0)
            wrong(r, " is missing and nobody wakes up to start one", child_policies[k].role);
        if (is_last && w->child[k] > UNTOLD)
            wrong(r, " was told to leave", child_policies[k].role);
        if (!is_alive(w, k) || is_last || (must && w->m.state != PM_WAIT_CHECKPOINT))
            continue;
        if (w->child[k] == UNTOLD && !left)
            wrong(r, " is not wanted and was not told to leave", child_policies[k].role);
        if (is_out && w->child[k] < TOLD_QUIT)
            wrong(r, " was not told to quit", child_policies[k].role);
        if (w->m.is_killing && !is_late && w->child[k] < TOLD_KILL)
            wrong(r, " was not killed", child_policies[k].role);
    }
}

/* 2.12 a, b, d, e, m. */
static void
check_holes(const struct run *r)
{
    const struct world *w = &r->w;
    bool someone_leaves = r->woken != 0;
    bool someone_quits = false;

    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        someone_leaves |= is_alive(w, k) && w->child[k] != UNTOLD;
        someone_quits |= w->child[k] >= TOLD_QUIT;
    }
    if (w->m.has_ended)
        return;
    if (w->m.state >= PM_STOP_BACKENDS && !someone_leaves)
        wrong(r, "it waits, but nobody was told to leave", "");
    if (someone_quits && !is_abrupt(w) && w->m.state != PM_WAIT_DEAD_END)
        wrong(r, "somebody was told to quit, and it goes on as if nothing had happened", "");
    if ((is_abrupt(w) || w->m.state == PM_WAIT_DEAD_END) && !w->kill_clock && !w->m.is_killing)
        wrong(r, "nothing bounds its waiting", "");
    if (w->m.stop == PM_STOP_FAST && !is_abrupt(w) && w->m.state == PM_WAIT_BACKENDS &&
        !w->patience_clock)
        wrong(r, "a fast stop without patience", "");
    if (w->m.state == PM_WAIT_ARCHIVER && !w->patience_clock)
        wrong(r, "nothing bounds the passing on of the log", "");
    if (w->m.state == PM_NO_CHILDREN || w->m.state == PM_STOP_BACKENDS)
        wrong(r, "it rests where nobody may rest", "");
}

/* ---- events ---- */

/* pm_event(): the machine, what follows from it, then what came up meanwhile. */
static void
happen(struct run *r, enum pm_event ev)
{
    queue(r, ev);
    while (r->n_queued > 0) {
        ev = r->queue[0];
        r->n_queued--;
        memmove(r->queue, r->queue + 1, r->n_queued * sizeof r->queue[0]);
        for (unsigned turns = 0;; turns++) {
            struct pm_view v = view_of(r);
            struct pm_step s = pm_step(&r->w.m, ev, &v);

            if (turns > 20)
                wrong(r, "it does not come to rest", "");
            if (s.rule < 0 && ev == EV_ADVANCE)
                break;
            r->w.m = s.next;
            if (s.rule >= 0)
                exec(r, s.actions);
            ev = EV_ADVANCE;
        }
        if (!r->w.m.has_ended)
            reconcile(r);
    }
    check_children(r);
    check_holes(r);
}

/* What the end of a child can mean (pm_child.c, event_of()); 0 terminates the list. */
static unsigned
deaths_of(const struct world *w, enum child_kind k, enum pm_event *ret)
{
    unsigned n = 0;

    if (w->child[k] >= TOLD_QUIT || k == CHILD_DEAD_END || k == CHILD_SYSLOGGER) {
        ret[n++] = EV_CHILD_GONE;
    } else if (k == CHILD_STARTUP) {
        ret[n++] = EV_STARTUP_FAILED;
        if (w->child[k] == UNTOLD) {
            ret[n++] = EV_STARTUP_DONE;
            ret[n++] = EV_STARTUP_TARGET;
        } else {
            ret[n++] = EV_CHILD_GONE;
        }
    } else if (k == CHILD_CHECKPOINTER) {
        ret[n++] = EV_CHECKPOINTER_LEFT;
        ret[n++] = EV_CHILD_CRASHED;
    } else {
        ret[n++] = EV_CHILD_GONE;
        ret[n++] = EV_CHILD_CRASHED;
    }
    return n;
}

/* ---- the end comes when all do as they are told ---- */
static void
die(struct run *r, enum child_kind k, enum pm_event ev)
{
    r->w.child[k] = ABSENT;
    happen(r, ev);
}

/* One step of that: an obedient child, else a clock. False: nothing can happen. */
static bool
obey(struct run *r)
{
    const struct world *w = &r->w;

    if (w->m.state == PM_WAIT_CHECKPOINT && w->child[CHILD_CHECKPOINTER] == TOLD_INT) {
        happen(r, EV_WAL_IS_SHUT);
        return true;
    }
    for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
        if (w->child[k] <= UNTOLD || (k == CHILD_CHECKPOINTER && w->child[k] == TOLD_INT))
            continue; /* the checkpointer stays until it is told that it may go */
        die(r, k,
            k == CHILD_CHECKPOINTER && w->child[k] < TOLD_QUIT ? EV_CHECKPOINTER_LEFT
                                                               : EV_CHILD_GONE);
        return true;
    }
    if (is_alive(w, CHILD_STARTUP)) {
        die(r, CHILD_STARTUP, EV_STARTUP_DONE);
        return true;
    }
    if (w->m.stop == PM_STOP_SMART && is_alive(w, CHILD_BACKEND)) {
        die(r, CHILD_BACKEND, EV_CHILD_GONE);
        return true;
    }
    return false;
}

static void
comes_to_its_end(const struct world *from, const char *story)
{
    struct run r = { .w = *from, .restart_after_crash = true, .hot_standby = true };
    bool is_stop = from->m.stop != PM_STOP_NONE || from->m.startup_failed;
    bool is_bad = from->m.is_crash && (is_stop || from->m.startup_failed);

    (void) snprintf(r.story, sizeof r.story, "%.150s, then all obey", story);
    happen(&r, EV_ADVANCE); /* forks work again */
    for (unsigned steps = 0; steps < 40 && !r.w.m.has_ended; steps++)
        if (!obey(&r))
            break;
    if (is_stop && !r.w.m.has_ended)
        wrong(&r, "it does not end", "");
    if (is_stop && is_bad != r.exit_failed)
        wrong(&r, is_bad ? "a bad end that says 0" : "a good end that says 1", "");
    if (!is_stop && from->m.state != PM_INIT && r.w.m.state != PM_RUN)
        wrong(&r, "it does not come back to service", "");
}

/* ---- the walk ---- */
#define SEEN_BITS 20

static struct {
    uint64_t *keys; /* 0 = free */
    struct world *queue;
    unsigned head, tail;
} walk;

_Static_assert(15 + 3 * CHILD_KINDS <= 64, "a world fits into its key");

static uint64_t
key_of(const struct world *w)
{
    uint64_t key = 1;
    const struct pm_machine *m = &w->m;

    key = key << 4 | (unsigned) m->state;
    key = key << 2 | (unsigned) m->stop;
    key = key << 6 | (unsigned) (m->is_crash | m->is_restart << 1 | m->startup_failed << 2 |
                                 m->is_killing << 3 | m->is_clean << 4 | m->has_ended << 5);
    key = key << 2 | (unsigned) (w->kill_clock | w->patience_clock << 1);
    for (enum child_kind k = 0; k < CHILD_KINDS; k++)
        key = key << 3 | (unsigned) w->child[k];
    return key;
}

/* A world met for the first time is queued. */
static bool
meet(const struct world *w)
{
    uint64_t key = key_of(w);
    uint64_t at = key * 0x9E3779B97F4A7C15u >> (64 - SEEN_BITS);

    while (walk.keys[at] != 0) {
        if (walk.keys[at] == key)
            return false;
        at = (at + 1) & (BIT(SEEN_BITS) - 1);
    }
    assert_true(walk.tail < BIT(SEEN_BITS) / 2);
    walk.keys[at] = key;
    walk.queue[walk.tail++] = *w;
    return true;
}

static unsigned n_steps;

/* A stop that was asked for is remembered; a smart one throws nobody out. */
static void
check_stop(const struct run *r, const struct world *from, enum pm_event ev)
{
    static const enum pm_stop asked[PM_EVENTS] = { [EV_STOP_SMART] = PM_STOP_SMART,
                                                   [EV_STOP_FAST] = PM_STOP_FAST,
                                                   [EV_STOP_IMMEDIATE] = PM_STOP_IMMEDIATE,
                                                   [EV_LOCK_LOST] = PM_STOP_IMMEDIATE };

    if (r->w.m.stop < asked[ev] && from->m.state != PM_INIT)
        wrong(r, "a stop was not heard", "");
    if (r->w.m.stop < from->m.stop && !(ev == EV_STOP_CANCEL && from->m.stop == PM_STOP_SMART))
        wrong(r, "a stop was forgotten", "");
    if (r->w.m.stop == PM_STOP_SMART && r->w.child[CHILD_BACKEND] == TOLD_TERM &&
        from->child[CHILD_BACKEND] == UNTOLD && ev != EV_STARTUP_TARGET)
        wrong(r, "a client was thrown out by a smart stop", "");
}

/* All that `ev` can come to: whichever forks fail, whatever the settings are. `dead` ends first. */
static void
try(const struct world *from, enum pm_event ev, enum child_kind dead)
{
    bool has_forked[16] = { false };

    for (unsigned settings = 0; settings < 16; settings++) {
        uint64_t script = 0;
        uint64_t n_scripts = 1;

        if ((settings & 1u) == 0 && !from->m.is_crash && ev != EV_CHILD_CRASHED)
            continue; /* asked behind a crash only */
        if ((settings & 2u) == 0 && ev != EV_CONSISTENT && ev != EV_CLIENT)
            continue; /* asked there only */
        if ((settings & 4u) != 0 && !has_forked[settings & ~4u])
            continue; /* nobody was missing */
        if ((settings & 8u) == 0 && ev != EV_STARTUP_DONE && ev != EV_ADVANCE)
            continue;
        for (script = 0; script < n_scripts; script++) {
            struct run r = { .w = *from,
                             .script = script,
                             .restart_after_crash = (settings & 1u) != 0,
                             .hot_standby = (settings & 2u) != 0,
                             .with_options = (settings & 8u) != 0,
                             .is_backing_off = (settings & 4u) != 0 };

            (void) snprintf(r.story, sizeof r.story, "%s (stop %d, crash %d) on %s",
                            pm_state_id(from->m.state), (int) from->m.stop, from->m.is_crash,
                            pm_event_name(ev));
            if (dead < CHILD_KINDS)
                r.w.child[dead] = ABSENT;
            if (ev == EV_KILL_TIME)
                r.w.kill_clock = false;
            if (ev == EV_PATIENCE_OVER)
                r.w.patience_clock = false;
            happen(&r, ev);
            check_stop(&r, from, ev);
            n_steps++;
            has_forked[settings] |= r.n_forks > 0;
            if (r.n_forks < 6 && BIT(r.n_forks) > n_scripts)
                n_scripts = BIT(r.n_forks);
            if (meet(&r.w) && !r.w.m.has_ended)
                comes_to_its_end(&r.w, r.story);
        }
    }
}

static bool
can_happen(const struct world *w, enum pm_event ev)
{
    switch (ev) {
    case EV_START:
        return w->m.state == PM_INIT;
    case EV_KILL_TIME:
        return w->kill_clock;
    case EV_PATIENCE_OVER:
        return w->patience_clock;
    case EV_STARTUP_NO_FORK: /* what forks come to, not what comes from outside */
    case EV_CHECKPOINTER_NO_FORK:
    case EV_STARTUP_DONE: /* deaths have their own loop */
    case EV_STARTUP_TARGET:
    case EV_STARTUP_FAILED:
    case EV_CHECKPOINTER_LEFT:
    case EV_CHILD_GONE:
    case EV_CHILD_CRASHED:
    case PM_EVENTS:
        return false;
    case EV_REDO_STARTED: /* messages may be late: their sender gone, its successor there */
    case EV_CONSISTENT:
    case EV_PROMOTE:
    case EV_STOP_SMART:
    case EV_STOP_FAST:
    case EV_STOP_IMMEDIATE:
    case EV_STOP_CANCEL:
    case EV_LOCK_LOST:
    case EV_RELOAD:
    case EV_WORKER:
    case EV_CLIENT:
    case EV_ADVANCE:
        return true;
    case EV_WAL_IS_SHUT: /* anywhere: a forged one is a crash; in time: by who is there */
        return w->m.state != PM_WAIT_CHECKPOINT || is_alive(w, CHILD_CHECKPOINTER);
    }
    return false;
}

static void
walk_all(void)
{
    struct world init = { .m = { .state = PM_INIT } };

    walk.keys = calloc(BIT(SEEN_BITS), sizeof walk.keys[0]);
    walk.queue = calloc(BIT(SEEN_BITS) / 2, sizeof walk.queue[0]);
    assert_non_null(walk.keys);
    assert_non_null(walk.queue);
    (void) meet(&init);
    while (walk.head < walk.tail) {
        struct world w = walk.queue[walk.head++];

        if (w.m.has_ended)
            continue;
        for (enum pm_event ev = 0; ev < PM_EVENTS; ev++)
            if (can_happen(&w, ev))
                try(&w, ev, CHILD_KINDS);
        for (enum child_kind k = 0; k < CHILD_KINDS; k++) {
            enum pm_event deaths[4];
            unsigned n = is_alive(&w, k) ? deaths_of(&w, k, deaths) : 0;

            for (unsigned i = 0; i < n; i++)
                try(&w, deaths[i], k);
        }
    }
}

static void
whatever_happens_everybody_is_wanted_or_told_and_it_comes_to_an_end(void **state)
{
    (void) state;
    walk_all();
    print_message("%u worlds, %u steps\n", walk.tail, n_steps);
    free(walk.keys);
    free(walk.queue);
}

/* Who adds a kind says here where it must run and why it may be left: twice said is once checked.
 */
static void
every_kind_has_its_row_in_the_table_of_this_test(void **state)
{
    (void) state;
    for (enum child_kind k = 0; k < CHILD_KINDS; k++)
        if (table[k].must == 0 && table[k].left == 0)
            fail_msg("%s has no row here (postmaster.md 1.2)", child_policies[k].role);
}

static void
who_cannot_be_answered_now_waits_in_the_backlog(void **state)
{
    static const struct {
        const char *label;
        struct pm_machine m;
        struct pm_view v;
        bool want;
    } rows[] = {
        { "running", { .state = PM_RUN }, { .has_backend_room = true }, true },
        { "full", { .state = PM_RUN }, { .has_backend_room = false }, true }, /* then dropped */
        { "starting", { .state = PM_STARTUP }, { .has_dead_end_room = true }, true },
        { "starting, crowded", { .state = PM_STARTUP }, { .has_backend_room = true }, false },
        { "stopping, crowded",
          { .state = PM_WAIT_BACKENDS, .stop = PM_STOP_FAST },
          { .has_backend_room = true },
          false },
        { "ending", { .state = PM_WAIT_DEAD_END }, { .has_dead_end_room = true }, false },
    };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if (pm_fsm_takes(&rows[i].m, &rows[i].v) != rows[i].want)
            fail_msg("%s: want %d", rows[i].label, rows[i].want);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_cannot_be_answered_now_waits_in_the_backlog),
        cmocka_unit_test(every_kind_has_its_row_in_the_table_of_this_test),
        cmocka_unit_test(whatever_happens_everybody_is_wanted_or_told_and_it_comes_to_an_end),
    };

    return cmocka_run_group_tests_name("pm_walk", tests, NULL, NULL);
}
