/* The first segment of a new cluster, for `piniond init` (INIT-1). */
#pragma once

#include "base/io.h"
#include "wal/wal_control.h"

struct wal_boot_params {
    uint64_t sysid;
    uint32_t segment_bytes;
    oid_t next_oid;   /* 16384 */
    xid_t next_xid;   /* 3 */
    int64_t time_sec; /* Unix seconds */
};

/* System identifier from the clock and the pid, as stock makes it (3.2). */
uint64_t wal_boot_sysid(int64_t unix_usec, uint32_t pid);

/* Make pg_wal/000000010000000000000001 (pg_wal must exist): zeros, the page header,
 * CHECKPOINT_SHUTDOWN at segment_bytes + 40; written under a temporary name, fsynced, renamed,
 * pg_wal fsynced. ret is the checkpoint, with redo at the record itself. Returns 0, -EEXIST or
 * another error. */
int wal_boot_write(struct io *io, const struct wal_boot_params *params, struct wal_checkpoint *ret,
                   struct err *e);
/* The control file's content to go with it: state 1, fixed values; params and nonce are the
 * caller's to fill. */
struct wal_control wal_boot_control(const struct wal_boot_params *params,
                                    const struct wal_checkpoint *checkpoint);
