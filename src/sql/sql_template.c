/* Statements without their literals. Pure. Source: PostgreSQL's pg_stat_statements for the idea of
 * a normal form; SQLite's where.c, wherecode.c and expr.c for what a literal means to a plan. */
#include "sql/sql_template.h"

#include <string.h>

#include "sql/sql_lex.h"

/* Where a literal may stand that a parameter can replace. */
enum place {
    NOWHERE, /* names of results, positions (ORDER BY 2), limits, conflict targets */
    VALUE,   /* SET, VALUES: no plan depends on it */
    TEST,    /* WHERE: only what a column is compared with; an index may be on the rest */
};

enum verb {
    VERB_NONE,
    VERB_SELECT,
    VERB_INSERT,
    VERB_UPDATE,
    VERB_DELETE,
};

struct reader {
    struct sql_lex lex;
    struct sql_template *t;
    size_t copied; /* text before this is in the key */
    enum verb verb;
    enum place place;
    bool is_closed; /* no literal is taken any more */
    bool in_between;
    int depth;
    char prev;    /* the token before, if it is one character; 'B': BETWEEN, 'A': its AND */
    char before;  /* the same for the one before that */
    bool is_glue; /* prev is the second half of an operator that compares nothing: -> >> << */
};

static enum verb
verb_of(const struct sql_lex *lex)
{
    return sql_lex_is(lex, "SELECT")   ? VERB_SELECT
           : sql_lex_is(lex, "INSERT") ? VERB_INSERT
           : sql_lex_is(lex, "UPDATE") ? VERB_UPDATE
           : sql_lex_is(lex, "DELETE") ? VERB_DELETE
                                       : VERB_NONE;
}

/* A word outside parentheses says what comes. */
static void
note_clause(struct reader *r)
{
    static const char *const ends[] = { "FROM",   "ON",        "ORDER",  "GROUP",
                                        "HAVING", "RETURNING", "WINDOW", "LIMIT" };
    const struct sql_lex *lex = &r->lex;

    if (sql_lex_is(lex, "WHERE"))
        r->place = TEST;
    else if (sql_lex_is(lex, "SET") && r->verb == VERB_UPDATE)
        r->place = VALUE;
    else if (sql_lex_is(lex, "VALUES"))
        r->place = VALUE;
    for (size_t i = 0; i < ELEMENTSOF(ends); i++) {
        if (sql_lex_is(lex, ends[i])) {
            r->place = NOWHERE;
            r->is_closed = r->is_closed || i > 1 || (i == 1 && r->verb == VERB_INSERT);
        }
    }
}

/* Returns false if the statement cannot be shared. */
static bool
read_word(struct reader *r)
{
    const struct sql_lex *lex = &r->lex;
    size_t n = lex->tok.n;

    r->before = r->prev;
    r->prev = 0;
    if (n < 2 || n > 9) /* no keyword that matters */
        return true;
    if (sql_lex_is(lex, "SELECT") || sql_lex_is(lex, "WITH") ||
        (r->verb != VERB_INSERT && sql_lex_is(lex, "VALUES")))
        return false; /* a query in the query */
    if (r->depth == 0)
        note_clause(r);
    if (sql_lex_is(lex, "BETWEEN")) {
        r->in_between = true;
        r->prev = 'B';
    } else if (r->in_between && sql_lex_is(lex, "AND")) {
        r->in_between = false;
        r->prev = 'A';
    }
    return true;
}

static void
read_char(struct reader *r)
{
    const struct sql_lex *lex = &r->lex;
    char c = lex->text[lex->tok.at];
    char left = lex->tok.at > 0 ? lex->text[lex->tok.at - 1] : ' ';

    if (c == '(')
        r->depth++;
    if (c == ')')
        r->depth--;
    r->is_glue = (c == '>' && (left == '-' || left == '>')) || (c == '<' && left == '<');
    r->before = r->prev;
    r->prev = c;
}

static bool
is_comparison(char c)
{
    return c == '=' || c == '<' || c == '>' || c == 'B' || c == 'A';
}

/* Does what stands before allow a literal to be taken? */
static bool
is_operand(const struct reader *r, bool is_text)
{
    if (r->is_closed || r->place == NOWHERE || r->prev == 0 || r->is_glue)
        return false;
    if (r->place == VALUE)
        return strchr(is_text ? "=(," : "=(,+-*/%", r->prev) != NULL;
    return is_comparison(r->prev) || (r->prev == '-' && !is_text && is_comparison(r->before));
}

static bool
is_plain_number(const struct reader *r)
{
    const char *p = r->lex.text + r->lex.tok.at;
    size_t n = r->lex.tok.n;

    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
    }
    /* 19 digits may not fit; 0 and 1 in a test have an estimate of their own
     * (whereLoopOutputAdjust)
     */
    return n <= 18 && (n == 1 || p[0] != '0') && (r->place == VALUE || n > 1 || p[0] > '1');
}

static bool
is_plain_string(const struct reader *r)
{
    const char *p = r->lex.text + r->lex.tok.at;
    size_t n = r->lex.tok.n;
    unsigned char next = r->lex.pos < r->lex.n ? (unsigned char) p[n] : ' ';

    return memchr(p + 1, '\'', n - 2) == NULL && next != '\'' && next != '_' && next < 0x80 &&
           (next < '0' || (next > '9' && next < 'A') || (next > 'Z' && next < 'a') || next > 'z');
}

static bool
copy_to(struct reader *r, size_t at)
{
    struct sql_template *t = r->t;
    size_t n = at - r->copied;

    if (n + 2 > sizeof t->key - t->n) /* and a "?" and the NUL */
        return false;
    memcpy(t->key + t->n, r->lex.text + r->copied, n);
    t->n += n;
    return true;
}

/* The current token becomes a parameter. */
static bool
take(struct reader *r, bool is_text)
{
    struct sql_template *t = r->t;

    if (t->n_literals == SQL_TEMPLATE_LITERALS || !copy_to(r, r->lex.tok.at))
        return false;
    t->key[t->n++] = '?';
    t->literals[t->n_literals++] = (struct sql_literal){ .at = r->lex.tok.at + is_text,
                                                         .n = r->lex.tok.n - (is_text ? 2 : 0),
                                                         .is_text = is_text };
    r->copied = r->lex.pos;
    return true;
}

static bool
read_literal(struct reader *r)
{
    bool is_text = r->lex.tok.kind == SQL_TOKEN_STRING;
    bool ok = true;

    if (is_operand(r, is_text) && (is_text ? is_plain_string(r) : is_plain_number(r)))
        ok = take(r, is_text);
    r->before = r->prev;
    r->prev = 0;
    return ok;
}

static bool
read_token(struct reader *r)
{
    switch (r->lex.tok.kind) {
    case SQL_TOKEN_WORD:
        return read_word(r);
    case SQL_TOKEN_STRING:
    case SQL_TOKEN_NUMBER:
        return read_literal(r);
    case SQL_TOKEN_OTHER:
        read_char(r);
        return true;
    case SQL_TOKEN_QUOTED:
        r->before = r->prev;
        r->prev = 0;
        return true;
    case SQL_TOKEN_PARAM:
    case SQL_TOKEN_BAD:
    case SQL_TOKEN_END:
    case SQL_TOKEN_SEMI:
        break;
    }
    return false;
}

bool
sql_template(const char *text, size_t n, size_t pos, struct sql_template *ret)
{
    struct reader r = { .lex = sql_lex_start(text, n, pos), .t = ret };

    while (r.lex.tok.kind == SQL_TOKEN_SEMI)
        sql_lex_next(&r.lex);
    r.verb = verb_of(&r.lex);
    if (r.verb == VERB_NONE)
        return false;
    ret->at = r.copied = r.lex.tok.at;
    ret->n = ret->n_literals = 0;
    do {
        ret->end = r.lex.pos;
        sql_lex_next(&r.lex);
        if (r.lex.tok.kind == SQL_TOKEN_END || r.lex.tok.kind == SQL_TOKEN_SEMI)
            break;
    } while (read_token(&r));
    if ((r.lex.tok.kind != SQL_TOKEN_END && r.lex.tok.kind != SQL_TOKEN_SEMI) ||
        !copy_to(&r, ret->end))
        return false;
    ret->key[ret->n] = '\0';
    ret->next = r.lex.pos;
    return true;
}

int64_t
sql_literal_number(const char *text, const struct sql_literal *l)
{
    int64_t v = 0;

    for (size_t i = 0; i < l->n; i++)
        v = v * 10 + (text[l->at + i] - '0');
    return v;
}
