/* Read-only tables of SQLite whose rows are computed when a scan begins: statistics and other looks
 * at the server. Eponymous: there in every database, can be neither made nor dropped. */
#pragma once

#include "sql/session_int.h"

/* The rows of one scan, all columns of one row after the other. */
struct rows {
    struct rows_value *p; /* [n], owned */
    size_t n, cap;
    bool failed; /* out of memory: sticky */
};

void rows_null(struct rows *rows);
void rows_int(struct rows *rows, int64_t i);
void rows_real(struct rows *rows, double d);
/* Copied; NULL and "" are NULL. */
void rows_text(struct rows *rows, const char *text);
/* The same where "" is a value: only NULL is NULL. */
void rows_value(struct rows *rows, const char *text);
/* A time of the real clock as PostgreSQL writes it (UTC); 0 is NULL. */
void rows_time(struct rows *rows, usec_t real);

struct session_view {
    const char *name;
    const char *declaration; /* CREATE TABLE …, with PostgreSQL's types */
    int n_cols;
    /* Append whole rows. 0 or < 0. */
    int (*fill)(struct session *s, struct rows *rows, struct err *e);
};

/* `view` is static. */
int session_add_view(struct session *s, const struct session_view *view, struct err *e);
