/* CACHE-2's SERVE, by brute force after each of many random operations: for every live snapshot,
 * and every one that can still be taken, the newest version ≤ S is in the chain or on disk, and
 * what is found in the chain is the right one. */
#include "support/test.h"

#include "support/cache_fake.h"

#define BLOCKS   10
#define STEPS    4000
#define VERSIONS (STEPS * 3 + 1)

struct serve {
    struct fake *f;
    struct rng rng;
    lsn_t hist[BLOCKS][VERSIONS]; /* rising; element 0 is 0 */
    uint32_t n_hist[BLOCKS];
    lsn_t last;                   /* newest commit */
    lsn_t snap[4][CACHE_ENTRIES]; /* what procs 0..3 hold */
    struct cache_page pinned[4];  /* one kept pin per process */
    blk_t pinned_block[4];        /* its block */
    struct cache_wb wb;           /* of process 4, in steps */
    enum { WB_NONE, WB_BEGUN, WB_SAVED, WB_WRITTEN } wb_at;
};

static lsn_t
want(const struct serve *s, blk_t b, lsn_t snap)
{
    lsn_t r = 0;

    for (uint32_t i = 0; i < s->n_hist[b] && s->hist[b][i] <= snap; i++)
        r = s->hist[b][i];
    return r;
}

/* Newest version ≤ snap in the chain; UINT64_MAX: none. */
static lsn_t
in_chain(struct fake *f, blk_t block, lsn_t snap)
{
    struct cache *c = fake_cache(f, 0);
    const struct cache_key key = { fake_oid(0), FAKE_REL, block };
    struct cache_bucket *b = cache_map_bucket(c, &key);
    struct cache_chain *ch = cache_map_find(c, b, &key);
    uint32_t ref = ch == NULL ? 0 : atomic_load(&ch->head);

    while (ref != 0 && atomic_load(&c->ver[ref - 1].lsn) > snap)
        ref = atomic_load(&c->ver[ref - 1].older);
    return ref == 0 ? UINT64_MAX : atomic_load(&c->ver[ref - 1].lsn);
}

static void
check_at(struct serve *s, lsn_t snap, uint32_t step)
{
    for (blk_t b = 0; b < BLOCKS; b++) {
        lsn_t right = want(s, b, snap);
        lsn_t chain = in_chain(s->f, b, snap);
        lsn_t disk = atomic_load(&s->f->disk[b]);

        if (chain == UINT64_MAX ? disk != right : chain != right)
            fail_msg("step %u: snapshot %lu, block %u: chain %lu, disk %lu, right is %lu", step,
                     snap, b, chain, disk, right);
    }
}

static void
check_serve(struct serve *s, uint32_t step)
{
    lsn_t h = cache_horizon(fake_cache(s->f, 0));

    for (int p = 0; p < 4; p++) {
        for (int k = 0; k < CACHE_ENTRIES; k++)
            if (s->snap[p][k] != 0)
                check_at(s, s->snap[p][k], step);
        if (s->pinned[p].data != NULL)
            assert_true(fake_is(s->pinned[p].data, 0, s->pinned_block[p], s->pinned[p].lsn));
    }
    check_at(s, h, step);
    for (lsn_t can = h; can <= s->last; can += 10)
        check_at(s, can, step);
}

static void
op_commit(struct serve *s)
{
    blk_t blocks[3];
    uint32_t n = 1 + (uint32_t) rng_below(&s->rng, 3);
    blk_t first = (blk_t) rng_below(&s->rng, BLOCKS);

    for (uint32_t i = 0; i < n; i++)
        blocks[i] = (first + i * 3) % BLOCKS;
    if (fake_commit(s->f, 5, 0, blocks, n, &s->last, NULL) != 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        s->hist[blocks[i]][s->n_hist[blocks[i]]++] = s->last;
}

static void
op_snapshot(struct serve *s, uint32_t p, uint32_t k)
{
    struct cache *c = fake_cache(s->f, p);

    if (s->snap[p][k] == 0) {
        s->snap[p][k] = cache_snapshot_take(c, k, 0);
        return;
    }
    if (s->pinned[p].data != NULL)
        cache_unpin(c, &s->pinned[p]);
    cache_snapshot_drop(c, k);
    s->snap[p][k] = 0;
}

static void
op_read(struct serve *s, uint32_t p, uint32_t k)
{
    struct cache *c = fake_cache(s->f, p);
    struct err e = ERR_INIT;
    struct cache_page page;
    uint8_t spare[PAGE_BYTES];
    blk_t b = (blk_t) rng_below(&s->rng, BLOCKS);

    if (s->snap[p][k] == 0)
        return;
    /* one thread: a page under write-back would be waited for without end */
    if (s->wb_at != WB_NONE && s->wb.key.block == b)
        return;
    assert_ok(cache_get(c, k, FAKE_REL, b, spare, &page, &e), &e);
    assert_int_equal(page.lsn, want(s, b, s->snap[p][k]));
    assert_true(fake_is(page.data, 0, b, page.lsn));
    if (page.pin != CACHE_NONE && s->pinned[p].data == NULL) {
        s->pinned[p] = page;
        s->pinned_block[p] = b;
    } else {
        cache_unpin(c, &page);
    }
}

/* One step of write-back by process 4. */
static void
op_write_back(struct serve *s)
{
    struct cache *c = fake_cache(s->f, 4);
    uint32_t n = atomic_load(&c->sh->n_chain_fresh);
    int r = 0;

    switch (s->wb_at) {
    case WB_NONE:
        if (n > 0 && cache_wb_begin(c, (uint32_t) rng_below(&s->rng, n), &s->wb) == 0)
            s->wb_at = WB_BEGUN;
        break;
    case WB_BEGUN:
        if (cache_wb_must_save(c, &s->wb))
            r = cache_wb_save_disk(c, &s->wb, NULL);
        if (r != 0)
            cache_wb_end(c, &s->wb, 0);
        s->wb_at = r != 0 ? WB_NONE : WB_SAVED;
        break;
    case WB_SAVED:
        atomic_store(&s->f->disk[s->wb.key.block], s->wb.lsn);
        s->wb_at = WB_WRITTEN;
        break;
    case WB_WRITTEN:
        cache_wb_end(c, &s->wb, s->wb.lsn);
        s->wb_at = WB_NONE;
        break;
    }
}

static void
run(uint64_t seed, uint32_t steps)
{
    const struct cache_cfg cfg = { .n_frames = 64, .max_procs = 6, .snapshot_patience = 0 };
    struct serve *s = calloc(1, sizeof *s);
    uint32_t entry;

    s->f = fake_new(&cfg, BLOCKS);
    rng_init(&s->rng, seed);
    for (blk_t b = 0; b < BLOCKS; b++)
        s->n_hist[b] = 1;
    for (uint32_t p = 0; p < 4; p++)
        for (uint32_t k = 0; k < CACHE_ENTRIES; k++)
            assert_int_equal(cache_entry_claim(fake_cache(s->f, p), 0, &entry, NULL), 0);
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t p = (uint32_t) rng_below(&s->rng, 4);
        uint32_t k = (uint32_t) rng_below(&s->rng, 2);

        switch (rng_below(&s->rng, 8)) {
        case 0:
        case 1:
            op_commit(s);
            break;
        case 2:
            op_snapshot(s, p, k);
            break;
        case 3:
        case 4:
            op_read(s, p, k);
            break;
        case 5:
            cache_prune(fake_cache(s->f, p), 0);
            break;
        case 6:
            op_write_back(s);
            break;
        default:
            cache_horizon_raise(fake_cache(s->f, p), 900 + rng_below(&s->rng, s->last + 1 - 900));
            break;
        }
        check_serve(s, step);
    }
    fake_check(s->f);
    fake_free(s->f);
    free(s);
}

static void
every_snapshot_is_served_after_every_operation(void **state)
{
    (void) state;
    for (uint64_t seed = 0; seed < 15; seed++)
        run(seed, STEPS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_snapshot_is_served_after_every_operation),
    };

    return cmocka_run_group_tests_name("chain_serve", tests, NULL, NULL);
}
