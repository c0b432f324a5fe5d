/* Preloaded into a server under test: the wall clock is off by the seconds in the file
 * $CLOCK_SHIFT, read at every look at the clock. The monotonic clock is left alone, as by a real
 * jump. Built by the test that uses it (integration/test_81_bad_input.py): cc -shared -fPIC.
 * Source: none. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long
shift(void)
{
    const char *path = getenv("CLOCK_SHIFT");
    char text[32] = "0";
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) < 0)
            text[0] = '\0';
        (void) close(fd);
    }
    return strtol(text, NULL, 10);
}

__attribute__((visibility("default"))) int
clock_gettime(clockid_t id, struct timespec *ts)
{
    static int (*real)(clockid_t, struct timespec *);
    int r;

    if (real == NULL)
        *(void **) &real = dlsym(RTLD_NEXT, "clock_gettime");
    r = real(id, ts);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
        ts->tv_sec += shift();
    return r;
}

__attribute__((visibility("default"))) int
gettimeofday(struct timeval *tv, void *zone)
{
    struct timespec ts;
    int r = clock_gettime(CLOCK_REALTIME, &ts);

    (void) zone;
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return r;
}

__attribute__((visibility("default"))) time_t
time(time_t *ret)
{
    struct timespec ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    if (ret != NULL)
        *ret = ts.tv_sec;
    return ts.tv_sec;
}
