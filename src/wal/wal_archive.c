/* Marks of the archiver.
 * Runs in: whoever finishes a segment, archiver, checkpointer (recycling), startup. Owns: nothing.
 * Source: wal-format.md 4.6; postmaster.md 5.9, 5.11; the order is that of PostgreSQL's pgarch.c.
 */
#include "wal/wal_archive.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 128

static void
mark_path(char ret[PATH_BYTES], const char *name, const char *mark)
{
    (void) snprintf(ret, PATH_BYTES, WAL_STATUS_DIR "/%s%s", name, mark);
}

bool
wal_archive_name_ok(const char *name)
{
    size_t n = strlen(name);

    return n >= 16 && n <= 40 && strspn(name, "0123456789ABCDEF.history.backup.partial") == n;
}

static int
exists(struct io *io, const char *path)
{
    int fd = io_open(io, path, O_RDONLY, 0);

    if (fd == -ENOENT)
        return 0;
    if (fd >= 0)
        (void) io_close(io, fd);
    return fd < 0 ? fd : 1;
}

int
wal_archive_state(struct io *io, const char *name, struct err *e)
{
    static const struct {
        const char *mark;
        int state;
    } looks[] = {
        { ".done", WAL_ARCHIVE_DONE },
        { ".ready", WAL_ARCHIVE_READY },
        { ".done", WAL_ARCHIVE_DONE }, /* renamed between our two looks */
    };

    for (size_t i = 0; i < ELEMENTSOF(looks); i++) {
        char path[PATH_BYTES];
        int r;

        mark_path(path, name, looks[i].mark);
        r = exists(io, path);
        if (r < 0)
            return err_set_errno(e, -r, "could not open file \"%s\"", path);
        if (r > 0)
            return looks[i].state;
    }
    return WAL_ARCHIVE_NONE;
}

static int
make_mark(struct io *io, const char *path, struct err *e)
{
    int fd = io_open(io, path, O_WRONLY | O_CREAT, 0600);
    int r = fd;

    if (fd >= 0) {
        r = io_fsync(io, fd);
        (void) io_close(io, fd);
    }
    if (r == 0)
        r = io_fsync_dir(io, WAL_STATUS_DIR);
    return r < 0 ? err_set_errno(e, -r, "could not create archive status file \"%s\"", path) : 0;
}

int
wal_archive_notify(struct io *io, const char *name, struct err *e)
{
    char path[PATH_BYTES];

    mark_path(path, name, ".ready");
    return make_mark(io, path, e);
}

int
wal_archive_set_done(struct io *io, const char *name, struct err *e)
{
    char ready[PATH_BYTES];
    char done[PATH_BYTES];
    int r;

    mark_path(ready, name, ".ready");
    mark_path(done, name, ".done");
    r = io_rename(io, ready, done);
    if (r == -ENOENT)
        return make_mark(io, done, e);
    if (r == 0)
        r = io_fsync_dir(io, WAL_STATUS_DIR);
    return r < 0 ? err_set_errno(e, -r, "could not rename file \"%s\" to \"%s\"", ready, done) : 0;
}

int
wal_archive_forget(struct io *io, const char *name)
{
    char path[PATH_BYTES];
    int r;

    mark_path(path, name, ".done");
    (void) io_unlink(io, path);
    mark_path(path, name, ".ready");
    r = io_unlink(io, path);
    return r == -ENOENT ? 0 : r;
}

/* ---- what is ready ---- */

static bool
is_history(const char *name)
{
    size_t n = strlen(name);

    return n > 8 && strcmp(name + n - 8, ".history") == 0;
}

static bool
comes_before(const char *a, const char *b)
{
    if (is_history(a) != is_history(b))
        return is_history(a);
    return strcmp(a, b) < 0;
}

/* Into the ordered list; the last one falls off when it is full. */
static void
add_ready(struct wal_archive_list *list, const char *name)
{
    uint32_t at = list->n;

    while (at > 0 && comes_before(name, list->name[at - 1]))
        at--;
    if (at == WAL_ARCHIVE_LIST_MAX)
        return;
    if (list->n < WAL_ARCHIVE_LIST_MAX)
        list->n++;
    memmove(list->name[at + 1], list->name[at], (list->n - 1 - at) * sizeof list->name[0]);
    (void) snprintf(list->name[at], sizeof list->name[at], "%s", name);
}

static int
note_ready(void *arg, const char *name, bool is_dir)
{
    size_t n = strlen(name);
    char stem[WAL_ARCHIVE_NAME_BYTES];

    if (is_dir || n < 6 || strcmp(name + n - 6, ".ready") != 0 || n - 6 >= sizeof stem)
        return 0;
    memcpy(stem, name, n - 6);
    stem[n - 6] = '\0';
    if (wal_archive_name_ok(stem))
        add_ready(arg, stem);
    return 0;
}

int
wal_archive_list(struct io *io, struct wal_archive_list *ret, struct err *e)
{
    int r;

    ret->n = 0;
    r = io_list(io, WAL_STATUS_DIR, note_ready, ret);
    return r < 0 ? err_set_errno(e, -r, "could not read directory \"%s\"", WAL_STATUS_DIR) : 0;
}

/* ---- sweep ---- */

struct sweep {
    struct io *io;
    lsn_t end;
    uint32_t segment_bytes;
    int n;
    struct err *e;
};

static int
sweep_one(void *arg, const char *name, bool is_dir)
{
    struct sweep *s = arg;
    uint64_t segno;
    tli_t tli;
    int r;

    if (is_dir || !wal_segment_parse(name, s->segment_bytes, &tli, &segno) ||
        (segno + 1) * s->segment_bytes > s->end)
        return 0;
    r = wal_archive_state(s->io, name, s->e);
    if (r != WAL_ARCHIVE_NONE)
        return MIN(r, 0);
    s->n++;
    return wal_archive_notify(s->io, name, s->e);
}

int
wal_archive_sweep(struct io *io, lsn_t end, uint32_t segment_bytes, struct err *e)
{
    struct sweep s = { .io = io, .end = end, .segment_bytes = segment_bytes, .e = e };
    int r = io_list(io, WAL_DIR, sweep_one, &s);

    return r < 0 ? err_set_errno(e, -r, "could not read directory \"%s\"", WAL_DIR) : s.n;
}
