/* Sessions over the real store, several processes in one thread: transactions, isolation,
 * savepoints, settings, errors, databases. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sql/catalog_int.h"
#include "sql/catalog_login.h"
#include "sql/session_int.h"
#include "support/clients.h"
#include "support/test.h"

/* ---- simple query ---- */

static void
statements_answer_with_rows_types_and_tags(void **state)
{
    (void) state;
    clients_expect(0, "", "[empty]");
    clients_expect(0, " ; -- nothing\n", "[empty]");
    clients_expect(0, "INSERT INTO t VALUES(1,'a'),(2,'b')", "[INSERT 0 2]");
    clients_expect(0, "SELECT id, v, id+1, v||'!', 1.5, NULL FROM t WHERE id = 1",
                   "<id:23,v:25,id+1:20,v||'!':25,1.5:701,NULL:25>1|a|2|a!|1.5|NULL;[SELECT 1]");
    clients_expect(1, "SELECT count(*) FROM t", "<count(*):20>2;[SELECT 1]");
    clients_expect(0, "UPDATE t SET v = 'c'", "[UPDATE 2]");
    clients_expect(0, "UPDATE t SET v = 'd' WHERE false", "[UPDATE 0]");
    clients_expect(0, "DELETE FROM t WHERE id = 2 RETURNING v", "c;[DELETE 1]");
    clients_expect(0, "WITH x AS (SELECT 7 AS n) INSERT INTO t SELECT n, 'w' FROM x",
                   "[INSERT 0 1]");
    clients_expect(0, "CREATE INDEX i ON t(v)", "[CREATE INDEX]");
    clients_expect(0, "DROP INDEX i; SELECT 1", "[DROP INDEX]1;[SELECT 1]");
    CLIENTS_STATUS(0, 'I');
    assert_false(session_is_writing(clients.sessions[0]));
}

struct error_row {
    const char *sql;
    const char *state;
    int position;
};

static const struct error_row error_rows[] = {
    { "SELEC 1", "42601", 1 },
    { "SELECT 1 +", "42601", 0 },
    { "SELECT x FROM t", "42703", 8 },
    { "SELECT * FROM nope", "42P01", 0 },
    { "SELECT nope(1)", "42883", 8 },
    { "INSERT INTO t VALUES(1,'x')", "23505", 0 },
    { "INSERT INTO t VALUES(9,NULL)", "23502", 0 },
    { "INSERT INTO t(id,w) VALUES(9,1)", "42703", 0 },
    { "CREATE TABLE t(x)", "42P07", 0 },
    { "SELECT a.id FROM t a, t b WHERE id = 1", "42702", 33 },
    { "ATTACH '/tmp/x' AS x", "0A000", 0 },
    { "VACUUM INTO '/tmp/x'", "0A000", 0 },
    { "VACUUM FULL", "0A000", 0 },
    { "VACUUM (PARALLEL 2)", "0A000", 0 },
    { "VACUUM t, t", "0A000", 0 },
    { "VACUUM nope", "42P01", 0 },
    { "VACUUM (VERBOSE maybe)", "42601", 17 },
    { "PRAGMA journal_mode = WAL", "42501", 0 },
    { "PRAGMA writable_schema = 1", "42501", 0 },
    { "SELECT fts3_tokenizer('x')", "42501", 0 },
    { "SELECT load_extension('x')", "42501", 0 },
    { "SELECT abs(-9223372036854775808)", "22003", 0 },
    { "SET nope = 1", "42704", 0 },
    { "SET work TO", "42601", 12 },
    { "DROP DATABASE nope", "3D000", 0 },
    { "ROLLBACK TO x", "25P01", 0 },
    { "SELECT '\xc3\xa4' || x FROM t", "42703", 15 },
    { "COPY t FROM STDIN", "0A000", 0 },
    { "SELECT $1", "42P02", 0 },
};

static void
errors_have_states_and_positions_of_postgresql(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(1,'a')", "[INSERT 0 1]");
    for (size_t i = 0; i < ELEMENTSOF(error_rows); i++) {
        char want[8];

        (void) snprintf(want, sizeof want, "!%s", error_rows[i].state);
        clients_expect(0, error_rows[i].sql, want);
        if (error_rows[i].position != 0 && clients.e.position != error_rows[i].position)
            fail_msg("%s: position %d, want %d", error_rows[i].sql, clients.e.position,
                     error_rows[i].position);
        CLIENTS_STATUS(0, 'I');
        assert_false(session_is_writing(clients.sessions[0]));
    }
}

static void
a_schema_changed_by_another_session_is_looked_at_again(void **state)
{
    (void) state;
    clients_expect(1, "SELECT count(*) FROM t", "0;[SELECT 1]");
    clients_expect(0, "CREATE TABLE n(x); CREATE INDEX ni ON n(x)", "[CREATE TABLE][CREATE INDEX]");
    clients_expect(1, "REINDEX n", "[REINDEX]");
    clients_expect(0, "DROP TABLE t", "[DROP TABLE]");
    clients_expect(1, "CREATE TABLE t(y)", "[CREATE TABLE]");
    clients_expect(0, "BEGIN; SELECT y FROM t", "[BEGIN][SELECT 0]");
    clients_expect(0, "SELECT id FROM t", "!42703");
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
}

static void
several_statements_are_one_transaction(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(1,'a'); INSERT INTO t VALUES(2,'b'); SELECT nope",
                   "[INSERT 0 1][INSERT 0 1]!42703");
    clients_expect(1, "SELECT count(*) FROM t", "0;[SELECT 1]");
    clients_expect(0, "INSERT INTO t VALUES(1,'a'); SELECT v FROM t; INSERT INTO t VALUES(2,'b')",
                   "[INSERT 0 1]a;[SELECT 1][INSERT 0 1]");
    clients_expect(0, "INSERT INTO t VALUES(3,'c'); COMMIT; INSERT INTO t VALUES(3,'d')",
                   "[INSERT 0 1]{25P01}[COMMIT]!23505");
    clients_expect(1, "SELECT count(*) FROM t", "3;[SELECT 1]");
    clients_expect(0, "INSERT INTO t VALUES(4,'e'); BEGIN; INSERT INTO t VALUES(5,'f')",
                   "[INSERT 0 1][BEGIN][INSERT 0 1]");
    CLIENTS_STATUS(0, 'T');
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(1, "SELECT count(*) FROM t", "3;[SELECT 1]");
    clients_expect(0, "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END; SELECT 8",
                   "[CREATE TRIGGER]8;[SELECT 1]");
}

/* ---- blocks ---- */

static void
a_failed_block_answers_25P02_until_it_ends(void **state)
{
    (void) state;
    clients_expect(0, "BEGIN", "[BEGIN]");
    clients_expect(0, "BEGIN", "{25001}[BEGIN]");
    clients_expect(0, "INSERT INTO t VALUES(1,'a')", "[INSERT 0 1]");
    assert_true(session_is_writing(clients.sessions[0]));
    clients_expect(0, "SELECT nope", "!42703");
    CLIENTS_STATUS(0, 'E');
    assert_false(
        session_is_writing(clients.sessions[0])); /* others need not wait for its ROLLBACK */
    clients_expect(0, "SELECT 1", "!25P02");
    clients_expect(0, "SAVEPOINT x", "!25P02");
    clients_expect(0, "COMMIT", "[ROLLBACK]");
    CLIENTS_STATUS(0, 'I');
    clients_expect(0, "COMMIT", "{25P01}[COMMIT]");
    clients_expect(0, "SELECT count(*) FROM t", "0;[SELECT 1]");
    clients_expect(0, "START TRANSACTION READ ONLY; SELECT 1", "[START TRANSACTION]1;[SELECT 1]");
    clients_expect(0, "INSERT INTO t VALUES(1,'a')", "!25006");
    clients_expect(0, "END", "[ROLLBACK]");
    clients_expect(0, "BEGIN; COMMIT AND CHAIN", "[BEGIN][COMMIT]");
    CLIENTS_STATUS(0, 'T');
    clients_expect(0, "ABORT", "[ROLLBACK]");
}

static void
read_committed_takes_a_snapshot_per_statement(void **state)
{
    (void) state;
    clients_expect(0, "BEGIN; SELECT count(*) FROM t", "[BEGIN]0;[SELECT 1]");
    clients_expect(1, "INSERT INTO t VALUES(1,'a')", "[INSERT 0 1]");
    clients_expect(0, "SELECT count(*) FROM t", "1;[SELECT 1]");
    clients_expect(0, "UPDATE t SET v = v || 'x'", "[UPDATE 1]"); /* never stale */
    clients_expect(1, "SELECT v FROM t", "a;[SELECT 1]");
    clients_expect(0, "COMMIT", "[COMMIT]");
    clients_expect(1, "SELECT v FROM t", "ax;[SELECT 1]");
}

static void
repeatable_read_holds_one_and_refuses_stale_writes(void **state)
{
    (void) state;
    clients_expect(1, "INSERT INTO t VALUES(1,'a')", "[INSERT 0 1]");
    clients_expect(0, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT v FROM t",
                   "[BEGIN]a;[SELECT 1]");
    clients_expect(1, "UPDATE t SET v = 'b'", "[UPDATE 1]");
    clients_expect(0, "SELECT v FROM t", "a;[SELECT 1]");
    clients_expect(0, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "!25001");
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(0, "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT v FROM t", "[BEGIN]b;[SELECT 1]");
    clients_expect(1, "UPDATE t SET v = 'c'", "[UPDATE 1]");
    clients_expect(0, "UPDATE t SET v = 'lost'", "!40001");
    CLIENTS_STATUS(0, 'E');
    assert_false(session_is_writing(clients.sessions[0]));
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(0, "BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE t SET v = 'd'; COMMIT",
                   "[BEGIN][UPDATE 1][COMMIT]"); /* whose first statement writes cannot meet it */
    clients_expect(1, "SELECT v FROM t", "d;[SELECT 1]");
}

static void
savepoints_before_and_after_the_first_write(void **state)
{
    (void) state;
    clients_expect(0, "BEGIN; SAVEPOINT a; SELECT count(*) FROM t",
                   "[BEGIN][SAVEPOINT]0;[SELECT 1]");
    clients_expect(1, "INSERT INTO t VALUES(1,'one')", "[INSERT 0 1]"); /* nobody is held up */
    clients_expect(0, "INSERT INTO t VALUES(2,'two'); SAVEPOINT b; INSERT INTO t VALUES(3,'three')",
                   "[INSERT 0 1][SAVEPOINT][INSERT 0 1]");
    clients_expect(0, "SELECT nope", "!42703");
    assert_true(session_is_writing(clients.sessions[0])); /* there is something to return to */
    clients_expect(0, "ROLLBACK TO b", "[ROLLBACK]");
    CLIENTS_STATUS(0, 'T');
    clients_expect(0, "SELECT count(*) FROM t", "2;[SELECT 1]");
    clients_expect(0, "ROLLBACK TO a", "[ROLLBACK]");
    clients_expect(0, "SELECT count(*) FROM t", "1;[SELECT 1]");
    clients_expect(0, "ROLLBACK TO b", "!3B001");
    clients_expect(0, "ROLLBACK TO a; INSERT INTO t VALUES(4,'four'); RELEASE a",
                   "[ROLLBACK][INSERT 0 1][RELEASE]");
    clients_expect(0, "COMMIT", "[COMMIT]");
    clients_expect(1, "SELECT group_concat(id) FROM t", "1,4;[SELECT 1]");
}

static void
a_temporary_table_rolls_back_and_takes_no_writer_lock(void **state)
{
    (void) state;
    clients_expect(0, "CREATE TEMP TABLE w(x)", "[CREATE TABLE]");
    clients_expect(0, "BEGIN; INSERT INTO w VALUES(1)", "[BEGIN][INSERT 0 1]");
    assert_false(session_is_writing(clients.sessions[0]));
    clients_expect(1, "INSERT INTO t VALUES(1,'a')", "[INSERT 0 1]");
    clients_expect(0, "INSERT INTO t VALUES(2,'b')", "[INSERT 0 1]"); /* main was not read yet */
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(0, "SELECT count(*) FROM w", "0;[SELECT 1]");
    clients_expect(0, "BEGIN; INSERT INTO w SELECT id FROM t", "[BEGIN][INSERT 0 1]");
    clients_expect(1, "INSERT INTO t VALUES(3,'c')", "[INSERT 0 1]");
    clients_expect(0, "INSERT INTO t VALUES(4,'d')", "!40001"); /* a held snapshot: 5.7 (c) */
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(0, "BEGIN READ ONLY; INSERT INTO w VALUES(1); COMMIT",
                   "[BEGIN][INSERT 0 1][COMMIT]");
}

static void
the_second_writer_waits_in_the_queue_for_lock_timeout(void **state)
{
    (void) state;
    clients_expect(0, "BEGIN; INSERT INTO t VALUES(1,'a')", "[BEGIN][INSERT 0 1]");
    clients_expect(1, "SET lock_timeout = '20ms'", "[SET]");
    clients_expect(1, "INSERT INTO t VALUES(2,'b')", "!55P03");
    clients_expect(1, "SELECT count(*) FROM t", "0;[SELECT 1]");
    clients_expect(0, "COMMIT", "[COMMIT]");
    clients_expect(1, "INSERT INTO t VALUES(2,'b')", "[INSERT 0 1]");
}

static void
begin_immediate_takes_the_lock_at_once(void **state)
{
    (void) state;
    clients_expect(0, "BEGIN IMMEDIATE", "[BEGIN]");
    assert_true(session_is_writing(clients.sessions[0]));
    clients_expect(0, "COMMIT", "[COMMIT]");
    assert_false(session_is_writing(clients.sessions[0]));
}

static void
a_statement_that_runs_too_long_is_cancelled(void **state)
{
    (void) state;
    clients_expect(0, "SET statement_timeout = '30ms'", "[SET]");
    clients_expect(
        0, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        "!57014");
    clients_expect(0, "SELECT pg_sleep(10)", "!57014");
    clients_expect(0, "RESET statement_timeout", "[RESET]");
    clients_expect(0, "SELECT 1", "1;[SELECT 1]");
    clients_expect(0, "BEGIN; INSERT INTO t VALUES(1,'a'); SET LOCAL statement_timeout = '30ms'",
                   "[BEGIN][INSERT 0 1][SET]");
    clients_expect(
        0,
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n) SELECT "
        "i, 'x' FROM n",
        "!57014");
    CLIENTS_STATUS(0, 'E');
    clients_expect(0, "ROLLBACK; SHOW statement_timeout", "[ROLLBACK]0;[SHOW]");
    clients_expect(0, "SELECT count(*) FROM t", "0;[SELECT 1]");
}

/* ---- settings, functions ---- */

static void
settings_follow_their_transaction(void **state)
{
    (void) state;
    clients_expect(0, "SHOW server_version_num", "<server_version_num:25>150000;[SHOW]");
    clients_expect(0, "SET application_name TO 'me'; SHOW application_name", "[SET]me;[SHOW]");
    clients_expect(0, "BEGIN; SET application_name = 'you'; ROLLBACK; SHOW application_name",
                   "[BEGIN][SET][ROLLBACK]me;[SHOW]");
    clients_expect(0, "BEGIN; SET LOCAL application_name = 'you'; SHOW application_name; COMMIT",
                   "[BEGIN][SET]you;[SHOW][COMMIT]");
    clients_expect(0, "SHOW application_name", "me;[SHOW]");
    clients_expect(0, "BEGIN; SAVEPOINT a; SET application_name = 'x'; ROLLBACK TO a; COMMIT",
                   "[BEGIN][SAVEPOINT][SET][ROLLBACK][COMMIT]");
    clients_expect(0, "SHOW application_name", "me;[SHOW]");
    clients_expect(0, "SHOW TRANSACTION ISOLATION LEVEL", "read committed;[SHOW]");
    clients_expect(
        0, "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
        "[SET]");
    clients_expect(0, "SHOW transaction_isolation; SHOW transaction_read_only",
                   "serializable;[SHOW]on;[SHOW]");
    clients_expect(0, "INSERT INTO t VALUES(1,'a')", "!25006");
    clients_expect(0, "DISCARD ALL", "[DISCARD ALL]");
    clients_expect(0, "SHOW transaction_isolation", "read committed;[SHOW]");
    clients_expect(
        0, "BEGIN; SET transaction_isolation = 'repeatable read'; SHOW transaction_isolation",
        "[BEGIN][SET]repeatable read;[SHOW]");
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(0, "SET server_version = 1", "!55P02");
    clients_expect(0, "SET DateStyle = ISO, MDY; SET client_encoding = 'UTF8'; SET TIME ZONE 'UTC'",
                   "[SET][SET][SET]");
}

static void
functions_of_the_server_answer(void **state)
{
    (void) state;
    clients_expect(
        0, "SELECT pg_catalog.pg_is_in_recovery(), current_user, CURRENT_DATABASE()",
        "<pg_is_in_recovery():16,current_user():19,CURRENT_DATABASE():19>f|tester|postgres;"
        "[SELECT 1]");
    clients_expect(0, "SELECT pg_backend_pid(), version() LIKE 'PostgreSQL 15.0 (Pinion %'",
                   "1000|1;[SELECT 1]");
    clients_expect(
        0, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()) >= 0",
        "1;[SELECT 1]");
    clients_expect(0, "SELECT pg_wal_lsn_diff('1/0', '0/FFFFFF00'), pg_wal_lsn_diff(NULL, '0/1')",
                   "256|NULL;[SELECT 1]");
    clients_expect(0, "SELECT pg_wal_lsn_diff('1/0', '-1/0')", "!22P02");
    clients_expect(0, "SET statement_timeout = '1ms'; SELECT pg_sleep(1e300)", "[SET]!57014");
    clients_expect(0, "RESET statement_timeout", "[RESET]");
    clients_expect(0,
                   "BEGIN; CREATE TEMP TABLE n AS SELECT now() AS t; SELECT pg_sleep(0.002); "
                   "SELECT t = now(), now() < clock_timestamp() FROM n; COMMIT",
                   "[BEGIN][CREATE TABLE];[SELECT 1]1|1;[SELECT 1][COMMIT]");
    clients_expect(0, "SELECT current_setting('port'), set_config('application_name', 'z', false)",
                   "5454|z;[SELECT 1]");
}

static void
what_only_looks_like_reading_gets_its_write_transaction(void **state)
{
    (void) state;
    clients_expect(0, "CREATE INDEX ti ON t(v); INSERT INTO t VALUES(1,'a')",
                   "[CREATE INDEX][INSERT 0 1]");
    clients_expect(0, "PRAGMA optimize(0x10002)", "[PRAGMA]");
    clients_expect(0, "SELECT v FROM t WHERE v = 'a'", "a;[SELECT 1]");
    clients_expect(0, "PRAGMA optimize", "[PRAGMA]");
    clients_expect(0, "PRAGMA user_version = 7; PRAGMA user_version", "[PRAGMA]7;[PRAGMA]");
    clients_expect(0, "BEGIN READ ONLY; PRAGMA optimize", "[BEGIN]!25006");
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    assert_false(session_is_writing(clients.sessions[0]));
}

static void
transaction_ids_tell_their_fate(void **state)
{
    char sql[128];
    unsigned long long xid = 0, second = 0;

    (void) state;
    clients_expect(0, "BEGIN; INSERT INTO t VALUES(1,'a')", "[BEGIN][INSERT 0 1]");
    assert_int_equal(
        sscanf(clients_run(0, "SELECT txid_current()"), "<txid_current():20>%llu", &xid), 1);
    (void) snprintf(sql, sizeof sql, "SELECT txid_status(%llu)", xid);
    clients_expect(1, sql, "in progress;[SELECT 1]");
    clients_expect(0, "COMMIT", "[COMMIT]");
    clients_expect(1, sql, "committed;[SELECT 1]");
    clients_expect(0, "BEGIN; UPDATE t SET v = 'x'", "[BEGIN][UPDATE 1]");
    assert_int_equal(
        sscanf(clients_run(0, "SELECT txid_current()"), "<txid_current():20>%llu", &xid), 1);
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    (void) snprintf(sql, sizeof sql, "SELECT txid_status(%llu)", xid);
    clients_expect(1, sql, "aborted;[SELECT 1]");
    assert_int_equal(
        sscanf(clients_run(0, "SELECT txid_current()"), "<txid_current():20>%llu", &second), 1);
    assert_true(second > xid);
    assert_false(session_is_writing(clients.sessions[0]));
    clients_expect(1, "SELECT txid_status(999999999)", "!22023");
}

/* ---- durability ---- */

static void
a_commit_is_durable_before_its_tag_and_others_see_only_durable(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(1,'a')", "[INSERT 0 1]");
    assert_true(wal_durable(&clients.w.procs[0].wal) >= wal_insert_end(&clients.w.procs[0].wal));
    clients_expect(0, "SET synchronous_commit = off; INSERT INTO t VALUES(2,'b')",
                   "[SET][INSERT 0 1]");
    assert_true(wal_durable(&clients.w.procs[0].wal) < wal_insert_end(&clients.w.procs[0].wal));
    clients_expect(1, "SELECT count(*) FROM t", "1;[SELECT 1]"); /* PROMISE-1 */
    clients_expect(0, "SELECT count(*) FROM t", "2;[SELECT 1]"); /* its own: PROMISE-2 */
    /* A writer builds on it, and may not answer before it is durable: SNAP-5. */
    clients_expect(1, "UPDATE t SET v = 'x' WHERE false", "[UPDATE 0]");
    assert_true(wal_durable(&clients.w.procs[0].wal) >= wal_insert_end(&clients.w.procs[0].wal));
    clients_expect(1, "SELECT count(*) FROM t", "2;[SELECT 1]");
}

static void
a_refused_write_waits_as_a_commit_would(void **state)
{
    (void) state;
    clients_expect(0, "SET synchronous_commit = off; INSERT INTO t VALUES(2,'b')",
                   "[SET][INSERT 0 1]");
    clients_expect(1, "INSERT INTO t VALUES(2,'c')", "!23505"); /* tells of row 2: SNAP-5 */
    assert_true(wal_durable(&clients.w.procs[0].wal) >= wal_insert_end(&clients.w.procs[0].wal));
}

/* ---- databases ---- */

static void
databases_are_made_used_and_dropped(void **state)
{
    struct store_listed *list;
    uint32_t n;

    (void) state;
    clients_expect(0, "CREATE DATABASE d2", "[CREATE DATABASE]");
    clients_expect(1, "CREATE DATABASE d2", "!42P04");
    clients_expect(0, "CREATE DATABASE d3 OWNER nobody", "!42704");
    clients_expect(0, "CREATE DATABASE template1", "!42P04");
    clients_expect(0, "BEGIN; CREATE DATABASE d3", "[BEGIN]!25001");
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    session_close(clients.sessions[1]);
    clients_login(1, "d2");
    clients_expect(
        1, "CREATE TABLE x(a); INSERT INTO x VALUES(1); SELECT current_database(), a FROM x",
        "[CREATE TABLE][INSERT 0 1]d2|1;[SELECT 1]");
    clients_expect(1, "PRAGMA page_size; PRAGMA auto_vacuum", "8192;[PRAGMA]2;[PRAGMA]");
    clients_expect(0, "DROP DATABASE d2", "!55006");
    clients_expect(1, "DROP DATABASE d2", "!55006");
    assert_ok(catalog_list_files(&clients.w.procs[2].store, &list, &n, &clients.e), &clients.e);
    assert_int_equal(n, 3);
    assert_int_equal(list[2].oid, FIRST_USER_OID);
    free(list);
    clients_expect(0, "DROP DATABASE IF EXISTS d9", "{00000}[DROP DATABASE]");
    clients_expect(0, "DROP DATABASE postgres", "!55006");
    session_close(clients.sessions[1]);
    clients_login(1, "postgres");
}

static void
logins_are_refused_by_name(void **state)
{
    struct catalog_role role;
    struct catalog_db db;
    struct catalog *c;
    uint32_t idx;

    (void) state;
    assert_ok(catalog_open(&clients.w.procs[0].store, &c, &clients.e), &clients.e);
    assert_int_equal(catalog_login(c, "nobody", "postgres", &role, &db, &idx, &clients.e),
                     -ERR_INVALID_AUTHORIZATION_SPECIFICATION);
    err_clear(&clients.e);
    assert_int_equal(catalog_login(c, "tester", "nope", &role, &db, &idx, &clients.e),
                     -ERR_INVALID_CATALOG_NAME);
    err_clear(&clients.e);
    assert_int_equal(catalog_login(c, "tester", "pinion_catalog", &role, &db, &idx, &clients.e),
                     -ERR_OBJECT_NOT_IN_PREREQUISITE_STATE);
    catalog_close(c);
}

/* A setting for all, committed but not yet durable. */
static void
change_catalogue(struct store *st)
{
    struct catalog *c;

    assert_ok(catalog_open(st, &c, &clients.e), &clients.e);
    assert_ok(store_writer_take(st, c->db_idx, 0, &clients.e), &clients.e);
    assert_int_equal(sqlite3_exec(c->db,
                                  "INSERT INTO pg_db_role_setting (setdatabase, setrole, name, "
                                  "value) VALUES (0, 0, 'lock_timeout', '7s')",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    catalog_close(c);
}

/* The settings that came with a login. */
static const char *
log_in(struct store *st, struct catalog_logins *logins)
{
    static char text[64];
    struct catalog_login login;

    assert_ok(catalog_log_in(st, logins, "tester", "postgres", &login, &clients.e), &clients.e);
    assert_string_equal(login.role.name, "tester");
    assert_int_equal(login.db.oid, 5);
    assert_int_equal(store_db_oid(st, login.db_idx), 5);
    (void) snprintf(text, sizeof text, "%s=%s", login.n > 0 ? login.settings : "",
                    login.n > 0 ? login.settings + strlen(login.settings) + 1 : "");
    store_db_detach(st, login.db_idx);
    catalog_login_done(&login);
    return text;
}

static void
logins_are_remembered_until_the_catalogue_changes(void **state)
{
    static struct catalog_logins logins;
    struct store *st = &clients.w.procs[1].store;
    struct catalog_login login;

    (void) state;
    logins = (struct catalog_logins){ .next = 0 };
    assert_string_equal(log_in(st, &logins), "=");
    assert_int_equal(logins.next, 1);
    assert_string_equal(log_in(st, &logins), "=");
    assert_int_equal(logins.next, 1);
    change_catalogue(st);
    assert_string_equal(log_in(st, &logins), "="); /* nobody may see it yet */
    assert_int_equal(logins.next, 1);
    store_wait_durable(st, wal_insert_end(st->wal));
    assert_string_equal(log_in(st, &logins), "lock_timeout=7s");
    assert_int_equal(logins.next, 2);
    assert_string_equal(log_in(st, &logins), "lock_timeout=7s");
    assert_int_equal(logins.next, 2);
    assert_int_equal(catalog_log_in(st, &logins, "tester", "nope", &login, &clients.e),
                     -ERR_INVALID_CATALOG_NAME);
    assert_int_equal(logins.next, 2);
}

/* ---- more than the cache ---- */

static void
one_transaction_changes_more_pages_than_there_are_frames_or_is_refused_cleanly(void **state)
{
    (void) state;
    (void) clients_run(
        0, "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n "
           "WHERE i < 1000) SELECT i, printf('%.6000c', 'x') FROM n");
    assert_string_equal(clients.out[0], "!53200"); /* no overflow file here: 512 frames are all */
    clients_expect(1, "SELECT count(*) FROM t", "0;[SELECT 1]");
    for (int i = 0; i < 20; i++) { /* in pieces it is larger than the cache */
        char sql[256];

        (void) snprintf(sql, sizeof sql,
                        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 "
                        "FROM n WHERE i < %d) SELECT i, printf('%%.6000c', 'x') FROM n",
                        i * 100, i * 100 + 49);
        clients_expect(i % 2, sql, "[INSERT 0 50]");
    }
    clients_expect(2, "SELECT count(*), sum(length(v)) FROM t", "1000|6000000;[SELECT 1]");
    clients_expect(2, "PRAGMA integrity_check", "ok;[PRAGMA]");
    for (int i = 0; i < 8; i++) { /* freed pages are written, too */
        char sql[64];

        (void) snprintf(sql, sizeof sql, "DELETE FROM t WHERE rowid %% 8 = %d", i);
        clients_expect(2, sql, "[DELETE 125]");
    }
    clients_expect(2, "PRAGMA incremental_vacuum(3)", "[PRAGMA]");
    clients_expect(2, "VACUUM", "[VACUUM]");
    assert_false(session_is_writing(clients.sessions[2]));
    clients_expect(2, "PRAGMA freelist_count", "0;[PRAGMA]");
    clients_expect(1, "SELECT page_count < 10 FROM pragma_page_count", "1;[SELECT 1]");
}

static void
pg_settings_has_a_row_for_every_setting(void **state)
{
    char want[16];

    (void) state;
    (void) snprintf(want, sizeof want, "%d;[SELECT 1]", CONF_SETTINGS);
    clients_expect(0, "SELECT count(*) FROM pg_settings", want);
    clients_expect(0, "SELECT * FROM pg_catalog.pg_settings WHERE name = 'shared_buffers'",
                   "<name:25,setting:25,unit:25,category:25,short_desc:25,extra_desc:25,"
                   "context:25,vartype:25,source:25,min_val:25,max_val:25,enumvals:25,boot_val:25,"
                   "reset_val:25,sourcefile:25,sourceline:23,pending_restart:16>"
                   "shared_buffers|16384|8kB|Memory|Size of the shared page cache.|NULL|"
                   "postmaster|integer|default|128|1073741823|NULL|16384|16384|NULL|NULL|f;"
                   "[SELECT 1]");
    clients_expect(0,
                   "SET lock_timeout = '2s'; SELECT setting, source, reset_val FROM pg_settings"
                   " WHERE name = 'lock_timeout'",
                   "[SET]2000|session|0;[SELECT 1]");
    clients_expect(0,
                   "SELECT enumvals FROM pg_settings WHERE name IN ('transaction_isolation',"
                   " 'synchronous_commit') ORDER BY name",
                   "{off,local,on};{\"read uncommitted\",\"read committed\",\"repeatable "
                   "read\",serializable};[SELECT 2]");
    clients_expect(0,
                   "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT setting,"
                   " current_setting('transaction_isolation') FROM pg_settings WHERE name ="
                   " 'transaction_isolation'; COMMIT",
                   "[BEGIN]serializable|serializable;[SELECT 1][COMMIT]");
    clients_expect(0, "UPDATE pg_settings SET setting = '1'", "!42501");
    clients_expect(0, "SELECT set_config('work_mem', '8192', false)", "8MB;[SELECT 1]");
    clients_expect(0, "SELECT set_config('transaction_read_only', 'on', true)", "!0A000");
    clients_expect(0, "SELECT current_setting('no_such', true)", "NULL;[SELECT 1]");
    clients_expect(0, "SELECT current_setting('no_such')", "!42704");
}

/* What stands in postgresql.auto.conf behind its two lines of comment. */
static const char *
auto_rows(char *p, size_t cap)
{
    ssize_t n = io_read_file(&clients.dir.io, "postgresql.auto.conf", p, cap - 1);
    const char *at = p;

    assert_true(n >= 0);
    p[n] = '\0';
    for (int i = 0; i < 2; i++) {
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
    }
    return at;
}

static void
alter_system_writes_the_file_or_says_why_not(void **state)
{
    static const struct {
        const char *sql, *want;
    } rows[] = {
        { "ALTER SYSTEM SET no_such = 1", "!42704" },
        { "ALTER SYSTEM SET server_version = '9'", "!55P02" },
        { "ALTER SYSTEM SET transaction_read_only = on", "!55P02" },
        { "ALTER SYSTEM SET data_directory = '/'", "!55P02" },
        { "ALTER SYSTEM SET port = 0", "!22023" },
        { "ALTER SYSTEM SET application_name = 'a\nb'", "!0A000" },
        { "ALTER SYSTEM RESET no_such", "!42704" },
        { "ALTER SYSTEM RESET", "!42601" },
        { "ALTER SYSTEM SET port", "!42601" },
        { "ALTER SYSTEM work_mem = 1", "!42601" },
        { "BEGIN; ALTER SYSTEM SET port = 1", "[BEGIN]!25001" },
        { "ROLLBACK; SET default_transaction_read_only = on", "[ROLLBACK][SET]" },
        { "ALTER SYSTEM SET port = 1", "!25006" },
        { "SET default_transaction_read_only = off", "[SET]" },
    };
    char text[1000];

    (void) state;
    assert_ok(io_write_file_durably(&clients.dir.io, ".", "PG_VERSION", "15\n", 3, &clients.e),
              &clients.e);
    clients_expect(0, "ALTER SYSTEM SET work_mem = '8MB'", "[ALTER SYSTEM]");
    clients_expect(0, "ALTER SYSTEM SET Listen_Addresses TO '*', 'it''s'", "[ALTER SYSTEM]");
    clients_expect(0, "ALTER SYSTEM SET max_connections = 7", "[ALTER SYSTEM]");
    clients_expect(0, "ALTER SYSTEM SET WORK_MEM = 70000; SELECT 1", "[ALTER SYSTEM]1;[SELECT 1]");
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        clients_expect(0, rows[i].sql, rows[i].want);
    clients.confs[0].is_superuser = false;
    clients_expect(0, "ALTER SYSTEM SET work_mem = 64", "!42501");
    clients_expect(0, "ALTER SYSTEM RESET ALL", "!42501");
    clients.confs[0].is_superuser = true;
    assert_string_equal(auto_rows(text, sizeof text),
                        "listen_addresses = '*, it''s'\nmax_connections = '7'\nwork_mem = "
                        "'70000'\n");
    clients_expect(0, "SHOW work_mem", "4MB;[SHOW]"); /* not before a reload */
    clients_expect(1, "ALTER SYSTEM SET max_connections TO DEFAULT", "[ALTER SYSTEM]");
    clients_expect(1, "ALTER SYSTEM RESET listen_addresses", "[ALTER SYSTEM]");
    assert_string_equal(auto_rows(text, sizeof text), "work_mem = '70000'\n");
    clients_expect(1, "ALTER SYSTEM RESET ALL", "[ALTER SYSTEM]");
    assert_string_equal(auto_rows(text, sizeof text), "");
}

static void
places_are_shown_to_superusers_only(void **state)
{
    (void) state;
    clients_expect(0, "SHOW config_file", ";[SHOW]");
    clients_expect(0, "SELECT * FROM pg_file_settings", "[SELECT 0]");
    clients.confs[0].is_superuser = false;
    clients_expect(0, "SHOW config_file", "!42501");
    clients_expect(0, "SELECT * FROM pg_file_settings", "!42501");
    clients_expect(0, "SELECT current_setting('hba_file', true)", "!42501");
    clients_expect(0, "SELECT count(*) FROM pg_settings WHERE name LIKE '%_file'", "0;[SELECT 1]");
    clients.confs[0].is_superuser = true;
}

/* What session 0 sees of the backend with pid 7, if that is of role `owner`. */
static void
expect_seen(oid_t owner, const char *want)
{
    enum kind {
#define CHILD_KIND(id, ...) KIND_##id,
#include "tbl/child_kinds.def"
#undef CHILD_KIND
    };
    static struct slot slots[CLIENTS];
    struct self *self = clients.sessions[0]->self;
    struct slot *other = &slots[self->procno == 0];

    *other = (struct slot){ .state = SLOT_ATTACHED, .kind = KIND_BACKEND, .pid = 7 };
    other->activity = ACTIVITY_ACTIVE;
    other->role_oid = owner;
    (void) snprintf(other->query, sizeof other->query, "SELECT 'secret'");
    self->slot = &slots[self->procno];
    clients_expect(
        0,
        "SELECT replace(query, '<', ''), state, backend_type FROM pg_stat_activity WHERE pid = 7",
        want);
    self->slot = NULL;
}

static void
a_statement_is_shown_to_its_own_role_and_to_superusers_only(void **state)
{
    struct catalog_role *role = &clients.sessions[0]->cfg.role;

    (void) state;
    expect_seen(role->oid + 1, "SELECT 'secret'|active|client backend;[SELECT 1]");
    role->is_superuser = false;
    expect_seen(role->oid + 1, "insufficient privilege>|NULL|NULL;[SELECT 1]");
    expect_seen(role->oid, "SELECT 'secret'|active|client backend;[SELECT 1]");
    role->is_superuser = true;
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, clients_setup, clients_teardown)
    const struct CMUnitTest tests[] = {
        T(statements_answer_with_rows_types_and_tags),
        T(errors_have_states_and_positions_of_postgresql),
        T(a_schema_changed_by_another_session_is_looked_at_again),
        T(several_statements_are_one_transaction),
        T(a_failed_block_answers_25P02_until_it_ends),
        T(read_committed_takes_a_snapshot_per_statement),
        T(repeatable_read_holds_one_and_refuses_stale_writes),
        T(savepoints_before_and_after_the_first_write),
        T(a_temporary_table_rolls_back_and_takes_no_writer_lock),
        T(the_second_writer_waits_in_the_queue_for_lock_timeout),
        T(begin_immediate_takes_the_lock_at_once),
        T(a_statement_that_runs_too_long_is_cancelled),
        T(settings_follow_their_transaction),
        T(pg_settings_has_a_row_for_every_setting),
        T(places_are_shown_to_superusers_only),
        T(a_statement_is_shown_to_its_own_role_and_to_superusers_only),
        T(alter_system_writes_the_file_or_says_why_not),
        T(functions_of_the_server_answer),
        T(what_only_looks_like_reading_gets_its_write_transaction),
        T(transaction_ids_tell_their_fate),
        T(a_commit_is_durable_before_its_tag_and_others_see_only_durable),
        T(a_refused_write_waits_as_a_commit_would),
        T(databases_are_made_used_and_dropped),
        T(logins_are_refused_by_name),
        T(logins_are_remembered_until_the_catalogue_changes),
        T(one_transaction_changes_more_pages_than_there_are_frames_or_is_refused_cleanly),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
