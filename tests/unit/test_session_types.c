/* Types from declarations, text and binary forms, error words. */
#include <stdio.h>
#include <string.h>

#include "sql/session_error.h"
#include "sql/session_types.h"
#include "support/test.h"

struct decl_row {
    const char *decl;
    oid_t type;
    int32_t mod;
};

static const struct decl_row decl_rows[] = {
    { "INTEGER", TYPE_INT4, -1 },
    { "bigint", TYPE_INT8, -1 },
    { "VARCHAR(20)", TYPE_VARCHAR, 24 },
    { "character  varying ( 20 )", TYPE_VARCHAR, 24 },
    { "char(5)", TYPE_BPCHAR, 9 },
    { "numeric(10,2)", TYPE_NUMERIC, (10 << 16 | 2) + 4 },
    { "double precision", TYPE_FLOAT8, -1 },
    { "timestamp with time zone", TYPE_TIMESTAMPTZ, -1 },
    { "BOOLEAN", TYPE_BOOL, -1 },
    { "BLOB", TYPE_BYTEA, -1 },
    { "jsonb", TYPE_JSONB, -1 },
    { "varchar(2147483647)", TYPE_VARCHAR, -1 }, /* no length that PostgreSQL knows */
    { "char(99999999999999999999)", TYPE_BPCHAR, -1 },
    { "POINT", TYPE_INT8, -1 }, /* SQLite's first rule: it contains INT */
    { "whatever", TYPE_NUMERIC, -1 },
    { "", TYPE_UNKNOWN, -1 },
    { NULL, TYPE_UNKNOWN, -1 },
};

static void
declared_types_map_to_oids(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(decl_rows); i++) {
        int32_t mod;
        oid_t type = types_of_decl(decl_rows[i].decl, &mod);

        if (type != decl_rows[i].type || mod != decl_rows[i].mod)
            fail_msg("%s: %u %d", decl_rows[i].decl != NULL ? decl_rows[i].decl : "NULL", type,
                     mod);
    }
}

struct double_row {
    double d;
    const char *text;
};

static const struct double_row double_rows[] = {
    { 0, "0" },
    { 1, "1" },
    { -1.5, "-1.5" },
    { 0.1, "0.1" },
    { 3.141592653589793, "3.141592653589793" },
    { 0.30000000000000004, "0.30000000000000004" },
    { 100000, "100000" },
    { 1e14, "100000000000000" },
    { 1e15, "1e+15" },
    { 123456789012345678.0, "1.2345678901234568e+17" },
    { 0.0001, "0.0001" },
    { 0.00001, "1e-05" },
    { 5e-324, "5e-324" },
    { 1.7976931348623157e308, "1.7976931348623157e+308" },
    { -0.0, "-0" },
    { __builtin_inf(), "Infinity" },
    { -__builtin_inf(), "-Infinity" },
};

static void
doubles_print_as_postgresql_prints_them(void **state)
{
    char p[400];

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(double_rows); i++) {
        (void) types_format_double(double_rows[i].d, p, sizeof p);
        assert_string_equal(p, double_rows[i].text);
    }
}

static sqlite3 *db;
static sqlite3_stmt *stmt;

static int
setup(void **state)
{
    (void) state;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT ?1", -1, &stmt, NULL), SQLITE_OK);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    (void) sqlite3_finalize(stmt);
    (void) sqlite3_close(db);
    return 0;
}

struct round_row {
    oid_t type;
    int format;
    const char *in;
    int32_t n_in;
    const char *text; /* as sent in text */
    const char *binary;
    int32_t n_binary;
};

static const struct round_row round_rows[] = {
    { TYPE_INT4, 0, "-5", 2, "-5", "\xff\xff\xff\xfb", 4 },
    { TYPE_INT4, 1, "\xff\xff\xff\xfb", 4, "-5", "\xff\xff\xff\xfb", 4 },
    { TYPE_INT2, 1, "\x01\x00", 2, "256", "\x01\x00", 2 },
    { TYPE_INT8, 1, "\0\0\0\x01\0\0\0\0", 8, "4294967296", "\0\0\0\x01\0\0\0\0", 8 },
    { TYPE_INT8, 0, "-9223372036854775808", 20, "-9223372036854775808", "\x80\0\0\0\0\0\0\0", 8 },
    { TYPE_INT8, 0, " 12 ", 4, "12", "\0\0\0\0\0\0\0\x0c", 8 },
    { TYPE_OID, 0, "4294967295", 10, "4294967295", "\xff\xff\xff\xff", 4 },
    { TYPE_OID, 0, "-1", 2, "4294967295", "\xff\xff\xff\xff", 4 },
    { TYPE_BOOL, 0, "true", 4, "t", "\x01", 1 },
    { TYPE_BOOL, 1, "\0", 1, "f", "\0", 1 },
    { TYPE_TEXT, 0, "h\xc3\xa4", 3, "h\xc3\xa4", "h\xc3\xa4", 3 },
    { TYPE_BYTEA, 0, "\\x00ff", 6, "\\x00ff", "\0\xff", 2 },
    { TYPE_BYTEA, 1, "\0\xff", 2, "\\x00ff", "\0\xff", 2 },
    { TYPE_FLOAT8, 0, "1.5", 3, "1.5", "\x3f\xf8\0\0\0\0\0\0", 8 },
    { TYPE_FLOAT8, 0, "5e-324", 6, "5e-324", "\0\0\0\0\0\0\0\x01", 8 },
    { TYPE_FLOAT8, 1, "\x3f\xf8\0\0\0\0\0\0", 8, "1.5", "\x3f\xf8\0\0\0\0\0\0", 8 },
    { TYPE_FLOAT4, 1, "\x3f\xc0\0\0", 4, "1.5", "\x3f\xc0\0\0", 4 },
};

static void
values_go_in_and_come_out_in_both_formats(void **state)
{
    struct types_out out = { 0 };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(round_rows); i++) {
        const struct round_row *row = &round_rows[i];
        struct err e = ERR_INIT;
        size_t at, n;
        sqlite3_value *v;

        assert_ok(types_bind(stmt, 1, row->type, row->format, row->in, row->n_in, &e), &e);
        assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
        v = sqlite3_column_value(stmt, 0);
        out.n = 0;
        assert_ok(types_put_text(&out, v, row->type, &at, &n, &e), &e);
        if (n != strlen(row->text) || memcmp(out.p + at, row->text, n) != 0)
            fail_msg("row %zu: text %.*s", i, (int) n, out.p + at);
        assert_ok(types_put_binary(&out, v, row->type, &at, &n, &e), &e);
        assert_int_equal(n, row->n_binary);
        assert_memory_equal(out.p + at, row->binary, n);
        (void) sqlite3_reset(stmt);
    }
    free(out.p);
}

struct refused_row {
    oid_t type;
    int format;
    const char *in;
    int32_t n_in;
    int code;
};

static const struct refused_row refused_rows[] = {
    { TYPE_INT4, 0, "x1", 2, ERR_INVALID_TEXT_REPRESENTATION },
    { TYPE_INT4, 0, "1 2", 3, ERR_INVALID_TEXT_REPRESENTATION },
    { TYPE_INT4, 0, " ", 1, ERR_INVALID_TEXT_REPRESENTATION },
    { TYPE_INT4, 1, "abc", 3, ERR_INVALID_BINARY_REPRESENTATION },
    { TYPE_BOOL, 0, "maybe", 5, ERR_INVALID_TEXT_REPRESENTATION },
    { TYPE_BYTEA, 0, "\\xf", 3, ERR_INVALID_TEXT_REPRESENTATION },
    { TYPE_BYTEA, 0, "\\xzz", 4, ERR_INVALID_TEXT_REPRESENTATION },
    { TYPE_INT8, 0, "9223372036854775808", 19, ERR_NUMERIC_VALUE_OUT_OF_RANGE },
    { TYPE_INT8, 0, "-9223372036854775809", 20, ERR_NUMERIC_VALUE_OUT_OF_RANGE },
    { TYPE_INT4, 0, "3000000000", 10, ERR_NUMERIC_VALUE_OUT_OF_RANGE },
    { TYPE_INT2, 0, "-32769", 6, ERR_NUMERIC_VALUE_OUT_OF_RANGE },
    { TYPE_OID, 0, "4294967296", 10, ERR_NUMERIC_VALUE_OUT_OF_RANGE },
    { TYPE_FLOAT8, 0, "1e400", 5, ERR_NUMERIC_VALUE_OUT_OF_RANGE },
    { TYPE_FLOAT8, 0, "-1e-400", 7, ERR_NUMERIC_VALUE_OUT_OF_RANGE },
    { TYPE_FLOAT8, 0, "NaN", 3, ERR_FEATURE_NOT_SUPPORTED }, /* SQLite would make it NULL */
    { TYPE_FLOAT8, 1, "\x7f\xf8\0\0\0\0\0\0", 8, ERR_FEATURE_NOT_SUPPORTED },
    { TYPE_FLOAT4, 1, "\x7f\xc0\0\0", 4, ERR_FEATURE_NOT_SUPPORTED },
    { TYPE_TEXT, 1, "a\xff", 2, ERR_CHARACTER_NOT_IN_REPERTOIRE },
    { TYPE_VARCHAR, 1, "a\0b", 3, ERR_CHARACTER_NOT_IN_REPERTOIRE },
    { TYPE_JSON, 1, "\"12345678\xed\xa0\x80\"", 13, ERR_CHARACTER_NOT_IN_REPERTOIRE },
};

static void
bad_parameters_are_refused(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(refused_rows); i++) {
        const struct refused_row *row = &refused_rows[i];
        struct err e = ERR_INIT;

        if (types_bind(stmt, 1, row->type, row->format, row->in, row->n_in, &e) != -row->code)
            fail_msg("row %zu: %s", i, e.message);
        assert_true(e.message[0] != '\0');
    }
}

struct unfit_row {
    const char *sql;
    oid_t type;
};

static const struct unfit_row unfit_rows[] = {
    { "SELECT 3000000000", TYPE_INT4 }, { "SELECT 40000", TYPE_INT2 },
    { "SELECT 4294967296", TYPE_OID },  { "SELECT 1.5", TYPE_INT4 },
    { "SELECT -0.25", TYPE_INT8 },      { "SELECT 1e300", TYPE_INT8 },
};

/* In text they go out as they are; eight bytes of them would be another number. */
static void
a_binary_integer_is_the_value_or_an_error(void **state)
{
    struct types_out out = { 0 };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(unfit_rows); i++) {
        struct err e = ERR_INIT;
        sqlite3_stmt *st;
        size_t at, n;

        assert_int_equal(sqlite3_prepare_v2(db, unfit_rows[i].sql, -1, &st, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        if (types_put_binary(&out, sqlite3_column_value(st, 0), unfit_rows[i].type, &at, &n, &e) !=
            -ERR_NUMERIC_VALUE_OUT_OF_RANGE)
            fail_msg("row %zu: %s", i, e.message);
        (void) sqlite3_finalize(st);
    }
    free(out.p);
}

struct error_row {
    int rc;
    const char *message;
    bool is_run;
    const char *state;
    const char *text;
};

static const struct error_row error_rows[] = {
    { SQLITE_CONSTRAINT_UNIQUE, "UNIQUE constraint failed: t.a, t.b", true, "23505",
      "duplicate key value violates unique constraint on (t.a, t.b)" },
    { SQLITE_CONSTRAINT_NOTNULL, "NOT NULL constraint failed: t.a", true, "23502",
      "null value in column \"a\" of relation \"t\" violates not-null constraint" },
    { SQLITE_CONSTRAINT_CHECK, "CHECK constraint failed: x > 1", true, "23514",
      "new row violates check constraint \"x > 1\"" },
    { SQLITE_CONSTRAINT_FOREIGNKEY, "FOREIGN KEY constraint failed", true, "23503",
      "insert, update or delete violates a foreign key constraint" },
    { SQLITE_CONSTRAINT_TRIGGER, "my words", true, "23000", "my words" },
    { SQLITE_ERROR, "no such table: main.t", false, "42P01", "relation \"main.t\" does not exist" },
    { SQLITE_ERROR, "no such column: x", false, "42703", "column \"x\" does not exist" },
    { SQLITE_ERROR, "no such column: \"x\"", false, "42703", "column \"x\" does not exist" },
    { SQLITE_ERROR, "near \"x\": syntax error", false, "42601", "syntax error at or near \"x\"" },
    { SQLITE_ERROR, "some new sentence", false, "42601", "some new sentence" },
    { SQLITE_ERROR, "some new sentence", true, "22000", "some new sentence" },
    { SQLITE_BUSY_SNAPSHOT, "database is locked", true, "40001",
      "could not serialize access due to concurrent update" },
    { SQLITE_NOMEM, "out of memory", true, "53200", "out of memory" },
    { SQLITE_CORRUPT, "database disk image is malformed", true, "XX001",
      "database disk image is malformed" },
};

static void
messages_get_states_and_words_of_postgresql(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(error_rows); i++) {
        const struct error_row *row = &error_rows[i];
        struct err e = ERR_INIT;
        int r = session_error_translate(row->rc, row->message, row->is_run, &e);

        assert_string_equal(err_sqlstate(r), row->state);
        assert_string_equal(e.message, row->text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declared_types_map_to_oids),
        cmocka_unit_test(doubles_print_as_postgresql_prints_them),
        cmocka_unit_test_setup_teardown(values_go_in_and_come_out_in_both_formats, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_parameters_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_binary_integer_is_the_value_or_an_error, setup, teardown),
        cmocka_unit_test(messages_get_states_and_words_of_postgresql),
    };

    return cmocka_run_group_tests_name("session_types", tests, NULL, NULL);
}
