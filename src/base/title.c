/* Process titles. Runs in: every child. Owns: the memory of the command line after title_init(). */
#include "base/title.h"

#include <stdlib.h>
#include <string.h>

static char *area;
static char **args; /* the copy, for the life of the process */
static size_t area_bytes;
static char **kept; /* the copy, for the life of the process */

char **
title_init(int argc, char **argv)
{
    char **copy = kept = calloc((size_t) argc + 1, sizeof *copy);
    char *end = argv[0];

    for (int i = 0; copy != NULL && i < argc; i++) {
        if (argv[i] == end)
            end = argv[i] + strlen(argv[i]) + 1; /* as far as it is one piece */
        copy[i] = strdup(argv[i]);
        if (copy[i] == NULL)
            return argv;
    }
    if (copy == NULL)
        return argv;
    area = argv[0];
    area_bytes = (size_t) (end - argv[0]);
    args = copy;
    return args;
}

void
title_set(const char *text)
{
    size_t n = strlen(text);

    if (area_bytes < 2)
        return;
    if (n > area_bytes - 1)
        n = area_bytes - 1;
    memcpy(area, text, n);
    memset(area + n, 0, area_bytes - n); /* the last byte stays 0: the kernel looks at it */
}
