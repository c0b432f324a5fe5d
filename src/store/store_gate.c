/* The commit gate (CKPT-1). Runs in every process that commits and in the checkpointer. Owns:
 * store_gate, the in_gate flag of its process. Source: engine-rules CKPT-1, COMMIT-4. */
#include "store/store_gate.h"

#include <stdatomic.h>

static void
announce(struct store_gate *gate)
{
    (void) atomic_fetch_add_explicit(&gate->left, 1, memory_order_seq_cst);
    wait_wake(&gate->left, WAIT_ALL);
}

int
store_gate_enter(const struct store_gate_ref *g, struct self *self, struct err *e)
{
    _Atomic uint32_t *mine = &g->flags[self->procno].in_gate;

    for (;;) {
        int r;

        /* Either we see `closed`, or the closer sees our flag. */
        atomic_store_explicit(mine, 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&g->gate->closed, memory_order_acquire) == 0)
            return 0;
        atomic_store_explicit(mine, 0, memory_order_release);
        announce(g->gate);
        r = wait_sleep(self, &g->gate->closed, 1, 0, WAIT_GATE, e);
        if (r < 0)
            return r;
    }
}

void
store_gate_leave(const struct store_gate_ref *g, struct self *self)
{
    atomic_store_explicit(&g->flags[self->procno].in_gate, 0, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&g->gate->closed, memory_order_relaxed) != 0)
        announce(g->gate);
}

void
store_gate_take_long(const struct store_gate_ref *g, struct self *self)
{
    ASSERT(self->hold > 0);
    (void) fair_take(self, &g->gate->long_commit, g->waits, LOCK_LONG_COMMIT, WAIT_LONG_COMMIT, 0,
                     NULL);
}

void
store_gate_drop_long(const struct store_gate_ref *g, struct self *self)
{
    fair_drop(self, &g->gate->long_commit, g->waits, LOCK_LONG_COMMIT);
}

static void
wait_until_empty(const struct store_gate_ref *g, struct self *self, uint32_t procno)
{
    for (;;) {
        uint32_t seen = atomic_load_explicit(&g->gate->left, memory_order_seq_cst);

        if (atomic_load_explicit(&g->flags[procno].in_gate, memory_order_acquire) == 0)
            return;
        (void) wait_sleep(self, &g->gate->left, seen, 0, WAIT_GATE, NULL);
    }
}

void
store_gate_close(const struct store_gate_ref *g, struct self *self)
{
    store_gate_take_long(g, self);
    atomic_store_explicit(&g->gate->closed, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < g->n; i++)
        wait_until_empty(g, self, i);
}

void
store_gate_open(const struct store_gate_ref *g, struct self *self)
{
    atomic_store_explicit(&g->gate->closed, 0, memory_order_release);
    wait_wake(&g->gate->closed, WAIT_ALL);
    store_gate_drop_long(g, self);
}
