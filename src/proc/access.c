/* The access rules in force. Runs in: postmaster (load), backend (its inherited copy). Owns: the
 * rules. Source: design 8, systemd-ops 2 (a reload is all or nothing). */
#include "proc/access.h"

#include "conf/conf_parse.h"
#include "pgwire/pgwire_hba.h"

static struct {
    struct pgwire_hba hba;
    bool is_loaded;
} rules;

struct fault_arg {
    const char *path;
    struct conf_issues *issues;
};

static void
on_fault(void *arg, int line, const struct err *fault)
{
    const struct fault_arg *fa = arg;

    conf_issues_add(fa->issues, fa->path, line, "", fault);
}

static int
load(const char *path, struct pgwire_hba *ret, struct conf_issues *issues, struct err *e)
{
    size_t before = issues->n + issues->n_dropped;
    struct fault_arg arg = { path, issues };
    struct err fault = ERR_INIT;
    int r = pgwire_hba_load(path, ret, on_fault, &arg, &fault);

    if (r == 0)
        return 0;
    if (issues->n + issues->n_dropped == before) /* the file as a whole */
        conf_issues_add(issues, path, 0, "", &fault);
    if (e != NULL && e->code == 0)
        *e = fault;
    return r;
}

int
access_load(const char *path, struct conf_issues *issues, struct err *e)
{
    struct pgwire_hba next;
    int r = load(path, &next, issues, e);

    if (r < 0)
        return r;
    pgwire_hba_done(&rules.hba);
    rules.hba = next;
    rules.is_loaded = true;
    return 0;
}

int
access_check(const char *path, struct conf_issues *issues, struct err *e)
{
    struct pgwire_hba next;
    int r = load(path, &next, issues, e);

    if (r == 0)
        pgwire_hba_done(&next);
    return r;
}

const struct pgwire_hba *
access_rules(void)
{
    return rules.is_loaded ? &rules.hba : NULL;
}
