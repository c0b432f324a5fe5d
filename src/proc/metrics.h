/* What the server counts and where it stands, as a page in the OpenMetrics text format 1.0. */
#pragma once

#include <stdio.h>

#include "proc/attach.h"

#define METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* One database to tell of. */
struct metrics_db {
    oid_t oid;
    const char *name;
    uint64_t n[STAT_DB_COUNTS]; /* metrics_write() reads them */
};

/* Write the page. Attached processes; takes LOCK_STATS for moments. Write errors stay in `f`. */
void metrics_write(FILE *f, struct attached *a, struct metrics_db *dbs, size_t n_dbs);
/* A label's value: backslash, quote and line feed escaped. For metrics_write() and its test. */
void metrics_put_label(FILE *f, const char *value);
