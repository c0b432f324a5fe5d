/* A statement with its literals taken out, so that one prepared statement serves all of its kind:
 * what distinguishes "… WHERE aid = 17" from "… WHERE aid = 18" becomes a parameter. Pure.
 *
 * Only literals that SQLite treats as it treats a parameter are taken: the result, its column names
 * and the plan must be those of the statement as it was written. The rest stays in the key. */
#pragma once

#include "base/macro.h"

#define SQL_TEMPLATE_BYTES    2048 /* longer statements are not shared */
#define SQL_TEMPLATE_LITERALS 32

struct sql_literal {
    size_t at; /* in the query string; of a string: behind the quote */
    size_t n;  /* bytes; of a string: without quotes */
    bool is_text;
};

struct sql_template {
    size_t at;   /* the statement in the query string */
    size_t end;  /* behind its last token */
    size_t next; /* where the next statement starts */
    size_t n_literals;
    struct sql_literal literals[SQL_TEMPLATE_LITERALS];
    size_t n;                     /* bytes of key */
    char key[SQL_TEMPLATE_BYTES]; /* the statement, "?" for each literal; ends with NUL */
};

/* Read the statement that starts at text[pos]. False: it cannot be shared (not a SELECT, INSERT,
 * UPDATE or DELETE of its own, subqueries, parameters, too long …); *ret is undefined then. */
bool sql_template(const char *text, size_t n, size_t pos, struct sql_template *ret);
/* The value of a literal that is a number. */
int64_t sql_literal_number(const char *text, const struct sql_literal *l);
