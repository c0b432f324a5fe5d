/* The pipe to the log collector: many writers, whole entries.
 *
 * Each write is one chunk of at most PIPE_BUF bytes, which the kernel never mixes with another: a
 * head with who, which format, first and last; then text. What others write into the same pipe
 * (programs we start) has no head: it is passed on as it is. Idea: PostgreSQL's pipe protocol. */
#pragma once

#include "base/log_text.h"

/* What the collector is asked instead of being given text: tell when all before is in the files. */
#define LOG_PIPE_FLUSH LOG_FORMATS

/* The head into the LOG_OUT_HEAD bytes at `p`; n bytes of text follow. */
void log_pipe_head(char *p, int pid, unsigned format, bool is_first, bool is_last, size_t n);

struct log_pipe_part {
    int pid; /* 0 = free */
    enum log_format format;
    bool is_rest; /* its beginning has been emitted */
    char *p;      /* owned */
    size_t n, cap;
};

#define LOG_PIPE_PARTS    64            /* entries in the making at once */
#define LOG_PIPE_PART_MAX (1024 * 1024) /* an entry longer than this comes out in pieces */

/* The collector's end. Zero it, set emit, asked and arg; one thread. */
struct log_pipe {
    /* is_entry: it begins an entry; else it is text of others, or a later piece of an entry. */
    void (*emit)(void *arg, enum log_format format, bool is_entry, const char *p, size_t n);
    void (*asked)(void *arg); /* LOG_PIPE_FLUSH came; everything before it has been emitted */
    void *arg;
    char rest[LOG_OUT_BYTES]; /* a chunk that is not complete */
    size_t n_rest;
    struct log_pipe_part parts[LOG_PIPE_PARTS];
};

/* n bytes were read: emit what is complete. */
void log_pipe_take(struct log_pipe *lp, const char *p, size_t n);
/* Nothing more comes: emit what is left, complete or not, and free. */
void log_pipe_done(struct log_pipe *lp);
