/* The other commands that are the server's: CHECKPOINT, CREATE and DROP DATABASE, DISCARD.
 *
 * Runs in: backend. Source: FILE-2, FILE-3; postmaster.md 5.6 for how a checkpoint is asked for. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "shm/wait.h"
#include "sql/session_int.h"
#include "store/store_checkpoint.h"

/* How long DROP DATABASE waits for autovacuum to leave it. */
#define WORKERS_PATIENCE_USEC (5 * USEC_PER_SEC)

void
session_notice(const struct session_sink *sink, const char *severity, int code, const char *message)
{
    struct err n = ERR_INIT;

    if (sink->notice == NULL)
        return;
    (void) err_set(&n, -code, "%s", message);
    (void) sink->notice(sink->arg, severity, &n);
}

int
session_check_alone(const struct session *s, const char *what, struct err *e)
{
    if (s->block == BLOCK_OPEN || s->in_sqlite)
        return ERR(e, ACTIVE_SQL_TRANSACTION, "%s cannot run inside a transaction block", what);
    return 0;
}

static int
check_database_command(const struct session *s, const char *what, struct err *e)
{
    if (s->read_only)
        return ERR(e, READ_ONLY_SQL_TRANSACTION, "cannot execute %s in a read-only transaction",
                   what);
    return session_check_alone(s, what, e);
}

static usec_t
lock_deadline(const struct session *s)
{
    int64_t timeout = s->cfg.conf->cur.v.lock_timeout;

    return timeout > 0 ? clock_mono_usec() + (usec_t) timeout : 0;
}

static int
do_checkpoint(struct session *s, struct err *e)
{
    uint64_t ticket;

    if (!s->cfg.role.is_superuser)
        return ERR(e, INSUFFICIENT_PRIVILEGE, "must be superuser to run CHECKPOINT");
    ticket = store_checkpoint_ask(s->st, CKPT_IMMEDIATE | CKPT_FORCE | CKPT_WAIT);
    return store_checkpoint_wait(s->st, ticket, e);
}

static void
catalog_closep(struct catalog **c)
{
    catalog_close(*c);
}

static int
do_create_db(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    CLEANUP(catalog_closep) struct catalog *c = NULL;
    struct catalog_role owner = s->cfg.role;
    int r = check_database_command(s, "CREATE DATABASE", e);

    if (r == 0 && !s->cfg.role.is_superuser)
        r = ERR(e, INSUFFICIENT_PRIVILEGE, "permission denied to create database");
    if (r == 0)
        r = catalog_open(s->st, &c, e);
    if (r == 0 && stmt->owner[0] != '\0')
        r = catalog_find_role(c, stmt->owner, &owner, e);
    if (r == CATALOG_NONE)
        r = ERR(e, UNDEFINED_OBJECT, "role \"%s\" does not exist", stmt->owner);
    if (r < 0)
        return r;
    return catalog_create_db(c, stmt->name, owner.oid, lock_deadline(s), session_waits(s), e);
}

/* Autovacuum gives way to DROP DATABASE. They are asked to go, and waited for a while: who is still
 * there then is told of by the drop. */
static void
send_workers_away(const struct session *s, oid_t oid)
{
    usec_t deadline = clock_mono_usec() + WORKERS_PATIENCE_USEC;
    _Atomic uint32_t nobody = 0;
    uint32_t n;
    struct slot *slots = session_slots(s, &n);

    for (uint32_t i = 0; i < n; i++)
        while (session_slot_is_worker_of(&slots[i], oid) && clock_mono_usec() < deadline) {
            slot_request(&slots[i], REQ_TERMINATE);
            if (wait_sleep(s->self, &nobody, 0, clock_mono_usec() + 10 * USEC_PER_MSEC,
                           WAIT_DB_STATE, NULL) < 0)
                return;
        }
}

static int
do_drop_db(struct session *s, const struct sql_stmt *stmt, const struct session_sink *sink,
           struct err *e)
{
    CLEANUP(catalog_closep) struct catalog *c = NULL;
    struct catalog_db db;
    bool known;
    char text[160];
    int r = check_database_command(s, "DROP DATABASE", e);

    if (r == 0 && stmt->force)
        r = ERR(e, FEATURE_NOT_SUPPORTED, "DROP DATABASE WITH (FORCE) is not supported");
    if (r == 0 && strcmp(stmt->name, s->cfg.db.name) == 0)
        r = ERR(e, OBJECT_IN_USE, "cannot drop the currently open database");
    if (r == 0)
        r = catalog_open(s->st, &c, e);
    if (r < 0)
        return r;
    known = catalog_find_db(c, stmt->name, &db, NULL) == 0;
    if (known)
        send_workers_away(s, db.oid);
    r = catalog_drop_db(c, stmt->name, &s->cfg.role, stmt->if_exists, lock_deadline(s), e);
    if (r == 0 && known && s->cfg.stats != NULL)
        stat_forget_db(s->cfg.stats, db.oid);
    if (r != CATALOG_NONE)
        return r;
    (void) snprintf(text, sizeof text, "database \"%s\" does not exist, skipping", stmt->name);
    session_notice(sink, "NOTICE", ERR_SUCCESS, text);
    return 0;
}

/* The statement that drops the next temporary view, trigger (it may be a common table's), or table:
 * sqlite3_free(). NULL: none is left, or no memory. */
static char *
next_temp_drop(struct session *s)
{
    static const char find[] =
        "SELECT format('DROP %s temp.\"%w\"', type, name) FROM temp.sqlite_schema"
        " WHERE type IN ('view', 'trigger', 'table') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " ORDER BY type DESC LIMIT 1";
    sqlite3_stmt *st = NULL;
    char *sql = NULL;

    s->is_internal = true;
    if (sqlite3_prepare_v2(s->db, find, sizeof find, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        sql = sqlite3_mprintf("%s", sqlite3_column_text(st, 0));
    (void) sqlite3_finalize(st);
    s->is_internal = false;
    return sql;
}

static int
drop_temporary(struct session *s, struct err *e)
{
    char *sql;
    int r = 0;

    while (r == 0 && (sql = next_temp_drop(s)) != NULL) {
        r = session_exec(s, sql, e);
        sqlite3_free(sql);
    }
    return r;
}

/* What PRAGMA may have changed of the session (session_auth.c), as it was at its begin. */
static const char pragmas[] = "PRAGMA case_sensitive_like = off; PRAGMA recursive_triggers = off;"
                              "PRAGMA reverse_unordered_selects = off; PRAGMA automatic_index = "
                              "on; PRAGMA analysis_limit = 0";

static int
do_discard(struct session *s, struct err *e)
{
    int r = session_check_alone(s, "DISCARD ALL", e);

    if (r < 0)
        return r;
    session_close_portals(s);
    (void) session_close_prepared(s, NULL);
    session_cache_clear(s);
    r = drop_temporary(s, e);
    if (r == 0)
        r = session_exec(s, pragmas, e);
    return r < 0 ? r : conf_session_reset_all(s->cfg.conf, e);
}

static int
do_deallocate(struct session *s, const char *name, struct err *e)
{
    bool found = session_close_prepared(s, name[0] != '\0' ? name : NULL);

    if (name[0] == '\0' || found)
        return 0;
    return ERR(e, INVALID_SQL_STATEMENT_NAME, "prepared statement \"%s\" does not exist", name);
}

int
session_utility(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink,
                struct err *e)
{
    if (stmt->kind == SQL_REFUSED)
        return ERR(e, FEATURE_NOT_SUPPORTED, "%s is not supported", stmt->tag);
    if (stmt->kind == SQL_CHECKPOINT)
        return do_checkpoint(s, e);
    if (stmt->kind == SQL_CREATE_DB)
        return do_create_db(s, stmt, e);
    if (stmt->kind == SQL_DROP_DB)
        return do_drop_db(s, stmt, sink, e);
    if (stmt->kind == SQL_DISCARD)
        return do_discard(s, e);
    if (stmt->kind == SQL_DEALLOCATE)
        return do_deallocate(s, stmt->name, e);
    ASSERT(stmt->kind == SQL_NOTHING);
    if (stmt->name[0] != '\0') /* CLOSE of one: there is no DECLARE */
        return ERR(e, INVALID_CURSOR_NAME, "cursor \"%s\" does not exist", stmt->name);
    return 0;
}
