/* Refused databases. Runs in: startup (refuses), backends (ask). Owns: store_shared.refused.
 * Source: design 6; "a finding is told with database and page and costs only its database". */
#include "store/store_refuse.h"

#include <stdio.h>

#include "store/store_shared.h"

#define OID_FORGOTTEN \
    UINT32_MAX /* of an element that stays taken, so that the first 0 is the end */

static void
count(struct store *st, int by)
{
    if (st->status != NULL)
        (void) atomic_fetch_add_explicit(&st->status->startup.n_refused, (uint32_t) by,
                                         memory_order_relaxed);
}

int
store_refuse_db(struct store *st, oid_t oid, const char *why, struct err *e)
{
    for (uint32_t i = 0; i < STORE_REFUSED_MAX; i++) {
        struct store_refused *x = &st->sh->refused[i];

        if (atomic_load_explicit(&x->oid, memory_order_relaxed) != 0)
            continue;
        (void) snprintf(x->why, sizeof x->why, "%s", why);
        atomic_store_explicit(&x->oid, oid, memory_order_release);
        count(st, 1);
        return 0;
    }
    return ERR(e, DATA_CORRUPTED, "more than %u databases are damaged", STORE_REFUSED_MAX);
}

int
store_refused_check(const struct store *st, oid_t oid, const char *name, struct err *e)
{
    for (uint32_t i = 0; i < STORE_REFUSED_MAX; i++) {
        const struct store_refused *x = &st->sh->refused[i];
        oid_t refused = atomic_load_explicit(&x->oid, memory_order_acquire);

        if (refused == 0)
            break;
        if (refused != oid)
            continue;
        (void) ERR(e, DATA_CORRUPTED, "database \"%s\" was found damaged at the start", name);
        err_detail(e, "%s", x->why);
        err_hint(e, "Restore the cluster from a backup, or drop the database. With startup_verify "
                    "= off the next start lets you in, to save what can be read.");
        return -ERR_DATA_CORRUPTED;
    }
    return 0;
}

void
store_refused_forget(struct store *st, oid_t oid)
{
    for (uint32_t i = 0; i < STORE_REFUSED_MAX; i++) {
        uint32_t was = oid;

        if (atomic_compare_exchange_strong_explicit(&st->sh->refused[i].oid, &was, OID_FORGOTTEN,
                                                    memory_order_relaxed, memory_order_relaxed))
            count(st, -1);
    }
}
