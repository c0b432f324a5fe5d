/* Between stat.c and stat_file.c. */
#pragma once

#include "shm/stat.h"

/* The sums of that database, made if there is room, else NULL. Under LOCK_STATS. */
struct stat_db *stat_make_db(struct stat_shared *sh, oid_t oid);
