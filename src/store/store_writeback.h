/* The disk side of the cache: reading pages, writing them back (EVICT-4), cutting files (EVICT-6),
 * the fsync set (CKPT-3). */
#pragma once

#include "store/store.h"

/* Read one page of base/<oid>/<rel>, checked. *ret_lsn = 0 and zeros: beyond the end of the file,
 * or never written. -ENOENT: no such file. */
int store_file_read(struct store *st, const struct cache_key *key, void *p, lsn_t *ret_lsn,
                    struct err *e);
int store_file_size(struct store *st, oid_t oid, oid_t rel, uint64_t *ret_bytes, struct err *e);

/* cache_ops: arg is the struct store. */
int store_page_read(void *arg, uint32_t db, const struct cache_key *key, void *p, lsn_t *ret_lsn,
                    struct err *e);
int store_page_evict(void *arg, uint32_t page_idx, struct err *e);

/* Outcomes of store_write_back(). */
#define STORE_WB_PAID 1 /* need not be written: beyond the size, or of a dropped database */
#define STORE_WB_BUSY 2 /* another process reads or writes it */
#define STORE_WB_LATER                                                        \
    3 /* its disk version is still needed and there is no frame to save it to \
       */
/* EVICT-4 for one page. 0: written, or not dirty any more; < 0: the page stays dirty. Interrupts
 * are held inside. Caller holds no lock from PAGE_IO up. */
int store_write_back(struct store *st, uint32_t page_idx, struct err *e);
/* Write back every dirty page there is; `db` only says whose must be done when it returns 0 (others
 * may be given up). 1: a page of it is still dirty. */
int store_write_back_all(struct store *st, uint32_t db, struct err *e);

/* A commit that was to make the file longer failed: blocks allocated behind the database's end go
 * back to the file system. Caller holds the writer lock and is outside the gate. */
void store_file_give_back(struct store *st, uint32_t db);
/* EVICT-6: cut the file if nobody can need what is behind its size. 0 done or nothing to do; 1 not
 * now (a snapshot, or the writer lock is taken; not asked for with `alone`: shutdown and
 * recovery). */
int store_file_cut(struct store *st, uint32_t db, bool alone, struct err *e);
/* Have the kernel begin to write out what it holds of the file written last, so that its fsync
 * finds less to do. Nothing counts as durable by it; a failure is a PANIC, as the fsync's. */
void store_write_out(struct store *st);
/* Take the database out of the fsync set and fsync its file; a failure is a PANIC. Returns 1 if
 * there was something to sync, 0 if not. */
int store_file_sync(struct store *st, uint32_t db, struct err *e);
/* The same for somebody who is not the checkpointer, of a database that nobody uses and whose pages
 * are all clean: it stays in the set until it is synced. */
int store_file_sync_idle(struct store *st, uint32_t db, struct err *e);
