/* What an administrator can write into pinion.conf, and a client into its start-up options: the
 * input as the file, each of its lines as a -c argument, and as `options`; every value is tried on
 * its setting and shown again. Includes lead nowhere: the folder does not exist, and lines that
 * name a file from the root are left out. Run: as fuzz_startup. */
#include <string.h>

#include "conf/conf.h"
#include "conf/conf_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* A value that was accepted is shown in a form that is accepted too. */
static void
try_row(struct conf *conf, const struct conf_row *row)
{
    struct err e = ERR_INIT;
    char text[CONF_VALUE_BYTES_MAX + 64];
    int id = conf_find(row->name);

    ASSERT(strlen(row->name) <= CONF_NAME_BYTES_MAX && strlen(row->value) <= CONF_VALUE_BYTES_MAX);
    if (id < 0)
        return;
    if (conf_put(conf, (enum conf_id) id, row->value, CONF_FROM_FILE, &e) < 0) {
        ASSERT(e.message[0] != '\0');
        return;
    }
    (void) conf_show(conf, (enum conf_id) id, text, sizeof text);
    ASSERT(conf_check((enum conf_id) id, text, &e) == 0);
}

static void
as_arguments(const char *text, struct conf_rows *rows, struct conf_issues *issues)
{
    char *copy = strdup(text);
    char *at = copy;
    char *line;

    ASSERT(copy != NULL);
    while ((line = strsep(&at, "\n")) != NULL)
        (void) conf_parse_arg(line, rows, issues);
    free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    char *text = calloc(1, n + 1);
    struct conf_rows rows = { 0 };
    struct conf_issues issues = { 0 };
    struct conf conf;
    struct err e = ERR_INIT;
    char words[512];

    ASSERT(text != NULL);
    if (n > 0)
        memcpy(text, p, n);
    if (strstr(text, "/") == NULL)
        (void) conf_parse_text("/nowhere/pinion.conf", text, n, &rows, &issues);
    as_arguments(text, &rows, &issues);
    (void) conf_parse_options(text, &rows, &e);
    ASSERT(conf_init(&conf, &e) == 0);
    for (size_t i = 0; i < rows.n; i++)
        try_row(&conf, &rows.rows[i]);
    for (size_t i = 0; i < issues.n; i++)
        ASSERT(conf_issue_text(&issues.items[i], words, sizeof words)[0] != '\0');
    conf_done(&conf);
    conf_rows_done(&rows);
    conf_issues_done(&issues);
    free(text);
    return 0;
}
