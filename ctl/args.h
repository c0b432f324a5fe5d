/* The command line: options and verbs are tables (options.def, verbs.def). */
#pragma once

#include "util.h"

/* clang-format off */
enum option_id {
#define OPTION(id, short_name, long_name, argument, help) OPTION_##id,
#include "options.def"
#undef OPTION
    OPTIONS
};
/* clang-format on */

struct args;

struct verb {
    const char *name;
    int (*run)(const struct args *a,
               struct problem *p); /* returns an exit code; p says why if not 0 */
    const char *positional;
    int min, max;
    uint64_t options; /* bits of option_id it takes beside the common ones */
    const char *summary;
    const char *help;
};

struct args {
    const struct verb *verb;
    const char *value[OPTIONS]; /* "" for a given option without argument, NULL if not given */
    char **rest;                /* positional; borrowed from argv */
    int n_rest;
    uint64_t timeout_usec; /* 0 = no limit */
    uint64_t drain_usec;   /* 0 = none */
};

extern const struct verb verbs[];
extern const size_t n_verbs;

/* Read argv. Returns 0, or CTL_USAGE with p set. `init` takes all behind it as it is. With --help
 * or --version the rest is not checked. */
int args_parse(int argc, char **argv, struct args *ret, struct problem *p);

static inline bool
args_has(const struct args *a, enum option_id id)
{
    return a->value[id] != NULL;
}

/* How many of -D, -i and --socket there are. */
int args_names_server(const struct args *a);

/* The text of --help, for a verb or in general. */
void args_help(const struct verb *v);

/* The tables, for completion. An option as it is written ("-D", "-Dx", "--datadir=x"): its id, or
 * -1; *ret_value NULL if its argument is the next word. Without a verb every option fits. */
const struct verb *args_find_verb(const char *name);
int args_find_option(const char *text, const char **ret_value);
const char *args_option_name(enum option_id id);
bool args_option_takes_value(enum option_id id);
bool args_verb_takes(const struct verb *v, enum option_id id);
