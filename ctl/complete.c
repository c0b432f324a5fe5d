/* Completion: from the tables of the command line, and live from instances and the server.
 * Runs in: pinionctl, started by the shell's function. Owns: nothing. Source: systemd-ops 4.2. */
#include "complete.h"

#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "args.h"
#include "client.h"
#include "target.h"

#define BUDGET_USEC 200000

struct line {
    int n;
    char **words;
    const char *current; /* the last word, may be empty */
    const struct verb *verb;
    int n_rest;             /* positional words between the verb and the current one */
    struct args args;       /* -D, -i, --socket as far as they are there */
    enum option_id waiting; /* the option whose argument the current word is, or OPTIONS */
};

static void
offer(const struct line *l, const char *word)
{
    if (strncmp(word, l->current, strlen(l->current)) == 0)
        (void) printf("%s\n", word);
}

/* Each of the space-separated words, behind `head` ("--mode=" or ""). */
static void
offer_all(const struct line *l, const char *head, const char *words)
{
    char word[160];

    while (*words != '\0') {
        size_t n = strcspn(words, " ");

        (void) snprintf(word, sizeof word, "%s%.*s", head, (int) n, words);
        offer(l, word);
        words += n;
        words += strspn(words, " ");
    }
}

struct offering {
    const struct line *line;
    const char *head;
};

static void
offer_instance(void *arg, const char *name)
{
    const struct offering *o = arg;

    offer_all(o->line, o->head, name);
}

/* Values of an option. Files are the shell's. */
static void
offer_values(const struct line *l, enum option_id id, const char *head)
{
    struct offering o = { l, head };

    if (id == OPTION_INSTANCE)
        (void) target_each_instance(offer_instance, &o);
    else if (id == OPTION_MODE)
        offer_all(l, head, "smart fast immediate");
    else if (id == OPTION_FOR)
        offer_all(l, head, "ready standby stopped");
    else if (id == OPTION_COLOR)
        offer_all(l, head, "auto always never");
}

static void
offer_options(const struct line *l)
{
    char word[80];
    size_t n = strcspn(l->current, "=");

    for (int i = 0; i < OPTIONS; i++) {
        const char *name = args_option_name((enum option_id) i);
        bool takes = args_option_takes_value((enum option_id) i);

        if (!args_verb_takes(l->verb, (enum option_id) i))
            continue;
        (void) snprintf(word, sizeof word, "--%s%s", name, takes ? "=" : "");
        if (l->current[n] != '=')
            offer(l, word);
        else if (takes && n + 1 == strlen(word) && strncmp(word, l->current, n + 1) == 0)
            offer_values(l, (enum option_id) i, word);
    }
}

/* ---- live ---- */

/* One member of each element of a list in a reply. */
static void
offer_from_server(const struct line *l, const char *method, const char *list, const char *member)
{
    struct client c = { 0 };
    struct target t;
    struct problem ignored;
    json_auto_t *reply = NULL;
    size_t i;
    json_t *o;
    char text[32];

    if (target_find(&l->args, &t, &ignored) != 0 || client_open(&c, t.socket, &ignored) != 0 ||
        client_call(&c, method, NULL, now_mono_usec() + BUDGET_USEC, &reply, &ignored) != 0) {
        client_close(&c);
        return;
    }
    json_array_foreach(json_object_get(reply, list), i, o)
    {
        const json_t *value = json_object_get(o, member);
        const char *role = json_string_value(json_object_get(o, "role"));

        if (role != NULL && strcmp(role, "backend") != 0)
            continue;
        (void) snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        offer(l, json_is_string(value) ? json_string_value(value) : text);
    }
    client_close(&c);
}

static void
offer_methods(const struct line *l)
{
    static const char *const methods[] = {
/* clang-format off */
#define CONTROL_METHOD(id, iface, name, ...) #name,
#include "tbl/control_methods.def"
#undef CONTROL_METHOD
        /* clang-format on */
    };

    for (size_t i = 2; i < ELEMENTSOF(methods); i++) /* the first two are of another interface */
        offer(l, methods[i]);
}

static void
offer_arguments(const struct line *l)
{
    const char *verb = l->verb->name;

    if (l->n_rest > 0)
        return;
    if (strcmp(verb, "show") == 0)
        offer_from_server(l, "ListSettings", "settings", "name");
    else if (strcmp(verb, "cancel") == 0 || strcmp(verb, "terminate") == 0)
        offer_from_server(l, "ListProcesses", "processes", "pid");
    else if (strcmp(verb, "call") == 0)
        offer_methods(l);
    else if (strcmp(verb, "introspect") == 0)
        offer_all(l, "", "org.pinion.Control org.varlink.service");
    else if (strcmp(verb, "completion") == 0)
        offer_all(l, "", "bash zsh");
}

/* ---- the line ---- */

/* An option in the line; returns how many words it takes. */
static int
read_option(struct line *l, int at)
{
    const char *value = NULL;
    int id = args_find_option(l->words[at], &value);

    if (id < 0 || !args_option_takes_value((enum option_id) id))
        return 1;
    int n = value == NULL ? 2 : 1;
    if (value == NULL && at + 1 < l->n - 1)
        value = l->words[at + 1];
    if (value == NULL)
        l->waiting = (enum option_id) id;
    else
        l->args.value[id] = value;
    return n;
}

static void
read_line(struct line *l)
{
    for (int i = 0; i < l->n - 1;) {
        if (l->words[i][0] == '-' && l->words[i][1] != '\0') {
            i += read_option(l, i);
            continue;
        }
        if (l->verb == NULL)
            l->verb = args_find_verb(l->words[i]);
        else
            l->n_rest++;
        i++;
    }
}

int
complete_print(int n_words, char **words)
{
    const struct itimerval budget = { .it_value = { .tv_usec = BUDGET_USEC } };
    struct line l = { .n = n_words, .words = words, .waiting = OPTIONS };

    if (n_words < 1)
        return 0;
    (void) setitimer(ITIMER_REAL, &budget, NULL); /* SIGALRM ends us */
    (void) setvbuf(stdout, NULL, _IOLBF, 0);
    l.current = words[n_words - 1];
    read_line(&l);
    if (l.waiting != OPTIONS)
        offer_values(&l, l.waiting, "");
    else if (l.current[0] == '-')
        offer_options(&l);
    else if (l.verb != NULL)
        offer_arguments(&l);
    else
        for (size_t i = 0; i < n_verbs; i++)
            offer(&l, verbs[i].name);
    return 0;
}
