/* Timelines: history files, ancestry, switch points.
 * Runs in: startup, walsender, tests. Owns: nothing between calls.
 * Source: wal-format.md 1.14, 4.1. */
#include "wal/wal_timeline.h"

#include <errno.h>
#include <stdio.h>

#include "wal/wal_format.h"

void
wal_history_path(char ret[WAL_HISTORY_PATH_BYTES], tli_t tli)
{
    (void) snprintf(ret, WAL_HISTORY_PATH_BYTES, "%s/%08X.history", WAL_DIR, tli);
}

void
wal_history_done(struct wal_history *h)
{
    free(h->entries);
    *h = (struct wal_history){ 0 };
}

/* Append a timeline that begins where the last one ends. */
static int
add_entry(struct wal_history *h, tli_t tli, lsn_t end, struct err *e)
{
    lsn_t begin = h->n > 0 ? h->entries[h->n - 1].end : 0;
    void *p = realloc(h->entries, (h->n + 1) * sizeof *h->entries);

    if (p == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory for a timeline history");
    h->entries = p;
    h->entries[h->n++] = (struct wal_history_entry){ .tli = tli, .begin = begin, .end = end };
    return 0;
}

int
wal_history_init(struct wal_history *ret, tli_t tli, struct err *e)
{
    *ret = (struct wal_history){ 0 };
    return add_entry(ret, tli, UINT64_MAX, e);
}

static bool
is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static void
skip_space(struct cur *c)
{
    while (c->left > 0 && is_space(*c->p))
        (void) cur_u8(c);
}

/* An unsigned number of at most 32 bits in base 10 or 16. */
static bool
get_number(struct cur *c, unsigned base, uint32_t *ret)
{
    uint64_t v = 0;
    bool any = false;

    while (c->left > 0 && v <= UINT32_MAX) {
        uint8_t ch = *c->p;
        unsigned digit = 16;

        if (ch >= '0' && ch <= '9')
            digit = ch - '0';
        else if ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f')
            digit = (ch | 0x20) - 'a' + 10u;
        if (digit >= base)
            break;
        v = v * base + digit;
        any = true;
        (void) cur_u8(c);
    }
    *ret = (uint32_t) v;
    return any && v <= UINT32_MAX;
}

/* "parent <white> X/X": the rest of the line is free text. */
static bool
get_line(struct cur *line, tli_t *ret_tli, lsn_t *ret_lsn)
{
    uint32_t high = 0;
    uint32_t low = 0;

    if (!get_number(line, 10, ret_tli))
        return false;
    skip_space(line);
    if (!get_number(line, 16, &high) || line->left == 0 || cur_u8(line) != '/' ||
        !get_number(line, 16, &low))
        return false;
    *ret_lsn = (lsn_t) high << 32 | low;
    return true;
}

/* Cut the next line off c. */
static struct cur
take_line(struct cur *c)
{
    const uint8_t *nl = memchr(c->p, '\n', c->left);
    size_t n = nl != NULL ? (size_t) (nl - c->p) : c->left;
    struct cur line = cur_init(c->p, n);

    (void) cur_take(c, nl != NULL ? n + 1 : n);
    return line;
}

static int
add_line(struct wal_history *h, struct cur *line, tli_t tli, struct err *e)
{
    const struct wal_history_entry *last = h->n > 0 ? &h->entries[h->n - 1] : NULL;
    tli_t parent = 0;
    lsn_t lsn = 0;

    if (!get_line(line, &parent, &lsn))
        return ERR(e, DATA_CORRUPTED, "the history of timeline %u has a line of another form", tli);
    if (parent == 0 || parent >= tli)
        return ERR(e, DATA_CORRUPTED, "the history of timeline %u names timeline %u as an ancestor",
                   tli, parent);
    if (last != NULL && (parent <= last->tli || lsn < last->end))
        return ERR(e, DATA_CORRUPTED,
                   "the history of timeline %u is not ascending: timeline %u up to " LSN_FMT
                   " after timeline %u up to " LSN_FMT,
                   tli, parent, LSN_ARGS(lsn), last->tli, LSN_ARGS(last->end));
    return add_entry(h, parent, lsn, e);
}

int
wal_history_parse(const char *text, size_t n, tli_t tli, struct wal_history *ret, struct err *e)
{
    struct cur c = cur_init(text, n);
    CLEANUP(wal_history_done) struct wal_history h = { 0 };
    int r = 0;

    while (c.left > 0 && r == 0) {
        struct cur line = take_line(&c);

        skip_space(&line);
        if (line.left > 0 && *line.p != '#')
            r = add_line(&h, &line, tli, e);
    }
    if (r == 0)
        r = add_entry(&h, tli, UINT64_MAX, e);
    if (r < 0)
        return r;
    *ret = h;
    h = (struct wal_history){ 0 };
    return 0;
}

/* Text of a timeline's history file into heap memory; *ret is NULL with length 0 if there is none.
 */
static ssize_t
read_text(struct io *io, tli_t tli, char **ret, struct err *e)
{
    char path[WAL_HISTORY_PATH_BYTES];
    CLEANUP(freep) char *text = malloc(WAL_HISTORY_BYTES_MAX);
    ssize_t n;

    *ret = NULL;
    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory for a timeline history");
    wal_history_path(path, tli);
    n = io_read_file(io, path, text, WAL_HISTORY_BYTES_MAX);
    if (n == -ENOENT && tli == 1)
        return 0;
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read file \"%s\"", path);
    *ret = TAKE_PTR(text);
    return n;
}

int
wal_history_read(struct io *io, tli_t tli, struct wal_history *ret, struct err *e)
{
    CLEANUP(freep) char *text = NULL;
    ssize_t n = read_text(io, tli, &text, e);

    if (n < 0)
        return (int) n;
    if (text == NULL)
        return wal_history_init(ret, tli, e);
    return wal_history_parse(text, (size_t) n, tli, ret, e);
}

void
wal_history_put(struct buf *b, const char *parent_text, size_t n, tli_t parent, lsn_t switch_lsn,
                const char *reason)
{
    char line[64];
    int len = snprintf(line, sizeof line, "%u\t" LSN_FMT "\t", parent, LSN_ARGS(switch_lsn));

    if (n > 0) {
        buf_put(b, parent_text, n);
        buf_put_u8(b, '\n'); /* the blank line that stock leaves between entries */
    }
    buf_put(b, line, (size_t) len);
    buf_put(b, reason, strlen(reason));
    buf_put_u8(b, '\n');
}

int
wal_history_write(struct io *io, tli_t tli, tli_t parent, lsn_t switch_lsn, const char *reason,
                  struct err *e)
{
    CLEANUP(freep) char *parent_text = NULL;
    CLEANUP(freep) char *text = malloc(WAL_HISTORY_BYTES_MAX);
    struct buf b = buf_init(text, WAL_HISTORY_BYTES_MAX);
    char path[WAL_HISTORY_PATH_BYTES];
    ssize_t n = read_text(io, parent, &parent_text, e);

    if (n < 0)
        return (int) n;
    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory for a timeline history");
    wal_history_put(&b, parent_text, (size_t) n, parent, switch_lsn, reason);
    if (!buf_ok(&b))
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "the history of timeline %u is too long", tli);
    wal_history_path(path, tli);
    return io_write_file_durably(io, WAL_DIR, path, b.p, b.n, e);
}

int
wal_history_newest(struct io *io, tli_t from, tli_t *ret, struct err *e)
{
    for (tli_t tli = from;; tli++) {
        char path[WAL_HISTORY_PATH_BYTES];
        int fd;

        wal_history_path(path, tli + 1);
        fd = io_open(io, path, O_RDONLY, 0);
        if (fd < 0) {
            *ret = tli;
            return fd == -ENOENT ? 0 : err_set_errno(e, -fd, "could not open file \"%s\"", path);
        }
        (void) io_close(io, fd);
    }
}

tli_t
wal_history_tli_at(const struct wal_history *h, lsn_t lsn)
{
    for (uint32_t i = 0; i < h->n; i++)
        if (lsn < h->entries[i].end)
            return h->entries[i].tli;
    return wal_history_tli(h);
}

const struct wal_history_entry *
wal_history_find(const struct wal_history *h, tli_t tli)
{
    for (uint32_t i = 0; i < h->n; i++)
        if (h->entries[i].tli == tli)
            return &h->entries[i];
    return NULL;
}

bool
wal_history_holds(const struct wal_history *h, tli_t tli, lsn_t lsn)
{
    const struct wal_history_entry *entry = wal_history_find(h, tli);

    return entry != NULL && lsn <= entry->end;
}
