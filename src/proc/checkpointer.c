/* The checkpointer: checkpoints by time, by log volume, on request, and the last one.
 *
 * Runs in: itself, from the start of recovery until after everybody else. INT: make the shutdown
 * checkpoint and say so; USR2: leave. Any other end is a crash of all. Owns: the files' descriptors
 * and locks (FILE-8), the page's checkpoint counters. Source: postmaster.md 5.6, 5.10; CKPT-1 …
 * CKPT-6. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "proc/attach.h"
#include "proc/files.h"
#include "sql/catalog.h"
#include "store/store_checkpoint.h"
#include "store/store_file.h"
#include "store/store_shared.h"
#include "vfs/vfs.h"

#define ROUND_USEC      USEC_PER_SEC /* files, dropped databases, log volume */
#define PACE_USEC       (100 * USEC_PER_MSEC)
#define AFTER_FAIL_USEC USEC_PER_SEC

static struct attached me;

static struct {
    usec_t last_usec;   /* start of the last checkpoint, monotonic (P08) */
    usec_t not_before;  /* after a failure */
    lsn_t last_redo;    /* redo point of the last one */
    usec_t looked_usec; /* last look after the files, monotonic */
    struct files files; /* what the catalogue names */
    int files_code;     /* of the last look after them: told when it changes */
} now_state;

/* ---- log lines ---- */
static void
log_end(const struct attached *a, const struct checkpoint_stats *s)
{
    double n_frames = (double) (a->start->conf->v.shared_buffers / PAGE_BYTES);

    if (!a->start->conf->v.log_checkpoints)
        return;
    log_msg(
        LOG_LEVEL_LOG,
        "checkpoint complete: wrote %llu buffers (%.1f%%); %u WAL file(s) added, %u removed, %u "
        "recycled; write=%.3f s, sync=%.3f s, total=%.3f s; sync files=%u, longest=%.3f s; "
        "distance=%llu kB, estimate=%llu kB; lsn=" LSN_FMT ", redo lsn=" LSN_FMT,
        (unsigned long long) s->n_pages, 100.0 * (double) s->n_pages / MAX(n_frames, 1.0),
        s->n_segs_added, s->n_segs_removed, s->n_segs_recycled, (double) s->write_usec / 1e6,
        (double) s->sync_usec / 1e6, (double) s->total_usec / 1e6, s->n_files,
        (double) s->longest_sync_usec / 1e6, (unsigned long long) (s->distance / 1024),
        (unsigned long long) (s->estimate / 1024), LSN_ARGS(s->record), LSN_ARGS(s->redo));
}

/* P07. */
static void
warn_if_frequent(const struct attached *a, uint32_t flags, usec_t now)
{
    usec_t since = now - now_state.last_usec;
    struct err e = ERR_INIT;

    if ((flags & CKPT_CAUSE_XLOG) == 0 || now_state.last_usec == 0 ||
        since >= (usec_t) a->start->conf->v.checkpoint_warning)
        return;
    (void) ERR(&e, SUCCESS, "checkpoints are occurring too frequently (%.0f seconds apart)",
               (double) since / 1e6);
    err_hint(&e, "Consider increasing the configuration parameter \"max_wal_size\".");
    log_err_event(LOG_LEVEL_LOG, LOG_EVENT_CHECKPOINTS, NULL, "", &e);
}

/* ---- files (FILE-3, FILE-8) ---- */
/* New ones are locked, dropped ones go. */
static void
look_after_files(struct attached *a)
{
    struct err e = ERR_INIT;
    int r;

    now_state.looked_usec = clock_mono_usec();
    r = files_follow(&now_state.files, a, &e);

    if (r >= 0 && now_state.files.all_locked)
        atomic_store_explicit(&segment_page(a->start->segment)->files_locked, 1,
                              memory_order_release);
    (void) store_purge_dropped(&a->store, &e);
    attach_report(&e, "", &now_state.files_code);
}

/* ---- pacing (P09, P10) ---- */
static bool
is_hurried(struct attached *a, uint32_t bits)
{
    uint32_t asked = atomic_load_explicit(&segment_page(a->start->segment)->checkpoint_asked,
                                          memory_order_relaxed);

    return (bits & (REQ_FINISH | REQ_STOP)) != 0 || (asked & SEGMENT_CHECKPOINT_FAST) != 0 ||
           (store_checkpoint_peek(&a->store) & CKPT_IMMEDIATE) != 0;
}

/* Are we ahead of both shares, of time and of log? */
static bool
is_ahead(const struct attached *a, double progress)
{
    const struct conf_values *v = &a->start->conf->v;
    double done = progress * v->checkpoint_completion_target;
    lsn_t redo = store_redo_pointer(&a->store);
    lsn_t end = wal_insert_end(&a->wal);
    double log_share =
        end > redo ? (double) (end - redo) /
                         ((double) v->max_wal_size / (1.0 + v->checkpoint_completion_target))
                   : 0;
    double time_share =
        (double) (clock_mono_usec() - now_state.last_usec) / (double) v->checkpoint_timeout;

    return done >= log_share && done >= time_share;
}

static bool
on_pace(void *arg, double progress)
{
    struct attached *a = arg;

    if (clock_mono_usec() - now_state.looked_usec >= ROUND_USEC)
        look_after_files(a); /* whoever waits for a DROP does not wait for this checkpoint */
    if (is_hurried(a, atomic_load_explicit(&a->slot->request, memory_order_relaxed)))
        return true;
    if (!is_ahead(a, progress))
        return false;
    /* Requests stay set for the main loop; only what ends the throttling is looked at here. */
    uint32_t bits = attach_nap(a, PACE_USEC);

    if ((bits & REQ_RELOAD) != 0) {
        slot_request_clear(a->slot, REQ_RELOAD);
        (void) child_reload(a->start, NULL);
    }
    return is_hurried(a, bits);
}

/* ---- one checkpoint ---- */
static void
count_begin(struct attached *a)
{
    struct segment_page *page = segment_page(a->start->segment);

    (void) atomic_fetch_add_explicit(&page->checkpoint_started, 1, memory_order_acq_rel);
    segment_tell(a->start->segment, MSG_CHECKPOINT);
}

static void
count_end(struct attached *a, int r)
{
    struct segment_page *page = segment_page(a->start->segment);
    uint64_t n = atomic_load_explicit(&page->checkpoint_started, memory_order_relaxed);

    if (r < 0)
        atomic_store_explicit(&page->checkpoint_failed, n, memory_order_relaxed);
    atomic_store_explicit(&page->checkpoint_done, n, memory_order_release);
    segment_tell(a->start->segment, MSG_CHECKPOINT);
}

/* pg_stat_bgwriter. */
static void
count_stats(struct attached *a, const struct checkpoint_stats *s)
{
    stat_add(&a->self, (s->flags & CKPT_CAUSE_TIME) != 0 ? STAT_CKPT_TIMED : STAT_CKPT_REQ, 1);
    stat_add(&a->self, STAT_CKPT_WRITE_TIME, s->write_usec);
    stat_add(&a->self, STAT_CKPT_SYNC_TIME, s->sync_usec);
}

/* Returns what store_checkpoint() returned; failures are logged here. */
static int
checkpoint(struct attached *a, uint32_t flags, struct err *e)
{
    struct checkpoint_stats stats;
    char text[STORE_FLAGS_BYTES];
    usec_t now = clock_mono_usec();
    int r;

    warn_if_frequent(a, flags, now);
    now_state.last_usec = now; /* P08 */
    if (a->start->conf->v.log_checkpoints && !store_checkpoint_is_idle(&a->store, flags))
        log_msg(LOG_LEVEL_LOG, "checkpoint starting: %s", store_checkpoint_flags_text(flags, text));
    r = store_checkpoint(&a->store, flags, (flags & CKPT_SHUTDOWN) != 0 ? NULL : on_pace, a, &stats,
                         e);
    if (r == 0) {
        count_stats(a, &stats);
        log_end(a, &stats);
    }
    if (r < 0)
        log_err(LOG_LEVEL_ERROR, "", e);
    return r;
}

/* Everything that was asked, answered by one checkpoint (P04, P05). */
static void
answer(struct attached *a, uint32_t flags, uint64_t ticket)
{
    struct err e = ERR_INIT;
    int r;

    count_begin(a);
    r = checkpoint(a, flags, &e);
    if (r < 0)
        now_state.not_before = clock_mono_usec() + AFTER_FAIL_USEC;
    if (ticket != 0)
        store_checkpoint_done(&a->store, ticket, r < 0 ? r : 0, &e);
    count_end(a, r);
}

/* ---- what is due ---- */
static uint32_t
asked_by_postmaster(struct attached *a)
{
    uint32_t bits = atomic_exchange_explicit(&segment_page(a->start->segment)->checkpoint_asked, 0,
                                             memory_order_acquire);
    uint32_t flags = bits != 0 ? CKPT_FORCE : 0;

    return flags | ((bits & SEGMENT_CHECKPOINT_FAST) != 0 ? CKPT_IMMEDIATE : 0);
}

static void
look_for_work(struct attached *a)
{
    usec_t now = clock_mono_usec();
    uint64_t ticket = 0;
    uint32_t flags;

    if (now < now_state.not_before)
        return;
    if (store_checkpoint_is_due(&a->store))
        (void) store_checkpoint_ask(&a->store, CKPT_CAUSE_XLOG);
    else if (now - now_state.last_usec >= (usec_t) a->start->conf->v.checkpoint_timeout)
        (void) store_checkpoint_ask(&a->store, CKPT_CAUSE_TIME);
    flags = asked_by_postmaster(a);
    flags |= store_checkpoint_take_request(&a->store, &ticket);
    if (flags != 0)
        answer(a, flags, ticket);
}

/* ---- archive_timeout ---- */
/* A segment in which something was written is switched, so that it is archived, this long after the
 * last one was. */
static void
look_at_archive_timeout(struct attached *a)
{
    const struct conf_values *v = &a->start->conf->v;
    static int last_code;
    struct err e = ERR_INIT;
    lsn_t at;

    if (v->archive_mode == CONF_ARCHIVE_OFF || v->archive_timeout == 0 ||
        clock_mono_usec() - wal_switched_usec(&a->wal) < (usec_t) v->archive_timeout)
        return;
    (void) store_switch_log(&a->store, &at, &e);
    attach_report(&e, "archive_timeout: ", &last_code);
}

/* So that everything up to the stop is archived whole (5.10). */
static void
switch_last_segment(struct attached *a)
{
    struct err e = ERR_INIT;
    lsn_t at;

    if (a->start->conf->v.archive_mode != CONF_ARCHIVE_OFF &&
        store_switch_log(&a->store, &at, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "", &e);
}

/* ---- the last one ---- */
static void
wait_for_leave(struct attached *a)
{
    while ((attach_sleep(a, 0) & REQ_STOP) == 0)
        slot_request_clear(a->slot, ~(uint32_t) REQ_STOP);
}

static void
save_stats(struct attached *a)
{
    struct err e = ERR_INIT;

    if (stat_save(&a->stats, &a->io, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "", &e);
}

/* INT: make it, say so, stay until USR2. During recovery there is none to make: the next start
 * recovers again. */
NORETURN static void
finish(struct attached *a, bool has_recovered)
{
    struct segment *seg = a->start->segment;
    struct err e = ERR_INIT;

    slot_request_clear(a->slot, REQ_FINISH);
    if (has_recovered) {
        log_msg(LOG_LEVEL_LOG, "shutting down");
        if (files_follow(&now_state.files, a, &e) <
            0) /* for the notes; may be newer than our last look */
            log_err(LOG_LEVEL_WARNING, "", &e);
        err_clear(&e);
        switch_last_segment(a);
        count_begin(a);
        if (checkpoint(a, CKPT_SHUTDOWN, &e) < 0)
            child_exit(CHILD_FATAL); /* logged; the end of the server is abnormal */
        err_clear(&e);
        if (files_note_clean_stop(&now_state.files, a, &e) < 0)
            log_err(LOG_LEVEL_WARNING, "", &e);
        err_clear(&e);
        save_stats(a);
        count_end(a, 0);
        atomic_store_explicit(&segment_page(seg)->has_shutdown_checkpoint, 1, memory_order_release);
    }
    segment_tell(seg, MSG_WAL_IS_SHUT);
    wait_for_leave(a);
    if (has_recovered && a->start->conf->v.archive_mode != CONF_ARCHIVE_OFF)
        save_stats(a); /* the archiver has counted since */
    child_exit(CHILD_OK);
}

/* ---- life ---- */
NORETURN static void
run(struct attached *a)
{
    bool has_recovered = false;

    for (;;) {
        uint32_t bits =
            attach_sleep(a, clock_mono_usec() + (has_recovered ? ROUND_USEC : PACE_USEC));

        slot_request_clear(a->slot, bits & ~(uint32_t) (REQ_FINISH | REQ_STOP));
        if ((bits & REQ_RELOAD) != 0)
            (void) child_reload(a->start, NULL);
        if (!has_recovered && !attach_in_recovery(a)) {
            has_recovered = true;
            now_state.last_usec = clock_mono_usec();
        }
        beat_step(&a->slot->beat);
        if ((bits & REQ_FINISH) != 0)
            finish(a, has_recovered);
        if ((bits & REQ_STOP) != 0)
            child_exit(CHILD_OK); /* before its time: the postmaster makes a crash of it */
        if (!has_recovered)
            continue;
        look_after_files(a);
        look_at_archive_timeout(a);
        look_for_work(a);
    }
}

NORETURN void
checkpointer_main(const struct child_start *start)
{
    struct err e = ERR_INIT;
    int r = attach_begin(&me, start, &e);

    if (r == -ERR_ADMIN_SHUTDOWN)
        finish(&me, false);
    if (r == 0)
        r = vfs_register(CHILD_TEMP_DIR, &e);
    if (r < 0)
        child_exit_err(CHILD_FATAL, &e);
    store_role_take(&me.store, STORE_ROLE_CHECKPOINTER);
    run(&me);
}
