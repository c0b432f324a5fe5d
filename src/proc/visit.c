/* Visiting a database. Runs in: autovacuum worker, background worker. Owns: nothing.
 * Source: FILE-3; autovacuum.c of PostgreSQL for what is shown. */
#include "proc/visit.h"

#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "store/store_db.h"
#include "store/store_refuse.h"

int
visit_db(struct attached *a, oid_t oid, struct catalog_db *ret, uint32_t *ret_db_idx, struct err *e)
{
    struct catalog *c = NULL;
    int r = catalog_open(&a->store, &c, e);

    atomic_store_explicit(&a->slot->db_oid, oid, memory_order_seq_cst);
    if (r == 0)
        r = catalog_attach(c, oid, ret_db_idx, e);
    if (r == 0) {
        r = catalog_find_db_by_oid(c, oid, ret, e);
        if (r != 0)
            store_db_detach(&a->store, *ret_db_idx);
    }
    catalog_close(c);
    if (r == 0 && store_refused_check(&a->store, oid, ret->name, NULL) < 0) {
        store_db_detach(&a->store, *ret_db_idx);
        return CATALOG_NONE; /* nothing is changed in what is damaged */
    }
    return r;
}

void
visit_show(struct attached *a, const struct catalog_db *db, const char *text)
{
    struct slot *s = a->slot;
    usec_t now = clock_real_usec();

    slot_set_text(s, s->db_name, sizeof s->db_name, db->name, strlen(db->name));
    slot_set_text(s, s->query, sizeof s->query, text, strlen(text));
    atomic_store_explicit(&s->query_start_usec, now, memory_order_relaxed);
    atomic_store_explicit(&s->xact_start_usec, now, memory_order_relaxed);
    atomic_store_explicit(&s->state_change_usec, now, memory_order_relaxed);
    atomic_store_explicit(&s->activity, ACTIVITY_ACTIVE, memory_order_relaxed);
}
