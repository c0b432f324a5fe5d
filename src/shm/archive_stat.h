/* What the archiver has done since the memory was made: for pg_stat_archiver. */
#pragma once

#include "base/macro.h"
#include "base/types.h"

#define ARCHIVE_STAT_NAME_BYTES 48

/* One outcome of archive_command: how often, and the last file with its time. Written by the
 * archiver between two bumps of `seq` (odd = being written); readers retry. */
struct archive_count {
    _Atomic uint32_t seq;
    _Atomic uint64_t n;
    _Atomic uint64_t last_usec; /* real; 0 = never */
    _Atomic uint64_t last_name[ARCHIVE_STAT_NAME_BYTES / 8];
};

/* Part of struct shm_status. */
struct archive_stat {
    struct archive_count archived;
    struct archive_count failed;
    _Atomic uint64_t since_usec; /* startup, real */
};

/* A copy of one. */
struct archive_seen {
    uint64_t n;
    usec_t last_usec;
    char last_name[ARCHIVE_STAT_NAME_BYTES];
};

/* Archiver only. `name` is cut to its room. */
void archive_count_add(struct archive_count *c, const char *name, usec_t now_real);
/* Any process. */
struct archive_seen archive_count_read(const struct archive_count *c);
