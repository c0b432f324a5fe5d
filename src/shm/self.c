/* This process as shared structures know it: interrupts. Runs in every attached process. */
#include "shm/self.h"

#include <stdatomic.h>

#include "base/clock.h"

void
self_init(struct self *self, uint32_t procno, struct slot *slot)
{
    *self = (struct self){ .procno = procno, .slot = slot };
}

/* INT-1: what is pending, whether or not it may be taken now. */
static int
pending(const struct self *self, struct err *e)
{
    uint32_t req =
        self->slot == NULL ? 0 : atomic_load_explicit(&self->slot->request, memory_order_relaxed);

    if ((req & REQ_TERMINATE) != 0)
        return ERR(e, ADMIN_SHUTDOWN, "terminating connection due to administrator command");
    if ((req & REQ_CANCEL) != 0)
        return ERR(e, QUERY_CANCELED, "canceling statement due to user request");
    if (self->statement_deadline != 0 && clock_mono_usec() >= self->statement_deadline)
        return ERR(e, QUERY_CANCELED, "canceling statement due to statement timeout");
    return 0;
}

/* A look costs a system call: one in each tick of the kernel's is enough. */
static void
look(struct self *self)
{
    usec_t tick = clock_coarse_usec();

    if (tick == self->looked)
        return;
    self->looked = tick;
    self->poll(self->poll_arg);
}

int
self_check(struct self *self, struct err *e)
{
    if (self->poll != NULL)
        look(self);
    return self->hold > 0 ? 0 : pending(self, e);
}
