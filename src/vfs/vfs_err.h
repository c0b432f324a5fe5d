/* Our codes and SQLite's. */
#pragma once

#include "vfs/vfs.h"

struct vfs_handle;

/* What xLock(RESERVED) answers for our failure r < 0: READONLY for 25006, else IOERR_LOCK. */
int vfs_err_reserved(int r);

/* ERR_* (positive) for a result code of SQLite, by its extended code alone. */
int vfs_err_code(int rc);

/* A call on `db` failed with rc: e gets the real error behind it if `h` (may be NULL) has one, else
 * SQLite's message. Returns the negative code. */
int vfs_err_set(sqlite3 *db, const struct vfs_handle *h, int rc, struct err *e);

/* Copy a whole error (message, detail, hint) into e unless it has one. Returns from->code. */
int vfs_err_copy(struct err *e, const struct err *from);
