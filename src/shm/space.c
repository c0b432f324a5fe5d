/* Space on the file systems of log and data. Runs in: every process that makes files bigger
 * (space_note), bgwriter (space_judge). Owns: nothing. */
#include "shm/space.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/clock.h"

/* A refusal is newer than what was measured a moment before it. */
#define SETTLED_USEC USEC_PER_SEC

void
space_note(struct shm_space *s, int r, uint64_t wanted)
{
    uint64_t none = 0;

    if (s == NULL || (r < 0 && r != -ENOSPC && r != -EDQUOT))
        return;
    if (r >= 0) {
        if (atomic_load_explicit(&s->full_usec, memory_order_relaxed) != 0)
            atomic_store_explicit(&s->full_usec, 0, memory_order_relaxed);
        return;
    }
    usec_t now = clock_real_usec();

    atomic_store_explicit(&s->wanted, wanted, memory_order_relaxed);
    atomic_store_explicit(&s->error, (uint32_t) -r, memory_order_relaxed);
    atomic_store_explicit(&s->refused_usec, now, memory_order_relaxed);
    (void) atomic_fetch_add_explicit(&s->n_refused, 1, memory_order_relaxed);
    (void) atomic_compare_exchange_strong_explicit(&s->full_usec, &none, now, memory_order_relaxed,
                                                   memory_order_relaxed);
}

struct space_verdict
space_judge(const struct space_view *v)
{
    uint64_t enough = v->threshold + (v->was_low ? v->threshold / 8 : 0);

    return (struct space_verdict){
        .is_low = v->threshold != 0 && v->free_bytes < enough,
        .is_full = v->was_full && (v->free_bytes < v->wanted || v->since_refusal < SETTLED_USEC),
    };
}
