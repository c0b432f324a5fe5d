/* The startup process: recovery in passes (redo, resolve, settle, verify), then it is gone.
 *
 * Runs in: itself; started once per start and once per reset of the memory. It fills the segment
 * (SHM-1), then goes from pass to pass (startup_passes.def), each shown in the status; exits 0. A
 * failure in any pass exits 1 and ends the server, and the next start begins with redo again:
 * between two passes everything that the next one needs is on disk. Owns: nothing that outlives it.
 * Source: postmaster.md 5.1, 1.10; REDO-1 … REDO-7. */
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/title.h"
#include "conf/conf.h"
#include "proc/attach.h"
#include "proc/files.h"
#include "proc/startup_archive.h"
#include "proc/startup_verify.h"
#include "sql/catalog.h"
#include "store/store_recover.h"
#include "vfs/vfs.h"
#include "vfs/vfs_selftest.h"
#include "wal/wal_control.h"

/* How long clients wait for the checkpointer to lock the files. */
#define FILES_PATIENCE_USEC (5 * USEC_PER_SEC)

/* And how long recovery waits for whoever has a file open. */
#define LOCK_PATIENCE_USEC (5 * USEC_PER_SEC)

static struct attached me;

struct recovery {
    struct startup_archive archive; /* first: its callbacks and ours are given the same */
    struct attached *a;
    bool has_begun; /* the postmaster knows that redo runs */
};

/* "2026-11-21 13:40:00 UTC". */
static const char *
time_text(int64_t unix_sec, char *p, size_t n)
{
    time_t t = (time_t) unix_sec;
    struct tm tm;

    (void) gmtime_r(&t, &tm);
    (void) strftime(p, n, "%F %T UTC", &tm);
    return p;
}

/* What the control file says about the last end (R02). The store reads it again and judges it. */
static int
log_last_end(struct attached *a, struct err *e)
{
    struct wal_control c;
    char when[40];
    int r = wal_control_read(&a->io, &c, e);

    if (r < 0)
        return r;
    (void) time_text(c.time_sec, when, sizeof when);
    switch (c.state) {
    case WAL_STATE_STARTING_UP:
    case WAL_STATE_SHUT_DOWN:
        log_msg(LOG_LEVEL_LOG, "database system was shut down at %s", when);
        break;
    case WAL_STATE_SHUT_DOWN_IN_RECOVERY:
        log_msg(LOG_LEVEL_LOG, "database system was shut down in recovery at %s", when);
        break;
    case WAL_STATE_SHUTTING_DOWN:
        log_msg(LOG_LEVEL_LOG, "database system shutdown was interrupted; last known up at %s",
                when);
        break;
    case WAL_STATE_IN_CRASH_RECOVERY:
        log_msg(LOG_LEVEL_LOG, "database system was interrupted while in recovery at %s", when);
        break;
    case WAL_STATE_IN_ARCHIVE_RECOVERY:
        log_msg(LOG_LEVEL_LOG, "database system was interrupted while in recovery at log time %s",
                when);
        break;
    case WAL_STATE_IN_PRODUCTION:
        log_msg(LOG_LEVEL_LOG, "database system was interrupted; last known up at %s", when);
        break;
    case WAL_STATES:
        break;
    }
    if (c.state != WAL_STATE_SHUT_DOWN && c.state != WAL_STATE_IN_ARCHIVE_RECOVERY &&
        c.min_recovery_lsn == 0)
        log_msg(LOG_LEVEL_LOG,
                "database system was not properly shut down; automatic recovery in progress");
    return 0;
}

/* ---- passes ---- */

static struct shm_startup *
shown(const struct attached *a)
{
    return &segment_status(a->start->segment)->startup;
}

static void
begin_pass(const struct attached *a, enum startup_pass pass)
{
    char title[80];

    startup_pass_begin(shown(a), pass);
    (void) snprintf(title, sizeof title, "pinion: startup %s", startup_pass_name(pass));
    title_set(title);
    log_msg(LOG_LEVEL_DEBUG, "startup pass %s", startup_pass_name(pass));
    segment_tell(a->start->segment, MSG_PROGRESS);
}

static void
on_pass(void *arg, enum startup_pass pass)
{
    const struct recovery *rec = arg;

    begin_pass(rec->a, pass);
}

static void
log_redo_start(lsn_t from)
{
    char lsn[60];
    const char *const fields[] = { lsn, NULL };

    (void) snprintf(lsn, sizeof lsn, "PINION_REDO_LSN=" LSN_FMT, LSN_ARGS(from));
    log_event(LOG_LEVEL_LOG, LOG_EVENT_RECOVERY_BEGINS, fields, "redo starts at " LSN_FMT,
              LSN_ARGS(from));
}

/* First call: redo runs. Every call: somebody gets on. */
static int
on_progress(void *arg, lsn_t at)
{
    struct recovery *rec = arg;
    struct attached *a = rec->a;

    if (!rec->has_begun) {
        rec->has_begun = true;
        log_redo_start(atomic_load_explicit(&segment_status(a->start->segment)->redo_from_lsn,
                                            memory_order_relaxed));
        segment_tell(a->start->segment, MSG_REDO_STARTED);
    }
    (void) at;
    beat_step(&a->slot->beat);
    return self_check(&a->self, NULL);
}

static double
seconds(usec_t t)
{
    return (double) t / USEC_PER_SEC;
}

static void
log_redo(const struct recovery *rec, const struct recover_info *info)
{
    if (info->control_copy == 1)
        log_msg(LOG_LEVEL_WARNING, "first copy of \"%s\" is damaged, the second was used",
                WAL_CONTROL_PATH);
    if (info->was_clean)
        return;
    if (info->goes_on)
        log_msg(LOG_LEVEL_WARNING, "the log goes on behind the shutdown checkpoint");
    if (!rec->has_begun)
        log_redo_start(info->redo_from);
    log_event(LOG_LEVEL_LOG, LOG_EVENT_RECOVERY_ENDS, NULL,
              "redo done at " LSN_FMT ": %llu records, %llu commits; CPU: user: %.3f s, "
              "system: %.3f s, elapsed: %.3f s",
              LSN_ARGS(info->end), (unsigned long long) info->n_records,
              (unsigned long long) info->n_commits, seconds(info->redo_user_usec),
              seconds(info->redo_system_usec), seconds(info->redo_usec));
}

/* Statistics go on after a clean stop. Without them the server works as well. */
static void
take_statistics(struct attached *a, bool was_clean)
{
    struct err e = ERR_INIT;

    if (stat_restore(&a->stats, &a->io, was_clean, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "", &e);
}

/* Settle: what the catalogue names is what there is (FILE-6). */
static int
settle(struct attached *a, struct recover_info *info, struct err *e)
{
    struct store_listed *list = NULL;
    uint32_t n = 0;
    int r = catalog_list_files(&a->store, &list, &n, e);

    if (r == 0)
        r = store_recover_finish(&a->store, list, n, info, e);
    free(list);
    return r;
}

/* Its first page will not pass its CRC, so nobody can attach to it; say why. */
static void
on_changed_file(void *arg, oid_t oid, oid_t rel)
{
    struct err e = ERR_INIT;

    (void) arg;
    (void) ERR(&e, DATA_CORRUPTED,
               "database file \"base/%u/%u\" was changed while the server was stopped", oid, rel);
    err_detail(&e, "Its database is refused: what was written lacks our page stamps.");
    err_hint(&e,
             "Put the file back as it was. Taking such a file over (pinionctl adopt --file) is not "
             "part of this version.");
    log_err(LOG_LEVEL_WARNING, "", &e);
}

static int
recover(struct attached *a, struct err *e)
{
    struct recovery rec = { .a = a };
    struct recover_ask ask;
    struct recover_info info;
    int r = vfs_register(CHILD_TEMP_DIR, e);

    if (r == 0)
        r = vfs_selftest(e);
    if (r == 0)
        r = log_last_end(a, e);
    if (r == 0)
        r = store_lock_present(&a->store, LOCK_PATIENCE_USEC, e);
    if (r == 0)
        r = files_check_stopped(&a->io, on_changed_file, NULL, e);
    if (r == 0)
        r = startup_archive_ask(&rec.archive, a, &ask, e);
    if (r < 0)
        return r;
    ask.progress = on_progress;
    ask.pass = on_pass;
    ask.keeps_touched = a->start->conf->v.startup_verify != CONF_VERIFY_OFF;
    ask.arg = &rec;
    r = store_recover_as(&a->store, &ask, &info, e);
    if (r == RECOVER_SHUT_DOWN)
        child_exit(CHILD_TARGET);
    if (r < 0)
        return r;
    log_redo(&rec, &info);
    take_statistics(a, info.was_clean && !info.goes_on);
    begin_pass(a, STARTUP_SETTLE);
    r = settle(a, &info, e);
    if (r < 0 || a->start->conf->v.startup_verify == CONF_VERIFY_OFF)
        return r;
    begin_pass(a, STARTUP_VERIFY);
    return startup_verify(a, e);
}

/* FILE-8: clients come when nobody else's sqlite3 can open a database file any more. A server
 * whose checkpointer cannot lock (it says why) serves all the same. */
static int
wait_for_locked_files(struct attached *a)
{
    struct segment_page *page = segment_page(a->start->segment);
    usec_t deadline = clock_mono_usec() + FILES_PATIENCE_USEC;

    while (atomic_load_explicit(&page->files_locked, memory_order_acquire) == 0 &&
           clock_mono_usec() < deadline) {
        int r = self_check(&a->self, NULL);

        if (r < 0)
            return r;
        slot_request(attach_slot_of(a, CHILD_CHECKPOINTER), REQ_WORK);
        (void) attach_nap(a, USEC_PER_MSEC);
    }
    return 0;
}

/* What the server exits with when it cannot start for this reason (systemd-ops.md 3.9): data that
 * no restart will mend, a device (or space on it) that may come back, or a program that has a file
 * open. */
static uint32_t
verdict_of(int r)
{
    switch (-r) {
    case ERR_DATA_CORRUPTED:
    case ERR_INDEX_CORRUPTED:
    case ERR_FEATURE_NOT_SUPPORTED:
    case ERR_UNDEFINED_FILE:
    case ENOENT:
        return 65;
    case ERR_IO_ERROR:
    case EIO:
    case ERR_DISK_FULL:
    case ENOSPC:
    case EDQUOT:
        return 74;
    case ERR_OBJECT_IN_USE:
        return 75;
    case ERR_INVALID_PARAMETER_VALUE:
        return 78;
    default: /* codes, not an enum of ours */
        return 0;
    }
}

static void
tell_verdict(int r)
{
    atomic_store_explicit(&segment_page(me.start->segment)->startup_verdict, verdict_of(r),
                          memory_order_release);
}

/* Redo found a page that it cannot mend. */
static void
on_panic(const struct err *e)
{
    tell_verdict(e->code);
    child_exit_err(CHILD_PANIC, e);
}

NORETURN void
startup_main(const struct child_start *start)
{
    struct err e = ERR_INIT;
    int r = attach_first(&me, start, &e);

    panic_hook = on_panic;
    if (r == 0) {
        atomic_store_explicit(&shown(&me)->pid, getpid(), memory_order_relaxed);
        r = recover(&me, &e);
    }
    if (r == 0)
        r = wait_for_locked_files(&me);
    if (r == -ERR_ADMIN_SHUTDOWN)
        child_exit(CHILD_FATAL); /* told to leave: nothing to explain */
    if (r < 0) {
        tell_verdict(r);
        child_exit_err(CHILD_FATAL, &e);
    }
    begin_pass(&me, STARTUP_DONE);
    atomic_store_explicit(&shown(&me)->pid, 0, memory_order_relaxed);
    child_exit(CHILD_OK);
}
