/* cache: reading, publishing, pins, horizon, snapshots, exit. */
#include "support/test.h"

#include <string.h>

#include "base/clock.h"
#include "support/cache_fake.h"

static const struct cache_cfg small = { .n_frames = 64,
                                        .max_procs = 4,
                                        .snapshot_patience = 20 * USEC_PER_MSEC };

static int
setup(void **state)
{
    *state = fake_new(&small, 256);
    return 0;
}

static int
teardown(void **state)
{
    fake_free(*state);
    return 0;
}

static void
commit_one(struct fake *f, uint32_t proc, uint32_t db, blk_t block, lsn_t *ret_lsn)
{
    struct err e = ERR_INIT;

    assert_ok(fake_commit(f, proc, db, &block, 1, ret_lsn, &e), &e);
}

static struct cache_page
read_page(struct fake *f, uint32_t proc, uint32_t entry, uint32_t db, blk_t block, lsn_t want)
{
    struct err e = ERR_INIT;
    struct cache_page p;

    assert_ok(cache_get(fake_cache(f, proc), entry, FAKE_REL, block, NULL, &p, &e), &e);
    assert_int_equal(p.lsn, want);
    assert_true(fake_is(p.data, db, block, want));
    return p;
}

static uint32_t
idx_of(struct fake *f, blk_t block)
{
    struct cache *c = fake_cache(f, 0);

    for (uint32_t i = 0; i < atomic_load(&c->sh->n_chain_fresh); i++)
        if (atomic_load(&c->chain[i].block) == block && atomic_load(&c->chain[i].head) != 0)
            return i;
    fail_msg("block %u has no chain", block);
    return 0;
}

static void
a_reader_sees_the_newest_version_at_its_snapshot(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct cache_page p, q;
    lsn_t one, two, s;
    uint32_t before, after;

    commit_one(f, 1, 0, 3, &one);
    cache_horizon_raise(c, one);
    before = fake_snapshot(f, 0, 0, &s);
    assert_int_equal(s, one);
    commit_one(f, 1, 0, 3, &two);
    p = read_page(f, 0, before, 0, 3, one);
    cache_horizon_raise(c, two);
    after = fake_snapshot(f, 0, 0, &s);
    q = read_page(f, 0, after, 0, 3, two);
    cache_unpin(c, &p);
    cache_unpin(c, &q);
    fake_check(f);
}

static void
a_miss_reads_once_and_then_hits(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    uint32_t entry = fake_snapshot(f, 0, 1, NULL);
    struct cache_page p = read_page(f, 0, entry, 1, 9, 0), q;

    q = read_page(f, 0, entry, 1, 9, 0);
    assert_int_equal(c->n_read, 1);
    assert_int_equal(c->n_hit, 1);
    assert_int_equal(cache_n_pinned(c), 2);
    assert_ptr_equal(p.data, q.data);
    cache_unpin(c, &p);
    cache_unpin(c, &q);
    cache_unpin(c, &q); /* a page that is not pinned is fine */
    assert_int_equal(cache_n_pinned(c), 0);
}

static void
a_disk_page_newer_than_the_snapshot_is_never_used(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_page p;
    uint32_t entry = fake_snapshot(f, 0, 0, NULL);
    int r;

    f->lie = 5000;
    r = cache_get(c, entry, FAKE_REL, 4, NULL, &p, &e);
    assert_string_equal(err_sqlstate(r), "XX001");
    assert_int_equal(cache_n_pinned(c), 0);
    assert_true(cache_db_is_empty(c, 0));
    f->lie = 0;
    p = read_page(f, 0, entry, 0, 4, 0);
    cache_unpin(c, &p);
    fake_check(f);
}

static void
a_disk_page_not_below_the_chain_is_never_used(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_page p;
    uint32_t entry;
    lsn_t one;

    cache_horizon_raise(c, 1005);
    entry = fake_snapshot(f, 0, 0, NULL);
    commit_one(f, 1, 0, 4, &one); /* above the snapshot, and the disk claims the same LSN */
    assert_int_equal(one, 1010);
    f->lie = one;
    assert_string_equal(err_sqlstate(cache_get(c, entry, FAKE_REL, 4, NULL, &p, &e)), "XX001");
    fake_check(f);
}

static void
a_failed_read_leaves_nothing_behind(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_page p;
    uint32_t entry = fake_snapshot(f, 0, 0, NULL);

    f->read_error = -ERR_IO_ERROR;
    assert_int_equal(cache_get(c, entry, FAKE_REL, 4, NULL, &p, &e), -ERR_IO_ERROR);
    assert_true(cache_db_is_empty(c, 0));
    assert_int_equal(c->self->hold, 0);
    assert_int_equal(c->n_owned, 0);
    fake_check(f);
}

static void
over_the_quota_a_page_is_copied_or_refused(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_page p[5], q;
    uint8_t spare[PAGE_BYTES];
    uint32_t entry = fake_snapshot(f, 0, 0, NULL);

    assert_int_equal(c->pin_quota, 4);
    for (blk_t b = 0; b < 4; b++)
        p[b] = read_page(f, 0, entry, 0, b, 0);
    assert_int_equal(cache_get(c, entry, FAKE_REL, 0, NULL, &q, &e), CACHE_NO_PIN);
    assert_ok(cache_get(c, entry, FAKE_REL, 2, spare, &q, &e), &e);
    assert_int_equal(q.pin, CACHE_NONE);
    assert_ptr_equal(q.data, spare);
    assert_true(fake_is(spare, 0, 2, 0));
    cache_unpin(c, &q);
    assert_int_equal(cache_n_pinned(c), 4);
    for (blk_t b = 0; b < 4; b++)
        cache_unpin(c, &p[b]);
}

static void
a_reader_without_a_frame_reads_through(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_page p;
    struct cache_stats st;
    uint8_t spare[PAGE_BYTES];
    uint32_t entry = fake_snapshot(f, 0, 0, NULL);
    uint32_t frames[56];

    /* another process holds all frames but the reserve */
    assert_ok(cache_frames_take(fake_cache(f, 1), 0, 56, frames, &e), &e);
    assert_int_equal(cache_get(c, entry, FAKE_REL, 4, NULL, &p, &e), CACHE_NO_PIN);
    assert_ok(cache_get(c, entry, FAKE_REL, 4, spare, &p, &e), &e);
    assert_ptr_equal(p.data, spare);
    assert_true(fake_is(spare, 0, 4, 0));
    assert_true(cache_db_is_empty(c, 0));
    cache_stats(c, &st);
    assert_int_equal(st.n_read_through, 1);
    assert_int_equal(st.n_free, 8);
    cache_frames_give_back(fake_cache(f, 1), frames, 56);
    fake_check(f);
}

static void
a_fifth_handle_is_refused(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    uint32_t entry;

    for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
        assert_ok(cache_entry_claim(c, i, &entry, &e), &e);
        assert_int_equal(entry, i);
    }
    assert_string_equal(err_sqlstate(cache_entry_claim(c, 0, &entry, &e)), "53400");
    cache_entry_release(c, 2);
    assert_ok(cache_entry_claim(c, 0, &entry, &e), &e);
    assert_int_equal(entry, 2);
}

static void
a_snapshot_is_the_horizon_raised_to_what_the_session_has_seen(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    uint32_t entry;

    assert_int_equal(cache_entry_claim(c, 0, &entry, NULL), 0);
    assert_int_equal(cache_snapshot_take(c, entry, 0), 900);
    assert_true(cache_snapshots_any(c));
    assert_true(cache_snapshot_below(c, 0, 901));
    assert_false(cache_snapshot_below(c, 0, 900));
    assert_false(cache_snapshot_below(c, 1, 901)); /* of another database */
    cache_snapshot_advance(c, entry, 950);
    assert_false(cache_snapshot_below(c, 0, 950));
    cache_snapshot_drop(c, entry);
    assert_false(cache_snapshots_any(c));
    assert_int_equal(cache_snapshot_take(c, entry, 1234), 1234);
    cache_snapshot_drop(c, entry);
    cache_snapshot_take_at(c, entry, 2000);
    assert_true(cache_snapshot_below(c, 0, 2001));
    cache_snapshot_drop(c, entry);
    cache_entry_release(c, entry);
}

static void
the_horizon_never_goes_back(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;

    cache_horizon_raise(c, 5000);
    cache_horizon_raise(c, 4000);
    assert_int_equal(cache_horizon(c), 5000);
    assert_ok(cache_horizon_wait(c, 5000, &e), &e);
    assert_int_equal(cache_cap(c), 5000);
    cache_cap_unlimited(c, true);
    assert_true(cache_cap(c) == UINT64_MAX);
    cache_cap_unlimited(c, false);
    assert_int_equal(cache_cap(c), 5000);
}

static void
a_wait_for_the_horizon_can_be_interrupted(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;

    c->self->statement_deadline = clock_mono_usec();
    assert_string_equal(err_sqlstate(cache_horizon_wait(c, 5000, &e)), "57014");
    assert_int_equal(atomic_load(&c->sh->horizon_waiters), 0);
    err_clear(&e);
    assert_ok(cache_horizon_wait(c, 900, &e), &e); /* nothing to wait for */
}

/* The page is being read by process 1, in whose read we are. */
static void
read_the_same(struct fake *f)
{
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_page p;

    f->on_read = NULL;
    c->self->statement_deadline = clock_mono_usec();
    assert_string_equal(err_sqlstate(cache_get(c, 0, FAKE_REL, 4, NULL, &p, &e)), "57014");
    assert_int_equal(fake_cache(f, 1)->self->hold, 1);
}

static void
a_wait_for_a_page_that_another_reads_can_be_interrupted(void **state)
{
    struct fake *f = *state;
    struct cache_page p;
    uint32_t entry;

    assert_int_equal(fake_snapshot(f, 0, 0, NULL), 0);
    entry = fake_snapshot(f, 1, 0, NULL);
    f->on_read = read_the_same;
    p = read_page(f, 1, entry, 0, 4, 0);
    cache_unpin(fake_cache(f, 1), &p);
    fake_check(f);
}

static void
pruning_keeps_what_a_snapshot_or_the_horizon_needs(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    lsn_t lsn[5];
    uint32_t entry;
    struct cache_page p;

    commit_one(f, 1, 0, 3, &lsn[0]);
    cache_horizon_raise(c, lsn[0]);
    entry = fake_snapshot(f, 0, 0, NULL);
    for (int i = 1; i < 5; i++)
        commit_one(f, 1, 0, 3, &lsn[i]);
    assert_int_equal(cache_prune(c, 0), 0); /* cap is lsn[0] */
    cache_horizon_raise(c, lsn[3]);
    /* lsn[0] is the snapshot's; lsn[3] and [4] may still be shown */
    assert_int_equal(cache_prune(c, 0), 2);
    p = read_page(f, 0, entry, 0, 3, lsn[0]);
    cache_unpin(c, &p);
    fake_check(f);
    cache_snapshot_drop(c, entry);
    assert_int_equal(cache_prune(c, 0), 1);
    cache_horizon_raise(c, lsn[4]);
    assert_int_equal(cache_prune(c, 0), 1);
    fake_check(f);
}

static void
a_pinned_frame_is_not_reused_when_its_version_is_pruned(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct cache_stats st;
    struct cache_page p;
    uint32_t entry;
    lsn_t one, two;

    commit_one(f, 1, 0, 3, &one);
    cache_horizon_raise(c, one);
    entry = fake_snapshot(f, 0, 0, NULL);
    p = read_page(f, 0, entry, 0, 3, one);
    commit_one(f, 1, 0, 3, &two);
    cache_horizon_raise(c, two);
    cache_snapshot_drop(c, entry); /* a bug of the caller: pins left */
    assert_int_equal(cache_prune(c, 0), 1);
    cache_stats(c, &st);
    assert_int_equal(st.n_free, small.n_frames - 2); /* the head, and the one in limbo */
    cache_maintain(c);
    assert_true(fake_is(p.data, 0, 3, one));
    fake_check(f);
    cache_unpin(c, &p);
    cache_maintain(c);
    cache_stats(c, &st);
    assert_int_equal(st.n_free, small.n_frames - 1);
    fake_check(f);
}

static void
exit_gives_everything_back(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_stats st;
    struct cache_wb wb;
    uint32_t frames[5], entry;
    lsn_t one;

    commit_one(f, 0, 0, 3, &one);
    entry = fake_snapshot(f, 0, 0, NULL);
    (void) read_page(f, 0, entry, 0, 8, 0);
    assert_ok(cache_frames_take(c, 0, 5, frames, &e), &e);
    assert_int_equal(cache_wb_begin(c, idx_of(f, 3), &wb), 0);
    cache_process_exit(c);
    assert_false(cache_snapshots_any(c));
    assert_int_equal(cache_n_pinned(c), 0);
    cache_stats(c, &st);
    assert_int_equal(st.n_free, small.n_frames - 2);
    assert_int_equal(st.n_dirty_estimate, 1);
    fake_check(f);
}

static void
write_back_makes_a_page_clean_and_only_then_it_is_evicted(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_wb wb, other;
    uint32_t pos = 0, ids[8], idx;
    lsn_t one;

    commit_one(f, 1, 0, 3, &one);
    cache_horizon_raise(c, one);
    assert_int_equal(cache_scan_dirty(c, one - 1, &pos, ids, 8), 0);
    pos = 0;
    assert_int_equal(cache_scan_dirty(c, one, &pos, ids, 8), 1);
    idx = ids[0];
    assert_int_equal(cache_wb_begin(c, idx, &wb), 0);
    assert_int_equal(wb.lsn, one);
    assert_true(wb.is_sole);
    assert_int_equal(wb.disk_lsn, 0);
    assert_int_equal(cache_wb_begin(fake_cache(f, 1), idx, &other), CACHE_WB_BUSY);
    assert_false(cache_wb_must_save(c, &wb)); /* nobody can need LSN 0 any more */
    cache_wb_end(c, &wb, 0);
    assert_true(cache_is_owed(c, idx, one));
    assert_ok(fake_write_back(&f->procs[0], idx, &e), &e);
    assert_false(cache_is_owed(c, idx, one));
    assert_int_equal(cache_wb_begin(c, idx, &wb), CACHE_WB_CLEAN);
    assert_int_equal(atomic_load(&f->disk[3]), one);
    cache_io_wait(c, idx);
    fake_check(f);
}

static void
a_disk_version_that_a_snapshot_needs_is_saved_first(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    uint32_t entry = fake_snapshot(f, 0, 0, NULL);
    struct cache_page p;
    lsn_t one;

    commit_one(f, 1, 0, 3, &one);
    cache_horizon_raise(c, one);
    assert_ok(fake_write_back(&f->procs[1], idx_of(f, 3), &e), &e);
    assert_int_equal(atomic_load(&f->disk[3]), one);
    p = read_page(f, 0, entry, 0, 3, 0); /* from the cache: the disk has it no more */
    assert_int_equal(c->n_hit, 1);
    cache_unpin(c, &p);
    fake_check(f);
    cache_snapshot_drop(c, entry);
    assert_int_equal(cache_prune(c, 0), 1);
    fake_check(f);
}

static void
dropping_a_sole_dirty_head_forgets_the_page(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct cache_wb wb;
    lsn_t one;

    commit_one(f, 1, 0, 3, &one);
    assert_int_equal(cache_wb_begin(c, idx_of(f, 3), &wb), 0);
    assert_true(cache_wb_drop(c, &wb));
    assert_true(cache_db_is_empty(c, 0));
    commit_one(f, 1, 0, 3, &one);
    assert_int_equal(cache_wb_begin(c, idx_of(f, 3), &wb), 0);
    commit_one(f, 1, 0, 3, &one);
    assert_false(cache_wb_drop(c, &wb));
    assert_int_equal(cache_n_pinned(c), 0);
    fake_check(f);
}

static void
purge_forgets_one_file_or_all(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    uint32_t entry = fake_snapshot(f, 0, 1, NULL);
    struct cache_page p;
    lsn_t lsn;

    for (blk_t b = 0; b < 8; b++)
        for (int i = 0; i < 3; i++)
            commit_one(f, 1, b % 2, b, &lsn);
    p = read_page(f, 0, entry, 1, 100, 0);
    cache_purge(c, 0, FAKE_REL + 1);
    assert_false(cache_db_is_empty(c, 0));
    cache_purge(c, 0, FAKE_REL);
    assert_true(cache_db_is_empty(c, 0));
    assert_false(cache_db_is_empty(c, 1));
    fake_check(f);
    cache_purge(c, 1, 0);
    assert_true(cache_db_is_empty(c, 1));
    assert_true(fake_is(p.data, 1, 100, 0)); /* pinned: in limbo */
    fake_check(f);
    cache_unpin(c, &p);
    cache_maintain(c);
    assert_int_equal(atomic_load(&c->sh->n_free), small.n_frames);
}

static void
redo_reads_and_publishes_without_a_snapshot(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_page p;
    uint32_t pos = 0, ids[4];
    lsn_t one;

    atomic_store(&f->disk[5], 77777); /* whatever the tail says */
    assert_ok(cache_get_newest(c, 0, FAKE_REL, 5, NULL, &p, &e), &e);
    assert_int_equal(p.lsn, 77777);
    cache_unpin(c, &p);
    /* REDO-3: not written by this redo, so it counts as dirty */
    assert_int_equal(cache_scan_dirty(c, UINT64_MAX, &pos, ids, 4), 1);
    commit_one(f, 0, 0, 6, &one);
    assert_ok(cache_get_newest(c, 0, FAKE_REL, 6, NULL, &p, &e), &e);
    assert_int_equal(p.lsn, one);
    cache_unpin(c, &p);
}

static void
redo_takes_a_page_out_and_publishes_it_again(void **state)
{
    struct fake *f = *state;
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_page p;
    struct cache_wb wb;
    uint32_t frame = CACHE_NONE;
    blk_t block = 3;
    lsn_t one;

    assert_false(cache_take_back(c, 0, FAKE_REL, block, &frame)); /* not here */
    commit_one(f, 0, 0, block, &one);
    assert_false(cache_take_back(c, 0, FAKE_REL + 1, block, &frame));
    assert_int_equal(cache_wb_begin(c, idx_of(f, block), &wb), 0);
    assert_false(cache_take_back(c, 0, FAKE_REL, block, &frame)); /* being written */
    cache_wb_end(c, &wb, 0);
    assert_true(cache_take_back(c, 0, FAKE_REL, block, &frame));
    assert_true(fake_is(cache_frame(c, frame), 0, block, one));
    assert_true(cache_db_is_empty(c, 0));
    assert_int_equal(c->n_owned, 1);
    assert_false(cache_take_back(c, 0, FAKE_REL, block, &frame));
    fake_fill(cache_frame(c, frame), 0, block, one + 8);
    cache_publish(c, 0, FAKE_REL, &block, &frame, 1, one + 8);
    assert_ok(cache_get_newest(c, 0, FAKE_REL, block, NULL, &p, &e), &e);
    assert_int_equal(p.lsn, one + 8);
    assert_true(fake_is(p.data, 0, block, one + 8));
    cache_unpin(c, &p);
    assert_int_equal(c->n_owned, 0);
    atomic_store(&f->next_lsn, one + 16);
    commit_one(f, 0, 0, block, &one);
    assert_false(cache_take_back(c, 0, FAKE_REL, block, &frame)); /* two versions */
    fake_check(f);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_reader_sees_the_newest_version_at_its_snapshot),
        T(a_miss_reads_once_and_then_hits),
        T(a_disk_page_newer_than_the_snapshot_is_never_used),
        T(a_disk_page_not_below_the_chain_is_never_used),
        T(a_failed_read_leaves_nothing_behind),
        T(over_the_quota_a_page_is_copied_or_refused),
        T(a_reader_without_a_frame_reads_through),
        T(a_fifth_handle_is_refused),
        T(a_snapshot_is_the_horizon_raised_to_what_the_session_has_seen),
        T(the_horizon_never_goes_back),
        T(a_wait_for_the_horizon_can_be_interrupted),
        T(a_wait_for_a_page_that_another_reads_can_be_interrupted),
        T(pruning_keeps_what_a_snapshot_or_the_horizon_needs),
        T(a_pinned_frame_is_not_reused_when_its_version_is_pruned),
        T(exit_gives_everything_back),
        T(write_back_makes_a_page_clean_and_only_then_it_is_evicted),
        T(a_disk_version_that_a_snapshot_needs_is_saved_first),
        T(dropping_a_sole_dirty_head_forgets_the_page),
        T(purge_forgets_one_file_or_all),
        T(redo_reads_and_publishes_without_a_snapshot),
        T(redo_takes_a_page_out_and_publishes_it_again),
    };

    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
