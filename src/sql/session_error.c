/* What SQLite says, in PostgreSQL's words and codes. Pure. Source: the messages of SQLite 3.40.1;
 * PostgreSQL's errcodes.txt. */
#include "sql/session_error.h"

#include <stdio.h>
#include <string.h>

#include "vfs/vfs_err.h"

#define PART_BYTES 200

struct message_row {
    const char *pattern; /* "%1" and "%2" match anything up to the next literal */
    int code;
    const char *text; /* "%1", "%2" are put in; NULL: SQLite's own words */
};

/* First match wins. Rows of constraints first, then names, then syntax. */
static const struct message_row message_rows[] = {
    { "UNIQUE constraint failed: index '%1'", ERR_UNIQUE_VIOLATION,
      "duplicate key value violates unique constraint \"%1\"" },
    { "UNIQUE constraint failed: %1", ERR_UNIQUE_VIOLATION,
      "duplicate key value violates unique constraint on (%1)" },
    { "NOT NULL constraint failed: %1.%2", ERR_NOT_NULL_VIOLATION,
      "null value in column \"%2\" of relation \"%1\" violates not-null constraint" },
    { "CHECK constraint failed: %1", ERR_CHECK_VIOLATION,
      "new row violates check constraint \"%1\"" },
    { "FOREIGN KEY constraint failed", ERR_FOREIGN_KEY_VIOLATION,
      "insert, update or delete violates a foreign key constraint" },
    { "cannot store %1 value in %2", ERR_DATATYPE_MISMATCH, NULL },
    { "no such table: %1", ERR_UNDEFINED_TABLE, "relation \"%1\" does not exist" },
    { "no such view: %1", ERR_UNDEFINED_TABLE, "view \"%1\" does not exist" },
    { "no such index: %1", ERR_UNDEFINED_OBJECT, "index \"%1\" does not exist" },
    { "no such trigger: %1", ERR_UNDEFINED_OBJECT, "trigger \"%1\" does not exist" },
    { "no such collation sequence: %1", ERR_UNDEFINED_OBJECT, "collation \"%1\" does not exist" },
    { "no such module: %1", ERR_UNDEFINED_OBJECT, "module \"%1\" does not exist" },
    { "unknown database %1", ERR_UNDEFINED_OBJECT, "schema \"%1\" does not exist" },
    /* ALTER TABLE that would break an index, view or trigger. */
    { "error in %1: no such column: %2", ERR_UNDEFINED_COLUMN, NULL },
    { "error in %1: no such table: %2", ERR_UNDEFINED_TABLE, NULL },
    { "no such column: \"%1\" - should this be a string literal in single-quotes?",
      ERR_UNDEFINED_COLUMN, "column \"%1\" does not exist" },
    { "no such column: \"%1\"", ERR_UNDEFINED_COLUMN, "column \"%1\" does not exist" },
    { "no such column: %1", ERR_UNDEFINED_COLUMN, "column \"%1\" does not exist" },
    { "table %1 has no column named %2", ERR_UNDEFINED_COLUMN,
      "column \"%2\" of relation \"%1\" does not exist" },
    { "cannot join using column %1 - column not present in both tables", ERR_UNDEFINED_COLUMN,
      NULL },
    { "unknown column \"%1\" in foreign key definition", ERR_UNDEFINED_COLUMN, NULL },
    { "no such function: %1", ERR_UNDEFINED_FUNCTION, "function %1 does not exist" },
    { "no such table-valued function: %1", ERR_UNDEFINED_FUNCTION, "function %1 does not exist" },
    { "wrong number of arguments to function %1", ERR_UNDEFINED_FUNCTION,
      "function %1 does not exist with this number of arguments" },
    { "unable to use function %1 in the requested context", ERR_UNDEFINED_FUNCTION, NULL },
    { "ambiguous column name: %1", ERR_AMBIGUOUS_COLUMN, "column reference \"%1\" is ambiguous" },
    { "duplicate column name: %1", ERR_DUPLICATE_COLUMN, "column \"%1\" specified more than once" },
    { "table %1 already exists", ERR_DUPLICATE_TABLE, "relation \"%1\" already exists" },
    { "view %1 already exists", ERR_DUPLICATE_TABLE, "relation \"%1\" already exists" },
    { "index %1 already exists", ERR_DUPLICATE_TABLE, "relation \"%1\" already exists" },
    { "there is already a table named %1", ERR_DUPLICATE_TABLE, "relation \"%1\" already exists" },
    { "there is already another table or index with this name: %1", ERR_DUPLICATE_TABLE,
      "relation \"%1\" already exists" },
    { "there is already an index named %1", ERR_DUPLICATE_TABLE, "relation \"%1\" already exists" },
    { "trigger %1 already exists", ERR_DUPLICATE_OBJECT, NULL },
    { "near \"%1\": syntax error", ERR_SYNTAX_ERROR, "syntax error at or near \"%1\"" },
    { "incomplete input", ERR_SYNTAX_ERROR, "syntax error at end of input" },
    { "unrecognized token: \"%1\"", ERR_SYNTAX_ERROR, "syntax error at or near \"%1\"" },
    { "integer overflow", ERR_NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range" },
    { "malformed JSON", ERR_INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json" },
    { "datatype mismatch", ERR_DATATYPE_MISMATCH, NULL },
    { "string or blob too big", ERR_PROGRAM_LIMIT_EXCEEDED, NULL },
    { "too many %1", ERR_PROGRAM_LIMIT_EXCEEDED, NULL },
    { "parser stack overflow", ERR_STATEMENT_TOO_COMPLEX, NULL },
    { "Expression tree is too large%1", ERR_STATEMENT_TOO_COMPLEX,
      "expression tree is too large%1" },
    { "LIKE or GLOB pattern too complex", ERR_PROGRAM_LIMIT_EXCEEDED, NULL },
    { "not authorized to use function: %1", ERR_INSUFFICIENT_PRIVILEGE,
      "permission denied for function %1" },
    { "not authorized", ERR_INSUFFICIENT_PRIVILEGE, "permission denied" },
    { "access to %1 is prohibited", ERR_INSUFFICIENT_PRIVILEGE, "permission denied for %1" },
    { "table %1 may not be %2", ERR_INSUFFICIENT_PRIVILEGE,
      "permission denied for table %1: it may not be %2" },
    { "interrupted", ERR_QUERY_CANCELED, "canceling statement due to user request" },
    { "out of memory", ERR_OUT_OF_MEMORY, NULL },
};

/* Does text match the pattern? part[0], part[1] get what %1 and %2 stand for. */
static bool
matches(const char *text, const char *pattern, char part[2][PART_BYTES])
{
    while (*pattern != '\0') {
        const char *end;
        char next[64];
        size_t n;
        int k;

        if (*pattern != '%') {
            if (*text++ != *pattern++)
                return false;
            continue;
        }
        k = pattern[1] - '1';
        pattern += 2;
        n = strcspn(pattern, "%");
        (void) snprintf(next, sizeof next, "%.*s", (int) n, pattern);
        end = n == 0 ? text + strlen(text) : strstr(text, next);
        if (end == NULL)
            return false;
        (void) snprintf(part[k], PART_BYTES, "%.*s", (int) (end - text), text);
        text = end;
    }
    return *text == '\0';
}

static void
put_in(char *out, size_t cap, const char *text, char part[2][PART_BYTES])
{
    size_t n = 0;

    for (; *text != '\0' && n + 1 < cap; text++) {
        if (text[0] == '%' && (text[1] == '1' || text[1] == '2')) {
            int w = snprintf(out + n, cap - n, "%s", part[text[1] - '1']);

            n = MIN(n + (size_t) MAX(w, 0), cap - 1);
            text++;
        } else {
            out[n++] = *text;
        }
    }
    out[n] = '\0';
}

/* A code for what has no row. SQLITE_ERROR covers everything from grammar to run-time errors. */
static int
code_of(int rc, bool is_run)
{
    if (rc == SQLITE_ERROR)
        return is_run ? ERR_DATA_EXCEPTION : ERR_SYNTAX_ERROR;
    return vfs_err_code(rc);
}

int
session_error_translate(int rc, const char *message, bool is_run, struct err *e)
{
    char part[2][PART_BYTES] = { "", "" };
    char text[480];

    if (rc == SQLITE_BUSY_SNAPSHOT) {
        int r =
            ERR(e, SERIALIZATION_FAILURE, "could not serialize access due to concurrent update");

        err_hint(e, "The transaction might succeed if retried.");
        return r;
    }
    if (rc == SQLITE_READONLY)
        return ERR(e, READ_ONLY_SQL_TRANSACTION,
                   "cannot execute a write in a read-only transaction");
    for (size_t i = 0; i < ELEMENTSOF(message_rows); i++) {
        const struct message_row *row = &message_rows[i];

        if (!matches(message, row->pattern, part))
            continue;
        if (row->text == NULL)
            return err_set(e, -row->code, "%s", message);
        put_in(text, sizeof text, row->text, part);
        return err_set(e, -row->code, "%s", text);
    }
    return err_set(e, -code_of(rc, is_run), "%s", message);
}
