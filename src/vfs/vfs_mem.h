/* A database in private memory, with versions: the backend of the self-test, of unit tests, and of
 * files being built. Any number of handles in one process; nothing is pruned while there are
 * several. */
#pragma once

#include "vfs/vfs.h"

/* Where a failure can be injected. */
enum vfs_mem_step {
    VFS_MEM_BEGIN,
    VFS_MEM_READ,
    VFS_MEM_FETCH,
    VFS_MEM_BEGIN_WRITE,
    VFS_MEM_CHECK,
    VFS_MEM_STAGE,
    VFS_MEM_TRUNCATE,
    VFS_MEM_PREPARE,
    VFS_MEM_STEPS
};

struct vfs_mem_version;
struct vfs_mem;

struct vfs_mem_db {
    struct vfs_mem_version **pages; /* [cap]: newest version of block i, or NULL; owned */
    pgno_t cap;
    lsn_t own_clock;
    lsn_t *clock; /* the log: shared by databases that share an order; &own_clock if alone */
    lsn_t published;
    uint64_t epoch;
    struct vfs_mem *writer; /* holds the writer lock */
    uint32_t n_handles;
    uint32_t n_lent; /* pages out by fetch */
    uint64_t n_nonempty_commits;
    /* The k-th call of a step from now on fails with -fail_code; 0 = never. */
    uint32_t fail_in[VFS_MEM_STEPS];
    int fail_code; /* ERR_* */
};

/* `clock` NULL: its own. */
void vfs_mem_init(struct vfs_mem_db *db, lsn_t *clock);
/* No handle is open any more. */
void vfs_mem_done(struct vfs_mem_db *db);
/* A transaction for vfs_open_args.t; closed by the VFS. NULL: no memory. */
struct vfs_mem *vfs_mem_open(struct vfs_mem_db *db);
extern const struct vfs_ops vfs_mem_ops;

/* Pages of the newest version. */
pgno_t vfs_mem_size(const struct vfs_mem_db *db);
/* Newest content of a page; NULL if it was never written. */
const uint8_t *vfs_mem_page(const struct vfs_mem_db *db, pgno_t pgno);
