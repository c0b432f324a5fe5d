/* The WAL writer: writes and syncs the log behind synchronous_commit = off, keeps segments ready.
 *
 * Runs in: itself, in PM_RUN. Leaves with 0 on TERM. Owns: nothing. Source: postmaster.md 5.11;
 * SNAP-7, WAL-3, XID-2. */
#include "base/clock.h"
#include "conf/conf.h"
#include "proc/attach.h"
#include "store/store_checkpoint.h"
#include "store/store_shared.h"

#define IDLE_ROUNDS     50 /* without anything durable, before it sleeps longer */
#define IDLE_FACTOR     25
#define AFTER_FAIL_USEC USEC_PER_SEC /* no segment could be made: not at every round again */

static struct attached me;

static void
run(struct attached *a)
{
    const struct conf_values *v = &a->start->conf->v;
    unsigned n_idle = 0;
    int last_code = 0;

    for (;;) {
        usec_t usual = (usec_t) v->wal_writer_delay * (n_idle > IDLE_ROUNDS ? IDLE_FACTOR : 1);
        usec_t delay = last_code != 0 ? MAX(AFTER_FAIL_USEC, (usec_t) v->wal_writer_delay) : usual;
        uint32_t bits = attach_sleep(a, clock_mono_usec() + delay);
        lsn_t before = wal_durable(&a->wal);
        struct err e = ERR_INIT;

        slot_request_clear(a->slot, bits);
        if ((bits & (REQ_STOP | REQ_TERMINATE)) != 0)
            return;
        if ((bits & REQ_RELOAD) != 0)
            (void) child_reload(a->start, NULL);
        (void) store_walwriter_round(&a->store, &e);
        attach_report(&e, "WAL writer: ", &last_code);
        n_idle = wal_durable(&a->wal) != before ? 0 : n_idle + 1;
        beat_step(&a->slot->beat);
    }
}

NORETURN void
walwriter_main(const struct child_start *start)
{
    attach_or_leave(&me, start);
    store_role_take(&me.store, STORE_ROLE_WALWRITER);
    run(&me);
    child_exit(CHILD_OK);
}
