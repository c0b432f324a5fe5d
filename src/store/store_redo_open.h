/* The open set of redo: what transactions have logged whose end has not been read (REDO-5). */
#pragma once

#include "base/err.h"
#include "base/types.h"
#include "wal/wal_record.h"

struct redo;

#define REDO_KEPT_BYTES (64u * 1024) /* REDO-5: of one open transaction's records */

/* A record of a transaction that is not decided yet. */
struct redo_item {
    lsn_t lsn;
    uint32_t bytes;
    uint32_t n_blocks;        /* of a Generic record that was kept … */
    struct wal_block *blocks; /* … as it was taken apart; they point into p */
    uint8_t *p;               /* the record; NULL: read it again */
    void *memory;             /* owned: both */
};

struct redo_open {
    xid_t xid;
    struct redo_item *items; /* owned */
    uint32_t n;
    uint32_t cap;
    uint32_t kept; /* bytes of the copies */
};

/* Remember the record. < 0: no memory, or more open transactions than there can be. */
int redo_open_add(struct redo *r, xid_t xid, const struct wal_decoded *d, struct err *e);
/* The transaction's entry, or NULL. */
struct redo_open *redo_open_find(struct redo *r, xid_t xid);
void redo_open_drop(struct redo *r, xid_t xid);
void redo_open_clear(struct redo *r);
/* Take the entry out of the set, into `ret`, which is empty. */
void redo_open_take(struct redo *r, struct redo_open *o, struct redo_open *ret);
/* Its records go; their list is kept for the next transaction. */
void redo_open_empty(struct redo_open *o);
/* The record of an item, decoded: of its copy, or read again into the reader's memory and checked.
 * *ret is valid until the next call. */
int redo_open_bytes(struct redo *r, const struct redo_open *o, uint32_t i, struct wal_decoded *ret,
                    struct err *e);
