/* The segments in pg_wal as a source for struct wal_reader (REDO-4). Holds one open segment. */
#pragma once

#include "base/io.h"
#include "wal/wal_reader.h"
#include "wal/wal_timeline.h"

struct wal_source_io {
    struct io *io;                     /* borrowed */
    const struct wal_history *history; /* borrowed */
    uint32_t segment_bytes;
    int fd;         /* owned; -1 = none */
    tli_t tli;      /* of the open file */
    uint64_t segno; /* of the open file */
    /* An archive, asked before pg_wal for each file: 0: it is in pg_wal now, 1: it has none, < 0.
     * NULL: none. Set by the caller after wal_source_io_init(). */
    int (*fetch)(void *arg, const char *name, struct err *e);
    void *fetch_arg;
};

/* Segments are chosen by the timelines of `history`, newest first. Both are borrowed until
 * wal_source_io_done(). */
void wal_source_io_init(struct wal_source_io *s, struct io *io, const struct wal_history *history,
                        uint32_t segment_bytes);
void wal_source_io_done(struct wal_source_io *s);
/* A wal_read_fn; arg is the struct. Returns 0 where no file is and none follows. An I/O error, a
 * missing or short segment with a later one present is < 0, never an end (REDO-4). */
ssize_t wal_source_io_read(void *arg, lsn_t lsn, void *p, size_t n, struct err *e);
/* Close the open segment, so that the next read opens it again (a file may have been replaced). */
void wal_source_io_forget(struct wal_source_io *s);
