/* EVICT-1 by interval: hot pages, one long reader, a million commits: what is kept stays bounded.
 */
#include "support/test.h"

#include "support/cache_fake.h"

#define COMMITS 1000000
#define HOT     8

static void
a_million_hot_commits_beside_one_reader_keep_few_versions(void **state)
{
    const struct cache_cfg cfg = { .n_frames = 512,
                                   .max_procs = 4,
                                   .snapshot_patience = USEC_PER_SEC };
    struct fake *f = fake_new(&cfg, HOT);
    struct cache *writer = fake_cache(f, 0), *reader = fake_cache(f, 1);
    struct cache_page p;
    lsn_t lsn = 1000, seen[HOT];
    uint32_t entry = 0, most = 0;

    (void) state;
    for (uint32_t i = 0; i < COMMITS; i++) {
        blk_t block = i % HOT;
        uint32_t frame, kept;

        assert_int_equal(cache_frames_take(writer, 0, 1, &frame, NULL), 0);
        *(uint64_t *) (void *) cache_frame(writer, frame) = lsn + 10;
        lsn += 10;
        cache_publish(writer, 0, FAKE_REL, &block, &frame, 1, lsn);
        cache_horizon_raise(writer, lsn);
        if (i == 1000) { /* the reader comes when all pages are hot, and stays */
            entry = fake_snapshot(f, 1, 0, NULL);
            for (blk_t b = 0; b < HOT; b++)
                seen[(block - b) % HOT] = lsn - b * 10;
        }
        kept = atomic_load(&writer->db[0].n_retired) + atomic_load(&writer->db[0].n_held);
        most = kept > most ? kept : most;
    }
    /* pages × snapshots + the window that a writer lets grow before it prunes */
    assert_in_range(most, 1, HOT * 1 + CACHE_BATCH + 1);
    for (blk_t b = 0; b < HOT; b++) {
        assert_int_equal(cache_get(reader, entry, FAKE_REL, b, NULL, &p, NULL), 0);
        assert_int_equal(p.lsn, seen[b]);
        assert_true(*(const uint64_t *) (const void *) p.data == seen[b]);
        cache_unpin(reader, &p);
    }
    fake_check(f);
    fake_free(f);
}

/* Snapshots come and go: what the gone ones held is found again. */
static void
held_versions_go_when_their_snapshot_is_gone(void **state)
{
    const struct cache_cfg cfg = { .n_frames = 2048,
                                   .max_procs = 40,
                                   .snapshot_patience = USEC_PER_SEC };
    struct fake *f = fake_new(&cfg, HOT);
    struct cache *w = fake_cache(f, 0);
    uint32_t entry[40];
    lsn_t lsn;

    (void) state;
    for (uint32_t p = 1; p < 40; p++) { /* more than are remembered one by one */
        for (blk_t b = 0; b < HOT; b++)
            assert_int_equal(fake_commit(f, 0, 0, &b, 1, &lsn, NULL), 0);
        cache_horizon_raise(w, lsn);
        entry[p] = fake_snapshot(f, p, 0, NULL);
        cache_prune(w, 0);
    }
    assert_int_equal(atomic_load(&w->db[0].n_held), 38 * HOT); /* the newest are heads */
    for (uint32_t p = 1; p < 40; p++)
        cache_snapshot_drop(fake_cache(f, p), entry[p]);
    w->db[0].held_walked_usec = 0; /* as if 10 ms had passed */
    assert_int_equal(cache_prune(w, 0), 38 * HOT);
    assert_int_equal(atomic_load(&w->db[0].n_held), 0);
    fake_check(f);
    fake_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_hot_commits_beside_one_reader_keep_few_versions),
        cmocka_unit_test(held_versions_go_when_their_snapshot_is_gone),
    };

    return cmocka_run_group_tests_name("retire_interval", tests, NULL, NULL);
}
