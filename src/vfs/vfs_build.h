/* A new database file before anybody can see it (FILE-2, INIT-1): no Db, entry, gate, xid or log.
 * It is made in memory by ordinary SQL, then written whole. */
#pragma once

#include "store/store_file.h"
#include "vfs/vfs_mem.h"

#define VFS_APPLICATION_ID 0x50696e6e /* "Pinn" */

struct vfs_build {
    struct vfs_mem_db mem;
    sqlite3 *db; /* run what the file shall contain; NULL before open and after finish */
};

/* Page size 8192, reserve 24, auto_vacuum INCREMENTAL, UTF-8, our application_id; committed, so
 * the file has at least one page. vfs_register() was called. */
int vfs_build_open(struct vfs_build *b, struct err *e);
/* Close the connection and write every page through `out` (begun by the caller, who also finishes
 * it). *ret_pages (may be NULL): a copy of all pages, the caller's to free(), for the catalogue's
 * transaction. */
int vfs_build_finish(struct vfs_build *b, struct store_build *out, uint8_t **ret_pages,
                     pgno_t *ret_n, struct err *e);
/* Give everything back. Safe after a failed open, and twice. */
void vfs_build_done(struct vfs_build *b);
