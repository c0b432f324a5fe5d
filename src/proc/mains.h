/* What the postmaster starts: the kinds of children, their main functions, and what each is told at
 * birth.
 *
 * With child.h and segment.h the only headers of proc that pm includes. A main runs in a fresh
 * fork, after child_begin() (signals, descriptors, role, parent-death signal); it never returns and
 * leaves by child_exit(). */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/types.h"

struct conf;
struct conf_where;
struct segment;

/* clang-format off */
enum child_kind {
#define CHILD_KIND(id, role, description, main, max, runs, attaches, exit0, exit1, phase, life) CHILD_##id,
#include "tbl/child_kinds.def"
#undef CHILD_KIND
    CHILD_KINDS
};
/* clang-format on */

/* What a client is told; decided by the postmaster before the fork (postmaster.md 3.2). All but
 * CLIENT_OK: FATAL with this SQLSTATE after the startup packet, before any authentication, by a
 * dead-end child. */
enum client_verdict {
    CLIENT_OK,
    CLIENT_STARTING,       /* 57P03 the database system is starting up */
    CLIENT_NOT_CONSISTENT, /* 57P03 the database system is not yet accepting connections; detail:
                              Consistent recovery state has not been yet reached. */
    CLIENT_NO_HOT_STANDBY, /* 57P03 the database system is not accepting connections; detail: Hot
                              standby mode is disabled. */
    CLIENT_RECOVERING,     /* 57P03 the database system is in recovery mode */
    CLIENT_STOPPING,       /* 57P03 the database system is shutting down */
    CLIENT_TOO_MANY,       /* 53300 sorry, too many clients already */
    CLIENT_VERDICTS
};

/* A backend as the postmaster knows it, for cancel requests that reach a dead end. */
struct child_key {
    pid_t pid; /* 0 = none */
    uint32_t key;
};

/* Told to a child; it and all it points to live in the child's copy of the postmaster's memory for
 * ever. */
struct child_start {
    enum child_kind kind;
    const char *role;             /* "checkpointer" */
    int slot_idx;                 /* its slot = its procno; -1 for a child that is not attached */
    uint32_t cancel_key;          /* backend: drawn before the fork */
    int client_fd;                /* backend, dead end: the accepted socket, the child's; else -1 */
    enum client_verdict verdict;  /* dead end: what to say; backend: CLIENT_OK */
    const struct child_key *keys; /* dead end: the backends as of the fork */
    unsigned n_keys;
    bool is_stopping;            /* dead end: at most 1 s for the startup packet */
    uint32_t db_oid;             /* autovacuum worker: what to look at */
    bool after_crash;            /* startup: memory was reset after a crash of a child */
    pid_t parent;                /* the postmaster */
    struct segment *segment;     /* mapped; NULL for a child that is not attached */
    struct conf *conf;           /* the child's own copy, to change as it likes */
    int conf_fd;                 /* what the postmaster has in force: child_reload() */
    int log_read_fd, log_ack_fd; /* syslogger: the pipe; an eventfd that answers a flush */
    const char *data_dir;        /* absolute; also the working directory */
};

/* clang-format off */
#define CHILD_KIND(id, role, description, main, max, runs, attaches, exit0, exit1, phase, life) \
    __attribute__((noreturn)) void main(const struct child_start *start);
#include "tbl/child_kinds.def"
#undef CHILD_KIND
/* clang-format on */
