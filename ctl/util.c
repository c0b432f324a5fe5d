/* Small things of the client: problems, clocks, numbers for people.
 * Runs in: pinionctl. Owns: the interrupt flag. Source: none. */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

volatile int util_interrupted;

int
fail(struct problem *p, int exit_code, const char *fmt, ...)
{
    va_list args;

    memset(p, 0, sizeof *p);
    p->exit = exit_code;
    va_start(args, fmt);
    (void) vsnprintf(p->message, sizeof p->message, fmt, args);
    va_end(args);
    return exit_code;
}

void
hint(struct problem *p, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void) vsnprintf(p->hint, sizeof p->hint, fmt, args);
    va_end(args);
}

static uint64_t
now_usec(clockid_t clock)
{
    struct timespec ts;

    (void) clock_gettime(clock, &ts);
    return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

uint64_t
now_mono_usec(void)
{
    return now_usec(CLOCK_MONOTONIC);
}

uint64_t
now_real_usec(void)
{
    return now_usec(CLOCK_REALTIME);
}

static void
on_interrupt(int sig)
{
    (void) sig;
    util_interrupted = 1;
}

void
util_catch_interrupt(void)
{
    struct sigaction sa = { .sa_handler = on_interrupt };

    (void) sigaction(SIGINT, &sa, NULL);
}

void
format_duration(char *to, size_t cap, uint64_t usec)
{
    uint64_t s = usec / USEC_PER_SEC;

    if (s < 10)
        (void) snprintf(to, cap, "%" PRIu64 ".%" PRIu64 " s", s, usec % USEC_PER_SEC / 100000);
    else if (s < 60)
        (void) snprintf(to, cap, "%" PRIu64 " s", s);
    else if (s < 3600)
        (void) snprintf(to, cap, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    else if (s < 86400)
        (void) snprintf(to, cap, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    else
        (void) snprintf(to, cap, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
}

bool
parse_duration(const char *text, uint64_t *ret_usec)
{
    static const struct {
        const char *unit;
        double usec;
    } units[] = { { "", 1e6 },    { "s", 1e6 },   { "ms", 1e3 },
                  { "min", 6e7 }, { "h", 3.6e9 }, { "d", 8.64e10 } };
    char *end;
    double value = strtod(text, &end);

    for (size_t i = 0; i < ELEMENTSOF(units); i++) {
        if (end == text || strcmp(end, units[i].unit) != 0)
            continue;
        value *= units[i].usec;
        *ret_usec = value >= 1 && value < 1e15 ? (uint64_t) value : 0;
        return *ret_usec > 0;
    }
    return false;
}

void
format_bytes(char *to, size_t cap, uint64_t bytes)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB" };
    uint64_t tenths = bytes * 10 / 1024;
    size_t unit = 0;

    while (tenths >= 10240 && unit + 1 < ELEMENTSOF(units)) {
        tenths /= 1024;
        unit++;
    }
    (void) snprintf(to, cap, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10, units[unit]);
}

void
format_time(char *to, size_t cap, uint64_t real_usec)
{
    time_t t = (time_t) (real_usec / USEC_PER_SEC);
    struct tm tm;

    if (localtime_r(&t, &tm) == NULL || strftime(to, cap, "%a %Y-%m-%d %H:%M:%S %Z", &tm) == 0)
        (void) snprintf(to, cap, "?");
}

void
closep(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        (void) close(*fd);
    *fd = -1;
    errno = saved;
}

void
freep(void *pp)
{
    void *p;

    memcpy(&p, pp, sizeof p);
    free(p);
}

int
sync_dir_of(const char *path)
{
    char dir[4096];

    (void) snprintf(dir, sizeof dir, "%.*s", (int) (strrchr(path, '/') - path), path);
    CLEANUP(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}

FILE *
open_file(const char *path)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    FILE *f;

    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return NULL;
    }
    f = fdopen(fd, "r");
    if (f != NULL)
        fd = -1;
    return f;
}
