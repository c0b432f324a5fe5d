/* The file pinion_history and its newest lines. Runs in: postmaster, and tests. Owns: the
 * descriptor, the lines. Source: systemd-ops 4.4 (`history`). */
#include "pm/pm_history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* clang-format off */
enum history_field {
#define HISTORY_FIELD(id, key, is_number) FIELD_##id,
#include "tbl/history_fields.def"
#undef HISTORY_FIELD
    FIELDS
};
static const char *const keys[FIELDS] = {
#define HISTORY_FIELD(id, key, is_number) [FIELD_##id] = key,
#include "tbl/history_fields.def"
#undef HISTORY_FIELD
};
static const char *const names[HISTORY_EVENTS] = {
#define HISTORY_EVENT(id, name) [HISTORY_##id] = name,
#include "tbl/history_events.def"
#undef HISTORY_EVENT
};
/* clang-format on */

const char *
history_event_name(enum history_event event)
{
    return names[event];
}

/* ---- a line ---- */

/* Behind what stands in `line`, as far as there is room for whole characters and the end. */
static void
add_text(char *line, enum history_field field, const char *value)
{
    size_t n = strlen(line);

    if (value == NULL || value[0] == '\0' || n + strlen(keys[field]) + 16 > HISTORY_LINE_BYTES)
        return;
    n += (size_t) snprintf(line + n, HISTORY_LINE_BYTES - n, "%s%s=", n > 0 ? "\t" : "",
                           keys[field]);
    for (const char *p = value; *p != '\0' && n + 3 < HISTORY_LINE_BYTES; p++) {
        bool is_special = *p == '\t' || *p == '\n' || *p == '\\';

        if (is_special)
            line[n++] = '\\';
        line[n++] = *p;
        if (*p == '\t')
            line[n - 1] = 't';
        if (*p == '\n')
            line[n - 1] = 'n';
    }
    line[n] = '\0';
}

static void
add_number(char *line, enum history_field field, uint64_t value)
{
    char text[24];

    (void) snprintf(text, sizeof text, "%llu", (unsigned long long) value);
    add_text(line, field, value != 0 ? text : NULL);
}

static void
unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; from++) {
        if (from[0] != '\\' || from[1] == '\0')
            *to++ = *from;
        else
            *to++ = (char) (*++from == 't' ? '\t' : *from == 'n' ? '\n' : *from);
    }
    *to = '\0';
}

static void
take_field(char *key, char *value, struct history_entry *ret)
{
    enum history_field field = 0;

    unescape(value);
    while (field < FIELDS && strcmp(keys[field], key) != 0)
        field++;
    switch (field) {
    case FIELD_TIME:
        ret->time_usec = strtoull(value, NULL, 10);
        break;
    case FIELD_EVENT:
        ret->event = value;
        break;
    case FIELD_PID:
        ret->pid = (int) strtol(value, NULL, 10);
        break;
    case FIELD_MESSAGE:
        ret->message = value;
        break;
    case FIELD_BY:
        ret->by = value;
        break;
    case FIELD_REASON:
        ret->reason = value;
        break;
    case FIELD_TIMELINE:
        ret->timeline = strtoull(value, NULL, 10);
        break;
    case FIELDS: /* a newer server's */
        break;
    }
}

/* Is it an entry? Changes `line`. */
static bool
read_line(char *line, struct history_entry *ret)
{
    char *part;

    *ret = (struct history_entry){ .message = "" };
    while ((part = strsep(&line, "\t")) != NULL) {
        char *value = strchr(part, '=');

        if (value != NULL) {
            *value = '\0';
            take_field(part, value + 1, ret);
        }
    }
    return ret->event != NULL && ret->time_usec != 0;
}

/* ---- in memory ---- */
static void
keep(struct history *h, const char *line)
{
    (void) snprintf(h->lines[h->at], HISTORY_LINE_BYTES, "%s", line);
    h->at = (h->at + 1) % HISTORY_KEEP;
    h->n = MIN(h->n + 1, HISTORY_KEEP);
}

bool
history_get(const struct history *h, unsigned idx, char *copy, struct history_entry *ret)
{
    if (idx >= h->n)
        return false;
    memcpy(copy, h->lines[(h->at + HISTORY_KEEP - h->n + idx) % HISTORY_KEEP], HISTORY_LINE_BYTES);
    return read_line(copy, ret);
}

bool
history_last(const struct history *h, char *copy, struct history_entry *ret)
{
    return h->n > 0 && history_get(h, h->n - 1, copy, ret);
}

/* ---- the file ---- */

/* The whole lines in `text`; only those that are entries are kept. */
static void
take_lines(struct history *h, char *text)
{
    char copy[HISTORY_LINE_BYTES];
    struct history_entry entry;
    char *line;

    while ((line = strsep(&text, "\n")) != NULL) {
        (void) snprintf(copy, sizeof copy, "%s", line);
        if (strlen(line) < sizeof copy && read_line(copy, &entry))
            keep(h, line);
    }
}

/* Write what is kept to a new file in its place. `sync`: durable before the old one goes; while the
 * server runs the loop does not wait for storage. */
static int
cut_file(struct history *h, bool sync, struct err *e)
{
    char tmp[256];
    uint64_t n_bytes = 0;
    CLEANUP(closep) int fd = -1;

    (void) snprintf(tmp, sizeof tmp, "%s.tmp", h->path);
    fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return ERR_ERRNO(e, "could not create file \"%s\"", tmp);
    for (unsigned i = 0; i < h->n; i++) {
        const char *line = h->lines[(h->at + HISTORY_KEEP - h->n + i) % HISTORY_KEEP];

        if (dprintf(fd, "%s\n", line) < 0)
            return ERR_ERRNO(e, "could not write file \"%s\"", tmp);
        n_bytes += strlen(line) + 1;
    }
    if (sync && fdatasync(fd) < 0)
        return ERR_ERRNO(e, "could not sync file \"%s\"", tmp);
    if (rename(tmp, h->path) < 0)
        return ERR_ERRNO(e, "could not rename file \"%s\"", tmp);
    (void) close(h->fd);
    h->fd = TAKE_FD(fd);
    h->n_bytes = n_bytes;
    return 0;
}

static int
read_file(struct history *h, const char *path, struct err *e)
{
    static char tail[HISTORY_KEEP * HISTORY_LINE_BYTES + 1];
    struct stat st;
    off_t from;
    ssize_t n;

    if (fstat(h->fd, &st) < 0)
        return ERR_ERRNO(e, "could not look at file \"%s\"", path);
    if (!S_ISREG(st.st_mode))
        return ERR(e, DATA_CORRUPTED, "\"%s\" is not a regular file", path);
    from = MAX(st.st_size - (off_t) sizeof tail + 1, 0);
    n = pread(h->fd, tail, sizeof tail - 1, from);
    if (n < 0)
        return ERR_ERRNO(e, "could not read file \"%s\"", path);
    tail[n] = '\0';
    for (ssize_t i = 0; i < n; i++) /* whatever else somebody may have put there */
        tail[i] = tail[i] == '\0' ? '?' : tail[i];
    if (n > 0 && tail[n - 1] != '\n' && write(h->fd, "\n", 1) < 0)
        return ERR_ERRNO(e, "could not write file \"%s\"", path);
    take_lines(h, tail);
    h->n_bytes = (uint64_t) st.st_size;
    return st.st_size > HISTORY_FILE_MAX ? cut_file(h, true, e) : 0;
}

int
history_open(struct history *h, const char *path, struct err *e)
{
    int r;

    memset(h, 0, sizeof *h);
    h->path = path;
    h->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (h->fd < 0)
        return ERR_ERRNO(e, "could not open file \"%s\"", path);
    r = read_file(h, path, e);
    if (r < 0)
        closep(&h->fd);
    return r;
}

void
history_close(struct history *h, bool sync)
{
    if (h->fd >= 0 && sync)
        (void) fdatasync(h->fd);
    closep(&h->fd);
}

void
history_add(struct history *h, enum history_event event, const struct history_entry *what)
{
    char line[HISTORY_LINE_BYTES] = "";
    struct err e = ERR_INIT;
    size_t n;

    add_number(line, FIELD_TIME, what->time_usec);
    add_text(line, FIELD_EVENT, names[event]);
    add_number(line, FIELD_PID, (uint64_t) what->pid);
    add_number(line, FIELD_TIMELINE, what->timeline);
    add_text(line, FIELD_BY, what->by);
    add_text(line, FIELD_MESSAGE, what->message);
    add_text(line, FIELD_REASON, what->reason);
    keep(h, line);
    n = strlen(line);
    line[n] = '\n';
    if (h->fd < 0)
        return;
    if (write(h->fd, line, n + 1) == (ssize_t) n + 1) {
        h->n_bytes += n + 1;
        if (h->n_bytes <= HISTORY_FILE_MAX || cut_file(h, false, &e) == 0)
            return;
    } else
        (void) ERR_ERRNO(&e, "could not write file \"%s\"", h->path);
    if (!h->has_failed)
        log_err(LOG_LEVEL_WARNING, "the history of the server: ", &e);
    h->has_failed = true;
}
