/* Records as pg_waldump prints them, for comparison (wal-format.md 1.17, 2). TZ=UTC. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "wal/wal_record.h"

/* The record's text without a final newline. `is_long`: as with -b, each block on a line of its
 * own. *ret_detail_at, if not NULL: where the detail begins, if this function does not know it (a
 * resource manager of no interest to us; nothing is printed for it); else 0. */
void wal_text(const struct wal_decoded *d, bool is_long, char *ret, size_t cap,
              size_t *ret_detail_at);
