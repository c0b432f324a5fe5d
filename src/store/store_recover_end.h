/* The end of the log made fit to go on from (REDO-6): inside src/store only. */
#pragma once

#include "store/store.h"
#include "wal/wal_reader.h"

/* Where insertion goes on. */
struct recover_end {
    tli_t tli;
    lsn_t at;      /* an end: the next record starts here */
    lsn_t last;    /* start of the last record kept */
    lsn_t aborted; /* start of a record whose continuation is missing; 0 = none */
    lsn_t missing; /* … and the page its bytes are missing on */
};

/* What the reader found, after WAL_READER_END. */
struct recover_end recover_end_of(const struct wal_reader *reader, tli_t tli);
/* REDO-4: a segment is synced before anything of the next one is written, so behind a torn end no
 * segment has been begun, but those that the torn record itself reaches into. One that has: the log
 * is damaged in the middle. 0, -ERR_DATA_CORRUPTED with `why` as detail, or an I/O error. */
int recover_end_is_end(struct store *st, const struct recover_end *end, const char *why,
                       struct err *e);
/* Behind the end: OVERWRITE_CONTRECORD if a record was cut off (`end` moves behind it), zeros up to
 * the end of the segment, no later segment; all of it durable. May be repeated. */
int recover_end_clean(struct store *st, struct recover_end *end, struct err *e);
