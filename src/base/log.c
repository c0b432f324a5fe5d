/* The log. Runs in every process. Owns: who the process is, and where its entries go. Nothing here
 * allocates. Source: PostgreSQL's elog; systemd-ops.md 3.8. */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_journal.h"
#include "base/log_pipe.h"

#define NAME_BYTES 64

void (*panic_hook)(const struct err *e);

static struct {
    struct log_who who;
    char user[NAME_BYTES], database[NAME_BYTES], host[NAME_BYTES], application[NAME_BYTES];
    char instance[256];
    char prefix[256];
    struct log_options opts;
    uint64_t n_entries;
    bool to_journal;
    int fd; /* of the collector's pipe, -1 */
    usec_t patience;
    bool is_stalled;    /* the last entry was not taken */
    unsigned n_dropped; /* since then */
} my = {
    .who = { .role = "pinion" },
    .prefix = "%m [%p] ",
    .opts = { .min = LOG_LEVEL_INFO,
              .min_statement = LOG_LEVEL_ERROR,
              .verbosity = LOG_DEFAULT,
              .formats = BIT(LOG_FORMAT_STDERR) },
    .fd = -1,
};

/* ---- who ---- */
void
log_init(const char *name, enum log_level min)
{
    my.who = (struct log_who){ .pid = (int) getpid(),
                               .started_usec = clock_real_usec(),
                               .role = name,
                               .user = my.user,
                               .database = my.database,
                               .host = my.host,
                               .application = my.application };
    my.user[0] = my.database[0] = my.host[0] = my.application[0] = '\0';
    my.n_entries = 0;
    my.n_dropped = 0; /* is_stalled stays: a child need not learn again that nobody reads */
    my.opts.min = min;
    my.to_journal = my.fd < 0 && log_journal_is_stderr();
    log_journal_begin();
}

void
log_configure(const struct log_options *o)
{
    my.opts = *o;
    (void) snprintf(my.prefix, sizeof my.prefix, "%s", o->prefix);
    my.opts.prefix = my.prefix;
}

void
log_set_min(enum log_level min)
{
    my.opts.min = min;
}

void
log_set_levels(enum log_level min, enum log_level min_statement, enum log_verbosity verbosity)
{
    my.opts.min = min;
    my.opts.min_statement = min_statement;
    my.opts.verbosity = verbosity;
}

const char *
log_role(void)
{
    return my.who.role;
}

void
log_set_instance(const char *name)
{
    (void) snprintf(my.instance, sizeof my.instance, "%s", name);
}

void
log_set_state(const char *name)
{
    my.who.state = name;
}

void
log_set_client(const char *host, int port)
{
    my.who.is_client = true;
    my.who.port = port;
    (void) snprintf(my.host, sizeof my.host, "%s", host);
}

/* Names are the client's, and stand before the message: with a line's end in one anybody could make
 * up an entry. */
static void
set_name(char to[NAME_BYTES], const char *name)
{
    (void) snprintf(to, NAME_BYTES, "%s", name);
    for (char *p = to; *p != '\0'; p++)
        if ((unsigned char) *p < ' ' || *p == 0x7f)
            *p = '?';
}

void
log_set_session(const char *user, const char *database)
{
    set_name(my.user, user);
    set_name(my.database, database);
}

void
log_set_application(const char *name)
{
    set_name(my.application, name);
}

void
log_set_statement(const char *text)
{
    my.who.statement = text;
}

/* ---- where ---- */
void
log_to_collector(int fd, usec_t patience)
{
    my.fd = fd;
    my.patience = patience;
    my.is_stalled = false;
    my.to_journal = fd < 0 && log_journal_is_stderr();
}

void
log_set_patience(usec_t patience)
{
    my.patience = patience;
}

void
log_forget_journal(void)
{
    log_journal_forget();
}

/* One chunk into the pipe: all of it or nothing (PIPE_BUF). Patience is had once, not for each
 * entry while the collector stands. */
static bool
write_chunk(const char *p, size_t n)
{
    usec_t end = 0;

    for (;;) {
        struct pollfd pfd = { .fd = my.fd, .events = POLLOUT };
        usec_t now;

        if (write(my.fd, p, n) == (ssize_t) n)
            return true;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || my.is_stalled)
            return false;
        now = clock_mono_usec();
        if (end == 0)
            end = now + my.patience;
        if (now >= end)
            return false;
        (void) poll(&pfd, 1, (int) ((end - now) / USEC_PER_MSEC) + 1);
    }
}

static bool
send_to_collector(struct log_out *o, bool is_last)
{
    bool ok;

    log_pipe_head(o->p, my.who.pid, o->format, o->is_first, is_last, o->n - LOG_OUT_HEAD);
    ok = write_chunk(o->p, o->n);
    my.is_stalled = !ok;
    return ok;
}

static bool
send_to_stderr(struct log_out *o, bool is_last)
{
    /* A lost log line must not stop a server: nothing to do about a failed write. */
    ssize_t written = write(STDERR_FILENO, o->p + LOG_OUT_HEAD, o->n - LOG_OUT_HEAD);

    (void) is_last;
    return written >= 0;
}

bool
log_ask_flush(void)
{
    char head[LOG_OUT_HEAD];

    if (my.fd < 0)
        return false;
    log_pipe_head(head, my.who.pid, LOG_PIPE_FLUSH, true, true, 0);
    return write_chunk(head, sizeof head);
}

static void
write_text(const struct log_entry *en, enum log_format format)
{
    char prefix[sizeof my.prefix + 4];
    struct log_out o = { .format = format };

    o.send = my.fd >= 0 ? send_to_collector : send_to_stderr;
    if (my.fd < 0 && my.to_journal) /* systemd takes the time and the pid itself */
        (void) snprintf(prefix, sizeof prefix, "<%d>", log_journal_priority(en->level));
    else
        (void) snprintf(prefix, sizeof prefix, "%s", my.prefix);
    log_text_write(&o, en, &my.who, prefix, my.opts.verbosity);
}

static void
collect(const struct log_entry *en)
{
    unsigned formats = my.opts.formats != 0 ? my.opts.formats : BIT(LOG_FORMAT_STDERR);

    for (enum log_format f = 0; f < LOG_FORMATS; f++)
        if ((formats & BIT(f)) != 0)
            write_text(en, f);
}

/* Entries were dropped, and now one is taken: say so first. */
static void
report_dropped(const struct log_entry *like)
{
    char text[120];
    struct log_entry en = { .level = LOG_LEVEL_WARNING,
                            .sqlstate = "01000",
                            .message = text,
                            .detail = "",
                            .hint = "",
                            .now = like->now,
                            .line = like->line };

    (void) snprintf(text, sizeof text,
                    "%u log entries of this process are lost: the log collector did not take them",
                    my.n_dropped);
    collect(&en);
    if (!my.is_stalled)
        my.n_dropped = 0;
}

static void
emit(struct log_entry *en, enum log_event_id id, const char *const *fields)
{
    if (my.who.pid == 0) /* before log_init(): tests, and a simulation */
        my.who.pid = (int) getpid();
    en->now = clock_real_usec();
    en->line = ++my.n_entries;
    if (en->level < my.opts.min_statement)
        en->statement = NULL;
    if (my.fd >= 0) {
        if (my.n_dropped > 0)
            report_dropped(en);
        collect(en);
        my.n_dropped += my.is_stalled;
        return;
    }
    if (my.to_journal && log_journal_send(en, &my.who, my.instance, id, fields))
        return;
    write_text(en, LOG_FORMAT_STDERR);
}

/* ---- entries ---- */
static const char *
usual_sqlstate(enum log_level level)
{
    if (level == LOG_LEVEL_WARNING)
        return "01000";
    return level == LOG_LEVEL_ERROR || level > LOG_LEVEL_LOG ? "XX000" : "00000";
}

static bool
is_wanted(enum log_level level)
{
    return level >= my.opts.min;
}

PRINTF(4, 0)
static void
emit_format(enum log_level level, enum log_event_id id, const char *const *fields, const char *fmt,
            va_list ap)
{
    char text[1600];
    struct log_entry en = { .level = level,
                            .sqlstate = usual_sqlstate(level),
                            .message = text,
                            .detail = "",
                            .hint = "",
                            .statement = my.who.statement };

    if (!is_wanted(level))
        return;
    (void) vsnprintf(text, sizeof text, fmt, ap);
    emit(&en, id, fields);
}

void
log_msg(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit_format(level, LOG_EVENT_NONE, NULL, fmt, ap);
    va_end(ap);
}

void
log_event(enum log_level level, enum log_event_id id, const char *const *fields, const char *fmt,
          ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit_format(level, id, fields, fmt, ap);
    va_end(ap);
}

void
log_query(const char *head, const char *text)
{
    struct log_entry en = { .level = LOG_LEVEL_LOG,
                            .sqlstate = "00000",
                            .message = head,
                            .tail = text,
                            .detail = "",
                            .hint = "" };

    if (is_wanted(LOG_LEVEL_LOG))
        emit(&en, LOG_EVENT_NONE, NULL);
}

void
log_err_event(enum log_level level, enum log_event_id id, const char *const *fields,
              const char *prefix, const struct err *e)
{
    char text[sizeof e->message + 200];
    struct log_entry en = { .level = level,
                            .sqlstate = e->code < 0 ? err_sqlstate(e->code) : usual_sqlstate(level),
                            .message = text,
                            .detail = e->detail,
                            .hint = e->hint,
                            .statement = my.who.statement,
                            .position = e->position };

    if (!is_wanted(level))
        return;
    (void) snprintf(text, sizeof text, "%s%s", prefix, e->message);
    emit(&en, id, fields);
}

void
log_err(enum log_level level, const char *prefix, const struct err *e)
{
    log_err_event(level, LOG_EVENT_NONE, NULL, prefix, e);
}

NORETURN void
log_panic(const struct err *e)
{
    if (panic_hook != NULL)
        panic_hook(e);
    log_err_event(LOG_LEVEL_PANIC, LOG_EVENT_PANIC, NULL, "", e);
    _exit(2);
}

NORETURN void
log_panicf(const char *fmt, ...)
{
    struct err e = ERR_INIT;
    va_list ap;

    e.code = -ERR_INTERNAL_ERROR;
    va_start(ap, fmt);
    (void) vsnprintf(e.message, sizeof e.message, fmt, ap);
    va_end(ap);
    log_panic(&e);
}
