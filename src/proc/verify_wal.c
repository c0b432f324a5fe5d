/* The log, record by record. Runs in: `piniond verify`. Owns: a reader. Source: REDO-4 (what ends a
 * log), CKPT-5 (it is recycled only after the control file).
 *
 * It must be whole from the segment of the redo point to a place that is known from elsewhere: the
 * server's durable end, or the checkpoint record and the newest page. What comes behind is the end
 * of the log if nothing is there. */
#include <stdio.h>

#include "proc/verify_int.h"
#include "wal/wal_reader.h"
#include "wal/wal_source_io.h"

#define BREAKS_MAX     20
#define PROGRESS_EVERY 4096u
#define TRIES          100 /* of a record that a running server should have */

struct log_check {
    struct verify *v;
    struct wal_history history;
    struct wal_source_io source;
    struct wal_reader *reader;
    lsn_t from; /* where the first record may start */
    lsn_t must; /* whole to here at least */
    lsn_t checkpoint_end;
    uint64_t n_records;
    uint32_t n_breaks;
};

static void
problem(struct log_check *l, lsn_t at, const char *message, const char *detail)
{
    struct verify_problem p = { .part = "wal" };
    const struct wal_control *c = &l->v->control;

    wal_segment_path(p.file, l->history.n > 0 ? wal_history_tli_at(&l->history, at) : 1,
                     wal_segno(at, c->segment_bytes), c->segment_bytes);
    (void) snprintf(p.message, sizeof p.message, "%s", message);
    (void) snprintf(p.detail, sizeof p.detail, "%s", detail);
    report_problem(&l->v->report, &p);
}

static int
begin(struct log_check *l, struct verify *v, struct err *e)
{
    struct wal_reader_params params = { .read = wal_source_io_read,
                                        .segment_bytes = v->control.segment_bytes,
                                        .sysid = v->control.sysid };
    int r;

    *l = (struct log_check){ .v = v, .source = { .fd = -1 } };
    r = wal_history_read(&v->io, v->control.checkpoint.tli, &l->history, e);
    if (r < 0)
        return r;
    params.history = &l->history;
    params.arg = &l->source;
    wal_source_io_init(&l->source, &v->io, &l->history, params.segment_bytes);
    return wal_reader_new(&l->reader, &params, e);
}

static void
end(struct log_check *l)
{
    wal_reader_free(l->reader);
    wal_source_io_done(&l->source);
    wal_history_done(&l->history);
}

static lsn_t
segment_start(const struct verify *v, lsn_t lsn)
{
    return lsn - lsn % v->control.segment_bytes;
}

/* A running server has made checkpoints meanwhile: what we wanted to read may be recycled. */
static bool
redo_has_moved(struct log_check *l, lsn_t at)
{
    struct wal_control now;

    if (!verify_is_running(l->v) || wal_control_read(&l->v->io, &now, NULL) < 0)
        return false;
    if (segment_start(l->v, now.checkpoint.redo) <= at)
        return false;
    l->v->control = now;
    return true;
}

/* The next record. What a running server has written, but not what it is writing, must be there:
 * tried again before it is called a break. */
static int
next_record(struct log_check *l, const struct wal_decoded **ret, struct err *e)
{
    int r = wal_reader_next(l->reader, ret, e);

    for (int i = 0; i < TRIES && r != 0 && wal_reader_end(l->reader) < l->must; i++) {
        if (!verify_pause(l->v))
            return r;
        wal_source_io_forget(&l->source);
        err_clear(e);
        r = wal_reader_next(l->reader, ret, e);
    }
    return r;
}

/* Behind a break: go on at the next page, so that one broken byte is one problem. */
static bool
resync(struct log_check *l, lsn_t at, const char *why, const char *detail)
{
    char text[300];
    struct err e = ERR_INIT;
    lsn_t page = at - at % WAL_PAGE_BYTES;
    int r;

    (void) snprintf(text, sizeof text, "no valid record at " LSN_FMT ": %.200s", LSN_ARGS(at), why);
    problem(l, at, text, detail);
    do {
        page += WAL_PAGE_BYTES;
        err_clear(&e);
        r = page < l->must ? wal_reader_seek_first_after(l->reader, page, &e) : 0;
    } while (r != 0 && page < l->must);
    return ++l->n_breaks < BREAKS_MAX && page < l->must;
}

static void
take(struct log_check *l, const struct wal_decoded *d)
{
    struct verify *v = l->v;

    if (d->lsn == v->control.checkpoint_lsn)
        l->checkpoint_end = d->end;
    if (++l->n_records % PROGRESS_EVERY == 0)
        report_progress(&v->report, "pg_wal", d->lsn - l->from,
                        l->must > d->lsn ? l->must - l->from : d->lsn - l->from + 1);
}

/* From l->from, sought already, to the end. Returns where that is. */
static lsn_t
read_all(struct log_check *l)
{
    const struct wal_decoded *d;
    bool goes_on = true;

    while (goes_on) {
        struct err e = ERR_INIT;
        int r = next_record(l, &d, &e);
        lsn_t at = wal_reader_end(l->reader);
        char detail[200];

        if (r == 0) {
            take(l, d);
            goes_on = !(verify_is_running(l->v) && d->end >= l->must);
            continue;
        }
        if (redo_has_moved(l, at)) {
            l->from = segment_start(l->v, l->v->control.checkpoint.redo);
            goes_on = wal_reader_seek_first_after(l->reader, l->from, &e) == 0;
            continue;
        }
        if (at >= l->must && r > 0)
            return at;
        (void) snprintf(detail, sizeof detail, "The log must be whole to " LSN_FMT ".",
                        LSN_ARGS(l->must));
        goes_on = resync(l, at, r > 0 ? wal_reader_reason(l->reader) : e.message, detail);
    }
    return wal_reader_end(l->reader);
}

/* What of the log must be there? */
static void
find_must(struct log_check *l)
{
    struct verify *v = l->v;
    struct err e = ERR_INIT;

    l->must = v->control.checkpoint_lsn + 1;
    if (v->client != NULL && verify_ask_end(v, &l->must, &e) < 0)
        report_unchecked(&v->report, "the end of the log: %s", e.message);
}

/* The first record of the segment; the redo point if its beginning is broken. */
static int
seek_first(struct log_check *l)
{
    struct verify *v = l->v;
    struct err e = ERR_INIT;
    int r;

    l->from = segment_start(v, v->control.checkpoint.redo);
    r = wal_reader_seek_first_after(l->reader, l->from, &e);
    if (r == 0)
        return 0;
    if (redo_has_moved(l, l->from))
        return seek_first(l);
    problem(l, l->from, "the first record of the segment cannot be found",
            r > 0 ? wal_reader_reason(l->reader) : e.message);
    err_clear(&e);
    wal_reader_seek(l->reader, v->control.checkpoint.redo);
    return 0;
}

static void
say(struct log_check *l, lsn_t to)
{
    const struct verify *v = l->v;
    uint32_t bytes = v->control.segment_bytes;
    uint64_t n = to > l->from ? wal_segno(to - 1, bytes) - wal_segno(l->from, bytes) + 1 : 0;

    report_line("wal");
    report_number(VERIFY_SEGMENTS, n);
    report_number(VERIFY_RECORDS, l->n_records);
    report_lsn(VERIFY_FROM, l->from);
    report_lsn(VERIFY_TO, to);
    report_line_end();
}

void
verify_wal(struct verify *v)
{
    struct log_check l;
    struct err e = ERR_INIT;
    lsn_t to = 0;

    if (begin(&l, v, &e) < 0 || seek_first(&l) < 0) {
        problem(&l, v->control.checkpoint.redo, "the log cannot be read", e.message);
    } else {
        find_must(&l);
        to = read_all(&l);
        if (l.checkpoint_end == 0 && l.n_breaks == 0 && v->server != SERVER_RUNNING)
            problem(&l, v->control.checkpoint_lsn, "the checkpoint record is missing", "");
    }
    /* Log behind a shutdown checkpoint: somebody began to run and did not come to an end. */
    if (v->server == SERVER_STOPPED && l.checkpoint_end != 0 && to > l.checkpoint_end)
        v->server = SERVER_CRASHED;
    v->wal_end = v->server == SERVER_RUNNING ? 0 : to;
    say(&l, to);
    end(&l);
}

/* ---- images for suspects ---- */

static void
mark(struct verify *v, const struct wal_decoded *d)
{
    for (uint32_t b = 0; b < d->n_blocks; b++) {
        const struct wal_block *block = &d->blocks[b];

        for (uint32_t i = 0; i < v->n_suspects && block->image.p != NULL; i++) {
            struct suspect *s = &v->suspects[i];

            if (s->oid == block->rel.db && s->rel == block->rel.rel && s->block == block->blk)
                s->has_image = true;
        }
    }
}

void
verify_wal_images(struct verify *v)
{
    const struct wal_decoded *d;
    struct log_check l;
    struct err e = ERR_INIT;

    if (begin(&l, v, &e) == 0) {
        wal_reader_seek(l.reader, v->control.checkpoint.redo);
        while (wal_reader_next(l.reader, &d, &e) == 0)
            mark(v, d);
    }
    end(&l);
}
