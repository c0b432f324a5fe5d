/* Statements of a query string: boundaries, kinds, tags, and the few words that SQLite spells
 * otherwise. Pure. Source: wal-format 6.7 (tags, several statements); sqlite3_complete() for where
 * a trigger ends. */
#include "sql/sql_stmt.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sql/sql_command.h"

struct lead_row {
    const char *word;
    enum sql_kind kind;
    const char *tag; /* of a query; NULL: worked out */
    bool counts;
};

/* By the first word. */
static const struct lead_row lead_rows[] = {
    { "SELECT", SQL_QUERY, "SELECT", true },
    { "VALUES", SQL_QUERY, "SELECT", true },
    { "INSERT", SQL_QUERY, "INSERT", true },
    { "REPLACE", SQL_QUERY, "INSERT", true },
    { "UPDATE", SQL_QUERY, "UPDATE", true },
    { "DELETE", SQL_QUERY, "DELETE", true },
    { "WITH", SQL_QUERY, NULL, true },
    { "CREATE", SQL_QUERY, NULL, false },
    { "DROP", SQL_QUERY, NULL, false },
    { "ALTER", SQL_QUERY, NULL, false },
    { "EXPLAIN", SQL_QUERY, "EXPLAIN", false },
    { "ANALYZE", SQL_QUERY, "ANALYZE", false },
    { "REINDEX", SQL_QUERY, "REINDEX", false },
    { "PRAGMA", SQL_QUERY, "PRAGMA", false },
    { "BEGIN", SQL_BEGIN, "BEGIN", false },
    { "START", SQL_BEGIN, "START TRANSACTION", false },
    { "COMMIT", SQL_COMMIT, "COMMIT", false },
    { "END", SQL_COMMIT, "COMMIT", false },
    { "ROLLBACK", SQL_ROLLBACK, "ROLLBACK", false },
    { "ABORT", SQL_ROLLBACK, "ROLLBACK", false },
    { "SAVEPOINT", SQL_SAVEPOINT, "SAVEPOINT", false },
    { "RELEASE", SQL_RELEASE, "RELEASE", false },
    { "SET", SQL_SET, "SET", false },
    { "SHOW", SQL_SHOW, "SHOW", false },
    { "RESET", SQL_RESET, "RESET", false },
    { "DISCARD", SQL_DISCARD, "DISCARD ALL", false },
    { "CHECKPOINT", SQL_CHECKPOINT, "CHECKPOINT", false },
    { "DEALLOCATE", SQL_DEALLOCATE, "DEALLOCATE", false },
    { "CLOSE", SQL_NOTHING, "CLOSE CURSOR ALL", false },
    { "UNLISTEN", SQL_NOTHING, "UNLISTEN", false },
    { "ATTACH", SQL_REFUSED, "ATTACH", false },
    { "DETACH", SQL_REFUSED, "DETACH", false },
    { "VACUUM", SQL_VACUUM, "VACUUM", false },
    { "COPY", SQL_REFUSED, "COPY", false },
    { "LISTEN", SQL_REFUSED, "LISTEN", false },
    { "NOTIFY", SQL_REFUSED, "NOTIFY", false },
    { "LOCK", SQL_REFUSED, "LOCK TABLE", false },
    { "GRANT", SQL_REFUSED, "GRANT", false },
    { "REVOKE", SQL_REFUSED, "REVOKE", false },
    { "DECLARE", SQL_REFUSED, "DECLARE CURSOR", false },
    { "FETCH", SQL_REFUSED, "FETCH", false },
    { "MOVE", SQL_REFUSED, "MOVE", false },
    { "PREPARE", SQL_REFUSED, "PREPARE", false },
    { "EXECUTE", SQL_REFUSED, "EXECUTE", false },
    { "TRUNCATE", SQL_REFUSED, "TRUNCATE TABLE", false },
    { "CLUSTER", SQL_REFUSED, "CLUSTER", false },
    { "COMMENT", SQL_REFUSED, "COMMENT", false },
    { "DO", SQL_REFUSED, "DO", false },
    { "CALL", SQL_REFUSED, "CALL", false },
    { "MERGE", SQL_REFUSED, "MERGE", false },
};

/* ---- where it ends ---- */

/* CREATE [TEMP | TEMPORARY] TRIGGER: its body has semicolons. */
static bool
starts_trigger(struct sql_lex lex)
{
    if (sql_lex_accept(&lex, "EXPLAIN") && sql_lex_accept(&lex, "QUERY"))
        (void) sql_lex_accept(&lex, "PLAN");
    if (!sql_lex_accept(&lex, "CREATE"))
        return false;
    if (!sql_lex_accept(&lex, "TEMP"))
        (void) sql_lex_accept(&lex, "TEMPORARY");
    return sql_lex_is(&lex, "TRIGGER");
}

/* *ret_end: behind the last token; returns where the next statement starts. */
static size_t
find_end(struct sql_lex lex, size_t *ret_end)
{
    bool in_trigger = starts_trigger(lex);
    bool after_semi = false, after_end = false;

    *ret_end = lex.tok.at;
    while (lex.tok.kind != SQL_TOKEN_END) {
        if (lex.tok.kind == SQL_TOKEN_SEMI && (!in_trigger || after_end))
            return lex.pos;
        after_end = after_semi && sql_lex_is(&lex, "END");
        after_semi = lex.tok.kind == SQL_TOKEN_SEMI;
        *ret_end = lex.pos;
        sql_lex_next(&lex);
    }
    return lex.n;
}

/* ---- tags ---- */

/* The verb of WITH …: the first of these words outside parentheses. */
static void
tag_with(struct sql_lex lex, struct sql_stmt *s)
{
    int depth = 0;

    while (lex.tok.kind != SQL_TOKEN_END) {
        if (sql_lex_is_char(&lex, '('))
            depth++;
        if (sql_lex_is_char(&lex, ')'))
            depth--;
        for (size_t i = 0; depth == 0 && i < 6; i++) { /* SELECT … DELETE */
            if (sql_lex_is(&lex, lead_rows[i].word)) {
                (void) snprintf(s->tag, sizeof s->tag, "%s", lead_rows[i].tag);
                return;
            }
        }
        sql_lex_next(&lex);
    }
    (void) snprintf(s->tag, sizeof s->tag, "SELECT");
}

/* CREATE, DROP, ALTER: the verb and the kind of thing. */
static void
tag_ddl(struct sql_lex lex, struct sql_stmt *s)
{
    char verb[16] = "";
    char thing[32] = "";
    size_t n = 0;

    (void) sql_lex_name(&lex, verb, sizeof verb);
    do {
        sql_lex_next(&lex);
    } while (sql_lex_is(&lex, "TEMP") || sql_lex_is(&lex, "TEMPORARY") ||
             sql_lex_is(&lex, "UNIQUE") || sql_lex_is(&lex, "VIRTUAL") || sql_lex_is(&lex, "OR") ||
             sql_lex_is(&lex, "REPLACE"));
    (void) sql_lex_name(&lex, thing, sizeof thing);
    (void) snprintf(s->tag, sizeof s->tag, "%s %s", verb, thing);
    for (n = 0; s->tag[n] != '\0'; n++)
        s->tag[n] = (char) (s->tag[n] >= 'a' && s->tag[n] <= 'z' ? s->tag[n] - 32 : s->tag[n]);
}

/* CREATE and DROP of things that SQLite does not have. */
static enum sql_kind
kind_ddl(struct sql_lex lex)
{
    static const char *const not_here[] = {
        "ROLE",         "USER",        "SCHEMA",     "EXTENSION", "FUNCTION",
        "SEQUENCE",     "TYPE",        "DOMAIN",     "OPERATOR",  "PROCEDURE",
        "SUBSCRIPTION", "PUBLICATION", "TABLESPACE", "SYSTEM",    "MATERIALIZED",
        "DEFAULT",      "UNLOGGED",    "POLICY",     "RULE",      "AGGREGATE"
    };
    bool is_create = sql_lex_is(&lex, "CREATE");
    bool is_drop = sql_lex_is(&lex, "DROP");
    bool is_alter = sql_lex_is(&lex, "ALTER");

    sql_lex_next(&lex);
    if (sql_lex_is(&lex, "DATABASE"))
        return is_create ? SQL_CREATE_DB : is_drop ? SQL_DROP_DB : SQL_REFUSED;
    if (is_alter && sql_lex_is(&lex, "SYSTEM"))
        return SQL_ALTER_SYSTEM;
    for (size_t i = 0; i < ELEMENTSOF(not_here); i++) {
        if (sql_lex_is(&lex, not_here[i]))
            return SQL_REFUSED;
    }
    return SQL_QUERY;
}

static void
classify(struct sql_lex lex, struct sql_stmt *s)
{
    const struct lead_row *row = NULL;

    while (sql_lex_is_char(&lex, '('))
        sql_lex_next(&lex);
    for (size_t i = 0; i < ELEMENTSOF(lead_rows) && row == NULL; i++) {
        if (sql_lex_is(&lex, lead_rows[i].word))
            row = &lead_rows[i];
    }
    if (row == NULL) { /* SQLite will say what is wrong */
        s->kind = SQL_QUERY;
        return;
    }
    s->kind = row->kind;
    s->tag_counts = row->counts;
    s->is_explain = strcmp(row->word, "EXPLAIN") == 0;
    if (row->tag != NULL)
        (void) snprintf(s->tag, sizeof s->tag, "%s", row->tag);
    else if (strcmp(row->word, "WITH") == 0)
        tag_with(lex, s);
    else {
        tag_ddl(lex, s);
        s->kind = kind_ddl(lex);
    }
}

int
sql_stmt_parse(const char *text, size_t n, size_t pos, struct sql_stmt *ret, size_t *ret_next,
               struct err *e)
{
    struct sql_lex lex = sql_lex_start(text, n, pos);
    size_t end;
    int r;

    while (lex.tok.kind == SQL_TOKEN_SEMI)
        sql_lex_next(&lex);
    *ret = (struct sql_stmt){ .text = text + lex.tok.at,
                              .at = lex.tok.at,
                              .isolation = SQL_ISOLATION_UNSAID,
                              .read_only = -1,
                              .deferrable = -1 };
    *ret_next = find_end(lex, &end);
    ret->n = end - lex.tok.at;
    if (ret->n == 0)
        return 0;
    classify(lex, ret);
    /* From here on the lexer sees this statement only. */
    lex = sql_lex_start(ret->text, ret->n, 0);
    r = sql_command_parse(&lex, ret, e);
    if (r == -ERR_SYNTAX_ERROR && e != NULL && e->position == 0)
        e->position = sql_char_position(text, n, ret->at + lex.tok.at);
    return r;
}

void
sql_stmt_done(struct sql_stmt *s)
{
    free(s->value);
    s->value = NULL;
}

bool
sql_is_blank(const char *text, size_t n, size_t pos)
{
    struct sql_lex lex = sql_lex_start(text, n, pos);

    while (lex.tok.kind == SQL_TOKEN_SEMI)
        sql_lex_next(&lex);
    return lex.tok.kind == SQL_TOKEN_END;
}

/* ---- spellings ---- */

static bool
is_called_without_parentheses(const struct sql_lex *lex)
{
    return sql_lex_is(lex, "CURRENT_USER") || sql_lex_is(lex, "SESSION_USER") ||
           sql_lex_is(lex, "CURRENT_ROLE") || sql_lex_is(lex, "CURRENT_CATALOG") ||
           sql_lex_is(lex, "LOCALTIMESTAMP");
}

static bool
has_many_params(const char *text, size_t n)
{
    const char *end = text + n;
    uint32_t k = 0;

    while (k <= SQL_PARAMS_BY_NAME && (text = memchr(text, '$', (size_t) (end - text))) != NULL) {
        text++;
        k++;
    }
    return k > SQL_PARAMS_BY_NAME;
}

/* The number in "$1" to "$65535" with nothing behind it that SQLite takes for a part of the name;
 * or 0. */
static uint32_t
param_number(const struct sql_lex *lex)
{
    const char *p = lex->text + lex->tok.at;
    char next = lex->pos < lex->n ? lex->text[lex->pos] : ' ';
    uint32_t number = 0;

    if (p[0] != '$' || lex->tok.n > 6 || p[1] == '0' || next == ':' || next == '(')
        return 0;
    for (size_t i = 1; i < lex->tok.n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return 0;
        number = number * 10 + (uint32_t) (p[i] - '0');
    }
    return number <= 65535 ? number : 0;
}

/* Text before *from is copied; *last is the greatest parameter so far. Of many, one loses its name:
 * "?" is the next one, "?7" any other. */
static void
rewrite_param(struct sql_rewrite *ret, const struct sql_lex *lex, size_t *from, uint32_t *last)
{
    const struct sql_token *tok = &lex->tok;
    uint32_t number = param_number(lex);

    if (number == 0)
        ret->is_numbered = false;
    if (!ret->is_numbered)
        return;
    memcpy(ret->text + ret->n, lex->text + *from, tok->at + tok->n - *from);
    ret->n += tok->at + tok->n - *from;
    ret->text[ret->n - tok->n] = '?';
    if (number == *last + 1)
        memset(ret->text + ret->n - tok->n + 1, ' ', tok->n - 1);
    *last = MAX(*last, number);
    *from = tok->at + tok->n;
}

int
sql_rewrite(const char *text, size_t n, struct sql_rewrite *ret, struct err *e)
{
    struct sql_lex lex = sql_lex_start(text, n, 0);
    size_t from = 0; /* text before this is copied */
    bool after_dot = false;
    uint32_t last = 0; /* the greatest parameter so far */

    *ret = (struct sql_rewrite){ .text = malloc(n + 2 * ELEMENTSOF(ret->added) + 1),
                                 .is_numbered = has_many_params(text, n) };
    if (ret->text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    while (lex.tok.kind != SQL_TOKEN_END) {
        struct sql_token tok = lex.tok;
        bool prefix = !after_dot && sql_lex_is(&lex, "PG_CATALOG");
        bool call = !after_dot && is_called_without_parentheses(&lex);

        if (tok.kind == SQL_TOKEN_PARAM)
            rewrite_param(ret, &lex, &from, &last);
        sql_lex_next(&lex);
        after_dot = tok.n == 1 && text[tok.at] == '.';
        if (prefix && sql_lex_is_char(&lex, '.')) {
            memcpy(ret->text + ret->n, text + from, tok.at - from);
            ret->n += tok.at - from;
            memset(ret->text + ret->n, ' ', lex.pos - tok.at);
            ret->n += lex.pos - tok.at;
            from = lex.pos;
            sql_lex_next(&lex);
        } else if (call && !sql_lex_is_char(&lex, '(') && !sql_lex_is_char(&lex, '.') &&
                   ret->n_added < ELEMENTSOF(ret->added)) {
            size_t end = tok.at + tok.n;

            memcpy(ret->text + ret->n, text + from, end - from);
            ret->n += end - from;
            ret->added[ret->n_added++] = ret->n;
            memcpy(ret->text + ret->n, "()", 2);
            ret->n += 2;
            from = end;
        }
    }
    memcpy(ret->text + ret->n, text + from, n - from);
    ret->n += n - from;
    ret->text[ret->n] = '\0';
    return 0;
}

void
sql_rewrite_done(struct sql_rewrite *r)
{
    free(r->text);
    r->text = NULL;
}

size_t
sql_rewrite_at(const struct sql_rewrite *r, size_t at)
{
    size_t less = 0;

    for (size_t i = 0; i < r->n_added && r->added[i] < at; i++)
        less += 2;
    return at - less;
}

/* ---- classes ---- */
static enum sql_class
class_of(const struct sql_stmt *s)
{
    static const struct {
        const char *word;
        enum sql_class class;
    } rows[] = {
        { "CREATE", SQL_CLASS_DEFINE },   { "ALTER", SQL_CLASS_DEFINE },
        { "DROP", SQL_CLASS_DEFINE },     { "REINDEX", SQL_CLASS_DEFINE },
        { "INSERT", SQL_CLASS_CHANGE },   { "UPDATE", SQL_CLASS_CHANGE },
        { "DELETE", SQL_CLASS_CHANGE },   { "REPLACE", SQL_CLASS_CHANGE },
        { "TRUNCATE", SQL_CLASS_CHANGE }, { "COPY", SQL_CLASS_CHANGE },
    };

    if (s->kind == SQL_CREATE_DB || s->kind == SQL_DROP_DB)
        return SQL_CLASS_DEFINE;
    for (size_t i = 0; s->kind == SQL_QUERY && !s->is_explain && i < ELEMENTSOF(rows); i++)
        if (strncmp(s->tag, rows[i].word, strlen(rows[i].word)) == 0)
            return rows[i].class;
    return SQL_CLASS_OTHER;
}

enum sql_class
sql_stmt_class(const char *text, size_t n)
{
    enum sql_class most = SQL_CLASS_OTHER;

    for (size_t at = 0; at < n && most != SQL_CLASS_DEFINE;) {
        struct sql_stmt s;
        size_t next = n;
        bool is_end;

        if (sql_stmt_parse(text, n, at, &s, &next, NULL) < 0)
            break;
        is_end = s.kind == SQL_EMPTY || next <= at;
        most = MAX(most, class_of(&s));
        sql_stmt_done(&s);
        if (is_end)
            break;
        at = next;
    }
    return most;
}
