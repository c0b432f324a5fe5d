/* Words of SQL text. Pure. Source: SQLite's tokenize.c for what ends a word, PostgreSQL's rules for
 * folding names. */
#include "sql/sql_lex.h"

#include <string.h>
#include <strings.h>

#include "base/utf8.h"

enum {
    C_SPACE = 1,
    C_START = 2, /* of a word */
    C_DIGIT = 4,
    C_WORD = 8, /* in a word */
};

/* clang-format off */
static const uint8_t class_of[256] = {
    ['\t' ... '\r'] = C_SPACE,
    [' '] = C_SPACE,
    ['$'] = C_WORD,
    ['0' ... '9'] = C_DIGIT | C_WORD,
    ['A' ... 'Z'] = C_START | C_WORD,
    ['_'] = C_START | C_WORD,
    ['a' ... 'z'] = C_START | C_WORD,
    [0x80 ... 0xff] = C_START | C_WORD,
};
/* clang-format on */

static bool
is_class(char c, uint8_t class)
{
    return (class_of[(unsigned char) c] & class) != 0;
}

/* Behind the bytes of these classes. */
static void
skip_class(struct sql_lex *lex, uint8_t class)
{
    const char *text = lex->text;
    size_t pos = lex->pos;
    size_t n = lex->n;

    while (pos < n && is_class(text[pos], class))
        pos++;
    lex->pos = pos;
}

/* Behind white space and comments. False if a comment does not end (SQLite takes it to the end). */
static void
skip_space(struct sql_lex *lex)
{
    const char *t = lex->text;

    for (;;) {
        size_t left;

        skip_class(lex, C_SPACE);
        left = lex->n - lex->pos;
        if (left > 1 && t[lex->pos] == '-' && t[lex->pos + 1] == '-') {
            const char *nl = memchr(t + lex->pos, '\n', left);

            lex->pos = nl == NULL ? lex->n : (size_t) (nl - t) + 1;
        } else if (left > 1 && t[lex->pos] == '/' && t[lex->pos + 1] == '*') {
            const char *end = left > 2 ? memmem(t + lex->pos + 2, left - 2, "*/", 2) : NULL;

            lex->pos = end == NULL ? lex->n : (size_t) (end - t) + 2;
        } else {
            return;
        }
    }
}

/* From an opening quote to behind the closing one; a doubled quote stands for itself. */
static bool
skip_quoted(struct sql_lex *lex, char close)
{
    for (size_t i = lex->pos + 1; i < lex->n; i++) {
        if (lex->text[i] != close)
            continue;
        if (close != ']' && i + 1 < lex->n && lex->text[i + 1] == close) {
            i++;
            continue;
        }
        lex->pos = i + 1;
        return true;
    }
    lex->pos = lex->n;
    return false;
}

static enum sql_token_kind
skip_token(struct sql_lex *lex)
{
    unsigned char c = (unsigned char) lex->text[lex->pos];

    switch (c) {
    case '\'':
        return skip_quoted(lex, '\'') ? SQL_TOKEN_STRING : SQL_TOKEN_BAD;
    case '"':
    case '`':
        return skip_quoted(lex, (char) c) ? SQL_TOKEN_QUOTED : SQL_TOKEN_BAD;
    case '[':
        return skip_quoted(lex, ']') ? SQL_TOKEN_QUOTED : SQL_TOKEN_BAD;
    case ';':
        lex->pos++;
        return SQL_TOKEN_SEMI;
    default: /* not a list of ours */
        break;
    }
    if (is_class((char) c, C_START)) {
        skip_class(lex, C_WORD);
        return SQL_TOKEN_WORD;
    }
    if (is_class((char) c, C_DIGIT)) {
        while (lex->pos < lex->n &&
               (is_class(lex->text[lex->pos], C_WORD) || lex->text[lex->pos] == '.'))
            lex->pos++;
        return SQL_TOKEN_NUMBER;
    }
    lex->pos++;
    if (c == '$' || c == '?' || c == ':' || c == '@') {
        size_t from = lex->pos;

        skip_class(lex, C_WORD);
        return lex->pos > from || c == '?' ? SQL_TOKEN_PARAM : SQL_TOKEN_OTHER;
    }
    return SQL_TOKEN_OTHER;
}

void
sql_lex_next(struct sql_lex *lex)
{
    skip_space(lex);
    lex->tok.at = lex->pos;
    lex->tok.kind = lex->pos == lex->n ? SQL_TOKEN_END : skip_token(lex);
    lex->tok.n = lex->pos - lex->tok.at;
}

struct sql_lex
sql_lex_start(const char *text, size_t n, size_t pos)
{
    struct sql_lex lex = { .text = text, .n = n, .pos = pos };

    sql_lex_next(&lex);
    return lex;
}

bool
sql_lex_is_word(const struct sql_lex *lex, const char *word)
{
    return lex->tok.n == strlen(word) &&
           strncasecmp(lex->text + lex->tok.at, word, lex->tok.n) == 0;
}

bool
sql_lex_accept(struct sql_lex *lex, const char *word)
{
    if (!sql_lex_is(lex, word))
        return false;
    sql_lex_next(lex);
    return true;
}

bool
sql_lex_is_char(const struct sql_lex *lex, char c)
{
    return lex->tok.n == 1 && lex->text[lex->tok.at] == c;
}

bool
sql_lex_accept_char(struct sql_lex *lex, char c)
{
    if (!sql_lex_is_char(lex, c))
        return false;
    sql_lex_next(lex);
    return true;
}

bool
sql_lex_name(const struct sql_lex *lex, char *ret, size_t cap)
{
    const char *p = lex->text + lex->tok.at;
    size_t out = 0;
    size_t i;

    if (lex->tok.kind == SQL_TOKEN_WORD) {
        for (i = 0; i < lex->tok.n && out + 1 < cap; i++)
            ret[out++] = (char) (p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
    } else if (lex->tok.kind == SQL_TOKEN_QUOTED || lex->tok.kind == SQL_TOKEN_STRING) {
        for (i = 1; i + 1 < lex->tok.n && out + 1 < cap; i++) {
            ret[out++] = p[i];
            if (p[i] == p[0]) /* doubled */
                i++;
        }
    } else {
        return false;
    }
    if (i < lex->tok.n)
        out = utf8_whole(ret, out, p[i]);
    ret[out] = '\0';
    return true;
}

int
sql_char_position(const char *text, size_t n, size_t at)
{
    int pos = 1;

    for (size_t i = 0; i < at && i < n; i++) {
        if (((unsigned char) text[i] & 0xc0) != 0x80)
            pos++;
    }
    /* `at` inside a character cannot happen; at its first byte, pos counts those before it. */
    return pos;
}
