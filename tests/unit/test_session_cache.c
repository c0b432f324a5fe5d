/* Statements that a session keeps: they answer as those that are prepared each time. */
#include <stdio.h>
#include <string.h>

#include "sql/session_int.h"
#include "support/clients.h"
#include "support/test.h"

static uint32_t
n_kept(void)
{
    return clients.sessions[0]->n_cached;
}

static void
statements_that_differ_in_literals_share_one(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(1,'a')", "[INSERT 0 1]");
    clients_expect(0, "INSERT INTO t VALUES(2,'b'); INSERT INTO t VALUES(30,'c')",
                   "[INSERT 0 1][INSERT 0 1]");
    assert_int_equal(n_kept(), 1);
    clients_expect(0, "SELECT v FROM t WHERE id = 2", "<v:25>b;[SELECT 1]");
    clients_expect(0, "SELECT v FROM t WHERE id = 30", "<v:25>c;[SELECT 1]");
    clients_expect(0, "SELECT v FROM t WHERE id = 31", "<v:25>[SELECT 0]");
    clients_expect(0, "UPDATE t SET v = 'long' WHERE id = 30", "[UPDATE 1]");
    clients_expect(0, "UPDATE t SET v = '' WHERE id = 2", "[UPDATE 1]");
    clients_expect(0, "SELECT v FROM t WHERE id = 2", "<v:25>;[SELECT 1]");
    assert_int_equal(n_kept(), 3);
}

static void
results_keep_the_names_and_types_of_their_own_text(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(5,'a'),(6,'b')", "[INSERT 0 2]");
    clients_expect(0, "SELECT id + 5 FROM t WHERE id = 5", "<id + 5:20>10;[SELECT 1]");
    clients_expect(0, "SELECT id + 6 FROM t WHERE id = 5", "<id + 6:20>11;[SELECT 1]");
    /* a type that the first row tells is told anew each time */
    clients_expect(0, "SELECT CASE WHEN id = 5 THEN 1 ELSE 'x' END AS c FROM t WHERE id = 5",
                   "<c:20>1;[SELECT 1]");
    clients_expect(0, "SELECT CASE WHEN id = 5 THEN 1 ELSE 'x' END AS c FROM t WHERE id = 6",
                   "<c:25>x;[SELECT 1]");
    clients_expect(0, "SELECT v FROM t WHERE id > 2 ORDER BY 1 DESC", "<v:25>b;a;[SELECT 2]");
    clients_expect(0, "DELETE FROM t WHERE id = 6 RETURNING v, 'x'", "<v:25,'x':25>b|x;[DELETE 1]");
}

static void
another_session_changes_the_schema(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(5,'a')", "[INSERT 0 1]");
    clients_expect(0, "SELECT * FROM t WHERE id = 5", "<id:23,v:25>5|a;[SELECT 1]");
    clients_expect(1, "ALTER TABLE t ADD COLUMN w int DEFAULT 7", "[ALTER TABLE]");
    clients_expect(0, "SELECT * FROM t WHERE id = 5", "<id:23,v:25,w:23>5|a|7;[SELECT 1]");
    clients_expect(0, "SELECT * FROM t WHERE id = 5", "<id:23,v:25,w:23>5|a|7;[SELECT 1]");
    clients_expect(1, "ALTER TABLE t DROP COLUMN v", "[ALTER TABLE]");
    clients_expect(0, "SELECT * FROM t WHERE id = 6", "<id:23,w:23>[SELECT 0]");
    clients_expect(0, "SELECT w FROM t WHERE id = 5", "<w:23>7;[SELECT 1]");
    clients_expect(1, "ALTER TABLE t RENAME COLUMN w TO x", "[ALTER TABLE]");
    /* the error is the one of the text, with its position */
    clients_expect(0, "SELECT w FROM t WHERE id = 5", "!42703");
    assert_int_equal(clients.e.position, 8);
    clients_expect(1, "DROP TABLE t", "[DROP TABLE]");
    clients_expect(0, "SELECT * FROM t WHERE id = 5", "!42P01");
    clients_expect(1, "CREATE TABLE t(id text)", "[CREATE TABLE]");
    clients_expect(0, "SELECT * FROM t WHERE id = 5", "<id:25>[SELECT 0]");
    CLIENTS_STATUS(0, 'I');
}

static void
a_temporary_table_comes_between_and_goes(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(5,'main')", "[INSERT 0 1]");
    clients_expect(0, "SELECT v FROM t WHERE id = 5", "main;[SELECT 1]");
    clients_expect(0, "CREATE TEMP TABLE t(id int, v text)", "[CREATE TABLE]");
    clients_expect(0, "INSERT INTO t VALUES(5,'temp')", "[INSERT 0 1]");
    clients_expect(0, "SELECT v FROM t WHERE id = 5", "temp;[SELECT 1]");
    clients_expect(0, "BEGIN; UPDATE t SET v = 'x' WHERE id = 5", "[BEGIN][UPDATE 1]");
    assert_false(session_is_writing(clients.sessions[0]));
    clients_expect(0, "DROP TABLE temp.t", "[DROP TABLE]");
    clients_expect(0, "UPDATE t SET v = 'y' WHERE id = 5", "[UPDATE 1]");
    assert_true(session_is_writing(clients.sessions[0]));
    clients_expect(0, "SELECT v FROM t WHERE id = 5", "y;[SELECT 1]");
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(0, "SELECT v FROM t WHERE id = 5", "temp;[SELECT 1]");
    clients_expect(0, "UPDATE t SET v = 'z' WHERE id = 5", "[UPDATE 1]");
    clients_expect(0, "SELECT v FROM main.t WHERE id = 5", "main;[SELECT 1]");
    clients_expect(0, "BEGIN; SAVEPOINT a; DROP TABLE temp.t", "[BEGIN][SAVEPOINT][DROP TABLE]");
    clients_expect(0, "SELECT v FROM t WHERE id = 5", "main;[SELECT 1]");
    clients_expect(0, "ROLLBACK TO a; SELECT v FROM t WHERE id = 5", "[ROLLBACK]z;[SELECT 1]");
    clients_expect(0, "COMMIT", "[COMMIT]");
    clients_expect(1, "SELECT v FROM t WHERE id = 5", "main;[SELECT 1]");
}

static void
an_error_in_the_middle_leaves_a_good_statement(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(5,'a')", "[INSERT 0 1]");
    clients_expect(0, "INSERT INTO t VALUES(5,'b')", "!23505");
    clients_expect(0, "INSERT INTO t VALUES(6,'b')", "[INSERT 0 1]");
    clients_expect(0, "BEGIN; INSERT INTO t VALUES(7,'c')", "[BEGIN][INSERT 0 1]");
    clients_expect(0, "INSERT INTO t VALUES(7,'d')", "!23505");
    clients_expect(0, "SELECT v FROM t WHERE id = 5", "!25P02");
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(0, "INSERT INTO t VALUES(7,'e')", "[INSERT 0 1]");
    clients_expect(0, "SELECT v FROM t WHERE abs(id) = 7", "e;[SELECT 1]");
    clients_expect(0, "UPDATE t SET id = 9223372036854775807 + 0 WHERE id = 7", "[UPDATE 1]");
    clients_expect(0, "SELECT abs(id - 1 - 9223372036854775807) FROM t WHERE id = 6",
                   "9223372036854775802;[SELECT 1]");
    clients_expect(0, "SELECT v FROM t WHERE id = 6", "b;[SELECT 1]");
    CLIENTS_STATUS(0, 'I');
}

static void
a_cancelled_statement_can_be_run_again(void **state)
{
    static const char sql[] = "UPDATE t SET v = 'x' WHERE id = 5";

    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(5,'a')", "[INSERT 0 1]");
    clients_expect(0, sql, "[UPDATE 1]");
    slot_request(clients.sessions[0]->self->slot, REQ_CANCEL);
    clients_expect(0, sql, "!57014");
    slot_request_clear(clients.sessions[0]->self->slot, REQ_CANCEL);
    clients_expect(0, "UPDATE t SET v = 'y' WHERE id = 5", "[UPDATE 1]");
    clients_expect(0, "SELECT v FROM t WHERE id = 5", "y;[SELECT 1]");
}

/* Row by row: the sink of the first statement would break if it shared anything with the next. */
static void
one_message_may_use_a_statement_twice(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(5,'a'),(6,'b')", "[INSERT 0 2]");
    clients_expect(0,
                   "SELECT v FROM t WHERE id = 5; SELECT v FROM t WHERE id = 6; SELECT v FROM t "
                   "WHERE id = 5",
                   "a;[SELECT 1]b;[SELECT 1]a;[SELECT 1]");
    clients_expect(0, "BEGIN; UPDATE t SET v = 'c' WHERE id = 5; SELECT v FROM t WHERE id = 5; END",
                   "[BEGIN][UPDATE 1]c;[SELECT 1][COMMIT]");
}

static void
only_so_many_are_kept(void **state)
{
    char sql[100];

    (void) state;
    for (int i = 0; i < 200; i++) {
        (void) snprintf(sql, sizeof sql, "SELECT id AS c%d FROM t WHERE id = 5", i);
        clients_expect(0, sql, "[SELECT 0]");
        assert_true(n_kept() <= 64);
    }
    assert_true(n_kept() > 10);
    assert_true(clients.sessions[0]->cache_bytes <= 512 << 10);
    clients_expect(0, "SELECT id AS c199 FROM t WHERE id = 7", "[SELECT 0]");
    clients_expect(0, "SELECT id AS c0 FROM t WHERE id = 7", "[SELECT 0]");
    clients_expect(0, "DISCARD ALL", "[DISCARD ALL]");
    assert_int_equal(n_kept(), 0);
    assert_int_equal(clients.sessions[0]->cache_bytes, 0);
}

/* A statement that is wrong, or cannot have parameters there, is as it always was. */
static void
what_cannot_be_shared_is_run_as_written(void **state)
{
    (void) state;
    for (int i = 0; i < 3; i++) {
        clients_expect(0, "SELECT nope FROM t WHERE id = 5", "!42703");
        assert_int_equal(clients.e.position, 8);
        clients_expect(0, "UPDATE t SET v = CAST(id AS varchar(10)) WHERE id = 5", "[UPDATE 0]");
        clients_expect(0, "INSERT INTO t(id) VALUES (5", "!42601");
        clients_expect(0, "SELECT v FROM t WHERE id = ?", "!42P02");
    }
}

/* SQLite prepares again for each value when a partial index or LIKE may use it. */
static void
plans_that_depend_on_values_stay_right(void **state)
{
    (void) state;
    clients_expect(0, "CREATE INDEX i ON t(v) WHERE id = 50", "[CREATE INDEX]");
    clients_expect(0, "INSERT INTO t VALUES(50,'a'),(51,'b')", "[INSERT 0 2]");
    for (int i = 0; i < 4; i++) {
        clients_expect(0, "SELECT id FROM t WHERE id = 50 AND v = 'a'", "50;[SELECT 1]");
        clients_expect(0, "SELECT id FROM t WHERE id = 51 AND v = 'b'", "51;[SELECT 1]");
        clients_expect(0, "SELECT id FROM t WHERE id = 51 AND v = 'a'", "[SELECT 0]");
    }
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, clients_setup, clients_teardown)
    static const struct CMUnitTest tests[] = {
        TEST(statements_that_differ_in_literals_share_one),
        TEST(results_keep_the_names_and_types_of_their_own_text),
        TEST(another_session_changes_the_schema),
        TEST(a_temporary_table_comes_between_and_goes),
        TEST(an_error_in_the_middle_leaves_a_good_statement),
        TEST(a_cancelled_statement_can_be_run_again),
        TEST(one_message_may_use_a_statement_twice),
        TEST(only_so_many_are_kept),
        TEST(what_cannot_be_shared_is_run_as_written),
        TEST(plans_that_depend_on_values_stay_right),
    };

    return cmocka_run_group_tests_name("session_cache", tests, NULL, NULL);
}
