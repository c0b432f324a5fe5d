/* Redo, record by record: what each record of the log means for pages, files and ids (REDO-3,
 * REDO-5, FILE-6). One struct redo, no globals; one thread. Startup. */
#pragma once

#include "store/store.h"
#include "store/store_redo_batch.h"
#include "store/store_redo_queue.h"
#include "store/store_touched.h"
#include "wal/wal_reader.h"
#include "wal/wal_source_io.h"

/* FILE-6: a file that a record wanted but that was not there. */
struct redo_ghost {
    oid_t oid, rel;
    lsn_t lsn; /* the commit that wanted it */
};

struct redo {
    struct store *st; /* borrowed */
    /* For reading records again. */
    const struct wal_history *history; /* borrowed */
    struct wal_source_io source;
    struct wal_reader *reader; /* owned, made when first needed */
    struct redo_open *open;    /* owned */
    uint32_t n_open;
    uint32_t open_cap;
    struct redo_ghost *ghosts; /* owned */
    uint32_t n_ghosts;
    uint32_t ghosts_cap;
    uint8_t *page;  /* owned, PAGE_BYTES: an unpacked image, or a base that was read through */
    xid_t near_xid; /* the checkpoint's nextXid: 32-bit ids are near it (XID-1) */
    xid_t next_xid; /* XID-3: highest seen so far, before rounding */
    xid_t limit_of; /* highest nextXid of a checkpoint or RUNNING_XACTS: X is 2^20 above (XID-2) */
    oid_t next_oid;
    uint64_t n_records, n_commits;
    struct redo_batch *batch; /* owned */
    struct redo_queue queue;
    bool keeps_touched; /* note which files are changed, in `touched` */
    struct store_touched touched;
};

/* `next_xid`, `next_oid` are those of the checkpoint where redo begins. */
int redo_init(struct redo *r, struct store *st, const struct wal_history *history, xid_t next_xid,
              oid_t next_oid, struct err *e);
void redo_done(struct redo *r); /* accepts a zeroed one */
/* Apply one record. < 0: the log or a page is not what it must be; recovery cannot go on. */
int redo_record(struct redo *r, const struct wal_decoded *d, struct err *e);
/* Nothing may be missing now (FILE-6): < 0 names the first ghost. */
int redo_check_ghosts(const struct redo *r, struct err *e);

/* After the last record, and before a restartpoint: all that was committed is in the cache. */
int redo_finish(struct redo *r, struct err *e);

/* Change the pages of one record, for the commit at lsn. For the queue. */
int redo_apply_pages(struct redo *r, const struct wal_block *blocks, uint32_t n, lsn_t lsn,
                     struct err *e);

/* ---- files (store_redo_file.c) ---- */
/* The file is there, made if it was not; `ghost` notes that nothing had made it yet. */
int redo_file_want(struct redo *r, oid_t oid, oid_t rel, lsn_t lsn, bool ghost, struct err *e);
/* Directory and PG_VERSION are there, durably. */
int redo_dir_want(struct redo *r, oid_t oid, struct err *e);
/* A commit listed the file, or dropped the whole database (rel 0): pages, descriptors, names and
 * notes go. */
int redo_file_gone(struct redo *r, oid_t oid, oid_t rel, struct err *e);
