/* Words of SQL text: just enough to split a query string, to find the commands that are the
 * server's and not SQLite's, and to read their arguments. Pure. SQLite's lexical rules. */
#pragma once

#include "base/macro.h"

enum sql_token_kind {
    SQL_TOKEN_END,
    SQL_TOKEN_WORD,   /* keyword or plain identifier */
    SQL_TOKEN_QUOTED, /* "identifier", `identifier`, [identifier] */
    SQL_TOKEN_STRING, /* 'text' */
    SQL_TOKEN_NUMBER,
    SQL_TOKEN_PARAM, /* $1 ?2 :name @name */
    SQL_TOKEN_SEMI,
    SQL_TOKEN_OTHER, /* one character of anything else */
    SQL_TOKEN_BAD,   /* a quote or comment that does not end */
};

struct sql_token {
    enum sql_token_kind kind;
    size_t at; /* bytes from the start of the text */
    size_t n;
};

struct sql_lex {
    const char *text; /* borrowed; need not end with NUL */
    size_t n;
    size_t pos;
    struct sql_token tok; /* the current one */
};

/* Start at `pos`; the current token is the first. */
struct sql_lex sql_lex_start(const char *text, size_t n, size_t pos);
/* On to the next token; white space and comments are skipped. */
void sql_lex_next(struct sql_lex *lex);
/* Is the current word this keyword, whose first letter is the same? */
bool sql_lex_is_word(const struct sql_lex *lex, const char *word);
/* Is the current token this keyword (given in capitals)? Asked many times for each word. */
static inline bool
sql_lex_is(const struct sql_lex *lex, const char *word)
{
    return lex->tok.kind == SQL_TOKEN_WORD && ((lex->text[lex->tok.at] ^ word[0]) & ~0x20) == 0 &&
           sql_lex_is_word(lex, word);
}
/* If it is, go on. */
bool sql_lex_accept(struct sql_lex *lex, const char *word);
/* Is the current token this one character? */
bool sql_lex_is_char(const struct sql_lex *lex, char c);
bool sql_lex_accept_char(struct sql_lex *lex, char c);
/* The current token as an identifier: quotes off, a plain word in lower case, cut to cap - 1 bytes;
 * a STRING gives its text. False if it is none of these. Does not go on. */
bool sql_lex_name(const struct sql_lex *lex, char *ret, size_t cap);
/* 1-based position in characters (UTF-8) of byte `at`. */
int sql_char_position(const char *text, size_t n, size_t at);
