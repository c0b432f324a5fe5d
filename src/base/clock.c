/* The only caller of clock_gettime(). Runs in every process. */
#include "base/clock.h"

#include <time.h>

static usec_t
read_clock(clockid_t id)
{
    struct timespec ts;

    (void) clock_gettime(id, &ts);
    return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

usec_t
clock_mono_usec(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

usec_t
clock_coarse_usec(void)
{
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

usec_t
clock_real_usec(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t
clock_pg_time(usec_t real_usec)
{
    return (int64_t) real_usec - INT64_C(946684800) * 1000000;
}
