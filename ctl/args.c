/* The command line and its help, both from two tables.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 4.2. */
#include "args.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

#define OPT(id)    (UINT64_C(1) << OPTION_##id)
#define OPT_COMMON (OPT(LOG) - 1)      /* everything before the first verb's own option */
#define RAW        (~UINT64_C(0))      /* takes all arguments as they are */
#define NO_SERVER  (UINT64_C(1) << 63) /* is not about one server */
#define OPT_SERVER (OPT(DATADIR) | OPT(INSTANCE) | OPT(SOCKET))

struct option {
    char short_name;
    const char *long_name;
    const char *argument;
    const char *help;
};

/* clang-format off */
static const struct option options[] = {
#define OPTION(id, short_name, long_name, argument, help) [OPTION_##id] = { short_name, long_name, argument, help },
#include "options.def"
#undef OPTION
};
const struct verb verbs[] = {
#define VERB(name, function, positional, min, max, options, summary, help) \
    { name, function, positional, min, max, options, summary, help },
#include "verbs.def"
#undef VERB
};
/* clang-format on */
const size_t n_verbs = ELEMENTSOF(verbs);

/* The options that fit to a command, or to none. */
static uint64_t
options_of(const struct verb *v)
{
    if (v == NULL || v->options == RAW)
        return OPT_COMMON;
    return (v->options & NO_SERVER) != 0 ? (v->options | OPT_COMMON) & ~OPT_SERVER
                                         : v->options | OPT_COMMON;
}

static const struct verb *
find_verb(const char *name)
{
    for (size_t i = 0; i < n_verbs; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

/* "--name" or "--name=value" without its dashes. */
static int
find_long(const char *text, const char **ret_value)
{
    size_t n = strcspn(text, "=");

    *ret_value = text[n] == '=' ? text + n + 1 : NULL;
    for (int i = 0; i < OPTIONS; i++) {
        if (strlen(options[i].long_name) == n && strncmp(options[i].long_name, text, n) == 0)
            return i;
    }
    return -1;
}

static int
find_short(char c)
{
    for (int i = 0; i < OPTIONS; i++) {
        if (options[i].short_name == c && c != '\0')
            return i;
    }
    return -1;
}

/* One option at argv[*i]; steps over its argument. */
static int
take_option(int argc, char **argv, int *i, struct args *ret, struct problem *p)
{
    const char *text = argv[*i], *value = NULL;
    int id;

    id = args_find_option(text, &value);
    if (id < 0)
        return fail(p, CTL_USAGE, "unknown option \"%s\"", text);
    if (options[id].argument == NULL && value != NULL)
        return fail(p, CTL_USAGE, "option \"%s\" takes no argument", text);
    if (options[id].argument != NULL && value == NULL) {
        if (*i + 1 == argc)
            return fail(p, CTL_USAGE, "option \"%s\" needs an argument", text);
        value = argv[++*i];
    }
    ret->value[id] = value == NULL ? "" : value;
    return 0;
}

static int
check_choice(const struct args *a, enum option_id id, const char *choices, struct problem *p)
{
    const char *value = a->value[id];

    if (value == NULL)
        return 0;
    const char *at = strstr(choices, value);
    size_t n = strlen(value);
    if (n > 0 && at != NULL && (at == choices || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
        return 0;
    fail(p, CTL_USAGE, "unknown %s \"%s\"", options[id].long_name, value);
    hint(p, "One of: %s.", choices);
    return CTL_USAGE;
}

static int
check_timeout(struct args *a, struct problem *p)
{
    const char *value = a->value[OPTION_TIMEOUT];
    char *end;

    if (value == NULL)
        return 0;
    double sec = strtod(value, &end);
    if (end == value || *end != '\0' || !(sec > 0) || sec > 1e9)
        return fail(p, CTL_USAGE, "\"%s\" is not a number of seconds", value);
    a->timeout_usec = (uint64_t) (sec * (double) USEC_PER_SEC) + 1; /* 0 is none */
    return 0;
}

static int
check_lines(const struct args *a, struct problem *p)
{
    const char *value = a->value[OPTION_LINES];

    if (value == NULL || (value[0] != '\0' && strspn(value, "0123456789") == strlen(value)))
        return 0;
    return fail(p, CTL_USAGE, "\"%s\" is not a number of lines", value);
}

/* Only a smart stop waits for clients. */
static int
check_drain(struct args *a, struct problem *p)
{
    const char *value = a->value[OPTION_DRAIN], *mode = a->value[OPTION_MODE];

    if (value == NULL)
        return 0;
    if (!parse_duration(value, &a->drain_usec)) {
        fail(p, CTL_USAGE, "\"%s\" is not a time", value);
        hint(p, "For example 30s, 5min, 1h.");
        return CTL_USAGE;
    }
    if (mode != NULL && strcmp(mode, "smart") != 0)
        return fail(p, CTL_USAGE, "--drain goes with -m smart, not with -m %s", mode);
    a->value[OPTION_MODE] = "smart";
    return 0;
}

/* What goes to the server is JSON. */
static bool
is_utf8(const char *text)
{
    json_auto_t *string = json_string(text);

    return string != NULL;
}

int
args_names_server(const struct args *a)
{
    return args_has(a, OPTION_DATADIR) + args_has(a, OPTION_INSTANCE) + args_has(a, OPTION_SOCKET);
}

/* Does everything fit together? */
static int
check(struct args *a, struct problem *p)
{
    const struct verb *v = a->verb;
    int r;

    if (v->options != RAW) {
        for (int i = 0; i < OPTIONS; i++) {
            if (a->value[i] != NULL && !(options_of(v) & (UINT64_C(1) << i)))
                return fail(p, CTL_USAGE, "\"%s\" does not take option \"--%s\"", v->name,
                            options[i].long_name);
        }
        if (a->n_rest < v->min)
            return fail(p, CTL_USAGE, "\"%s\" needs %s", v->name, v->positional);
        if (a->n_rest > v->max)
            return fail(p, CTL_USAGE, "unexpected argument \"%s\"", a->rest[v->max]);
    }
    for (int i = 0; v->options != RAW && i < a->n_rest; i++) {
        if (!is_utf8(a->rest[i]))
            return fail(p, CTL_USAGE, "argument \"%s\" is not UTF-8", a->rest[i]);
    }
    if (args_has(a, OPTION_REASON) && !is_utf8(a->value[OPTION_REASON]))
        return fail(p, CTL_USAGE, "the reason is not UTF-8");
    if (args_names_server(a) > 1)
        return fail(p, CTL_USAGE, "only one of -D, -i and --socket can be given");
    if ((r = check_choice(a, OPTION_MODE, "smart fast immediate", p)) != 0 ||
        (r = check_choice(a, OPTION_FOR, "ready standby stopped", p)) != 0 ||
        (r = check_choice(a, OPTION_COLOR, "auto always never", p)) != 0)
        return r;
    if (args_has(a, OPTION_FAST) && args_has(a, OPTION_SPREAD))
        return fail(p, CTL_USAGE, "only one of --fast and --spread can be given");
    if ((r = check_lines(a, p)) != 0 || (r = check_drain(a, p)) != 0)
        return r;
    return check_timeout(a, p);
}

int
args_parse(int argc, char **argv, struct args *ret, struct problem *p)
{
    int n = 0;

    memset(ret, 0, sizeof *ret);
    ret->rest = argv; /* positional ones are moved to the front */
    for (int i = 1; i < argc; i++) {
        int r = 0;
        if (argv[i][0] == '-' && argv[i][1] != '\0')
            r = take_option(argc, argv, &i, ret, p);
        else if (ret->verb != NULL)
            argv[n++] = argv[i];
        else if ((ret->verb = find_verb(argv[i])) == NULL)
            r = fail(p, CTL_USAGE, "unknown command \"%s\"", argv[i]);
        if (r != 0) {
            hint(p, "Try 'pinionctl --help'.");
            return r;
        }
        if (ret->verb != NULL && ret->verb->options == RAW) {
            ret->rest = argv + i + 1;
            n = argc - i - 1;
            break;
        }
    }
    ret->n_rest = n;
    if (args_has(ret, OPTION_HELP) || args_has(ret, OPTION_VERSION))
        return 0;
    if (ret->verb == NULL) {
        fail(p, CTL_USAGE, "no command given");
        hint(p, "Try 'pinionctl --help'.");
        return CTL_USAGE;
    }
    return check(ret, p);
}

static void
print_options(uint64_t set)
{
    for (int i = 0; i < OPTIONS; i++) {
        const struct option *o = &options[i];
        char left[64];
        if (!(set & (UINT64_C(1) << i)))
            continue;
        (void) snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->short_name ? '-' : ' ',
                        o->short_name ? o->short_name : ' ', o->short_name ? ", " : "  ",
                        o->long_name, o->argument ? "=" : "", o->argument ? o->argument : "");
        (void) printf("  %-24s %s\n", left, o->help);
    }
}

void
args_help(const struct verb *v)
{
    if (v != NULL) {
        (void) printf("Usage: pinionctl [OPTION…] %s%s%s\n\n%s%s\n", v->name,
                      v->positional[0] != '\0' ? " " : "", v->positional, v->summary,
                      v->help[0] != '\0' ? "." : "");
        (void) printf("%s\nOptions:\n", v->help);
        print_options(options_of(v));
        return;
    }
    (void) printf("Usage: pinionctl [OPTION…] COMMAND [ARGUMENT…]\n\n"
                  "Operate a Pinion database server.\n\nCommands:\n");
    for (size_t i = 0; i < n_verbs; i++)
        (void) printf("  %-15s %s\n", verbs[i].name, verbs[i].summary);
    (void) printf("\nOptions:\n");
    print_options(OPT_COMMON);
    (void) printf("\n'pinionctl COMMAND --help' says more about one of them.\n");
}

/* ---- for completion ---- */
const struct verb *
args_find_verb(const char *name)
{
    return find_verb(name);
}

int
args_find_option(const char *text, const char **ret_value)
{
    *ret_value = NULL;
    if (text[1] == '-')
        return find_long(text + 2, ret_value);
    *ret_value = text[2] != '\0' ? text + 2 : NULL;
    return find_short(text[1]);
}

const char *
args_option_name(enum option_id id)
{
    return options[id].long_name;
}

bool
args_option_takes_value(enum option_id id)
{
    return options[id].argument != NULL;
}

bool
args_verb_takes(const struct verb *v, enum option_id id)
{
    return (options_of(v) & (UINT64_C(1) << id)) != 0;
}
