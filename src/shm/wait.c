/* The one sleep (INT-1). Runs in every attached process; futexes work across processes on the
 * shared mapping. */
#include "shm/wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define SLEEP_MAX_USEC (100 * USEC_PER_MSEC)

static const struct {
    const char *type;
    const char *name;
} events[WAIT_EVENTS] = {
#define WAIT_EVENT(id, type, shown) [WAIT_##id] = { type, shown },
#include "tbl/wait_events.def"
#undef WAIT_EVENT
};

const char *
wait_event_type(enum wait_event w)
{
    return events[w].type;
}

const char *
wait_event_name(enum wait_event w)
{
    return events[w].name;
}

static long
futex(_Atomic uint32_t *word, int op, uint32_t val, const struct timespec *timeout)
{
    return syscall(SYS_futex, word, op, val, timeout, NULL, 0);
}

void
wait_wake(_Atomic uint32_t *word, uint32_t n)
{
    (void) futex(word, FUTEX_WAKE, n > INT32_MAX ? INT32_MAX : n, NULL);
}

/* How long the next short sleep may be; 0 = the deadline has passed. */
static usec_t
sleep_usec(const struct self *self, usec_t deadline, usec_t now)
{
    usec_t usec = SLEEP_MAX_USEC;

    if (deadline != 0)
        usec = deadline <= now ? 0 : MIN(usec, deadline - now);
    if (usec != 0 && self->hold == 0 && self->statement_deadline > now)
        usec = MIN(usec, self->statement_deadline - now);
    return usec;
}

static void
set_event(struct self *self, enum wait_event why)
{
    if (self->slot != NULL)
        atomic_store_explicit(&self->slot->wait_event, (uint32_t) why, memory_order_relaxed);
}

int
wait_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, usec_t deadline,
           enum wait_event why, struct err *e)
{
    int r = 0;

    set_event(self, why);
    while (atomic_load_explicit(word, memory_order_acquire) == seen) {
        r = self_check(self, e);
        if (r < 0)
            break;
        usec_t usec = sleep_usec(self, deadline, clock_mono_usec());
        if (usec == 0) {
            r = WAIT_TIMED_OUT;
            break;
        }
        struct timespec ts = { .tv_sec = (time_t) (usec / USEC_PER_SEC),
                               .tv_nsec = (long) (usec % USEC_PER_SEC) * 1000 };
        if (futex(word, FUTEX_WAIT, seen, &ts) == 0)
            break; /* woken: the caller tests its condition */
    }
    set_event(self, WAIT_NONE);
    return r;
}
