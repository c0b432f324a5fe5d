/* The background writer: writes dirty pages ahead of need, prunes, keeps frames free; looks how
 * much is left on the disks.
 *
 * Runs in: itself, from the start of recovery to the stop. Leaves with 0 on TERM and is replaced if
 * nobody asked for a stop. Owns: nothing. Source: postmaster.md 5.11; EVICT-1, EVICT-4. */
#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "proc/attach.h"
#include "proc/space.h"
#include "store/store_checkpoint.h"
#include "store/store_shared.h"

#define IDLE_ROUNDS 20 /* without a page written, before it sleeps longer */
#define IDLE_FACTOR 5

#define UNRESPONSIVE_USEC (10 * USEC_PER_SEC)

static struct attached me;

/* SNAP-6: who was asked to end a snapshot and has not, every 10 s. It costs writers 53200. */
static void
log_unresponsive(struct attached *a, usec_t now, usec_t *last)
{
    uint32_t pos = 0;
    uint32_t procno;

    if (now - *last < UNRESPONSIVE_USEC)
        return;
    *last = now;
    while ((procno = cache_unresponsive(&a->cache, &pos)) != CACHE_NONE)
        log_msg(LOG_LEVEL_WARNING,
                "process %d holds a snapshot that it was asked to end for want of page frames",
                atomic_load_explicit(&segment_slot(a->start->segment, procno)->pid,
                                     memory_order_relaxed));
}

static void
run(struct attached *a)
{
    const struct conf_values *v = &a->start->conf->v;
    unsigned n_idle = 0;
    int last_code = 0;
    usec_t last_look = clock_mono_usec();

    for (;;) {
        usec_t delay = (usec_t) v->bgwriter_delay * (n_idle > IDLE_ROUNDS ? IDLE_FACTOR : 1);
        uint32_t bits = attach_sleep(a, clock_mono_usec() + delay);
        struct err e = ERR_INIT;

        slot_request_clear(a->slot, bits);
        if ((bits & (REQ_STOP | REQ_TERMINATE)) != 0)
            return;
        if ((bits & REQ_RELOAD) != 0)
            (void) child_reload(a->start, NULL);
        beat_step(&a->slot->beat);
        space_look(a);
        if (attach_in_recovery(a)) { /* redo writes what it needs to write */
            if ((bits & REQ_WORK) != 0)
                (void) cache_make_ahead(&a->cache);
            continue;
        }
        n_idle = store_bgwriter_round(&a->store, (uint32_t) v->bgwriter_lru_maxpages, &e) > 0
                     ? 0
                     : n_idle + 1;
        attach_report(&e, "background writer: ", &last_code);
        log_unresponsive(a, clock_mono_usec(), &last_look);
    }
}

NORETURN void
bgwriter_main(const struct child_start *start)
{
    attach_or_leave(&me, start);
    store_role_take(&me.store, STORE_ROLE_BGWRITER);
    run(&me);
    child_exit(CHILD_OK);
}
