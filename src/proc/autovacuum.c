/* The autovacuum launcher: has every database that was written to looked at by a worker.
 *
 * Runs in: itself, in PM_RUN with autovacuum = on. Once in autovacuum_naptime it lists the
 * databases with commits since a worker last looked at them, and asks the postmaster for one worker
 * after the other (segment_page.worker_db). It opens no database and holds nothing. Leaves with 0
 * on TERM, or when the setting is turned off. Owns: what it has seen. Source: PostgreSQL's
 * autovacuum.c for launcher and workers; what is looked at differs: commits are counted here, not
 * rows. */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "proc/attach.h"
#include "store/store_db.h"

/* While some wait for a worker: how often it is seen whether one can be had. */
#define BUSY_USEC (100 * USEC_PER_MSEC)
/* However long the naps are, the postmaster sees this often that we live (pm_child.c, beats). */
#define BEAT_USEC USEC_PER_SEC

static struct attached me;

/* Of each element of the table of open databases: whose it was, and its newest commit when a worker
 * was sent. Another database in its place is a new one. */
static struct {
    oid_t oid;
    lsn_t seen;
} looked[CACHE_DBS];

static oid_t wanted[CACHE_DBS]; /* oids that wait for a worker */
static uint32_t n_wanted;

/* Does a worker look at it now? */
static bool
has_worker(oid_t oid)
{
    int first;
    unsigned n = segment_pool(me.start->segment, CHILD_AV_WORKER, &first);

    for (unsigned i = 0; i < n; i++) {
        const struct slot *s = segment_slot(me.start->segment, first + (int) i);

        if (atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_ATTACHED &&
            atomic_load_explicit(&s->db_oid, memory_order_relaxed) == oid)
            return true;
    }
    return false;
}

static bool
has_free_worker(void)
{
    int first;
    unsigned n = segment_pool(me.start->segment, CHILD_AV_WORKER, &first);

    for (unsigned i = 0; i < n; i++)
        if (atomic_load_explicit(&segment_slot(me.start->segment, first + (int) i)->state,
                                 memory_order_acquire) == SLOT_FREE)
            return true;
    return false;
}

/* The databases that were written to. The first commit that we see of one is news as well: it may
 * have come before us. */
static void
make_list(void)
{
    const struct store *st = &me.store;
    uint32_t n = store_db_count(st);

    n_wanted = 0;
    for (uint32_t i = 0; i < n; i++) {
        oid_t oid = store_db_oid(st, i);
        lsn_t at = store_db_published(st, i);

        if (store_db_state(st, i) != DB_READY || oid == CATALOG_DB_OID || oid == 0)
            continue;
        if ((looked[i].oid == oid && looked[i].seen == at) || has_worker(oid))
            continue;
        looked[i].oid = oid;
        looked[i].seen = at;
        wanted[n_wanted++] = oid;
    }
}

/* One at a time: the postmaster takes each from the page, or is asked again. */
static void
ask_for_worker(void)
{
    struct segment_page *page = segment_page(me.start->segment);
    bool is_asked = atomic_load_explicit(&page->worker_db, memory_order_acquire) != 0;

    if (!is_asked && (n_wanted == 0 || !has_free_worker()))
        return;
    if (!is_asked)
        atomic_store_explicit(&page->worker_db, wanted[--n_wanted], memory_order_release);
    segment_tell(me.start->segment, MSG_WORKER);
}

static void
run(void)
{
    const struct conf_values *v = &me.start->conf->v;
    usec_t next = clock_mono_usec() + (usec_t) v->autovacuum_naptime;

    for (;;) {
        usec_t most = clock_mono_usec() + (n_wanted > 0 ? BUSY_USEC : BEAT_USEC);
        uint32_t bits = attach_sleep(&me, MIN(next, most));

        slot_request_clear(me.slot, bits);
        if ((bits & (REQ_STOP | REQ_TERMINATE)) != 0)
            return;
        if ((bits & REQ_RELOAD) != 0) {
            (void) child_reload(me.start, NULL);
            next = MIN(next, clock_mono_usec() + (usec_t) v->autovacuum_naptime);
        }
        if (!v->autovacuum)
            return; /* the postmaster starts us again when it is on */
        beat_step(&me.slot->beat);
        if (clock_mono_usec() >= next) {
            make_list();
            next = clock_mono_usec() + (usec_t) v->autovacuum_naptime;
        }
        ask_for_worker();
    }
}

NORETURN void
autovacuum_main(const struct child_start *start)
{
    attach_or_leave(&me, start);
    run();
    child_exit(CHILD_OK);
}
