/* An autovacuum worker: one look at one database, then it is gone.
 *
 * Runs in: itself; forked when the launcher asks. It is a session without a client: what it does
 * waits for the writer lock as everybody does, shows in pg_stat_activity, and ends at TERM (a stop,
 * DROP DATABASE) or INT between two pages. Leaves with 0, or 1 if it could not. Owns: nothing.
 * Source: PostgreSQL's autovacuum.c. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf_session.h"
#include "proc/visit.h"
#include "sql/session.h"
#include "store/store_db.h"
#include "vfs/vfs.h"

static struct attached me;
static struct conf_session conf;

static void
log_done(const struct session_cfg *cfg, const struct session_upkeep_done *d, usec_t took)
{
    int64_t limit = me.start->conf->v.log_autovacuum_min_duration;

    if (limit < 0 || took < (usec_t) limit || (d->n_steps == 0 && d->n_tables == 0))
        return;
    log_msg(
        LOG_LEVEL_LOG,
        "automatic vacuum of database \"%s\": %lld of %lld free pages given back in %u "
        "transactions, %u tables analyzed; writer lock held %.2f ms at most, p99 %.2f ms; elapsed "
        "%.2f s",
        cfg->db.name, (long long) d->n_pages, (long long) d->free_before, d->n_steps, d->n_tables,
        (double) d->holds.longest / 1e3, (double) session_holds_p99(&d->holds) / 1e3,
        (double) took / 1e6);
}

static int
look_after(struct session_cfg *cfg, struct err *e)
{
    struct session_upkeep_done done = { .n_pages = 0 };
    usec_t start = clock_mono_usec();
    struct session *s = NULL;
    int r = conf_session_init(&conf, me.start->conf, true, e);

    if (r < 0) {
        store_db_detach(&me.store, cfg->db_idx);
        return r;
    }
    r = session_open(cfg, &s, e);
    if (r < 0)
        return r;
    r = session_upkeep(s, &done, e);
    log_done(cfg, &done, clock_mono_usec() - start);
    session_leave(s);
    return r;
}

NORETURN void
autovacuum_worker_main(const struct child_start *start)
{
    struct session_cfg cfg = { .store = &me.store,
                               .conf = &conf,
                               .stats = &me.stats,
                               .role = { .name = "autovacuum", .is_superuser = true } };
    struct err e = ERR_INIT;
    int r;

    attach_or_leave(&me, start);
    r = vfs_register(CHILD_TEMP_DIR, &e);
    if (r == 0)
        r = visit_db(&me, start->db_oid, &cfg.db, &cfg.db_idx, &e);
    if (r == 0) {
        stat_set_db(&me.stats, cfg.db.oid);
        visit_show(&me, &cfg.db, "autovacuum: VACUUM ANALYZE");
        r = look_after(&cfg, &e);
    }
    if (r == -ERR_ADMIN_SHUTDOWN || r == -ERR_QUERY_CANCELED || r == CATALOG_NONE)
        child_exit(CHILD_OK);
    if (r < 0) {
        log_err(LOG_LEVEL_WARNING, "autovacuum worker: ", &e);
        child_exit(CHILD_FATAL);
    }
    child_exit(CHILD_OK);
}
