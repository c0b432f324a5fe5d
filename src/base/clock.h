/* The only clock. Everything else takes `now` as a parameter. */
#pragma once

#include "base/types.h"

/* Microseconds since boot; never goes back. For time-outs and durations. */
usec_t clock_mono_usec(void);
/* The same clock as of the kernel's last tick (1 to 10 ms): nearly free. */
usec_t clock_coarse_usec(void);
/* Microseconds since 1970-01-01 UTC. For log lines, records and replies; may jump. */
usec_t clock_real_usec(void);
/* A real time as PostgreSQL's timestamp: microseconds since 2000-01-01 UTC (wal-format.md 0). */
int64_t clock_pg_time(usec_t real_usec);
