/* The access rules in force. Runs in: postmaster (load), backend (its inherited copy). Owns: the
 * rules. Source: design 8, systemd-ops 2 (a reload is all or nothing). */
#include "proc/access.h"

#include "base/log.h"
#include "pgwire/pgwire_hba.h"

static struct {
    struct pgwire_hba hba;
    bool is_loaded;
} rules;

struct fault_arg {
    const char *path;
};

static void
on_fault(void *arg, int line, const struct err *fault)
{
    const struct fault_arg *fa = arg;

    log_msg(LOG_LEVEL_LOG, "%s:%d: %s", fa->path, line, fault->message);
}

int
access_load(const char *path, struct err *e)
{
    struct pgwire_hba next;
    struct fault_arg arg = { path };
    int r = pgwire_hba_load(path, &next, on_fault, &arg, e);

    if (r < 0)
        return r;
    pgwire_hba_done(&rules.hba);
    rules.hba = next;
    rules.is_loaded = true;
    return 0;
}

const struct pgwire_hba *
access_rules(void)
{
    return rules.is_loaded ? &rules.hba : NULL;
}
