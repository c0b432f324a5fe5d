/* Records from any source: recovery, a sender, a tool, a test.
 *
 *     struct wal_reader *r = NULL;
 *     const struct wal_decoded *d;
 *     wal_reader_new(&r, &(struct wal_reader_params) { .read = my_read, .arg = me, .segment_bytes =
 * n }, e); wal_reader_seek(r, redo); while ((rc = wal_reader_next(r, &d, e)) == 0) redo_one(d); if
 * (rc == WAL_READER_END)   // the log ends at wal_reader_end(r), because wal_reader_reason(r) else
 * // < 0: the source failed; e says how. Never the end of the log (REDO-4) wal_reader_free(r);
 *
 * Pages and records are checked in full; no length from the log is believed before the pages it
 * spans have been read. No globals, no logging, no clock. One reader is used by one thread. After
 * WAL_READER_END the same call may be repeated: it reads the pages again, which is how a standby
 * waits for more. */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "base/types.h"
#include "wal/wal_record.h"
#include "wal/wal_timeline.h"

enum { WAL_READER_END = 1 };

/* Read up to n bytes at lsn into p; never crosses a page boundary when asked for a page. Returns
 * how many there are (fewer than n: the log has no more here), or < 0 with words in e. The bytes
 * may be anything. */
typedef ssize_t (*wal_read_fn)(void *arg, lsn_t lsn, void *p, size_t n, struct err *e);

struct wal_reader_params {
    wal_read_fn read;
    void *arg; /* borrowed until wal_reader_free() */
    uint32_t segment_bytes;
    uint64_t sysid; /* 0 = do not compare */
    const struct wal_history
        *history; /* borrowed; a page of a timeline that is not in it ends the log. NULL = any */
};

struct wal_reader;

/* Returns 0, -ERR_INVALID_PARAMETER_VALUE (segment size) or -ENOMEM. */
int wal_reader_new(struct wal_reader **ret, const struct wal_reader_params *params, struct err *e);
void wal_reader_free(struct wal_reader *r); /* accepts NULL */

/* Read next from the record that starts at lsn (a page boundary: behind its header). prev of the
 * first record is only required to be lower than its address. */
void wal_reader_seek(struct wal_reader *r, lsn_t lsn);
/* Find the first record that starts at or after lsn, skipping the rest of a record begun before it;
 * seek there. Returns 0, WAL_READER_END or < 0. */
int wal_reader_seek_first_after(struct wal_reader *r, lsn_t lsn, struct err *e);

/* The next record, valid until the next call. Returns 0, WAL_READER_END (no valid record here: the
 * normal end of the log, reason in wal_reader_reason()) or < 0 (the source failed, no memory). */
int wal_reader_next(struct wal_reader *r, const struct wal_decoded **ret, struct err *e);

/* Where the next record would start as an end address: end of the last valid record (SWITCH: the
 * segment's end), or the place that was sought. */
lsn_t wal_reader_end(const struct wal_reader *r);
/* Start address of the last valid record; 0 if none was read since the seek. */
lsn_t wal_reader_last(const struct wal_reader *r);
/* Timeline of the newest page read. */
tli_t wal_reader_tli(const struct wal_reader *r);
/* Why the last call ended. "" before any end. */
const char *wal_reader_reason(const struct wal_reader *r);
/* After WAL_READER_END: if the log ends in a record whose continuation is missing, true, with its
 * start and the address of the first page on which its bytes are missing. Recovery on the same
 * timeline then starts that page with OVERWRITE_CONTRECORD (1.10, REDO-6). */
bool wal_reader_aborted(const struct wal_reader *r, lsn_t *ret_record, lsn_t *ret_missing_page);
