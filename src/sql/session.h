/* One client's session: statements in, rows, tags and errors out. Owns one SQLite connection over
 * src/vfs.
 *
 * One per backend process; no locks. The caller (proc/backend.c) speaks the wire: it hands over the
 * text of a Query message and a sink, sends what the sink is told, then, if the call failed, one
 * ErrorResponse made from `e`, then ReadyForQuery with session_status(). Everything that may wait
 * waits inside these calls and takes interrupts (INT-1): they come back as errors 57014, 57P01. The
 * caller clears REQ_CANCEL when it says ReadyForQuery. */
#pragma once

#include "conf/conf_session.h"
#include "shm/stat.h"
#include "sql/catalog.h"
#include "store/store_txn.h"

struct session;

/* All borrowed for the life of the session. */
struct session_cfg {
    struct store *store;
    struct conf_session *conf; /* SHOW, SET, time-outs; what changed is told by
                                  conf_session_next_report() */
    struct catalog_db db;      /* as catalog_login() found it; its reference is taken over */
    uint32_t db_idx;           /* the reference */
    struct catalog_role role;
    struct stats *stats; /* NULL: none are kept */
    int32_t pid;
};

/* One column of a result. */
struct session_column {
    const char *name; /* UTF-8; valid during the call */
    oid_t type;       /* PostgreSQL's OID: session_types.h */
    int16_t type_len; /* bytes, -1 = variable */
    int32_t type_mod; /* -1 = none */
    int16_t format;   /* 0 text, 1 binary */
};

/* One value of a row: n bytes at p, n = -1 for NULL. */
struct session_value {
    const void *p;
    int32_t n;
};

/* Where results go. A function returns 0, or < 0 (the client is gone): the statement is then
 * abandoned and that code returned. What is passed is valid during the call. */
struct session_sink {
    void *arg;
    int (*columns)(void *arg, const struct session_column *c, uint32_t n);
    int (*row)(void *arg, const struct session_value *v, uint32_t n);
    int (*complete)(void *arg, const char *tag); /* "SELECT 1", "INSERT 0 3", "BEGIN" … */
    int (*empty)(void *arg);                     /* EmptyQueryResponse */
    /* A notice: severity "WARNING" or "NOTICE"; notice->code gives the SQLSTATE. May be NULL. */
    int (*notice)(void *arg, const char *severity, const struct err *notice);
};

/* Open the connection (hardened, sqlite-vfs 5.12). Takes over cfg->db_idx' reference, also on
 * failure. */
int session_open(const struct session_cfg *cfg, struct session **ret, struct err *e);
/* Roll back whatever is open, close, detach from the database. Accepts NULL. */
void session_close(struct session *s);
/* The same at the end of the process, which frees memory and, through store_process_exit(), what is
 * held in shared memory: only an open transaction is rolled back. Accepts NULL. */
void session_leave(struct session *s);

/* Run the text of one Query message: several statements, one implicit transaction unless BEGIN and
 * COMMIT appear. On < 0 e holds the error to send (position set where known; e->code = -ERR_…),
 * everything before it has been sent, the transaction is rolled back or marked failed. The last
 * reply of a write transaction has waited as SNAP-5 says. */
int session_execute(struct session *s, const char *text, const struct session_sink *sink,
                    struct err *e);

/* 'I' idle, 'T' in a transaction block, 'E' in a failed one: ReadyForQuery's byte. */
char session_status(const struct session *s);
/* Does the open transaction hold a writer lock? Then idle_in_write_transaction_timeout counts. */
bool session_is_writing(const struct session *s);
/* Real time the open transaction began, 0 = none. */
usec_t session_xact_start(const struct session *s);

/* A statement failed: the block is marked failed, an implicit transaction rolled back. The calls
 * below do so when they fail; the loop does for a message that did not come so far. */
void session_fail(struct session *s);

/* The loop calls this while the client is silent when REQ_SNAPSHOT is set (SNAP-6): gives a
 * cancelled snapshot back at once; the transaction is failed and its next command answers 72000. */
void session_on_snapshot_cancelled(struct session *s);

/* ---- autovacuum (session_vacuum.c) ---- */

/* What a look at a database found, and what follows from it. */
struct session_upkeep_view {
    int64_t n_pages, n_free;
    int64_t n_rows;    /* as the planner's statistics say */
    int64_t n_changed; /* rows changed since they were made */
};
struct session_upkeep_plan {
    bool vacuum;
    int64_t keep; /* free pages to leave */
    bool analyze;
};
/* By autovacuum_*. Pure. */
struct session_upkeep_plan session_upkeep_decide(const struct session_upkeep_view *v,
                                                 const struct conf_values *c);
/* How long the writer lock was held, transaction by transaction. */
#define SESSION_HOLD_STEP_USEC (USEC_PER_MSEC / 4)
#define SESSION_HOLD_STEPS     256u
struct session_holds {
    usec_t longest;
    uint32_t n;
    uint32_t in[SESSION_HOLD_STEPS]; /* how many took so many steps; the last: or more */
};
void session_holds_add(struct session_holds *h, usec_t held);
/* At most so long in 99 of 100 transactions; 0 without any. Both pure. */
usec_t session_holds_p99(const struct session_holds *h);

struct session_upkeep_done {
    int64_t free_before; /* pages */
    int64_t n_pages;     /* given back */
    uint32_t n_steps;    /* in so many transactions */
    uint32_t n_tables;   /* analyzed */
    struct session_holds holds;
};
/* Look at the session's database and do what is due, in many small transactions; between two of
 * them others write. *ret says what was done, also on failure. Interruptible at any step. The
 * session is in no transaction. */
int session_upkeep(struct session *s, struct session_upkeep_done *ret, struct err *e);

/* ---- extended query (session_ext.c) ---- */

/* Parse: prepare `text` (one statement or none) under `name` ("" = the unnamed one, replaced).
 * types[n_types] are the client's parameter types, 0 = infer. 42P05, 42601, … */
int session_parse(struct session *s, const char *name, const char *text, const oid_t *types,
                  uint32_t n_types, struct err *e);
/* Bind: make portal `portal` of statement `name`. formats: 0, 1 or n of them, each 0 or 1, for
 * parameters and for results. 08P01, 26000, 42P03, 22P02 … */
struct session_bind {
    const char *portal, *name;
    const int16_t *formats;
    uint32_t n_formats;
    const struct session_value *params;
    uint32_t n_params;
    const int16_t *result_formats;
    uint32_t n_result_formats;
};
int session_bind(struct session *s, const struct session_bind *b, struct err *e);
/* Describe a statement: *ret_types (borrowed until the next call) has *ret_n parameter types; then
 * columns_fn is called with the result columns (n = 0: NoData). 26000. */
int session_describe_statement(struct session *s, const char *name, const oid_t **ret_types,
                               uint32_t *ret_n, const struct session_sink *sink, struct err *e);
/* Describe a portal: sink->columns is called (n = 0: NoData). 34000. */
int session_describe_portal(struct session *s, const char *portal, const struct session_sink *sink,
                            struct err *e);
/* The text of a prepared statement, borrowed until that goes; "" if there is none of that name. */
const char *session_prepared_text(const struct session *s, const char *name);
/* The text of its statement, borrowed until the portal goes; "" if there is none of that name. */
const char *session_portal_text(const struct session *s, const char *portal);
/* Execute at most max_rows rows (0 = all): rows, then complete or empty, or returns
 * SESSION_SUSPENDED (1) when the limit was reached. */
#define SESSION_SUSPENDED 1
int session_execute_portal(struct session *s, const char *portal, uint32_t max_rows,
                           const struct session_sink *sink, struct err *e);
/* Close of an unknown name is no error. */
void session_close_statement(struct session *s, const char *name);
void session_close_portal(struct session *s, const char *portal);
/* Sync: ends the implicit transaction: commits it (waiting as SNAP-5 says), or rolls it back if
 * `failed` (an error was answered since the last Sync). < 0: the commit failed, answer e. */
int session_sync(struct session *s, bool failed, struct err *e);
