/* Slots: requests and the activity texts. Runs in every attached process; the postmaster only hands
 * slots out. */
#include "shm/slot.h"

#include <stdatomic.h>
#include <string.h>

#include "shm/wait.h"

void
slot_wake(struct slot *s)
{
    (void) atomic_fetch_add_explicit(&s->wake, 1, memory_order_seq_cst);
    wait_wake(&s->wake, WAIT_ALL);
    /* A sleeper on another word (a lock, an io) looks at its requests at least every 100 ms
     * (INT-1). */
}

void
slot_request(struct slot *s, uint32_t bits)
{
    (void) atomic_fetch_or_explicit(&s->request, bits, memory_order_release);
    slot_wake(s);
}

void
slot_request_clear(struct slot *s, uint32_t bits)
{
    (void) atomic_fetch_and_explicit(&s->request, ~bits, memory_order_acq_rel);
}

void
slot_set_text(struct slot *s, char *field, size_t field_bytes, const char *text, size_t n)
{
    if (n >= field_bytes)
        n = field_bytes - 1;
    (void) atomic_fetch_add_explicit(&s->text_seq, 1, memory_order_acq_rel);
    atomic_thread_fence(memory_order_release);
    memcpy(field, text, n);
    memset(field + n, 0, field_bytes - n);
    (void) atomic_fetch_add_explicit(&s->text_seq, 1, memory_order_release);
}

#define COPY_TRIES 100

bool
slot_copy(const struct slot *s, struct slot *ret)
{
    for (int i = 0; i < COPY_TRIES; i++) {
        uint32_t before = atomic_load_explicit(&s->text_seq, memory_order_acquire);

        if ((before & 1) != 0)
            continue;
        memcpy(ret, s, sizeof *ret);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&s->text_seq, memory_order_relaxed) == before) {
            ret->role_name[SLOT_NAME_BYTES - 1] = '\0';
            ret->db_name[SLOT_NAME_BYTES - 1] = '\0';
            ret->application_name[SLOT_NAME_BYTES - 1] = '\0';
            ret->client_addr[SLOT_NAME_BYTES - 1] = '\0';
            ret->query[SLOT_QUERY_BYTES - 1] = '\0';
            return true;
        }
    }
    return false;
}

const char *
slot_activity_name(enum slot_activity a)
{
    switch (a) {
    case ACTIVITY_STARTING:
        return "starting";
    case ACTIVITY_IDLE:
        return "idle";
    case ACTIVITY_ACTIVE:
        return "active";
    case ACTIVITY_IDLE_IN_TRANSACTION:
        return "idle in transaction";
    case ACTIVITY_IDLE_IN_FAILED_TRANSACTION:
        return "idle in transaction (aborted)";
    }
    return "unknown";
}
