/* Entries for the journal. Runs in: every process. Owns: knowledge of sd-journal's descriptor.
 *
 * sd-journal opens a socket at its first message and keeps it for ever. A child closes what it was
 * not told to keep, and its number would soon be something else, perhaps a client: so the socket is
 * put on the list of what children keep. Source: systemd-ops.md 3.8. */
#include "base/log_journal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/fdlist.h"

#define FIELDS_MAX      40
#define TEXT_BYTES      8192
#define STATEMENT_BYTES 4096 /* of PINION_QUERY; a longer one is cut */

static struct {
    bool has_sent;  /* sd-journal has its socket, here or in a parent */
    bool is_kept;   /* and children keep it */
    bool is_unsafe; /* a child that lost it */
} sock;

int
log_journal_priority(enum log_level level)
{
    static const int priorities[LOG_LEVELS] = {
        [LOG_LEVEL_DEBUG] = 7,   [LOG_LEVEL_INFO] = 6,  [LOG_LEVEL_NOTICE] = 5,
        [LOG_LEVEL_WARNING] = 4, [LOG_LEVEL_ERROR] = 4, [LOG_LEVEL_LOG] = 6,
        [LOG_LEVEL_FATAL] = 3,   [LOG_LEVEL_PANIC] = 2,
    };

    return priorities[level];
}

/* $JOURNAL_STREAM is "device:inode" of the journal's socket (systemd.exec(5)). */
bool
log_journal_is_stderr(void)
{
    const char *s = getenv("JOURNAL_STREAM"); /* NOLINT: one thread */
    uint64_t dev;
    uint64_t ino;
    struct stat st;

    if (s == NULL || sscanf(s, "%" SCNu64 ":%" SCNu64, &dev, &ino) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void
log_journal_begin(void)
{
    sock.is_unsafe |= sock.has_sent && !sock.is_kept;
}

void
log_journal_forget(void)
{
    sock.is_unsafe = true;
}

/* The first message opens the socket, at the lowest free number: which is `fd`. */
static void
keep_socket(int fd)
{
    int type = 0;
    socklen_t n = sizeof type;

    sock.has_sent = true;
    sock.is_kept =
        fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_DGRAM;
    if (sock.is_kept)
        fd_inherit(fd, "journal");
}

static int
lowest_free(void)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

    if (fd >= 0)
        (void) close(fd);
    return fd;
}

/* ---- fields ---- */
struct fields {
    char text[TEXT_BYTES];
    size_t n;
    struct iovec iov[FIELDS_MAX];
    int n_iov;
};

/* "NAME=" and what the format says. What does not fit is cut, and without room left out. */
static void PRINTF(2, 3) add(struct fields *f, const char *fmt, ...)
{
    size_t room = sizeof f->text - f->n;
    va_list ap;
    int n;

    if (f->n_iov == FIELDS_MAX || room < 64)
        return;
    va_start(ap, fmt);
    n = vsnprintf(f->text + f->n, room, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    f->iov[f->n_iov++] = (struct iovec){ f->text + f->n, MIN((size_t) n, room - 1) };
    f->n += MIN((size_t) n + 1, room);
}

static void
add_text(struct fields *f, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0')
        add(f, "%s=%s", name, value);
}

/* DETAIL and HINT are in the message as well: who only reads messages must not miss them. */
static void
add_message(struct fields *f, const struct log_entry *en)
{
    bool has_detail = en->detail[0] != '\0';
    bool has_hint = en->hint[0] != '\0';

    add(f, "MESSAGE=%s%.*s%s%s%s%s", en->message, STATEMENT_BYTES, en->tail != NULL ? en->tail : "",
        has_detail ? "\nDETAIL:  " : "", en->detail, has_hint ? "\nHINT:  " : "", en->hint);
    add(f, "PRIORITY=%d", log_journal_priority(en->level));
    add_text(f, "PINION_LEVEL", log_level_name(en->level));
    if (strcmp(en->sqlstate, "00000") != 0)
        add_text(f, "PINION_SQLSTATE", en->sqlstate);
    add_text(f, "PINION_DETAIL", en->detail);
    add_text(f, "PINION_HINT", en->hint);
}

static void
add_who(struct fields *f, const struct log_who *who)
{
    add_text(f, "PINION_PROCESS", who->role);
    add_text(f, "PINION_STATE", who->state);
    add_text(f, "PINION_DATABASE", who->database);
    add_text(f, "PINION_USER", who->user);
    add_text(f, "PINION_CLIENT", who->host);
    add_text(f, "PINION_APPLICATION", who->application);
}

bool
log_journal_send(const struct log_entry *en, const struct log_who *who, const char *instance,
                 enum log_event_id id, const char *const *fields)
{
    /* clang-format off */
    static const char *const ids[LOG_EVENTS] = {
#define MESSAGE(name, message_id, text) [LOG_EVENT_##name] = message_id,
#include "tbl/messages.def"
#undef MESSAGE
    };
    /* clang-format on */
    struct fields f;
    int r;
    int fd = -1;

    /* Where a service does not see the journal's socket, sd-journal would drop the entry silently.
     */
    if (!sock.has_sent && access("/run/systemd/journal/socket", W_OK) < 0)
        sock.is_unsafe = true;
    if (sock.is_unsafe)
        return false;
    f.n = 0;
    f.n_iov = 0;
    add_message(&f, en);
    add_who(&f, who);
    add_text(&f, "MESSAGE_ID", ids[id]);
    add_text(&f, "PINION_INSTANCE", instance);
    /* Else it would be the program's name, where our title is now. */
    if (instance[0] != '\0' && strchr(instance, '/') == NULL)
        add(&f, "SYSLOG_IDENTIFIER=pinion@%s", instance);
    else
        add(&f, "SYSLOG_IDENTIFIER=piniond");
    if (en->statement != NULL)
        add(&f, "PINION_QUERY=%.*s", STATEMENT_BYTES, en->statement);
    for (int i = 0; fields != NULL && fields[i] != NULL && f.n_iov < FIELDS_MAX; i++)
        f.iov[f.n_iov++] = (struct iovec){ (char *) (uintptr_t) fields[i], strlen(fields[i]) };
    if (!sock.has_sent)
        fd = lowest_free();
    r = sd_journal_sendv(f.iov, f.n_iov);
    if (!sock.has_sent)
        keep_socket(fd);
    return r >= 0;
}
