/* clang-format off */
/* A transaction as the VFS sees it: one per open SQLite handle. The calls come in SQLite's order
 * (sqlite-vfs 5.3, 5.4):
 *
 *   xLock(SHARED)     store_txn_begin()        snapshot (SNAP-2; SNAP-3 under the writer lock), page 1
 *   xRead, xFetch     store_txn_read(), store_txn_fetch()
 *   xLock(RESERVED)   store_txn_begin_write()  the writer lock is held: stale? (VFS-3)
 *   xWrite            store_txn_stage()
 *   xTruncate         store_txn_truncate()
 *   FCNTL_SYNC        store_txn_prepare()      may fail; else we are inside the gate (COMMIT-2 … -4)
 *   COMMIT_PHASETWO   store_txn_commit()       cannot fail (COMMIT-5)
 *   xUnlock(SHARED)   store_txn_end_write()    discards what is not committed (COMMIT-6), drops the
 *                                              writer lock
 *   xUnlock(NONE)     store_txn_end()          SNAP-4
 *
 * and, outside SQLite, store_txn_barrier() before the client is answered (SNAP-5). */
/* clang-format on */
#pragma once

#include "store/store_db.h"

struct store_txn; /* opaque */

/* A handle on database index `db` (the caller's reference must outlive it). Claims a snapshot
 * entry: 53400 at the fifth. */
int store_txn_open(struct store *st, uint32_t db, struct store_txn **ret, struct err *e);
void store_txn_close(struct store_txn *t);
/* Bytes of staged pages that stay in the heap; what is more goes to a temporary file. 0: all stay.
 */
void store_txn_set_memory(struct store_txn *t, uint64_t bytes);

/* Take the snapshot. < 0 (58030, XX001, 72000…): no snapshot is held then. */
int store_txn_begin(struct store_txn *t, struct err *e);
/* Release snapshot and chosen file. No page may be fetched. No-op if none is held. */
void store_txn_end(struct store_txn *t);
bool store_txn_is_open(const struct store_txn *t);
/* SNAP-6: was the snapshot held asked to end? For the progress handler and the idle loop. */
bool store_txn_is_cancelled(const struct store_txn *t);

/* What was seen. */
lsn_t store_txn_snapshot(const struct store_txn *t);
lsn_t store_txn_version(const struct store_txn *t); /* `ver`: page 1's LSN under S (VFS-1) */
const uint8_t *store_txn_header(const struct store_txn *t); /* first 100 bytes of page 1 under S */
/* Size in pages: with a write set max(header, highest staged + 1) or what truncate said; after
 * prepare the new size (VFS-1, VFS-6). */
pgno_t store_txn_size(const struct store_txn *t);
/* Counts every failed read and every discard of a write set, so that the VFS can drop its cache_ver
 * (VFS-2). */
uint64_t store_txn_upsets(const struct store_txn *t);

/* Copy one whole page (own write set first) into p. A page beyond the size is zeros and
 * STORE_SHORT. */
#define STORE_SHORT 1
int store_txn_read(struct store_txn *t, pgno_t pgno, void *p, struct err *e);
/* A pinned pointer, or *ret = NULL (VFS-4): page 1, staged, over quota, read-through. */
int store_txn_fetch(struct store_txn *t, pgno_t pgno, const void **ret, struct err *e);
void store_txn_unfetch(struct store_txn *t, const void *p);

/* Writer lock is held by this process. STORE_STALE (2) if the snapshot is not the newest (→
 * SQLITE_BUSY_SNAPSHOT); 25006 on a standby. */
#define STORE_STALE 2
int store_txn_begin_write(struct store_txn *t, struct err *e);
/* While true, end_write without a commit leaves the writer lock to the caller: SQLite reloads a
 * stale schema in a lock cycle of its own and then locks again (sqlite-vfs 5.8). */
void store_txn_keep_writer(struct store_txn *t, bool keep);
bool store_txn_is_writing(const struct store_txn *t);
/* Private copy of one page. 53200 when the private memory limit is reached. */
int store_txn_stage(struct store_txn *t, pgno_t pgno, const void *p, struct err *e);
/* Drop staged pages above n pages. After prepare: must name the new size (VFS-6). */
int store_txn_truncate(struct store_txn *t, pgno_t n_pages, struct err *e);
/* PREPARE. 0: inside the gate (or nothing was staged). < 0: nothing happened; later
 * stage/truncate/prepare calls until end_write are swallowed. */
int store_txn_prepare(struct store_txn *t, struct err *e);
/* COMMIT. Publishes; the handle's snapshot moves to C (VFS-5). With an empty write set: nothing but
 * the bookkeeping of SNAP-5. */
void store_txn_commit(struct store_txn *t);
/* xUnlock below RESERVED: discard what was not committed, leave gate, drop the writer lock. No-op
 * if not writing. */
void store_txn_end_write(struct store_txn *t);

/* SNAP-5: the LSN that the reply must wait for, 0 = none; reading it resets it. `wait` =
 * synchronous_commit is on: waits until it would survive. In every case own := max(own, must). */
void store_txn_barrier(struct store_txn *t, bool wait);
/* xid of the transaction being written: assigned at first call (XID-2; may wait outside the gate)
 * or at prepare. */
int store_txn_xid(struct store_txn *t, xid_t *ret, struct err *e);
xid_t store_txn_xid_if_any(const struct store_txn *t);
/* Pages and files that ride along in this transaction's commit, for CREATE/DROP DATABASE (FILE-2,
 * FILE-3): see store_file.h. */
struct store_ride;
void store_txn_ride(struct store_txn *t, struct store_ride *ride); /* borrowed until end_write */
