/* Being a child: what happens between the fork and the main, and the one door out.
 *
 * Runs in: every child. Floor 5; knows nothing of log, cache and store (attach.h does). */
#pragma once

#include "base/err.h"
#include "proc/mains.h"

struct self;

/* Where SQLite's temporary files are made (they have no names): for vfs_register(). */
#define CHILD_TEMP_DIR "base/pgsql_tmp"

/* Exit codes, the contract of tbl/child_kinds.def. */
enum child_class {
    CHILD_OK = 0,     /* done */
    CHILD_FATAL = 1,  /* failed, but cleaned up */
    CHILD_PANIC = 2,  /* shared memory may be wrong: no clean-up */
    CHILD_TARGET = 3, /* startup only: recovery target reached, shut down */
};

/* In the fork, before the main: new session, only inherited descriptors and the client's socket,
 * parent-death signal (and the parent still being there), QUIT handler, all other signals blocked
 * and readable at child_signal_fd(); role of the log; an unattached child unmaps the segment, an
 * attached one marks its slot SLOT_ATTACHED (kind, pid, cancel key, start). Does not return on
 * failure. */
void child_begin(const struct child_start *start);

/* signalfd of TERM, INT, HUP, USR1, USR2 for a child with a loop; or call child_poll() now and
 * then. Reading it is child_take_signals(). */
int child_signal_fd(void);
/* Read what signals have come (never blocks): REQ_* bits as this kind understands them (TERM:
 * REQ_TERMINATE for backend and startup, REQ_STOP for bgwriter and walwriter, nothing for the
 * checkpointer; INT: REQ_CANCEL, checkpointer REQ_FINISH; USR2: checkpointer REQ_STOP, archiver
 * REQ_FINISH; HUP: REQ_RELOAD). For an attached child they are in slot.request too. */
uint32_t child_take_signals(void);
/* child_take_signals() in the form of self.poll; arg is not used. */
void child_poll(void *arg);

/* Run `fn(arg)` when the process leaves by child_exit(OK or FATAL or TARGET); last registered
 * first. */
void child_on_exit(void (*fn)(void *arg), void *arg);

/* Leave. OK, FATAL, TARGET: exit callbacks, then the slot is given back. PANIC: at once. */
__attribute__((noreturn)) void child_exit(enum child_class how);
/* The same with one log entry for `e` (FATAL, or PANIC). */
__attribute__((noreturn)) void child_exit_err(enum child_class how, const struct err *e);

/* Take over into start->conf what the postmaster has in force. < 0: nothing changed, and
 * nothing is logged: the postmaster has said it. */
int child_reload(const struct child_start *start, struct err *e);
/* Call `fn(arg)` after each child_reload() that succeeded. One per process. */
void child_on_reload(void (*fn)(void *arg), void *arg);

/* How a backend replaces the QUIT handler (its last words, then _exit(2)). */
void child_set_quit_handler(void (*handler)(int));
/* Why QUIT comes, for that handler; async-signal-safe. */
enum quit_reason { QUIT_UNKNOWN, QUIT_CRASH, QUIT_STOP };
enum quit_reason child_quit_reason(void);

/* Message and SQLSTATE of a verdict, as an error: `*e` is filled; returns its code. */
int child_verdict_err(enum client_verdict v, struct err *e);
