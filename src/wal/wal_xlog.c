/* Bodies of XLOG and Standby records.
 * Runs in: every process, tests. Pure. Owns: nothing.
 * Source: wal-format.md 2.2, 2.7, 3.1. */
#include "wal/wal_xlog.h"

static int
check_bytes(const char *what, size_t n, size_t want, struct err *e)
{
    if (n == want)
        return 0;
    return ERR(e, DATA_CORRUPTED, "a %s record has %zu bytes of data instead of %zu", what, n,
               want);
}

void
wal_xlog_put_checkpoint(struct buf *b, const struct wal_checkpoint *c)
{
    buf_put_u64(b, c->redo);
    buf_put_u32(b, c->tli);
    buf_put_u32(b, c->prev_tli);
    buf_put_u8(b, c->full_page_writes);
    buf_put_zero(b, 7);
    buf_put_u64(b, c->next_xid);
    buf_put_u32(b, c->next_oid);
    buf_put_u32(b, c->next_multi);
    buf_put_u32(b, c->next_multi_offset);
    buf_put_u32(b, c->oldest_xid);
    buf_put_u32(b, c->oldest_xid_db);
    buf_put_u32(b, c->oldest_multi);
    buf_put_u32(b, c->oldest_multi_db);
    buf_put_zero(b, 4);
    buf_put_u64(b, (uint64_t) c->time_sec);
    buf_put_u32(b, c->oldest_commit_ts_xid);
    buf_put_u32(b, c->newest_commit_ts_xid);
    buf_put_u32(b, c->oldest_active_xid);
    buf_put_zero(b, 4);
}

int
wal_xlog_get_checkpoint(const void *p, size_t n, struct wal_checkpoint *ret, struct err *e)
{
    struct cur c = cur_init(p, n);
    int r = check_bytes("checkpoint", n, WAL_CHECKPOINT_BYTES, e);

    if (r < 0)
        return r;
    ret->redo = cur_u64(&c);
    ret->tli = cur_u32(&c);
    ret->prev_tli = cur_u32(&c);
    ret->full_page_writes = cur_u8(&c) != 0;
    (void) cur_take(&c, 7);
    ret->next_xid = cur_u64(&c);
    ret->next_oid = cur_u32(&c);
    ret->next_multi = cur_u32(&c);
    ret->next_multi_offset = cur_u32(&c);
    ret->oldest_xid = cur_u32(&c);
    ret->oldest_xid_db = cur_u32(&c);
    ret->oldest_multi = cur_u32(&c);
    ret->oldest_multi_db = cur_u32(&c);
    (void) cur_take(&c, 4);
    ret->time_sec = (int64_t) cur_u64(&c);
    ret->oldest_commit_ts_xid = cur_u32(&c);
    ret->newest_commit_ts_xid = cur_u32(&c);
    ret->oldest_active_xid = cur_u32(&c);
    if (ret->tli == 0)
        return ERR(e, DATA_CORRUPTED, "a checkpoint names timeline 0");
    return 0;
}

void
wal_xlog_put_params(struct buf *b, const struct wal_params *p)
{
    buf_put_u32(b, (uint32_t) p->max_connections);
    buf_put_u32(b, (uint32_t) p->max_worker_processes);
    buf_put_u32(b, (uint32_t) p->max_wal_senders);
    buf_put_u32(b, (uint32_t) p->max_prepared_xacts);
    buf_put_u32(b, (uint32_t) p->max_locks_per_xact);
    buf_put_u32(b, (uint32_t) p->wal_level);
    buf_put_u8(b, p->wal_log_hints);
    buf_put_u8(b, p->track_commit_timestamp);
    buf_put_zero(b, 2);
}

int
wal_xlog_get_params(const void *p, size_t n, struct wal_params *ret, struct err *e)
{
    struct cur c = cur_init(p, n);
    int r = check_bytes("PARAMETER_CHANGE", n, WAL_PARAMS_BYTES, e);

    if (r < 0)
        return r;
    ret->max_connections = (int32_t) cur_u32(&c);
    ret->max_worker_processes = (int32_t) cur_u32(&c);
    ret->max_wal_senders = (int32_t) cur_u32(&c);
    ret->max_prepared_xacts = (int32_t) cur_u32(&c);
    ret->max_locks_per_xact = (int32_t) cur_u32(&c);
    ret->wal_level = (int32_t) cur_u32(&c);
    ret->wal_log_hints = cur_u8(&c) != 0;
    ret->track_commit_timestamp = cur_u8(&c) != 0;
    return 0;
}

bool
wal_params_equal(const struct wal_params *a, const struct wal_params *b)
{
    return a->max_connections == b->max_connections &&
           a->max_worker_processes == b->max_worker_processes &&
           a->max_wal_senders == b->max_wal_senders &&
           a->max_prepared_xacts == b->max_prepared_xacts &&
           a->max_locks_per_xact == b->max_locks_per_xact && a->wal_level == b->wal_level &&
           a->wal_log_hints == b->wal_log_hints &&
           a->track_commit_timestamp == b->track_commit_timestamp;
}

void
wal_xlog_put_nextoid(struct buf *b, oid_t limit)
{
    buf_put_u32(b, limit);
}

int
wal_xlog_get_nextoid(const void *p, size_t n, oid_t *ret, struct err *e)
{
    int r = check_bytes("NEXTOID", n, 4, e);

    if (r == 0)
        *ret = get_u32(p);
    return r;
}

void
wal_xlog_put_backup_end(struct buf *b, lsn_t redo)
{
    buf_put_u64(b, redo);
}

int
wal_xlog_get_backup_end(const void *p, size_t n, lsn_t *ret, struct err *e)
{
    int r = check_bytes("BACKUP_END", n, 8, e);

    if (r == 0)
        *ret = get_u64(p);
    return r;
}

void
wal_xlog_put_end_of_recovery(struct buf *b, const struct wal_end_of_recovery *r)
{
    buf_put_u64(b, (uint64_t) r->time);
    buf_put_u32(b, r->tli);
    buf_put_u32(b, r->prev_tli);
}

int
wal_xlog_get_end_of_recovery(const void *p, size_t n, struct wal_end_of_recovery *ret,
                             struct err *e)
{
    struct cur c = cur_init(p, n);
    int r = check_bytes("END_OF_RECOVERY", n, 16, e);

    if (r < 0)
        return r;
    ret->time = (int64_t) cur_u64(&c);
    ret->tli = cur_u32(&c);
    ret->prev_tli = cur_u32(&c);
    if (ret->tli == 0 || ret->prev_tli == 0 || ret->prev_tli > ret->tli)
        return ERR(e, DATA_CORRUPTED, "an END_OF_RECOVERY record goes from timeline %u to %u",
                   ret->prev_tli, ret->tli);
    return 0;
}

void
wal_xlog_put_overwrite(struct buf *b, const struct wal_overwrite *o)
{
    buf_put_u64(b, o->lsn);
    buf_put_u64(b, (uint64_t) o->time);
}

int
wal_xlog_get_overwrite(const void *p, size_t n, struct wal_overwrite *ret, struct err *e)
{
    struct cur c = cur_init(p, n);
    int r = check_bytes("OVERWRITE_CONTRECORD", n, 16, e);

    if (r < 0)
        return r;
    ret->lsn = cur_u64(&c);
    ret->time = (int64_t) cur_u64(&c);
    return 0;
}

void
wal_xlog_put_restore_point(struct buf *b, const struct wal_restore_point *r)
{
    buf_put_u64(b, (uint64_t) r->time);
    buf_put(b, r->name, sizeof r->name);
}

int
wal_xlog_get_restore_point(const void *p, size_t n, struct wal_restore_point *ret, struct err *e)
{
    struct cur c = cur_init(p, n);
    int r = check_bytes("RESTORE_POINT", n, WAL_RESTORE_POINT_BYTES, e);

    if (r < 0)
        return r;
    ret->time = (int64_t) cur_u64(&c);
    memcpy(ret->name, c.p, sizeof ret->name);
    ret->name[sizeof ret->name - 1] = '\0';
    return 0;
}

void
wal_xlog_put_fpw(struct buf *b, bool on)
{
    buf_put_u8(b, on);
}

int
wal_xlog_get_fpw(const void *p, size_t n, bool *ret, struct err *e)
{
    int r = check_bytes("FPW_CHANGE", n, 1, e);

    if (r == 0)
        *ret = *(const uint8_t *) p != 0;
    return r;
}

void
wal_xlog_put_running(struct buf *b, const struct wal_running *r)
{
    buf_put_u32(b, r->n_xids);
    buf_put_u32(b, r->n_subxids);
    buf_put_u8(b, r->overflowed);
    buf_put_zero(b, 3);
    buf_put_u32(b, r->next_xid);
    buf_put_u32(b, r->oldest_running_xid);
    buf_put_u32(b, r->latest_completed_xid);
    if (r->n_xids + r->n_subxids > 0)
        buf_put(b, r->xids, 4 * ((size_t) r->n_xids + r->n_subxids));
}

int
wal_xlog_get_running(const void *p, size_t n, struct wal_running *ret, struct err *e)
{
    struct cur c = cur_init(p, n);

    ret->n_xids = cur_u32(&c);
    ret->n_subxids = cur_u32(&c);
    ret->overflowed = cur_u8(&c) != 0;
    (void) cur_take(&c, 3);
    ret->next_xid = cur_u32(&c);
    ret->oldest_running_xid = cur_u32(&c);
    ret->latest_completed_xid = cur_u32(&c);
    ret->xids = c.p;
    if (c.failed || c.left != 4 * ((uint64_t) ret->n_xids + ret->n_subxids))
        return ERR(e, DATA_CORRUPTED, "a RUNNING_XACTS record of %zu bytes lists %u + %u", n,
                   ret->n_xids, ret->n_subxids);
    return 0;
}
