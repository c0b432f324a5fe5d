/* Crash recovery. Runs in: startup, before anybody else may touch a page. Owns: the control file
 * until the end of recovery. Source: engine-rules REDO-1 … REDO-7; order and refusals as in
 * PostgreSQL's StartupXLOG, but for REDO-4. */
#include "store/store_recover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "store/store_checkpoint.h"
#include "store/store_db.h"
#include "store/store_recover_int.h"
#include "store/store_shared.h"
#include "store/store_writeback.h"

#define PROGRESS_EVERY 256u /* records */

static void
begin_pass(const struct recovery *v, enum startup_pass pass)
{
    if (v->ask.pass != NULL)
        v->ask.pass(v->ask.arg, pass);
}

static void
recovery_done(struct recovery *v)
{
    redo_done(&v->redo);
    wal_reader_free(v->reader);
    wal_source_io_done(&v->source);
    wal_history_done(&v->history);
}

/* ---- what we can start from ---- */

static int
note_entry(void *arg, const char *name, bool is_dir)
{
    (void) name;
    if (!is_dir)
        *(bool *) arg = true;
    return 0;
}

static int
read_control(struct recovery *v, struct recover_info *info, struct err *e)
{
    struct wal_control *c = &v->control;
    const struct wal_cfg *cfg = &v->st->wal->cfg;
    bool has_prepared = false;
    int r = wal_control_read(v->st->io, c, e);

    if (r < 0)
        return r;
    info->control_copy = r == WAL_CONTROL_SECOND;
    if (c->segment_bytes != cfg->segsize || c->sysid != cfg->system_id)
        return ERR(e, INTERNAL_ERROR, "the log was set up for another cluster or segment size");
    (void) io_list(v->st->io, "pg_twophase", note_entry, &has_prepared);
    if (has_prepared)
        return ERR(e, FEATURE_NOT_SUPPORTED, "prepared transactions are not supported");
    return recover_archive_choose(v, e);
}

static int
make_reader(struct recovery *v, struct err *e)
{
    struct wal_reader_params params = { .read = wal_source_io_read,
                                        .arg = &v->source,
                                        .segment_bytes = v->control.segment_bytes,
                                        .sysid = v->control.sysid,
                                        .history = &v->history };

    wal_source_io_init(&v->source, v->st->io, &v->history, params.segment_bytes);
    if (v->is_archive) {
        v->source.fetch = recover_archive_fetch;
        v->source.fetch_arg = v;
    }
    return wal_reader_new(&v->reader, &params, e);
}

/* ---- REDO-1 ---- */

struct syncing {
    struct recovery *v;
    uint64_t from;
    struct err *e;
};

static int
sync_segment(void *arg, const char *name, bool is_dir)
{
    struct syncing *s = arg;
    struct io *io = s->v->st->io;
    char path[WAL_SEGMENT_PATH_BYTES];
    uint64_t segno;
    tli_t tli;
    int fd;
    int r;

    if (is_dir || !wal_segment_parse(name, s->v->control.segment_bytes, &tli, &segno) ||
        segno < s->from)
        return 0;
    (void) snprintf(path, sizeof path, WAL_DIR "/%s", name);
    fd = io_open(io, path, O_RDWR, 0);
    r = fd;
    if (fd >= 0) {
        r = io_fsync(io, fd);
        if (r == 0) /* what the kernel marked clean after a failed write is read again */
            r = io_dontneed(io, fd);
        (void) io_close(io, fd);
    }
    return r < 0 ? err_set_errno(s->e, -r, "could not sync log file \"%s\"", path) : 0;
}

static int
sync_all(struct recovery *v, struct err *e)
{
    struct io *io = v->st->io;
    struct syncing s = { .v = v,
                         .from = wal_segno(v->control.checkpoint.redo, v->control.segment_bytes),
                         .e = e };
    int wal_dir;
    int r = FAULT(RECOVER_SYNC);

    if (r == 0)
        r = io_syncfs(io, -1);
    if (r == 0) {
        wal_dir = io_open(io, WAL_DIR, O_RDONLY | O_DIRECTORY, 0);
        r = wal_dir;
        if (wal_dir < 0)
            (void) err_set_errno(e, -wal_dir, "could not open directory \"%s\"", WAL_DIR);
        else {
            r = io_syncfs(io, wal_dir);
            (void) io_close(io, wal_dir);
        }
    }
    if (r == 0)
        r = io_fsync_dir(io, WAL_DIR);
    if (r == 0)
        r = io_list(io, WAL_DIR, sync_segment, &s);
    if (r < 0 && r > -ERR_BASE)
        (void) err_set_errno(e, -r, "could not sync the data directory");
    if (r < 0)
        err_hint(e, "Recovery does not read a log that may not be on disk.");
    return r;
}

struct tmp_dir {
    struct io *io;
    const char *dir;
};

static int
remove_tmp(void *arg, const char *name, bool is_dir)
{
    struct tmp_dir *t = arg;
    size_t n = strlen(name);
    char path[512];

    if (is_dir || n < 4 || strcmp(name + n - 4, ".tmp") != 0)
        return 0;
    (void) snprintf(path, sizeof path, "%s%s%s", t->dir, t->dir[0] == '\0' ? "" : "/", name);
    return io_unlink(t->io, path);
}

static int
remove_tmps(struct io *io, struct err *e)
{
    static const char *const dirs[] = { "", "global", WAL_DIR, XACT_DIR, "pg_twophase" };

    for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
        struct tmp_dir t = { .io = io, .dir = dirs[i] };
        int r = io_list(io, dirs[i], remove_tmp, &t);

        if (r < 0 && r != -ENOENT)
            return err_set_errno(e, -r, "could not remove temporary files in \"%s\"", dirs[i]);
    }
    return 0;
}

/* ---- the checkpoint ---- */

static int
no_checkpoint(struct recovery *v, struct err *e)
{
    (void) ERR(e, DATA_CORRUPTED, "there is no valid checkpoint record at " LSN_FMT,
               LSN_ARGS(v->control.checkpoint_lsn));
    err_detail(e, "%s", wal_reader_reason(v->reader));
    err_hint(e, "The log is damaged or parts of it were removed. Restore the cluster from a base "
                "backup.");
    return -ERR_DATA_CORRUPTED;
}

/* Read the record the control file names; set *ret_clean: it is a shutdown's, the state says so,
 * and nothing follows it. */
static int
read_checkpoint(struct recovery *v, bool *ret_clean, struct err *e)
{
    const struct wal_decoded *d;
    struct wal_checkpoint c;
    bool is_shutdown;
    int r;

    wal_reader_seek(v->reader, v->control.checkpoint_lsn);
    r = wal_reader_next(v->reader, &d, e);
    if (r < 0)
        return r;
    is_shutdown = r == 0 && wal_decoded_is(d, RM_XLOG, XLOG_CHECKPOINT_SHUTDOWN);
    if (r > 0 || d->lsn != v->control.checkpoint_lsn ||
        (!is_shutdown && !wal_decoded_is(d, RM_XLOG, XLOG_CHECKPOINT_ONLINE)))
        return no_checkpoint(v, e);
    r = wal_xlog_get_checkpoint(d->main, d->main_bytes, &c, e);
    if (r < 0)
        return r;
    if (c.redo != v->control.checkpoint.redo || c.redo > d->lsn)
        return no_checkpoint(v, e);
    v->control.checkpoint = c;
    v->checkpoint_end = d->end;
    *ret_clean = false;
    if (v->is_archive || !is_shutdown || v->control.state != WAL_STATE_SHUT_DOWN)
        return 0;
    r = wal_reader_next(v->reader, &d, e);
    *ret_clean = r == WAL_READER_END;
    return r < 0 ? r : 0;
}

/* REDO-2: from now on every start begins here, until the next checkpoint. */
static int
store_start(struct recovery *v, struct err *e)
{
    int r = FAULT(RECOVER_CONTROL);

    if (r < 0)
        return err_set_errno(e, -r, "could not write the control file");
    v->control.state = v->is_archive ? WAL_STATE_IN_ARCHIVE_RECOVERY : WAL_STATE_IN_CRASH_RECOVERY;
    v->control.time_sec = (int64_t) (clock_real_usec() / USEC_PER_SEC);
    return wal_control_write(v->st->io, &v->control, e);
}

/* ---- redo ---- */

static void
set_status(struct recovery *v, lsn_t at)
{
    if (v->st->status != NULL)
        atomic_store_explicit(&v->st->status->redo_lsn, at, memory_order_relaxed);
}

struct last_segment {
    struct recovery *v;
    uint64_t segno;
};

static int
note_last(void *arg, const char *name, bool is_dir)
{
    struct last_segment *x = arg;
    uint64_t segno;
    tli_t tli;

    if (!is_dir && wal_segment_parse(name, x->v->control.segment_bytes, &tli, &segno))
        x->segno = MAX(x->segno, segno);
    return 0;
}

static void
begin_status(struct recovery *v)
{
    struct shm_status *status = v->st->status;
    struct last_segment last = { .v = v };

    if (status == NULL)
        return;
    (void) io_list(v->st->io, WAL_DIR, note_last, &last);
    atomic_store_explicit(&status->redo_from_lsn, v->control.checkpoint.redo, memory_order_relaxed);
    atomic_store_explicit(&status->redo_end_lsn, (last.segno + 1) * v->control.segment_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&status->redo_started_usec, clock_mono_usec(), memory_order_relaxed);
    atomic_store_explicit(&status->tli, v->control.checkpoint.tli, memory_order_relaxed);
    atomic_store_explicit(&status->in_recovery, 1, memory_order_relaxed);
}

static int
tell_progress(struct recovery *v, lsn_t at, struct err *e)
{
    int r = v->ask.progress == NULL ? 0 : v->ask.progress(v->ask.arg, at);

    return r == 0 ? self_check(v->st->self, e) : r;
}

static int
redo_all(struct recovery *v, struct err *e)
{
    const struct wal_decoded *d;
    int r;

    r = tell_progress(v, v->control.checkpoint.redo, e); /* it begins, however little there is */
    if (r < 0)
        return r;
    wal_reader_seek(v->reader, v->control.checkpoint.redo);
    while ((r = wal_reader_next(v->reader, &d, e)) == 0) { /* REDO-4: only 1 is the end */
        if (v->is_archive && recover_archive_before(v, d))
            break;
        r = redo_record(&v->redo, d, e);
        if (r < 0)
            return r;
        set_status(v, d->end);
        if (v->is_archive && recover_archive_after(v, d))
            break;
        r = v->is_archive ? recover_archive_restartpoint(v, d, e) : 0;
        if (r < 0)
            return r;
        if (v->redo.n_records % PROGRESS_EVERY != 0)
            continue;
        r = tell_progress(v, d->end, e);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    if (!v->has_stopped && wal_reader_last(v->reader) < v->control.checkpoint_lsn)
        return no_checkpoint(v, e); /* the log ends before the checkpoint it began with */
    log_msg(LOG_LEVEL_DEBUG, "redo ends at " LSN_FMT ": %s", LSN_ARGS(wal_reader_end(v->reader)),
            wal_reader_reason(v->reader));
    r = redo_finish(&v->redo, e);
    return r < 0 ? r : redo_check_ghosts(&v->redo, e); /* FILE-6: consistent at its end */
}

static usec_t
usec_of(struct timeval t)
{
    return (usec_t) t.tv_sec * USEC_PER_SEC + (usec_t) t.tv_usec;
}

static int
redo_timed(struct recovery *v, struct recover_info *info, struct err *e)
{
    usec_t start = clock_mono_usec();
    struct rusage before = { 0 };
    struct rusage after = { 0 };
    int r;

    (void) getrusage(RUSAGE_SELF, &before);
    r = redo_all(v, e);
    (void) getrusage(RUSAGE_SELF, &after);
    info->redo_usec = clock_mono_usec() - start;
    info->redo_user_usec = usec_of(after.ru_utime) - usec_of(before.ru_utime);
    info->redo_system_usec = usec_of(after.ru_stime) - usec_of(before.ru_stime);
    info->n_records = v->redo.n_records;
    info->n_commits = v->redo.n_commits;
    return r;
}

int
recover_note_stop(struct recovery *v, struct err *e)
{
    v->control.state = WAL_STATE_SHUT_DOWN_IN_RECOVERY;
    v->control.time_sec = (int64_t) (clock_real_usec() / USEC_PER_SEC);
    return wal_control_write(v->st->io, &v->control, e);
}

/* REDO-6, then the log is open. */
static int
open_log(struct recovery *v, struct recover_end *end, struct err *e)
{
    int r = FAULT(RECOVER_OPEN_LOG);

    if (r < 0)
        return err_set_errno(e, -r, "could not open the log");
    r = wal_start(v->st->wal, end->tli, end->at, end->last, e);
    if (r < 0)
        return r;
    cache_horizon_raise(v->st->cache, wal_durable(v->st->wal)); /* H := d */
    return 0;
}

static int
recover_clean(struct recovery *v, struct recover_info *info, struct err *e)
{
    struct store *st = v->st;
    struct recover_end end = { .tli = v->control.checkpoint.tli,
                               .at = v->checkpoint_end,
                               .last = v->control.checkpoint_lsn };
    xid_t next = v->control.checkpoint.next_xid;
    int r = open_log(v, &end, e);

    if (r == 0)
        r = store_xact_start(st, next, next, e);
    store_oid_start(st, v->control.checkpoint.next_oid);
    atomic_store_explicit(&st->sh->ckpt.last_end, v->checkpoint_end, memory_order_release);
    info->end = end.at;
    info->next_xid = next;
    return r;
}

int
recover_keep_touched(struct recovery *v, struct err *e)
{
    return v->redo.keeps_touched ? store_touched_write(&v->redo.touched, v->st->io, e) : 0;
}

/* What it changed is noted, if somebody will ask. */
static int
redo_noting(struct recovery *v, struct recover_info *info, struct err *e)
{
    int r = 0;

    v->redo.keeps_touched = v->ask.keeps_touched;
    if (v->redo.keeps_touched)
        r = store_touched_read(&v->redo.touched, v->st->io, e);
    if (r == 0)
        r = redo_timed(v, info, e);
    return r == 0 ? recover_keep_touched(v, e) : r;
}

static int
recover_crash(struct recovery *v, struct recover_info *info, struct err *e)
{
    struct store *st = v->st;
    struct recover_end end;
    int r = 0;

    if (v->is_archive)
        r = recover_archive_begin(v, e);
    if (r == 0)
        r = store_start(v, e);
    if (r == 0)
        r = redo_init(&v->redo, st, &v->history, v->control.checkpoint.next_xid,
                      v->control.checkpoint.next_oid, e);
    if (r < 0)
        return r;
    log_msg(LOG_LEVEL_DEBUG, "redo starts at " LSN_FMT, LSN_ARGS(v->control.checkpoint.redo));
    begin_status(v);
    r = redo_noting(v, info, e);
    if (r == -ERR_ADMIN_SHUTDOWN && v->promotion.tli == 0 && recover_note_stop(v, e) < 0)
        return e->code;
    if (r == 0)
        begin_pass(v, STARTUP_RESOLVE);
    if (r == 0 && v->is_archive)
        r = recover_archive_over(v, e);
    if (r != 0)
        return r;
    end = recover_end_of(v->reader, wal_history_tli(&v->history));
    if (!v->has_stopped)
        r = recover_end_is_end(st, &end, wal_reader_reason(v->reader), e);
    if (r == 0 && v->is_archive)
        r = recover_archive_switch(v, &end, e);
    wal_source_io_forget(&v->source);
    if (r == 0)
        r = recover_end_clean(st, &end, e);
    if (r == 0)
        r = open_log(v, &end, e);
    info->next_xid = store_xid_after_recovery(v->redo.next_xid); /* XID-3 */
    if (r == 0)
        r = store_xact_start(st, info->next_xid, v->redo.limit_of, e);
    store_oid_start(st, v->redo.next_oid);
    info->end = end.at;
    return r;
}

static int
recover(struct recovery *v, struct recover_info *info, struct err *e)
{
    struct store *st = v->st;
    int r;

    begin_pass(v, STARTUP_REDO);
    r = read_control(v, info, e);

    if (r == 0 && (v->is_archive || v->control.state != WAL_STATE_SHUT_DOWN))
        r = sync_all(v, e); /* REDO-1: before anything of the log is read */
    if (r == 0)
        r = remove_tmps(st->io, e);
    if (r == 0)
        r = make_reader(v, e);
    if (r == 0)
        r = read_checkpoint(v, &info->was_clean, e);
    if (r < 0)
        return r;
    info->is_archive = v->is_archive;
    info->at_end = v->ask.at_end;
    info->at_end_arg = v->ask.arg;
    info->goes_on = !info->was_clean && !v->is_archive && v->control.state == WAL_STATE_SHUT_DOWN;
    info->redo_from = v->control.checkpoint.redo;
    atomic_store_explicit(&st->sh->ckpt.redo, v->control.checkpoint.redo, memory_order_release);
    cache_cap_unlimited(st->cache, true);
    atomic_store_explicit(&st->sh->in_redo, 1, memory_order_release);
    r = info->was_clean ? recover_clean(v, info, e) : recover_crash(v, info, e);
    info->promotion = v->promotion;
    st->redo_guard = NULL;
    if (r >= 0) /* else the log is not open: nobody may wait for it to become durable */
        atomic_store_explicit(&st->sh->in_redo, 0, memory_order_release);
    return r;
}

int
store_recover_as(struct store *st, const struct recover_ask *ask, struct recover_info *ret,
                 struct err *e)
{
    struct recovery v = { .st = st, .ask = *ask };
    int r;

    *ret = (struct recover_info){ 0 };
    v.source.fd = -1;
    v.redo.source.fd = -1;
    r = recover(&v, ret, e);
    recovery_done(&v);
    return r;
}

int
store_recover(struct store *st, recover_progress_fn fn, void *arg, struct recover_info *ret,
              struct err *e)
{
    return store_recover_as(st, &(struct recover_ask){ .progress = fn, .arg = arg }, ret, e);
}

/* ---- pass "settle" (REDO-7) ---- */

/* Is it the file that cannot be opened, today and tomorrow? A disk that fails may come back. */
static bool
is_the_file(int r)
{
    return r == -ERR_DATA_CORRUPTED || r == -ERR_UNDEFINED_FILE || r == -EACCES || r == -EPERM;
}

/* A file whose page 1 is damaged, that is gone or may not be opened, costs its database and not the
 * start: nobody can open it. It is not cut now, but when it is opened, put right (FILE-1). */
static int
cannot_open(const struct store_listed *file, int r, struct err *e)
{
    if (file->oid == CATALOG_DB_OID || !is_the_file(r))
        return r;
    err_hint(e, "Nobody can connect to this database until its file is put right. The others are "
                "not concerned.");
    log_err_event(LOG_LEVEL_WARNING, LOG_EVENT_DAMAGED, NULL, "", e);
    err_clear(e);
    return 0;
}

/* EVICT-6 is mandatory here: also for files that no redone commit changed. */
static int
cut_files(struct store *st, const struct store_listed *list, uint32_t n, struct err *e)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t db = CACHE_NONE;
        int r = store_db_attach(st, list[i].oid, list[i].rel, &db, e);

        if (r < 0 && cannot_open(&list[i], r, e) == 0)
            continue;
        if (r < 0)
            return r;
        r = store_file_cut(st, db, true, e);
        store_db_detach(st, db);
        if (r < 0)
            return r;
    }
    return 0;
}

static int
finish_crash(struct store *st, const struct store_listed *list, uint32_t n, struct err *e)
{
    struct checkpoint_stats stats;
    int r = FAULT(RECOVER_SWEEP);

    if (r == 0)
        r = store_sweep(st, list, n, e);
    if (r == 0)
        r = FAULT(RECOVER_CUT);
    if (r == 0)
        r = cut_files(st, list, n, e);
    if (r == 0)
        r = FAULT(RECOVER_CHECKPOINT);
    if (r == 0)
        r = store_checkpoint(st, CKPT_END_OF_RECOVERY | CKPT_IMMEDIATE | CKPT_FORCE, NULL, NULL,
                             &stats, e);
    if (r < 0 && r > -ERR_BASE)
        (void) err_set_errno(e, -r, "could not finish recovery");
    return r < 0 ? r : 0;
}

/* What people are shown of the control file before the first checkpoint of this run. */
static void
show_control(struct shm_status *status, const struct wal_control *c)
{
    if (status == NULL)
        return;
    atomic_store_explicit(&status->sysid, c->sysid, memory_order_relaxed);
    atomic_store_explicit(&status->checkpoint_lsn, c->checkpoint_lsn, memory_order_relaxed);
    atomic_store_explicit(&status->checkpoint_redo_lsn, c->checkpoint.redo, memory_order_relaxed);
    atomic_store_explicit(&status->checkpoint_time_usec,
                          (uint64_t) c->checkpoint.time_sec * USEC_PER_SEC, memory_order_relaxed);
}

static int
set_in_production(struct store *st, struct err *e)
{
    struct wal_control control;
    int r = FAULT(RECOVER_STATE);

    if (r < 0)
        return err_set_errno(e, -r, "could not write the control file");
    r = wal_control_read(st->io, &control, e);
    if (r < 0)
        return r;
    show_control(st->status, &control);
    control.state = WAL_STATE_IN_PRODUCTION;
    control.time_sec = (int64_t) (clock_real_usec() / USEC_PER_SEC);
    return wal_control_write(st->io, &control, e);
}

int
store_recover_finish(struct store *st, const struct store_listed *list, uint32_t n,
                     struct recover_info *info, struct err *e)
{
    int r;

    if (info->is_archive) /* its first checkpoint begins the new timeline */
        atomic_store_explicit(&st->sh->ckpt.prev_tli, info->promotion.parent, memory_order_relaxed);
    r = info->was_clean ? 0 : finish_crash(st, list, n, e);
    atomic_store_explicit(&st->sh->ckpt.prev_tli, 0, memory_order_relaxed);
    if (r == 0 && info->is_archive && info->at_end != NULL)
        r = info->at_end(info->at_end_arg, e);
    if (r == 0)
        r = set_in_production(st, e);
    if (r == 0 && info->promotion.tli != 0)
        r = recover_archive_finish(st, &info->promotion, e);
    if (r < 0)
        return r;
    if (st->status != NULL)
        atomic_store_explicit(&st->status->in_recovery, 0, memory_order_relaxed);
    cache_cap_unlimited(st->cache, false);
    return 0;
}
