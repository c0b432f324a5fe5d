/* The postmaster's state machine: pure. No clock, no I/O, no allocation, no logging.
 *
 * pm_step() decides by a table of rules, first match wins. A rule says what is done *once*
 * (actions). What *holds* in a state, who must leave and who must run, is asked after every step by
 * pm_fsm_signal() and pm_fsm_must_run(), so that no transition can forget to signal or to restart
 * somebody (postmaster.md 2.11 rules 2 and 6, 2.12 a and b).
 *
 * Source: PostgreSQL 18's machine with 15's names (postmaster.md 2.10, 2.11), table form of
 * style 5.1. */
#pragma once

#include <stdint.h>

#include "pm/pm_control.h"

/* clang-format off */
enum pm_event {
#define PM_EVENT(id, text) EV_##id,
#include "tbl/pm_events.def"
#undef PM_EVENT
    PM_EVENTS
};
enum pm_action {
#define PM_ACTION(id, text) ACT_##id,
#include "tbl/pm_actions.def"
#undef PM_ACTION
    PM_ACTIONS
};
/* clang-format on */

#define DO(id) BIT(ACT_##id)

/* What the machine remembers. Only pm_step() makes a new one. */
struct pm_machine {
    enum pm_state state;
    enum pm_stop stop;   /* only grows */
    bool is_crash;       /* a crash is being handled: everybody is told to QUIT, not all are gone */
    bool is_restart;     /* a crash happened and service has not resumed (texts and state words) */
    bool startup_failed; /* recovery cannot be done: the server ends */
    bool is_killing;     /* the time is over: SIGKILL */
    bool is_clean;       /* the shutdown checkpoint is written */
    bool has_ended;      /* an EXIT action was given */
};

/* What it sees: counts of live children, and settings. */
struct pm_view {
    unsigned n_children;  /* all but those of phase OUTLIVES */
    unsigned n_attached;  /* mapping the segment */
    unsigned n_early;     /* of phase EARLY, backends included */
    unsigned n_archivers; /* of phase ARCHIVE */
    unsigned n_backends;  /* clients; dead-end children are not among them */
    unsigned n_sessions;  /* backends that are logged in: a smart stop waits for no others */
    bool has_backend_room;
    bool has_dead_end_room;
    bool restart_after_crash;
    bool hot_standby; /* the setting: are reads served while recovery goes on? */
};

struct pm_step {
    int rule; /* index of the rule, -1: the event means nothing here and nothing changes */
    struct pm_machine next;
    uint64_t actions; /* bits DO(…), to be done in .def order */
};

/* What the first rule that matches says (PM-1). Pure: nothing is read but the arguments. */
struct pm_step pm_step(const struct pm_machine *m, enum pm_event ev, const struct pm_view *v);

/* The signal every live child of this kind should have been told by now; 0 = none. The caller sends
 * it when it is stronger than what the child was told last (pm_fsm_is_stronger()). */
int pm_fsm_signal(const struct pm_machine *m, enum child_kind kind);
bool pm_fsm_is_stronger(int signal, int told);
/* Must one of this kind run now? If it is missing it is started, by its back-off. */
bool pm_fsm_must_run(const struct pm_machine *m, enum child_kind kind);
/* May a live child of this kind be here at all, told to leave or not? For the invariant test and an
 * ASSERT. */
bool pm_fsm_may_live(const struct pm_machine *m, enum child_kind kind);

/* What a client that connects now is told (postmaster.md 3.2). */
enum client_verdict pm_fsm_verdict(const struct pm_machine *m, const struct pm_view *v);
/* Are connections taken from the listen queue at all? */
bool pm_fsm_accepts(const struct pm_machine *m);
/* Can the next client be answered now? If not, because as many are being refused as may be, it is
 * better off in the backlog: a little later it will be. With all places of sessions taken the rest
 * is dropped instead, so that a flood does not hide who leaves. */
bool pm_fsm_takes(const struct pm_machine *m, const struct pm_view *v);

/* Policy of a kind: a row of tbl/child_kinds.def. */
enum exit_class { EXIT_DONE, EXIT_RESTART, EXIT_RETIRE, EXIT_CRASH, EXIT_STARTUP };
enum stop_phase { PHASE_EARLY, PHASE_CHECKPOINT, PHASE_ARCHIVE, PHASE_LAST, PHASE_OUTLIVES };
enum child_life { LIFE_STRICT, LIFE_PATIENT, LIFE_UNWATCHED };
struct child_policy {
    const char *role;
    const char *description;
    void (*main)(const struct child_start *start) __attribute__((noreturn));
    uint64_t runs_in; /* BIT(PM_…) */
    bool is_attached;
    enum exit_class on_exit0;
    enum exit_class on_exit1;
    enum stop_phase phase;
    enum child_life life;
};
extern const struct child_policy child_policies[CHILD_KINDS];

/* Names from the tables; never NULL. */
const char *pm_state_name(enum pm_state s); /* PostgreSQL 15's: "PM_SHUTDOWN" */
const char *pm_state_id(enum pm_state s);   /* ours: "WAIT_CHECKPOINT" */
const char *pm_event_name(enum pm_event ev);
const char *pm_action_name(enum pm_action a);
/* The `state` of replies: design section 11. */
const char *pm_fsm_state_word(const struct pm_machine *m);

/* For the tests and the diagram: the table itself. `guard` is a C name. */
struct pm_rule_text {
    uint64_t in;       /* BIT(PM_…) */
    uint64_t on;       /* BIT(EV_…) */
    const char *guard; /* "always" */
    enum pm_state go;  /* PM_STATES: stays */
    uint64_t actions;
};
unsigned pm_fsm_n_rules(void);
struct pm_rule_text pm_fsm_rule(unsigned idx);
