/* Names that are no settings: why PostgreSQL's is not here, or which name was perhaps meant. Pure.
 *
 * Runs in: every process. Owns: the order of the names, made at first use. Source: the names of
 * PostgreSQL 15's settings. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"

struct elsewhere_row {
    const char *name; /* "x*": all that begins with x */
    const char *hint;
};

/* clang-format off */
static const struct elsewhere_row elsewhere_rows[] = {
#define ELSEWHERE(name, hint) { name, hint },
#include "tbl/settings_elsewhere.def"
#undef ELSEWHERE
};
/* clang-format on */

static const char *
hint_elsewhere(const char *name)
{
    for (size_t i = 0; i < ELEMENTSOF(elsewhere_rows); i++) {
        const char *pattern = elsewhere_rows[i].name;
        size_t n = strcspn(pattern, "*");

        if (strncasecmp(name, pattern, n) == 0 && (pattern[n] == '*' || name[n] == '\0'))
            return elsewhere_rows[i].hint;
    }
    return NULL;
}

/* How many letters must be put in, taken out or exchanged to make b of a; both at most
 * CONF_NAME_BYTES_MAX long. */
static unsigned
distance(const char *a, const char *b)
{
    unsigned row[CONF_NAME_BYTES_MAX + 1];
    size_t n = strlen(b);

    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned) j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned) i;
        for (size_t j = 1; j <= n; j++) {
            unsigned above = row[j];
            unsigned same = tolower((unsigned char) a[i - 1]) == tolower((unsigned char) b[j - 1]);

            row[j] = MIN(MIN(row[j] + 1, row[j - 1] + 1), diagonal + (same ? 0 : 1));
            diagonal = above;
        }
    }
    return row[n];
}

/* A name within a letter in four, at most three; or -1. */
static int
find_near(const char *name)
{
    unsigned best = (unsigned) MIN(strlen(name) / 4, (size_t) 3) + 1;
    int found = -1;

    for (int id = 0; id < CONF_SETTINGS; id++) {
        unsigned d = distance(name, conf_desc((enum conf_id) id)->name);

        if (d < best) {
            best = d;
            found = id;
        }
    }
    return found;
}

int
conf_find_or_say(const char *name, struct err *e)
{
    int id = conf_find(name);
    const char *hint;
    int near;

    if (id >= 0)
        return id;
    (void) ERR(e, UNDEFINED_OBJECT, "unrecognized configuration parameter \"%.63s\"", name);
    hint = hint_elsewhere(name);
    near = hint == NULL && strlen(name) <= CONF_NAME_BYTES_MAX ? find_near(name) : -1;
    if (hint != NULL)
        err_hint(e, "%s", hint);
    else if (near >= 0)
        err_hint(e, "Perhaps you meant \"%s\".", conf_desc((enum conf_id) near)->name);
    return -ERR_UNDEFINED_OBJECT;
}

static int
compare_ids(const void *a, const void *b)
{
    const enum conf_id *x = a, *y = b;

    return strcasecmp(conf_desc(*x)->name, conf_desc(*y)->name);
}

enum conf_id
conf_by_name(unsigned i)
{
    static enum conf_id ids[CONF_SETTINGS]; /* one thread a process */
    static bool is_made;

    ASSERT(i < CONF_SETTINGS);
    if (!is_made) {
        for (int id = 0; id < CONF_SETTINGS; id++)
            ids[id] = (enum conf_id) id;
        qsort(ids, CONF_SETTINGS, sizeof *ids, compare_ids);
        is_made = true;
    }
    return ids[i];
}
