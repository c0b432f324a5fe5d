/* struct store_txn, for store_txn.c and store_commit.c. */
#pragma once

#include "store/store_txn.h"
#include "store/store_ws.h"

/* A page of the commit to be: of the write set, a zero page (COMMIT-3), or one that rides along. */
struct plan_page {
    const uint8_t *p;  /* its frame's bytes, or the rider's */
    uint8_t *staged;   /* where the frame is filled from; NULL = zeros */
    lsn_t base_lsn;    /* of the version the delta starts from; 0 = an image in any case */
    uint64_t delta_at; /* in commit_plan.deltas */
    blk_t block;
    oid_t oid, rel;
    uint16_t delta_bytes;
    bool is_image; /* decided inside the gate */
};

/* What prepare has made and commit uses. */
struct commit_plan {
    struct plan_page *pages; /* own pages ascending, then those that ride along */
    uint32_t n_pages, pages_cap;
    uint32_t n_own; /* pages that get a frame and are published */
    uint32_t *frames;
    blk_t *blocks;
    uint32_t frames_cap;
    uint32_t n_frames; /* frames we hold */
    uint8_t *deltas;
    uint64_t deltas_bytes, deltas_cap;
    uint64_t log_bytes; /* upper bound of the MAXALIGNed record bytes */
    pgno_t size;        /* n: the new size */
};

enum write_state {
    WRITE_NONE,     /* not writing */
    WRITE_OPEN,     /* begin_write: pages are staged */
    WRITE_PREPARED, /* inside the gate (VFS-6) */
    WRITE_REFUSED,  /* stage or prepare failed: everything is swallowed until end_write */
    WRITE_DONE,     /* committed */
};

struct txn_pin {
    const void *p;
    struct cache_page page;
};

struct store_txn {
    struct store *st;
    struct store_txn *next; /* in store.txns */
    uint32_t db;
    oid_t oid, rel; /* rel: the file chosen for this snapshot (FILE-5) */
    uint32_t entry;
    bool is_open;
    bool is_under_writer; /* the snapshot was taken under the writer lock (SNAP-3) */
    bool keeps_writer;    /* end_write without a commit leaves the writer lock to the session */
    bool has_held;        /* interrupts are held, from the gate to end_write (INT-1) */
    enum write_state write;
    lsn_t snap, ver, own, must;
    uint8_t header[100];
    pgno_t base_size;  /* pages, as the header says */
    pgno_t size_floor; /* size without the write set: base_size, or what truncate said */
    uint64_t upsets;
    xid_t xid;
    struct store_ws ws;
    struct commit_plan plan;
    struct store_ride *ride; /* borrowed */
    struct txn_pin pins[CACHE_PINS];
    uint32_t n_pins;
};
