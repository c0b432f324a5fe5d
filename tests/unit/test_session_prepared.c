/* Closed prepared statements that are kept for the next Parse of the same text: they answer as new
 * ones would. */
#include <stdio.h>
#include <string.h>

#include "sql/session_int.h"
#include "support/clients.h"
#include "support/test.h"

#define S0 (clients.sessions[0])

static int
parse(const char *text, oid_t type)
{
    return session_parse(S0, "", text, &type, type != 0, &clients.e);
}

/* What a driver does for one statement: Parse, Bind, Describe, Execute; then Sync if told to. */
static const char *
ask(const char *text, oid_t type, const char *value, bool sync)
{
    struct session_value v = { .p = value, .n = value == NULL ? 0 : (int32_t) strlen(value) };
    struct session_bind b = { .portal = "", .name = "", .params = &v, .n_params = value != NULL };
    struct session_sink sink = clients_sink(0);
    int r, r2;

    clients.out[0][0] = '\0';
    err_clear(&clients.e);
    r = parse(text, type);
    if (r == 0)
        r = session_bind(S0, &b, &clients.e);
    if (r == 0)
        r = session_describe_portal(S0, "", &sink, &clients.e);
    if (r == 0)
        r = session_execute_portal(S0, "", 0, &sink, &clients.e);
    r2 = sync || r < 0 ? session_sync(S0, r < 0, &clients.e) : 0;
    r = r < 0 ? r : r2;
    if (r < 0) {
        clients_say(clients.out[0], "!", 1);
        clients_say(clients.out[0], err_sqlstate(r), 5);
    }
    return clients.out[0];
}
#define ASK(text, want)             assert_string_equal(ask(text, 0, NULL, true), want)
#define ASK_OF(text, v, want)       assert_string_equal(ask(text, 0, v, true), want)
#define ASK_TYPED(text, t, v, want) assert_string_equal(ask(text, t, v, true), want)

/* SQLite's statement of the newest Parse without a name. */
static sqlite3_stmt *
newest(void)
{
    return session_prepared_find(S0, "")->q.stmt;
}

static int
fill(void **state)
{
    int r = clients_setup(state);

    if (r == 0)
        clients_expect(0, "INSERT INTO t VALUES(1,'a'),(2,'b')", "[INSERT 0 2]");
    return r;
}

static void
the_same_text_is_compiled_once(void **state)
{
    static const char *const get = "SELECT v FROM t WHERE id = $1";
    sqlite3_stmt *stmt;

    (void) state;
    ASK_OF(get, "1", "<v:25>a;[SELECT 1]");
    stmt = newest();
    ASK_OF(get, "2", "<v:25>b;[SELECT 1]");
    assert_ptr_equal(newest(), stmt);
    ASK_OF("SELECT id FROM t WHERE v = $1", "b", "<id:23>2;[SELECT 1]");
    ASK_OF(get, "3", "<v:25>[SELECT 0]");
    assert_ptr_equal(newest(), stmt);
    assert_ok(session_parse(S0, "name", "SELECT v FROM t WHERE id = $2", NULL, 0, &clients.e),
              &clients.e);
    session_close_statement(S0, "name");
    assert_ok(session_sync(S0, false, &clients.e), &clients.e);
    assert_int_equal(S0->n_kept, 2);
    clients_expect(0, "DEALLOCATE ALL", "[DEALLOCATE ALL]");
    assert_int_equal(S0->n_kept, 3);
    clients_expect(0, "DISCARD ALL", "[DISCARD ALL]");
    assert_int_equal(S0->n_kept, 0);
    assert_int_equal(S0->kept_bytes, 0);
    ASK_OF(get, "1", "<v:25>a;[SELECT 1]");
}

static void
types_of_parameters_and_results_are_those_of_each_parse(void **state)
{
    static const char *const same = "SELECT $1 AS x";
    sqlite3_stmt *stmt;

    (void) state;
    ASK_TYPED(same, 23, "7", "<x:20>7;[SELECT 1]");
    stmt = newest();
    ASK_TYPED(same, 25, "7", "<x:25>7;[SELECT 1]");
    ASK_OF(same, "seven", "<x:25>seven;[SELECT 1]");
    ASK_TYPED(same, 23, "8", "<x:20>8;[SELECT 1]");
    assert_ptr_equal(newest(), stmt);
    ASK("SELECT $1 AS x", "!08P01"); /* the value of the last one is not there any more */
}

static void
a_schema_that_changed_is_seen_by_the_next_parse(void **state)
{
    static const char *const all = "SELECT * FROM t WHERE id = 1";
    static const char *const more = "SELECT t.* FROM t WHERE id = 1";

    (void) state;
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
    ASK(more, "<id:23,v:25>1|a;[SELECT 1]");
    assert_ok(session_parse(S0, "open", "SELECT * FROM t WHERE id = 2", NULL, 0, &clients.e),
              &clients.e);
    assert_ok(session_sync(S0, false, &clients.e), &clients.e);
    clients_expect(1, "ALTER TABLE t ADD COLUMN w int DEFAULT 7", "[ALTER TABLE]");
    ASK(all, "<id:23,v:25,w:23>1|a|7;[SELECT 1]");
    ASK(more, "<id:23,v:25,w:23>1|a|7;[SELECT 1]");
    session_close_statement(S0, "open"); /* older than the change: not kept */
    ASK("SELECT * FROM t WHERE id = 2", "<id:23,v:25,w:23>2|b|7;[SELECT 1]");
    clients_expect(1, "ALTER TABLE t RENAME COLUMN w TO x", "[ALTER TABLE]");
    ASK(all, "<id:23,v:25,x:23>1|a|7;[SELECT 1]");
    clients_expect(1, "DROP TABLE t", "[DROP TABLE]");
    ASK(all, "!42P01");
    clients_expect(1, "CREATE TABLE t(id text)", "[CREATE TABLE]");
    ASK(all, "<id:25>[SELECT 0]");
    CLIENTS_STATUS(0, 'I');
}

static void
what_the_session_itself_changes_or_undoes_counts_at_once(void **state)
{
    static const char *const all = "SELECT * FROM t WHERE id = 1";

    (void) state;
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
    clients_expect(0, "BEGIN; SAVEPOINT a", "[BEGIN][SAVEPOINT]");
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
    ASK("ALTER TABLE t ADD COLUMN w int DEFAULT 7", "[ALTER TABLE]");
    ASK(all, "<id:23,v:25,w:23>1|a|7;[SELECT 1]");
    clients_expect(0, "ROLLBACK TO a", "[ROLLBACK]");
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
    ASK("ALTER TABLE t ADD COLUMN x int DEFAULT 8", "[ALTER TABLE]");
    ASK(all, "<id:23,v:25,x:23>1|a|8;[SELECT 1]");
    ASK("ROLLBACK", "[ROLLBACK]");
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
    ASK("CREATE TEMP TABLE t AS SELECT 'mine' AS id", "[CREATE TABLE]");
    ASK("SELECT * FROM t", "<id:25>mine;[SELECT 1]");
    ASK("DROP TABLE temp.t", "[DROP TABLE]");
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
}

static void
a_snapshot_has_the_schema_of_its_time(void **state)
{
    static const char *const all = "SELECT * FROM t WHERE id = 1";

    (void) state;
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
    clients_expect(0, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t",
                   "[BEGIN]2;[SELECT 1]");
    clients_expect(1, "ALTER TABLE t ADD COLUMN w int DEFAULT 7", "[ALTER TABLE]");
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
    ASK(all, "<id:23,v:25>1|a;[SELECT 1]");
    ASK("COMMIT", "[COMMIT]");
    ASK(all, "<id:23,v:25,w:23>1|a|7;[SELECT 1]");
}

static void
an_error_in_the_middle_leaves_nothing_behind(void **state)
{
    static const char *const put = "INSERT INTO t VALUES($1, 'x')";

    (void) state;
    ASK_OF(put, "1", "!23505");
    ASK_OF(put, "3", "[INSERT 0 1]");
    ASK_OF(put, "3", "!23505");
    assert_string_equal(ask("BEGIN", 0, NULL, true), "[BEGIN]");
    assert_string_equal(ask(put, 0, "4", true), "[INSERT 0 1]");
    assert_string_equal(ask(put, 0, "4", true), "!23505");
    ASK_OF(put, "5", "!25P02"); /* also when it is kept */
    ASK("ROLLBACK", "[ROLLBACK]");
    ASK_OF(put, "4", "[INSERT 0 1]");
    ASK("SELECT count(*) FROM t", "<count(*):20>4;[SELECT 1]");
    assert_int_equal(session_parse(S0, "n", "SELECT 1", NULL, 0, &clients.e), 0);
    assert_string_equal(ask("BEGIN", 0, NULL, true), "[BEGIN]");
    assert_int_equal(session_parse(S0, "n", "SELECT 1", NULL, 0, &clients.e),
                     -ERR_DUPLICATE_PREPARED_STATEMENT);
    CLIENTS_STATUS(0, 'E');
    ASK("ROLLBACK", "[ROLLBACK]");
}

static void
two_portals_of_one_text_do_not_share(void **state)
{
    static const char *const all = "SELECT id FROM t ORDER BY id";
    struct session_bind b = { .portal = "p", .name = "" };
    struct session_sink sink = clients_sink(0);

    (void) state;
    ASK(all, "<id:23>1;2;[SELECT 2]");
    clients_expect(0, "BEGIN", "[BEGIN]");
    assert_ok(parse(all, 0), &clients.e);
    assert_ok(session_bind(S0, &b, &clients.e), &clients.e);
    clients.out[0][0] = '\0';
    assert_int_equal(session_execute_portal(S0, "p", 1, &sink, &clients.e), SESSION_SUSPENDED);
    assert_string_equal(clients.out[0], "1;");
    assert_string_equal(ask(all, 0, NULL, true), "<id:23>1;2;[SELECT 2]");
    clients.out[0][0] = '\0';
    assert_ok(session_execute_portal(S0, "p", 0, &sink, &clients.e), &clients.e);
    assert_string_equal(clients.out[0], "2;[SELECT 1]");
    clients_expect(0, "COMMIT", "[COMMIT]");
    assert_int_equal(S0->n_kept, 2); /* both copies */
}

static void
what_acts_while_it_is_compiled_is_compiled_each_time(void **state)
{
    (void) state;
    for (int i = 0; i < 2; i++) {
        ASK("PRAGMA recursive_triggers = 1", "[PRAGMA]");
        ASK("SELECT * FROM pragma_recursive_triggers", "<recursive_triggers:20>1;[SELECT 1]");
        ASK("PRAGMA recursive_triggers = 0", "[PRAGMA]");
        ASK("SELECT * FROM pragma_recursive_triggers", "<recursive_triggers:20>0;[SELECT 1]");
    }
    assert_int_equal(S0->n_kept, 0);
    for (int i = 0; i < 2; i++) {
        ASK("SELECT 'A' LIKE 'a' AS y", "<y:20>1;[SELECT 1]");
        ASK("PRAGMA case_sensitive_like = 1", "[PRAGMA]");
        ASK("SELECT 'A' LIKE 'a' AS y", "<y:20>0;[SELECT 1]");
        ASK("PRAGMA case_sensitive_like = 0", "[PRAGMA]");
    }
}

static void
what_is_kept_is_bounded(void **state)
{
    static char large[200000];
    char text[64];

    (void) state;
    for (int i = 0; i < 100; i++) {
        (void) snprintf(text, sizeof text, "SELECT id + %d FROM t WHERE id = 1", i);
        (void) ask(text, 0, NULL, true);
    }
    assert_in_range(S0->n_kept, 8, 32);
    assert_in_range(S0->kept_bytes, 1, 256 << 10);
    memset(large, ' ', sizeof large - 1);
    memcpy(large, "SELECT 1", 8);
    (void) ask(large, 0, NULL, true);
    ASK("SELECT 2", "<2:20>2;[SELECT 1]");
    assert_in_range(S0->kept_bytes, 1, 256 << 10);
    for (const struct session_prepared *p = S0->kept; p != NULL; p = p->next)
        assert_in_range(p->n_text, 0, 64);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fill, clients_teardown)
    const struct CMUnitTest tests[] = {
        T(the_same_text_is_compiled_once),
        T(types_of_parameters_and_results_are_those_of_each_parse),
        T(a_schema_that_changed_is_seen_by_the_next_parse),
        T(what_the_session_itself_changes_or_undoes_counts_at_once),
        T(a_snapshot_has_the_schema_of_its_time),
        T(an_error_in_the_middle_leaves_nothing_behind),
        T(two_portals_of_one_text_do_not_share),
        T(what_acts_while_it_is_compiled_is_compiled_each_time),
        T(what_is_kept_is_bounded),
    };

    return cmocka_run_group_tests_name("session_prepared", tests, NULL, NULL);
}
