/* The background worker: keeps the cache warm over restarts (autoprewarm = on).
 *
 * Runs in: itself, in PM_RUN. At its start it reads back the pages that were in the cache when the
 * list was last written, as long as frames are free, and never evicts one. Then it writes the list
 * once in autoprewarm_interval and when it is told to leave; a list that was not read to its end is
 * not overwritten. It reads as any session does, in short snapshots, and gives way to DROP
 * DATABASE.
 *
 * Leaves with 0 on TERM, or when the setting is turned off: it is not started again until it is
 * asked for anew (reload) or memory is. With 1 if it could not begin: it is tried again, by its
 * back-off.
 * Owns: pinion_prewarm. Source: PostgreSQL's autoprewarm.c; postmaster.md 1.3, 1.8 (background
 * workers). */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "proc/prewarm_file.h"
#include "proc/visit.h"
#include "store/store_txn.h"
#include "vfs/vfs.h"

#define BEAT_USEC      USEC_PER_SEC /* the postmaster sees this often that we live */
#define SNAPSHOT_PAGES 64           /* read under one snapshot: pruning goes on */

static struct attached me;

/* A load on its way. */
struct load {
    struct prewarm_list list;
    uint64_t n_done; /* pages of the list that are behind us */
    bool is_full;    /* no free frame is left for more */
    bool is_stopped; /* we are told to leave */
};

/* ---- reading back ---- */

/* May the next page of this database be read? */
static bool
may_go_on(struct load *l)
{
    uint32_t bits = child_take_signals();
    uint32_t spare = MAX(64u, me.cache.cfg.n_frames / 16);

    bits |= atomic_load_explicit(&me.slot->request, memory_order_acquire);
    beat_step(&me.slot->beat);
    l->is_stopped = (bits & REQ_STOP) != 0;
    l->is_full = cache_n_free(&me.cache) <= spare;
    return !l->is_stopped && !l->is_full && (bits & REQ_TERMINATE) == 0;
}

/* The pages of one run. 0 or 1: go on; 1: the file ends before. */
static int
read_run(struct load *l, struct store_txn *t, const struct prewarm_run *run, struct err *e)
{
    static uint8_t page[PAGE_BYTES];
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < run->n; i++) {
        if (i % SNAPSHOT_PAGES == 0) {
            store_txn_end(t);
            r = store_txn_begin(t, e);
        }
        if (r < 0 || !may_go_on(l))
            break;
        if (run->first + i >= store_txn_size(t))
            return 1;
        r = store_txn_read(t, run->first + i + 1, page, e);
        r = MIN(r, 0);
    }
    return r;
}

/* All runs of the database of runs[from]. What cannot be read is told by who needs it. */
static void
read_db(struct load *l, uint32_t from, uint32_t upto)
{
    struct store_txn *t = NULL;
    struct catalog_db db;
    struct err e = ERR_INIT;
    uint32_t idx;
    char text[80];
    int r = visit_db(&me, l->list.runs[from].oid, &db, &idx, &e);

    if (r == 0) {
        r = store_txn_open(&me.store, idx, &t, &e);
        for (uint32_t i = from; r >= 0 && i < upto && may_go_on(l); i++) {
            (void) snprintf(text, sizeof text, "autoprewarm: %llu of %llu pages",
                            (unsigned long long) l->n_done, (unsigned long long) l->list.n_pages);
            visit_show(&me, &db, text);
            r = read_run(l, t, &l->list.runs[i], &e);
            l->n_done += l->list.runs[i].n;
        }
        if (t != NULL) {
            store_txn_end(t);
            store_txn_close(t);
        }
        store_db_detach(&me.store, idx);
    }
    atomic_store_explicit(&me.slot->db_oid, 0, memory_order_seq_cst);
    slot_request_clear(me.slot, REQ_TERMINATE); /* it was this database that we had to leave */
    if (r < 0 && r != -ERR_ADMIN_SHUTDOWN)
        log_err(LOG_LEVEL_WARNING, "autoprewarm: ", &e);
}

static void
idle(void)
{
    atomic_store_explicit(&me.slot->activity, ACTIVITY_IDLE, memory_order_relaxed);
    atomic_store_explicit(&me.slot->xact_start_usec, 0, memory_order_relaxed);
}

/* Returns false if we were told to leave before the end. */
static bool
read_back(void)
{
    struct load l = { .n_done = 0 };
    struct err e = ERR_INIT;
    usec_t start = clock_mono_usec();
    uint64_t before = me.cache.n_read;
    int r = prewarm_load(&me.io, &l.list, &e);

    if (r == -ERR_DATA_CORRUPTED)
        log_err(LOG_LEVEL_WARNING, "autoprewarm: ", &e);
    else if (r < 0)
        child_exit_err(CHILD_FATAL, &e);
    for (uint32_t i = 0, end; i < l.list.n && !l.is_full && !l.is_stopped; i = end) {
        for (end = i; end < l.list.n && l.list.runs[end].oid == l.list.runs[i].oid;)
            end++;
        read_db(&l, i, end);
    }
    idle();
    if (r > 0)
        log_msg(LOG_LEVEL_LOG, "autoprewarm: %llu of %llu pages read back in %.2f s%s",
                (unsigned long long) (me.cache.n_read - before),
                (unsigned long long) l.list.n_pages, (double) (clock_mono_usec() - start) / 1e6,
                l.is_full ? "; the cache is full" : "");
    prewarm_list_done(&l.list);
    return !l.is_stopped;
}

/* ---- the list ---- */
static void
write_list(void)
{
    static int last_code;
    CLEANUP(freep) struct cache_key *keys = malloc(me.cache.cfg.n_frames * sizeof *keys);
    struct prewarm_list list = { .runs = NULL };
    struct err e = ERR_INIT;
    int r;

    if (keys == NULL) {
        (void) ERR(&e, OUT_OF_MEMORY, "out of memory");
    } else {
        r = prewarm_list_make(keys, cache_list_pages(&me.cache, keys, me.cache.cfg.n_frames), &list,
                              &e);
        if (r == 0)
            (void) prewarm_save(&list, &me.io, &e);
        prewarm_list_done(&list);
    }
    attach_report(&e, "autoprewarm: ", &last_code);
}

static void
run(void)
{
    const struct conf_values *v = &me.start->conf->v;
    usec_t written = clock_mono_usec();
    uint32_t bits = 0;

    /* REQ_TERMINATE, too late: who drops a database saw us there a moment before we had left. */
    while ((bits & REQ_STOP) == 0 && v->autoprewarm) {
        bits = attach_sleep(&me, clock_mono_usec() + BEAT_USEC);
        slot_request_clear(me.slot, bits);
        beat_step(&me.slot->beat);
        if ((bits & REQ_RELOAD) != 0)
            (void) child_reload(me.start, NULL);
        if (v->autoprewarm_interval > 0 &&
            clock_mono_usec() - written >= (usec_t) v->autoprewarm_interval) {
            write_list();
            written = clock_mono_usec();
        }
    }
    write_list();
}

NORETURN void
bgworker_main(const struct child_start *start)
{
    struct err e = ERR_INIT;

    attach_or_leave(&me, start);
    if (vfs_register(CHILD_TEMP_DIR, &e) < 0)
        child_exit_err(CHILD_FATAL, &e);
    if (read_back())
        run();
    child_exit(CHILD_OK);
}
