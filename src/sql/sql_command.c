/* Arguments of the server's commands. Pure. Source: PostgreSQL 15's documentation of each command.
 */
#include "sql/sql_command.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

static int
syntax_error(const struct sql_lex *lex, struct err *e)
{
    if (lex->tok.kind == SQL_TOKEN_END)
        return ERR(e, SYNTAX_ERROR, "syntax error at end of input");
    return ERR(e, SYNTAX_ERROR, "syntax error at or near \"%.*s\"", (int) MIN(lex->tok.n, 64),
               lex->text + lex->tok.at);
}

static int
expect(struct sql_lex *lex, const char *word, struct err *e)
{
    return sql_lex_accept(lex, word) ? 0 : syntax_error(lex, e);
}

static int
expect_end(const struct sql_lex *lex, struct err *e)
{
    return lex->tok.kind == SQL_TOKEN_END ? 0 : syntax_error(lex, e);
}

static int
expect_name(struct sql_lex *lex, char *ret, struct err *e)
{
    if (lex->tok.kind == SQL_TOKEN_STRING || !sql_lex_name(lex, ret, SQL_NAME_BYTES))
        return syntax_error(lex, e);
    sql_lex_next(lex);
    return 0;
}

/* ---- transactions ---- */

static int
parse_isolation(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r = expect(lex, "LEVEL", e);

    if (r < 0)
        return r;
    if (sql_lex_accept(lex, "SERIALIZABLE")) {
        s->isolation = SQL_SERIALIZABLE;
    } else if (sql_lex_accept(lex, "REPEATABLE")) {
        s->isolation = SQL_REPEATABLE_READ;
        return expect(lex, "READ", e);
    } else if (sql_lex_accept(lex, "READ")) {
        if (sql_lex_accept(lex, "COMMITTED"))
            s->isolation = SQL_READ_COMMITTED;
        else if (sql_lex_accept(lex, "UNCOMMITTED"))
            s->isolation = SQL_READ_UNCOMMITTED;
        else
            return syntax_error(lex, e);
    } else {
        return syntax_error(lex, e);
    }
    return 0;
}

static int
parse_modes(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r = 0;

    while (r == 0 && lex->tok.kind != SQL_TOKEN_END) {
        if (sql_lex_accept(lex, "ISOLATION")) {
            r = parse_isolation(lex, s, e);
        } else if (sql_lex_accept(lex, "READ")) {
            if (sql_lex_accept(lex, "ONLY"))
                s->read_only = 1;
            else if (sql_lex_accept(lex, "WRITE"))
                s->read_only = 0;
            else
                return syntax_error(lex, e);
        } else if (sql_lex_accept(lex, "NOT")) {
            r = expect(lex, "DEFERRABLE", e);
            s->deferrable = 0;
        } else if (sql_lex_accept(lex, "DEFERRABLE")) {
            s->deferrable = 1;
        } else {
            return syntax_error(lex, e);
        }
        if (sql_lex_accept_char(lex, ',') && lex->tok.kind == SQL_TOKEN_END)
            return syntax_error(lex, e);
    }
    return r;
}

static int
parse_begin(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    bool is_start = sql_lex_is(lex, "START");

    sql_lex_next(lex);
    if (is_start) {
        int r = expect(lex, "TRANSACTION", e);

        if (r < 0)
            return r;
    } else {
        if (sql_lex_accept(lex, "IMMEDIATE") || sql_lex_accept(lex, "EXCLUSIVE"))
            s->immediate = true;
        else
            (void) sql_lex_accept(lex, "DEFERRED"); /* SQLite's words */
        if (!sql_lex_accept(lex, "WORK"))
            (void) sql_lex_accept(lex, "TRANSACTION");
    }
    return parse_modes(lex, s, e);
}

static int
parse_chain(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    if (sql_lex_accept(lex, "AND")) {
        s->chain = !sql_lex_accept(lex, "NO");
        return expect(lex, "CHAIN", e);
    }
    return 0;
}

static int
parse_end(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r;

    sql_lex_next(lex);
    if (sql_lex_is(lex, "PREPARED")) {
        s->kind = SQL_REFUSED;
        (void) snprintf(s->tag + strlen(s->tag), sizeof s->tag - strlen(s->tag), " PREPARED");
        return 0;
    }
    if (!sql_lex_accept(lex, "WORK"))
        (void) sql_lex_accept(lex, "TRANSACTION");
    if (s->kind == SQL_ROLLBACK && sql_lex_accept(lex, "TO")) {
        s->kind = SQL_ROLLBACK_TO;
        (void) sql_lex_accept(lex, "SAVEPOINT");
        r = expect_name(lex, s->name, e);
    } else {
        r = parse_chain(lex, s, e);
    }
    return r < 0 ? r : expect_end(lex, e);
}

static int
parse_savepoint(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r;

    sql_lex_next(lex);
    if (s->kind == SQL_RELEASE)
        (void) sql_lex_accept(lex, "SAVEPOINT");
    r = expect_name(lex, s->name, e);
    return r < 0 ? r : expect_end(lex, e);
}

/* ---- settings ---- */

/* The rest of the statement as a value: words, strings and numbers, a list by commas. */
static int
parse_value(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    size_t cap = s->n + 1;
    struct buf b;

    s->value = calloc(1, cap);
    if (s->value == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    b = buf_init(s->value, cap - 1);
    for (;;) {
        if (sql_lex_is_char(lex, '-') || sql_lex_is_char(lex, '+')) {
            buf_put(&b, lex->text + lex->tok.at, 1);
            sql_lex_next(lex);
        }
        if (lex->tok.kind == SQL_TOKEN_NUMBER || lex->tok.kind == SQL_TOKEN_WORD) {
            buf_put(&b, lex->text + lex->tok.at, lex->tok.n);
        } else {
            char *at = s->value + b.n;

            if (!sql_lex_name(lex, at, cap - b.n))
                return syntax_error(lex, e);
            b.n += strlen(at);
        }
        sql_lex_next(lex);
        if (!sql_lex_accept_char(lex, ','))
            break;
        buf_put(&b, ", ", 2);
    }
    s->value[b.n] = '\0';
    return expect_end(lex, e);
}

/* SET's value may be DEFAULT. */
static int
parse_value_or_default(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    if (sql_lex_accept(lex, "DEFAULT"))
        return expect_end(lex, e);
    return parse_value(lex, s, e);
}

static int
parse_setting_name(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r = expect_name(lex, s->name, e);

    while (r == 0 && sql_lex_accept_char(lex, '.')) { /* extension.name */
        size_t n = strlen(s->name);
        char part[SQL_NAME_BYTES];

        r = expect_name(lex, part, e);
        if (r == 0)
            (void) snprintf(s->name + n, sizeof s->name - n, ".%.60s", part);
    }
    return r;
}

static int
parse_set(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r;

    sql_lex_next(lex);
    if (sql_lex_accept(lex, "SESSION")) {
        if (sql_lex_accept(lex, "CHARACTERISTICS")) {
            s->kind = SQL_SET_CHARACTERISTICS;
            r = expect(lex, "AS", e);
            if (r == 0)
                r = expect(lex, "TRANSACTION", e);
            return r < 0 ? r : parse_modes(lex, s, e);
        }
        if (sql_lex_is(lex, "AUTHORIZATION")) {
            s->kind = SQL_REFUSED;
            (void) snprintf(s->tag, sizeof s->tag, "SET SESSION AUTHORIZATION");
            return 0;
        }
    } else {
        s->is_local = sql_lex_accept(lex, "LOCAL");
    }
    if (sql_lex_accept(lex, "TRANSACTION")) {
        s->kind = SQL_SET_TRANSACTION;
        if (sql_lex_is(lex, "SNAPSHOT")) {
            s->kind = SQL_REFUSED;
            (void) snprintf(s->tag, sizeof s->tag, "SET TRANSACTION SNAPSHOT");
            return 0;
        }
        return lex->tok.kind == SQL_TOKEN_END ? syntax_error(lex, e) : parse_modes(lex, s, e);
    }
    if (sql_lex_accept(lex, "TIME")) {
        (void) snprintf(s->name, sizeof s->name, "timezone");
        r = expect(lex, "ZONE", e);
        if (r == 0 && sql_lex_accept(lex, "LOCAL"))
            return expect_end(lex, e);
        return r < 0 ? r : parse_value_or_default(lex, s, e);
    }
    if (sql_lex_accept(lex, "NAMES")) {
        (void) snprintf(s->name, sizeof s->name, "client_encoding");
        return parse_value_or_default(lex, s, e);
    }
    if (sql_lex_accept(lex, "ROLE")) {
        s->kind = SQL_REFUSED;
        (void) snprintf(s->tag, sizeof s->tag, "SET ROLE");
        return 0;
    }
    r = parse_setting_name(lex, s, e);
    if (r == 0 && !sql_lex_accept(lex, "TO") && !sql_lex_accept_char(lex, '='))
        r = syntax_error(lex, e);
    return r < 0 ? r : parse_value_or_default(lex, s, e);
}

/* SHOW and RESET. */
static int
parse_show(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r = 0;

    sql_lex_next(lex);
    if (sql_lex_accept(lex, "ALL")) {
        s->name[0] = '\0';
    } else if (sql_lex_accept(lex, "TRANSACTION")) {
        (void) snprintf(s->name, sizeof s->name, "transaction_isolation");
        r = expect(lex, "ISOLATION", e);
        if (r == 0)
            r = expect(lex, "LEVEL", e);
    } else if (sql_lex_accept(lex, "TIME")) {
        (void) snprintf(s->name, sizeof s->name, "timezone");
        r = expect(lex, "ZONE", e);
    } else if (sql_lex_accept(lex, "SESSION")) {
        (void) snprintf(s->name, sizeof s->name, "session_authorization");
        r = expect(lex, "AUTHORIZATION", e);
    } else {
        r = parse_setting_name(lex, s, e);
    }
    return r < 0 ? r : expect_end(lex, e);
}

/* ALTER SYSTEM SET name = value | TO DEFAULT, RESET name | ALL. */
static int
parse_alter_system(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r;

    sql_lex_next(lex);
    sql_lex_next(lex);
    if (sql_lex_accept(lex, "RESET")) {
        r = sql_lex_accept(lex, "ALL") ? 0 : parse_setting_name(lex, s, e);
        return r < 0 ? r : expect_end(lex, e);
    }
    r = expect(lex, "SET", e);
    if (r == 0)
        r = parse_setting_name(lex, s, e);
    if (r == 0 && !sql_lex_accept(lex, "TO") && !sql_lex_accept_char(lex, '='))
        r = syntax_error(lex, e);
    return r < 0 ? r : parse_value_or_default(lex, s, e);
}

static int
parse_discard(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    sql_lex_next(lex);
    if (sql_lex_accept(lex, "PLANS"))
        s->kind = SQL_NOTHING;
    else if (!sql_lex_accept(lex, "ALL"))
        s->kind = SQL_REFUSED;
    if (s->kind == SQL_NOTHING)
        (void) snprintf(s->tag, sizeof s->tag, "DISCARD PLANS");
    if (s->kind == SQL_REFUSED) {
        (void) snprintf(s->tag, sizeof s->tag, "this form of DISCARD");
        return 0;
    }
    return expect_end(lex, e);
}

static int
parse_deallocate(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r;

    sql_lex_next(lex);
    (void) sql_lex_accept(lex, "PREPARE");
    if (sql_lex_accept(lex, "ALL")) {
        (void) snprintf(s->tag, sizeof s->tag, "DEALLOCATE ALL");
        return expect_end(lex, e);
    }
    r = expect_name(lex, s->name, e);
    return r < 0 ? r : expect_end(lex, e);
}

/* What closes or forgets what there cannot be: CLOSE name | ALL, UNLISTEN name | *. A cursor's name
 * is kept: it does not exist. */
static int
parse_nothing(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    bool is_close = sql_lex_is(lex, "CLOSE");
    char channel[SQL_NAME_BYTES];
    int r = 0;

    sql_lex_next(lex);
    if (!(is_close ? sql_lex_accept(lex, "ALL") : sql_lex_accept_char(lex, '*')))
        r = expect_name(lex, is_close ? s->name : channel, e);
    return r < 0 ? r : expect_end(lex, e);
}

/* ---- databases ---- */

/* One option of CREATE DATABASE; only those that say what is the case anyway are taken. */
static int
parse_create_option(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    char option[SQL_NAME_BYTES];
    char value[SQL_NAME_BYTES];
    bool taken;
    int r = expect_name(lex, option, e);

    if (r < 0)
        return r;
    (void) sql_lex_accept_char(lex, '=');
    if (lex->tok.kind == SQL_TOKEN_NUMBER)
        (void) snprintf(value, sizeof value, "%.*s", (int) MIN(lex->tok.n, 40),
                        lex->text + lex->tok.at);
    else if (!sql_lex_name(lex, value, sizeof value))
        return syntax_error(lex, e);
    sql_lex_next(lex);
    if (strcmp(option, "owner") == 0) {
        (void) snprintf(s->owner, sizeof s->owner, "%s", value);
        return 0;
    }
    taken = ((strcmp(option, "encoding") == 0 &&
              (strcasecmp(value, "UTF8") == 0 || strcasecmp(value, "UTF-8") == 0)) ||
             ((strcmp(option, "lc_collate") == 0 || strcmp(option, "lc_ctype") == 0 ||
               strcmp(option, "locale") == 0) &&
              (strcmp(value, "C") == 0 || strcmp(value, "POSIX") == 0)) ||
             (strcmp(option, "template") == 0 &&
              (strcmp(value, "template0") == 0 || strcmp(value, "template1") == 0)) ||
             strcmp(value, "default") == 0);
    if (!taken)
        return ERR(e, FEATURE_NOT_SUPPORTED, "CREATE DATABASE with %s \"%s\" is not supported",
                   option, value);
    return 0;
}

static int
parse_create_db(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r;

    sql_lex_next(lex);
    sql_lex_next(lex);
    r = expect_name(lex, s->name, e);
    (void) sql_lex_accept(lex, "WITH");
    while (r == 0 && lex->tok.kind != SQL_TOKEN_END)
        r = parse_create_option(lex, s, e);
    return r;
}

static int
parse_drop_db(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    int r;

    sql_lex_next(lex);
    sql_lex_next(lex);
    if (sql_lex_accept(lex, "IF")) {
        s->if_exists = true;
        r = expect(lex, "EXISTS", e);
        if (r < 0)
            return r;
    }
    r = expect_name(lex, s->name, e);
    if (r == 0 && (sql_lex_accept(lex, "WITH") || sql_lex_is_char(lex, '('))) {
        if (!sql_lex_accept_char(lex, '('))
            return syntax_error(lex, e);
        r = expect(lex, "FORCE", e);
        if (r == 0 && !sql_lex_accept_char(lex, ')'))
            r = syntax_error(lex, e);
        s->force = true;
    }
    return r < 0 ? r : expect_end(lex, e);
}

/* ---- VACUUM ---- */

/* TRUE, ON, 1 and the like behind an option; nothing is TRUE. */
static int
parse_option_value(struct sql_lex *lex, bool *ret, struct err *e)
{
    static const char *const words[][2] = { { "TRUE", "FALSE" }, { "ON", "OFF" } };

    *ret = true;
    if (sql_lex_is_char(lex, ',') || sql_lex_is_char(lex, ')'))
        return 0;
    for (size_t i = 0; i < ELEMENTSOF(words); i++) {
        if (sql_lex_accept(lex, words[i][0]))
            return 0;
        *ret = !sql_lex_accept(lex, words[i][1]);
        if (!*ret)
            return 0;
    }
    if (lex->tok.kind != SQL_TOKEN_NUMBER || lex->tok.n != 1 ||
        strchr("01", lex->text[lex->tok.at]) == NULL)
        return syntax_error(lex, e);
    *ret = lex->text[lex->tok.at] == '1';
    sql_lex_next(lex);
    return 0;
}

/* FREEZE asks for what is always so: rows carry no transaction ids. */
static bool *
vacuum_option(struct sql_lex *lex, struct sql_stmt *s, bool *frozen)
{
    if (sql_lex_accept(lex, "FULL"))
        return &s->vacuum_full;
    if (sql_lex_accept(lex, "VERBOSE"))
        return &s->vacuum_verbose;
    if (sql_lex_accept(lex, "ANALYZE") || sql_lex_accept(lex, "ANALYSE"))
        return &s->vacuum_analyze;
    return sql_lex_accept(lex, "FREEZE") ? frozen : NULL;
}

static int
parse_vacuum_list(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    bool frozen;
    int r = 0;

    do {
        struct sql_token tok = lex->tok;
        bool *option = vacuum_option(lex, s, &frozen);

        if (option == NULL && tok.kind == SQL_TOKEN_WORD)
            return ERR(e, FEATURE_NOT_SUPPORTED, "VACUUM option \"%.*s\" is not supported",
                       (int) MIN(tok.n, 40), lex->text + tok.at);
        r = option != NULL ? parse_option_value(lex, option, e) : syntax_error(lex, e);
    } while (r == 0 && sql_lex_accept_char(lex, ','));
    if (r == 0 && !sql_lex_accept_char(lex, ')'))
        r = syntax_error(lex, e);
    return r;
}

static int
parse_vacuum(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    bool frozen;
    bool *option;
    int r = 0;

    sql_lex_next(lex);
    if (sql_lex_accept_char(lex, '('))
        r = parse_vacuum_list(lex, s, e);
    else
        while ((option = vacuum_option(lex, s, &frozen)) != NULL)
            *option = true;
    if (r == 0 && lex->tok.kind != SQL_TOKEN_END && !sql_lex_is(lex, "INTO"))
        r = expect_name(lex, s->name, e);
    if (r == 0 && sql_lex_is(lex, "INTO")) {
        s->kind = SQL_REFUSED;
        (void) snprintf(s->tag, sizeof s->tag, "VACUUM INTO");
        return 0;
    }
    if (r == 0 && (sql_lex_is_char(lex, ',') || sql_lex_is_char(lex, '(')))
        return ERR(e, FEATURE_NOT_SUPPORTED,
                   "VACUUM of several tables, or of columns, is not supported");
    return r < 0 ? r : expect_end(lex, e);
}

int
sql_command_parse(struct sql_lex *lex, struct sql_stmt *s, struct err *e)
{
    switch (s->kind) {
    case SQL_BEGIN:
        return parse_begin(lex, s, e);
    case SQL_COMMIT:
    case SQL_ROLLBACK:
    case SQL_ROLLBACK_TO:
        return parse_end(lex, s, e);
    case SQL_SAVEPOINT:
    case SQL_RELEASE:
        return parse_savepoint(lex, s, e);
    case SQL_SET:
    case SQL_SET_TRANSACTION:
    case SQL_SET_CHARACTERISTICS:
        return parse_set(lex, s, e);
    case SQL_SHOW:
    case SQL_RESET:
        return parse_show(lex, s, e);
    case SQL_ALTER_SYSTEM:
        return parse_alter_system(lex, s, e);
    case SQL_DISCARD:
        return parse_discard(lex, s, e);
    case SQL_DEALLOCATE:
        return parse_deallocate(lex, s, e);
    case SQL_CREATE_DB:
        return parse_create_db(lex, s, e);
    case SQL_DROP_DB:
        return parse_drop_db(lex, s, e);
    case SQL_CHECKPOINT:
        sql_lex_next(lex);
        return expect_end(lex, e);
    case SQL_VACUUM:
        return parse_vacuum(lex, s, e);
    case SQL_NOTHING:
        return parse_nothing(lex, s, e);
    case SQL_EMPTY:
    case SQL_QUERY:
    case SQL_REFUSED:
        return 0;
    }
    return 0;
}
