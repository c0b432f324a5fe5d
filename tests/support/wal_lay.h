/* Lay records into memory as a log: the simplest possible writer, one thread, no files. For tests
 * of readers. */
#pragma once

#include "base/types.h"
#include "wal/wal_reader.h"

struct wal_lay {
    uint8_t *p; /* heap: n_segments * segment_bytes, the log from `begin` on */
    size_t bytes;
    size_t limit; /* a source gives no more than this; wal_lay_init() sets it to bytes */
    lsn_t begin;
    uint32_t segment_bytes;
    tli_t tli;
    uint64_t sysid;
    lsn_t next; /* where the next record goes, end spelling */
    lsn_t prev;
};

void wal_lay_init(struct wal_lay *l, uint32_t segment_bytes, uint32_t n_segments, lsn_t begin);
void wal_lay_done(struct wal_lay *l);
/* Append a record; returns its start. Fails the test if there is no room. */
lsn_t wal_lay_put(struct wal_lay *l, const struct wal_rec *rec);
/* Append the first n bytes of a record only, as a crash leaves it: nothing else of the page is
 * touched and the position does not move. Returns its start. */
lsn_t wal_lay_put_torn(struct wal_lay *l, const struct wal_rec *rec, uint32_t n);
/* Begin the page at lsn with an empty header that carries `flags` as well. */
void wal_lay_begin_page(struct wal_lay *l, lsn_t lsn, uint16_t flags);
/* A wal_read_fn; arg is the struct. */
ssize_t wal_lay_read(void *arg, lsn_t lsn, void *p, size_t n, struct err *e);
