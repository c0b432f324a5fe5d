/* Database files from outside: locks while we run, notes for the next start. Runs in: checkpointer,
 * startup. Owns: the list it read. Source: FILE-8, design 11 (somebody else's sqlite3). */
#include "proc/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "sql/catalog.h"
#include "wal/wal_control.h"

#define NOTES_PATH      "pinion_format"
#define NOTES_VERSION   1
#define NOTES_MAX       (512u * 1024)
#define CHANGE_COUNT_AT 24 /* in SQLite's header, big-endian */

/* ---- following the catalogue ---- */
static int
read_list(struct files *f, struct attached *a, struct err *e)
{
    struct store_listed *list = NULL;
    uint32_t n = 0;
    int r = catalog_list_files(&a->store, &list, &n, e);

    if (r < 0)
        return r;
    free(f->list);
    f->list = list;
    f->n = n;
    return 0;
}

/* One that cannot be locked leaves the others to be: < 0 is the first of them, in e. */
static int
lock_all(struct files *f, struct attached *a, struct err *e)
{
    int result = 0;

    f->all_locked = f->is_complete = true;
    for (uint32_t i = 0; i < f->n; i++) {
        struct err why = ERR_INIT;
        int r = store_lock_files(&a->store, &f->list[i], 1, &why);

        if (r == -EAGAIN || r == -ENOENT || r == -ERR_UNDEFINED_FILE) {
            f->all_locked = f->is_complete = false; /* somebody else has it, or it goes right now */
            continue;
        }
        f->is_complete &= r == 0;
        if (r < 0) {
            f->all_locked = false;
            if (result == 0 && e != NULL)
                *e = why;
            result = result == 0 ? r : result;
        }
    }
    return result;
}

int
files_follow(struct files *f, struct attached *a, struct err *e)
{
    uint32_t db = store_db_find(&a->store, CATALOG_DB_OID);
    lsn_t version = db == CACHE_NONE ? 0 : store_db_published(&a->store, db);
    int r = 0;

    if (f->seen != version || version == 0) {
        r = read_list(f, a, e);
        if (r < 0)
            return r;
        f->seen = version;
        f->all_locked = f->is_complete = false;
    }
    return f->is_complete ? 0 : lock_all(f, a, e);
}

/* ---- notes ---- */
struct note {
    uint32_t change_count;
    uint64_t bytes;
};

/* 0; -ENOENT; < 0. */
static int
look_at(struct io *io, oid_t oid, oid_t rel, struct note *ret)
{
    char path[64];
    uint8_t header[100];
    ssize_t n;
    int fd;
    int r;

    store_path_file(path, sizeof path, oid, rel);
    fd = io_open(io, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    n = io_pread(io, fd, header, sizeof header, 0);
    r = io_size(io, fd, &ret->bytes);
    (void) io_close(io, fd);
    if (n < 0)
        return (int) n;
    ret->change_count = n == sizeof header ? get_be32(header + CHANGE_COUNT_AT) : 0;
    return r;
}

static int
write_notes(struct io *io, const char *text, size_t n, struct err *e)
{
    return io_write_file_durably(io, ".", NOTES_PATH, text, n, e);
}

int
files_make_notes(struct io *io, struct err *e)
{
    char text[64];
    int n = snprintf(text, sizeof text, "format %d\n", NOTES_VERSION);

    return write_notes(io, text, (size_t) n, e);
}

int
files_note_clean_stop(const struct files *f, struct attached *a, struct err *e)
{
    struct wal_control control;
    size_t cap = 128 + (size_t) f->n * 80;
    CLEANUP(freep) char *text = malloc(cap);
    size_t at;
    int r = wal_control_read(&a->io, &control, e);

    if (r < 0)
        return r;
    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    at = (size_t) snprintf(text, cap, "format %d\ncheckpoint %llu\n", NOTES_VERSION,
                           (unsigned long long) control.checkpoint_lsn);
    for (uint32_t i = 0; i < f->n; i++) {
        struct note note;

        if (look_at(&a->io, f->list[i].oid, f->list[i].rel, &note) < 0)
            continue; /* dropped since */
        at += (size_t) snprintf(text + at, cap - at, "file %u %u %u %llu\n", f->list[i].oid,
                                f->list[i].rel, note.change_count, (unsigned long long) note.bytes);
    }
    return write_notes(&a->io, text, at, e);
}

/* One "file" line against what is there. */
static bool
has_changed(struct io *io, const char *line, oid_t *ret_oid, oid_t *ret_rel)
{
    struct note was;
    struct note is;

    if (sscanf(line, "file %u %u %u %" SCNu64, ret_oid, ret_rel, &was.change_count, &was.bytes) !=
        4)
        return false;
    if (look_at(io, *ret_oid, *ret_rel, &is) < 0)
        return true;
    return is.change_count != was.change_count || is.bytes != was.bytes;
}

static int
refuse_format(struct err *e)
{
    (void) ERR(e, FEATURE_NOT_SUPPORTED, "data directory has an unknown format");
    err_detail(e, "File \"%s\" should begin with \"format %d\".", NOTES_PATH, NOTES_VERSION);
    err_hint(e, "Start it with the version of the server that stopped it last.");
    return -ERR_FEATURE_NOT_SUPPORTED;
}

static int
check_lines(struct io *io, char *text, files_changed_fn fn, void *arg, struct err *e)
{
    struct wal_control control;
    unsigned long long checkpoint;
    unsigned version;
    char *line;
    int r = wal_control_read(io, &control, e);

    if (r < 0)
        return r;
    if (sscanf(text, "format %u", &version) != 1 || version != NOTES_VERSION)
        return refuse_format(e);
    line = strstr(text, "\ncheckpoint ");
    if (control.state != WAL_STATE_SHUT_DOWN || line == NULL ||
        sscanf(line, "\ncheckpoint %llu", &checkpoint) != 1 || checkpoint != control.checkpoint_lsn)
        return 0; /* notes of another stop: they say nothing */
    while ((line = strsep(&text, "\n")) != NULL) {
        oid_t oid;
        oid_t rel;

        if (strncmp(line, "file ", 5) == 0 && has_changed(io, line, &oid, &rel))
            fn(arg, oid, rel);
    }
    return 0;
}

int
files_check_stopped(struct io *io, files_changed_fn fn, void *arg, struct err *e)
{
    CLEANUP(freep) char *text = malloc(NOTES_MAX + 1);
    ssize_t n;

    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    n = io_read_file(io, NOTES_PATH, text, NOTES_MAX);
    if (n == -ENOENT)
        return 0;
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read file \"%s\"", NOTES_PATH);
    text[n] = '\0';
    return check_lines(io, text, fn, arg, e);
}
