/* Records as pg_waldump prints them. */
#include "support/wal_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "wal/wal_file.h"
#include "wal/wal_xact.h"
#include "wal/wal_xlog.h"

struct text {
    char *p;
    size_t n;
    size_t cap;
};

static void PRINTF(2, 3) add(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (t->n < t->cap) {
        int n = vsnprintf(t->p + t->n, t->cap - t->n, fmt, ap);

        t->n = n < 0 ? t->cap : MIN(t->n + (size_t) n, t->cap);
    }
    va_end(ap);
}

static void
add_time(struct text *t, int64_t wal_usec)
{
    int64_t usec = wal_time_to_unix(wal_usec);
    time_t sec = (time_t) (usec / 1000000);
    char date[32];
    struct tm tm;

    (void) gmtime_r(&sec, &tm);
    (void) strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
    add(t, "%s.%06d UTC", date, (int) (usec % 1000000));
}

static void
add_path(struct text *t, const struct wal_rel *rel)
{
    if (rel->spc == 1664)
        add(t, "global/%u", rel->rel);
    else if (rel->spc == TABLESPACE_DEFAULT)
        add(t, "base/%u/%u", rel->db, rel->rel);
    else
        add(t, "pg_tblspc/%u/PG_15_202209061/%u/%u", rel->spc, rel->db, rel->rel);
}

static void
add_rels(struct text *t, const char *title, const void *rels, uint32_t n)
{
    if (n > 0)
        add(t, "; %s:", title);
    for (uint32_t i = 0; i < n; i++) {
        struct wal_rel rel = wal_xact_rel(rels, i);

        add(t, " ");
        add_path(t, &rel);
    }
}

static void
add_xids(struct text *t, const char *title, const void *xids, uint32_t n)
{
    if (n > 0)
        add(t, "; %s:", title);
    for (uint32_t i = 0; i < n; i++)
        add(t, " %u", wal_xact_subxid(xids, i));
}

static void
add_stats(struct text *t, const char *title, const void *stats, uint32_t n)
{
    if (n > 0)
        add(t, "; %s:", title);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *p = (const uint8_t *) stats + 12 * (size_t) i;

        add(t, " %u/%u/%u", get_u32(p), get_u32(p + 4), get_u32(p + 8));
    }
}

static void
add_messages(struct text *t, const void *messages, uint32_t n)
{
    if (n > 0)
        add(t, "; inval msgs:");
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *p = (const uint8_t *) messages + 16 * (size_t) i;
        int id = (int8_t) p[0];

        if (id >= 0)
            add(t, " catcache %d", id);
        else if (id == -1)
            add(t, " catalog %u", get_u32(p + 8));
        else if (id == -2)
            add(t, " relcache %u", get_u32(p + 8));
        else if (id == -3)
            add(t, " smgr");
        else if (id == -4)
            add(t, " relmap db %u", get_u32(p + 4));
        else if (id == -5)
            add(t, " snapshot %u", get_u32(p + 8));
        else
            add(t, " unrecognized id %d", id);
    }
}

static void
add_origin(struct text *t, const struct wal_decoded *d, lsn_t lsn, int64_t time)
{
    add(t, "; origin: node %u, lsn " LSN_FMT ", at ", d->origin, LSN_ARGS(lsn));
    add_time(t, time);
}

static bool
add_checkpoint(struct text *t, const struct wal_decoded *d)
{
    struct wal_checkpoint c;

    if (wal_xlog_get_checkpoint(d->main, d->main_bytes, &c, NULL) < 0)
        return false;
    add(t,
        "redo " LSN_FMT "; tli %u; prev tli %u; fpw %s; xid %u:%u; oid %u; multi %u; offset %u; ",
        LSN_ARGS(c.redo), c.tli, c.prev_tli, c.full_page_writes ? "true" : "false",
        (unsigned) (c.next_xid >> 32), (unsigned) c.next_xid, c.next_oid, c.next_multi,
        c.next_multi_offset);
    add(t, "oldest xid %u in DB %u; oldest multi %u in DB %u; ", c.oldest_xid, c.oldest_xid_db,
        c.oldest_multi, c.oldest_multi_db);
    add(t, "oldest/newest commit timestamp xid: %u/%u; oldest running xid %u; %s",
        c.oldest_commit_ts_xid, c.newest_commit_ts_xid, c.oldest_active_xid,
        (d->info & 0xF0) == XLOG_CHECKPOINT_SHUTDOWN ? "shutdown" : "online");
    return true;
}

static bool
add_params(struct text *t, const struct wal_decoded *d)
{
    static const char *const levels[] = { "minimal", "replica", "logical" };
    struct wal_params p;

    if (wal_xlog_get_params(d->main, d->main_bytes, &p, NULL) < 0)
        return false;
    add(t, "max_connections=%d max_worker_processes=%d max_wal_senders=%d ", p.max_connections,
        p.max_worker_processes, p.max_wal_senders);
    add(t, "max_prepared_xacts=%d max_locks_per_xact=%d wal_level=%s wal_log_hints=%s ",
        p.max_prepared_xacts, p.max_locks_per_xact, levels[p.wal_level % 3],
        p.wal_log_hints ? "on" : "off");
    add(t, "track_commit_timestamp=%s", p.track_commit_timestamp ? "on" : "off");
    return true;
}

static bool
add_xlog(struct text *t, const struct wal_decoded *d)
{
    struct wal_end_of_recovery eor;
    struct wal_overwrite overwrite;
    oid_t oid;
    lsn_t lsn;
    bool on;

    switch (d->info & 0xF0) {
    case XLOG_CHECKPOINT_SHUTDOWN:
    case XLOG_CHECKPOINT_ONLINE:
        return add_checkpoint(t, d);
    case XLOG_PARAMETER_CHANGE:
        return add_params(t, d);
    case XLOG_NEXTOID:
        if (wal_xlog_get_nextoid(d->main, d->main_bytes, &oid, NULL) < 0)
            return false;
        add(t, "%u", oid);
        return true;
    case XLOG_BACKUP_END:
        if (wal_xlog_get_backup_end(d->main, d->main_bytes, &lsn, NULL) < 0)
            return false;
        add(t, LSN_FMT, LSN_ARGS(lsn));
        return true;
    case XLOG_RESTORE_POINT:
        add(t, "%.64s", (const char *) d->main + 8);
        return d->main_bytes == 72;
    case XLOG_FPW_CHANGE:
        if (wal_xlog_get_fpw(d->main, d->main_bytes, &on, NULL) < 0)
            return false;
        add(t, "%s", on ? "true" : "false");
        return true;
    case XLOG_END_OF_RECOVERY:
        if (wal_xlog_get_end_of_recovery(d->main, d->main_bytes, &eor, NULL) < 0)
            return false;
        add(t, "tli %u; prev tli %u; time ", eor.tli, eor.prev_tli);
        add_time(t, eor.time);
        return true;
    case XLOG_OVERWRITE_CONTRECORD:
        if (wal_xlog_get_overwrite(d->main, d->main_bytes, &overwrite, NULL) < 0)
            return false;
        add(t, "lsn " LSN_FMT "; time ", LSN_ARGS(overwrite.lsn));
        add_time(t, overwrite.time);
        return true;
    default:
        return d->main_bytes == 0;
    }
}

static bool
add_xact_end(struct text *t, const struct wal_decoded *d)
{
    uint8_t kind = d->info & XACT_INFO_MASK;
    bool is_abort = kind == XACT_ABORT || kind == XACT_ABORT_PREPARED;
    struct wal_xact_end x;

    if (wal_xact_get_end(d->main, d->main_bytes, d->info, &x, NULL) < 0)
        return false;
    if (kind == XACT_COMMIT_PREPARED || kind == XACT_ABORT_PREPARED)
        add(t, "%u: ", x.prepared_xid);
    add_time(t, x.time);
    add_rels(t, "rels", x.rels, x.n_rels);
    add_xids(t, "subxacts", x.subxids, x.n_subxids);
    if (is_abort && x.has_origin)
        add_origin(t, d, x.origin_lsn, x.origin_time);
    add_stats(t, "dropped stats", x.stats, x.n_stats);
    if (x.n_messages > 0 && (x.xinfo & WAL_XINFO_RELCACHE) != 0)
        add(t, "; relcache init file inval dbid %u tsid %u", x.db, x.spc);
    add_messages(t, x.messages, x.n_messages);
    if ((x.xinfo & WAL_XINFO_APPLY_FEEDBACK) != 0)
        add(t, "; apply_feedback");
    if ((x.xinfo & WAL_XINFO_FORCE_SYNC) != 0)
        add(t, "; sync");
    if (!is_abort && x.has_origin)
        add_origin(t, d, x.origin_lsn, x.origin_time);
    return true;
}

static bool
add_prepare(struct text *t, const struct wal_decoded *d)
{
    struct wal_prepare x;

    if (wal_xact_get_prepare(d->main, d->main_bytes, &x, NULL) < 0)
        return false;
    add(t, "gid %s: ", x.gid);
    add_time(t, x.time);
    add_rels(t, "rels(commit)", x.commit_rels, x.n_commit_rels);
    add_rels(t, "rels(abort)", x.abort_rels, x.n_abort_rels);
    add_stats(t, "commit dropped stats", x.commit_stats, x.n_commit_stats);
    add_stats(t, "abort dropped stats", x.abort_stats, x.n_abort_stats);
    add_xids(t, "subxacts", x.subxids, x.n_subxids);
    if (x.n_messages > 0 && x.remove_init_file)
        add(t, "; relcache init file inval dbid %u tsid %u", x.db, TABLESPACE_DEFAULT);
    add_messages(t, x.messages, x.n_messages);
    if (d->has_origin && d->origin != 0)
        add_origin(t, d, x.origin_lsn, x.origin_time);
    return true;
}

static bool
add_xact(struct text *t, const struct wal_decoded *d)
{
    switch (d->info & XACT_INFO_MASK) {
    case XACT_PREPARE:
        return add_prepare(t, d);
    case XACT_ASSIGNMENT:
        add(t, "xtop %u: subxacts:", get_u32(d->main));
        for (uint32_t i = 0; i < get_u32(d->main + 4); i++)
            add(t, " %u", get_u32(d->main + 8 + 4 * (size_t) i));
        return true;
    case XACT_INVALIDATION:
        add_messages(t, d->main + 4, get_u32(d->main));
        return true;
    default:
        return add_xact_end(t, d);
    }
}

static bool
add_standby(struct text *t, const struct wal_decoded *d)
{
    struct wal_running r;

    switch (d->info & 0xF0) {
    case STANDBY_LOCK:
        for (uint32_t i = 0; i < get_u32(d->main); i++) {
            const uint8_t *p = d->main + 4 + 12 * (size_t) i;

            add(t, "xid %u db %u rel %u ", get_u32(p), get_u32(p + 4), get_u32(p + 8));
        }
        return true;
    case STANDBY_INVALIDATIONS:
        if (d->main[8] != 0)
            add(t, "; relcache init file inval dbid %u tsid %u", get_u32(d->main),
                get_u32(d->main + 4));
        add_messages(t, d->main + 16, get_u32(d->main + 12));
        return true;
    default:
        break;
    }
    if (wal_xlog_get_running(d->main, d->main_bytes, &r, NULL) < 0)
        return false;
    add(t, "nextXid %u latestCompletedXid %u oldestRunningXid %u", r.next_xid,
        r.latest_completed_xid, r.oldest_running_xid);
    if (r.n_xids > 0)
        add(t, "; %u xacts:", r.n_xids);
    for (uint32_t i = 0; i < r.n_xids; i++)
        add(t, " %u", wal_running_xid(&r, i));
    if (r.overflowed)
        add(t, "; subxid ovf");
    return true;
}

static bool
add_storage(struct text *t, const struct wal_decoded *d)
{
    struct wal_truncate truncate;
    struct wal_rel rel;
    uint32_t fork;

    if ((d->info & 0xF0) == STORAGE_CREATE) {
        if (wal_file_get_create(d->main, d->main_bytes, &rel, &fork, NULL) < 0)
            return false;
        add_path(t, &rel);
        return true;
    }
    if (wal_file_get_truncate(d->main, d->main_bytes, &truncate, NULL) < 0)
        return false;
    add_path(t, &truncate.rel);
    add(t, " to %u blocks flags %u", truncate.n_blocks, truncate.flags);
    return true;
}

static bool
add_database(struct text *t, const struct wal_decoded *d)
{
    struct wal_db_drop drop;
    oid_t db;
    oid_t spc;

    if ((d->info & 0xF0) == DATABASE_CREATE_FILE_COPY) {
        add(t, "copy dir %u/%u to %u/%u", get_u32(d->main + 12), get_u32(d->main + 8),
            get_u32(d->main + 4), get_u32(d->main));
        return d->main_bytes == 16;
    }
    if ((d->info & 0xF0) == DATABASE_CREATE_WAL_LOG) {
        if (wal_file_get_db_create(d->main, d->main_bytes, &db, &spc, NULL) < 0)
            return false;
        add(t, "create dir %u/%u", spc, db);
        return true;
    }
    if (wal_file_get_db_drop(d->main, d->main_bytes, &drop, NULL) < 0)
        return false;
    add(t, "dir");
    for (uint32_t i = 0; i < drop.n_spcs; i++)
        add(t, " %u/%u", wal_xact_subxid(drop.spcs, i), drop.db);
    return true;
}

static bool
add_message(struct text *t, const struct wal_decoded *d)
{
    uint64_t prefix = get_u64(d->main + 8);
    uint64_t bytes = get_u64(d->main + 16);
    const uint8_t *p = d->main + 24 + prefix;

    add(t, "%s, prefix \"%s\"; payload (%" PRIu64 " bytes): ",
        d->main[4] != 0 ? "transactional" : "non-transactional", (const char *) d->main + 24,
        bytes);
    for (uint64_t i = 0; i < bytes; i++)
        add(t, "%s%02X", i > 0 ? " " : "", p[i]);
    return true;
}

/* The detail, or false (and an unspecified part of it) if there is no rule for it. */
static bool
add_detail(struct text *t, const struct wal_decoded *d)
{
    switch (d->rmid) {
    case RM_XLOG:
        return add_xlog(t, d);
    case RM_XACT:
        return add_xact(t, d);
    case RM_STORAGE:
        return add_storage(t, d);
    case RM_CLOG:
        add(t, (d->info & 0xF0) == CLOG_ZEROPAGE ? "page %u" : "page %u; oldestXact %u",
            get_u32(d->main), (d->info & 0xF0) == CLOG_ZEROPAGE ? 0 : get_u32(d->main + 4));
        return true;
    case RM_DATABASE:
        return add_database(t, d);
    case RM_STANDBY:
        return add_standby(t, d);
    case RM_GENERIC:
        return d->main_bytes == 0;
    case RM_MESSAGE:
        return add_message(t, d);
    default:
        return false;
    }
}

static void
add_image(struct text *t, const struct wal_image *image)
{
    const char *method = (image->info & WAL_IMAGE_PGLZ) != 0  ? "pglz"
                         : (image->info & WAL_IMAGE_LZ4) != 0 ? "lz4"
                                                              : "zstd";

    add(t, " (FPW%s); hole: offset: %u, length: %u",
        (image->info & WAL_IMAGE_APPLY) != 0 ? "" : " for WAL verification", image->hole_at,
        image->hole_bytes);
    if ((image->info & WAL_IMAGE_PACKED) != 0)
        add(t, ", compression saved: %u, method: %s",
            WAL_PAGE_BYTES - image->hole_bytes - image->bytes, method);
}

static void
add_block(struct text *t, const struct wal_block *b, bool is_long)
{
    static const char *const forks[] = { "main", "fsm", "vm", "init" };
    uint32_t fork = b->flags & WAL_FORK_MASK;

    add(t, "%sblkref #%u: rel %u/%u/%u", is_long ? "\n\t" : ", ", b->id, b->rel.spc, b->rel.db,
        b->rel.rel);
    if (is_long || fork != WAL_FORK_MAIN)
        add(t, " fork %s", forks[fork]);
    add(t, " blk %u", b->blk);
    if (b->image.p == NULL)
        return;
    if (is_long)
        add_image(t, &b->image);
    else
        add(t, " FPW%s", (b->image.info & WAL_IMAGE_APPLY) != 0 ? "" : " for WAL verification");
}

void
wal_text(const struct wal_decoded *d, bool is_long, char *ret, size_t cap, size_t *ret_detail_at)
{
    struct text t = { .p = ret, .cap = cap };
    const char *type = wal_info_name(d->rmid, d->info);
    uint32_t rec_bytes = d->bytes;
    size_t detail_at;
    char name[16];
    bool is_known;

    for (uint32_t i = 0; i < d->n_blocks; i++)
        rec_bytes -= d->blocks[i].image.p != NULL ? d->blocks[i].image.bytes : 0;
    wal_rmgr_name(d->rmid, name);
    add(&t,
        "rmgr: %-11s len (rec/tot): %6u/%6u, tx: %10u, lsn: %X/%08X, prev %X/%08X, desc: ", name,
        rec_bytes, d->bytes, d->xid, LSN_ARGS(d->lsn), LSN_ARGS(d->prev));
    detail_at = t.n;
    if (type != NULL)
        add(&t, "%s ", type);
    is_known = type != NULL && add_detail(&t, d);
    if (!is_known)
        t.n = detail_at;
    if (ret_detail_at != NULL)
        *ret_detail_at = is_known ? 0 : detail_at;
    for (uint32_t i = 0; i < d->n_blocks; i++)
        add_block(&t, &d->blocks[i], is_long);
    if (t.n < t.cap)
        t.p[t.n] = '\0';
}
