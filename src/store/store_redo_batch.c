/* Pages that redo has in its hands: changed by commit after commit in frames of its own, published
 * when somebody could miss them. Runs in: startup. Owns: struct redo_batch. Source: engine-rules
 * REDO-3. */
#include "store/store_redo_batch.h"

#include <string.h>

#include "base/fault.h"
#include "shm/shm.h"
#include "store/store_db.h"
#include "store/store_page.h"
#include "store/store_redo.h"
#include "store/store_shared.h"
#include "store/store_writeback.h"
#include "wal/wal_record.h"

#define WRITE_IDS  64u
#define ASK_FRAMES 128u
#define WARM_BYTES 16384u /* of log: what it changes is still in the processor's cache */
#define PAGES_MOST 65536u /* 2 MB of notes for 512 MB of pages */

/* ---- the table ---- */

/* Let go so many at once that publishing is rare, and leave enough frames for what is read and
 * written meanwhile: what we hold can be neither evicted nor written back. */
static uint32_t
pages_held(uint32_t n_frames)
{
    uint32_t most = n_frames - n_frames / 4;

    most = most > WAL_BLOCKS ? most - WAL_BLOCKS : 0;
    return MIN(PAGES_MOST, MAX(n_frames / 8, most));
}

struct redo_batch *
redo_batch_new(uint32_t n_frames)
{
    struct redo_batch *b = calloc(1, sizeof *b);

    if (b == NULL)
        return NULL;
    b->full_at = pages_held(n_frames);
    b->bits = 6;
    /* A quarter stays free, and one record more must fit. */
    while ((UINT32_C(3) << b->bits) / 4 < b->full_at + 1 + WAL_BLOCKS)
        b->bits++;
    b->pages = calloc(UINT32_C(1) << b->bits, sizeof *b->pages);
    if (b->pages != NULL)
        return b;
    redo_batch_free(b);
    return NULL;
}

void
redo_batch_free(struct redo_batch *b)
{
    if (b == NULL)
        return;
    free(b->pages);
    free(b);
}

/* Where a page is looked for first. */
static uint32_t
place_of(const struct redo_batch *b, uint32_t file, blk_t block)
{
    uint64_t key = (uint64_t) file << 32 | block;

    return (uint32_t) (key * UINT64_C(0x9E3779B97F4A7C15) >> (64 - b->bits));
}

/* The slot of a page, or the free one where it belongs. */
static struct redo_page *
slot_of(struct redo_batch *b, uint32_t file, blk_t block)
{
    uint32_t mask = (UINT32_C(1) << b->bits) - 1;
    uint32_t i = place_of(b, file, block);

    while (b->pages[i].lsn != 0 && (b->pages[i].block != block || b->pages[i].file != file))
        i = (i + 1) & mask;
    return &b->pages[i];
}

/* ---- files ---- */

/* A rewrite gave the database another file (FILE-5). */
static void
follow_file(struct store_db *d, oid_t rel)
{
    uint32_t cur = atomic_load_explicit(&d->cur, memory_order_acquire);

    if (store_db_rel(d) != rel)
        atomic_store_explicit(&d->file[cur].rel, rel, memory_order_release);
}

static bool
is_file(const struct redo_batch *b, uint32_t i, const struct wal_rel *rel)
{
    return i < b->n_files && b->files[i].oid == rel->db && b->files[i].rel == rel->rel;
}

/* Its number; n_files: it is not here. */
static uint32_t
find_file(const struct redo_batch *b, const struct wal_rel *rel)
{
    uint32_t i = 0;

    if (is_file(b, b->file, rel))
        return b->file;
    while (i < b->n_files && !is_file(b, i, rel))
        i++;
    return i;
}

/* A database has one file here at a time. */
static bool
has_other_of(const struct redo_batch *b, oid_t oid)
{
    for (uint32_t i = 0; i < b->n_files; i++)
        if (b->files[i].oid == oid)
            return true;
    return false;
}

int
redo_batch_open(struct redo *r, const struct wal_rel *rel, lsn_t lsn, struct err *e)
{
    struct redo_batch *b = r->batch;
    struct redo_file file = { .oid = rel->db, .rel = rel->rel };
    int rc = 0;

    b->file = find_file(b, rel);
    if (b->file < b->n_files)
        return 0;
    if (b->n_files == ELEMENTSOF(b->files) || has_other_of(b, rel->db))
        rc = redo_batch_publish(r, e);
    if (rc == 0)
        rc = redo_file_want(r, rel->db, rel->rel, lsn, true, e);
    if (rc == 0 && r->keeps_touched)
        rc = store_touched_add(&r->touched, rel->db, rel->rel, e);
    if (rc == 0)
        rc = store_db_attach_redo(r->st, rel->db, rel->rel, &file.db, e);
    if (rc < 0)
        return rc;
    follow_file(store_db_at(r->st, file.db), rel->rel);
    b->file = b->n_files++;
    b->files[b->file] = file;
    return 0;
}

/* ---- pages ---- */

void
redo_batch_fetch(const struct redo *r, const struct wal_block *b)
{
    const struct redo_batch *batch = r->batch;

    __builtin_prefetch(&batch->pages[place_of(batch, find_file(batch, &b->rel), b->blk)], 1);
}

const uint8_t *
redo_batch_look(const struct redo *r, const struct wal_block *b, lsn_t lsn)
{
    uint32_t file = find_file(r->batch, &b->rel);
    const struct redo_page *page = slot_of(r->batch, file, b->blk);

    return page->lsn == 0 || page->lsn + WARM_BYTES > lsn ? NULL
                                                          : cache_frame(r->st->cache, page->frame);
}

uint8_t *
redo_batch_find(struct redo *r, blk_t block, lsn_t lsn)
{
    struct redo_page *page = slot_of(r->batch, r->batch->file, block);

    if (page->lsn == 0)
        return NULL;
    page->lsn = lsn;
    return cache_frame(r->st->cache, page->frame);
}

/* Frames run out: write some pages back in the order of the file, so that the clock finds clean
 * ones. To write one for each frame would be to look at thousands for each. Failures show when a
 * frame is taken. */
static void
make_room(struct redo *r)
{
    struct redo_batch *b = r->batch;
    struct cache *c = r->st->cache;
    uint32_t most = MAX(64u, c->cfg.n_frames / 8);
    uint32_t n_rounds = 0;

    if (b->n_clean > 0)
        b->n_clean--;
    if (b->n_clean > 0 || !cache_is_short(c))
        return;
    while (b->n_clean < most) {
        struct err ignored = ERR_INIT;
        uint32_t ids[WRITE_IDS];
        uint32_t n = cache_scan_dirty(c, UINT64_MAX, &b->scan_pos, ids, WRITE_IDS);

        for (uint32_t i = 0; i < n; i++)
            b->n_clean += store_write_back(r->st, ids[i], &ignored) == 0;
        if (n > 0)
            continue;
        b->scan_pos = 0;
        if (n_rounds++ == 0)
            continue;
        /* All that is not ours is clean, also what was only read. */
        b->n_clean = MAX(b->n_clean, c->cfg.n_frames - MIN(c->cfg.n_frames, b->n));
        return;
    }
}

/* To be written; it may never have been used before. */
static uint8_t *
fresh_frame(struct redo *r, uint32_t frame)
{
    struct redo_batch *b = r->batch;
    uint8_t *p = cache_frame(r->st->cache, frame);

    if (frame >= b->asked && cache_wants_ahead(r->st->cache, frame)) {
        b->asked = frame + ASK_FRAMES;
        store_role_wake(r->st, STORE_ROLE_BGWRITER);
    }
    shm_touch(p);
    return p;
}

/* The newest version, in a frame of ours: out of the cache, or read from the disk through it. */
static int
bring(struct redo *r, blk_t block, uint32_t *frame, struct err *e)
{
    const struct redo_file *f = &r->batch->files[r->batch->file];
    struct cache *c = r->st->cache;
    struct cache_page base;
    int rc = cache_get_newest(c, f->db, f->rel, block, r->page, &base, e);

    if (rc < 0)
        return rc;
    if (base.data != r->page)
        memcpy(r->page, base.data, PAGE_BYTES);
    cache_unpin(c, &base);
    if (cache_take_back(c, f->db, f->rel, block, frame))
        return 0;
    rc = cache_frames_take(c, f->db, 1, frame, e); /* it was read past the cache (CACHE-7) */
    if (rc == 0)
        memcpy(cache_frame(c, *frame), r->page, PAGE_BYTES);
    return rc;
}

int
redo_batch_add(struct redo *r, blk_t block, lsn_t lsn, bool is_new, uint8_t **ret, struct err *e)
{
    struct redo_batch *b = r->batch;
    const struct redo_file *f = &b->files[b->file];
    uint32_t frame = 0;
    int rc = 0;

    make_room(r);
    if (!cache_take_back(r->st->cache, f->db, f->rel, block, &frame))
        rc = is_new ? cache_frames_take(r->st->cache, f->db, 1, &frame, e)
                    : bring(r, block, &frame, e);
    if (rc < 0)
        return rc;
    *ret = fresh_frame(r, frame);
    memset(*ret + PAGE_TAIL_AT, 0, PAGE_TAIL_BYTES);
    *slot_of(b, b->file, block) = (struct redo_page){ .lsn = lsn,
                                                      .block = block,
                                                      .frame = frame & REDO_BATCH_FRAME,
                                                      .file = b->file & (REDO_BATCH_FILES - 1) };
    b->n++;
    return 0;
}

void
redo_batch_resized(struct redo *r, pgno_t size)
{
    struct redo_file *f = &r->batch->files[r->batch->file];

    f->largest = MAX(f->largest, size);
}

bool
redo_batch_is_full(const struct redo *r)
{
    return r->batch->n > r->batch->full_at;
}

/* Put the pages side by side at the beginning of the table, which is none any more. */
static void
gather(struct redo_batch *b)
{
    uint32_t n = 0;

    for (uint32_t i = 0; n < b->n; i++)
        if (b->pages[i].lsn != 0)
            b->pages[n++] = b->pages[i];
}

static void
close_batch(struct redo *r)
{
    struct redo_batch *b = r->batch;

    for (uint32_t i = 0; i < b->n_files; i++)
        store_db_detach(r->st, b->files[i].db);
    if (b->n > 0)
        memset(b->pages, 0, (sizeof *b->pages) << b->bits);
    b->n = 0;
    b->n_files = 0;
    b->file = 0;
}

void
redo_batch_drop(struct redo *r)
{
    struct redo_batch *b = r->batch;

    if (b == NULL)
        return;
    gather(b);
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t frame = b->pages[i].frame;

        cache_frames_give_back(r->st->cache, &frame, 1);
    }
    close_batch(r);
}

/* ---- publishing ---- */

static int
compare_pages(const void *a, const void *b)
{
    const struct redo_page *x = a;
    const struct redo_page *y = b;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->block < y->block ? -1 : x->block > y->block;
}

static void
publish_page(struct redo *r, const struct redo_page *page)
{
    struct redo_file *f = &r->batch->files[page->file];
    uint32_t frame = page->frame;

    if (page->block == 0) {
        f->size = page1_size(cache_frame(r->st->cache, frame));
        f->lsn = page->lsn;
    }
    cache_publish(r->st->cache, f->db, f->rel, &page->block, &frame, 1, page->lsn);
}

/* As COMMIT-5 does (REDO-3); EVICT-6 must see what shrank. */
static void
publish_size(struct redo *r, const struct redo_file *f)
{
    if (f->size == 0)
        return;
    if (f->largest > f->size)
        store_db_publish(r->st, f->db, f->largest, f->lsn);
    store_db_publish(r->st, f->db, f->size, f->lsn);
}

int
redo_batch_publish(struct redo *r, struct err *e)
{
    struct redo_batch *b = r->batch;
    int rc = 0;

    gather(b);
    /* In the order of the file: so the cache is scanned later, and so it is written. */
    qsort(b->pages, b->n, sizeof *b->pages, compare_pages);
    for (uint32_t i = 0; i < b->n; i++)
        publish_page(r, &b->pages[i]);
    if (b->n > 0)
        rc = FAULT(REDO_PUBLISH);
    for (uint32_t i = 0; rc == 0 && i < b->n_files; i++)
        publish_size(r, &b->files[i]);
    close_batch(r);
    return rc < 0 ? err_set_errno(e, -rc, "could not publish pages in redo") : 0;
}
