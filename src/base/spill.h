/* Temporary files without a name: what a process cannot or may not keep in memory. They are private
 * and gone with the process, whatever ends it.
 *
 * Not for shared state. Runs in: backend, startup, init. The directory, the limit and the count are
 * of the process: it is a session. */
#pragma once

#include "base/err.h"
#include "base/types.h"

#define SPILL_NO_LIMIT UINT64_MAX

/* Where files are made (copied): relative to the working directory; made when it is missing. */
void spill_set_dir(const char *dir);
/* temp_file_limit: most bytes of all files of this process together. */
void spill_set_limit(uint64_t bytes);
/* Bytes of files now. */
uint64_t spill_bytes(void);
/* What this process has made since it began: for statistics. */
struct spill_counts {
    uint64_t n_files;
    uint64_t n_bytes; /* by which they grew */
};
struct spill_counts spill_counts(void);

/* A new file. A descriptor, or 53100, 58030. */
int spill_open(struct err *e);
/* The file grows by so much: before it does. 0 or -ERR_CONFIGURATION_LIMIT_EXCEEDED (53400). */
int spill_charge(uint64_t bytes, struct err *e);
/* It could not grow: r < 0, e says what failed; a full disk gets detail and hint. Returns r. */
int spill_refused(int r, uint64_t bytes, struct err *e);
/* It was cut, or is closed. */
void spill_release(uint64_t bytes);
