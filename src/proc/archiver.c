/* The archiver: gives every finished file of the log to archive_command.
 *
 * Runs in: itself, in PM_RUN with archive_mode = on, and on through a stop until the shutdown
 * checkpoint is written: USR2 is one last round over all that is ready, then exit 0. TERM: no
 * further command, exit 0 after 60 s. A command that was killed, or is not there, ends it with 1;
 * it is started again by its back-off. Owns: nothing; pg_wal/archive_status says what is to be
 * done. Source: postmaster.md 1.4, 5.10, 5.11; the rounds and retries are those of PostgreSQL's
 * pgarch.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/title.h"
#include "conf/conf.h"
#include "proc/attach.h"
#include "proc/command.h"
#include "wal/wal_archive.h"

#define ROUND_USEC      (60 * USEC_PER_SEC)
#define BEAT_USEC       (1 * USEC_PER_SEC) /* while there is nothing to do (PM-8) */
#define RETRY_USEC      USEC_PER_SEC
#define RETRIES         3
#define AFTER_TERM_USEC (60 * USEC_PER_SEC)

static struct attached me;

static struct {
    bool reload, finish;
    usec_t term_usec; /* monotonic: when TERM came; 0 = not */
} orders;

/* What has come since the last look. */
static void
take_orders(uint32_t bits)
{
    slot_request_clear(me.slot, bits);
    orders.reload |= (bits & REQ_RELOAD) != 0;
    orders.finish |= (bits & REQ_FINISH) != 0;
    if ((bits & (REQ_STOP | REQ_TERMINATE)) != 0 && orders.term_usec == 0)
        orders.term_usec = clock_mono_usec();
    if (orders.reload)
        (void) child_reload(me.start, NULL);
    orders.reload = false;
}

static void
look(void)
{
    child_poll(NULL);
    take_orders(atomic_load_explicit(&me.slot->request, memory_order_acquire));
    beat_step(&me.slot->beat);
}

/* While a command runs: it is waited for, whatever is asked. QUIT ends both. */
static bool
on_poll(void *arg)
{
    (void) arg;
    look();
    return false;
}

static void
set_title(const char *what, const char *name)
{
    char text[120];

    (void) snprintf(text, sizeof text, "pinion: archiver %s %s", what, name);
    title_set(text);
}

/* ---- one file ---- */

/* 0: it is in the archive. 1: the command said no. A command that could not answer ends us. */
static int
archive(const char *name)
{
    char path[128];
    char text[COMMAND_BYTES];
    char status_text[100];
    struct command_arg args[] = { { 'p', path }, { 'f', name } };
    struct err e = ERR_INIT;
    int status = 0;
    int r;

    (void) snprintf(path, sizeof path, WAL_DIR "/%s", name);
    r = command_expand(me.start->conf->v.archive_command, args, ELEMENTSOF(args), text, &e);
    if (r == 0) {
        set_title("archiving", name);
        r = command_run(text, on_poll, NULL, &status, &e);
    }
    if (r < 0) {
        log_err(LOG_LEVEL_WARNING, "", &e);
        return 1;
    }
    if (command_succeeded(status))
        return 0;
    (void) err_set(&e, -ERR_SYSTEM_ERROR, "archive command %s",
                   command_status_text(status, status_text, sizeof status_text));
    err_detail(&e, "The failed archive command was: %s", text);
    if (!command_was_killed(status, true)) {
        log_err(LOG_LEVEL_LOG, "", &e);
        return 1;
    }
    set_title("failed on", name);
    child_exit_err(CHILD_FATAL, &e);
}

enum { ARCHIVER_GONE = 1 };

/* ARCHIVER_GONE: a mark without a file (removed by hand, or the mark outlived a crash), which goes.
 * < 0: it would stay, and be found again and again. */
static int
check_file(const char *name, struct err *e)
{
    char path[128];
    int fd;
    int r;

    (void) snprintf(path, sizeof path, WAL_DIR "/%s", name);
    fd = io_open(&me.io, path, O_RDONLY, 0);
    if (fd >= 0)
        (void) io_close(&me.io, fd);
    if (fd != -ENOENT)
        return 0;
    r = wal_archive_forget(&me.io, name);
    if (r < 0)
        return err_set_errno(e, -r, "could not remove orphan archive status file \"%s/%s.ready\"",
                             WAL_STATUS_DIR, name);
    log_msg(LOG_LEVEL_WARNING, "removed orphan archive status file \"%s/%s.ready\"", WAL_STATUS_DIR,
            name);
    return ARCHIVER_GONE;
}

static void
pause_before_retry(void)
{
    usec_t until = clock_mono_usec() + RETRY_USEC;

    for (usec_t now = clock_mono_usec(); now < until; now = clock_mono_usec()) {
        (void) attach_nap(&me, until - now);
        look();
    }
}

/* True: it is marked. */
static bool
note_archived(const char *name)
{
    struct err e = ERR_INIT;

    if (wal_archive_set_done(&me.io, name, &e) < 0) {
        log_err(LOG_LEVEL_WARNING, "", &e); /* it will be archived once more */
        return false;
    }
    stat_add_file(&me.stats, STAT_ARCHIVED, name);
    (void) atomic_fetch_add_explicit(&segment_status(me.start->segment)->n_archived, 1,
                                     memory_order_relaxed);
    set_title("last was", name);
    return true;
}

/* True: go on with the next one. */
static bool
take_one(const char *name)
{
    for (int n_failed = 0; n_failed < RETRIES;) {
        struct err e = ERR_INIT;
        int r;

        look();
        if (orders.term_usec != 0)
            return false;
        if (me.start->conf->v.archive_command[0] == '\0') {
            log_msg(LOG_LEVEL_WARNING, "archive_mode enabled, yet archive_command is not set");
            return false;
        }
        r = check_file(name, &e);
        if (r == ARCHIVER_GONE)
            return true;
        if (r == 0 && archive(name) == 0)
            return note_archived(name);
        if (r < 0) {
            log_err(LOG_LEVEL_WARNING, "", &e);
            return false;
        }
        stat_add_file(&me.stats, STAT_ARCHIVE_FAILED, name);
        set_title("failed on", name);
        if (++n_failed < RETRIES)
            pause_before_retry();
    }
    log_msg(LOG_LEVEL_WARNING,
            "archiving write-ahead log file \"%s\" failed too many times, will try again later",
            name);
    return false;
}

/* Everything that is ready. The list is read again after each batch: a history that has come
 * meanwhile goes before the next. */
static void
round_of(void)
{
    static struct wal_archive_list list;

    do {
        struct err e = ERR_INIT;

        if (wal_archive_list(&me.io, &list, &e) < 0) {
            log_err(LOG_LEVEL_WARNING, "", &e);
            return;
        }
        for (uint32_t i = 0; i < list.n; i++)
            if (!take_one(list.name[i]))
                return;
    } while (list.n > 0);
}

/* What was finished when nobody could mark it: before a crash, or without archive_mode. */
static void
sweep(void)
{
    struct err e = ERR_INIT;

    if (wal_archive_sweep(&me.io, wal_durable(&me.wal), me.wal.cfg.segsize, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "", &e);
}

/* ---- life ---- */

/* Or until something is asked. */
static void
sleep_until(usec_t deadline)
{
    uint32_t bits = 0;

    while (bits == 0 && clock_mono_usec() < deadline) {
        bits = attach_sleep(&me, MIN(deadline, clock_mono_usec() + BEAT_USEC));
        beat_step(&me.slot->beat);
    }
    take_orders(bits);
}

static void
run(void)
{
    usec_t deadline = 0;

    sweep();
    for (;;) {
        bool is_last = orders.finish;

        if (orders.term_usec == 0)
            round_of();
        if (is_last)
            return;
        if (orders.term_usec != 0 && clock_mono_usec() - orders.term_usec >= AFTER_TERM_USEC)
            return;
        deadline = orders.term_usec != 0 ? orders.term_usec + AFTER_TERM_USEC
                                         : clock_mono_usec() + ROUND_USEC;
        if (!orders.finish)
            sleep_until(deadline);
    }
}

NORETURN void
archiver_main(const struct child_start *start)
{
    attach_or_leave(&me, start);
    run();
    child_exit(CHILD_OK);
}
