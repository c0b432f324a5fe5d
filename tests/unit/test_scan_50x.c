/* CACHE-7: data 50 times the cache, 124 frames, 100 processes: every read is answered, none waits
 * for a frame, none fails for want of one. */
#include "support/test.h"

#include "support/cache_fake.h"

#define FRAMES 124
#define PROCS  100
#define BLOCKS (50 * FRAMES)

static void
one_snapshot_scans_fifty_caches_beside_many(void **state)
{
    const struct cache_cfg cfg = { .n_frames = FRAMES, .max_procs = PROCS };
    struct fake *f = fake_new(&cfg, BLOCKS);
    struct err e = ERR_INIT;
    struct rng rng;
    uint32_t entry[PROCS];
    uint8_t spare[PAGE_BYTES];
    struct cache_page p;
    lsn_t lsn;

    (void) state;
    rng_init(&rng, 1);
    for (uint32_t i = 0; i < PROCS; i++)
        entry[i] = fake_snapshot(f, i, 0, NULL);
    for (blk_t b = 0; b < BLOCKS; b++) {
        uint32_t other = 1 + (uint32_t) rng_below(&rng, PROCS - 1);
        blk_t any = (blk_t) rng_below(&rng, BLOCKS);

        assert_ok(cache_get(fake_cache(f, 0), entry[0], FAKE_REL, b, spare, &p, &e), &e);
        assert_true(p.lsn == 0 && fake_is(p.data, 0, b, 0));
        cache_unpin(fake_cache(f, 0), &p);
        assert_ok(cache_get(fake_cache(f, other), entry[other], FAKE_REL, any, spare, &p, &e), &e);
        assert_true(p.lsn == 0 && fake_is(p.data, 0, any, 0));
        cache_unpin(fake_cache(f, other), &p);
        if (b % 200 == 0) { /* a writer, seldom: few versions must be kept for the scan */
            assert_ok(fake_commit(f, 50, 0, &any, 1, &lsn, &e), &e);
            cache_horizon_raise(fake_cache(f, 50), lsn);
        }
    }
    fake_check(f);
    fake_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_snapshot_scans_fifty_caches_beside_many),
    };

    return cmocka_run_group_tests_name("scan_50x", tests, NULL, NULL);
}
