/* Locks in shared memory, with their order asserted. Runs in every attached process. Owns: nothing;
 * all state is in the lock words and self. */
#include "shm/lock.h"

#include <sched.h>
#include <stdatomic.h>

#include "base/clock.h"

#define PASS_USEC (10 * USEC_PER_MSEC)

/* ---- order ---- */

static void
push_rank(struct self *self, enum lock_rank rank)
{
    ASSERT(self->n_held < SELF_LOCKS_MAX);
    /* Equal ranks: COMMIT-1's two writer locks, two buckets never. */
    if (self->n_held > 0)
        ASSERT(self->held[self->n_held - 1] < rank || rank == LOCK_WRITER);
    self->held[self->n_held++] = (uint8_t) rank;
}

static void
pop_rank(struct self *self, enum lock_rank rank)
{
    for (uint32_t i = self->n_held; i-- > 0;)
        if (self->held[i] == rank) {
            for (; i + 1 < self->n_held; i++)
                self->held[i] = self->held[i + 1];
            self->n_held--;
            return;
        }
    assert_failed("the lock is held", __FILE__, __LINE__);
}

/* ---- SHORT ---- */

#define SPINS 100

static inline void
cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool
spin_grab(struct spin *s)
{
    return atomic_load_explicit(&s->word, memory_order_relaxed) == 0 &&
           atomic_exchange_explicit(&s->word, 1, memory_order_acquire) == 0;
}

static void
spin_wait(struct spin *s)
{
    for (int i = 0; !spin_grab(s); i++) {
        if (i < SPINS)
            cpu_relax();
        else
            (void) sched_yield();
    }
}

static void
spin_free(struct spin *s)
{
    atomic_store_explicit(&s->word, 0, memory_order_release);
}

void
spin_take(struct self *self, struct spin *s, enum lock_rank rank)
{
    push_rank(self, rank);
    spin_wait(s);
}

bool
spin_try(struct self *self, struct spin *s, enum lock_rank rank)
{
    if (!spin_grab(s))
        return false;
    push_rank(self, rank);
    return true;
}

void
spin_drop(struct self *self, struct spin *s, enum lock_rank rank)
{
    pop_rank(self, rank);
    spin_free(s);
}

/* ---- LONG ---- */

#define RW_WRITER   UINT32_C(0x80000000)
#define RW_SLEEPERS UINT32_C(0x40000000) /* somebody sleeps on the word, perhaps */
#define RW_HELD     (~RW_SLEEPERS)

/* Sleeps of a lock are never interrupted: what it guards is short work of another process. */
static void
lock_sleep(struct self *self, _Atomic uint32_t *word, uint32_t seen, enum wait_event why)
{
    self_hold(self);
    (void) wait_sleep(self, word, seen, 0, why, NULL);
    self_resume(self);
}

/* Until *word is no longer v. It is marked first: who changes it wakes only then. */
static void
marked_sleep(struct self *self, _Atomic uint32_t *word, uint32_t v, enum wait_event why)
{
    uint32_t marked = v | RW_SLEEPERS;

    if (v == marked || atomic_compare_exchange_strong_explicit(
                           word, &v, marked, memory_order_relaxed, memory_order_relaxed))
        lock_sleep(self, word, marked, why);
}

void
rwlock_take_shared(struct self *self, struct rwlock *l, enum lock_rank rank, enum wait_event why)
{
    push_rank(self, rank);
    for (;;) {
        uint32_t v = atomic_load_explicit(&l->word, memory_order_relaxed);

        if ((v & RW_WRITER) != 0) {
            marked_sleep(self, &l->word, v, why);
            continue;
        }
        uint32_t w = atomic_load_explicit(&l->waiting, memory_order_relaxed);
        if ((w & RW_HELD) > 0) { /* writers are preferred: wait until those had their turn */
            marked_sleep(self, &l->waiting, w, why);
            continue;
        }
        if (atomic_compare_exchange_weak_explicit(&l->word, &v, v + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
    }
}

/* Keeps the mark: others may sleep. On failure *ret is what stands there. */
static bool
grab_exclusive(struct rwlock *l, uint32_t *ret)
{
    *ret = atomic_load_explicit(&l->word, memory_order_relaxed);
    while ((*ret & RW_HELD) == 0)
        if (atomic_compare_exchange_weak_explicit(&l->word, ret, *ret | RW_WRITER,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

void
rwlock_take_exclusive(struct self *self, struct rwlock *l, enum lock_rank rank, enum wait_event why)
{
    uint32_t v;

    push_rank(self, rank);
    (void) atomic_fetch_add_explicit(&l->waiting, 1, memory_order_relaxed);
    while (!grab_exclusive(l, &v))
        marked_sleep(self, &l->word, v, why);
    if ((atomic_fetch_sub_explicit(&l->waiting, 1, memory_order_relaxed) & RW_SLEEPERS) != 0) {
        (void) atomic_fetch_and_explicit(&l->waiting, RW_HELD, memory_order_relaxed);
        wait_wake(&l->waiting, WAIT_ALL);
    }
}

bool
rwlock_try_exclusive(struct self *self, struct rwlock *l, enum lock_rank rank)
{
    uint32_t v;

    if (!grab_exclusive(l, &v))
        return false;
    push_rank(self, rank);
    return true;
}

void
rwlock_drop_shared(struct self *self, struct rwlock *l, enum lock_rank rank)
{
    pop_rank(self, rank);
    if (atomic_fetch_sub_explicit(&l->word, 1, memory_order_release) == (RW_SLEEPERS | 1)) {
        (void) atomic_fetch_and_explicit(&l->word, RW_HELD, memory_order_relaxed);
        wait_wake(&l->word, WAIT_ALL);
    }
}

void
rwlock_drop_exclusive(struct self *self, struct rwlock *l, enum lock_rank rank)
{
    pop_rank(self, rank);
    if ((atomic_exchange_explicit(&l->word, 0, memory_order_release) & RW_SLEEPERS) != 0)
        wait_wake(&l->word, WAIT_ALL);
}

void
rwlock_pass(struct self *self, struct rwlock *l, enum lock_rank rank, enum wait_event why)
{
    uint32_t n = atomic_load_explicit(&l->waiting, memory_order_relaxed);

    if ((n & RW_HELD) == 0)
        return;
    n = atomic_fetch_or_explicit(&l->waiting, RW_SLEEPERS, memory_order_relaxed) | RW_SLEEPERS;
    rwlock_drop_exclusive(self, l, rank);
    self_hold(self);
    (void) wait_sleep(self, &l->waiting, n, clock_mono_usec() + PASS_USEC, why, NULL);
    self_resume(self);
    rwlock_take_exclusive(self, l, rank, why);
}

/* ---- FAIR ---- */

/* What a waiter is told in `state`. CALLED: the lock was free, come and take it; GRANTED: it is
 * yours. */
enum { WAITING, CALLED, GRANTED };

#define OVERTAKE_USEC USEC_PER_MSEC

static void
fair_own(struct fair *f, uint64_t owner, usec_t now)
{
    atomic_store_explicit(&f->since_usec, owner != 0 ? now : 0, memory_order_relaxed);
    atomic_store_explicit(&f->owner, owner, memory_order_release);
}

static bool
fair_is_free(const struct fair *f)
{
    return atomic_load_explicit(&f->owner, memory_order_relaxed) == 0;
}

static void
queue_append(struct fair *f, struct fair_wait *waits, uint32_t procno)
{
    atomic_store_explicit(&waits[procno].next, 0, memory_order_relaxed);
    atomic_store_explicit(&waits[procno].state, WAITING, memory_order_relaxed);
    if (f->last != 0)
        atomic_store_explicit(&waits[f->last - 1].next, procno + 1, memory_order_relaxed);
    else
        f->first = procno + 1;
    f->last = procno + 1;
}

/* Take `procno` out of the queue, wherever it stands. */
static void
queue_remove(struct fair *f, struct fair_wait *waits, uint32_t procno)
{
    uint32_t before = 0;

    for (uint32_t at = f->first; at != 0;
         before = at, at = atomic_load_explicit(&waits[at - 1].next, memory_order_relaxed)) {
        if (at != procno + 1)
            continue;
        uint32_t next = atomic_load_explicit(&waits[procno].next, memory_order_relaxed);

        if (before != 0) {
            atomic_store_explicit(&waits[before - 1].next, next, memory_order_relaxed);
        } else {
            f->first = next;
            f->called_usec = 0;
        }
        if (f->last == at)
            f->last = before;
        return;
    }
}

/* Tell the first waiter, under the guard; the word on which it must be woken after it, or NULL: it
 * is awake. */
static _Atomic uint32_t *
tell_first(const struct fair *f, struct fair_wait *waits, uint32_t state)
{
    _Atomic uint32_t *word = &waits[f->first - 1].state;

    return atomic_exchange_explicit(word, state, memory_order_release) == WAITING ? word : NULL;
}

static _Atomic uint32_t *
call_first(struct fair *f, struct fair_wait *waits, usec_t now)
{
    if (f->called_usec == 0)
        f->called_usec = now;
    return tell_first(f, waits, CALLED);
}

/* Who comes may take a free lock before the first waiter, for a while from that one's first call.
 */
static bool
may_overtake(const struct fair *f, usec_t now)
{
    return f->first == 0 || f->called_usec == 0 || now < f->called_usec + OVERTAKE_USEC;
}

bool
fair_try(struct self *self, struct fair *f, enum lock_rank rank)
{
    bool taken;

    spin_wait(&f->guard);
    taken = fair_is_free(f) && f->first == 0;
    if (taken)
        fair_own(f, FAIR_OWNER_PROC(self->procno), clock_mono_usec());
    spin_free(&f->guard);
    if (taken)
        push_rank(self, rank);
    return taken;
}

/* A waiter that was woken; true: the lock is ours. */
static bool
take_if_first(struct self *self, struct fair *f, struct fair_wait *waits)
{
    _Atomic uint32_t *state = &waits[self->procno].state;
    bool taken;

    spin_wait(&f->guard);
    taken = atomic_load_explicit(state, memory_order_relaxed) == GRANTED;
    if (!taken && fair_is_free(f) && f->first == self->procno + 1) {
        queue_remove(f, waits, self->procno);
        fair_own(f, FAIR_OWNER_PROC(self->procno), clock_mono_usec());
        taken = true;
    }
    if (!taken)
        atomic_store_explicit(state, WAITING, memory_order_relaxed);
    spin_free(&f->guard);
    return taken;
}

/* Leave the queue after a time-out or interrupt; true if the lock was handed to us meanwhile. A
 * call that nobody has answered goes to the next. */
static bool
leave_queue(struct self *self, struct fair *f, struct fair_wait *waits)
{
    _Atomic uint32_t *wake = NULL;
    bool granted;

    spin_wait(&f->guard);
    granted = atomic_load_explicit(&waits[self->procno].state, memory_order_relaxed) == GRANTED;
    if (!granted) {
        queue_remove(f, waits, self->procno);
        if (fair_is_free(f) && f->first != 0)
            wake = call_first(f, waits, clock_mono_usec());
    }
    spin_free(&f->guard);
    if (wake != NULL)
        wait_wake(wake, 1);
    return granted;
}

int
fair_take(struct self *self, struct fair *f, struct fair_wait *waits, enum lock_rank rank,
          enum wait_event why, usec_t deadline, struct err *e)
{
    usec_t now = clock_mono_usec();
    bool taken;
    int r = 0;

    ASSERT(!fair_is_mine(self, f));
    push_rank(self, rank);
    spin_wait(&f->guard);
    taken = fair_is_free(f) && may_overtake(f, now);
    if (taken)
        fair_own(f, FAIR_OWNER_PROC(self->procno), now);
    else
        queue_append(f, waits, self->procno);
    spin_free(&f->guard);

    while (!taken && r == 0) {
        r = wait_sleep(self, &waits[self->procno].state, WAITING, deadline, why, e);
        taken = r == 0 && take_if_first(self, f, waits);
    }
    if (r != 0 && !leave_queue(self, f, waits)) {
        pop_rank(self, rank);
        return r;
    }
    if (r < 0) /* handed over in the instant of the interrupt: it is ours, and goes to the next */
        fair_drop(self, f, waits, rank);
    return r < 0 ? r : 0;
}

void
fair_drop(struct self *self, struct fair *f, struct fair_wait *waits, enum lock_rank rank)
{
    _Atomic uint32_t *wake = NULL;
    usec_t now = clock_mono_usec();
    uint32_t next;

    pop_rank(self, rank);
    spin_wait(&f->guard);
    next = f->first;
    if (next == 0) {
        fair_own(f, 0, now);
    } else if (may_overtake(f, now)) {
        fair_own(f, 0, now);
        wake = call_first(f, waits, now);
    } else {
        wake = tell_first(f, waits, GRANTED);
        queue_remove(f, waits, next - 1);
        fair_own(f, FAIR_OWNER_PROC(next - 1), now);
    }
    spin_free(&f->guard);
    if (wake != NULL)
        wait_wake(wake, 1);
}

void
fair_reassign(struct self *self, struct fair *f, enum lock_rank rank, uint64_t owner)
{
    ASSERT(fair_is_mine(self, f));
    pop_rank(self, rank);
    atomic_store_explicit(&f->owner, owner, memory_order_release);
}

bool
fair_is_mine(const struct self *self, const struct fair *f)
{
    return atomic_load_explicit(&f->owner, memory_order_acquire) == FAIR_OWNER_PROC(self->procno);
}
