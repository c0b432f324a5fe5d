/* The log: one line per event, to stderr. Processes log; library folders only below LOG_LEVEL_LOG.
 *
 * stderr that is systemd's journal stream gets "<N>" prefixes; else "time [pid] LEVEL:  text". */
#pragma once

#include "base/err.h"

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

/* Once per process, also after fork: `role` ("postmaster", "checkpointer", …) is borrowed for ever.
 * Decides by $JOURNAL_STREAM whether stderr is the journal. */
void log_init(const char *role, enum log_level min);
/* Change the least level that is written (log_min_messages). */
void log_set_min(enum log_level min);
const char *log_role(void);

/* One line, if `level` is at or above the least level: time, process, level, text. */
void log_msg(enum log_level level, const char *fmt, ...) PRINTF(2, 3);
/* One error with its DETAIL and HINT lines; `prefix` ("" or "could not start: ") is put in front of
 * the message. */
void log_err(enum log_level level, const char *prefix, const struct err *e);
/* A lifecycle event for the journal: MESSAGE_ID, PINION_KIND and `fields` (NULL-terminated
 * "NAME=value" strings, borrowed) beside the text. Falls back to log_msg() where stderr is not the
 * journal. */
void log_event(enum log_level level, const char *message_id, const char *const *fields,
               const char *fmt, ...) PRINTF(4, 5);

/* This process and the shared memory are lost: log e as PANIC and _exit(2), no cleanup. A
 * simulation replaces the end by panic_hook, which must not return. */
NORETURN void log_panic(const struct err *e);
NORETURN void log_panicf(const char *fmt, ...) PRINTF(1, 2);
extern void (*panic_hook)(const struct err *e);
