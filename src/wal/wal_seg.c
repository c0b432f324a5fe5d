/* Segments of the log: made ahead, recycled, removed; and opening the log where recovery found its
 * end.
 *
 * Runs in: walwriter (keeps some ahead), checkpointer (recycles), backends that need room, startup
 * (wal_start). Owns: made_upto, lock WAL_MAKE. Source: engine-rules WAL-2, WAL-3; wal-format 1.2.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "wal/wal_archive.h"
#include "wal/wal_page.h"
#include "wal/wal_record.h"
#include "wal/wal_shared.h"

#define FILL_BYTES (256u * 1024)

/* ---- making one ---- */

static struct shm_space *
space_of(const struct wal *w)
{
    return w->status != NULL ? &w->status->space[SPACE_WAL] : NULL;
}

/* All of it at once or not at all: a full disk is not filled up to its last byte by every attempt.
 */
static int
allocate(struct wal *w, int fd)
{
    int r = FAULT(WAL_SEGMENT_ALLOCATE);

    if (r == 0)
        r = io_allocate(w->io, fd, 0, w->cfg.segsize);
    return r == -EOPNOTSUPP ? 0 : r;
}

/* Zeros, and the header of the first page: stock tools learn the segment size from whichever file
 * of the directory they meet first. To a reader an empty page with or without it is the end. */
static int
fill_zeros(struct wal *w, int fd, uint64_t segno, struct err *e)
{
    static const uint8_t zeros[FILL_BYTES];
    uint8_t header[WAL_LONG_HEADER];
    struct wal_page page =
        wal_page_of(segno * w->cfg.segsize, wal_tli(w), 0, w->cfg.system_id, w->cfg.segsize);
    int r = allocate(w, fd);

    for (uint32_t at = 0; r >= 0 && at < w->cfg.segsize; at += FILL_BYTES) {
        r = FAULT(WAL_SEGMENT_WRITE);
        if (r == 0)
            r = (int) io_pwrite(w->io, fd, zeros, FILL_BYTES, at);
        if (r >= 0)
            r = self_check(w->self, e); /* INT-1: making a segment is interruptible */
    }
    if (r >= 0)
        r = (int) io_pwrite(w->io, fd, header, wal_page_put(header, &page), 0);
    if (r >= 0)
        r = FAULT(WAL_SEGMENT_SYNC);
    if (r >= 0)
        r = io_fsync(w->io, fd);
    return r;
}

/* WAL-3: the name appears only when the zeros are durable; counted only when the name is. */
static int
install(struct wal *w, const char *from, const char *to)
{
    int r = FAULT(WAL_SEGMENT_RENAME);

    if (r == 0)
        r = io_rename(w->io, from, to);
    if (r == 0)
        r = FAULT(WAL_SEGMENT_SYNC_DIR);
    if (r == 0)
        r = io_fsync_dir(w->io, WAL_DIR);
    return r;
}

static int
refused(const struct wal *w, int r, const char *path, struct err *e)
{
    (void) err_set_errno(e, -r, "could not make write-ahead log file \"%s\"", path);
    if (r == -ENOSPC || r == -EDQUOT) {
        err_detail(e, "The log needs another segment of %u bytes.", w->cfg.segsize);
        err_hint(e, "Free space on the file system of pg_wal. Reading goes on, and so does writing "
                    "as soon as there is space.");
    }
    return r;
}

static int
make_segment(struct wal *w, uint64_t segno, struct err *e)
{
    char path[WAL_SEGMENT_PATH_BYTES];
    char tmp[64];
    int fd;
    int r;

    wal_segment_path(path, wal_tli(w), segno, w->cfg.segsize);
    (void) snprintf(tmp, sizeof tmp, WAL_DIR "/xlogtemp.%u.tmp", w->self->procno);
    fd = io_open(w->io, tmp, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) {
        space_note(space_of(w), fd, w->cfg.segsize);
        return refused(w, fd, path, e);
    }
    r = fill_zeros(w, fd, segno, e);
    (void) io_close(w->io, fd);
    if (r >= 0)
        r = install(w, tmp, path);
    space_note(space_of(w), MIN(r, 0), w->cfg.segsize);
    if (r >= 0)
        return 0;
    (void) io_unlink(w->io, tmp);
    if (r < -ERR_BASE)
        return r; /* interrupted: e says so */
    return refused(w, r, path, e);
}

static lsn_t
made_upto(const struct wal *w)
{
    return atomic_load_explicit(&w->sh->made_upto, memory_order_acquire);
}

/* Caller holds WAL_MAKE, and lets others have it between two segments: they may need less. */
static int
make_until(struct wal *w, lsn_t upto, struct err *e)
{
    int r = 0;

    while (r == 0 && made_upto(w) < upto) {
        r = make_segment(w, made_upto(w) / w->cfg.segsize, e);
        if (r == 0)
            (void) atomic_fetch_add_explicit(&w->sh->made_upto, w->cfg.segsize,
                                             memory_order_release);
        if (r == 0 && made_upto(w) < upto)
            rwlock_pass(w->self, &w->sh->make, LOCK_WAL_MAKE, WAIT_WAL_SEGMENT);
    }
    return r;
}

/* Not all that was wanted could be made: what was made for it goes again, unless somebody was
 * promised it meanwhile. So one transaction that is too large does not keep the disk full. The
 * highest goes first: no hole. Caller holds WAL_MAKE. */
static void
give_back(struct wal *w, lsn_t floor)
{
    struct wal_shared *sh = w->sh;
    char path[WAL_SEGMENT_PATH_BYTES];
    uint32_t seg = w->cfg.segsize;
    lsn_t made = made_upto(w);
    lsn_t keep;

    spin_take(w->self, &sh->reserve, LOCK_WAL_RESERVE);
    keep = wal_usable_to_start(sh->insert_u, seg) + sh->reserved + WAL_STANDING_BYTES;
    keep = MAX(floor, (keep + seg - 1) / seg * seg);
    if (keep < made)
        atomic_store_explicit(&sh->made_upto, keep, memory_order_release);
    spin_drop(w->self, &sh->reserve, LOCK_WAL_RESERVE);
    for (; made > keep; made -= seg) {
        wal_segment_path(path, wal_tli(w), made / seg - 1, seg);
        if (io_unlink(w->io, path) < 0)
            break; /* full of zeros and not counted: made again, over it */
    }
}

static int
make_locked(struct wal *w, lsn_t upto, bool all_or_none, struct err *e)
{
    lsn_t before;
    int r;

    rwlock_take_exclusive(w->self, &w->sh->make, LOCK_WAL_MAKE, WAIT_WAL_SEGMENT);
    before = made_upto(w);
    r = make_until(w, upto, e);
    if (r < 0 && all_or_none)
        give_back(w, before);
    rwlock_drop_exclusive(w->self, &w->sh->make, LOCK_WAL_MAKE);
    return r;
}

int
wal_make_room(struct wal *w, uint64_t u, struct err *e)
{
    struct wal_shared *sh = w->sh;
    lsn_t want;

    spin_take(w->self, &sh->reserve, LOCK_WAL_RESERVE);
    want = wal_usable_to_start(sh->insert_u, w->cfg.segsize) + sh->reserved;
    spin_drop(w->self, &sh->reserve, LOCK_WAL_RESERVE);
    return make_locked(w, want + wal_need(u, w->cfg.segsize) + WAL_STANDING_BYTES, true, e);
}

int
wal_ensure_standing(struct wal *w, uint64_t u, struct err *e)
{
    lsn_t upto = wal_insert_end(w) + wal_need(u, w->cfg.segsize);

    return made_upto(w) >= upto ? 0 : make_locked(w, upto, false, e);
}

int
wal_keep_ahead(struct wal *w, uint32_t ahead, struct err *e)
{
    uint64_t segno = wal_segno(wal_insert_end(w), w->cfg.segsize);

    return make_locked(w, (segno + 1 + ahead) * w->cfg.segsize, false, e);
}

/* ---- switching and archiving ---- */

void
wal_announce(struct wal *w)
{
    lsn_t to = w->finished_to;

    if (to == 0)
        return;
    w->finished_to = 0;
    for (lsn_t at = w->finished_from; at < to; at += w->cfg.segsize) {
        char name[WAL_SEGMENT_NAME_BYTES];
        struct err e = ERR_INIT;

        wal_segment_name(name, wal_tli(w), at / w->cfg.segsize, w->cfg.segsize);
        /* Those between two of ours are somebody else's, marked and perhaps archived already. */
        if (wal_archive_state(w->io, name, NULL) > WAL_ARCHIVE_NONE)
            continue;
        if (wal_archive_notify(w->io, name, &e) < 0) /* recycling makes it ready, if nobody else */
            log_err(LOG_LEVEL_WARNING, "", &e);
    }
    if (w->on_finished != NULL)
        w->on_finished(w->on_finished_arg);
}

usec_t
wal_switched_usec(const struct wal *w)
{
    return atomic_load_explicit(&w->sh->switched_usec, memory_order_relaxed);
}

/* What is skipped comes out of a reservation as long as a segment: others keep what they were
 * promised (WAL-2). */
static int
reserve_segment(struct wal *w, struct err *e)
{
    uint64_t u = wal_usable_bytes(w->cfg.segsize);
    int r;

    ASSERT(w->reserved == 0);
    while ((r = wal_reserve(w, u)) == WAL_NO_ROOM) {
        r = wal_make_room(w, u, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int
wal_switch(struct wal *w, lsn_t *ret, struct err *e)
{
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_SWITCH };
    uint8_t bytes[WAL_RECORD_HEADER];
    struct buf b = buf_init(bytes, sizeof bytes);
    struct wal_inserted ins;
    int r;

    *ret = wal_insert_end(w);
    if (wal_segment_offset(*ret, w->cfg.segsize) == 0)
        return 0;
    r = wal_record_put(&b, &rec, e);
    if (r == 0)
        r = reserve_segment(w, e);
    if (r < 0)
        return r;
    wal_insert(w, &(struct wal_bytes){ bytes, sizeof bytes }, 1, WAL_SWITCH, &ins);
    wal_unreserve(w);
    *ret = wal_end_of(ins.last_start, sizeof bytes, w->cfg.segsize);
    wal_flush(w, ins.end);
    return 0;
}

/* ---- recycling ---- */

struct old_segments {
    uint32_t segsize;
    lsn_t keep;
    uint32_t n, cap;
    char (*name)[WAL_ARCHIVE_NAME_BYTES]; /* heap */
};

/* A segment's name, or that of one that was set aside when its timeline ended. */
static bool
parse_name(const char *name, uint32_t segsize, uint64_t *ret_segno)
{
    char stem[WAL_SEGMENT_NAME_BYTES];
    tli_t tli;

    (void) snprintf(stem, sizeof stem, "%s", name);
    return wal_segment_parse(stem, segsize, &tli, ret_segno) &&
           (name[strlen(stem)] == '\0' || strcmp(name + strlen(stem), WAL_PARTIAL) == 0);
}

static int
note_old(void *arg, const char *name, bool is_dir)
{
    struct old_segments *old = arg;
    uint64_t segno;

    if (is_dir || !parse_name(name, old->segsize, &segno) || (segno + 1) * old->segsize > old->keep)
        return 0;
    if (old->n == old->cap) {
        uint32_t cap = MAX(64u, old->cap * 2);
        void *p = realloc(old->name, cap * sizeof *old->name);

        if (p == NULL)
            return -ENOMEM;
        old->name = p;
        old->cap = cap;
    }
    (void) snprintf(old->name[old->n++], sizeof *old->name, "%s", name);
    return 0;
}

/* Drop from the list what the archive does not have yet. What has no mark gets one: it was lost. */
static int
keep_unarchived(struct wal *w, struct old_segments *old, struct err *e)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < old->n; i++) {
        int r = wal_archive_state(w->io, old->name[i], e);

        if (r == WAL_ARCHIVE_NONE)
            r = wal_archive_notify(w->io, old->name[i], e);
        if (r < 0)
            return r;
        if (r == WAL_ARCHIVE_DONE)
            memmove(old->name[n++], old->name[i], sizeof *old->name);
    }
    old->n = n;
    return 0;
}

/* Caller holds WAL_MAKE; others have it now and then: a directory's sync takes its time on a busy
 * disk, and commits wait for segments. */
static int
dispose(struct wal *w, const char *name, lsn_t recycle_until, struct wal_recycled *ret)
{
    char from[WAL_SEGMENT_PATH_BYTES + sizeof WAL_PARTIAL];
    char to[WAL_SEGMENT_PATH_BYTES];
    int r = FAULT(WAL_RECYCLE);

    rwlock_pass(w->self, &w->sh->make, LOCK_WAL_MAKE, WAIT_WAL_SEGMENT);
    (void) snprintf(from, sizeof from, WAL_DIR "/%s", name);
    if (r == 0 && made_upto(w) < recycle_until && name[WAL_SEGMENT_NAME_BYTES - 1] == '\0') {
        wal_segment_path(to, wal_tli(w), made_upto(w) / w->cfg.segsize, w->cfg.segsize);
        r = install(w, from, to);
        if (r == 0) {
            (void) atomic_fetch_add_explicit(&w->sh->made_upto, w->cfg.segsize,
                                             memory_order_release);
            ret->n_recycled++;
        }
    } else if (r == 0) {
        r = io_unlink(w->io, from);
        ret->n_removed++;
    }
    if (r == 0)
        (void) wal_archive_forget(w->io, name);
    return r;
}

int
wal_recycle(struct wal *w, lsn_t keep, lsn_t recycle_until, struct wal_recycled *ret, struct err *e)
{
    struct old_segments old = { .segsize = w->cfg.segsize, .keep = keep };
    int r;

    *ret = (struct wal_recycled){ 0 };
    r = io_list(w->io, WAL_DIR, note_old, &old);
    if (r == 0 && w->cfg.archiving)
        r = keep_unarchived(w, &old, e);
    rwlock_take_exclusive(w->self, &w->sh->make, LOCK_WAL_MAKE, WAIT_WAL_SEGMENT);
    for (uint32_t i = 0; r == 0 && i < old.n; i++)
        r = dispose(w, old.name[i], recycle_until, ret);
    rwlock_drop_exclusive(w->self, &w->sh->make, LOCK_WAL_MAKE);
    if (r == 0 && ret->n_removed > 0)
        r = io_fsync_dir(w->io, WAL_DIR);
    free(old.name);
    if (r < 0)
        return err_set_errno(e, -r, "could not remove old write-ahead log files");
    return 0;
}

/* ---- opening ---- */

/* Is the segment there with its full length? 1, 0, or an error, which is no answer: what is not
 * there is made, over what is. */
static int
segment_is_whole(struct wal *w, tli_t tli, uint64_t segno, struct err *e)
{
    char path[WAL_SEGMENT_PATH_BYTES];
    uint64_t bytes = 0;
    int fd;
    int r;

    wal_segment_path(path, tli, segno, w->cfg.segsize);
    fd = io_open(w->io, path, O_RDWR, 0);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return err_set_errno(e, -fd, "could not open write-ahead log file \"%s\"", path);
    r = io_size(w->io, fd, &bytes);
    (void) io_close(w->io, fd);
    if (r < 0)
        return err_set_errno(e, -r, "could not read the size of write-ahead log file \"%s\"", path);
    return bytes == w->cfg.segsize;
}

/* Bring the part of the page before `at` into the ring. */
static int
load_page(struct wal *w, lsn_t at, struct err *e)
{
    char path[WAL_SEGMENT_PATH_BYTES];
    uint8_t *p = wal_ring_page(w, wal_page_start(at));
    uint32_t n = wal_page_offset(at);
    ssize_t got;
    int fd;

    wal_segment_path(path, wal_tli(w), wal_segno(at, w->cfg.segsize), w->cfg.segsize);
    fd = io_open(w->io, path, O_RDWR, 0);
    if (fd < 0)
        return err_set_errno(e, -fd, "could not open write-ahead log file \"%s\"", path);
    memset(p, 0, WAL_PAGE_BYTES);
    got = io_pread(w->io, fd, p, n, wal_segment_offset(wal_page_start(at), w->cfg.segsize));
    (void) io_close(w->io, fd);
    if (got < 0)
        return err_set_errno(e, (int) -got, "could not read write-ahead log file \"%s\"", path);
    if ((uint32_t) got != n)
        return ERR(e, DATA_CORRUPTED, "write-ahead log file \"%s\" is too short", path);
    return 0;
}

int
wal_start(struct wal *w, tli_t tli, lsn_t at, lsn_t prev, struct err *e)
{
    struct wal_shared *sh = w->sh;
    uint32_t seg = w->cfg.segsize;
    uint64_t segno = wal_segno(at, seg);
    lsn_t end;
    int r = 0;

    sh->insert_u = wal_usable_of(at, seg);
    sh->has_last = false;
    sh->prev_at_start = prev;
    end = wal_usable_to_end(sh->insert_u, seg);
    atomic_store_explicit(&sh->tli, tli, memory_order_release);
    atomic_store_explicit(&sh->switched_usec, clock_mono_usec(), memory_order_relaxed);
    if (wal_page_offset(end) != 0)
        r = load_page(w, end, e);
    if (r < 0)
        return r;
    atomic_store_explicit(&sh->init_upto,
                          (end + WAL_PAGE_BYTES - 1) / WAL_PAGE_BYTES * WAL_PAGE_BYTES,
                          memory_order_release);
    atomic_store_explicit(&sh->written, end, memory_order_release);
    atomic_store_explicit(&sh->durable, end, memory_order_release);
    while ((r = segment_is_whole(w, tli, segno, e)) > 0)
        segno++;
    if (r < 0)
        return r;
    if (segno * seg <= end - 1 && wal_segment_offset(end, seg) != 0)
        return ERR(e, DATA_CORRUPTED,
                   "the write-ahead log file that ends at " LSN_FMT " is not whole", LSN_ARGS(end));
    atomic_store_explicit(&sh->made_upto, segno * seg, memory_order_release);
    if (w->status != NULL) {
        atomic_store_explicit(&w->status->tli, tli, memory_order_relaxed);
        atomic_store_explicit(&w->status->insert_lsn, end, memory_order_relaxed);
        atomic_store_explicit(&w->status->write_lsn, end, memory_order_relaxed);
        atomic_store_explicit(&w->status->flush_lsn, end, memory_order_relaxed);
    }
    /* No more than a checkpoint needs: it recycles others, and the walwriter makes some ahead. */
    return wal_ensure_standing(w, WAL_STANDING_BYTES, e);
}
