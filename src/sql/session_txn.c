/* Transactions: PostgreSQL's blocks over SQLite's, with READ COMMITTED outside SQLite's until the
 * first write (sqlite-vfs 5.7), savepoints replayed, and the reply barrier (SNAP-5).
 *
 * Runs in: backend. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sql/session_int.h"

bool
session_waits(const struct session *s)
{
    return s->cfg.conf->cur.v.synchronous_commit != CONF_COMMIT_OFF;
}

/* ---- beginning ---- */

void
session_begin_implicit(struct session *s)
{
    const struct conf_values *v = &s->cfg.conf->cur.v;

    ASSERT(s->block == BLOCK_NONE);
    s->block = BLOCK_IMPLICIT;
    s->isolation = (enum sql_isolation) v->default_transaction_isolation;
    s->read_only = v->default_transaction_read_only;
    s->had_query = false;
    s->is_lost = false;
    s->xact_start = clock_real_usec();
    conf_session_push(s->cfg.conf);
}

/* Open SQLite's transaction and put the savepoints in that came before it (5.7 b). */
int
session_enter_read(struct session *s, struct err *e)
{
    bool writes = store_writer_is_mine(s->st, s->cfg.db_idx);
    int r;

    if (s->in_sqlite)
        return 0;
    r = session_exec_own(s, writes ? "BEGIN IMMEDIATE" : "BEGIN", e);
    s->in_sqlite = r == 0;
    for (uint32_t i = 0; i < s->n_savepoints && r == 0; i++) {
        char sql[32];

        (void) snprintf(sql, sizeof sql, "SAVEPOINT s%u", i);
        r = session_exec(s, sql, e);
    }
    session_drop_idle_writer(s);
    return r;
}

/* ---- ending ---- */

static void
reset_statements(struct session *s)
{
    for (sqlite3_stmt *st = sqlite3_next_stmt(s->db, NULL); st != NULL;
         st = sqlite3_next_stmt(s->db, st))
        (void) sqlite3_reset(st);
}

/* SQLite out of any transaction, nothing kept. */
static void
undo_sqlite(struct session *s)
{
    struct err ignored = ERR_INIT; /* what failed was told; a rollback cannot fail on its own */

    reset_statements(s);
    if (sqlite3_get_autocommit(s->db) == 0)
        (void) session_exec_own(s, "ROLLBACK", &ignored);
    if (s->has_ddl)
        session_cache_clear(s);
    s->in_sqlite = false;
    session_drop_idle_writer(s);
}

static void
leave_block(struct session *s, bool commit)
{
    stat_add(s->self, commit ? STAT_XACT_COMMIT : STAT_XACT_ROLLBACK, 1);
    while (s->cfg.conf->level > 0)
        conf_session_pop(s->cfg.conf, commit);
    s->n_savepoints = 0;
    s->block = BLOCK_NONE;
    s->is_lost = false;
    s->has_ddl = false;
    s->xact_start = 0;
    store_txn_barrier(s->txn, session_waits(s)); /* SNAP-5: before anybody answers */
}

int
session_commit(struct session *s, struct err *e)
{
    int r = 0;

    session_close_portals(s);
    if (s->in_sqlite)
        r = session_exec_own(s, "COMMIT", e);
    if (r < 0)
        undo_sqlite(s);
    s->in_sqlite = false;
    session_drop_idle_writer(s);
    leave_block(s, r == 0);
    return r;
}

void
session_rollback(struct session *s)
{
    session_close_portals(s);
    undo_sqlite(s);
    leave_block(s, false);
}

void
session_fail(struct session *s)
{
    if (s->block == BLOCK_NONE)
        return;
    if (s->block == BLOCK_IMPLICIT) {
        session_rollback(s);
        return;
    }
    s->block = BLOCK_FAILED;
    session_close_portals(s);
    reset_statements(s);
    if (s->in_sqlite && sqlite3_get_autocommit(s->db) != 0) {
        s->in_sqlite = false; /* an I/O error, a full disk, an interrupt: SQLite undid it all */
        s->is_lost = true;
    }
    if (s->n_savepoints == 0 || s->is_lost) { /* nothing to return to: free the writer lock now */
        undo_sqlite(s);
        store_txn_barrier(s->txn, session_waits(s));
    }
    session_drop_idle_writer(s);
}

/* ---- commands ---- */

int
session_check_block(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    if (s->snapshot_gone && stmt->kind != SQL_ROLLBACK) { /* SNAP-6 */
        s->snapshot_gone = false;
        return ERR(e, SNAPSHOT_TOO_OLD, "snapshot too old");
    }
    if (s->block != BLOCK_FAILED || stmt->kind == SQL_ROLLBACK || stmt->kind == SQL_COMMIT ||
        stmt->kind == SQL_ROLLBACK_TO || stmt->kind == SQL_EMPTY)
        return 0;
    return ERR(e, IN_FAILED_SQL_TRANSACTION,
               "current transaction is aborted, commands ignored until end of transaction block");
}

/* BEGIN's modes, SET TRANSACTION. */
static int
apply_modes(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    if (stmt->isolation != SQL_ISOLATION_UNSAID && stmt->isolation != s->isolation) {
        if (s->had_query)
            return ERR(e, ACTIVE_SQL_TRANSACTION,
                       "SET TRANSACTION ISOLATION LEVEL must be called before any query");
        if (s->n_savepoints > 0)
            return ERR(e, ACTIVE_SQL_TRANSACTION,
                       "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction");
        s->isolation = stmt->isolation;
    }
    if (stmt->read_only == 0 && s->read_only && s->n_savepoints > 0)
        return ERR(e, ACTIVE_SQL_TRANSACTION,
                   "cannot set transaction read-write mode inside a read-only transaction");
    if (stmt->read_only == 0 && s->read_only && s->had_query)
        return ERR(e, ACTIVE_SQL_TRANSACTION,
                   "transaction read-write mode must be set before any query");
    if (stmt->read_only >= 0)
        s->read_only = stmt->read_only != 0;
    return 0; /* DEFERRABLE: snapshots here are always safe, nothing to wait for */
}

static int
do_begin(struct session *s, const struct sql_stmt *stmt, const struct session_sink *sink,
         struct err *e)
{
    enum session_block before = s->block;
    int r;

    if (s->block == BLOCK_OPEN)
        session_notice(sink, "WARNING", ERR_ACTIVE_SQL_TRANSACTION,
                       "there is already a transaction in progress");
    s->block = BLOCK_OPEN;
    r = apply_modes(s, stmt, e);
    if (r == 0 && stmt->immediate)
        r = session_enter_write(s, e);
    if (r < 0)
        s->block = before; /* a BEGIN that failed has begun nothing */
    return r;
}

/* Start the next transaction of COMMIT AND CHAIN with the same modes. */
static void
chain(struct session *s, enum sql_isolation isolation, bool read_only)
{
    session_begin_implicit(s);
    s->block = BLOCK_OPEN;
    s->isolation = isolation;
    s->read_only = read_only;
}

static int
do_end(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink, struct err *e)
{
    enum sql_isolation isolation = s->isolation;
    bool read_only = s->read_only;
    bool commit = stmt->kind == SQL_COMMIT && s->block != BLOCK_FAILED;
    int r = 0;

    if (s->block == BLOCK_IMPLICIT) {
        if (stmt->chain)
            return ERR(e, NO_ACTIVE_SQL_TRANSACTION,
                       "%s AND CHAIN can only be used in transaction blocks", stmt->tag);
        session_notice(sink, "WARNING", ERR_NO_ACTIVE_SQL_TRANSACTION,
                       "there is no transaction in progress");
    }
    if (commit) {
        r = session_commit(s, e);
    } else {
        session_rollback(s);
        (void) snprintf(stmt->tag, sizeof stmt->tag, "ROLLBACK");
    }
    s->snapshot_gone = false;
    if (r == 0 && stmt->chain)
        chain(s, isolation, read_only);
    return r;
}

static int
find_savepoint(const struct session *s, const char *name, uint32_t *ret, struct err *e)
{
    for (uint32_t i = s->n_savepoints; i > 0; i--) {
        if (strcmp(s->savepoints[i - 1].name, name) == 0) {
            *ret = i - 1;
            return 0;
        }
    }
    return ERR(e, INVALID_SAVEPOINT_SPECIFICATION, "savepoint \"%s\" does not exist", name);
}

static int
do_savepoint(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    struct session_savepoint *grown;
    char sql[32];
    int r = 0;

    if (s->n_savepoints == SAVEPOINTS_MAX)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "too many savepoints");
    grown = realloc(s->savepoints, (s->n_savepoints + 1) * sizeof *grown);
    if (grown == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    s->savepoints = grown;
    (void) snprintf(sql, sizeof sql, "SAVEPOINT s%u", s->n_savepoints);
    if (s->in_sqlite)
        r = session_spool_portals(s, false, e);
    if (r == 0 && s->in_sqlite)
        r = session_exec(s, sql, e);
    if (r < 0)
        return r;
    (void) snprintf(s->savepoints[s->n_savepoints++].name, SQL_NAME_BYTES, "%s", stmt->name);
    conf_session_push(s->cfg.conf);
    return 0;
}

/* RELEASE, ROLLBACK TO. */
static int
do_to_savepoint(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    bool back = stmt->kind == SQL_ROLLBACK_TO;
    char sql[32];
    uint32_t k = 0;
    int r = find_savepoint(s, stmt->name, &k, e);

    if (r < 0)
        return r;
    if (back && s->is_lost)
        return ERR(e, IN_FAILED_SQL_TRANSACTION,
                   "savepoint \"%s\" is gone: the error has undone the whole transaction",
                   stmt->name);
    r = session_portals_to_savepoint(s, k, back, e);
    if (r < 0)
        return r;
    (void) snprintf(sql, sizeof sql, back ? "ROLLBACK TO s%u" : "RELEASE s%u", k);
    if (s->in_sqlite)
        r = session_exec(s, sql, e);
    if (r < 0)
        return r;
    if (back && s->has_ddl)
        session_cache_clear(s);
    while (s->n_savepoints > k) {
        conf_session_pop(s->cfg.conf, !back);
        s->n_savepoints--;
    }
    if (back) { /* the savepoint itself stays */
        conf_session_push(s->cfg.conf);
        s->n_savepoints++;
        s->block = BLOCK_OPEN;
    }
    return 0;
}

int
session_txn_command(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink,
                    struct err *e)
{
    bool alone = s->block == BLOCK_IMPLICIT;

    if (stmt->kind == SQL_BEGIN)
        return do_begin(s, stmt, sink, e);
    if (stmt->kind == SQL_COMMIT || stmt->kind == SQL_ROLLBACK)
        return do_end(s, stmt, sink, e);
    if (stmt->kind == SQL_SET_TRANSACTION) {
        if (alone)
            session_notice(sink, "WARNING", ERR_NO_ACTIVE_SQL_TRANSACTION,
                           "SET TRANSACTION can only be used in transaction blocks");
        return apply_modes(s, stmt, e);
    }
    if (alone)
        return ERR(e, NO_ACTIVE_SQL_TRANSACTION, "%s can only be used in transaction blocks",
                   stmt->kind == SQL_SAVEPOINT ? "SAVEPOINT"
                   : stmt->kind == SQL_RELEASE ? "RELEASE SAVEPOINT"
                                               : "ROLLBACK TO SAVEPOINT");
    return stmt->kind == SQL_SAVEPOINT ? do_savepoint(s, stmt, e) : do_to_savepoint(s, stmt, e);
}
