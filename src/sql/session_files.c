/* pg_file_settings: what the configuration files say, and what a reload would make of it.
 *
 * Runs in: backend, inside sqlite3_step(). Reads the files. Source: PostgreSQL 15's documentation
 * of the view. */
#include <stdio.h>
#include <string.h>

#include "sql/session_rows.h"

bool
session_conf_where(const struct session *s, char *dir, size_t cap, struct conf_where *ret)
{
    const struct conf_values *v = &s->cfg.conf->base->v;
    const char *slash = strrchr(v->config_file, '/');

    if (v->data_directory[0] == '\0' || slash == NULL)
        return false;
    (void) snprintf(dir, cap, "%.*s", (int) (slash - v->config_file), v->config_file);
    *ret = (struct conf_where){ .data_dir = v->data_directory,
                                .conf_dir = dir,
                                .credentials_dir = getenv("CREDENTIALS_DIRECTORY") }; /* NOLINT */
    return true;
}

static bool
is_of(const struct conf_issue *issue, const struct conf_row *row)
{
    return issue->line == row->line && issue->file != NULL && strcmp(issue->file, row->file) == 0;
}

static const struct conf_issue *
find_issue(const struct conf_issues *issues, const struct conf_row *row)
{
    for (size_t i = 0; i < issues->n; i++)
        if (is_of(&issues->items[i], row))
            return &issues->items[i];
    return NULL;
}

/* A later row of the same setting counts instead. */
static bool
is_last(const struct conf_rows *all, size_t i)
{
    for (size_t j = i + 1; j < all->n; j++)
        if (strcasecmp(all->rows[i].name, all->rows[j].name) == 0)
            return false;
    return true;
}

/* All or nothing: with an error anywhere no row is applied. */
static bool
is_applied(const struct session *s, const struct conf_files *files, size_t i)
{
    int id = conf_find(files->rows.rows[i].name);

    if (files->issues.n > 0 || id < 0 || !is_last(&files->rows, i))
        return false;
    return conf_desc((enum conf_id) id)->context > CONF_CONTEXT_POSTMASTER ||
           conf_equal(s->cfg.conf->base, &files->conf, (enum conf_id) id);
}

static void
put_row(struct rows *rows, const char *file, int line, const char *name, const char *value)
{
    rows_text(rows, file);
    if (line > 0)
        rows_int(rows, line);
    else
        rows_null(rows);
    rows_int(rows, (int64_t) (rows->n / 7) + 1); /* seqno */
    rows_text(rows, name);
    rows_value(rows, value);
}

static void
put_files(const struct session *s, const struct conf_files *files, struct rows *rows)
{
    for (size_t i = 0; i < files->rows.n; i++) {
        const struct conf_row *row = &files->rows.rows[i];
        const struct conf_issue *issue = find_issue(&files->issues, row);

        put_row(rows, row->file, row->line, row->name, row->value);
        rows_int(rows, is_applied(s, files, i));
        rows_text(rows, issue != NULL ? issue->err.message : NULL);
    }
    for (size_t i = 0; i < files->issues.n; i++) { /* those that are no row */
        const struct conf_issue *issue = &files->issues.items[i];
        bool has_row = false;

        for (size_t j = 0; j < files->rows.n && !has_row; j++)
            has_row = is_of(issue, &files->rows.rows[j]);
        if (has_row)
            continue;
        put_row(rows, issue->file, issue->line, issue->name, NULL);
        rows_int(rows, 0);
        rows_text(rows, issue->err.message);
    }
}

static int
fill_files(struct session *s, struct rows *rows, struct err *e)
{
    CLEANUP(conf_files_done) struct conf_files files = { .rows = { 0 } };
    char dir[CONF_PATH_BYTES];
    struct conf_where where;
    int r;

    if (!s->cfg.conf->is_superuser)
        return ERR(e, INSUFFICIENT_PRIVILEGE, "permission denied for view pg_file_settings");
    if (!session_conf_where(s, dir, sizeof dir, &where))
        return 0;
    r = conf_load_files(&where, &files);
    if (r < 0)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    put_files(s, &files, rows);
    return 0;
}

static const struct session_view file_settings = {
    "pg_file_settings",
    "CREATE TABLE pg_file_settings(sourcefile text, sourceline integer, seqno integer, name text, "
    "setting text, applied boolean, error text)",
    7, fill_files
};

int
session_add_files(struct session *s, struct err *e)
{
    return session_add_view(s, &file_settings, e);
}
