/* restore_command, archive_cleanup_command, recovery_end_command, and recovery targets from the
 * settings to what the store asks for.
 *
 * Runs in: startup. Owns: pg_wal/RECOVERYXLOG and RECOVERYHISTORY while a file is restored. Source:
 * postmaster.md 5.2, 5.4; statuses as PostgreSQL's RestoreArchivedFile. */
#include "proc/startup_archive.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/title.h"
#include "proc/command.h"
#include "wal/wal_archive.h"

/* ---- commands ---- */

static bool
is_told_to_leave(const struct startup_archive *s)
{
    return (atomic_load_explicit(&s->a->slot->request, memory_order_acquire) & REQ_TERMINATE) != 0;
}

static bool
on_poll(void *arg)
{
    struct startup_archive *s = arg;

    child_poll(NULL);
    if ((atomic_load_explicit(&s->a->slot->request, memory_order_acquire) & REQ_RELOAD) != 0) {
        slot_request_clear(s->a->slot, REQ_RELOAD);
        (void) child_reload(s->a->start, NULL); /* the next command may be another */
    }
    beat_step(&s->a->slot->beat);
    return is_told_to_leave(s);
}

static int
told_to_leave(struct err *e)
{
    return ERR(e, ADMIN_SHUTDOWN, "told to leave while a command ran");
}

/* ---- restore_command ---- */

/* What it has made is of the right length: 0; 1: there is nothing; < 0. */
static int
check_restored(struct startup_archive *s, const char *path, const char *name, bool is_segment,
               struct err *e)
{
    struct io *io = &s->a->io;
    uint64_t bytes = 0;
    int fd = io_open(io, path, O_RDWR, 0);
    int r;

    if (fd == -ENOENT) {
        log_msg(LOG_LEVEL_LOG,
                "restore_command returned a zero exit status, but there is no file \"%s\"", path);
        return 1;
    }
    if (fd < 0)
        return err_set_errno(e, -fd, "could not open file \"%s\"", path);
    r = io_size(io, fd, &bytes);
    if (r == 0)
        r = io_fsync(io, fd);
    (void) io_close(io, fd);
    if (r < 0)
        return err_set_errno(e, -r, "could not sync file \"%s\"", path);
    if (is_segment && bytes != s->a->wal.cfg.segsize)
        return ERR(e, DATA_CORRUPTED, "archive file \"%s\" has wrong size: %llu instead of %u",
                   name, (unsigned long long) bytes, s->a->wal.cfg.segsize);
    return 0;
}

/* Under its name, and never to be archived again. */
static int
keep_restored(struct startup_archive *s, const char *path, const char *name, struct err *e)
{
    struct io *io = &s->a->io;
    char final[128];
    int r;

    (void) snprintf(final, sizeof final, WAL_DIR "/%s", name);
    r = wal_archive_set_done(io, name, e);
    if (r < 0)
        return r;
    r = io_rename(io, path, final);
    if (r == 0)
        r = io_fsync_dir(io, WAL_DIR);
    if (r < 0)
        return err_set_errno(e, -r, "could not rename file \"%s\" to \"%s\"", path, final);
    log_msg(LOG_LEVEL_LOG, "restored log file \"%s\" from archive", name);
    return 0;
}

/* 0: the command says it did it; 1: the archive has no such file. */
static int
judge_status(struct startup_archive *s, int status, const char *name, struct err *e)
{
    char text[100];

    if (command_succeeded(status))
        return 0;
    if (is_told_to_leave(s))
        return told_to_leave(e);
    if (command_was_killed(status, true)) /* no answer: what is missing may be there */
        return ERR(e, SYSTEM_ERROR, "could not restore file \"%s\" from archive: the command %s",
                   name, command_status_text(status, text, sizeof text));
    return 1;
}

static int
on_fetch(void *arg, const char *name, const char *oldest, struct err *e)
{
    struct startup_archive *s = arg;
    bool is_segment = strspn(name, "0123456789ABCDEF") == strlen(name);
    const char *path = is_segment ? WAL_DIR "/RECOVERYXLOG" : WAL_DIR "/RECOVERYHISTORY";
    struct command_arg args[] = { { 'f', name }, { 'p', path }, { 'r', oldest } };
    char text[COMMAND_BYTES];
    char title[80];
    int status = 0;
    int r = io_unlink(&s->a->io, path);

    if (r < 0 && r != -ENOENT)
        return err_set_errno(e, -r, "could not remove file \"%s\"", path);
    r = command_expand(s->a->start->conf->v.restore_command, args, ELEMENTSOF(args), text, e);
    (void) snprintf(title, sizeof title, "pinion: startup waiting for %s", name);
    title_set(title);
    if (r == 0)
        r = command_run(text, on_poll, s, &status, e);
    if (r == 0)
        r = judge_status(s, status, name, e);
    if (r == 0)
        r = check_restored(s, path, name, is_segment, e);
    if (r == 0)
        r = keep_restored(s, path, name, e);
    if (r != 0)
        (void) io_unlink(&s->a->io, path); /* half of a file, perhaps */
    (void) snprintf(title, sizeof title, "pinion: startup recovering %s", name);
    title_set(title);
    if (is_told_to_leave(s))
        return told_to_leave(e);
    return r;
}

/* ---- the other two ---- */

/* A failure is a warning, whatever it is; an order to leave is obeyed. */
static int
run_command(struct startup_archive *s, const char *setting, const char *command, const char *oldest,
            struct err *e)
{
    struct command_arg args[] = { { 'r', oldest } };
    char text[COMMAND_BYTES];
    char words[100];
    struct err why = ERR_INIT;
    int status = 0;
    int r;

    if (command[0] == '\0')
        return 0;
    r = command_expand(command, args, ELEMENTSOF(args), text, &why);
    if (r == 0)
        r = command_run(text, on_poll, s, &status, &why);
    if (r < 0)
        log_err(LOG_LEVEL_WARNING, "", &why);
    else if (!command_succeeded(status))
        log_msg(LOG_LEVEL_WARNING, "%s \"%s\": %s", setting, text,
                command_status_text(status, words, sizeof words));
    return is_told_to_leave(s) ? told_to_leave(e) : 0;
}

static void
oldest_of(struct startup_archive *s, char ret[WAL_SEGMENT_NAME_BYTES])
{
    const struct shm_status *status = segment_status(s->a->start->segment);
    lsn_t redo = atomic_load_explicit(&status->checkpoint_redo_lsn, memory_order_relaxed);
    tli_t tli = atomic_load_explicit(&status->tli, memory_order_relaxed);
    uint32_t seg = s->a->wal.cfg.segsize;

    wal_segment_name(ret, tli, wal_segno(redo, seg), seg);
}

static int
on_end(void *arg, struct err *e)
{
    struct startup_archive *s = arg;
    char oldest[WAL_SEGMENT_NAME_BYTES];

    oldest_of(s, oldest);
    return run_command(s, "recovery_end_command", s->a->start->conf->v.recovery_end_command, oldest,
                       e);
}

static void
on_restartpoint(void *arg, const char *oldest)
{
    struct startup_archive *s = arg;

    (void) run_command(s, "archive_cleanup_command", s->a->start->conf->v.archive_cleanup_command,
                       oldest, NULL);
}

static void
on_say(void *arg, const char *text)
{
    (void) arg;
    log_msg(LOG_LEVEL_LOG, "%s", text);
}

/* ---- settings ---- */

static enum recover_target_kind
kind_of(enum conf_recovery_kind kind)
{
    switch (kind) {
    case CONF_RECOVERY_END:
        break;
    case CONF_RECOVERY_XID:
        return RECOVER_TO_XID;
    case CONF_RECOVERY_TIME:
        return RECOVER_TO_TIME;
    case CONF_RECOVERY_LSN:
        return RECOVER_TO_LSN;
    case CONF_RECOVERY_NAME:
        return RECOVER_TO_NAME;
    case CONF_RECOVERY_IMMEDIATE:
        return RECOVER_TO_CONSISTENCY;
    }
    return RECOVER_TO_END;
}

int
startup_archive_ask(struct startup_archive *s, struct attached *a, struct recover_ask *ret,
                    struct err *e)
{
    const struct conf_values *v = &a->start->conf->v;
    struct conf_recovery c;
    const char *setting;
    int r = conf_recovery_read(v, &c, &setting, e);

    if (r < 0)
        return r;
    s->a = a;
    s->target = (struct recover_target){
        .kind = kind_of(c.kind),
        .inclusive = v->recovery_target_inclusive,
        .xid = c.xid,
        .time = wal_time(c.unix_usec),
        .lsn = c.lsn,
        .name = c.name,
        .timeline = c.timeline == CONF_TIMELINE_LATEST    ? RECOVER_LATEST
                    : c.timeline == CONF_TIMELINE_CURRENT ? RECOVER_CURRENT
                                                          : RECOVER_NUMBERED,
        .tli = c.tli,
        /* Nobody can look at a paused server without hot standby: as PostgreSQL, it ends. */
        .shuts_down = v->recovery_target_action != CONF_TARGET_PROMOTE,
    };
    *ret = (struct recover_ask){ .target = &s->target,
                                 .fetch = v->restore_command[0] != '\0' ? on_fetch : NULL,
                                 .at_end = on_end,
                                 .restartpoint = on_restartpoint,
                                 .say = on_say,
                                 .arg = s };
    return 0;
}
