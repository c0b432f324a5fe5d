/* Transaction ids and their fate (XID-1 … -4).
 *
 * A status is 2 bits; a page of pg_xact holds 32,768 of them, a file 32 pages. Files are named by
 * the low 32 bits of their ids as PostgreSQL names them: pg_xact/0000 … 0FFF. The pages of the
 * newest 2^24 ids are in shared memory, a ring in which page p lies at p mod 512; a page leaves the
 * ring only after it was written. */
#pragma once

#include "shm/lock.h"
#include "store/store.h"

#define XACT_DIR           "pg_xact"
#define XACT_XIDS_PAGE     (PAGE_BYTES * 4u)
#define XACT_PAGES_FILE    32u
#define XACT_RING_PAGES    512u
#define XACT_RING_XIDS     (UINT64_C(1) << 24) /* XID-4: in shared memory */
#define XACT_KEPT_XIDS     (UINT64_C(1) << 28) /* XID-4: in files */
#define XACT_OLDEST_COMMIT (UINT64_C(1) << 23) /* COMMIT-2: an older xid is refused (54000) */
#define XID_LIMIT_STEP     (UINT64_C(1) << 20) /* XID-2: X := nextXid + this */
#define XID_LIMIT_NEAR     (UINT64_C(1) << 19) /* XID-2: within this of X a record is due */

/* In struct store_shared as `xact`. All valid when zeroed, but useless until store_xact_start(). */
struct store_xact_shared {
    _Atomic uint64_t next;       /* nextXid; raised by compare-and-swap */
    _Atomic uint64_t limit;      /* X: no id ≥ X is handed out (XID-2); only rises */
    _Atomic uint64_t ready;      /* ids below have their page in the ring; raised under page_lock */
    _Atomic uint32_t limit_wake; /* futex: bumped when X has moved */
    struct rwlock page_lock;     /* who moves a page between ring and file (LOCK_XACT_PAGE) */
    _Atomic uint64_t ring[XACT_RING_PAGES];  /* page number + 1, 0 = empty; written under page_lock,
                                                release; read by anyone */
    _Atomic uint32_t dirty[XACT_RING_PAGES]; /* set (release) after the status, cleared before the
                                                copy */
    _Atomic uint8_t status[XACT_RING_PAGES][PAGE_BYTES]; /* 4 ids a byte, first in the low bits */
};

enum xact_status { XACT_ABORTED, XACT_COMMITTED, XACT_IN_PROGRESS, XACT_UNKNOWN };

/* What a file holds. */
#define XACT_BIT_COMMITTED 1u
#define XACT_BIT_ABORTED   2u /* only after ROLLBACK PREPARED */

/* ---- pure ---- */
/* A record's 32 bits as a full id, within ±2^31 of `near` (XID-1). */
xid_t store_xid_widen(xid_t near, uint32_t low);
/* The id after x: low words 0..2 are skipped. */
xid_t store_xid_after(xid_t x);
/* XID-3: `next` rounded up to a multiple of 2^20, plus 2^20. */
xid_t store_xid_after_recovery(xid_t next);
/* "pg_xact/<4 digits>" of the file that holds page `page`. */
#define XACT_PATH_BYTES 16
void store_xact_path(char ret[XACT_PATH_BYTES], uint64_t page);

/* ---- handing out ---- */
/* Hand out the next id (XID-2: waits at X only). Outside the gate; interruptible. May write an old
 * pg_xact page (XID-4). */
int store_xid_assign(struct store *st, xid_t *ret, struct err *e);
xid_t store_xid_next(const struct store *st);
/* A checkpoint record, or a RUNNING_XACTS, that carries `next` is durable: X := next + 2^20
 * (XID-2). Never lowers it. */
void store_xid_limit_set(struct store *st, xid_t next);
/* XID-2: is a RUNNING_XACTS record due? Inserts, flushes, moves X. Walwriter. Returns 1 if it did.
 */
int store_xid_advance_limit(struct store *st, struct err *e);

/* ---- fate ---- */
/* COMMIT-5's step: cannot fail. */
void store_xact_set_committed(struct store *st, xid_t xid);
/* txid_status(): reads the status, waits until H ≥ the insert position read after it, then answers.
 * XACT_IN_PROGRESS: some process runs it (store_xact_running()). Interruptible. */
int store_xact_status(struct store *st, xid_t xid, enum xact_status *ret, struct err *e);
/* The id of a running transaction is remembered per process while it has one (0 = none): the word
 * `xid` of its element in store_shared.h. */
void store_xact_running(struct store *st, xid_t xid);
bool store_xact_is_running(const struct store *st, xid_t xid);
/* The two bits of `xid`, from the ring or from the file. */
int store_xact_bits(struct store *st, xid_t xid, unsigned *ret, struct err *e);

/* ---- disk ---- */
/* CKPT-4: copy pages, flush the log, write, fsync; remove files older than the last 2^28 ids.
 * Checkpointer, and startup at the end of recovery. */
int store_xact_checkpoint(struct store *st, struct err *e);
/* Its first half: what changed is written and synced. Startup at a restartpoint as well. */
int store_xact_write(struct store *st, struct err *e);
/* Redo: the fate of a transaction, whatever page it is in. Startup, alone. */
int store_xact_redo(struct store *st, xid_t xid, unsigned bits, struct err *e);
/* Recovery has ended: nextXid := next, its page in the ring; X as after a checkpoint at `limit_of`
 * (that checkpoint's nextXid; XID-2). Startup. */
int store_xact_start(struct store *st, xid_t next, xid_t limit_of, struct err *e);
