/* Records of a commit: from the plan to bytes to the log. Runs in backends, inside the gate:
 * allocates nothing. Owns: struct store_encode. Source: engine-rules WAL-1, COMMIT-4, COMMIT-5. */
#include "store/store_encode.h"

#include <lz4.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/store_commit.h"
#include "store/store_file.h"
#include "wal/wal_file.h"
#include "wal/wal_record.h"
#include "wal/wal_xact.h"

#define PACKED_MAX (PAGE_BYTES - 1) /* an image that does not get shorter is stored raw */
#define LONG_DELTA 512u             /* bytes, from which on an image may be shorter (3 us to see) */
#define RECS_MAX   1024u
/* A group of records, or one Generic record of 32 raw images. */
#define RECORD_BYTES_MAX (WAL_RECORD_HEADER + PLAN_BLOCKS * (PAGE_BYTES + 32u) + 64u)
#define BUFFER_BYTES     MAX(WAL_GROUP_BYTES + 4096u, RECORD_BYTES_MAX)

struct store_encode {
    struct buf b;                    /* records of this call of wal_insert() */
    struct wal_bytes recs[RECS_MAX]; /* in b */
    uint32_t n_recs;
    bool is_group; /* all records in one call */
    struct wal_block blocks[PLAN_BLOCKS];
    uint8_t *lz4_state;
    uint8_t *packed; /* PLAN_BLOCKS × PAGE_BYTES */
    uint8_t *bytes;  /* BUFFER_BYTES */
};

void
store_encode_free(struct store_encode *enc)
{
    if (enc == NULL)
        return;
    free(enc->lz4_state);
    free(enc->packed);
    free(enc->bytes);
    free(enc);
}

int
store_encode_ready(struct store *st, struct err *e)
{
    struct store_encode *enc;

    if (st->enc != NULL)
        return 0;
    enc = calloc(1, sizeof *enc);
    if (enc != NULL) {
        enc->lz4_state = malloc((size_t) LZ4_sizeofState());
        enc->packed = malloc((size_t) PLAN_BLOCKS * PAGE_BYTES);
        enc->bytes = malloc(BUFFER_BYTES);
    }
    if (enc == NULL || enc->lz4_state == NULL || enc->packed == NULL || enc->bytes == NULL) {
        store_encode_free(enc);
        return ERR(e, OUT_OF_MEMORY, "could not allocate the buffers of a commit");
    }
    st->enc = enc;
    return 0;
}

/* ---- inserting ---- */

static struct wal_inserted
insert(struct store *st, unsigned flags)
{
    struct store_encode *enc = st->enc;
    struct wal_inserted at;

    wal_insert(st->wal, enc->recs, enc->n_recs, flags, &at);
    enc->n_recs = 0;
    enc->b.n = 0;
    return at;
}

/* Add one record; those that are not a group go to the log at once, but the last. */
static void
put(struct store *st, const struct wal_rec *rec, bool is_last)
{
    struct store_encode *enc = st->enc;
    size_t from = enc->b.n;
    struct err e;

    err_clear(&e); /* not all 1.5 kB: this runs in the gate */
    ASSERT(enc->n_recs < RECS_MAX);
    if (wal_record_put(&enc->b, rec, &e) < 0)
        log_panic(&e);
    enc->recs[enc->n_recs++] = (struct wal_bytes){ enc->b.p + from, (uint32_t) (enc->b.n - from) };
    if (!enc->is_group && !is_last)
        (void) insert(st, 0);
}

/* ---- Generic ---- */

/* The page packed into at most `max` bytes; .p = NULL: it does not get so short. */
static struct wal_image
pack(struct store_encode *enc, uint32_t i, const uint8_t *page, uint32_t max)
{
    uint8_t *to = enc->packed + (size_t) i * PAGE_BYTES;
    int n = LZ4_compress_fast_extState(enc->lz4_state, (const char *) page, (char *) to,
                                       (int) PAGE_BYTES, (int) max, 1);

    if (n <= 0)
        return (struct wal_image){ 0 };
    return (struct wal_image){ .p = to,
                               .bytes = (uint16_t) n,
                               .info = WAL_IMAGE_APPLY | WAL_IMAGE_LZ4 };
}

/* COMMIT-3: what must be an image is one; a long delta is one if that is shorter (then it fits into
 * what was reserved for the delta, too). */
static void
put_page(struct store_encode *enc, uint32_t i, const struct commit_plan *plan,
         const struct plan_page *page)
{
    struct wal_block *b = &enc->blocks[i];

    if (page->is_image) {
        b->image = pack(enc, i, page->p, PACKED_MAX);
        if (b->image.p == NULL)
            b->image =
                (struct wal_image){ .p = page->p, .bytes = PAGE_BYTES, .info = WAL_IMAGE_APPLY };
        return;
    }
    if (page->delta_bytes >= LONG_DELTA)
        b->image = pack(enc, i, page->p, page->delta_bytes - PLAN_IMAGE_HEADER - 1);
    if (b->image.p == NULL) {
        b->data = plan->deltas + page->delta_at;
        b->data_bytes = page->delta_bytes;
    }
}

static void
put_generic(struct store_txn *t, uint32_t from, uint32_t n)
{
    struct store_encode *enc = t->st->enc;
    const struct commit_plan *plan = &t->plan;
    struct wal_rec rec = { .rmid = RM_GENERIC,
                           .info = GENERIC_DELTA,
                           .xid = (uint32_t) t->xid,
                           .blocks = enc->blocks,
                           .n_blocks = n };

    for (uint32_t i = 0; i < n; i++) {
        const struct plan_page *page = &plan->pages[from + i];

        enc->blocks[i] = (struct wal_block){ .id = (uint8_t) i,
                                             .blk = page->block,
                                             .rel = { TABLESPACE_DEFAULT, page->oid, page->rel } };
        put_page(enc, i, plan, page);
        stat_add(t->st->self, STAT_WAL_FPI, enc->blocks[i].image.p != NULL);
    }
    put(t->st, &rec, false);
}

/* ---- the others ---- */

static void
put_main(struct store_txn *t, uint8_t rmid, uint8_t info, const struct buf *main, bool is_last)
{
    struct wal_rec rec = { .rmid = rmid,
                           .info = info,
                           .xid = (uint32_t) t->xid,
                           .main = main->p,
                           .main_bytes = (uint32_t) main->n };

    ASSERT(buf_ok(main));
    put(t->st, &rec, is_last);
}

static void
put_create(struct store_txn *t)
{
    const struct store_ride *ride = t->ride;
    struct wal_rel rel = { TABLESPACE_DEFAULT, ride->oid, ride->rel };
    uint8_t bytes[32];
    struct buf b = buf_init(bytes, sizeof bytes);

    wal_file_put_db_create(&b, ride->oid, TABLESPACE_DEFAULT);
    put_main(t, RM_DATABASE, WAL_FILE_DB_CREATE_INFO, &b, false);
    b = buf_init(bytes, sizeof bytes);
    wal_file_put_create(&b, &rel);
    put_main(t, RM_STORAGE, WAL_FILE_CREATE_INFO, &b, false);
}

/* For people: redo takes the size from page 1. */
static void
put_truncate(struct store_txn *t)
{
    struct wal_truncate truncate = { .n_blocks = t->plan.size,
                                     .rel = { TABLESPACE_DEFAULT, t->oid, t->rel },
                                     .flags = 1 };
    uint8_t bytes[32];
    struct buf b = buf_init(bytes, sizeof bytes);

    wal_file_put_truncate(&b, &truncate);
    put_main(t, RM_STORAGE, WAL_FILE_TRUNCATE_INFO, &b, false);
}

static void
put_drop(struct store_txn *t)
{
    uint8_t bytes[32];
    struct buf b = buf_init(bytes, sizeof bytes);

    wal_file_put_db_drop(&b, t->ride->oid, TABLESPACE_DEFAULT);
    put_main(t, RM_DATABASE, WAL_FILE_DB_DROP_INFO, &b, false);
}

static void
put_commit(struct store_txn *t)
{
    struct wal_rel gone;
    struct wal_xact_end end = { .time = clock_pg_time(clock_real_usec()),
                                .db = t->oid,
                                .spc = TABLESPACE_DEFAULT };
    uint8_t bytes[128];
    struct buf b = buf_init(bytes, sizeof bytes);

    if (t->ride != NULL && t->ride->kind == RIDE_DROP_DB) {
        gone = (struct wal_rel){ TABLESPACE_DEFAULT, t->ride->oid, t->ride->rel };
        end.rels = &gone;
        end.n_rels = 1;
    }
    wal_xact_put_end(&b, &end);
    put_main(t, RM_XACT, wal_xact_info(XACT_COMMIT, &end), &b, true);
}

lsn_t
store_encode_insert(struct store_txn *t)
{
    struct store *st = t->st;
    struct store_encode *enc = st->enc;
    const struct commit_plan *plan = &t->plan;
    uint32_t n_generic = (plan->n_pages + PLAN_BLOCKS - 1) / PLAN_BLOCKS;

    enc->b = buf_init(enc->bytes, BUFFER_BYTES);
    enc->n_recs = 0;
    enc->is_group = plan->log_bytes <= WAL_GROUP_BYTES && n_generic + 6 <= RECS_MAX;
    if (t->ride != NULL && t->ride->kind == RIDE_CREATE_DB)
        put_create(t);
    for (uint32_t i = 0; i < plan->n_pages; i += PLAN_BLOCKS)
        put_generic(t, i, MIN(PLAN_BLOCKS, plan->n_pages - i));
    if (plan->size < t->base_size)
        put_truncate(t);
    if (t->ride != NULL && t->ride->kind == RIDE_DROP_DB)
        put_drop(t);
    put_commit(t);
    return insert(st, WAL_KEEP_SLOT).end;
}
