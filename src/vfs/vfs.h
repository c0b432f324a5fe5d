/* SQLite's view of a database: one named VFS whose main files are transactions of a backend
 * (sqlite-vfs 5.1 … 5.14, rules VFS-1 … -6).
 *
 * A backend is a table of functions in SQLite's order: the store (vfs_store.h), or memory
 * (vfs_mem.h: self-test, unit tests, files being built). One per open handle. */
#pragma once

#include <sqlite3.h>

#include "base/err.h"
#include "base/types.h"

#define VFS_NAME "pinion"

#define VFS_SHORT 1 /* outcome of read: beyond the end, zeros */
#define VFS_STALE 2 /* outcome of begin_write: the snapshot is not the newest (VFS-3) */

/* `t` is the handle's transaction. What returns int gives 0, an outcome, or < 0 with e. */
struct vfs_ops {
    /* xLock(SHARED): take a snapshot. Never "busy". */
    int (*begin)(void *t, struct err *e);
    void (*end)(void *t);
    lsn_t (*version)(void *t);         /* of page 1 under the snapshot */
    uint64_t (*epoch)(void *t);        /* CACHE-8 */
    const uint8_t *(*header)(void *t); /* 100 bytes of page 1 under the snapshot */
    pgno_t (*size)(void *t);           /* pages; VFS-1, VFS-6 */
    int (*read)(void *t, pgno_t pgno, void *p, struct err *e);
    int (*fetch)(void *t, pgno_t pgno, const void **ret, struct err *e);
    void (*unfetch)(void *t, const void *p);
    int (*begin_write)(void *t, struct err *e); /* xLock(RESERVED) */
    int (*check)(void *t, struct err *e);       /* xLock(EXCLUSIVE): may the commit be tried? */
    int (*stage)(void *t, pgno_t pgno, const void *p, struct err *e);
    int (*truncate)(void *t, pgno_t n_pages, struct err *e);
    int (*prepare)(void *t, struct err *e); /* FCNTL_SYNC */
    void (*commit)(void *t);                /* FCNTL_COMMIT_PHASETWO: cannot fail */
    void (*end_write)(void *t);             /* xUnlock below RESERVED */
    void (*close)(void *t);
};

/* Every call of SQLite on a main file, for the self-test and tests. `what`: "open", "read",
 * "fetch", "lock", "unlock", "write", "truncate", "size", "hint", "sync", "fsync", "phasetwo",
 * "playback", "close"; a, b: offset and length, or level. */
typedef void (*vfs_trace_fn)(void *arg, const char *what, int64_t a, int64_t b);

struct vfs_handle; /* one open main file: vfs_file.h */

struct vfs_open_args {
    const struct vfs_ops *ops;
    void *t;          /* owned by the handle from here on, also on failure */
    bool use_fetch;   /* VFS-4: the quota of pins allows xFetch */
    bool is_building; /* an empty file may be filled */
    vfs_trace_fn trace;
    void *trace_arg;
};

/* Once per process: initialise SQLite (it must not have been used), register the VFS. Temporary
 * files are made, without names, in `temp_dir` (base/spill.h). 58000. */
int vfs_register(const char *temp_dir, struct err *e);

/* Open a connection. Nothing is read but the header; the settings of sqlite-vfs 5.1 are made, the
 * hardening of 5.12 that is not SQL's business is done. *ret_handle is borrowed from *ret_db and
 * dies with it. */
int vfs_connect(const struct vfs_open_args *args, sqlite3 **ret_db, struct vfs_handle **ret_handle,
                struct err *e);
