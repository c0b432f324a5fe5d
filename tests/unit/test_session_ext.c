/* Extended query over the real store: prepared statements, portals, pipelines. */
#include <stdio.h>
#include <string.h>

#include "support/clients.h"
#include "support/test.h"

/* ---- extended query ---- */

static int
bind_text(int i, const char *portal, const char *name, const char *const *values, uint32_t n)
{
    struct session_value v[4];
    struct session_bind b = { .portal = portal, .name = name, .params = v, .n_params = n };

    for (uint32_t k = 0; k < n; k++)
        v[k] = (struct session_value){ .p = values[k], .n = (int32_t) strlen(values[k]) };
    return session_bind(clients.sessions[i], &b, &clients.e);
}

static const char *
execute(int i, const char *portal, uint32_t max_rows)
{
    struct session_sink sink = clients_sink(i);
    int r;

    clients.out[i][0] = '\0';
    err_clear(&clients.e);
    r = session_execute_portal(clients.sessions[i], portal, max_rows, &sink, &clients.e);
    if (r == SESSION_SUSPENDED)
        clients_say(clients.out[i], "[suspended]", 11);
    if (r < 0) {
        clients_say(clients.out[i], "!", 1);
        clients_say(clients.out[i], err_sqlstate(r), 5);
    }
    return clients.out[i];
}

static void
prepared_statements_run_with_parameters(void **state)
{
    static const oid_t types[] = { 23 };
    const char *one[] = { "1", "uno" };
    const char *two[] = { "2", "dos" };
    const oid_t *got;
    uint32_t n;
    struct session_sink sink = clients_sink(0);

    (void) state;
    assert_ok(session_parse(clients.sessions[0], "ins", "INSERT INTO t VALUES($1, $2)", types, 1,
                            &clients.e),
              &clients.e);
    assert_ok(session_describe_statement(clients.sessions[0], "ins", &got, &n, &sink, &clients.e),
              &clients.e);
    assert_int_equal(n, 2);
    assert_int_equal(got[0], 23);
    assert_int_equal(got[1], 25);
    assert_ok(bind_text(0, "", "ins", one, 2), &clients.e);
    assert_string_equal(execute(0, "", 0), "[INSERT 0 1]");
    assert_ok(bind_text(0, "", "ins", two, 2), &clients.e);
    assert_string_equal(execute(0, "", 0), "[INSERT 0 1]");
    clients_expect(1, "SELECT count(*) FROM t", "0;[SELECT 1]"); /* until Sync */
    assert_ok(session_sync(clients.sessions[0], false, &clients.e), &clients.e);
    clients_expect(1, "SELECT count(*) FROM t", "2;[SELECT 1]");
    assert_ok(session_parse(clients.sessions[0], "", "SELECT v, count(*) FROM t WHERE id = $1",
                            NULL, 0, &clients.e),
              &clients.e);
    assert_ok(bind_text(0, "", "", two, 1), &clients.e);
    clients.out[0][0] = '\0';
    assert_ok(session_describe_portal(clients.sessions[0], "", &sink, &clients.e), &clients.e);
    assert_string_equal(clients.out[0], "<v:25,count(*):20>");
    assert_string_equal(execute(0, "", 0), "dos|1;[SELECT 1]");
    assert_ok(session_sync(clients.sessions[0], false, &clients.e), &clients.e);
    assert_int_equal(session_parse(clients.sessions[0], "ins", "SELECT 1", NULL, 0, &clients.e),
                     -ERR_DUPLICATE_PREPARED_STATEMENT);
    assert_ok(session_sync(clients.sessions[0], true, &clients.e), &clients.e);
    assert_string_equal(execute(0, "gone", 0), "!34000");
    assert_ok(session_sync(clients.sessions[0], true, &clients.e), &clients.e);
}

static void
a_portal_goes_on_where_it_stopped_and_is_spooled_before_a_write(void **state)
{
    (void) state;
    clients_expect(0, "INSERT INTO t VALUES(1,'a'),(2,'b'),(3,'c')", "[INSERT 0 3]");
    clients_expect(0, "BEGIN", "[BEGIN]");
    assert_ok(
        session_parse(clients.sessions[0], "", "SELECT id FROM t ORDER BY id", NULL, 0, &clients.e),
        &clients.e);
    assert_ok(bind_text(0, "p", "", NULL, 0), &clients.e);
    assert_string_equal(execute(0, "p", 1), "1;[suspended]");
    clients_expect(1, "DELETE FROM t WHERE id = 3", "[DELETE 1]");
    assert_ok(session_parse(clients.sessions[0], "del", "DELETE FROM t", NULL, 0, &clients.e),
              &clients.e);
    assert_ok(bind_text(0, "", "del", NULL, 0), &clients.e);
    assert_string_equal(execute(0, "", 0), "[DELETE 2]"); /* not 517: 5.7 (a) */
    assert_string_equal(execute(0, "p", 1), "2;[suspended]");
    assert_string_equal(execute(0, "p", 0), "3;[SELECT 1]"); /* as of its snapshot */
    clients_expect(0, "COMMIT", "[COMMIT]");
    assert_string_equal(execute(0, "p", 0), "!34000"); /* portals end with the transaction */
    assert_ok(session_sync(clients.sessions[0], true, &clients.e), &clients.e);
}

static void
a_pipeline_is_one_transaction_and_an_error_undoes_it(void **state)
{
    const char *one[] = { "1", "a" };

    (void) state;
    assert_ok(session_parse(clients.sessions[0], "i", "INSERT INTO t VALUES($1, $2)", NULL, 0,
                            &clients.e),
              &clients.e);
    assert_ok(bind_text(0, "", "i", one, 2), &clients.e);
    assert_string_equal(execute(0, "", 0), "[INSERT 0 1]");
    assert_ok(bind_text(0, "", "i", one, 2), &clients.e);
    assert_string_equal(execute(0, "", 0), "!23505");
    assert_ok(session_sync(clients.sessions[0], true, &clients.e), &clients.e);
    clients_expect(1, "SELECT count(*) FROM t", "0;[SELECT 1]");
    assert_ok(session_parse(clients.sessions[0], "b", "BEGIN", NULL, 0, &clients.e), &clients.e);
    assert_ok(bind_text(0, "", "b", NULL, 0), &clients.e);
    assert_string_equal(execute(0, "", 0), "[BEGIN]");
    assert_ok(session_sync(clients.sessions[0], false, &clients.e), &clients.e);
    CLIENTS_STATUS(0, 'T');
    clients_expect(0, "ROLLBACK", "[ROLLBACK]");
    clients_expect(0, "DEALLOCATE i", "[DEALLOCATE]");
    clients_expect(0, "DEALLOCATE i", "!26000");
    clients_expect(0, "DEALLOCATE ALL", "[DEALLOCATE ALL]");
}

static void
a_bound_blob_cannot_register_a_tokenizer(void **state)
{
    (void) state;
    assert_int_equal(session_parse(clients.sessions[0], "", "SELECT fts3_tokenizer('x', $1)", NULL,
                                   0, &clients.e),
                     -ERR_INSUFFICIENT_PRIVILEGE);
    assert_ok(session_sync(clients.sessions[0], true, &clients.e), &clients.e);
    clients_expect(0, "CREATE VIRTUAL TABLE f USING fts4(x); INSERT INTO f VALUES('some words')",
                   "[CREATE TABLE][INSERT 0 1]");
    clients_expect(0, "SELECT count(*) FROM f WHERE f MATCH 'words'", "1;[SELECT 1]");
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, clients_setup, clients_teardown)
    const struct CMUnitTest tests[] = {
        T(prepared_statements_run_with_parameters),
        T(a_portal_goes_on_where_it_stopped_and_is_spooled_before_a_write),
        T(a_pipeline_is_one_transaction_and_an_error_undoes_it),
        T(a_bound_blob_cannot_register_a_tokenizer),
    };

    return cmocka_run_group_tests_name("session_ext", tests, NULL, NULL);
}
