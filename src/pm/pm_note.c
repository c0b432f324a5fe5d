/* What of the postmaster's life goes into its history (pm_history.h). Runs in: postmaster. Owns:
 * who asked for what is being done. Source: systemd-ops 4.4 (`history`), 2.7 (the requester is
 * named). */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pm/pm_int.h"

#define CLEANLY "stopped cleanly"

void
pm_note_asker(struct pm *pm, const struct pm_ask *ask)
{
    pm->asked = (struct pm_ask){ .by = NULL };
    if (ask == NULL)
        return;
    if (ask->by != NULL) {
        (void) snprintf(pm->asked_by, sizeof pm->asked_by, "%s", ask->by);
        pm->asked.by = pm->asked_by;
    }
    if (ask->reason != NULL) {
        (void) snprintf(pm->asked_reason, sizeof pm->asked_reason, "%s", ask->reason);
        pm->asked.reason = pm->asked_reason;
    }
}

static void
note(struct pm *pm, enum history_event event, struct history_entry *entry)
{
    entry->time_usec = clock_real_usec();
    entry->pid = getpid();
    history_add(&pm->history, event, entry);
}

static void
note_asked(struct pm *pm, enum history_event event, const char *message)
{
    note(pm, event,
         &(struct history_entry){
             .message = message, .by = pm->asked.by, .reason = pm->asked.reason });
}

/* How the run before this one ended, by the newest entry it left. */
static void
say_before(const struct history *h, char *to, size_t n)
{
    char copy[HISTORY_LINE_BYTES];
    struct history_entry last;

    if (!history_last(h, copy, &last))
        (void) snprintf(to, n, "nothing is known of runs before");
    else if (strcmp(last.event, history_event_name(HISTORY_STOPPED)) != 0)
        (void) snprintf(to, n,
                        "the run before (PID %d) ended without a word: killed, or power was cut",
                        last.pid);
    else if (strncmp(last.message, CLEANLY, strlen(CLEANLY)) == 0)
        (void) snprintf(to, n, "after a clean stop");
    else
        (void) snprintf(to, n, "after this end: %s", last.message);
}

void
pm_note_begin(struct pm *pm)
{
    char before[300];
    char message[400];
    struct err e = ERR_INIT;

    if (history_open(&pm->history, HISTORY_FILE, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "the history of the server is not kept: ", &e);
    say_before(&pm->history, before, sizeof before);
    (void) snprintf(message, sizeof message, "Pinion %s; %s", PINION_VERSION, before);
    note_asked(pm, HISTORY_START, message);
}

/* The newest timeline that was told, 0 = none. */
static uint64_t
last_timeline(const struct history *h)
{
    char copy[HISTORY_LINE_BYTES];
    struct history_entry entry;

    for (unsigned i = h->n; i-- > 0;)
        if (history_get(h, i, copy, &entry) && entry.timeline != 0)
            return entry.timeline;
    return 0;
}

void
pm_note_ready(struct pm *pm)
{
    const struct shm_status *st = segment_status(pm->seg);
    uint64_t tli = atomic_load_explicit(&st->tli, memory_order_relaxed);
    uint64_t before = last_timeline(&pm->history);
    usec_t now = clock_real_usec();
    char message[200];

    if (pm->n_restarts > 0) /* the memory is reset after crashes only */
        (void) snprintf(message, sizeof message, "ready again after the crash, restart %u",
                        pm->n_restarts);
    else
        (void) snprintf(message, sizeof message, "ready %.1f s after the start",
                        now > pm->started_usec ? (double) (now - pm->started_usec) / 1e6 : 0.0);
    if (before != 0 && tli > before) {
        char promoted[80];

        (void) snprintf(promoted, sizeof promoted, "timeline %u, before %u", (unsigned) tli,
                        (unsigned) before);
        note(pm, HISTORY_PROMOTION,
             &(struct history_entry){ .message = promoted, .timeline = tli });
    }
    note(pm, HISTORY_READY, &(struct history_entry){ .message = message, .timeline = tli });
}

void
pm_note_crash(struct pm *pm)
{
    note_asked(pm, HISTORY_CRASH, pm->last_crash);
}

void
pm_note_stop(struct pm *pm, const char *how)
{
    note_asked(pm, HISTORY_STOP, how);
}

void
pm_note_stop_canceled(struct pm *pm)
{
    note_asked(pm, HISTORY_STOP_CANCELED, "the smart stop is taken back");
}

/* "; changed: a, b", cut where the room ends. */
static void
add_names(char *to, size_t cap, const char *label, const char *const *names, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        size_t at = strlen(to);

        (void) snprintf(to + at, cap - at, "%s%s", i == 0 ? label : ", ", names[i]);
    }
}

void
pm_note_reload(struct pm *pm, const char *failure)
{
    char message[400];

    if (failure != NULL) {
        (void) snprintf(message, sizeof message, "configuration %u stays active: %s",
                        pm->reload.generation, failure);
        note_asked(pm, HISTORY_RELOAD_FAILED, message);
        return;
    }
    (void) snprintf(message, sizeof message, "configuration %u active", pm->reload.generation);
    add_names(message, sizeof message, "; changed: ", pm->reload.changed, pm->reload.n_changed);
    add_names(message, sizeof message, "; needs a restart: ", pm->reload.pending,
              pm->reload.n_pending);
    note_asked(pm, HISTORY_RELOAD, message);
}

void
pm_note_end(struct pm *pm, const char *refusal)
{
    bool is_clean = refusal == NULL && pm->exit_code == 0 && pm->m.is_clean;
    char message[400];

    if (pm->history.fd < 0)
        return;
    if (refusal != NULL)
        (void) snprintf(message, sizeof message, "refused to start: %s", refusal);
    else if (pm->exit_code != 0)
        (void) snprintf(message, sizeof message, "ended with exit code %d", pm->exit_code);
    else
        (void) snprintf(message, sizeof message, "%s",
                        is_clean ? CLEANLY
                                 : "stopped without a checkpoint, recovery at next start");
    note_asked(pm, HISTORY_STOPPED, message);
    history_close(&pm->history, is_clean);
}
