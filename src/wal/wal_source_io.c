/* The segments in pg_wal as a source for struct wal_reader.
 * Runs in: startup, walsender, backends that read old records back, tests. Owns: one descriptor.
 * Source: wal-format.md 1.2, 1.14; engine-rules REDO-4. */
#include "wal/wal_source_io.h"

#include <errno.h>

#include "base/fault.h"
#include "wal/wal_format.h"

void
wal_source_io_init(struct wal_source_io *s, struct io *io, const struct wal_history *history,
                   uint32_t segment_bytes)
{
    *s = (struct wal_source_io){
        .io = io, .history = history, .segment_bytes = segment_bytes, .fd = -1
    };
}

void
wal_source_io_forget(struct wal_source_io *s)
{
    if (s->fd >= 0)
        (void) io_close(s->io, s->fd);
    s->fd = -1;
}

void
wal_source_io_done(struct wal_source_io *s)
{
    wal_source_io_forget(s);
}

/* The timeline whose file should hold this segment: the newest that has any byte of it. */
static tli_t
tli_of_segment(const struct wal_source_io *s, uint64_t segno)
{
    return wal_history_tli_at(s->history, (segno + 1) * s->segment_bytes - 1);
}

struct later {
    const struct wal_source_io *s;
    uint64_t segno;
    bool found;
};

static int
note_later(void *arg, const char *name, bool is_dir)
{
    struct later *later = arg;
    tli_t tli;
    uint64_t segno;

    /* A file of an abandoned branch does not count: it is no later part of this log. */
    if (!is_dir && wal_segment_parse(name, later->s->segment_bytes, &tli, &segno) &&
        segno > later->segno && tli == tli_of_segment(later->s, segno))
        later->found = true;
    return 0;
}

/* Is there a later segment of this history? 1, 0 or < 0. */
static int
later_segment_exists(struct wal_source_io *s, uint64_t segno, struct err *e)
{
    struct later later = { .s = s, .segno = segno };
    int r = io_list(s->io, WAL_DIR, note_later, &later);

    if (r < 0)
        return err_set_errno(e, -r, "could not read directory \"%s\"", WAL_DIR);
    return later.found;
}

/* What the archive has is preferred to what is there. */
static int
fetch(struct wal_source_io *s, tli_t tli, uint64_t segno, struct err *e)
{
    char name[WAL_SEGMENT_NAME_BYTES];

    if (s->fetch == NULL)
        return 1;
    wal_segment_name(name, tli, segno, s->segment_bytes);
    return s->fetch(s->fetch_arg, name, e);
}

/* Open the file with the page at lsn: the newest timeline's; if there is none, an ancestor's that
 * still covers this page. Returns 0, 1 = none, < 0. */
static int
open_segment(struct wal_source_io *s, uint64_t segno, lsn_t lsn, struct err *e)
{
    lsn_t segment_end = (segno + 1) * s->segment_bytes;

    for (uint32_t i = s->history->n; i-- > 0;) {
        const struct wal_history_entry *entry = &s->history->entries[i];
        char path[WAL_SEGMENT_PATH_BYTES];
        int fd;
        int r;

        if (entry->begin >= segment_end)
            continue;
        if (entry->end <= lsn)
            break;
        r = fetch(s, entry->tli, segno, e);
        if (r < 0)
            return r;
        wal_segment_path(path, entry->tli, segno, s->segment_bytes);
        fd = io_open(s->io, path, O_RDONLY, 0);
        if (fd == -ENOENT)
            continue;
        if (fd < 0)
            return err_set_errno(e, -fd, "could not open file \"%s\"", path);
        wal_source_io_forget(s);
        s->fd = fd;
        s->tli = entry->tli;
        s->segno = segno;
        return 0;
    }
    return 1;
}

/* Nothing, or too little, of segment `segno` is there: the end of the log, unless a later one
 * exists (REDO-4). */
static int
end_or_hole(struct wal_source_io *s, uint64_t segno, const char *what, struct err *e)
{
    char path[WAL_SEGMENT_PATH_BYTES];
    int r = later_segment_exists(s, segno, e);

    if (r <= 0)
        return r;
    wal_segment_path(path, tli_of_segment(s, segno), segno, s->segment_bytes);
    r = ERR(e, DATA_CORRUPTED, "log segment \"%s\" is %s, but a later one exists", path, what);
    err_hint(e, "Put the missing part back, or restore the cluster from a base backup. Without it "
                "committed transactions would be lost.");
    return r;
}

/* Bytes that the open file can give at lsn. An ancestor's file, used where the newer one is
 * missing, counts only up to its switch point: what is behind it is of an abandoned branch. */
static size_t
bytes_of_file(const struct wal_source_io *s, lsn_t lsn, size_t n)
{
    lsn_t end = wal_history_find(s->history, s->tli)->end;

    return end > lsn ? (size_t) MIN(n, end - lsn) : 0;
}

ssize_t
wal_source_io_read(void *arg, lsn_t lsn, void *p, size_t n, struct err *e)
{
    struct wal_source_io *s = arg;
    uint64_t segno = wal_segno(lsn, s->segment_bytes);
    uint32_t at = wal_segment_offset(lsn, s->segment_bytes);
    size_t want = MIN(n, s->segment_bytes - at);
    ssize_t got;
    int r;

    if (s->fd < 0 || s->segno != segno || bytes_of_file(s, lsn, want) == 0) {
        r = open_segment(s, segno, lsn, e);
        if (r < 0)
            return r;
        if (r > 0)
            return end_or_hole(s, segno, "missing", e);
    }
    got = FAULT(WAL_SOURCE_READ);
    if (got == 0)
        got = io_pread(s->io, s->fd, p, bytes_of_file(s, lsn, want), at);
    if (got < 0) {
        char path[WAL_SEGMENT_PATH_BYTES];

        wal_segment_path(path, s->tli, segno, s->segment_bytes);
        return err_set_errno(e, (int) -got, "could not read file \"%s\" at offset %u", path, at);
    }
    if ((size_t) got < want) {
        bool is_ancestor = s->tli != tli_of_segment(s, segno);

        wal_source_io_forget(s); /* the next try finds what has come meanwhile */
        r = end_or_hole(s, segno, is_ancestor ? "missing" : "too short", e);
        if (r < 0)
            return r;
    }
    return got;
}
