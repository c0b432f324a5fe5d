/* What an administrator can write into pinion.conf, and a client into its start-up options: the
 * input as the file, each of its lines as a -c argument, and as `options`; every value is tried on
 * its setting and shown again. Includes lead nowhere: the folder does not exist, and lines that
 * name a file from the root are left out. Run: as fuzz_startup. */
#include <string.h>

#include "conf/conf_auto.h"
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

/* As postgresql.auto.conf, where nothing is included whatever the names: a row that is put in is
 * the last one when it is read again, and nothing else has changed. */
static void
as_auto_conf(const char *text, size_t n)
{
    struct conf_rows old = { 0 }, new = { 0 };
    struct conf_issues issues = { 0 };
    struct err e = ERR_INIT;
    char *edited = NULL;
    size_t kept = 0;

    ASSERT(conf_parse_auto_text("/nowhere/postgresql.auto.conf", text, n, &old, &issues) == 0);
    if (conf_auto_edit(text, n, "port", "it's \\ 1", &edited, &e) < 0) {
        ASSERT(issues.n > 0 && e.detail[0] != '\0');
    } else if (old.n < CONF_ROWS_MAX && strlen(edited) <= CONF_FILE_BYTES_MAX) {
        ASSERT(issues.n == 0);
        ASSERT(conf_parse_auto_text("a", edited, strlen(edited), &new, &issues) == 0);
        for (size_t i = 0; i < old.n; i++) {
            if (strcasecmp(old.rows[i].name, "port") == 0)
                continue;
            ASSERT(kept + 1 < new.n &&strcmp(new.rows[kept].name, old.rows[i].name) == 0);
            ASSERT(strcmp(new.rows[kept].value, old.rows[i].value) == 0);
            kept++;
        }
    }
    free(edited);
    conf_rows_done(&old);
    conf_rows_done(&new);
    conf_issues_done(&issues);
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
    as_auto_conf(text, n);
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
