/* The list of files to be verified, and its file. Runs in: startup. Owns: "pinion_verify". Source:
 * design 6 (pass "verify"); PostgreSQL has no such pass. */
#include "store/store_touched.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES 24u /* "4294967295 4294967295\n" */

bool
store_touched_has(const struct store_touched *t, oid_t oid, oid_t rel)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->list[i].oid == oid && t->list[i].rel == rel)
            return true;
    return false;
}

int
store_touched_add(struct store_touched *t, oid_t oid, oid_t rel, struct err *e)
{
    if (store_touched_has(t, oid, rel))
        return 0;
    if (t->n == t->cap) {
        uint32_t cap = MAX(16u, t->cap * 2);
        struct store_listed *list = realloc(t->list, cap * sizeof *list);

        if (list == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory for the list of files to verify");
        t->list = list;
        t->cap = cap;
    }
    t->list[t->n++] = (struct store_listed){ oid, rel };
    t->is_dirty = true;
    return 0;
}

static int
not_of_its_form(struct err *e)
{
    (void) ERR(e, DATA_CORRUPTED, "file \"%s\" is not of its form", STORE_TOUCHED_PATH);
    err_hint(e, "It only says which files the next start verifies: remove it, and start once with "
                "startup_verify = full.");
    return -ERR_DATA_CORRUPTED;
}

static int
add_lines(struct store_touched *t, char *text, struct err *e)
{
    char *rest = text;
    const char *line;
    int r = 0;

    while (r == 0 && (line = strsep(&rest, "\n")) != NULL) {
        unsigned oid;
        unsigned rel;
        int used = 0;

        if (line[0] == '\0')
            continue;
        if (sscanf(line, "%u %u%n", &oid, &rel, &used) != 2 || line[used] != '\0')
            return not_of_its_form(e);
        r = store_touched_add(t, oid, rel, e);
    }
    return r;
}

int
store_touched_read(struct store_touched *t, struct io *io, struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    bool was_dirty = t->is_dirty;
    uint32_t before = t->n;
    uint64_t bytes = 0;
    ssize_t n;
    int fd = io_open(io, STORE_TOUCHED_PATH, O_RDONLY, 0);
    int r;

    if (fd == -ENOENT) {
        t->is_dirty = t->n > 0;
        return 0;
    }
    n = fd;
    if (fd >= 0) {
        n = io_size(io, fd, &bytes);
        (void) io_close(io, fd);
    }
    if (n >= 0) {
        text = malloc(bytes + 1);
        if (text == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory for the list of files to verify");
        n = io_read_file(io, STORE_TOUCHED_PATH, text, bytes);
    }
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read file \"%s\"", STORE_TOUCHED_PATH);
    text[n] = '\0';
    if (strlen(text) != (size_t) n) /* zeros, from which a list would end early */
        return not_of_its_form(e);
    r = add_lines(t, text, e);
    t->is_dirty = was_dirty || before > 0; /* what was read is in the file already */
    return r;
}

int
store_touched_write(struct store_touched *t, struct io *io, struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    size_t at = 0;
    int r;

    if (!t->is_dirty)
        return 0;
    if (t->n == 0) {
        r = io_unlink(io, STORE_TOUCHED_PATH);
        if (r == 0)
            r = io_fsync_dir(io, "");
        if (r < 0 && r != -ENOENT)
            return err_set_errno(e, -r, "could not remove file \"%s\"", STORE_TOUCHED_PATH);
        t->is_dirty = false;
        return 0;
    }
    text = malloc((size_t) t->n * LINE_BYTES);
    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory for the list of files to verify");
    for (uint32_t i = 0; i < t->n; i++)
        at += (size_t) snprintf(text + at, LINE_BYTES, "%u %u\n", t->list[i].oid, t->list[i].rel);
    r = io_write_file_durably(io, "", STORE_TOUCHED_PATH, text, at, e);
    t->is_dirty = t->is_dirty && r < 0;
    return r;
}

void
store_touched_done(struct store_touched *t)
{
    free(t->list);
    *t = (struct store_touched){ .n = 0 };
}
