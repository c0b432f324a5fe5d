/* The log. Runs in every process. Owns: the process' role name and level. Nothing here allocates.
 */
#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/clock.h"

void (*panic_hook)(const struct err *e);

static const char *role = "pinion";
static enum log_level min_level = LOG_LEVEL_INFO;
static bool to_journal;

static const struct {
    const char *name;
    int priority; /* syslog's */
} levels[LOG_LEVELS] = {
    [LOG_LEVEL_DEBUG] = { "DEBUG", 7 },   [LOG_LEVEL_INFO] = { "INFO", 6 },
    [LOG_LEVEL_NOTICE] = { "NOTICE", 5 }, [LOG_LEVEL_WARNING] = { "WARNING", 4 },
    [LOG_LEVEL_ERROR] = { "ERROR", 4 },   [LOG_LEVEL_LOG] = { "LOG", 6 },
    [LOG_LEVEL_FATAL] = { "FATAL", 3 },   [LOG_LEVEL_PANIC] = { "PANIC", 2 },
};

/* $JOURNAL_STREAM is "device:inode" of the journal's socket (systemd.exec(5)). */
static bool
stderr_is_journal(void)
{
    const char *s = getenv("JOURNAL_STREAM");
    uint64_t dev;
    uint64_t ino;
    struct stat st;

    if (s == NULL || sscanf(s, "%" SCNu64 ":%" SCNu64, &dev, &ino) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void
log_init(const char *name, enum log_level min)
{
    role = name;
    min_level = min;
    to_journal = stderr_is_journal();
}

void
log_set_min(enum log_level min)
{
    min_level = min;
}

const char *
log_role(void)
{
    return role;
}

static void
write_line(enum log_level level, const char *label, const char *text)
{
    char line[2048];
    char when[40] = "";
    int n;

    if (to_journal) {
        n = snprintf(line, sizeof line, "<%d>%s:  %s\n", levels[level].priority, label, text);
    } else {
        usec_t now = clock_real_usec();
        time_t sec = (time_t) (now / USEC_PER_SEC);
        struct tm tm;

        (void) gmtime_r(&sec, &tm);
        (void) strftime(when, sizeof when, "%F %T", &tm);
        n = snprintf(line, sizeof line, "%s.%03u UTC [%d] %s:  %s\n", when,
                     (unsigned) (now % USEC_PER_SEC / 1000), (int) getpid(), label, text);
    }
    if (n >= (int) sizeof line) {
        n = (int) sizeof line - 1;
        line[n - 1] = '\n';
    }
    /* A lost log line must not stop a server: nothing to do about a failed write. */
    ssize_t written = write(STDERR_FILENO, line, (size_t) n);
    (void) written;
}

static bool
is_wanted(enum log_level level)
{
    return level >= min_level;
}

void
log_msg(enum log_level level, const char *fmt, ...)
{
    char text[1600];
    va_list ap;

    if (!is_wanted(level))
        return;
    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    write_line(level, levels[level].name, text);
}

void
log_err(enum log_level level, const char *prefix, const struct err *e)
{
    if (!is_wanted(level))
        return;
    log_msg(level, "%s%s", prefix, e->message);
    if (e->detail[0] != '\0')
        write_line(level, "DETAIL", e->detail);
    if (e->hint[0] != '\0')
        write_line(level, "HINT", e->hint);
}

#define EVENT_FIELDS_MAX 12

void
log_event(enum log_level level, const char *message_id, const char *const *fields, const char *fmt,
          ...)
{
    char text[1600];
    char head[4][1700];
    struct iovec iov[EVENT_FIELDS_MAX + 4];
    int n = 0;
    va_list ap;

    if (!is_wanted(level))
        return;
    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!to_journal) {
        write_line(level, levels[level].name, text);
        return;
    }
    (void) snprintf(head[0], sizeof head[0], "MESSAGE=%s", text);
    (void) snprintf(head[1], sizeof head[1], "PRIORITY=%d", levels[level].priority);
    (void) snprintf(head[2], sizeof head[2], "MESSAGE_ID=%s", message_id);
    (void) snprintf(head[3], sizeof head[3], "PINION_KIND=%s", role);
    for (; n < 4; n++)
        iov[n] = (struct iovec){ head[n], strlen(head[n]) };
    for (int i = 0; fields != NULL && fields[i] != NULL && i < EVENT_FIELDS_MAX; i++, n++)
        iov[n] = (struct iovec){ (char *) (uintptr_t) fields[i], strlen(fields[i]) };
    if (sd_journal_sendv(iov, n) < 0)
        write_line(level, levels[level].name, text);
}

NORETURN void
log_panic(const struct err *e)
{
    if (panic_hook != NULL)
        panic_hook(e);
    log_err(LOG_LEVEL_PANIC, "", e);
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
