/* pg_hba_file_rules: what pg_hba.conf says now, line by line, with what a reload would refuse.
 *
 * Runs in: backend, inside sqlite3_step(). Reads the file. Source: PostgreSQL 15's documentation of
 * the view. */
#include "pgwire/pgwire_hba.h"
#include "sql/session_rows.h"

static void
on_fault(void *arg, int line, const struct err *fault)
{
    conf_issues_add(arg, "", line, "", fault);
}

static void
put_fault(struct rows *rows, const struct conf_issue *issue)
{
    if (issue->line > 0)
        rows_int(rows, issue->line);
    else
        rows_null(rows);
    for (int i = 0; i < 7; i++) /* type to options */
        rows_null(rows);
    rows_text(rows, issue->err.message);
}

static void
put_rule(struct rows *rows, const struct pgwire_hba *hba, size_t i)
{
    char text[4096];

    rows_int(rows, pgwire_hba_line(hba, i));
    for (enum pgwire_hba_column c = 0; c < PGWIRE_HBA_COLUMNS; c++)
        rows_text(rows, pgwire_hba_show(hba, i, c, text, sizeof text));
    rows_null(rows); /* options: none is supported */
    rows_null(rows); /* error */
}

static int
fill_rules(struct session *s, struct rows *rows, struct err *e)
{
    CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };
    CLEANUP(pgwire_hba_done) struct pgwire_hba hba = { 0 };
    struct err fault = ERR_INIT;
    size_t at = 0;
    int r;

    if (!s->cfg.conf->is_superuser)
        return ERR(e, INSUFFICIENT_PRIVILEGE, "permission denied for view pg_hba_file_rules");
    r = pgwire_hba_load_good(s->cfg.conf->base->v.hba_file, &hba, on_fault, &issues, &fault);
    if (r == -ERR_OUT_OF_MEMORY)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    if (r < 0 && issues.n == 0) /* the file as a whole */
        conf_issues_add(&issues, "", 0, "", &fault);
    for (size_t i = 0; i < hba.n; i++) {
        while (at < issues.n && issues.items[at].line < pgwire_hba_line(&hba, i))
            put_fault(rows, &issues.items[at++]);
        put_rule(rows, &hba, i);
    }
    while (at < issues.n)
        put_fault(rows, &issues.items[at++]);
    return 0;
}

static const struct session_view hba_file_rules = {
    "pg_hba_file_rules",
    "CREATE TABLE pg_hba_file_rules(line_number integer, type text, database text, user_name text, "
    "address text, netmask text, auth_method text, options text, error text)",
    9, fill_rules
};

int
session_add_hba(struct session *s, struct err *e)
{
    return session_add_view(s, &hba_file_rules, e);
}
