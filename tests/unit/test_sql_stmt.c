/* Statements of a query string: boundaries, kinds, tags, arguments, spellings. */
#include <stdio.h>
#include <string.h>

#include "sql/sql_stmt.h"
#include "support/test.h"

struct kind_row {
    const char *text;
    enum sql_kind kind;
    const char *tag;
};

static const struct kind_row kind_rows[] = {
    { "select 1", SQL_QUERY, "SELECT" },
    { "/* c */ (SELECT 1)", SQL_QUERY, "SELECT" },
    { "VALUES (1)", SQL_QUERY, "SELECT" },
    { "with a as (delete from t) select 1", SQL_QUERY, "SELECT" },
    { "WITH a AS (SELECT 1) UPDATE t SET x = (SELECT 1)", SQL_QUERY, "UPDATE" },
    { "REPLACE INTO t VALUES(1)", SQL_QUERY, "INSERT" },
    { "create unique index if not exists i on t(x)", SQL_QUERY, "CREATE INDEX" },
    { "CREATE TEMP VIEW v AS SELECT 1", SQL_QUERY, "CREATE VIEW" },
    { "CREATE VIRTUAL TABLE v USING fts5(x)", SQL_QUERY, "CREATE TABLE" },
    { "DROP TABLE t", SQL_QUERY, "DROP TABLE" },
    { "ALTER TABLE t ADD x", SQL_QUERY, "ALTER TABLE" },
    { "EXPLAIN QUERY PLAN SELECT 1", SQL_QUERY, "EXPLAIN" },
    { "CREATE DATABASE d", SQL_CREATE_DB, "CREATE DATABASE" },
    { "DROP DATABASE IF EXISTS d WITH (FORCE)", SQL_DROP_DB, "DROP DATABASE" },
    { "CREATE ROLE r", SQL_REFUSED, "CREATE ROLE" },
    { "begin work", SQL_BEGIN, "BEGIN" },
    { "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, NOT DEFERRABLE", SQL_BEGIN,
      "START TRANSACTION" },
    { "END TRANSACTION", SQL_COMMIT, "COMMIT" },
    { "ROLLBACK WORK TO SAVEPOINT a", SQL_ROLLBACK_TO, "ROLLBACK" },
    { "ABORT", SQL_ROLLBACK, "ROLLBACK" },
    { "COMMIT PREPARED 'x'", SQL_REFUSED, "COMMIT PREPARED" },
    { "release a", SQL_RELEASE, "RELEASE" },
    { "SET LOCAL a.b TO 'x', 2, off", SQL_SET, "SET" },
    { "SET TRANSACTION READ ONLY", SQL_SET_TRANSACTION, "SET" },
    { "ALTER SYSTEM SET work_mem TO '1MB'", SQL_ALTER_SYSTEM, "ALTER SYSTEM" },
    { "alter system reset all", SQL_ALTER_SYSTEM, "ALTER SYSTEM" },
    { "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", SQL_SET_CHARACTERISTICS, "SET" },
    { "SHOW ALL", SQL_SHOW, "SHOW" },
    { "RESET ALL", SQL_RESET, "RESET" },
    { "DISCARD ALL", SQL_DISCARD, "DISCARD ALL" },
    { "DEALLOCATE PREPARE p", SQL_DEALLOCATE, "DEALLOCATE" },
    { "CLOSE ALL", SQL_NOTHING, "CLOSE CURSOR ALL" },
    { "VACUUM INTO 'x'", SQL_REFUSED, "VACUUM INTO" },
    { "VACUUM main INTO 'x'", SQL_REFUSED, "VACUUM INTO" },
    { "vacuum", SQL_VACUUM, "VACUUM" },
    { "VACUUM VERBOSE ANALYZE t", SQL_VACUUM, "VACUUM" },
    { "VACUUM (FULL off, VERBOSE, FREEZE 1, ANALYZE true) \"a b\"", SQL_VACUUM, "VACUUM" },
    { "ATTACH 'x' AS y", SQL_REFUSED, "ATTACH" },
    { "frobnicate", SQL_QUERY, "" }, /* SQLite says what is wrong */
};

static void
each_statement_has_its_kind_and_tag(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(kind_rows); i++) {
        const struct kind_row *row = &kind_rows[i];
        struct err e = ERR_INIT;
        struct sql_stmt s;
        size_t next;
        int r = sql_stmt_parse(row->text, strlen(row->text), 0, &s, &next, &e);

        if (r < 0)
            fail_msg("%s: %s", row->text, e.message);
        if (s.kind != row->kind || strcmp(s.tag, row->tag) != 0)
            fail_msg("%s: kind %d tag \"%s\", want %d \"%s\"", row->text, (int) s.kind, s.tag,
                     (int) row->kind, row->tag);
        assert_int_equal(next, strlen(row->text));
        sql_stmt_done(&s);
    }
}

struct split_row {
    const char *text;
    const char *parts; /* statements in brackets */
};

static const struct split_row split_rows[] = {
    { "", "" },
    { " ;; -- x\n ; /* y */", "" },
    { "a; b ;c", "[a][b][c]" },
    { "SELECT ';', \";\", [;], `;` ; b", "[SELECT ';', \";\", [;], `;`][b]" },
    { "SELECT 'it''s;' -- ;\n; /* ; */ b", "[SELECT 'it''s;'][b]" },
    { "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; DELETE FROM y; "
      "END; b",
      "[CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; DELETE FROM y; "
      "END][b]" },
    { "SELECT 'open; b", "[SELECT 'open; b]" },
    { "a /* open ; b", "[a]" },
};

static void
a_string_is_split_where_sqlite_would(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(split_rows); i++) {
        const char *t = split_rows[i].text;
        char got[512] = "";
        size_t pos = 0;

        while (!sql_is_blank(t, strlen(t), pos)) {
            struct err e = ERR_INIT;
            struct sql_stmt s;
            size_t len = strlen(got);

            (void) sql_stmt_parse(t, strlen(t), pos, &s, &pos, &e);
            (void) snprintf(got + len, sizeof got - len, "[%.*s]", (int) s.n, s.text);
            sql_stmt_done(&s);
        }
        assert_string_equal(got, split_rows[i].parts);
    }
}

static void
arguments_are_read(void **state)
{
    struct err e = ERR_INIT;
    struct sql_stmt s;
    size_t next;
    const char *t = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY DEFERRABLE";

    (void) state;
    assert_ok(sql_stmt_parse(t, strlen(t), 0, &s, &next, &e), &e);
    assert_int_equal(s.isolation, SQL_REPEATABLE_READ);
    assert_int_equal(s.read_only, 1);
    assert_int_equal(s.deferrable, 1);
    t = "SET LOCAL Search_Path = \"$user\", 'a b', -5";
    assert_ok(sql_stmt_parse(t, strlen(t), 0, &s, &next, &e), &e);
    assert_string_equal(s.name, "search_path");
    assert_string_equal(s.value, "$user, a b, -5");
    assert_true(s.is_local);
    sql_stmt_done(&s);
    t = "SET TIME ZONE DEFAULT";
    assert_ok(sql_stmt_parse(t, strlen(t), 0, &s, &next, &e), &e);
    assert_string_equal(s.name, "timezone");
    assert_null(s.value);
    t = "CREATE DATABASE \"My DB\" WITH OWNER = bob ENCODING 'UTF8' LC_COLLATE = 'C'";
    assert_ok(sql_stmt_parse(t, strlen(t), 0, &s, &next, &e), &e);
    assert_string_equal(s.name, "My DB");
    assert_string_equal(s.owner, "bob");
    t = "CREATE DATABASE d ENCODING 'LATIN1'";
    assert_int_equal(sql_stmt_parse(t, strlen(t), 0, &s, &next, &e), -ERR_FEATURE_NOT_SUPPORTED);
    err_clear(&e);
    t = "SELECT 1; COMMIT AND MORE";
    assert_int_equal(sql_stmt_parse(t, strlen(t), 9, &s, &next, &e), -ERR_SYNTAX_ERROR);
    assert_int_equal(e.position, 22);
    assert_string_equal(e.message, "syntax error at or near \"MORE\"");
}

struct rewrite_row {
    const char *from, *to;
};

static const struct rewrite_row rewrite_rows[] = {
    { "SELECT 1", "SELECT 1" },
    { "SELECT pg_catalog.version()", "SELECT            version()" },
    { "SELECT current_user, 'current_user', t.current_user", "SELECT current_user(), "
                                                             "'current_user', t.current_user" },
    { "SELECT Current_User()", "SELECT Current_User()" },
    { "SELECT pg_catalog", "SELECT pg_catalog" },
};

static void
postgresql_spellings_are_rewritten_and_positions_kept(void **state)
{
    struct err e = ERR_INIT;
    struct sql_rewrite rw;

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(rewrite_rows); i++) {
        const struct rewrite_row *row = &rewrite_rows[i];

        assert_ok(sql_rewrite(row->from, strlen(row->from), &rw, &e), &e);
        assert_string_equal(rw.text, row->to);
        sql_rewrite_done(&rw);
    }
    assert_ok(sql_rewrite("SELECT current_user, x", 22, &rw, &e), &e);
    assert_int_equal(sql_rewrite_at(&rw, 23), 21); /* x */
    assert_int_equal(sql_rewrite_at(&rw, 7), 7);
    sql_rewrite_done(&rw);
    assert_int_equal(sql_char_position("\xc3\xa4x", 3, 2), 2);
}

/* "SELECT $1,$2,…", so many of them, with `end` behind. */
static const char *
params(uint32_t n, const char *end)
{
    static char text[1024];
    size_t at = (size_t) snprintf(text, sizeof text, "SELECT $1");

    for (uint32_t i = 2; i <= n; i++)
        at += (size_t) snprintf(text + at, sizeof text - at, ",$%u", i);
    (void) snprintf(text + at, sizeof text - at, "%s", end);
    return text;
}

static void
many_parameters_lose_their_names_and_keep_their_numbers(void **state)
{
    static const struct {
        const char *end, *to;
        bool is_numbered;
    } rows[] = {
        { ",$65", ",?  ", true },
        { ",$65,$67,$1", ",?  ,?67,?1", true },
        { ",$65,'$9',x", ",?  ,'$9',x", true },
        { ",$65,?", ",?  ,?", false },
        { ",$65,$1::int", ",?  ,$1::int", false },
        { ",$65,$01,$3", ",?  ,$01,$3", false },
        { ",$65,$65536", ",?  ,$65536", false },
    };
    struct sql_rewrite rw;
    struct err e = ERR_INIT;
    const char *text = params(SQL_PARAMS_BY_NAME, "");

    (void) state;
    assert_ok(sql_rewrite(text, strlen(text), &rw, &e), &e);
    assert_string_equal(rw.text, text);
    assert_false(rw.is_numbered);
    sql_rewrite_done(&rw);
    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        text = params(SQL_PARAMS_BY_NAME, rows[i].end);
        assert_ok(sql_rewrite(text, strlen(text), &rw, &e), &e);
        assert_int_equal(rw.n, strlen(text));
        assert_memory_equal(rw.text, "SELECT ? ,? ,", 13);
        assert_string_equal(rw.text + strlen(text) - strlen(rows[i].end), rows[i].to);
        assert_int_equal(rw.is_numbered, rows[i].is_numbered);
        sql_rewrite_done(&rw);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_statement_has_its_kind_and_tag),
        cmocka_unit_test(a_string_is_split_where_sqlite_would),
        cmocka_unit_test(arguments_are_read),
        cmocka_unit_test(postgresql_spellings_are_rewritten_and_positions_kept),
        cmocka_unit_test(many_parameters_lose_their_names_and_keep_their_numbers),
    };

    return cmocka_run_group_tests_name("sql_stmt", tests, NULL, NULL);
}
