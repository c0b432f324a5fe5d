/* The log: one entry per event. Processes log; library folders only below LOG_LEVEL_LOG.
 *
 * Where entries go: to the log collector's pipe, once there is one; else, where stderr is systemd's
 * journal, to the journal with fields; else to stderr as text. Nothing here allocates. */
#pragma once

#include "base/err.h"
#include "base/types.h"

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_LOG, /* as in PostgreSQL: above ERROR for the server's log */
    LOG_LEVEL_FATAL,
    LOG_LEVEL_PANIC,
    LOG_LEVELS
};

/* In the order of the setting log_error_verbosity. */
enum log_verbosity { LOG_TERSE, LOG_DEFAULT, LOG_VERBOSE };

/* What the collector writes; what else there is knows text only. */
enum log_format { LOG_FORMAT_STDERR, LOG_FORMAT_CSV, LOG_FORMAT_JSON, LOG_FORMATS };

/* Events with a MESSAGE_ID of their own in the journal, and a text in its catalogue. */
/* clang-format off */
enum log_event_id {
    LOG_EVENT_NONE,
#define MESSAGE(name, id, text) LOG_EVENT_##name,
#include "tbl/messages.def"
#undef MESSAGE
    LOG_EVENTS
};
/* clang-format on */

struct log_options {
    enum log_level min;           /* log_min_messages */
    enum log_level min_statement; /* log_min_error_statement */
    enum log_verbosity verbosity;
    unsigned formats;   /* BIT(LOG_FORMAT_*) */
    const char *prefix; /* log_line_prefix; copied */
};

/* Once per process, also after fork: `role` ("postmaster", "checkpointer", …) is borrowed for ever.
 * Decides by $JOURNAL_STREAM whether stderr is the journal; no client, no statement. */
void log_init(const char *role, enum log_level min);
void log_configure(const struct log_options *o);
/* Change the least level that is written (log_min_messages). */
void log_set_min(enum log_level min);
/* What a session may change of its own: cheap, once per statement. */
void log_set_levels(enum log_level min, enum log_level min_statement, enum log_verbosity verbosity);
const char *log_role(void);
/* The instance's name, or its data directory: in the journal's fields. Copied. */
void log_set_instance(const char *name);

/* The server's state as the postmaster knows it, beside its entries; borrowed. */
void log_set_state(const char *name);

/* Entries go into `fd`, the non-blocking end of the collector's pipe, from now on; -1: to stderr
 * again. A full pipe is waited for up to `patience` once; then entries are dropped, counted and
 * reported until it takes some again: a stuck collector does not stop the server. */
void log_to_collector(int fd, usec_t patience);
/* A process that may wait longer than the postmaster. */
void log_set_patience(usec_t patience);
/* Ask the collector to say when it has written all that came before. false: it does not read. */
bool log_ask_flush(void);
/* This process has lost the descriptors of its parent: the journal is its stderr, no more. */
void log_forget_journal(void);

/* Whom the process serves, for prefix, columns and fields. Strings are copied; NULL leaves one as
 * it is. port 0 = a Unix socket. */
void log_set_client(const char *host, int port);
void log_set_session(const char *user, const char *database);
void log_set_application(const char *name);
/* What runs; borrowed until the next call. NULL: nothing. */
void log_set_statement(const char *text);

/* One entry, if `level` is at or above the least level. */
void log_msg(enum log_level level, const char *fmt, ...) PRINTF(2, 3);
/* LOG with the whole text of a statement behind `head`, and so without the running one beside it.
 */
void log_query(const char *head, const char *text);
/* One error with its DETAIL and HINT; `prefix` ("" or "could not start: ") is put in front of the
 * message. */
void log_err(enum log_level level, const char *prefix, const struct err *e);
/* Both with MESSAGE_ID and `fields` (NULL-terminated "NAME=value" strings, borrowed; NULL = none)
 * where the journal takes them. */
void log_event(enum log_level level, enum log_event_id id, const char *const *fields,
               const char *fmt, ...) PRINTF(4, 5);
void log_err_event(enum log_level level, enum log_event_id id, const char *const *fields,
                   const char *prefix, const struct err *e);

/* This process and the shared memory are lost: log e as PANIC and _exit(2), no cleanup. A
 * simulation replaces the end by panic_hook, which must not return. */
NORETURN void log_panic(const struct err *e);
NORETURN void log_panicf(const char *fmt, ...) PRINTF(1, 2);
extern void (*panic_hook)(const struct err *e);
