/* Checkpoints. Runs in the checkpointer, and in startup at the end of recovery. Owns: the redo
 * pointer, the control file while it writes it. Source: engine-rules CKPT-1 … CKPT-6. */
#include "store/store_checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "store/store_shared.h"
#include "store/store_writeback.h"
#include "wal/wal_control.h"
#include "wal/wal_record.h"

/* One checkpoint under way. */
struct run {
    struct store *st;
    uint32_t flags;
    checkpoint_pace_fn pace; /* NULL: no throttle, or not any more */
    void *pace_arg;
    struct checkpoint_stats *stats;
    lsn_t redo;
    xid_t next_xid; /* as of the redo point */
    oid_t next_oid;
    uint32_t *ids; /* pages owed; heap */
    uint32_t n_ids, ids_cap;
    struct shm_checkpoint *shown; /* to people: in the status block, or `unseen` */
    struct shm_checkpoint unseen;
};

static void
show(_Atomic uint64_t *number, uint64_t value)
{
    atomic_store_explicit(number, value, memory_order_relaxed);
}

static void
show_phase(const struct run *c, enum checkpoint_phase phase)
{
    atomic_store_explicit(&c->shown->phase, phase, memory_order_relaxed);
}

static bool
is_last(const struct run *c) /* nothing comes between the redo point and the record */
{
    return (c->flags & (CKPT_SHUTDOWN | CKPT_END_OF_RECOVERY)) != 0;
}

const char *
store_checkpoint_flags_text(uint32_t flags, char p[STORE_FLAGS_BYTES])
{
    static const struct {
        uint32_t flag;
        const char *text;
    } rows[] = {
        { CKPT_SHUTDOWN, "shutdown" },   { CKPT_END_OF_RECOVERY, "end-of-recovery" },
        { CKPT_IMMEDIATE, "immediate" }, { CKPT_FORCE, "force" },
        { CKPT_WAIT, "wait" },           { CKPT_CAUSE_XLOG, "wal" },
        { CKPT_CAUSE_TIME, "time" },
    };
    size_t at = 0;

    p[0] = '\0';
    for (size_t i = 0; i < ELEMENTSOF(rows); i++)
        if ((flags & rows[i].flag) != 0)
            at += (size_t) snprintf(p + at, STORE_FLAGS_BYTES - at, "%s%s", at > 0 ? " " : "",
                                    rows[i].text);
    return p;
}

lsn_t
store_redo_pointer(const struct store *st)
{
    return atomic_load_explicit(&st->sh->ckpt.redo, memory_order_acquire);
}

void
store_redo_pointer_set(struct store *st, lsn_t redo)
{
    uint64_t seen = store_redo_pointer(st);

    while (seen < redo &&
           !atomic_compare_exchange_weak_explicit(&st->sh->ckpt.redo, &seen, redo,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

static int
set_control_state(struct store *st, enum wal_state state, struct err *e)
{
    struct wal_control control;
    int r = wal_control_read(st->io, &control, e);

    if (r < 0)
        return r;
    control.state = state;
    control.time_sec = (int64_t) (clock_real_usec() / USEC_PER_SEC);
    return wal_control_write(st->io, &control, e);
}

/* ---- redo point (CKPT-2) ---- */

static void
take_redo_point(struct run *c)
{
    struct store *st = c->st;
    struct store_gate_ref gate = store_gate_of(st);
    lsn_t before = store_redo_pointer(st);

    store_gate_close(&gate, st->self);
    c->redo = wal_insert_at(st->wal);
    store_redo_pointer_set(st, c->redo);
    c->next_xid = store_xid_next(st);
    c->next_oid = store_oid_for_checkpoint(st, (c->flags & CKPT_SHUTDOWN) != 0);
    store_gate_open(&gate, st->self);
    show(&c->shown->redo_lsn, c->redo);
    c->stats->redo = c->redo;
    c->stats->distance = before != 0 && c->redo > before ? c->redo - before : 0;
}

/* ---- pages (CKPT-3) ---- */

#define SCAN_IDS        256u
#define WRITE_OUT_PAGES 128u /* after so many the disk begins: what the fsync has to wait for */

static int
collect_dirty(struct run *c, struct err *e)
{
    uint32_t pos = 0;
    uint32_t n;

    do {
        if (c->n_ids + SCAN_IDS > c->ids_cap) {
            uint32_t cap = MAX(4 * SCAN_IDS, c->ids_cap * 2);
            uint32_t *ids = realloc(c->ids, cap * sizeof *ids);

            if (ids == NULL)
                return ERR(e, OUT_OF_MEMORY, "could not allocate the list of pages to write");
            c->ids = ids;
            c->ids_cap = cap;
        }
        n = cache_scan_dirty(c->st->cache, c->redo, &pos, c->ids + c->n_ids, SCAN_IDS);
        c->n_ids += n;
    } while (n > 0);
    return 0;
}

/* A checkpoint waits for each page it owes, also for another's WRITING (EVICT-5). 1: written. */
static int
write_owed(struct run *c, uint32_t id, struct err *e)
{
    struct store *st = c->st;
    int n_written = 0;

    while (cache_is_owed(st->cache, id, c->redo)) {
        int r = store_write_back(st, id, e);

        if (r < 0)
            return r;
        if (r == STORE_WB_PAID)
            break;
        if (r == STORE_WB_BUSY)
            cache_io_wait(st->cache, id);
        if (r == STORE_WB_LATER)
            cache_wb_relieve(st->cache, CACHE_NONE); /* EVICT-5: prune, cancel, come again */
        n_written = r == 0 ? 1 : n_written;
    }
    return n_written;
}

static void
note_written(struct run *c)
{
    show(&c->shown->buffers_written, ++c->stats->n_pages);
    if (c->stats->n_pages % WRITE_OUT_PAGES == 0)
        store_write_out(c->st);
}

static int
write_pages(struct run *c, struct err *e)
{
    int r = collect_dirty(c, e);

    show(&c->shown->buffers_total, c->n_ids);
    show_phase(c, CHECKPOINT_PHASE_BUFFERS);
    for (uint32_t i = 0; i < c->n_ids && r >= 0; i++) {
        r = write_owed(c, c->ids[i], e);
        if (r > 0)
            note_written(c);
        show(&c->shown->buffers_done, i + 1);
        if (r >= 0)
            r = FAULT(CHECKPOINT_AFTER_PAGE);
        if (c->pace != NULL && c->pace(c->pace_arg, (double) (i + 1) / c->n_ids))
            c->pace = NULL;
        if (c->st->self->slot != NULL)
            beat_step(&c->st->self->slot->beat);
    }
    return r < 0 ? r : 0;
}

/* EVICT-6 for all; mandatory when this is the last. */
static int
cut_files(struct run *c, struct err *e)
{
    uint32_t n = atomic_load_explicit(&c->st->sh->n_dbs, memory_order_acquire);
    int r = 0;

    show_phase(c, CHECKPOINT_PHASE_CUT);
    for (uint32_t i = 0; i < n && r >= 0; i++)
        if (store_db_state(c->st, i) == DB_READY)
            r = store_file_cut(c->st, i, is_last(c), e);
    return r < 0 ? r : 0;
}

/* How many are in the fsync set now; of somebody else's writes more may follow. */
static void
show_files(struct run *c, uint32_t n_dbs)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < n_dbs; i++)
        n += atomic_load_explicit(&store_db_at(c->st, i)->needs_sync, memory_order_relaxed) != 0;
    show(&c->shown->files_total, n);
    show_phase(c, CHECKPOINT_PHASE_FILES);
}

/* The fsync set, taken after the last write (CKPT-3). */
static int
sync_files(struct run *c, struct err *e)
{
    struct store *st = c->st;
    uint32_t n = atomic_load_explicit(&st->sh->n_dbs, memory_order_acquire);
    char path[64];

    show_files(c, n);

    for (uint32_t i = 0; i < n; i++) {
        usec_t start = clock_mono_usec();
        oid_t oid = store_db_oid(st, i);
        int r = 0;

        if (oid == 0 ||
            atomic_load_explicit(&store_db_at(st, i)->drop_lsn, memory_order_acquire) != 0)
            continue;
        r = store_file_sync(st, i, e);
        if (r > 0) { /* CKPT-4: the directories of what was touched */
            store_path_dir(path, sizeof path, oid);
            r = io_fsync_dir(st->io, path);
            if (r < 0)
                log_panicf("could not fsync directory \"%s\"", path);
            show(&c->shown->files_synced, ++c->stats->n_files);
            c->stats->longest_sync_usec =
                MAX(c->stats->longest_sync_usec, clock_mono_usec() - start);
        }
        if (r < 0)
            return r;
    }
    if (io_fsync_dir(st->io, "base") < 0)
        log_panicf("could not fsync directory \"base\"");
    return 0;
}

/* ---- the record (CKPT-4) ---- */

static struct wal_checkpoint
record_body(const struct run *c)
{
    tli_t tli = wal_tli(c->st->wal);
    tli_t prev = atomic_load_explicit(&c->st->sh->ckpt.prev_tli, memory_order_relaxed);

    return (struct wal_checkpoint){
        .redo = c->redo,
        .tli = tli,
        .prev_tli = prev != 0 ? prev : tli,
        .full_page_writes = true,
        .next_xid = c->next_xid,
        .next_oid = c->next_oid,
        .next_multi = 1,
        .oldest_xid = (uint32_t) FIRST_XID,
        .oldest_xid_db = CATALOG_DB_OID,
        .oldest_multi = 1,
        .oldest_multi_db = CATALOG_DB_OID,
        .time_sec = (int64_t) (clock_real_usec() / USEC_PER_SEC),
        .oldest_active_xid = is_last(c) ? 0 : (uint32_t) c->next_xid,
    };
}

static struct wal_bytes
put_record(struct buf *b, const struct wal_rec *rec)
{
    struct err e = ERR_INIT;
    size_t from = b->n;

    if (wal_record_put(b, rec, &e) < 0)
        log_panic(&e);
    return (struct wal_bytes){ b->p + from, (uint32_t) (b->n - from) };
}

/* No commit's records may straddle the record: the gate is closed around it. RUNNING_XACTS names
 * no transaction: those that run have logged nothing yet. */
static lsn_t
insert_record(struct run *c, const struct wal_checkpoint *body)
{
    struct store *st = c->st;
    struct store_gate_ref gate = store_gate_of(st);
    uint8_t running[WAL_RUNNING_BYTES(0)];
    uint8_t checkpoint[WAL_CHECKPOINT_BYTES];
    uint8_t bytes[512];
    struct buf m = buf_init(running, sizeof running);
    struct buf b = buf_init(bytes, sizeof bytes);
    struct wal_rec rec = { .rmid = RM_STANDBY,
                           .info = STANDBY_RUNNING_XACTS,
                           .main = running,
                           .main_bytes = sizeof running };
    struct wal_bytes recs[2];
    struct wal_inserted at;
    uint32_t n = 0;

    store_gate_close(&gate, st->self);
    if (!is_last(c)) {
        xid_t next = store_xid_next(st);

        wal_xlog_put_running(
            &m, &(struct wal_running){ .next_xid = (uint32_t) next,
                                       .oldest_running_xid = (uint32_t) next,
                                       .latest_completed_xid = (uint32_t) (next - 1) });
        recs[n++] = put_record(&b, &rec);
    }
    m = buf_init(checkpoint, sizeof checkpoint);
    wal_xlog_put_checkpoint(&m, body);
    rec = (struct wal_rec){ .rmid = RM_XLOG,
                            .info = is_last(c) ? XLOG_CHECKPOINT_SHUTDOWN : XLOG_CHECKPOINT_ONLINE,
                            .main = checkpoint,
                            .main_bytes = sizeof checkpoint };
    recs[n++] = put_record(&b, &rec);
    wal_insert(st->wal, recs, n, WAL_STANDING, &at);
    store_gate_open(&gate, st->self);
    if (is_last(c) && at.start != c->redo)
        log_panicf(
            "concurrent write-ahead log activity while the database system is shutting down");
    c->stats->record = at.last_start;
    return at.end;
}

/* CKPT-5. From the record on a failure is a PANIC: the old checkpoint may be half replaced. */
static void
write_control(struct run *c, const struct wal_checkpoint *body)
{
    struct store *st = c->st;
    struct wal_control control;
    struct err e = ERR_INIT;
    int r = wal_control_read(st->io, &control, &e);

    if (r >= 0) {
        control.checkpoint_lsn = c->stats->record;
        control.checkpoint = *body;
        control.min_recovery_lsn = 0;
        control.min_recovery_tli = 0;
        control.time_sec = (int64_t) (clock_real_usec() / USEC_PER_SEC);
        if ((c->flags & CKPT_SHUTDOWN) != 0)
            control.state = WAL_STATE_SHUT_DOWN;
        r = wal_control_write(st->io, &control, &e);
    }
    if (r < 0)
        log_panic(&e);
}

/* ---- the log behind it ---- */

/* The estimate follows upwards at once, downwards slowly (postmaster.md 5.9). */
static uint64_t
move_estimate(struct store *st, uint64_t distance)
{
    uint64_t was = atomic_load_explicit(&st->sh->ckpt.estimate, memory_order_relaxed);
    uint64_t now = distance > was ? distance : (was * 9 + distance) / 10;

    atomic_store_explicit(&st->sh->ckpt.estimate, now, memory_order_relaxed);
    return now;
}

static int
recycle(struct run *c, struct err *e)
{
    struct store *st = c->st;
    struct wal_recycled gone = { 0 };
    uint64_t ahead;
    int r;

    c->stats->estimate = move_estimate(st, c->stats->distance);
    ahead = (uint64_t) ((double) c->stats->estimate * 1.1 * (1.0 + st->cfg.completion_target));
    ahead = MIN(MAX(ahead, st->cfg.min_wal_size), st->cfg.max_wal_size);
    r = wal_recycle(st->wal, c->redo, c->redo + ahead, &gone, e);
    c->stats->n_segs_recycled = gone.n_recycled;
    c->stats->n_segs_removed = gone.n_removed;
    return r;
}

/* ---- all of it ---- */

/* CKPT-6: nothing can be read any more, so everything may go. */
static int
begin_shutdown(struct store *st, struct err *e)
{
    store_wait_durable(st, wal_insert_end(st->wal));
    if (cache_snapshots_any(st->cache))
        return ERR(e, OBJECT_IN_USE, "a snapshot is still held at the shutdown checkpoint");
    cache_cap_unlimited(st->cache, true);
    return set_control_state(st, WAL_STATE_SHUTTING_DOWN, e);
}

/* FILE-3. A directory that cannot be removed now is no reason to keep the log: the next round tries
 * again. Only after the last one nobody would: then it is left to recovery's sweep (FILE-6). */
static int
purge_dropped(const struct run *c, struct err *e)
{
    bool is_shutdown = (c->flags & CKPT_SHUTDOWN) != 0;
    int r = store_purge_dropped(c->st, is_shutdown ? e : NULL);

    return is_shutdown ? MIN(r, 0) : 0;
}

static int
make_durable(struct run *c, struct err *e)
{
    usec_t start = clock_mono_usec();
    int r = write_pages(c, e);

    if (r == 0)
        r = cut_files(c, e);
    if (r == 0)
        r = purge_dropped(c, e);
    c->stats->write_usec = clock_mono_usec() - start;
    start = clock_mono_usec();
    if (r == 0)
        r = sync_files(c, e);
    c->stats->sync_usec = clock_mono_usec() - start;
    show_phase(c, CHECKPOINT_PHASE_XACT);
    if (r == 0)
        r = store_xact_checkpoint(c->st, e);
    return r;
}

static int
run(struct run *c, struct err *e)
{
    struct store *st = c->st;
    struct wal_checkpoint body;
    lsn_t end;
    int r = 0;

    if ((c->flags & CKPT_SHUTDOWN) != 0)
        r = begin_shutdown(st, e);
    if (r == 0)
        r = FAULT(CHECKPOINT_BEGIN);
    if (r < 0)
        return r;
    take_redo_point(c);
    r = make_durable(c, e);
    if (r == 0)
        r = FAULT(CHECKPOINT_BEFORE_RECORD);
    if (r == 0)
        r = wal_ensure_standing(st->wal, STORE_STANDING_LEAST, e);
    if (r < 0)
        return r;
    show_phase(c, CHECKPOINT_PHASE_RECORD);
    body = record_body(c);
    end = insert_record(c, &body);
    store_wait_durable(st, end);
    if (FAULT(CHECKPOINT_BEFORE_CONTROL) < 0)
        log_panicf("fault point between checkpoint record and control file");
    write_control(c, &body);
    if (FAULT(CHECKPOINT_AFTER_CONTROL) < 0)
        log_panicf("fault point behind the control file");
    store_xid_limit_set(st, c->next_xid);
    atomic_store_explicit(&st->sh->ckpt.last_end, end, memory_order_relaxed);
    show_phase(c, CHECKPOINT_PHASE_RECYCLE);
    if ((c->flags & CKPT_SHUTDOWN) == 0)
        return recycle(c, e);
    (void) recycle(c, NULL); /* it has been made; old segments may stay */
    return 0;
}

/* All numbers before the phase, which says that they count. */
static void
show_numbers(struct run *c)
{
    c->shown = c->st->status != NULL ? &c->st->status->checkpoint : &c->unseen;
    show(&c->shown->redo_lsn, 0);
    show(&c->shown->buffers_total, 0);
    show(&c->shown->buffers_done, 0);
    show(&c->shown->buffers_written, 0);
    show(&c->shown->files_total, 0);
    show(&c->shown->files_synced, 0);
    show(&c->shown->began_usec, clock_real_usec());
    show(&c->shown->began_mono_usec, clock_mono_usec());
    atomic_store_explicit(&c->shown->pid, getpid(), memory_order_relaxed);
    atomic_store_explicit(&c->shown->phase, CHECKPOINT_PHASE_INIT, memory_order_release);
}

static void
show_begin(struct store *st, uint32_t flags)
{
    struct shm_status *s = st->status;

    if (s == NULL)
        return;
    atomic_store_explicit(&s->checkpoint_flags, flags, memory_order_relaxed);
    atomic_store_explicit(&s->checkpoint_running, 1, memory_order_relaxed);
}

static void
show_end(struct store *st, int r, const struct checkpoint_stats *stats)
{
    struct shm_status *s = st->status;

    if (s == NULL)
        return;
    atomic_store_explicit(&s->checkpoint_running, 0, memory_order_relaxed);
    if (r < 0)
        return;
    atomic_store_explicit(&s->checkpoint_lsn, stats->record, memory_order_relaxed);
    atomic_store_explicit(&s->checkpoint_redo_lsn, stats->redo, memory_order_relaxed);
    atomic_store_explicit(&s->checkpoint_time_usec, clock_real_usec(), memory_order_relaxed);
    atomic_store_explicit(&s->checkpoint_total_usec, stats->total_usec, memory_order_relaxed);
    atomic_store_explicit(&s->checkpoint_pages, stats->n_pages, memory_order_relaxed);
    (void) atomic_fetch_add_explicit(
        (stats->flags & CKPT_CAUSE_TIME) != 0 ? &s->checkpoints_timed : &s->checkpoints_requested,
        1, memory_order_relaxed);
}

bool
store_checkpoint_is_idle(const struct store *st, uint32_t flags)
{
    return (flags & (CKPT_SHUTDOWN | CKPT_END_OF_RECOVERY | CKPT_FORCE)) == 0 &&
           wal_insert_end(st->wal) ==
               atomic_load_explicit(&st->sh->ckpt.last_end, memory_order_relaxed);
}

int
store_checkpoint(struct store *st, uint32_t flags, checkpoint_pace_fn pace, void *pace_arg,
                 struct checkpoint_stats *ret, struct err *e)
{
    struct run c = { .st = st,
                     .flags = flags,
                     .pace = (flags & CKPT_IMMEDIATE) != 0 ? NULL : pace,
                     .pace_arg = pace_arg,
                     .stats = ret };
    int r;

    *ret = (struct checkpoint_stats){ .flags = flags, .start_usec = clock_mono_usec() };
    if (store_checkpoint_is_idle(st, flags))
        return CKPT_SKIPPED;
    show_begin(st, flags);
    show_numbers(&c);
    self_hold(st->self);
    r = run(&c, e);
    self_resume(st->self);
    show_phase(&c, CHECKPOINT_NONE);
    free(c.ids);
    ret->total_usec = clock_mono_usec() - ret->start_usec;
    show_end(st, r, ret);
    if (r < 0)
        (void) err_set(e, r, "could not make a checkpoint"); /* unless e already says more */
    return r;
}

int
store_restartpoint(struct store *st, struct err *e)
{
    struct checkpoint_stats stats = { 0 };
    struct run c = { .st = st, .stats = &stats, .redo = UINT64_MAX };
    int r;

    show_numbers(&c);
    self_hold(st->self);
    r = write_pages(&c, e);
    if (r == 0)
        r = sync_files(&c, e);
    if (r == 0)
        r = store_xact_write(st, e);
    self_resume(st->self);
    show_phase(&c, CHECKPOINT_NONE);
    free(c.ids);
    return r;
}
