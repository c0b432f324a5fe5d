/* Bodies (main data) of the XLOG and Standby records that we write or redo
 * (wal-format.md 2.2, 2.7, 3.1). Pure. _put appends to a buf; _get takes the main data of a decoded
 * record and returns 0 or -ERR_DATA_CORRUPTED. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/types.h"

/* CHECKPOINT_SHUTDOWN, CHECKPOINT_ONLINE; also in the control file. */
struct wal_checkpoint {
    lsn_t redo;
    tli_t tli;
    tli_t prev_tli; /* equal to tli unless this checkpoint begins a timeline */
    bool full_page_writes;
    xid_t next_xid;
    oid_t next_oid;
    uint32_t next_multi;
    uint32_t next_multi_offset;
    uint32_t oldest_xid;
    oid_t oldest_xid_db;
    uint32_t oldest_multi;
    oid_t oldest_multi_db;
    int64_t time_sec; /* Unix seconds */
    uint32_t oldest_commit_ts_xid;
    uint32_t newest_commit_ts_xid;
    uint32_t oldest_active_xid; /* online: oldest running xid, or next_xid; shutdown: 0 */
};
#define WAL_CHECKPOINT_BYTES 88u
void wal_xlog_put_checkpoint(struct buf *b, const struct wal_checkpoint *c);
int wal_xlog_get_checkpoint(const void *p, size_t n, struct wal_checkpoint *ret, struct err *e);

/* PARAMETER_CHANGE; also in the control file. */
struct wal_params {
    int32_t max_connections;
    int32_t max_worker_processes;
    int32_t max_wal_senders;
    int32_t max_prepared_xacts;
    int32_t max_locks_per_xact;
    int32_t wal_level; /* 0 minimal, 1 replica, 2 logical */
    bool wal_log_hints;
    bool track_commit_timestamp;
};
#define WAL_PARAMS_BYTES 28u
void wal_xlog_put_params(struct buf *b, const struct wal_params *p);
int wal_xlog_get_params(const void *p, size_t n, struct wal_params *ret, struct err *e);
bool wal_params_equal(const struct wal_params *a, const struct wal_params *b);

/* NEXTOID: the first oid not reserved. */
void wal_xlog_put_nextoid(struct buf *b, oid_t limit);
int wal_xlog_get_nextoid(const void *p, size_t n, oid_t *ret, struct err *e);

/* BACKUP_END: redo of the backup that ends. */
void wal_xlog_put_backup_end(struct buf *b, lsn_t redo);
int wal_xlog_get_backup_end(const void *p, size_t n, lsn_t *ret, struct err *e);

/* END_OF_RECOVERY. */
struct wal_end_of_recovery {
    int64_t time; /* WAL time */
    tli_t tli;
    tli_t prev_tli;
};
void wal_xlog_put_end_of_recovery(struct buf *b, const struct wal_end_of_recovery *r);
int wal_xlog_get_end_of_recovery(const void *p, size_t n, struct wal_end_of_recovery *ret,
                                 struct err *e);

/* OVERWRITE_CONTRECORD (1.10). */
struct wal_overwrite {
    lsn_t lsn;    /* start of the abandoned record */
    int64_t time; /* WAL time */
};
void wal_xlog_put_overwrite(struct buf *b, const struct wal_overwrite *o);
int wal_xlog_get_overwrite(const void *p, size_t n, struct wal_overwrite *ret, struct err *e);

/* RESTORE_POINT. */
struct wal_restore_point {
    int64_t time; /* WAL time */
    char name[64];
};
#define WAL_RESTORE_POINT_BYTES 72u
void wal_xlog_put_restore_point(struct buf *b, const struct wal_restore_point *r);
int wal_xlog_get_restore_point(const void *p, size_t n, struct wal_restore_point *ret,
                               struct err *e);

/* FPW_CHANGE. */
void wal_xlog_put_fpw(struct buf *b, bool on);
int wal_xlog_get_fpw(const void *p, size_t n, bool *ret, struct err *e);

/* Standby RUNNING_XACTS. */
struct wal_running {
    uint32_t n_xids;
    uint32_t n_subxids;
    bool overflowed;
    uint32_t next_xid;
    uint32_t oldest_running_xid; /* next_xid when nothing runs */
    uint32_t latest_completed_xid;
    const void *xids; /* borrowed, u32 each, unaligned when parsed; read with wal_running_xid() */
};
#define WAL_RUNNING_BYTES(n) (24u + 4u * (size_t) (n))
void wal_xlog_put_running(struct buf *b, const struct wal_running *r);
int wal_xlog_get_running(const void *p, size_t n, struct wal_running *ret, struct err *e);
static inline uint32_t
wal_running_xid(const struct wal_running *r, uint32_t i)
{
    return get_u32((const uint8_t *) r->xids + 4 * (size_t) i);
}
