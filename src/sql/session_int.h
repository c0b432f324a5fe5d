/* The inside of a session, shared by session*.c. */
#pragma once

#include <sqlite3.h>

#include "sql/session.h"
#include "sql/session_types.h"
#include "sql/sql_stmt.h"
#include "sql/sql_template.h"
#include "vfs/vfs_file.h"

/* Where the session stands between statements. */
enum session_block {
    BLOCK_NONE,
    BLOCK_IMPLICIT, /* inside one Query message or between two Syncs */
    BLOCK_OPEN,     /* after BEGIN */
    BLOCK_FAILED,   /* after an error in one: only ROLLBACK, COMMIT, ROLLBACK TO */
};

struct session_savepoint {
    char name[SQL_NAME_BYTES];
};

#define SAVEPOINTS_MAX 1000

#define SESSION_PREPARED_LISTS 256 /* a power of two */

/* What the authorizer saw while a statement was prepared (5.12). */
struct session_seen {
    bool writes_main;
    bool writes_temp;
    bool wants_write; /* reads, but needs a write transaction: txid_current(), PRAGMA optimize */
    bool calls_pragma;
    bool is_ddl;     /* creates, drops or alters something */
    char denied[80]; /* what was not allowed; "" = nothing */
};

/* A statement of our own, prepared once: BEGIN, COMMIT … */
struct session_own {
    const char *sql; /* static */
    sqlite3_stmt *stmt;
};
#define SESSION_OWN_MAX 5

struct session_prepared; /* below */
struct session_portal;   /* session_ext.c */
struct session_cached;   /* session_cache.c */

struct session {
    struct session_cfg cfg;
    struct store *st;
    struct self *self;
    sqlite3 *db; /* owned */
    struct vfs_handle *handle;
    struct store_txn *txn; /* borrowed from db */

    enum session_block block;
    bool is_lost;   /* FAILED and SQLite rolled everything back: no savepoint can be returned to */
    bool in_sqlite; /* SQLite's own transaction is open (BEGIN was executed) */
    enum sql_isolation isolation;
    bool read_only;
    bool had_query;    /* the transaction has run one: its snapshot is taken, its modes are fixed */
    usec_t xact_start; /* real; 0 = no transaction */
    usec_t stmt_start; /* real */
    struct session_savepoint *savepoints; /* owned */
    uint32_t n_savepoints;

    struct session_seen seen;
    bool is_internal;     /* our own statements: the authorizer lets them pass */
    struct err interrupt; /* set by the progress handler and functions: the real reason */
    bool snapshot_gone;   /* SNAP-6: answer 72000 at the next command */

    int64_t work_mem; /* what SQLite was told; 0 = nothing yet */

    struct types_out out;                                      /* values of the row being sent */
    struct session_prepared *prepared[SESSION_PREPARED_LISTS]; /* owned lists, by the name's hash */
    struct session_portal *portals;                            /* owned list */

    struct session_cached *cached; /* owned list, newest use first */
    uint32_t n_cached;
    size_t cache_bytes;
    bool has_ddl; /* the transaction made some: a rollback changes the schema, too */
    struct session_own own[SESSION_OWN_MAX];

    struct session_prepared *kept; /* closed ones, owned list, newest first (session_prepared.c) */
    uint32_t n_kept;
    size_t kept_bytes;
    uint32_t schema_age; /* counts how often the schema was seen to have changed */
    /* It was looked at under a snapshot that had all commits to this one; under this snapshot. 0 =
     * not known. */
    lsn_t schema_newest, schema_snapshot;
};

/* ---- session.c ---- */

/* Before and after each statement: statement_timeout, memory, errors kept. */
void session_arm(struct session *s);
void session_disarm(struct session *s);
/* A statement that is not SQLite's. May write its tag. */
int session_command(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink,
                    struct err *e);

/* ---- session_stmt.c ---- */

/* A statement of SQLite's, prepared and described. */
struct session_query {
    sqlite3_stmt *stmt; /* owned; NULL: nothing to run */
    struct session_seen seen;
    bool is_readonly;
    bool is_numbered; /* parameters have no names but their numbers */
    int n_cols;
    bool has_row;  /* the statement stands on a row that was not sent */
    bool is_done;  /* it has been run to its end */
    oid_t *types;  /* [n_cols], TYPE_UNKNOWN: by the first value; [n_cols] as declared; owned */
    int32_t *mods; /* [n_cols], owned */
};
/* Prepare `stmt`'s text; `query`, `query_n` are the whole string, for positions. */
int session_query_prepare(struct session *s, const struct sql_stmt *stmt, const char *query,
                          size_t query_n, struct session_query *ret, struct err *e);
void session_query_done(struct session_query *q);
/* No value bound, ready to be run again. */
void session_query_rewind(struct session_query *q);
/* Rewound: what the values of its first row said of its columns no longer counts. */
void session_query_forget_values(struct session_query *q);
/* Make the transaction ready for q (sqlite-vfs 5.7): writer queue, BEGIN. `is_last`: nothing
 * follows in an implicit transaction, SQLite's autocommit will do. */
int session_query_enter(struct session *s, const struct session_query *q, bool is_last,
                        struct err *e);
/* Run it to its end (or max_rows > 0 rows: SESSION_SUSPENDED). formats: n_formats as in Bind. Does
 * not send the tag. *n_rows counts. */
struct session_run {
    bool describe; /* send sink->columns first */
    const int16_t *formats;
    uint32_t n_formats;
    uint32_t max_rows;
};
int session_query_run(struct session *s, struct session_query *q, const struct session_run *run,
                      const struct session_sink *sink, uint64_t *n_rows, struct err *e);
/* Columns of q to the sink; unknown types by the current row, if there is one. */
int session_query_describe(struct session *s, struct session_query *q,
                           const struct session_run *run, bool has_row,
                           const struct session_sink *sink, struct err *e);
/* One row to the sink: the current one, or `spooled`. */
int session_query_send(struct session *s, const struct session_query *q,
                       const struct session_run *run, sqlite3_value *const *spooled,
                       const struct session_sink *sink, struct err *e);
/* Step to the first row without sending it: its values tell types. */
int session_query_peek(struct session *s, struct session_query *q, struct err *e);
/* 0A000: the schema has changed, and the statement's columns with it. */
int session_plan_changed(struct err *e);
/* Tag of a finished statement into p[SQL_NAME_BYTES]. n_rows were sent; `by_rows`: they are what it
 * counts, as a SELECT does, not what SQLite changed. */
void session_query_tag(struct session *s, const struct sql_stmt *stmt, bool by_rows,
                       uint64_t n_rows, char *p);
/* One of our own statements. */
int session_exec(struct session *s, const char *sql, struct err *e);
/* The same for one that comes with each transaction: `sql` is a literal, its statement is kept. */
int session_exec_own(struct session *s, const char *sql, struct err *e);
void session_own_done(struct session *s);
/* Compare what SQLite knows of the schema with what is in the database, and, if they differ, read
 * it again and forget the kept statements of session_prepared.c. < 0: not known, forgotten, too. */
int session_look_at_schema(struct session *s, struct err *e);
/* A call failed with rc: find the real reason. */
int session_failed(struct session *s, int rc, bool is_run, struct err *e);
/* Drop a writer lock that no write of SQLite's needs any more. */
void session_drop_idle_writer(struct session *s);
/* The progress handler. */
int session_on_progress(void *arg);

/* ---- session_cache.c ---- */

/* The kept statement of this template, or NULL. */
struct session_cached *session_cache_find(struct session *s, const struct sql_template *t);
/* A new entry for `stmt`, prepared when it is used first. NULL: no memory. */
struct session_cached *session_cache_add(struct session *s, const struct sql_template *t,
                                         const struct sql_stmt *stmt);
/* Kind and tag; its text is the template's. */
const struct sql_stmt *session_cached_stmt(const struct session_cached *c);
/* c's statement with the literals of t (they point into `text`) bound, to be run once and ended
 * by session_cache_done(). NULL: it cannot serve here, prepare the statement as it was written. */
struct session_query *session_cache_use(struct session *s, struct session_cached *c,
                                        const struct sql_template *t, const char *text);
/* False: SQLite could not prepare it again; if it failed, it is to be tried as it was written. */
bool session_cache_done(struct session *s, struct session_cached *c);
/* Remove this one. */
void session_cache_forget(struct session *s, struct session_cached *c);
/* Whenever this session changes the schema: what a name means may have changed with it. Those of
 * session_prepared.c go, too. */
void session_cache_clear(struct session *s);

/* ---- session_txn.c ---- */
void session_begin_implicit(struct session *s);
/* End an implicit transaction (or one by COMMIT): commit, then SNAP-5. On failure it was rolled
 * back. */
int session_commit(struct session *s, struct err *e);
/* Roll everything back and wait as SNAP-5 says. */
void session_rollback(struct session *s);
/* BEGIN … ROLLBACK TO, SET TRANSACTION. */
int session_txn_command(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink,
                        struct err *e);
/* Is `stmt` allowed in a failed block? Else 25P02. */
int session_check_block(struct session *s, const struct sql_stmt *stmt, struct err *e);
/* Take the writer lock and open SQLite's transaction. */
int session_enter_write(struct session *s, struct err *e);
/* Open SQLite's transaction without the writer lock. */
int session_enter_read(struct session *s, struct err *e);
bool session_waits(const struct session *s); /* synchronous_commit */

/* ---- session_show.c ---- */
int session_setting_command(struct session *s, struct sql_stmt *stmt,
                            const struct session_sink *sink, struct err *e);

/* The value in force, those of the transaction included; `is_bare`: numbers without unit. Cut to
 * cap. Returns p. */
const char *session_setting_text(const struct session *s, enum conf_id id, bool is_bare, char *p,
                                 size_t cap);
/* The same by name and with the right to see it checked: SHOW. 42704, 42501. */
int session_show_setting(const struct session *s, const char *name, char *p, size_t cap,
                         struct err *e);

/* ---- session_util.c ---- */
int session_utility(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink,
                    struct err *e);
/* A notice with formatted message. */
void session_notice(const struct session_sink *sink, const char *severity, int code,
                    const char *message);

/* 25001 unless nothing but an implicit transaction is open: for what cannot be undone. */
int session_check_alone(const struct session *s, const char *what, struct err *e);

/* ---- session_vacuum.c ---- */
int session_vacuum(struct session *s, const struct sql_stmt *stmt, const struct session_sink *sink,
                   struct err *e);
/* One number by one of our own statements; `p1` (may be NULL) is its parameter. Unchanged: no row.
 */
int session_read_number(struct session *s, const char *sql, const char *p1, int64_t *ret,
                        struct err *e);
/* A write transaction of its own, under the writer lock from its begin to its commit: *ret_held
 * says for how long. A failure leaves it to session_fail() to roll it back: what was committed
 * before stays. */
int session_step(struct session *s, const char *sql, usec_t *ret_held, struct err *e);
/* Between two steps. Interruptible. */
int session_pause(struct session *s, usec_t usec, struct err *e);
/* As many pages as were free at the start, but for `keep`; what others free meanwhile is for the
 * next time. */
int session_give_back(struct session *s, int64_t keep, usec_t pause,
                      struct session_upkeep_done *ret, struct err *e);

/* ---- session_auth.c ---- */
int session_authorize(void *arg, int action, const char *a1, const char *a2, const char *db,
                      const char *trigger);
/* Limits and the authorizer (5.12). */
void session_harden(struct session *s);

/* ---- session_funcs.c ---- */
int session_add_functions(struct session *s, struct err *e);

/* ---- session_stat.c ---- */
/* pg_stat_activity, pg_cancel_backend(), pg_terminate_backend(). */
int session_add_activity(struct session *s, struct err *e);
/* The array that our own slot is an element of; NULL and 0 without shared slots. */
struct slot *session_slots(const struct session *s, uint32_t *ret_n);
bool session_slot_is_backend(const struct slot *slot);
bool session_slot_is_worker_of(const struct slot *slot, oid_t db);

/* ---- session_progress.c ---- */
/* pg_stat_progress_checkpoint, pg_stat_progress_recovery, pg_stat_progress_vacuum. */
int session_add_progress(struct session *s, struct err *e);

/* ---- session_stats.c ---- */
/* pg_stat_database, pg_stat_bgwriter, pg_stat_wal, pg_stat_reset(), pg_stat_reset_shared(). */
int session_add_stats(struct session *s, struct err *e);
/* What a statement has done is counted: rows by its kind. After its last step. */
void session_count_rows(const struct session *s, const struct sql_stmt *stmt);
/* Temporary files since the last call. After each statement. */
void session_count_temp(const struct session *s);

/* ---- session_log.c ---- */

/* pg_rotate_logfile(), pg_current_logfile(). */
int session_add_log(struct session *s, struct err *e);

/* ---- session_settings.c ---- */
/* pg_settings, pg_reload_conf(). */
int session_add_settings(struct session *s, struct err *e);

/* ---- session_files.c ---- */
/* pg_file_settings. */
int session_add_files(struct session *s, struct err *e);
/* Where this server's files are (`dir`: room for a path). False: nobody has said. */
bool session_conf_where(const struct session *s, char *dir, size_t cap, struct conf_where *ret);

/* ---- session_hba.c ---- */
/* pg_hba_file_rules. */
int session_add_hba(struct session *s, struct err *e);

/* ---- session_system.c ---- */
int session_alter_system(struct session *s, const struct sql_stmt *stmt, struct err *e);

/* ---- session_verify.c ---- */
/* pinion_database_files(), pinion_check_database(). */
int session_add_verify(struct session *s, struct err *e);

/* ---- session_prepared.c ---- */

struct session_prepared {
    struct session_prepared *next;
    char *name;           /* owned */
    struct sql_stmt stmt; /* stmt.value owned; points into `text` */
    struct session_query q;
    bool is_lent; /* q is a portal's at the moment */
    oid_t *types; /* [n_params] by number; owned */
    uint32_t n_params;
    uint32_t refs;       /* the list, and each portal */
    uint32_t schema_age; /* as it was prepared */
    size_t bytes;        /* what it takes; 0 = not counted yet */
    size_t n_text;
    char text[];
};

struct session_prepared *session_prepared_find(const struct session *s, const char *name);
/* The last one keeps it for a Parse to come, or frees it. */
void session_prepared_unref(struct session *s, struct session_prepared *p);
/* NULL: all. Was there one? */
bool session_close_prepared(struct session *s, const char *name);
/* Forget those that are closed, and keep none of those open now. */
void session_kept_clear(struct session *s);
/* As new if the schema has changed since it was prepared: SQLite would notice, but not tell us that
 * something else is written now. 0A000: it has other columns, or the error of preparing it. */
int session_prepared_renew(struct session *s, struct session_prepared *p, struct err *e);
/* The number of parameter idx: that in "$3", "?3", "$3::int", else its place; 0 = "$0" or more than
 * there can be. *ret_hint: the type behind "::", or 0. */
uint32_t session_param_number(const struct session_query *q, int idx, oid_t *ret_hint);

/* ---- session_ext.c ---- */
void session_close_portals(struct session *s); /* with the transaction */
/* Before a write: what open portals will answer is read now (5.7 a). Without `readers` only those
 * that write, too: SQLite takes no savepoint and ends none beside them. */
int session_spool_portals(struct session *s, bool readers, struct err *e);
/* RELEASE (or ROLLBACK TO) of savepoint k: portals made since go on outside it, or go with it. */
int session_portals_to_savepoint(struct session *s, uint32_t k, bool back, struct err *e);
