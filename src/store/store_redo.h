/* Redo, record by record: what each record of the log means for pages, files and ids (REDO-3,
 * REDO-5, FILE-6). One struct redo, no globals; one thread. Startup. */
#pragma once

#include "store/store.h"
#include "store/store_redo_batch.h"
#include "wal/wal_reader.h"
#include "wal/wal_source_io.h"

#define REDO_KEPT_BYTES (64u * 1024) /* REDO-5: of one open transaction's records */

/* A record of a transaction that is not decided yet. */
struct redo_item {
    lsn_t lsn;
    uint32_t bytes;
    uint8_t *p; /* owned copy, or NULL: read it again */
};
/* REDO-5: one open transaction. */
struct redo_open {
    xid_t xid;
    struct redo_item *items; /* owned */
    uint32_t n;
    uint32_t cap;
    uint32_t kept; /* bytes of the copies */
};
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
};

/* `next_xid`, `next_oid` are those of the checkpoint where redo begins. */
int redo_init(struct redo *r, struct store *st, const struct wal_history *history, xid_t next_xid,
              oid_t next_oid, struct err *e);
void redo_done(struct redo *r); /* accepts a zeroed one */
/* Apply one record. < 0: the log or a page is not what it must be; recovery cannot go on. */
int redo_record(struct redo *r, const struct wal_decoded *d, struct err *e);
/* Nothing may be missing now (FILE-6): < 0 names the first ghost. */
int redo_check_ghosts(const struct redo *r, struct err *e);

/* ---- the open set, for redo and its test ---- */
/* Remember the record. < 0: no memory, or more open transactions than there can be. */
int redo_open_add(struct redo *r, xid_t xid, const struct wal_decoded *d, struct err *e);
/* The transaction's entry, or NULL. */
struct redo_open *redo_open_find(struct redo *r, xid_t xid);
void redo_open_drop(struct redo *r, xid_t xid);
void redo_open_clear(struct redo *r);
/* The bytes of an item: its copy, or read again into the reader's memory and checked. *ret is valid
 * until the next call. */
int redo_open_bytes(struct redo *r, const struct redo_open *o, uint32_t i, struct wal_decoded *ret,
                    struct err *e);

/* ---- files (store_redo_file.c) ---- */
/* The file is there, made if it was not; `ghost` notes that nothing had made it yet. */
int redo_file_want(struct redo *r, oid_t oid, oid_t rel, lsn_t lsn, bool ghost, struct err *e);
/* Directory and PG_VERSION are there, durably. */
int redo_dir_want(struct redo *r, oid_t oid, struct err *e);
/* A commit listed the file, or dropped the whole database (rel 0): pages, descriptors, names and
 * notes go. */
int redo_file_gone(struct redo *r, oid_t oid, oid_t rel, struct err *e);
