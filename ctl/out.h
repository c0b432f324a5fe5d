/* Two ways to show everything: text for people, JSON for programs. Chosen once by main(). */
#pragma once

#include <jansson.h>

#include "target.h"

/* What is known of a server that does not answer. Strings may be empty. */
struct out_stopped {
    bool is_active;        /* a process or unit is there all the same */
    char since[64];        /* "Sat 2026-11-21 14:20:07 CET" */
    char last_exit[400];   /* "status 78/CONFIG", or who asked for its stop */
    char status_text[256]; /* its last STATUS=, or what the history says last */
    char advice[200];      /* what to do */
};

struct out {
    void (*status)(const struct target *t, const json_t *status);
    void (*stopped)(const struct target *t, const struct out_stopped *s);
    void (*processes)(const json_t *parameters);
    /* {"entries":[…]}, {"checks":[…]}, {"instances":[…]}. */
    void (*history)(const json_t *parameters);
    void (*doctor)(const json_t *parameters);
    void (*instances)(const json_t *parameters);
    /* Settings, or the one that was asked for with all there is to say. */
    void (*settings)(const json_t *parameters, bool is_one);
    /* One change of a watch: the reply's parameters. */
    void (*watch)(const json_t *parameters);
    /* A wait goes on: `message` in words, the reply's parameters or NULL. */
    void (*progress)(const struct target *t, const char *message, const json_t *parameters);
    /* Something for people only, said once. */
    void (*remark)(const char *text);
    /* It is done: `message` in words (NULL = nothing to say), the reply's parameters or NULL. */
    void (*result)(const struct target *t, const char *message, const json_t *parameters);
    /* A verification goes on: how far it is; a part is done (`kind` as in piniond(8), its fields
     * and the problems found in it); all is done (the whole report, the problems that belong to no
     * part that was shown). */
    void (*verifying)(const json_t *progress);
    void (*verified)(const char *kind, const json_t *part, const json_t *problems);
    void (*report)(const json_t *report, const json_t *problems);
    /* Any reply, as it is. */
    void (*reply)(const json_t *parameters);
    void (*failure)(const struct problem *p);
    /* Round a list of several instances. */
    void (*list_begin)(void);
    void (*list_end)(void);
};

/* What the text side shares: a string (or what is none: "") for people, on one line, where '?'
 * stands for what a terminal would obey; of an object, the one under `key`. */
const char *out_word(json_t *string);
const char *out_text_of(const json_t *o, const char *key);
uint64_t out_number_of(const json_t *o, const char *key);
/* out_json.c: `o` as JSON, in which what a terminal would obey is written as "\u009b"; no new line
 * behind it. `flags` as of json_dumpf(). */
void out_print_json(FILE *to, const json_t *o, size_t flags);
/* out_progress.c: take the line away that a terminal redraws; a bar of `width`, NUL-terminated. */
void out_close_line(void);
void out_bar(char *to, int width, double percent);
void out_text_progress(const struct target *t, const char *message, const json_t *progress);
void out_text_verifying(const json_t *progress);

extern const struct out out_text;
extern const struct out out_json;
extern const struct out *out; /* the chosen one */

struct out_options {
    bool quiet;
    bool color;
};
extern struct out_options out_options;
