/* The methods of an open main file. A handle keeps what VFS-2 needs to answer "is the private page
 * cache still good?" exactly, and the real error behind the last SQLITE_IOERR. */
#pragma once

#include "vfs/vfs.h"

enum vfs_write_state {
    VFS_WRITE_NONE,      /* not at RESERVED */
    VFS_WRITE_OPEN,      /* at RESERVED or above */
    VFS_WRITE_PREPARED,  /* SYNC accepted: inside the gate if anything was written */
    VFS_WRITE_REFUSED,   /* SYNC refused, or a rollback: what follows is playback, swallowed */
    VFS_WRITE_COMMITTED, /* PHASETWO came */
};

struct vfs_counts {
    uint64_t n_read;  /* pages copied by xRead */
    uint64_t n_fetch; /* pages lent by xFetch */
    uint64_t n_nonce; /* times the private cache was declared stale */
    uint64_t n_commit;
};

struct vfs_handle {
    sqlite3_file base; /* first: SQLite casts */
    const struct vfs_ops *ops;
    void *t;              /* owned */
    int level;            /* SQLITE_LOCK_* */
    lsn_t cache_ver;      /* VFS-2: version the private cache corresponds to; 0 = none */
    uint64_t cache_epoch; /* and the epoch it was read in */
    enum vfs_write_state write;
    bool has_staged; /* xWrite was called in this write */
    bool is_building;
    vfs_trace_fn trace;
    void *trace_arg;
    struct vfs_counts counts;
    struct err err;         /* the first failure since vfs_error_reset() */
    struct err *last_words; /* xClose leaves err here; NULL = nobody wants it */
};

extern const sqlite3_io_methods vfs_file_methods;

/* The pager begins to play the transaction back: nothing that it writes from now on counts, and a
 * SYNC prepares nothing (5.5). */
void vfs_file_rolls_back(struct vfs_handle *h);

/* The real error behind a code SQLite returned: code 0 if there was none. */
const struct err *vfs_error(const struct vfs_handle *h);
void vfs_error_reset(struct vfs_handle *h);
const struct vfs_counts *vfs_counts(const struct vfs_handle *h);
