/* The mains of the kinds that only wait to be told to leave, for a program with a made-up
 * bgwriter_main(): they do what that does. */
#pragma once

#include "proc/mains.h"

#define LIKE_BGWRITER(main)                             \
    NORETURN void main(const struct child_start *start) \
    {                                                   \
        bgwriter_main(start);                           \
    }
LIKE_BGWRITER(walwriter_main)
LIKE_BGWRITER(archiver_main)
LIKE_BGWRITER(autovacuum_main)
LIKE_BGWRITER(autovacuum_worker_main)
LIKE_BGWRITER(stats_main)
LIKE_BGWRITER(bgworker_main)
#undef LIKE_BGWRITER
