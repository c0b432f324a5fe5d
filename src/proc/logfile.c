/* The collector's files. Runs in: syslogger. Owns: the descriptors of the log files, and the file
 * that names them. Source: PostgreSQL 15's documentation (log_filename, log_rotation_*,
 * current_logfiles). */
#include "proc/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_text.h"
#include "conf/conf_log.h"

#define RETRY_USEC (10 * USEC_PER_SEC)

static const char *const format_names[LOG_FORMATS] = { "stderr", "csvlog", "jsonlog" };

/* ---- decisions ---- */
const char *
logfile_name(const char *pattern, usec_t real, enum log_format format, char *p, size_t cap)
{
    static const char *const suffixes[LOG_FORMATS] = { "", ".csv", ".json" };
    time_t sec = (time_t) (real / USEC_PER_SEC);
    struct tm tm;
    size_t n;

    (void) gmtime_r(&sec, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the pattern is the operator's */
    n = strftime(p, cap - 8, pattern, &tm);
#pragma GCC diagnostic pop
    if (n == 0) /* nothing, or too long */
        n = (size_t) snprintf(p, cap - 8, "pinion.log");
    for (char *c = p; *c != '\0'; c++)
        if (*c == '/')
            *c = '_'; /* %D would leave the directory */
    if (format == LOG_FORMAT_STDERR)
        return p;
    if (n > 4 && strcmp(p + n - 4, ".log") == 0)
        n -= 4;
    (void) snprintf(p + n, cap - n, "%s", suffixes[format]);
    return p;
}

usec_t
logfile_next_age(usec_t now, usec_t age)
{
    return age == 0 ? 0 : now - now % age + age;
}

/* ---- opening ---- */
void
logfile_begin(struct logfile_set *s, const struct conf_values *v)
{
    *s = (struct logfile_set){ .v = v };
    for (enum log_format f = 0; f < LOG_FORMATS; f++)
        s->files[f].fd = -1;
}

static bool
is_wanted(const struct logfile_set *s, enum log_format f)
{
    return f == LOG_FORMAT_STDERR || (conf_log_formats(s->v) & BIT(f)) != 0;
}

static int
open_file(const struct logfile_set *s, const char *path, bool truncate)
{
    mode_t mode = (mode_t) s->v->log_file_mode | S_IWUSR;
    mode_t old;
    int fd;
    int saved;

    if (mkdir(s->v->log_directory, S_IRWXU) < 0 && errno != EEXIST)
        return -1;
    old = umask(~mode & 0777);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | (truncate ? O_TRUNC : 0),
              mode);
    saved = errno;
    (void) umask(old);
    errno = saved;
    return fd;
}

static void
close_file(struct logfile *lf)
{
    closep(&lf->fd);
    lf->fd = -1;
    lf->path[0] = '\0';
    lf->n_bytes = 0;
}

static bool
reopen(struct logfile_set *s, enum log_format f, const char *path, bool truncate)
{
    struct logfile *lf = &s->files[f];
    struct stat st = { .st_size = 0 };
    int fd = open_file(s, path, truncate);

    if (fd < 0) {
        struct err e = ERR_INIT;

        (void) ERR_ERRNO(&e, "could not open log file \"%s\"", path);
        err_hint(&e, lf->fd >= 0 ? "The log goes on in the old file."
                                 : "The log goes to the server's own standard error meanwhile.");
        log_err(LOG_LEVEL_LOG, "", &e);
        return false;
    }
    close_file(lf);
    lf->fd = fd;
    (void) fstat(fd, &st);
    lf->n_bytes = (uint64_t) st.st_size;
    (void) snprintf(lf->path, sizeof lf->path, "%s", path);
    return true;
}

/* PostgreSQL's file, for tools: "stderr log/x.log", a line per format. */
static void
write_current(const struct logfile_set *s)
{
    static const char temp[] = LOGFILE_CURRENT ".tmp";
    mode_t old = umask((mode_t) ~s->v->log_file_mode & 0777);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                  (mode_t) s->v->log_file_mode);
    bool ok = fd >= 0;

    (void) umask(old);
    for (enum log_format f = 0; ok && f < LOG_FORMATS; f++)
        if (s->files[f].fd >= 0)
            ok = dprintf(fd, "%s %s\n", format_names[f], s->files[f].path) > 0;
    if (fd >= 0)
        (void) close(fd);
    if (!ok || rename(temp, LOGFILE_CURRENT) < 0)
        log_msg(LOG_LEVEL_LOG, "could not write file \"%s\": %s", LOGFILE_CURRENT,
                strerrordesc_np(errno));
}

void
logfile_rotate(struct logfile_set *s, enum logfile_why why, usec_t now)
{
    usec_t named = why == LOGFILE_AGE && s->next_age != 0 ? s->next_age : now;
    char name[256];
    char path[CONF_PATH_BYTES];
    bool is_new;

    s->next_age = logfile_next_age(now, (usec_t) s->v->log_rotation_age);
    s->retry = 0;
    (void) logfile_name(s->v->log_filename, named, LOG_FORMAT_STDERR, name, sizeof name);
    is_new = strcmp(name, s->last_name) != 0;
    for (enum log_format f = 0; f < LOG_FORMATS; f++) {
        if (!is_wanted(s, f)) {
            close_file(&s->files[f]);
            continue;
        }
        (void) logfile_name(s->v->log_filename, named, f, name, sizeof name);
        if ((size_t) snprintf(path, sizeof path, "%s/%s", s->v->log_directory, name) >= sizeof path)
            continue;
        if (why == LOGFILE_SIZE && strcmp(path, s->files[f].path) == 0)
            continue; /* the name has no finer time: the same file */
        if (!reopen(s, f, path,
                    why == LOGFILE_AGE && is_new && s->was_opened &&
                        s->v->log_truncate_on_rotation))
            s->retry = now + RETRY_USEC;
    }
    (void) logfile_name(s->v->log_filename, named, LOG_FORMAT_STDERR, s->last_name,
                        sizeof s->last_name);
    s->was_opened = true;
    write_current(s);
}

static bool
is_too_long(const struct logfile_set *s)
{
    for (enum log_format f = 0; s->v->log_rotation_size > 0 && f < LOG_FORMATS; f++)
        if (s->files[f].fd >= 0 && s->files[f].n_bytes >= (uint64_t) s->v->log_rotation_size)
            return true;
    return false;
}

/* The clock was set back: what would be due in years is due as if it had never been ahead. */
static void
follow_clock(struct logfile_set *s, usec_t now)
{
    s->next_age = MIN(s->next_age, logfile_next_age(now, (usec_t) s->v->log_rotation_age));
    s->retry = MIN(s->retry, now + RETRY_USEC);
}

void
logfile_turn(struct logfile_set *s, usec_t now)
{
    char name[256];

    follow_clock(s, now);
    if (s->next_age != 0 && now >= s->next_age)
        logfile_rotate(s, LOGFILE_AGE, now);
    else if (s->retry != 0 && now >= s->retry)
        logfile_rotate(s, LOGFILE_START, now);
    else if (is_too_long(s) &&
             strcmp(logfile_name(s->v->log_filename, now, LOG_FORMAT_STDERR, name, sizeof name),
                    s->last_name) != 0)
        logfile_rotate(s, LOGFILE_SIZE, now);
}

usec_t
logfile_due(const struct logfile_set *s)
{
    if (s->retry != 0 && (s->next_age == 0 || s->retry < s->next_age))
        return s->retry;
    return s->next_age;
}

void
logfile_reload(struct logfile_set *s, usec_t now)
{
    logfile_rotate(s, LOGFILE_ASKED, now);
}

/* ---- writing ---- */
static size_t
write_some(struct logfile *lf, const char *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = write(lf->fd, p + done, n - done);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        done += (size_t) r;
    }
    lf->n_bytes += done;
    if (done > 0)
        lf->is_cut = p[done - 1] != '\n';
    return done;
}

/* The disk takes some again: what is missing is told where it is missing. */
static void
tell_lost(struct logfile *lf)
{
    char when[64];
    char line[200];
    uint64_t n_lost = lf->n_lost;
    int n =
        snprintf(line, sizeof line,
                 "%s%s [%d] LOG:  %" PRIu64 " bytes of the log are lost here: the disk was full\n",
                 lf->is_cut ? "\n" : "", log_time_text(clock_real_usec(), true, when, sizeof when),
                 (int) getpid(), n_lost);

    if (write_some(lf, line, (size_t) n) == (size_t) n)
        lf->n_lost = 0;
}

void
logfile_write(struct logfile_set *s, enum log_format format, bool is_entry, const char *p, size_t n)
{
    struct logfile *lf = &s->files[format];
    size_t done;

    if (lf->fd < 0)
        lf = &s->files[LOG_FORMAT_STDERR];
    if (lf->fd < 0) {
        if (write(STDERR_FILENO, p, n) < 0)
            return; /* there is nowhere else */
        return;
    }
    if (lf->n_lost > 0 && format == LOG_FORMAT_STDERR)
        tell_lost(lf);
    if (lf->is_cut && is_entry)
        (void) write_some(lf, "\n", 1);
    done = lf->n_lost > 0 && format == LOG_FORMAT_STDERR ? 0 : write_some(lf, p, n);
    if (done == n) {
        if (format != LOG_FORMAT_STDERR)
            lf->n_lost = 0;
        return;
    }
    if (lf->n_lost == 0)
        log_msg(LOG_LEVEL_LOG, "could not write to log file \"%s\": %s", lf->path,
                strerrordesc_np(errno));
    lf->n_lost += n - done;
}

void
logfile_end(struct logfile_set *s)
{
    for (enum log_format f = 0; f < LOG_FORMATS; f++)
        close_file(&s->files[f]);
}
