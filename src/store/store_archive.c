/* Archive recovery: where its log comes from, where it stops, and the timeline that follows.
 *
 * Runs in: startup. Owns: pinion_promotion, recovery.signal, minRecoveryPoint until the end of
 * recovery. Source: postmaster.md 5.1, 5.2, 5.5; engine-rules REDO-2, REDO-6, CKPT-6; the order of
 * the end is that of ha-rules PROMO-3, not PostgreSQL's: nothing is removed before all is there. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "store/store_recover_int.h"
#include "store/store_shared.h"
#include "wal/wal_archive.h"

#define SIGNAL_PATH "recovery.signal"
#define MARKER_PATH "pinion_promotion"
#define CHUNK_BYTES (64u * 1024)

PRINTF(2, 3)
static void
say(const struct recovery *v, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    if (v->ask.say == NULL)
        return;
    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    v->ask.say(v->ask.arg, text);
}

static bool
exists(struct io *io, const char *path)
{
    int fd = io_open(io, path, O_RDONLY, 0);

    if (fd >= 0)
        (void) io_close(io, fd);
    return fd >= 0;
}

/* ---- the decision (PROMO-3) ---- */

static int
read_promotion(struct recovery *v, struct err *e)
{
    struct recover_promotion *p = &v->promotion;
    char text[RECOVER_TEXT_BYTES + 200] = { 0 };
    ssize_t n = io_read_file(v->st->io, MARKER_PATH, text, sizeof text - 1);
    unsigned tli, parent, high, low;
    int used = 0;

    if (n == -ENOENT)
        return 0;
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read file \"%s\"", MARKER_PATH);
    if (sscanf(text, "timeline: %u\nparent: %u\nswitch: %X/%X\nreason: %n", &tli, &parent, &high,
               &low, &used) != 4 ||
        used == 0 || parent == 0 || tli <= parent) {
        (void) ERR(e, DATA_CORRUPTED, "file \"%s\" is not of its form", MARKER_PATH);
        err_hint(e, "It holds where the new timeline was to begin, which cannot be decided twice. "
                    "Restore the copy of the cluster and recover it again.");
        return -ERR_DATA_CORRUPTED;
    }
    *p = (struct recover_promotion){ .tli = tli, .parent = parent, .at = (lsn_t) high << 32 | low };
    n = (ssize_t) strlen(text + used);
    n -= n > 0 && text[used + n - 1] == '\n';
    (void) snprintf(p->reason, sizeof p->reason, "%.*s", (int) n, text + used);
    return 0;
}

static int
write_promotion(struct recovery *v, struct err *e)
{
    const struct recover_promotion *p = &v->promotion;
    char text[RECOVER_TEXT_BYTES + 200];
    int n =
        snprintf(text, sizeof text, "timeline: %u\nparent: %u\nswitch: " LSN_FMT "\nreason: %s\n",
                 p->tli, p->parent, LSN_ARGS(p->at), p->reason);

    return io_write_file_durably(v->st->io, "", MARKER_PATH, text, (size_t) n, e);
}

/* ---- what we can start from ---- */

static int
refuse_roads(struct recovery *v, struct err *e)
{
    struct io *io = v->st->io;
    static const char *const names[] = { "backup_label", "standby.signal" };

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        if (exists(io, names[i])) {
            (void) ERR(e, FEATURE_NOT_SUPPORTED, "cannot start from a directory with \"%s\" in it",
                       names[i]);
            err_hint(e, "This release recovers from crashes and, with recovery.signal, from an "
                        "archive and a cold copy: not from online base backups, and not as a "
                        "standby.");
            return -ERR_FEATURE_NOT_SUPPORTED;
        }
    return 0;
}

/* Archive recovery has begun and not ended. Crash recovery that was told to stop has no end that it
 * must reach. */
static bool
is_half_recovered(const struct wal_control *c)
{
    return c->state == WAL_STATE_IN_ARCHIVE_RECOVERY ||
           (c->state == WAL_STATE_SHUT_DOWN_IN_RECOVERY && c->min_recovery_lsn != 0);
}

/* Without a signal file only what is consistent at the end of its own log may be opened. */
static int
refuse_half_recovered(const struct recovery *v, struct err *e)
{
    if (!is_half_recovered(&v->control) || v->promotion.tli != 0)
        return 0;
    (void) ERR(e, FEATURE_NOT_SUPPORTED, "archive recovery of this cluster has not ended: \"%s\"",
               wal_state_name(v->control.state));
    err_hint(e, "Make the file \"recovery.signal\" and start again.");
    return -ERR_FEATURE_NOT_SUPPORTED;
}

static int
refuse_archive(const struct recovery *v, struct err *e)
{
    if (v->ask.target == NULL)
        return ERR(e, FEATURE_NOT_SUPPORTED, "cannot start from a directory with \"%s\" in it",
                   SIGNAL_PATH);
    if (v->ask.fetch != NULL || v->promotion.tli != 0)
        return 0;
    (void) ERR(e, INVALID_PARAMETER_VALUE,
               "must specify restore_command when standby mode is not enabled");
    err_hint(e, "Set restore_command, or remove \"%s\" to recover from the log in pg_wal only.",
             SIGNAL_PATH);
    return -ERR_INVALID_PARAMETER_VALUE;
}

/* ---- files from the archive ---- */

static void
oldest_needed(const struct recovery *v, char ret[WAL_SEGMENT_NAME_BYTES])
{
    uint32_t seg = v->control.segment_bytes;

    wal_segment_name(ret, v->control.checkpoint.tli, wal_segno(v->control.checkpoint.redo, seg),
                     seg);
}

int
recover_archive_fetch(void *arg, const char *name, struct err *e)
{
    struct recovery *v = arg;
    char oldest[WAL_SEGMENT_NAME_BYTES];

    if (v->ask.fetch == NULL)
        return 1;
    oldest_needed(v, oldest);
    return v->ask.fetch(v->ask.arg, name, oldest, e);
}

/* Is there a history of this timeline, in the archive or here? Afterwards it is here. */
static int
history_exists(struct recovery *v, tli_t tli, struct err *e)
{
    char path[WAL_HISTORY_PATH_BYTES];
    int r;

    wal_history_path(path, tli);
    r = recover_archive_fetch(v, path + sizeof WAL_DIR, e);
    if (r < 0)
        return r;
    return r == 0 || exists(v->st->io, path);
}

static int
newest_timeline(struct recovery *v, tli_t from, tli_t *ret, struct err *e)
{
    int r;

    for (*ret = from; (r = history_exists(v, *ret + 1, e)) > 0; (*ret)++)
        ;
    return r;
}

/* ---- the timeline to recover ---- */

static int
choose_timeline(struct recovery *v, tli_t *ret, struct err *e)
{
    const struct recover_target *t = v->ask.target;
    int r;

    *ret = v->control.checkpoint.tli;
    if (v->promotion.tli != 0) {
        *ret = v->promotion.parent;
        return 0;
    }
    switch (t->timeline) {
    case RECOVER_LATEST:
        return newest_timeline(v, *ret, ret, e);
    case RECOVER_CURRENT:
        break;
    case RECOVER_NUMBERED:
        *ret = t->tli;
        r = t->tli == 1 ? 1 : history_exists(v, t->tli, e);
        if (r == 0)
            return ERR(e, CONFIG_FILE_ERROR, "recovery target timeline %u does not exist", t->tli);
        return MIN(r, 0);
    }
    return 0;
}

static int
check_timeline(const struct recovery *v, tli_t tli, struct err *e)
{
    const struct wal_control *c = &v->control;
    const struct wal_history_entry *entry = wal_history_find(&v->history, c->checkpoint.tli);

    if (wal_history_tli_at(&v->history, c->checkpoint_lsn) != c->checkpoint.tli) {
        (void) ERR(e, CONFIG_FILE_ERROR,
                   "requested timeline %u is not a child of this server's history", tli);
        err_detail(e,
                   "Latest checkpoint is at " LSN_FMT " on timeline %u, but in the history of the "
                   "requested timeline, the server forked off from that timeline at " LSN_FMT ".",
                   LSN_ARGS(c->checkpoint_lsn), c->checkpoint.tli,
                   LSN_ARGS(entry != NULL ? entry->end : 0));
        return -ERR_CONFIG_FILE_ERROR;
    }
    if (c->min_recovery_lsn != 0 &&
        wal_history_tli_at(&v->history, c->min_recovery_lsn - 1) != c->min_recovery_tli)
        return ERR(e, CONFIG_FILE_ERROR,
                   "requested timeline %u does not contain minimum recovery point " LSN_FMT
                   " on timeline %u",
                   tli, LSN_ARGS(c->min_recovery_lsn), c->min_recovery_tli);
    return 0;
}

int
recover_archive_choose(struct recovery *v, struct err *e)
{
    tli_t tli = v->control.checkpoint.tli;
    int r = refuse_roads(v, e);

    if (r == 0)
        r = read_promotion(v, e);
    if (r < 0)
        return r;
    v->is_archive = exists(v->st->io, SIGNAL_PATH) || v->promotion.tli != 0;
    if (v->promotion.tli == tli)
        v->is_archive = false; /* it is done, but for what recover_archive_finish() does */
    r = v->is_archive ? refuse_archive(v, e) : refuse_half_recovered(v, e);
    if (r == 0 && v->is_archive)
        r = choose_timeline(v, &tli, e);
    if (r == 0)
        r = wal_history_read(v->st->io, tli, &v->history, e);
    if (r == 0 && v->is_archive)
        r = check_timeline(v, tli, e);
    return r;
}

/* ---- consistency ---- */

/* The directory was not shut down: its pages may be as new as its own log. Where does that end? */
static int
end_of_local_log(struct recovery *v, lsn_t *ret, struct err *e)
{
    CLEANUP(wal_history_done) struct wal_history history = { 0 };
    struct wal_source_io source;
    struct wal_reader_params params = { .read = wal_source_io_read,
                                        .arg = &source,
                                        .segment_bytes = v->control.segment_bytes,
                                        .sysid = v->control.sysid,
                                        .history = &history };
    struct wal_reader *reader = NULL;
    const struct wal_decoded *d;
    int r = wal_history_read(v->st->io, v->control.checkpoint.tli, &history, e);

    if (r < 0)
        return r;
    wal_source_io_init(&source, v->st->io, &history, params.segment_bytes);
    r = wal_reader_new(&reader, &params, e);
    if (r == 0) {
        wal_reader_seek(reader, v->control.checkpoint.redo);
        while ((r = wal_reader_next(reader, &d, e)) == 0)
            ;
        *ret = wal_reader_end(reader);
        r = MIN(r, 0);
    }
    wal_reader_free(reader);
    wal_source_io_done(&source);
    return r;
}

/* CKPT-6: pages reach the disk only when the control file says how far redo must go at least. */
static int
guard(void *arg, lsn_t lsn, struct err *e)
{
    struct recovery *v = arg;
    struct wal_control *c = &v->control;

    if (lsn == UINT64_MAX)
        lsn = v->applying_end;
    if (lsn <= c->min_recovery_lsn)
        return 0;
    c->min_recovery_lsn = MAX(lsn, v->done_end);
    c->min_recovery_tli = wal_history_tli_at(&v->history, c->min_recovery_lsn - 1);
    v->consistent_at = MAX(v->consistent_at, c->min_recovery_lsn);
    return wal_control_write(v->st->io, c, e);
}

int
recover_archive_begin(struct recovery *v, struct err *e)
{
    struct wal_control *c = &v->control;
    char text[RECOVER_TEXT_BYTES];
    bool is_at_rest = c->state == WAL_STATE_SHUT_DOWN || is_half_recovered(c);
    int r = 0;

    say(v, "%s", recover_target_text(v->ask.target, text));
    v->consistent_at = MAX(v->checkpoint_end, c->min_recovery_lsn);
    if (!is_at_rest) {
        r = end_of_local_log(v, &v->consistent_at, e);
        v->consistent_at = MAX(v->consistent_at, v->checkpoint_end);
    }
    /* Stored with the start (REDO-2). */
    c->min_recovery_lsn = v->consistent_at;
    c->min_recovery_tli = wal_history_tli_at(&v->history, v->consistent_at - 1);
    v->restart_redo = c->checkpoint.redo;
    v->st->redo_guard = guard;
    v->st->redo_guard_arg = v;
    return r;
}

/* ---- restartpoints (CKPT-6) ---- */

/* The mark goes last: what is there without one would be archived once more. */
static int
remove_segment(struct io *io, const char *name)
{
    char path[WAL_SEGMENT_PATH_BYTES];
    int r;

    (void) snprintf(path, sizeof path, WAL_DIR "/%s", name);
    r = io_unlink(io, path);
    if (r == 0)
        (void) wal_archive_forget(io, name);
    return r;
}

struct old_segments {
    struct store *st;
    lsn_t redo;
};

static int
remove_old(void *arg, const char *name, bool is_dir)
{
    struct old_segments *o = arg;
    uint32_t seg = o->st->wal->cfg.segsize;
    uint64_t segno;
    tli_t tli;

    if (is_dir || !wal_segment_parse(name, seg, &tli, &segno) || (segno + 1) * seg > o->redo ||
        wal_archive_state(o->st->io, name, NULL) == WAL_ARCHIVE_READY)
        return 0;
    return remove_segment(o->st->io, name);
}

/* Everything up to the checkpoint record d is on disk: the next start begins at its redo pointer.
 */
static int
store_restart(struct recovery *v, const struct wal_decoded *d, const struct wal_checkpoint *c,
              struct err *e)
{
    struct wal_control *control = &v->control;
    struct old_segments old = { .st = v->st, .redo = c->redo };
    char oldest[WAL_SEGMENT_NAME_BYTES];
    int r;

    control->checkpoint_lsn = d->lsn;
    control->checkpoint = *c;
    control->min_recovery_lsn = MAX(control->min_recovery_lsn, d->end);
    control->min_recovery_tli = wal_history_tli_at(&v->history, control->min_recovery_lsn - 1);
    r = wal_control_write(v->st->io, control, e);
    if (r < 0)
        return r;
    v->restart_redo = c->redo;
    say(v, "recovery restart point at " LSN_FMT, LSN_ARGS(c->redo));
    r = io_list(v->st->io, WAL_DIR, remove_old, &old);
    if (r < 0)
        return err_set_errno(e, -r, "could not remove old write-ahead log files");
    oldest_needed(v, oldest);
    if (v->ask.restartpoint != NULL)
        v->ask.restartpoint(v->ask.arg, oldest);
    return 0;
}

int
recover_archive_restartpoint(struct recovery *v, const struct wal_decoded *d, struct err *e)
{
    const struct store_cfg *cfg = &v->st->cfg;
    struct wal_checkpoint c;
    int r;

    if (!wal_decoded_is(d, RM_XLOG, XLOG_CHECKPOINT_ONLINE) &&
        !wal_decoded_is(d, RM_XLOG, XLOG_CHECKPOINT_SHUTDOWN))
        return 0;
    r = wal_xlog_get_checkpoint(d->main, d->main_bytes, &c, e);
    if (r < 0 || v->redo.n_open > 0 ||
        (double) (c.redo - MIN(c.redo, v->restart_redo)) <
            (double) cfg->max_wal_size / (1.0 + cfg->completion_target))
        return r;
    r = redo_finish(&v->redo, e);
    if (r < 0 || v->redo.n_ghosts > 0)
        return r;
    r = store_restartpoint(v->st, e);
    if (r == 0)
        r = recover_keep_touched(v, e);
    return r < 0 ? r : store_restart(v, d, &c, e);
}

/* ---- stopping ---- */

bool
recover_archive_before(struct recovery *v, const struct wal_decoded *d)
{
    if (v->promotion.tli == 0 && recover_stops_before(v->ask.target, d, &v->stop))
        v->has_stopped = true;
    v->applying_end = d->end;
    return v->has_stopped;
}

bool
recover_archive_after(struct recovery *v, const struct wal_decoded *d)
{
    v->done_end = d->end;
    v->done_lsn = d->lsn;
    if (!v->is_consistent && d->end >= v->consistent_at) {
        v->is_consistent = true;
        say(v, "consistent recovery state reached at " LSN_FMT, LSN_ARGS(d->end));
    }
    if (v->promotion.tli != 0)
        v->has_stopped = d->end >= v->promotion.at; /* decided before: nothing is asked again */
    else
        v->has_stopped = recover_stops_after(v->ask.target, d, v->is_consistent, &v->stop);
    return v->has_stopped;
}

static int
not_consistent(const struct recovery *v, const char *what, struct err *e)
{
    (void) ERR(e, CONFIG_FILE_ERROR, "%s", what);
    err_detail(e, "The log was redone up to " LSN_FMT ", the data are consistent from " LSN_FMT ".",
               LSN_ARGS(v->done_end), LSN_ARGS(v->consistent_at));
    return -ERR_CONFIG_FILE_ERROR;
}

int
recover_archive_over(struct recovery *v, struct err *e)
{
    char text[RECOVER_TEXT_BYTES];

    if (v->promotion.tli != 0) {
        if (v->has_stopped && v->done_end == v->promotion.at)
            return 0;
        return ERR(e, DATA_CORRUPTED,
                   "the log does not reach " LSN_FMT ", where timeline %u was to begin",
                   LSN_ARGS(v->promotion.at), v->promotion.tli);
    }
    if (v->has_stopped)
        say(v, "%s", recover_stop_text(&v->stop, text));
    if (!v->is_consistent)
        return not_consistent(
            v,
            v->has_stopped ? "requested recovery stop point is before consistent recovery point"
                           : "WAL ends before consistent recovery point",
            e);
    if (!v->has_stopped && v->ask.target->kind != RECOVER_TO_END)
        return ERR(e, CONFIG_FILE_ERROR,
                   "recovery ended before configured recovery target was reached");
    if (!v->has_stopped || !v->ask.target->shuts_down)
        return 0;
    return recover_note_stop(v, e) < 0 ? e->code : RECOVER_SHUT_DOWN;
}

/* ---- the new timeline ---- */

static int
decide(struct recovery *v, lsn_t at, struct err *e)
{
    struct recover_promotion *p = &v->promotion;
    tli_t newest;
    int r;

    if (p->tli != 0)
        return 0;
    r = newest_timeline(v, wal_history_tli(&v->history), &newest, e);
    if (r < 0)
        return r;
    (void) recover_reason(v->has_stopped ? &v->stop : NULL, p->reason);
    p->parent = wal_history_tli(&v->history);
    p->at = at;
    p->tli = newest + 1;
    r = FAULT(RECOVER_DECIDE);
    if (r < 0)
        return err_set_errno(e, -r, "could not write file \"%s\"", MARKER_PATH);
    return write_promotion(v, e);
}

/* [from the beginning of its segment, at) of the old timelines, then zeros. */
static int
copy_bytes(struct recovery *v, int fd, lsn_t at, struct err *e)
{
    uint32_t seg = v->control.segment_bytes;
    lsn_t pos = at - wal_segment_offset(at, seg);
    lsn_t end = pos + seg;
    CLEANUP(freep) uint8_t *p = malloc(CHUNK_BYTES);
    ssize_t r = 0;

    if (p == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    for (; pos < end && r >= 0; pos += CHUNK_BYTES) {
        size_t n = pos < at ? (size_t) MIN(at - pos, CHUNK_BYTES) : 0;
        ssize_t got = n > 0 ? wal_source_io_read(&v->source, pos, p, n, e) : 0;

        if (got < 0)
            return (int) got;
        if ((size_t) got < n)
            return ERR(e, DATA_CORRUPTED, "the log ends at " LSN_FMT " while it is copied",
                       LSN_ARGS(pos + (lsn_t) got));
        memset(p + n, 0, CHUNK_BYTES - n);
        r = io_pwrite(v->st->io, fd, p, CHUNK_BYTES, wal_segment_offset(pos, seg));
    }
    return r < 0 ? err_set_errno(e, (int) -r, "could not write the first segment of timeline %u",
                                 v->promotion.tli)
                 : 0;
}

static int
make_first_segment(struct recovery *v, struct err *e)
{
    const struct recover_promotion *p = &v->promotion;
    struct io *io = v->st->io;
    char path[WAL_SEGMENT_PATH_BYTES];
    char tmp[WAL_SEGMENT_PATH_BYTES + 8];
    int fd;
    int r;

    if (wal_segment_offset(p->at, v->control.segment_bytes) == 0)
        return 0; /* it begins with an empty one */
    wal_segment_path(path, p->tli, wal_segno(p->at, v->control.segment_bytes),
                     v->control.segment_bytes);
    (void) snprintf(tmp, sizeof tmp, "%s.tmp", path);
    fd = io_open(io, tmp, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return err_set_errno(e, -fd, "could not create file \"%s\"", tmp);
    r = copy_bytes(v, fd, p->at, e);
    if (r == 0)
        r = io_fsync(io, fd);
    (void) io_close(io, fd);
    if (r == 0)
        r = io_rename(io, tmp, path);
    if (r == 0)
        r = io_fsync_dir(io, WAL_DIR);
    return r < 0 ? err_set_errno(e, -r, "could not make file \"%s\"", path) : 0;
}

static int
make_history(struct recovery *v, struct err *e)
{
    const struct recover_promotion *p = &v->promotion;
    char path[WAL_HISTORY_PATH_BYTES];
    int r = wal_history_write(v->st->io, p->tli, p->parent, p->at, p->reason, e);

    if (r < 0 || !v->st->wal->cfg.archiving)
        return r;
    wal_history_path(path, p->tli);
    return wal_archive_notify(v->st->io, path + sizeof WAL_DIR, e);
}

int
recover_archive_switch(struct recovery *v, struct recover_end *end, struct err *e)
{
    int r;

    end->aborted = 0; /* what was cut off stays on the old timeline (1.10) */
    if (v->has_stopped) {
        end->at = v->done_end;
        end->last = v->done_lsn;
    }
    r = decide(v, end->at, e);
    if (r < 0)
        return r;
    say(v, "selected new timeline ID: %u", v->promotion.tli);
    r = make_first_segment(v, e);
    if (r == 0 && (r = FAULT(RECOVER_HISTORY)) < 0)
        return err_set_errno(e, -r, "could not write a history file");
    if (r == 0)
        r = make_history(v, e);
    end->tli = v->promotion.tli;
    if (r == 0)
        say(v, "archive recovery complete");
    return r;
}

/* ---- afterwards ---- */

struct old_line {
    struct store *st;
    const struct recover_promotion *p;
    uint64_t last; /* segment of the switch point's last byte */
};

/* Segments behind the switch point go, unless they wait for the archive. */
static int
remove_abandoned(void *arg, const char *name, bool is_dir)
{
    struct old_line *o = arg;
    struct io *io = o->st->io;
    uint64_t segno;
    tli_t tli;

    if (is_dir || !wal_segment_parse(name, o->st->wal->cfg.segsize, &tli, &segno) ||
        tli >= o->p->tli || segno <= o->last ||
        wal_archive_state(io, name, NULL) == WAL_ARCHIVE_READY)
        return 0;
    return remove_segment(io, name);
}

/* The old timeline's last segment is not whole: into the archive it goes under another name, and if
 * that is switched on later, not at all. */
static int
set_partial_aside(struct store *st, const struct recover_promotion *p, struct err *e)
{
    uint32_t seg = st->wal->cfg.segsize;
    char name[WAL_SEGMENT_NAME_BYTES];
    char path[WAL_SEGMENT_PATH_BYTES];
    char partial[WAL_SEGMENT_PATH_BYTES + sizeof WAL_PARTIAL];
    int r;

    if (wal_segment_offset(p->at, seg) == 0)
        return 0;
    wal_segment_name(name, p->parent, wal_segno(p->at, seg), seg);
    wal_segment_path(path, p->parent, wal_segno(p->at, seg), seg);
    if (!exists(st->io, path))
        return 0;
    r = wal_archive_state(st->io, name, e);
    if (r != WAL_ARCHIVE_NONE)
        return MIN(r, 0);
    if (!st->wal->cfg.archiving)
        return wal_archive_set_done(st->io, name, e);
    (void) snprintf(partial, sizeof partial, "%s" WAL_PARTIAL, path);
    r = io_rename(st->io, path, partial);
    if (r == 0)
        r = io_fsync_dir(st->io, WAL_DIR);
    if (r < 0)
        return err_set_errno(e, -r, "could not rename file \"%s\"", path);
    return wal_archive_notify(st->io, partial + sizeof WAL_DIR, e);
}

static int
remove_durably(struct io *io, const char *path, struct err *e)
{
    int r = io_unlink(io, path);

    if (r == -ENOENT)
        r = 0;
    if (r == 0)
        r = io_fsync_dir(io, "");
    return r < 0 ? err_set_errno(e, -r, "could not remove file \"%s\"", path) : 0;
}

int
recover_archive_finish(struct store *st, const struct recover_promotion *p, struct err *e)
{
    struct old_line o = { .st = st, .p = p, .last = wal_segno_of_end(p->at, st->wal->cfg.segsize) };
    int r = FAULT(RECOVER_SIGNAL);

    if (r < 0)
        return err_set_errno(e, -r, "could not remove file \"%s\"", SIGNAL_PATH);
    r = remove_durably(st->io, SIGNAL_PATH, e);
    if (r == 0)
        r = set_partial_aside(st, p, e);
    if (r < 0)
        return r;
    r = io_list(st->io, WAL_DIR, remove_abandoned, &o);
    if (r == 0)
        r = io_fsync_dir(st->io, WAL_DIR);
    if (r < 0)
        return err_set_errno(e, -r, "could not remove log files of timeline %u", p->parent);
    return remove_durably(st->io, MARKER_PATH, e);
}
