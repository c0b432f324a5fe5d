/* The store as a backend of the VFS: what a session and the catalogue use. */
#pragma once

#include "store/store_txn.h"
#include "vfs/vfs.h"

/* Connect to database index `db` (the caller's reference must outlive the connection). *ret_txn is
 * borrowed from the connection: for store_txn_barrier(), _xid(), _ride(). 53400 and what
 * vfs_connect() gives. */
int vfs_store_connect(struct store *st, uint32_t db, sqlite3 **ret_db,
                      struct vfs_handle **ret_handle, struct store_txn **ret_txn, struct err *e);
