/* Pages of some files, changed and not published yet: while nobody reads, many commits share a copy
 * of the pages they all change. Each is published with the LSN of its last commit. Startup, one
 * thread. */
#pragma once

#include "base/err.h"
#include "base/types.h"

struct redo;
struct wal_block;
struct wal_rel;

#define REDO_BATCH_FILES 8
#define REDO_BATCH_FRAME 0x1FFFFFFFu /* 4 TB of frames */

struct redo_file {
    oid_t oid, rel;
    uint32_t db;    /* a reference is held */
    pgno_t size;    /* what page 1 says, while publishing; 0 = it was not changed … */
    pgno_t largest; /* … and the largest that it has said since the batch was empty */
    lsn_t lsn;      /* last commit that changed page 1 */
};

/* A slot of the hash table. One line of memory tells all about a page. */
struct redo_page {
    lsn_t lsn; /* last commit that changed it; 0 = the slot is free */
    blk_t block;
    uint32_t frame : 29; /* ours until it is published */
    uint32_t file : 3;   /* in files[] */
};
static_assert(REDO_BATCH_FILES == 1 << 3, "redo_page.file counts them");

struct redo_batch {
    struct redo_file files[REDO_BATCH_FILES];
    uint32_t n_files;
    uint32_t file;           /* the one that find, add and resized are about */
    struct redo_page *pages; /* owned, 2^bits */
    uint32_t bits;
    uint32_t n; /* pages in it */
    uint32_t full_at;
    uint32_t n_clean;  /* pages written back for their frames, not yet needed */
    uint32_t scan_pos; /* where the next dirty one is looked for */
    uint32_t asked;    /* no frame below it makes us ask for memory (again) */
};

/* NULL = no memory. How many pages it can hold follows from the number of frames there are. */
struct redo_batch *redo_batch_new(uint32_t n_frames);
void redo_batch_free(struct redo_batch *b); /* accepts NULL */

/* Make this file the current one. Makes it if it is missing (FILE-6). Publishes what there is if
 * there are too many files, or another one of the same database (FILE-5). */
int redo_batch_open(struct redo *r, const struct wal_rel *rel, lsn_t lsn, struct err *e);
/* The page of the current file as it is now, to be changed by the commit at lsn; NULL = not in the
 * batch. */
uint8_t *redo_batch_find(struct redo *r, blk_t block, lsn_t lsn);
/* Have the processor fetch the note about this block. */
void redo_batch_fetch(const struct redo *r, const struct wal_block *b);
/* The block's page, or NULL if it is not there or has been changed just before `lsn`; only to fetch
 * ahead. */
const uint8_t *redo_batch_look(const struct redo *r, const struct wal_block *b, lsn_t lsn);
/* A page of the current file that is not in the batch: as it is now, or if `is_new` with any
 * content, to be changed by the commit at lsn. May write pages back, and wait for a frame. < 0:
 * also a base that fails its CRC (REDO-3). */
int redo_batch_add(struct redo *r, blk_t block, lsn_t lsn, bool is_new, uint8_t **ret,
                   struct err *e);
/* Page 1 of the current file says this now. */
void redo_batch_resized(struct redo *r, pgno_t size);
/* Is there no room for the blocks of one record more? */
bool redo_batch_is_full(const struct redo *r);
/* Publish what redo has in its hands: after the last record, and before anybody else looks. */
int redo_batch_publish(struct redo *r, struct err *e);
/* Recovery has failed: frames and references go back. */
void redo_batch_drop(struct redo *r);
