/* startup_verify: the pass "verify". It looks at the files with the eyes of `piniond verify`
 * (verify_pages.c, verify_structure.c), which finds a stopped cluster here: everything is on disk,
 * nobody writes before the server opens.
 *
 * Runs in: startup. Owns: "pinion_verify" from here on. Source: design 6; postmaster.md 7.3, 7.7.
 */
#include "proc/startup_verify.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "proc/verify_int.h"
#include "store/store_page.h"
#include "store/store_refuse.h"
#include "store/store_touched.h"
#include "store/store_writeback.h"

#define LINES_MAX 20u /* of one database, in the log */

struct startup_check {
    struct attached *a;
    struct shm_startup *shown;
    struct verify v;
    struct report_sink sink;
    struct store_touched owed; /* what the last starts left to be looked at */
    struct store_touched damaged;
    uint32_t n_dbs;
    uint64_t n_pages;
    /* Of the database at hand. */
    uint32_t n_found;
    char why[200]; /* the first finding */
    char unchecked[300];
};

/* ---- what is found ---- */

static void
on_problem(void *arg, const struct verify_problem *p)
{
    struct startup_check *c = arg;
    char page[24] = "";
    struct err e = ERR_INIT;

    if (p->page != 0)
        (void) snprintf(page, sizeof page, ", page %u", p->page);
    if (c->n_found++ == 0)
        (void) snprintf(c->why, sizeof c->why, "%s%s: %.120s", p->file, page, p->message);
    if (c->n_found > LINES_MAX)
        return;
    (void) ERR(&e, DATA_CORRUPTED, "database \"%s\", %s%s: %s", p->database, p->file, page,
               p->message);
    if (p->detail[0] != '\0')
        err_detail(&e, "%s", p->detail);
    log_err(LOG_LEVEL_WARNING, "", &e);
}

static void
on_unchecked(void *arg, const char *text)
{
    struct startup_check *c = arg;

    (void) snprintf(c->unchecked, sizeof c->unchecked, "%s", text);
}

static int
on_busy(void *arg)
{
    struct startup_check *c = arg;

    beat_step(&c->a->slot->beat);
    return self_check(&c->a->self, NULL);
}

static int
on_pages(void *arg, uint32_t n)
{
    struct startup_check *c = arg;

    (void) atomic_fetch_add_explicit(&c->shown->blocks_done, n, memory_order_relaxed);
    return on_busy(c);
}

/* ---- which ---- */

/* Keep of v.dbs those to be looked at. */
static void
choose(struct startup_check *c)
{
    bool is_full = c->a->start->conf->v.startup_verify == CONF_VERIFY_FULL;
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->v.n_dbs; i++)
        if (is_full || store_touched_has(&c->owed, c->v.dbs[i].oid, c->v.dbs[i].rel))
            c->v.dbs[n++] = c->v.dbs[i];
    c->v.n_dbs = n;
}

static void
count_pages(struct startup_check *c)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < c->v.n_dbs; i++) {
        uint64_t bytes = 0;

        (void) store_file_size(&c->a->store, c->v.dbs[i].oid, c->v.dbs[i].rel, &bytes, NULL);
        total += bytes / PAGE_BYTES;
    }
    atomic_store_explicit(&c->shown->blocks_total, total, memory_order_relaxed);
}

/* ---- one ---- */

static int
catalog_damaged(struct err *e, const char *why)
{
    (void) ERR(e, DATA_CORRUPTED, "the cluster catalogue is damaged");
    err_detail(e, "%s", why);
    err_hint(e, "Restore the cluster from a backup. With startup_verify = off the server starts "
                "all the same, as far as it can.");
    return -ERR_DATA_CORRUPTED;
}

static int
refuse(struct startup_check *c, const struct verify_db *db, struct err *e)
{
    struct err told = ERR_INIT;
    int r = store_touched_add(&c->damaged, db->oid, db->rel, e);

    if (r == 0 && db->oid == CATALOG_DB_OID)
        r = catalog_damaged(e, c->why);
    if (r == 0)
        r = store_refuse_db(&c->a->store, db->oid, c->why, e);
    if (r < 0)
        return r;
    (void) ERR(&told, DATA_CORRUPTED, "database \"%s\" is damaged and takes no connections",
               db->name);
    err_detail(&told, "%u problem%s found, the first: %s", c->n_found,
               c->n_found == 1 ? " was" : "s were", c->why);
    log_err_event(LOG_LEVEL_WARNING, LOG_EVENT_DAMAGED, NULL, "", &told);
    return 0;
}

static int
check_database(struct startup_check *c, const struct verify_db *db, struct err *e)
{
    uint32_t n_pages = 0;
    int r;

    c->n_found = 0;
    c->unchecked[0] = '\0';
    (void) verify_pages(&c->v, db, &n_pages);
    r = self_check(&c->a->self, e);
    if (r == 0)
        (void) verify_structure(&c->v, db);
    if (r == 0)
        r = self_check(&c->a->self, e);
    if (r < 0)
        return r;
    c->n_pages += n_pages;
    c->n_dbs++;
    if (c->n_found > 0)
        return refuse(c, db, e);
    if (c->unchecked[0] != '\0')
        return ERR(e, IO_ERROR, "could not verify %s", c->unchecked);
    return 0;
}

/* ---- all ---- */

static int
begin(struct startup_check *c, struct err *e)
{
    int r = store_touched_read(&c->owed, &c->a->io, e);

    c->sink = (struct report_sink){ .problem = on_problem,
                                    .unchecked = on_unchecked,
                                    .pages = on_pages,
                                    .busy = on_busy,
                                    .arg = c };
    c->v = (struct verify){ .dir_fd = -1,
                            .io = c->a->io,
                            .server = SERVER_STOPPED,
                            .wal_end = wal_durable(&c->a->wal),
                            .report.sink = &c->sink };
    if (r == 0)
        r = verify_list_stopped(&c->v, e);
    if (r < 0)
        return r;
    choose(c);
    count_pages(c);
    return 0;
}

/* From here on the file lists what is damaged, so that no start forgets it. */
static int
keep(struct startup_check *c, struct err *e)
{
    c->damaged.is_dirty = c->owed.n > 0 || c->damaged.n > 0;
    return store_touched_write(&c->damaged, &c->a->io, e);
}

/* The start ends before all was looked at: what was found joins what is still owed. */
static void
keep_found(struct startup_check *c)
{
    struct err e = ERR_INIT;
    int r = 0;

    if (c->damaged.n > 0)
        r = store_touched_read(&c->damaged, &c->a->io, &e);
    if (r == 0)
        r = store_touched_write(&c->damaged, &c->a->io, &e);
    if (r < 0)
        log_err(LOG_LEVEL_WARNING, "", &e);
}

static void
log_done(const struct startup_check *c, usec_t took)
{
    log_msg(LOG_LEVEL_LOG,
            "startup verification: %u database%s, %llu pages, %u damaged; elapsed: %.3f s",
            c->n_dbs, c->n_dbs == 1 ? "" : "s", (unsigned long long) c->n_pages, c->damaged.n,
            (double) took / 1e6);
}

static void
check_done(struct startup_check *c)
{
    free(c->v.dbs);
    store_touched_done(&c->owed);
    store_touched_done(&c->damaged);
}

int
startup_verify(struct attached *a, struct err *e)
{
    CLEANUP(check_done)
    struct startup_check c = { .a = a, .shown = &segment_status(a->start->segment)->startup };
    usec_t start = clock_mono_usec();
    int r = begin(&c, e);

    for (uint32_t i = 0; i < c.v.n_dbs && r == 0; i++)
        r = check_database(&c, &c.v.dbs[i], e);
    if (r == 0)
        r = keep(&c, e);
    else
        keep_found(&c);
    if (r == 0 && c.n_dbs > 0)
        log_done(&c, clock_mono_usec() - start);
    return r;
}
