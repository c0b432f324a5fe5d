/* Transaction ids and their fate (XID-1 … -4). */
#pragma once

#include "store/store.h"

enum xact_status { XACT_ABORTED, XACT_COMMITTED, XACT_IN_PROGRESS, XACT_UNKNOWN };

/* Hand out the next id (XID-2: waits at X only). Outside the gate; interruptible. May write an old
 * pg_xact page (XID-4). */
int store_xid_assign(struct store *st, xid_t *ret, struct err *e);
xid_t store_xid_next(const struct store *st);
/* COMMIT-5's step: cannot fail. */
void store_xact_set_committed(struct store *st, xid_t xid);
/* The id of a running transaction is remembered per process while it has one (0 = none). */
void store_xact_running(struct store *st, xid_t xid);
/* txid_status(): reads the status, waits until H ≥ the insert position read after it, then answers.
 * Interruptible. */
int store_xact_status(struct store *st, xid_t xid, enum xact_status *ret, struct err *e);
/* A record's 32 bits as a full id, near nextXid (XID-1). */
xid_t store_xid_widen(xid_t near, uint32_t low);
/* CKPT-4: copy pages, flush the log, write, fsync. Checkpointer. */
int store_xact_checkpoint(struct store *st, struct err *e);
/* XID-2: is a RUNNING_XACTS record due? Inserts, flushes, moves X. Walwriter. */
int store_xid_advance_limit(struct store *st, struct err *e);
/* Recovery: load the pages around next, set nextXid by XID-3. */
int store_xact_start(struct store *st, xid_t next, struct err *e);
