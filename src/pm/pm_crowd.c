/* Newcomers: clients that have not logged in. How many are at work at once, and who gives its place
 * when places get few.
 *
 * Runs in: postmaster. Owns: when it takes no more for a moment.
 *
 * A storm of connects must not take the processors from sessions (PM-9). Newcomers that are awake
 * compete with them; those that wait for their client cost nothing. So a few may be awake, and the
 * next are taken from the queue of the socket when one of them sleeps, is in, or is gone: it says
 * so (MSG_SETTLED) while page.newcomers_wait is set. Legitimate logins lose nothing: more of them
 * at once would share the same processors. Where processors are short and sessions at work, none
 * are taken for as long again as it took: half of the time is the sessions' alone. Where all are
 * refused, who cannot be answered now waits as well (PM-11).
 * Source: sshd's MaxStartups for the second half; the first is ours. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "pm/pm_int.h"
#include "shm/wait.h"

/* Who is at work for longer hangs, and holds up nobody. A dead end is not seen falling asleep; it
 * has less to do. */
#define AWAKE_USEC    (1 * USEC_PER_SEC)
#define DEAD_END_USEC (10 * USEC_PER_MSEC)
/* In case nobody says anything. */
#define LOOK_USEC (20 * USEC_PER_MSEC)
/* So long may a client be silent before it gives its place to others, when few are left. */
#define SILENCE_USEC (500 * USEC_PER_MSEC)

/* A session at work: as old as this, and it did something as late as that. */
#define SESSION_USEC (1 * USEC_PER_SEC)
#define RECENT_USEC  (100 * USEC_PER_MSEC)
#define PAUSE_USEC   (50 * USEC_PER_MSEC)

void
pm_crowd_init(struct pm *pm)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    pm->newcomers_max = (unsigned) MAX(4, 2 * n);
    pm->schedstat_fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
}

void
pm_crowd_done(struct pm *pm)
{
    closep(&pm->schedstat_fd);
}

/* How long this process has waited for a processor in its life, nanoseconds; 0: it cannot be known.
 */
static uint64_t
waited_for_processor(const struct pm *pm)
{
    char text[80];
    uint64_t ran;
    uint64_t waited;
    ssize_t n = pm->schedstat_fd < 0 ? -1 : pread(pm->schedstat_fd, text, sizeof text - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited) == 2 ? waited : 0;
}

static bool
is_at_work(const struct pm *pm, const struct pm_child *c, usec_t now, usec_t real)
{
    const struct slot *s = segment_slot(pm->seg, c->slot_idx);

    if (c->pid == 0 || !c->is_in || now - c->started_usec < SESSION_USEC)
        return false;
    return atomic_load_explicit(&s->activity, memory_order_relaxed) == ACTIVITY_ACTIVE ||
           real - atomic_load_explicit(&s->state_change_usec, memory_order_relaxed) < RECENT_USEC;
}

static bool
are_sessions_at_work(const struct pm *pm, usec_t now)
{
    usec_t real = clock_real_usec();

    for (unsigned i = 0; i < pm->pool[CHILD_BACKEND].n; i++)
        if (is_at_work(pm, &pm->children[pm->pool[CHILD_BACKEND].first + i], now, real))
            return true;
    return false;
}

/* How long no newcomers are taken, those of the last round being settled. */
static usec_t
pause_for(const struct pm *pm, usec_t now)
{
    usec_t took = now - pm->crowd_open_usec;
    uint64_t waited = waited_for_processor(pm);
    bool is_short = waited == 0 || (waited - pm->crowd_waited) / 1000 > took / 16;

    return is_short && are_sessions_at_work(pm, now) ? MIN(took, PAUSE_USEC) : 0;
}

/* A backend that has not logged in: *ret_asleep says whether it waits for its client. */
static bool
is_newcomer(struct pm *pm, struct pm_child *c, bool *ret_asleep)
{
    const struct slot *s = segment_slot(pm->seg, c->slot_idx);

    *ret_asleep = false;
    if (c->pid == 0 || c->is_in)
        return false;
    c->is_in = atomic_load_explicit(&s->activity, memory_order_relaxed) != ACTIVITY_STARTING;
    *ret_asleep = atomic_load_explicit(&s->wait_event, memory_order_relaxed) == WAIT_CLIENT_READ;
    return !c->is_in;
}

static bool
is_crowded(struct pm *pm)
{
    usec_t now = clock_mono_usec();
    struct pm_view v = pm_view(pm);
    unsigned n = 0;

    if (pm_fsm_accepts(&pm->m) && !pm_fsm_takes(&pm->m, &v))
        return true;
    for (unsigned i = 0; i < pm->pool[CHILD_BACKEND].n; i++) {
        struct pm_child *c = &pm->children[pm->pool[CHILD_BACKEND].first + i];
        bool is_asleep;

        n += is_newcomer(pm, c, &is_asleep) && !is_asleep && now - c->started_usec < AWAKE_USEC;
    }
    for (unsigned i = 0; i < pm->pool[CHILD_DEAD_END].n; i++) {
        const struct pm_child *c = &pm->children[pm->pool[CHILD_DEAD_END].first + i];

        n += c->pid != 0 && now - c->started_usec < DEAD_END_USEC;
    }
    return n >= pm->newcomers_max;
}

static void
tell_that_we_wait(struct pm *pm, bool on)
{
    atomic_store_explicit(&segment_page(pm->seg)->newcomers_wait, on, memory_order_seq_cst);
}

bool
pm_crowd_is_full(struct pm *pm)
{
    if (!is_crowded(pm))
        return false;
    pm->is_crowded = true;
    pm_listen_enable(pm, false);
    tell_that_we_wait(pm, true);
    pm_crowd_look(pm); /* who fell asleep meanwhile has not seen that we wait */
    return pm->is_crowded;
}

void
pm_crowd_look(struct pm *pm)
{
    usec_t now = clock_mono_usec();

    if (!pm->is_crowded)
        return;
    if (pm->crowd_until_usec == 0) {
        if (is_crowded(pm)) {
            pm_clock_arm_by(&pm->crowd, now + LOOK_USEC);
            return;
        }
        pm->crowd_until_usec = now + pause_for(pm, now);
        tell_that_we_wait(pm, false);
        pm_clock_disarm(&pm->crowd);
    }
    if (now < pm->crowd_until_usec) {
        pm_clock_arm_by(&pm->crowd, pm->crowd_until_usec);
        return;
    }
    pm->is_crowded = false;
    pm->crowd_until_usec = 0;
    pm->crowd_open_usec = now;
    pm->crowd_waited = waited_for_processor(pm);
    pm_listen_enable(pm, pm_fsm_accepts(&pm->m));
}

/* The client that has been silent for longest, and long enough. */
static struct pm_child *
find_silent(struct pm *pm)
{
    usec_t before = clock_mono_usec() - SILENCE_USEC;
    struct pm_child *oldest = NULL;

    for (unsigned i = 0; i < pm->pool[CHILD_BACKEND].n; i++) {
        struct pm_child *c = &pm->children[pm->pool[CHILD_BACKEND].first + i];
        bool is_asleep;

        if (is_newcomer(pm, c, &is_asleep) && is_asleep && !c->is_shed && c->told == 0 &&
            c->started_usec < before && (oldest == NULL || c->started_usec < oldest->started_usec))
            oldest = c;
    }
    return oldest;
}

void
pm_crowd_shed(struct pm *pm)
{
    unsigned n = pm->pool[CHILD_BACKEND].n;
    struct pm_child *c;

    if (n - pm_child_count(pm, CHILD_BACKEND) > MAX(1u, n / 8))
        return;
    c = find_silent(pm);
    if (c == NULL)
        return;
    c->is_shed = true;
    pm_child_signal(c, SIGTERM);
}
