/* The table of open databases (FILE-1) and their writer locks (COMMIT-1). */
#pragma once

#include "store/store.h"

enum store_db_state { DB_FREE, DB_OPENING, DB_READY, DB_DROPPING };

/* Attach to the database `oid` whose first file is `rel` (opening it if nobody has it open): takes
 * a reference. 0 and *ret_db (its index), or 3D000 (being dropped), 53300 (table full), XX001 /
 * 58P01 (its page 1 cannot be read). Interruptible. */
int store_db_attach(struct store *st, oid_t oid, oid_t rel, uint32_t *ret_db, struct err *e);
/* The same in redo (REDO-3): page 1 is not read, p = 0, the size is unbounded, shrink_lsn = 0. The
 * file need not exist. Startup. */
int store_db_attach_redo(struct store *st, oid_t oid, oid_t rel, uint32_t *ret_db, struct err *e);
/* What COMMIT-5 stores when the pages are linked, in its order: shrink_lsn if n_pages is less than
 * the size, size, p. Commit, and redo at each COMMIT. */
void store_db_publish(struct store *st, uint32_t db, pgno_t n_pages, lsn_t lsn);
void store_db_detach(struct store *st, uint32_t db);
/* Forget a dropped database that has no page any more (FILE-3): its index is free. Wakes. */
void store_db_forget(struct store *st, uint32_t db);
/* Index of the database `oid` if it is in the table, else CACHE_NONE. No reference is taken. */
uint32_t store_db_find(const struct store *st, oid_t oid);
/* Elements of the table that were ever used: the indexes below it may be asked about. */
uint32_t store_db_count(const struct store *st);
oid_t store_db_oid(const struct store *st, uint32_t db);
/* p[db]: LSN of its newest published commit. Acquire. */
lsn_t store_db_published(const struct store *st, uint32_t db);
enum store_db_state store_db_state(const struct store *st, uint32_t db);
bool store_db_is_dropping(const struct store *st, uint32_t db);

/* The fair queue of writers (COMMIT-1). `deadline` is monotonic, 0 = none: 55P03. Interruptible
 * (57014, 57P01). Taken before SQLite is asked for anything; dropped by the VFS at the end of the
 * write (store_txn_end_write), or here if no write followed. */
int store_writer_take(struct store *st, uint32_t db, usec_t deadline, struct err *e);
void store_writer_drop(struct store *st, uint32_t db);
bool store_writer_is_mine(const struct store *st, uint32_t db);
/* procno of the process that holds it, or UINT32_MAX. */
uint32_t store_writer_owner(const struct store *st, uint32_t db);
