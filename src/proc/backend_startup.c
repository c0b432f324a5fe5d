/* From accept to start-up packet: encryption refused, cancel requests passed on, junk dropped.
 *
 * Runs in: backend, dead-end child. Owns: nothing. Source: wal-format.md 6.2;
 * postmaster.md 3.1, 3.3-3.7. */
#include <signal.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/log.h"
#include "proc/backend.h"
#include "proc/segment.h"

/* A stopping server has no patience for those who have not said who they are. */
#define STOPPING_USEC (1 * USEC_PER_SEC)

static void
log_wrong_key(uint32_t pid)
{
    log_msg(LOG_LEVEL_LOG, "wrong key in cancel request for process %u", pid);
}

static void
log_no_process(uint32_t pid)
{
    log_msg(LOG_LEVEL_LOG, "PID %u in cancel request did not match any process", pid);
}

/* A dead end maps no segment: it knows the backends as the postmaster knew them, and signals. */
static void
cancel_by_signal(const struct child_start *start, uint32_t pid, uint32_t key)
{
    for (unsigned i = 0; i < start->n_keys; i++) {
        const struct child_key *k = &start->keys[i];

        if (k->pid <= 0 || (uint32_t) k->pid != pid)
            continue;
        if (k->key == key)
            (void) kill(k->pid, SIGINT);
        else
            log_wrong_key(pid);
        return;
    }
    log_no_process(pid);
}

void
backend_cancel(const struct backend *b, uint32_t pid, uint32_t key)
{
    struct segment *seg = b->start->segment;
    int first;
    unsigned n;

    if (b->slot == NULL) {
        cancel_by_signal(b->start, pid, key);
        return;
    }
    n = segment_pool(seg, CHILD_BACKEND, &first);
    for (unsigned i = 0; i < n; i++) {
        struct slot *s = segment_slot(seg, first + (int) i);

        if (atomic_load_explicit(&s->state, memory_order_acquire) != SLOT_ATTACHED ||
            (uint32_t) atomic_load_explicit(&s->pid, memory_order_relaxed) != pid)
            continue;
        if ((uint32_t) s->cancel_key != key) {
            log_wrong_key(pid);
            return;
        }
        slot_request(s, REQ_CANCEL);
        (void) kill((pid_t) pid, SIGUSR1); /* it may sleep on its socket */
        return;
    }
    log_no_process(pid);
}

/* One packet. What cannot be one ends the connection without a word: it is no client of ours. */
static void
read_packet(struct backend *b, struct pgwire_startup *ret)
{
    struct err e = ERR_INIT;
    const uint8_t *p;
    size_t n;
    int r = pgwire_read_startup(&b->conn, &p, &n, &e);

    if (r == PGWIRE_EOF)
        backend_leave(b, CHILD_OK);
    if (r == -ERR_PROTOCOL_VIOLATION) {
        log_err(LOG_LEVEL_LOG, "", &e);
        backend_leave(b, CHILD_OK);
    }
    if (r < 0)
        backend_broken(b, r, &e);
    r = pgwire_get_startup(p, n, ret, &e);
    b->is_old_client = r == -ERR_FEATURE_NOT_SUPPORTED && ret->major < 3;
    if (r < 0)
        backend_fatal(b, &e);
}

static void
answer_no(struct backend *b)
{
    struct err e = ERR_INIT;
    int r;

    if (pgwire_has_input(&b->conn)) { /* said before it could know our answer */
        (void) pgwire_step(b->state, PGWIRE_ON_EARLY);
        (void) ERR(&e, PROTOCOL_VIOLATION, "received unencrypted data after encryption request");
        backend_fatal(b, &e);
    }
    pgwire_put_u8(&b->conn.out, 'N');
    r = pgwire_flush(&b->conn, &e);
    if (r < 0)
        backend_broken(b, r, &e);
}

void
backend_read_startup(struct backend *b, struct pgwire_startup *ret)
{
    usec_t patience = (usec_t) b->start->conf->v.authentication_timeout;
    struct err e = ERR_INIT;

    if (b->start->is_stopping)
        patience = MIN(patience, STOPPING_USEC);
    b->patience = PATIENCE_STARTUP;
    b->deadline = clock_mono_usec() + patience;
    b->state = PGWIRE_START;
    for (;;) {
        struct pgwire_step step;

        read_packet(b, ret);
        step = pgwire_step(b->state, pgwire_event_of_packet(ret->kind));
        b->state = step.next;
        if (step.order == PGWIRE_DO_AUTHENTICATE)
            break;
        if (step.order == PGWIRE_DO_CANCEL) {
            backend_cancel(b, ret->pid, ret->key);
            backend_leave(b, CHILD_OK);
        }
        if (step.order == PGWIRE_DO_ANSWER_N) {
            answer_no(b);
            continue;
        }
        (void) ERR(&e, PROTOCOL_VIOLATION, "encryption was asked for twice");
        backend_fatal(b, &e);
    }
    b->patience = PATIENCE_AUTH;
    b->deadline = clock_mono_usec() + patience;
}
