/* Redo of one record after the other. Runs in: startup. Owns: struct redo. Source: engine-rules
 * REDO-3, REDO-5, XID-3; the idea of redoing by transaction at its COMMIT is Pinion's. */
#include "store/store_redo.h"

#include <lz4.h>
#include <string.h>

#include "base/fault.h"
#include "store/store_page.h"
#include "store/store_shared.h"
#include "wal/wal_delta.h"
#include "wal/wal_file.h"
#include "wal/wal_xact.h"
#include "wal/wal_xlog.h"

int
redo_init(struct redo *r, struct store *st, const struct wal_history *history, xid_t next_xid,
          oid_t next_oid, struct err *e)
{
    *r = (struct redo){ .st = st,
                        .history = history,
                        .source = { .fd = -1 },
                        .near_xid = next_xid,
                        .next_xid = next_xid,
                        .limit_of = next_xid,
                        .next_oid = next_oid };
    r->page = malloc(PAGE_BYTES);
    r->batch = redo_batch_new(st->cache->cfg.n_frames);
    return r->page == NULL || r->batch == NULL ? ERR(e, OUT_OF_MEMORY, "out of memory for redo")
                                               : 0;
}

void
redo_done(struct redo *r)
{
    redo_batch_drop(r);
    redo_queue_done(r);
    redo_open_clear(r);
    for (uint32_t i = 0; i < r->open_cap; i++)
        free(r->open[i].items);
    free(r->open);
    free(r->ghosts);
    free(r->page);
    store_touched_done(&r->touched);
    redo_batch_free(r->batch);
    if (r->reader != NULL) {
        wal_reader_free(r->reader);
        wal_source_io_done(&r->source);
    }
    *r = (struct redo){ .source = { .fd = -1 } };
}

/* ---- pages ---- */

static int
unpack_lz4(const struct wal_image *image, uint8_t *ret, struct err *e)
{
    int raw = PAGE_BYTES - image->hole_bytes;

    if (LZ4_decompress_safe((const char *) image->p, (char *) ret, image->bytes, raw) != raw)
        return ERR(e, DATA_CORRUPTED, "page image cannot be unpacked");
    return 0;
}

static int
unpack_image(const struct wal_image *image, uint8_t *frame, struct err *e)
{
    uint8_t raw[PAGE_BYTES];
    int rc;

    switch (image->info & WAL_IMAGE_PACKED) {
    case 0:
        if (image->bytes != PAGE_BYTES - image->hole_bytes)
            return ERR(e, DATA_CORRUPTED, "page image has %u bytes", image->bytes);
        wal_image_spread(image, image->p, frame);
        return 0;
    case WAL_IMAGE_LZ4:
        if (image->hole_bytes == 0) /* all of ours (WAL-1) */
            return unpack_lz4(image, frame, e);
        rc = unpack_lz4(image, raw, e);
        if (rc == 0)
            wal_image_spread(image, raw, frame);
        return rc;
    default:
        return ERR(e, FEATURE_NOT_SUPPORTED, "page image is packed in an unknown way (%02X)",
                   image->info);
    }
}

/* REDO-3: an image replaces, reading nothing; a delta overwrites. */
static int
apply_block(struct redo *r, const struct wal_block *b, lsn_t lsn, struct err *e)
{
    bool is_image = (b->flags & WAL_BLOCK_HAS_IMAGE) != 0 && (b->image.info & WAL_IMAGE_APPLY) != 0;
    uint8_t *frame = redo_batch_find(r, b->blk, lsn);
    int rc = 0;

    if (frame == NULL)
        rc = redo_batch_add(r, b->blk, lsn, is_image, &frame, e);
    if (rc < 0)
        return rc;
    rc = is_image ? unpack_image(&b->image, frame, e)
                  : wal_delta_apply(frame, b->data, b->data_bytes, e);
    if (is_image)
        memset(frame + PAGE_TAIL_AT, 0, PAGE_TAIL_BYTES);
    if (rc == 0 && b->blk == 0)
        redo_batch_resized(r, page1_size(frame));
    return rc;
}

static int
check_block(const struct wal_block *b, struct err *e)
{
    if (b->rel.spc == TABLESPACE_DEFAULT && b->rel.db != 0 && b->rel.rel != 0 &&
        (b->flags & WAL_FORK_MASK) == WAL_FORK_MAIN)
        return 0;
    return ERR(e, DATA_CORRUPTED, "record changes %u/%u/%u, which is no database file", b->rel.spc,
               b->rel.db, b->rel.rel);
}

/* Blocks of one record that are of one file. */
static int
apply_run(struct redo *r, const struct wal_block *blocks, uint32_t n, lsn_t lsn, struct err *e)
{
    int rc = redo_batch_open(r, &blocks[0].rel, lsn, e);

    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = apply_block(r, &blocks[i], lsn, e);
    if (rc == 0 && redo_batch_is_full(r))
        rc = redo_batch_publish(r, e);
    return rc;
}

int
redo_apply_pages(struct redo *r, const struct wal_block *blocks, uint32_t n, lsn_t lsn,
                 struct err *e)
{
    uint32_t from = 0;
    int rc = 0;

    while (from < n && rc == 0) {
        uint32_t to = from;

        rc = check_block(&blocks[from], e);
        while (to < n && wal_rel_equal(&blocks[to].rel, &blocks[from].rel))
            to++;
        if (rc == 0)
            rc = apply_run(r, blocks + from, to - from, lsn, e);
        from = to;
    }
    return rc;
}

/* ---- a transaction's records, at its COMMIT ---- */

static int
apply_storage(struct redo *r, const struct wal_decoded *d, lsn_t lsn, struct err *e)
{
    struct wal_rel rel;
    uint32_t fork;
    int rc;

    if (!wal_decoded_is(d, RM_STORAGE, STORAGE_CREATE))
        return 0; /* TRUNCATE is for people (WAL-1) */
    rc = wal_file_get_create(d->main, d->main_bytes, &rel, &fork, e);
    if (rc == 0)
        rc = redo_file_want(r, rel.db, rel.rel, lsn, false, e);
    return rc;
}

static int
apply_database(struct redo *r, const struct wal_decoded *d, struct err *e)
{
    struct wal_db_drop drop;
    oid_t db;
    oid_t spc;
    int rc;

    if (wal_decoded_is(d, RM_DATABASE, DATABASE_CREATE_WAL_LOG)) {
        rc = wal_file_get_db_create(d->main, d->main_bytes, &db, &spc, e);
        return rc < 0 ? rc : redo_dir_want(r, db, e);
    }
    rc = wal_file_get_db_drop(d->main, d->main_bytes, &drop, e);
    return rc < 0 ? rc : redo_file_gone(r, drop.db, 0, e);
}

static int
apply_record(struct redo *r, const struct wal_decoded *d, lsn_t lsn, struct err *e)
{
    int rc = d->rmid == RM_GENERIC ? 0 : redo_batch_publish(r, e); /* files come and go */

    if (rc < 0)
        return rc;
    switch (d->rmid) {
    case RM_GENERIC:
        return redo_apply_pages(r, d->blocks, d->n_blocks, lsn, e);
    case RM_STORAGE:
        return apply_storage(r, d, lsn, e);
    case RM_DATABASE:
        return apply_database(r, d, e);
    default:
        return ERR(e, INTERNAL_ERROR, "record of rmgr %u in the open set", d->rmid);
    }
}

static int
apply_item(struct redo *r, const struct redo_open *o, uint32_t i, lsn_t lsn, struct err *e)
{
    const struct redo_item *item = &o->items[i];
    struct wal_decoded d;
    int rc;

    if (item->n_blocks > 0)
        return redo_apply_pages(r, item->blocks, item->n_blocks, lsn, e);
    rc = redo_open_bytes(r, o, i, &d, e);
    return rc < 0 ? rc : apply_record(r, &d, lsn, e);
}

static int
apply_items(struct redo *r, const struct redo_open *o, lsn_t lsn, struct err *e)
{
    int rc = redo_queue_apply(r, 0, e);

    for (uint32_t i = 0; rc == 0 && i < o->n; i++)
        rc = apply_item(r, o, i, lsn, e);
    return rc;
}

static int
remove_files(struct redo *r, const struct wal_xact_end *end, struct err *e)
{
    int rc = redo_queue_apply(r, 0, e);

    if (rc == 0)
        rc = redo_batch_publish(r, e);
    for (uint32_t i = 0; rc == 0 && i < end->n_rels; i++) {
        struct wal_rel rel = wal_xact_rel(end->rels, i);

        rc = redo_file_gone(r, rel.db, rel.rel, e);
    }
    return rc;
}

/* REDO-3: the records in order, then what the COMMIT itself says. */
static int
apply_commit(struct redo *r, xid_t xid, const struct wal_decoded *commit, struct err *e)
{
    struct redo_open *o = redo_open_find(r, xid);
    struct wal_xact_end end;
    int rc = FAULT(REDO_COMMIT);

    if (rc == 0)
        rc = wal_xact_get_end(commit->main, commit->main_bytes, commit->info, &end, e);
    if (rc == 0 && o != NULL && redo_queue_may_wait(o)) {
        rc = redo_queue_apply(r, REDO_QUEUE_COMMITS - 1, e);
        if (rc == 0)
            redo_queue_add(r, o, commit->end);
    } else if (rc == 0 && o != NULL) {
        rc = apply_items(r, o, commit->end, e);
        redo_open_drop(r, xid); /* REDO-5: what follows starts a new list */
    }
    if (rc == 0 && end.n_rels > 0)
        rc = remove_files(r, &end, e);
    if (rc == 0)
        rc = store_xact_redo(r->st, xid, XACT_BIT_COMMITTED, e);
    r->n_commits++;
    return rc;
}

int
redo_finish(struct redo *r, struct err *e)
{
    int rc = redo_queue_apply(r, 0, e);

    return rc < 0 ? rc : redo_batch_publish(r, e);
}

/* ---- records by resource manager ---- */

static void
see_next_xid(struct redo *r, xid_t next)
{
    r->next_xid = MAX(r->next_xid, next);
    r->limit_of = MAX(r->limit_of, next);
}

static int
redo_checkpoint(struct redo *r, const struct wal_decoded *d, struct err *e)
{
    struct wal_checkpoint c;
    int rc = wal_xlog_get_checkpoint(d->main, d->main_bytes, &c, e);

    if (rc < 0)
        return rc;
    if (wal_decoded_is(d, RM_XLOG, XLOG_CHECKPOINT_SHUTDOWN))
        redo_open_clear(r); /* REDO-5: what is open was cut off by a crash */
    else if (r->n_open > 0) {
        (void) ERR(e, DATA_CORRUPTED,
                   "transaction %" PRIu64 " straddles the checkpoint at " LSN_FMT, r->open[0].xid,
                   LSN_ARGS(d->lsn));
        err_hint(e, "The log is damaged. Restore the cluster from a base backup.");
        return -ERR_DATA_CORRUPTED; /* CKPT-4, REDO-5 */
    }
    see_next_xid(r, c.next_xid); /* XID-3 */
    r->next_oid = MAX(r->next_oid, c.next_oid);
    return 0;
}

static int
unexpected(const struct wal_decoded *d, struct err *e)
{
    char name[16];

    wal_rmgr_name(d->rmid, name);
    return ERR(e, FEATURE_NOT_SUPPORTED, "record at " LSN_FMT " (%s, info %02X) cannot be redone",
               LSN_ARGS(d->lsn), name, d->info);
}

static int
redo_xlog(struct redo *r, const struct wal_decoded *d, struct err *e)
{
    oid_t limit;
    int rc;

    switch (d->info & 0xF0) {
    case XLOG_CHECKPOINT_SHUTDOWN:
    case XLOG_CHECKPOINT_ONLINE:
        return redo_checkpoint(r, d, e);
    case XLOG_END_OF_RECOVERY:
        redo_open_clear(r);
        return 0;
    case XLOG_NEXTOID:
        rc = wal_xlog_get_nextoid(d->main, d->main_bytes, &limit, e);
        if (rc == 0)
            r->next_oid = MAX(r->next_oid, limit);
        return rc;
    case XLOG_NOOP:
    case XLOG_SWITCH:
    case XLOG_BACKUP_END:
    case XLOG_PARAMETER_CHANGE:
    case XLOG_RESTORE_POINT:
    case XLOG_FPW_CHANGE:
    case XLOG_OVERWRITE_CONTRECORD:
        return 0;
    default:
        return unexpected(d, e);
    }
}

static int
redo_xact(struct redo *r, const struct wal_decoded *d, xid_t xid, struct err *e)
{
    switch (d->info & XACT_INFO_MASK) {
    case XACT_COMMIT:
        if (xid == 0)
            return unexpected(d, e);
        return apply_commit(r, xid, d, e);
    case XACT_ABORT:
        redo_open_drop(r, xid);
        return 0;
    case XACT_ASSIGNMENT:
    case XACT_INVALIDATION:
        return 0;
    default: /* prepared transactions: not in this release */
        return unexpected(d, e);
    }
}

static int
redo_standby(struct redo *r, const struct wal_decoded *d, struct err *e)
{
    struct wal_running run;
    int rc;

    if (!wal_decoded_is(d, RM_STANDBY, STANDBY_RUNNING_XACTS))
        return 0;
    rc = wal_xlog_get_running(d->main, d->main_bytes, &run, e);
    if (rc == 0)
        see_next_xid(r, store_xid_widen(r->near_xid, run.next_xid)); /* XID-2 */
    return rc;
}

static int
redo_pending(struct redo *r, const struct wal_decoded *d, xid_t xid, struct err *e)
{
    if (xid == 0 || wal_decoded_is(d, RM_DATABASE, DATABASE_CREATE_FILE_COPY))
        return unexpected(d, e);
    return redo_open_add(r, xid, d, e);
}

int
redo_record(struct redo *r, const struct wal_decoded *d, struct err *e)
{
    xid_t xid = d->xid == 0 ? 0 : store_xid_widen(r->near_xid, d->xid);
    int rc;

    r->n_records++;
    if (xid != 0)
        r->next_xid = MAX(r->next_xid, store_xid_after(xid)); /* XID-3 */
    switch (d->rmid) {
    case RM_XLOG:
        rc = redo_xlog(r, d, e);
        break;
    case RM_XACT:
        rc = redo_xact(r, d, xid, e);
        break;
    case RM_STANDBY:
        rc = redo_standby(r, d, e);
        break;
    case RM_STORAGE:
    case RM_DATABASE:
    case RM_GENERIC:
        rc = redo_pending(r, d, xid, e);
        break;
    case RM_CLOG:
    case RM_MESSAGE:
        return 0;
    default:
        rc = unexpected(d, e);
        break;
    }
    if (rc < 0)
        err_detail(e, "Redo of the record at " LSN_FMT " failed.", LSN_ARGS(d->lsn));
    return rc;
}
