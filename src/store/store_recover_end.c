/* The end of the log after redo: nothing old may be readable behind it. Runs in: startup. Owns:
 * nothing. Source: engine-rules REDO-6; wal-format 1.10. */
#include "store/store_recover_end.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "wal/wal_page.h"
#include "wal/wal_record.h"
#include "wal/wal_xlog.h"

#define CHUNK_BYTES (64u * 1024)

struct recover_end
recover_end_of(const struct wal_reader *reader, tli_t tli)
{
    struct recover_end end = { .tli = tli,
                               .at = wal_reader_end(reader),
                               .last = wal_reader_last(reader) };

    if (!wal_reader_aborted(reader, &end.aborted, &end.missing))
        end.aborted = 0;
    return end;
}

/* Has a record been written into this segment as a part of this log? 1, 0 or < 0. One made ahead
 * has zeros behind its header, a recycled one another address, and recovery leaves none behind
 * (REDO-6).
 */
static int
is_begun(struct store *st, tli_t tli, uint64_t segno, struct err *e)
{
    uint32_t seg = st->wal->cfg.segsize;
    struct wal_page_want want = {
        .lsn = segno * seg, .sysid = st->wal->cfg.system_id, .segment_bytes = seg, .tli_min = tli
    };
    struct wal_page page;
    char path[WAL_SEGMENT_PATH_BYTES];
    uint8_t begin[WAL_LONG_HEADER + 4];
    ssize_t n;
    int fd;

    wal_segment_path(path, tli, segno, seg);
    fd = io_open(st->io, path, O_RDONLY, 0);
    if (fd == -ENOENT)
        return 0;
    n = fd;
    if (fd >= 0) {
        n = io_pread(st->io, fd, begin, sizeof begin, 0);
        (void) io_close(st->io, fd);
    }
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read log file \"%s\"", path);
    return n == sizeof begin && wal_page_get(begin, sizeof begin, &want, &page, NULL) == 0 &&
           (page.rem_len != 0 || get_u32(begin + WAL_LONG_HEADER) != 0);
}

/* The segment in which the record that should begin at `start` says it ends. Nobody has checked it.
 */
static int
claimed_segment(struct store *st, tli_t tli, lsn_t start, uint64_t *ret, struct err *e)
{
    uint32_t seg = st->wal->cfg.segsize;
    char path[WAL_SEGMENT_PATH_BYTES];
    uint8_t length[4] = { 0 };
    ssize_t n;
    int fd;

    *ret = wal_segno(start, seg);
    wal_segment_path(path, tli, *ret, seg);
    fd = io_open(st->io, path, O_RDONLY, 0);
    if (fd == -ENOENT)
        return 0;
    n = fd;
    if (fd >= 0) {
        n = io_pread(st->io, fd, length, sizeof length, wal_segment_offset(start, seg));
        (void) io_close(st->io, fd);
    }
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read log file \"%s\"", path);
    if (n == sizeof length && get_u32(length) >= WAL_RECORD_HEADER)
        *ret = wal_segno(wal_end_of(start, get_u32(length), seg) - 1, seg);
    return 0;
}

int
recover_end_is_end(struct store *st, const struct recover_end *end, const char *why, struct err *e)
{
    uint32_t seg = st->wal->cfg.segsize;
    lsn_t start = end->at;
    uint64_t last;
    char path[WAL_SEGMENT_PATH_BYTES];
    int r;

    if (wal_page_offset(start) == 0)
        start += wal_segment_offset(start, seg) == 0 ? WAL_LONG_HEADER : WAL_SHORT_HEADER;
    r = claimed_segment(st, end->tli, start, &last, e);
    if (r == 0)
        r = is_begun(st, end->tli, last + 1, e);
    if (r <= 0)
        return r;
    wal_segment_path(path, end->tli, last + 1, seg);
    (void) ERR(e, DATA_CORRUPTED, "log is damaged at " LSN_FMT ", but goes on in \"%s\"",
               LSN_ARGS(end->at), path);
    err_detail(e, "%s", why);
    err_hint(e,
             "Put the undamaged segment back, or restore the cluster from a base backup. Without "
             "it committed transactions would be lost.");
    return -ERR_DATA_CORRUPTED;
}

/* Zeros from `at` to the end of its segment. Returns 0 or -errno. */
static int
zero_rest(struct store *st, int fd, lsn_t at)
{
    static const uint8_t zeros[CHUNK_BYTES];
    uint32_t seg = st->wal->cfg.segsize;
    uint32_t off = wal_segment_offset(at, seg);
    ssize_t r = 0;

    while (off < seg && r >= 0) {
        uint32_t n = MIN(CHUNK_BYTES - off % CHUNK_BYTES, seg - off);

        r = io_pwrite(st->io, fd, zeros, n, off);
        off += n;
    }
    return r < 0 ? (int) r : 0;
}

/* A segment that is not there yet, for the page on which a record's bytes are missing (WAL-3). */
static int
make_segment(struct store *st, const char *path, lsn_t at)
{
    char tmp[WAL_SEGMENT_PATH_BYTES + 8];
    int fd;
    int r;

    (void) snprintf(tmp, sizeof tmp, "%s.tmp", path);
    fd = io_open(st->io, tmp, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return fd;
    r = zero_rest(st, fd, at - wal_segment_offset(at, st->wal->cfg.segsize));
    if (r == 0)
        r = io_fsync(st->io, fd);
    (void) io_close(st->io, fd);
    if (r == 0)
        r = io_rename(st->io, tmp, path);
    if (r == 0)
        r = io_fsync_dir(st->io, WAL_DIR);
    return r;
}

static int
open_segment(struct store *st, const char *path, lsn_t at, bool make)
{
    int fd = io_open(st->io, path, O_RDWR, 0);

    if (fd == -ENOENT && make) {
        int r = make_segment(st, path, at);

        fd = r < 0 ? r : io_open(st->io, path, O_RDWR, 0);
    }
    return fd;
}

/* Header and OVERWRITE_CONTRECORD for the page at end->missing, into p (zeroed, 8192). */
static int
put_overwrite(struct store *st, struct recover_end *end, uint8_t *p, struct err *e)
{
    uint32_t seg = st->wal->cfg.segsize;
    struct wal_page page = wal_page_of(end->missing, end->tli, 0, st->wal->cfg.system_id, seg);
    struct wal_overwrite body = { .lsn = end->aborted,
                                  .time = wal_time((int64_t) clock_real_usec()) };
    uint8_t main[32];
    struct buf m = buf_init(main, sizeof main);
    struct buf b;
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_OVERWRITE_CONTRECORD };
    uint32_t header;
    int r;

    page.info |= WAL_PAGE_OVERWRITE;
    header = wal_page_put(p, &page);
    wal_xlog_put_overwrite(&m, &body);
    rec.main = main;
    rec.main_bytes = (uint32_t) m.n;
    b = buf_init(p + header, WAL_PAGE_BYTES - header);
    r = wal_record_put(&b, &rec, e);
    if (r < 0)
        return r;
    wal_record_seal(b.p, (uint32_t) b.n, end->last);
    end->last = end->missing + header;
    end->at = wal_end_of(end->last, b.n, seg);
    return 0;
}

static int
write_overwrite(struct store *st, struct recover_end *end, struct err *e)
{
    uint8_t p[WAL_PAGE_BYTES] = { 0 };
    char path[WAL_SEGMENT_PATH_BYTES];
    uint32_t seg = st->wal->cfg.segsize;
    lsn_t at = end->missing;
    ssize_t r;
    int fd;

    r = put_overwrite(st, end, p, e);
    if (r < 0)
        return (int) r;
    wal_segment_path(path, end->tli, wal_segno(at, seg), seg);
    fd = open_segment(st, path, at, true);
    r = fd;
    if (fd >= 0) {
        r = io_pwrite(st->io, fd, p, sizeof p, wal_segment_offset(at, seg));
        if (r >= 0)
            r = io_fsync(st->io, fd);
        (void) io_close(st->io, fd);
    }
    return r < 0 ? err_set_errno(e, (int) -r, "could not write log file \"%s\"", path) : 0;
}

static int
zero_behind(struct store *st, const struct recover_end *end, struct err *e)
{
    char path[WAL_SEGMENT_PATH_BYTES];
    uint32_t seg = st->wal->cfg.segsize;
    int fd;
    int r;

    wal_segment_path(path, end->tli, wal_segno(end->at, seg), seg);
    fd = open_segment(st, path, end->at, false);
    if (fd == -ENOENT && wal_segment_offset(end->at, seg) == 0)
        return 0; /* the log ends with its last segment */
    r = fd;
    if (fd >= 0) {
        r = zero_rest(st, fd, end->at);
        if (r == 0)
            r = io_fsync(st->io, fd);
        (void) io_close(st->io, fd);
    }
    return r < 0 ? err_set_errno(e, -r, "could not clean log file \"%s\"", path) : 0;
}

struct later {
    struct store *st;
    const struct recover_end *end;
    char name[WAL_SEGMENT_NAME_BYTES]; /* the highest found */
    uint64_t segno;
};

static int
note_highest(void *arg, const char *name, bool is_dir)
{
    struct later *x = arg;
    uint32_t seg = x->st->wal->cfg.segsize;
    uint64_t segno;
    tli_t tli;

    if (!is_dir && wal_segment_parse(name, seg, &tli, &segno) && tli == x->end->tli &&
        segno > wal_segno(x->end->at, seg) && segno > x->segno) {
        memcpy(x->name, name, sizeof x->name);
        x->segno = segno;
    }
    return 0;
}

/* Highest first: at every moment those that are left have no hole between them. */
static int
remove_later(struct store *st, const struct recover_end *end, struct err *e)
{
    char path[WAL_SEGMENT_PATH_BYTES];

    for (;;) {
        struct later x = { .st = st, .end = end };
        int r = io_list(st->io, WAL_DIR, note_highest, &x);

        if (r == 0 && x.segno == 0)
            r = io_fsync_dir(st->io, WAL_DIR);
        else if (r == 0) {
            (void) snprintf(path, sizeof path, WAL_DIR "/%s", x.name);
            r = io_unlink(st->io, path);
        }
        if (r < 0)
            return err_set_errno(e, -r, "could not remove log files behind the end of the log");
        if (x.segno == 0)
            return 0;
    }
}

int
recover_end_clean(struct store *st, struct recover_end *end, struct err *e)
{
    int r = FAULT(RECOVER_ZERO);

    if (r < 0)
        return err_set_errno(e, -r, "could not clean the end of the log");
    if (end->aborted != 0) {
        r = write_overwrite(st, end, e);
        end->aborted = 0;
    }
    if (r == 0)
        r = zero_behind(st, end, e);
    if (r == 0 && (r = FAULT(RECOVER_REMOVE_LATER)) < 0)
        return err_set_errno(e, -r, "could not remove log files behind the end of the log");
    if (r == 0)
        r = remove_later(st, end, e);
    return r;
}
