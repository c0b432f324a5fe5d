/* A log entry as text: PostgreSQL's stderr format with its prefix escapes, csvlog, jsonlog. Pure.
 *
 * JSON is written by hand here and not by json-c: each process writes its own entries, also while
 * it is out of memory, so this must be on floor 0 and allocate nothing; what is written is one flat
 * object of strings and integers, as PostgreSQL's. */
#pragma once

#include "base/err.h"
#include "base/log.h"

#define LOG_OUT_BYTES 4096 /* PIPE_BUF of Linux: what one write() puts into a pipe in one piece */
#define LOG_OUT_HEAD  10   /* kept free at its start for the head of a chunk (log_pipe.h) */

/* Where text goes: a piece at a time, each handed on by `send` when it is full and at the end. */
struct log_out {
    char p[LOG_OUT_BYTES];
    size_t n; /* bytes in p, the head included */
    bool is_first;
    bool has_failed; /* send refused one: the rest of this entry is dropped */
    enum log_format format;
    bool (*send)(struct log_out *o, bool is_last);
};

/* Who writes: a process, and its client if it has one ("" = none). */
struct log_who {
    int pid;
    usec_t started_usec; /* real: of process or session */
    const char *role;    /* ours: "bgwriter" */
    bool is_client;
    const char *user, *database, *host, *application;
    const char *state;     /* of the server: the postmaster's; NULL = not known here */
    int port;              /* 0 = none (Unix socket) */
    const char *statement; /* running, NULL = none */
};

struct log_entry {
    enum log_level level;
    const char *sqlstate; /* never NULL */
    const char *message;
    const char *tail;          /* behind the message, as long as it likes; NULL = none */
    const char *detail, *hint; /* "" = none */
    const char *statement;     /* shown beside it, NULL = none */
    int position;              /* of an error in its statement, 0 = none */
    usec_t now;                /* real */
    uint64_t line;             /* of this process, from 1 */
};

/* "ERROR", "LOG"; never NULL. */
const char *log_level_name(enum log_level level);
/* PostgreSQL's backend_type of a role of ours. */
const char *log_backend_type(const char *role);
/* "2026-11-21 19:00:00.123 UTC", without the milliseconds if !ms. Returns p. */
const char *log_time_text(usec_t real, bool ms, char *p, size_t cap);

/* The escapes log_line_prefix may have: "abcdehilmnpqrstu%". */
extern const char log_prefix_escapes[];

/* Write the entry to `o` in its format. `prefix` and `verbosity` are for LOG_FORMAT_STDERR. */
void log_text_write(struct log_out *o, const struct log_entry *en, const struct log_who *who,
                    const char *prefix, enum log_verbosity verbosity);

/* One field of each: for tests of a single piece and for log_text_write(). */
void log_text_prefix(struct log_out *o, const char *prefix, const struct log_entry *en,
                     const struct log_who *who);
