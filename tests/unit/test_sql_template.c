/* Which literals are taken out of a statement, and which statements can be shared at all. */
#include "sql/sql_template.h"

#include <stdio.h>
#include <string.h>

#include "support/test.h"

struct row {
    const char *text;
    const char *key; /* NULL: cannot be shared */
};

static const struct row rows[] = {
    { "SELECT a FROM t WHERE id = 17", "SELECT a FROM t WHERE id = ?" },
    { "SELECT 5, a FROM t WHERE id=-17 ;", "SELECT 5, a FROM t WHERE id=-?" },
    { "select a from t where s = 'x' and n<>44", "select a from t where s = ? and n<>?" },
    { "SELECT a FROM t WHERE n BETWEEN 10 AND 20 AND m = 3",
      "SELECT a FROM t WHERE n BETWEEN ? AND ? AND m = ?" },
    { "UPDATE t SET a = a + -5, b = 'x', c = 0 WHERE id = 12",
      "UPDATE t SET a = a + -?, b = ?, c = ? WHERE id = ?" },
    { "INSERT INTO t (a, b) VALUES (1, 'it', 2), (3, '', -4)",
      "INSERT INTO t (a, b) VALUES (?, ?, ?), (?, ?, -?)" },
    { "DELETE FROM t WHERE id >= 10 AND id < 2000", "DELETE FROM t WHERE id >= ? AND id < ?" },
    { "DELETE FROM t", "DELETE FROM t" },
    /* what a plan or a result may depend on stays */
    { "SELECT a FROM t WHERE f = 1 AND g = 0", "SELECT a FROM t WHERE f = 1 AND g = 0" },
    { "SELECT a FROM t WHERE id = 5 ORDER BY 1 LIMIT 7",
      "SELECT a FROM t WHERE id = ? ORDER BY 1 LIMIT 7" },
    { "SELECT a, count(*) FROM t WHERE id > 5 GROUP BY 1 HAVING count(*) > 5",
      "SELECT a, count(*) FROM t WHERE id > ? GROUP BY 1 HAVING count(*) > 5" },
    { "SELECT count(*) FILTER (WHERE a = 5) FROM t",
      "SELECT count(*) FILTER (WHERE a = 5) FROM t" },
    { "SELECT a FROM t JOIN u ON t.x = 5 WHERE u.y = 6",
      "SELECT a FROM t JOIN u ON t.x = 5 WHERE u.y = ?" },
    { "SELECT a FROM t WHERE a + 5 = b AND c IN (5, 6)",
      "SELECT a FROM t WHERE a + 5 = b AND c IN (5, 6)" },
    { "SELECT a FROM t WHERE json_extract(j, '$.a') = 'x'",
      "SELECT a FROM t WHERE json_extract(j, '$.a') = ?" },
    { "SELECT a FROM t WHERE j ->> '$.a' = 'x' AND k -> 5 = 6",
      "SELECT a FROM t WHERE j ->> '$.a' = ? AND k -> 5 = ?" },
    { "SELECT a FROM t WHERE n >> 5 = 6 AND n << 5 > 6",
      "SELECT a FROM t WHERE n >> 5 = ? AND n << 5 > ?" },
    { "SELECT a FROM t WHERE s LIKE 'x%' AND s GLOB 'y*'",
      "SELECT a FROM t WHERE s LIKE 'x%' AND s GLOB 'y*'" },
    { "UPDATE t SET a = 5 WHERE id = 6 RETURNING a + 7, a = 8",
      "UPDATE t SET a = ? WHERE id = ? RETURNING a + 7, a = 8" },
    { "INSERT INTO t VALUES (5, 6) ON CONFLICT (a) WHERE b = 7 DO UPDATE SET a = 8",
      "INSERT INTO t VALUES (?, ?) ON CONFLICT (a) WHERE b = 7 DO UPDATE SET a = 8" },
    { "UPDATE t SET a = 5 FROM u WHERE u.x = 6", "UPDATE t SET a = ? FROM u WHERE u.x = ?" },
    /* literals that are not simple stay */
    { "SELECT a FROM t WHERE x = 5.5 AND y = 5e3 AND z = 0x10 AND v = 007",
      "SELECT a FROM t WHERE x = 5.5 AND y = 5e3 AND z = 0x10 AND v = 007" },
    { "UPDATE t SET a = 9223372036854775808, b = 123456789012345678",
      "UPDATE t SET a = 9223372036854775808, b = ?" },
    { "UPDATE t SET a = 'it''s', b = x'ab', c = 'a'5",
      "UPDATE t SET a = 'it''s', b = x'ab', c = 'a'5" },
    { "UPDATE t SET a = /* 5 */ 6 -- 7", "UPDATE t SET a = /* 5 */ ?" },
    { "UPDATE t SET \"a 5\" = [b 6]", "UPDATE t SET \"a 5\" = [b 6]" },
    /* not to be shared */
    { "SELECT a FROM t WHERE id = $1", NULL },
    { "SELECT a FROM t WHERE id = ?", NULL },
    { "SELECT a FROM t WHERE id = (SELECT 5)", NULL },
    { "SELECT 1 UNION SELECT 2", NULL },
    { "SELECT 1 UNION VALUES (2)", NULL },
    { "INSERT INTO t SELECT 5", NULL },
    { "WITH x AS (SELECT 1) SELECT * FROM x", NULL },
    { "CREATE TABLE t(a)", NULL },
    { "EXPLAIN SELECT 1", NULL },
    { "BEGIN", NULL },
    { "(SELECT 1)", NULL },
    { "SELECT 'open", NULL },
    { "", NULL },
    { " ; ", NULL },
};

static void
literals_are_taken_where_a_parameter_means_the_same(void **state)
{
    struct sql_template t;

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        bool shared = sql_template(rows[i].text, strlen(rows[i].text), 0, &t);

        if (shared != (rows[i].key != NULL) || (shared && strcmp(t.key, rows[i].key) != 0))
            fail_msg("%s: %s", rows[i].text, shared ? t.key : "not shared");
        assert_true(!shared || t.n == strlen(t.key));
    }
}

static void
literals_have_values_and_places(void **state)
{
    static const char text[] = " ;UPDATE t SET a = 120, b='x y' WHERE c = '' ; SELECT 2";
    struct sql_template t;

    (void) state;
    assert_true(sql_template(text, sizeof text - 1, 0, &t));
    assert_int_equal(t.at, 2);
    assert_int_equal(t.end, strlen(" ;UPDATE t SET a = 120, b='x y' WHERE c = ''"));
    assert_int_equal(t.n_literals, 3);
    assert_false(t.literals[0].is_text);
    assert_int_equal(sql_literal_number(text, &t.literals[0]), 120);
    assert_true(t.literals[1].is_text);
    assert_int_equal(t.literals[1].n, 3);
    assert_memory_equal(text + t.literals[1].at, "x y", 3);
    assert_true(t.literals[2].is_text);
    assert_int_equal(t.literals[2].n, 0);
    assert_string_equal(t.key, "UPDATE t SET a = ?, b=? WHERE c = ?");
    assert_true(sql_template(text, sizeof text - 1, t.next, &t));
    assert_string_equal(t.key, "SELECT 2");
    assert_int_equal(t.next, sizeof text - 1);
}

static void
what_is_too_long_is_not_shared(void **state)
{
    char text[2 * SQL_TEMPLATE_BYTES] = "INSERT INTO t VALUES (5";
    struct sql_template t;

    (void) state;
    for (int i = 1; i < SQL_TEMPLATE_LITERALS; i++)
        strcat(text, ",5");
    assert_true(sql_template(text, strlen(text), 0, &t));
    assert_int_equal(t.n_literals, SQL_TEMPLATE_LITERALS);
    strcat(text, ",5");
    assert_false(sql_template(text, strlen(text), 0, &t));
    (void) snprintf(text, sizeof text, "SELECT %0*d", SQL_TEMPLATE_BYTES - 9, 7);
    assert_true(sql_template(text, strlen(text), 0, &t));
    assert_int_equal(t.n, SQL_TEMPLATE_BYTES - 2);
    (void) snprintf(text, sizeof text, "SELECT %0*d", SQL_TEMPLATE_BYTES - 8, 7);
    assert_false(sql_template(text, strlen(text), 0, &t));
    /* a long value does not count */
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "UPDATE t SET a='", 16);
    text[sizeof text - 2] = '\'';
    text[sizeof text - 1] = '\0';
    assert_true(sql_template(text, strlen(text), 0, &t));
    assert_string_equal(t.key, "UPDATE t SET a=?");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_are_taken_where_a_parameter_means_the_same),
        cmocka_unit_test(literals_have_values_and_places),
        cmocka_unit_test(what_is_too_long_is_not_shared),
    };

    return cmocka_run_group_tests_name("sql_template", tests, NULL, NULL);
}
