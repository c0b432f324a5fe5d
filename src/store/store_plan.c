/* Which pages a commit logs, and how. Runs in backends. Owns: struct commit_plan. Source:
 * engine-rules COMMIT-2, COMMIT-3, COMMIT-4. */
#include "store/store_plan.h"

#include <string.h>

#include "shm/shm.h"
#include "store/store_btree.h"
#include "store/store_commit.h"
#include "store/store_page.h"
#include "store/store_shared.h"
#include "wal/wal_delta.h"
#include "wal/wal_format.h"

#define KEPT_PAGES  256u                 /* of a plan, for the next transaction */
#define KEPT_DELTAS (256u * 1024)        /* bytes */
#define DELTAS_MAX  (UINT64_C(64) << 20) /* memory for deltas; beyond, images */

void
store_plan_free(struct commit_plan *plan)
{
    free(plan->pages);
    free(plan->frames);
    free(plan->blocks);
    free(plan->deltas);
    *plan = (struct commit_plan){ 0 };
}

void
store_plan_reset(struct commit_plan *plan)
{
    ASSERT(plan->n_frames == 0);
    if (plan->pages_cap > KEPT_PAGES || plan->deltas_cap > KEPT_DELTAS)
        store_plan_free(plan);
    plan->n_pages = plan->n_own = 0;
    plan->deltas_bytes = plan->log_bytes = 0;
    plan->size = 0;
}

/* ---- the list ---- */

static int
add_page(struct commit_plan *plan, const struct plan_page *page, struct err *e)
{
    if (plan->n_pages == plan->pages_cap) {
        uint32_t cap = MAX(32u, plan->pages_cap * 2);
        struct plan_page *pages = realloc(plan->pages, cap * sizeof *pages);

        if (pages == NULL)
            return ERR(e, OUT_OF_MEMORY, "could not allocate the list of changed pages");
        plan->pages = pages;
        plan->pages_cap = cap;
    }
    plan->pages[plan->n_pages++] = *page;
    return 0;
}

static struct plan_page
own_page(const struct store_txn *t, pgno_t pgno, uint8_t *staged)
{
    return (struct plan_page){ .staged = staged, .block = pgno - 1, .oid = t->oid, .rel = t->rel };
}

/* COMMIT-3: pages from..to that nobody wrote. */
static int
add_zero_pages(struct store_txn *t, pgno_t from, pgno_t to, struct err *e)
{
    int r = 0;

    for (pgno_t pgno = from; pgno <= to && r == 0; pgno++) {
        struct plan_page page = own_page(t, pgno, NULL);

        if (pgno != LOCK_BYTE_PGNO)
            r = add_page(&t->plan, &page, e);
    }
    return r;
}

/* ---- deltas ---- */

static int
reserve_delta(struct commit_plan *plan, struct err *e)
{
    if (plan->deltas_bytes + PLAN_DELTA_MAX > plan->deltas_cap) {
        uint64_t cap = MAX(UINT64_C(64) * 1024, plan->deltas_cap * 2);
        uint8_t *deltas = realloc(plan->deltas, cap);

        if (deltas == NULL)
            return ERR(e, OUT_OF_MEMORY, "could not allocate memory for changes of pages");
        plan->deltas = deltas;
        plan->deltas_cap = cap;
    }
    return 0;
}

/* Nothing to log: page 1 goes in any case, or `ver` would not be p for ever. */
#define SAME_PAGE 1

/* The delta from the base version under S. SQLite has zeroed what it freed in a page
 * (secure_delete, which is ON for another reason): that is neither published nor logged. 0,
 * SAME_PAGE or < 0. */
static int
make_delta(struct store_txn *t, struct plan_page *page, struct err *e)
{
    struct commit_plan *plan = &t->plan;
    struct store *st = t->st;
    struct cache_page base;
    struct buf b;
    int r = reserve_delta(plan, e);

    if (r < 0)
        return r;
    r = cache_get(st->cache, t->entry, t->rel, page->block, st->spare_buf, &base, e);
    if (r < 0)
        return r;
    b = buf_init(plan->deltas + plan->deltas_bytes, PLAN_DELTA_MAX);
    if (store_btree_is_told_by_type(t->header, page->block + 1, plan->size))
        store_btree_keep_unused(page->staged, base.data);
    /* The redo pointer only rises: what is an image now stays one. */
    if (base.lsn > store_redo_pointer(st) && plan->deltas_bytes < DELTAS_MAX)
        wal_delta_put(&b, base.data, page->staged, PAGE_TAIL_AT);
    else if (memcmp(base.data, page->staged, PAGE_TAIL_AT) != 0)
        b.failed = true;
    if (buf_ok(&b) && b.n == 0 && page->block != 0)
        r = SAME_PAGE;
    if (buf_ok(&b) && b.n > 0) {
        page->base_lsn = base.lsn;
        page->delta_at = plan->deltas_bytes;
        page->delta_bytes = (uint16_t) b.n;
        plan->deltas_bytes += b.n;
    }
    cache_unpin(st->cache, &base);
    return r;
}

static int
add_own_pages(struct store_txn *t, struct err *e)
{
    pgno_t next = t->base_size + 1; /* first page above the base that is not in the list */
    int r = 0;

    for (uint32_t i = 0; i < t->ws.n && r >= 0; i++) {
        struct plan_page page = own_page(t, t->ws.pages[i].pgno, t->ws.pages[i].p);
        pgno_t pgno = page.block + 1;

        r = 0;
        if (pgno == LOCK_BYTE_PGNO || pgno > t->plan.size)
            continue;
        if (pgno > t->base_size) {
            r = add_zero_pages(t, next, pgno - 1, e);
            next = pgno + 1;
        } else {
            r = make_delta(t, &page, e);
        }
        if (r == 0)
            r = add_page(&t->plan, &page, e);
    }
    return r < 0 ? r : add_zero_pages(t, next, t->plan.size, e);
}

static int
add_riders(struct store_txn *t, struct err *e)
{
    const struct store_ride *ride = t->ride;
    int r = 0;

    if (ride == NULL || ride->kind != RIDE_CREATE_DB)
        return 0;
    for (uint32_t i = 0; i < ride->n_pages && r == 0; i++) {
        struct plan_page page = { .p = ride->pages + (size_t) i * PAGE_BYTES,
                                  .block = i,
                                  .oid = ride->oid,
                                  .rel = ride->rel };

        r = add_page(&t->plan, &page, e);
    }
    return r;
}

int
store_plan_make(struct store_txn *t, struct err *e)
{
    const uint8_t *page1 = store_ws_find(&t->ws, 1);
    int r;

    if (page1 == NULL)
        return ERR(e, INTERNAL_ERROR, "a transaction has changed pages, but not page 1");
    t->plan.size = page1_size(page1);
    if (t->plan.size == 0)
        return ERR(e, DATA_CORRUPTED, "page 1 of a transaction says that there are no pages");
    store_ws_sort(&t->ws);
    r = add_own_pages(t, e);
    t->plan.n_own = t->plan.n_pages;
    return r < 0 ? r : add_riders(t, e);
}

/* ---- frames ---- */

int
store_plan_take_frames(struct store_txn *t, struct err *e)
{
    struct commit_plan *plan = &t->plan;
    struct cache *cache = t->st->cache;
    int r;

    if (plan->frames_cap < plan->n_own) {
        free(plan->frames);
        free(plan->blocks);
        plan->frames_cap = plan->pages_cap;
        plan->frames = malloc(plan->frames_cap * sizeof *plan->frames);
        plan->blocks = malloc(plan->frames_cap * sizeof *plan->blocks);
        if (plan->frames == NULL || plan->blocks == NULL) {
            plan->frames_cap = 0;
            return ERR(e, OUT_OF_MEMORY, "could not allocate the list of changed pages");
        }
    }
    r = cache_frames_take(cache, t->db, plan->n_own, plan->frames, e);
    if (r < 0)
        return r;
    plan->n_frames = plan->n_own;
    for (uint32_t i = 0; i < plan->n_own; i++) {
        struct plan_page *page = &plan->pages[i];
        uint8_t *frame = cache_frame(cache, plan->frames[i]);

        shm_touch(frame);
        if (page->staged != NULL) {
            memcpy(frame, page->staged, PAGE_TAIL_AT);
            memset(frame + PAGE_TAIL_AT, 0, PAGE_TAIL_BYTES);
        } else {
            memset(frame, 0, PAGE_BYTES);
        }
        page->p = frame;
        plan->blocks[i] = page->block;
    }
    return 0;
}

/* ---- log space ---- */

#define BLOCK_HEADER 8u   /* id, flags, data length, block number */
#define REL_BYTES    12u  /* only where the relation changes */
#define OTHER_BYTES  512u /* Database, Storage and Transaction records, all of them */

void
store_plan_choose(struct commit_plan *plan, lsn_t redo)
{
    uint64_t bytes = OTHER_BYTES;

    for (uint32_t i = 0; i < plan->n_pages; i++) {
        struct plan_page *page = &plan->pages[i];
        bool is_first = i % PLAN_BLOCKS == 0;

        page->is_image = page->base_lsn <= redo;
        bytes += BLOCK_HEADER +
                 (page->is_image ? PLAN_IMAGE_HEADER + PAGE_BYTES : (uint64_t) page->delta_bytes);
        if (is_first)
            bytes += WAL_RECORD_HEADER + 7 /* MAXALIGN */ +
                     WAL_LONG_HEADER; /* each record inserted on its own may cross one page more */
        if (is_first || page->oid != page[-1].oid)
            bytes += REL_BYTES;
    }
    plan->log_bytes = bytes;
}

bool
store_plan_is_long(const struct commit_plan *plan)
{
    return (uint64_t) plan->n_pages * PAGE_BYTES > PLAN_LONG_BYTES;
}
