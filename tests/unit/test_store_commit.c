/* Prepare, commit and reading back, with plain pages: several processes as structs in one. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/store_world.h"
#include "support/test.h"
#include "support/tmpdir.h"

#include "base/rng.h"
#include "store/store_checkpoint.h"
#include "store/store_page.h"
#include "store/store_recover.h"
#include "wal/wal_format.h"

#define PROCS  3
#define FRAMES 256
#define CAP    1200

static struct tmpdir dir;
static struct world w;
static struct store_txn *txns[PROCS];
static uint32_t db;

static struct store *
store(uint32_t i)
{
    return &w.procs[i].store;
}

static int
setup_with(uint32_t n_frames)
{
    tmpdir_make(&dir);
    world_init(&dir.io);
    db = world_open(&w, &dir.io, PROCS, n_frames, txns);
    return 0;
}

static int
setup(void **state)
{
    (void) state;
    return setup_with(FRAMES);
}

static int
setup_big(void **state)
{
    (void) state;
    return setup_with(2048);
}

static int
teardown(void **state)
{
    (void) state;
    world_close(&w, txns);
    tmpdir_remove(&dir);
    return 0;
}

static void
expect(uint32_t proc, const uint32_t *want, pgno_t n)
{
    uint32_t got[CAP + 1];
    struct err e = ERR_INIT;
    pgno_t got_n;

    assert_ok(world_read(txns[proc], got, CAP, &got_n, &e), &e);
    assert_int_equal(got_n, n);
    for (pgno_t pgno = 1; pgno <= n; pgno++)
        if (got[pgno] != want[pgno])
            fail_msg("process %u reads page %u as %u, want %u", proc, pgno, got[pgno], want[pgno]);
}

/* A write transaction of process 0, staged by the caller in between. */
static void
begin_write(void)
{
    struct err e = ERR_INIT;

    assert_ok(store_writer_take(store(0), db, 0, &e), &e);
    assert_ok(store_txn_begin(txns[0], &e), &e);
    assert_ok(store_txn_begin_write(txns[0], &e), &e);
}

static void
commit_write(void)
{
    struct err e = ERR_INIT;

    assert_ok(store_txn_prepare(txns[0], &e), &e);
    store_txn_commit(txns[0]);
    store_txn_end_write(txns[0]);
    store_txn_end(txns[0]);
    store_txn_barrier(txns[0], true);
}

static void
commit(uint32_t proc, uint32_t v, pgno_t n, const struct world_change *changes, uint32_t n_changes)
{
    struct err e = ERR_INIT;

    assert_ok(world_write(txns[proc], store(proc), db, v, n, changes, n_changes, WORLD_COMMIT, &e),
              &e);
}

static void
a_commit_is_seen_by_others_when_it_is_durable(void **state)
{
    static const struct world_change two = { 2, 7 };
    struct err e = ERR_INIT;

    (void) state;
    expect(1, (uint32_t[]){ 0, 1, 1, 1, 1 }, 4);
    commit(0, 2, 0, &two, 1);
    expect(1, (uint32_t[]){ 0, 2, 7, 1, 1 }, 4);
    assert_true(store_db_published(store(1), db) <= wal_durable(store(1)->wal));
    /* Asynchronous: only its own session sees it, until somebody syncs (SNAP-2, SNAP-7). */
    assert_ok(world_write(txns[0], store(0), db, 3, 0, &(struct world_change){ 3, 8 }, 1,
                          WORLD_COMMIT_ASYNC, &e),
              &e);
    expect(0, (uint32_t[]){ 0, 3, 7, 8, 1 }, 4);
    expect(1, (uint32_t[]){ 0, 2, 7, 1, 1 }, 4);
    assert_ok(store_walwriter_round(store(2), &e), &e);
    expect(1, (uint32_t[]){ 0, 3, 7, 8, 1 }, 4);
}

static void
an_open_snapshot_stays_what_it_was_and_an_old_one_cannot_write(void **state)
{
    static const struct world_change two = { 2, 7 };
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(store_txn_begin(txns[1], &e), &e);
    commit(0, 2, 0, &two, 1);
    assert_ok(store_txn_read(txns[1], 2, page, &e), &e);
    assert_int_equal(world_value(page, 2), 1);
    assert_ok(store_writer_take(store(1), db, 0, &e), &e);
    assert_int_equal(store_txn_begin_write(txns[1], &e), STORE_STALE);
    store_txn_end(txns[1]);
    assert_ok(store_txn_begin(txns[1], &e), &e);
    assert_int_equal(store_txn_begin_write(txns[1], &e), 0);
    assert_ok(store_txn_read(txns[1], 2, page, &e), &e);
    assert_int_equal(world_value(page, 2), 7);
    store_txn_end(txns[1]); /* gives the writer lock back */
    assert_int_equal(store_writer_owner(store(1), db), UINT32_MAX);
}

static void
a_rollback_leaves_no_trace_prepared_or_not(void **state)
{
    static const struct world_change two = { 2, 7 };
    struct cache_stats before;
    struct cache_stats after;
    struct err e = ERR_INIT;
    uint64_t upsets;
    lsn_t end = wal_insert_end(store(0)->wal);

    (void) state;
    expect(0, (uint32_t[]){ 0, 1, 1, 1, 1 }, 4);
    cache_stats(store(0)->cache, &before);
    upsets = store_txn_upsets(txns[0]);
    for (int i = 0; i < 100; i++) {
        assert_ok(world_write(txns[0], store(0), db, 9, 9, &two, 1,
                              i % 2 ? WORLD_ROLLBACK : WORLD_ROLLBACK_PREPARED, &e),
                  &e);
        assert_true(store_txn_upsets(txns[0]) == ++upsets);
    }
    cache_stats(store(0)->cache, &after);
    assert_int_equal(after.n_free, before.n_free);
    assert_true(wal_insert_end(store(0)->wal) == end);
    assert_int_equal(store(0)->self->hold, 0);
    assert_int_equal(store(0)->wal->reserved, 0);
    expect(0, (uint32_t[]){ 0, 1, 1, 1, 1 }, 4);
    commit(0, 2, 0, &two, 1);
    expect(1, (uint32_t[]){ 0, 2, 7, 1, 1 }, 4);
}

static void
after_a_refused_prepare_everything_is_swallowed(void **state)
{
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;
    struct store_txn *t = txns[0];

    (void) state;
    begin_write();
    world_fill(page, 2, 5, 4);
    assert_ok(store_txn_stage(t, 2, page, &e), &e);
    assert_int_equal(store_txn_prepare(t, &e), -ERR_INTERNAL_ERROR); /* no page 1 */
    err_clear(&e);
    world_fill(page, 2, 1, 4);
    assert_ok(store_txn_stage(t, 2, page, &e), &e); /* the pager writes the original back */
    assert_ok(store_txn_truncate(t, 4, &e), &e);
    assert_ok(store_txn_prepare(t, &e), &e);
    assert_ok(store_txn_read(t, 2, page, &e), &e);
    assert_int_equal(world_value(page, 2), 1);
    store_txn_end_write(t);
    store_txn_end(t);
    assert_int_equal(store(0)->self->hold, 0);
    commit(1, 2, 0, NULL, 0);
    expect(0, (uint32_t[]){ 0, 2, 1, 1, 1 }, 4);
}

static void
pages_nobody_wrote_are_zero_and_cut_ones_do_not_come_back(void **state)
{
    (void) state;
    commit(0, 2, 8, &(struct world_change){ 7, 3 }, 1);
    expect(1, (uint32_t[]){ 0, 2, 1, 1, 1, 0, 0, 3, 0 }, 8);
    commit(0, 3, 3, NULL, 0);
    expect(1, (uint32_t[]){ 0, 3, 1, 1 }, 3);
    commit(1, 4, 9, &(struct world_change){ 9, 6 }, 1);
    expect(2, (uint32_t[]){ 0, 4, 1, 1, 0, 0, 0, 0, 0, 6 }, 9);
}

static void
what_is_written_beyond_the_new_size_is_dropped(void **state)
{
    static const struct world_change changes[] = { { 2, 4 }, { 6, 4 }, { 8, 4 } };

    (void) state;
    commit(0, 2, 6, changes, 3);
    expect(1, (uint32_t[]){ 0, 2, 4, 1, 1, 0, 4 }, 6);
}

static void
the_handle_stands_on_its_own_commit_while_it_stays_open(void **state)
{
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;
    struct store_txn *t = txns[0];
    const void *fetched = NULL;

    (void) state;
    begin_write();
    assert_ok(store_txn_fetch(t, 3, &fetched, &e), &e);
    assert_non_null(fetched);
    world_fill(page, 1, 5, 5);
    assert_ok(store_txn_stage(t, 1, page, &e), &e);
    assert_int_equal(store_txn_size(t), 4);
    world_fill(page, 5, 5, 5);
    assert_ok(store_txn_stage(t, 5, page, &e), &e);
    assert_int_equal(store_txn_size(t), 5);
    assert_ok(store_txn_prepare(t, &e), &e);
    assert_int_equal(store_txn_size(t), 5);
    store_txn_commit(t);
    store_txn_end_write(t);
    assert_true(store_txn_is_open(t)); /* another SELECT goes on */
    assert_true(store_txn_version(t) == store_db_published(store(0), db));
    assert_true(store_txn_snapshot(t) == store_txn_version(t));
    assert_ok(store_txn_read(t, 5, page, &e), &e);
    assert_int_equal(world_value(page, 5), 5);
    assert_int_equal(world_value(fetched, 3), 1);
    store_txn_unfetch(t, fetched);
    store_txn_end(t);
    store_txn_barrier(t, true);
    expect(1, (uint32_t[]){ 0, 5, 1, 1, 1, 5 }, 5);
}

static void
the_first_change_is_an_image_the_next_a_delta(void **state)
{
    static const struct world_change two = { 2, 7 };
    static const struct world_change again = { 2, 8 };
    lsn_t at = wal_insert_end(store(0)->wal);
    uint64_t images;
    uint64_t deltas;

    (void) state;
    commit(0, 2, 0, &two, 1);
    images = wal_insert_end(store(0)->wal) - at;
    at = wal_insert_end(store(0)->wal);
    commit(0, 3, 0, &again, 1);
    deltas = wal_insert_end(store(0)->wal) - at;
    /* Two pages of 64 changed words each. */
    print_message("images %u bytes, deltas %u bytes\n", (unsigned) images, (unsigned) deltas);
    assert_true(deltas < 2 * 64 * 8 + 200);
    assert_int_equal(store(0)->wal->reserved, 0);
}

static void
a_long_commit_goes_record_by_record(void **state)
{
    static struct world_change changes[1000];
    static uint32_t want[1002];
    uint32_t n = ELEMENTSOF(changes);

    (void) state;
    for (uint32_t round = 2; round < 5; round++) {
        for (uint32_t i = 0; i < n; i++)
            changes[i] = (struct world_change){ n + 1 - i, round * 1000 + i }; /* descending */
        for (uint32_t i = 0; i < n; i++)
            want[n + 1 - i] = round * 1000 + i;
        want[1] = round;
        commit(round % PROCS, round, n + 1, changes, n);
        assert_false(store(round % PROCS)->has_long_commit);
        expect(0, want, n + 1);
    }
}

static void
more_pages_than_frames_is_53200_and_nothing_is_lost(void **state)
{
    static struct world_change changes[600];
    struct err e = ERR_INIT;
    int r;

    (void) state;
    for (uint32_t i = 0; i < ELEMENTSOF(changes); i++)
        changes[i] = (struct world_change){ 2 + i, 5 };
    r = world_write(txns[0], store(0), db, 5, 601, changes, ELEMENTSOF(changes), WORLD_COMMIT, &e);
    assert_string_equal(err_sqlstate(r), "53200");
    expect(1, (uint32_t[]){ 0, 1, 1, 1, 1 }, 4);
    commit(1, 2, 0, changes, 2);
    expect(0, (uint32_t[]){ 0, 2, 5, 5, 1 }, 4);
}

static void
many_commits_through_a_small_cache_stay_readable(void **state)
{
    uint32_t want[101] = { 0 };
    struct world_change changes[100];

    (void) state;
    want[1] = 1;
    for (uint32_t i = 0; i < 100; i++)
        changes[i] = (struct world_change){ i + 1, 1 };
    commit(0, 1, 100, changes + 1, 99);
    for (uint32_t i = 2; i <= 100; i++)
        want[i] = 1;
    for (uint32_t round = 0; round < 300; round++) {
        struct world_change c[3];

        for (uint32_t k = 0; k < 3; k++) {
            c[k] = (struct world_change){ 2 + (round * 7 + k * 31) % 99, round + 2 };
            want[c[k].pgno] = round + 2;
        }
        want[1] = round + 2;
        commit(round % PROCS, round + 2, 0, c, 3);
        if (round % 50 == 0)
            expect((round + 1) % PROCS, want, 100);
    }
    expect(1, want, 100);
}

/* ---- the lock-byte page (COMMIT-3, FILE-7) ---- */

#define BIG_OID 99u

/* A database that ends just below the lock-byte page; sparse, all zero but page 1. */
/* In the place of process 0's handle. */
static uint32_t
open_big_database(void)
{
    struct store_build b;
    struct err e = ERR_INIT;
    uint8_t page[PAGE_BYTES];
    uint32_t big;
    int fd;

    assert_ok(store_build_begin(&b, &dir.io, BIG_OID, BIG_OID, WORLD_SEG + 40, &e), &e);
    world_fill(page, 1, 1, LOCK_BYTE_PGNO - 1);
    assert_ok(store_build_write(&b, 1, page, &e), &e);
    assert_ok(store_build_finish(&b, &e), &e);
    store_build_close(&b);
    fd = io_open(&dir.io, "base/99/99", O_RDWR, 0);
    assert_int_equal(io_truncate(&dir.io, fd, (LOCK_BYTE_PGNO - 1) * (uint64_t) PAGE_BYTES), 0);
    (void) io_close(&dir.io, fd);
    assert_ok(store_db_attach(store(0), BIG_OID, BIG_OID, &big, &e), &e);
    store_txn_close(txns[0]);
    assert_ok(store_txn_open(store(0), big, &txns[0], &e), &e);
    return big;
}

static void
the_lock_byte_page_is_neither_logged_nor_written(void **state)
{
    static const struct world_change changes[] = { { LOCK_BYTE_PGNO - 1, 5 },
                                                   { LOCK_BYTE_PGNO + 2, 6 } };
    struct checkpoint_stats stats;
    struct store_txn *t;
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;
    uint32_t big;
    int fd;

    (void) state;
    big = open_big_database();
    t = txns[0];
    assert_ok(world_write(t, store(0), big, 2, LOCK_BYTE_PGNO + 3, changes, 2, WORLD_COMMIT, &e),
              &e);
    assert_ok(store_checkpoint(store(0), CKPT_FORCE, NULL, NULL, &stats, &e), &e);
    assert_int_equal(stats.n_pages, 5); /* 1, below, and three above: two of them never written */
    assert_ok(store_txn_begin(t, &e), &e);
    for (pgno_t pgno = LOCK_BYTE_PGNO - 1; pgno <= LOCK_BYTE_PGNO + 3; pgno++) {
        static const uint32_t want[] = { 5, 0, 0, 6, 0 };

        assert_ok(store_txn_read(t, pgno, page, &e), &e);
        assert_int_equal(world_value(page, pgno), want[pgno - LOCK_BYTE_PGNO + 1]);
    }
    store_txn_close(t);
    fd = io_open(&dir.io, "base/99/99", O_RDONLY, 0);
    assert_true(io_pread(&dir.io, fd, page, PAGE_BYTES, (uint64_t) 1 << 30) == PAGE_BYTES);
    assert_true(page_is_zero(page));
    (void) io_close(&dir.io, fd);
    assert_ok(store_txn_open(store(0), db, &txns[0], &e), &e);
}

/* All leave without a checkpoint; a startup process recovers, others attach. */
static void
recover(const struct store_listed *list, uint32_t n)
{
    struct recover_info info;
    struct err e = ERR_INIT;

    world_close(&w, txns);
    w = (struct world){ 0 };
    world_attach(&w, &dir.io, PROCS, FRAMES);
    assert_ok(store_recover(store(0), NULL, NULL, &info, &e), &e);
    assert_ok(store_recover_finish(store(0), list, n, &info, &e), &e);
    for (uint32_t i = 0; i < PROCS; i++) {
        assert_ok(store_db_attach(store(i), WORLD_OID, WORLD_OID, &db, &e), &e);
        assert_ok(store_txn_open(store(i), db, &txns[i], &e), &e);
    }
}

static void
a_database_of_more_than_a_gibibyte_is_recovered(void **state)
{
    static const struct store_listed list[] = { { WORLD_CATALOG, WORLD_CATALOG },
                                                { WORLD_OID, WORLD_OID },
                                                { BIG_OID, BIG_OID } };
    static const struct world_change changes[] = { { LOCK_BYTE_PGNO - 1, 5 },
                                                   { LOCK_BYTE_PGNO + 1, 6 },
                                                   { LOCK_BYTE_PGNO + 2, 7 } };
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;
    uint64_t bytes = 0;
    uint32_t big;
    int fd;

    (void) state;
    big = open_big_database();
    assert_ok(world_write(txns[0], store(0), big, 2, LOCK_BYTE_PGNO + 3, changes,
                          ELEMENTSOF(changes), WORLD_COMMIT, &e),
              &e);
    recover(list, ELEMENTSOF(list));
    fd = io_open(&dir.io, "base/99/99", O_RDONLY, 0);
    assert_ok(io_size(&dir.io, fd, &bytes), &e);
    assert_int_equal(bytes, (LOCK_BYTE_PGNO + 3) * (uint64_t) PAGE_BYTES);
    for (pgno_t pgno = LOCK_BYTE_PGNO - 1; pgno <= LOCK_BYTE_PGNO + 3; pgno++) {
        static const uint32_t want[] = { 5, 0, 6, 7, 0 };
        lsn_t lsn;

        assert_int_equal(
            io_pread(&dir.io, fd, page, PAGE_BYTES, (pgno - 1) * (uint64_t) PAGE_BYTES),
            PAGE_BYTES);
        assert_ok(page_check(page, pgno - 1, &lsn, &e), &e);
        assert_int_equal(world_value(page, pgno), want[pgno - LOCK_BYTE_PGNO + 1]);
        assert_int_equal(page_is_zero(page), pgno == LOCK_BYTE_PGNO);
    }
    (void) io_close(&dir.io, fd);
}

/* ---- synchronous_commit = off ---- */

/* COMMIT-2: what is not durable cannot be written back, so it must not fill the cache. */
static void
commits_that_nobody_syncs_are_synced_before_they_fill_the_cache(void **state)
{
    uint32_t n_waiting = 0; /* pages published since all was durable */
    uint32_t n_most = 0;
    uint32_t n_syncs = 0;
    lsn_t last = wal_durable(store(0)->wal);

    (void) state;
    for (uint32_t v = 2; v < 500; v++) {
        const struct world_change changes[] = { { 2, v }, { 3, v }, { 4, v } };
        struct err e = ERR_INIT;

        assert_ok(world_write(txns[0], store(0), db, v, 0, changes, ELEMENTSOF(changes),
                              WORLD_COMMIT_ASYNC, &e),
                  &e);
        expect(0, (uint32_t[]){ 0, v, v, v, v }, 4);
        if (wal_durable(store(0)->wal) > last) {
            n_syncs++;
            n_waiting = 0;
        }
        last = wal_durable(store(0)->wal);
        n_waiting += 4;
        n_most = MAX(n_most, n_waiting);
    }
    assert_in_range(n_most, FRAMES / 8, FRAMES / 4 + 8);
    assert_in_range(n_syncs, 1, 498 / 10);
}

/* ---- the checkpointer is asked by who fills the log ---- */

/* Pages that no compression makes smaller: about 130 kB of log. */
static void
commit_noise(struct rng *rng)
{
    static uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;

    begin_write();
    for (pgno_t pgno = 1; pgno <= 16; pgno++) {
        for (uint32_t i = 0; i < PAGE_TAIL_AT; i += 8)
            put_u64(page + i, rng_u64(rng));
        put_be32(page + 28, pgno == 1 ? 16 : 0);
        assert_ok(store_txn_stage(txns[0], pgno, page, &e), &e);
    }
    commit_write();
}

static void
a_commit_that_begins_a_segment_above_max_wal_size_asks_for_a_checkpoint(void **state)
{
    _Atomic uint32_t *request = &w.slots[2].request;
    uint64_t segno = wal_insert_end(store(0)->wal) / WORLD_SEG;
    struct rng rng;

    (void) state;
    rng_init(&rng, 1);
    store_role_take(store(2), STORE_ROLE_CHECKPOINTER);
    for (uint32_t n = 0; atomic_load(request) == 0; n++) {
        assert_true(n < 200);
        commit_noise(&rng);
        if (wal_insert_end(store(0)->wal) / WORLD_SEG > segno && store_checkpoint_is_due(store(0)))
            break;
        assert_int_equal(atomic_load(request), 0); /* too early */
        segno = wal_insert_end(store(0)->wal) / WORLD_SEG;
    }
    assert_true((atomic_load(request) & REQ_WORK) != 0);
    /* Once a segment is enough. */
    slot_request_clear(&w.slots[2], REQ_WORK);
    segno = wal_insert_end(store(0)->wal) / WORLD_SEG;
    commit_noise(&rng);
    assert_int_equal(wal_insert_end(store(0)->wal) / WORLD_SEG, segno);
    assert_int_equal(atomic_load(request), 0);
}

/* ---- stock pg_waldump ---- */

#define WALDUMP "/usr/lib/postgresql/15/bin/pg_waldump"

static void
commit_with(struct store_ride *ride, uint32_t v)
{
    uint8_t page[PAGE_BYTES];
    struct err e = ERR_INIT;

    begin_write();
    world_fill(page, 1, v, 3);
    assert_ok(store_txn_stage(txns[0], 1, page, &e), &e);
    store_txn_ride(txns[0], ride);
    commit_write();
}

static void
stock_pg_waldump_prints_the_listing_of_the_rules(void **state)
{
    static char out[1 << 16];
    static uint8_t pages[2 * PAGE_BYTES];
    struct err e = ERR_INIT;
    char cmd[300];
    FILE *f;
    size_t n;

    (void) state;
    if (access(WALDUMP, X_OK) != 0)
        skip();
    commit(0, 2, 0, &(struct world_change){ 2, 2 }, 1);
    commit(0, 3, 3, &(struct world_change){ 2, 3 }, 1);
    world_fill(pages, 1, 1, 2);
    world_fill(pages + PAGE_BYTES, 2, 1, 2);
    struct store_ride ride = {
        .kind = RIDE_CREATE_DB, .oid = 16385, .rel = 16385, .pages = pages, .n_pages = 2
    };

    commit_with(&ride, 4);
    ride = (struct store_ride){ .kind = RIDE_DROP_DB, .oid = WORLD_CATALOG, .rel = WORLD_CATALOG };
    assert_ok(store_db_attach(store(0), WORLD_CATALOG, WORLD_CATALOG, &ride.db, &e), &e);
    assert_ok(store_writer_take(store(0), ride.db, 0, &e), &e);
    assert_ok(store_drop_begin(store(0), ride.db, "gone", &e), &e);
    commit_with(&ride, 5);
    store_writer_drop(store(0), ride.db);
    store_db_detach(store(0), ride.db);
    (void) snprintf(cmd, sizeof cmd,
                    "LC_ALL=C TZ=UTC " WALDUMP " -p %s/pg_wal --start %X/%X --end %X/%X 2>&1",
                    dir.path, LSN_ARGS((lsn_t) WORLD_SEG + WAL_LONG_HEADER),
                    LSN_ARGS(wal_durable(store(0)->wal)));
    f = popen(cmd, "r");
    assert_non_null(f);
    n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    assert_int_equal(pclose(f), 0);
    assert_non_null(strstr(out, "rel 1663/5/5 blk 0 FPW, blkref #1: rel 1663/5/5 blk 1 FPW"));
    assert_non_null(strstr(out, "desc: COMMIT 20"));
    assert_non_null(strstr(out, "TRUNCATE base/5/5 to 3 blocks flags 1"));
    assert_non_null(strstr(out, "CREATE_WAL_LOG create dir 1663/16385"));
    assert_non_null(strstr(out, "CREATE base/16385/16385"));
    assert_non_null(strstr(out, "rel 1663/16385/16385 blk 1 FPW"));
    assert_non_null(strstr(out, "DROP dir 1663/1"));
    assert_non_null(strstr(out, "; rels: base/1/1"));
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_commit_is_seen_by_others_when_it_is_durable),
        T(an_open_snapshot_stays_what_it_was_and_an_old_one_cannot_write),
        T(a_rollback_leaves_no_trace_prepared_or_not),
        T(after_a_refused_prepare_everything_is_swallowed),
        T(pages_nobody_wrote_are_zero_and_cut_ones_do_not_come_back),
        T(what_is_written_beyond_the_new_size_is_dropped),
        T(the_handle_stands_on_its_own_commit_while_it_stays_open),
        T(the_first_change_is_an_image_the_next_a_delta),
        cmocka_unit_test_setup_teardown(a_long_commit_goes_record_by_record, setup_big, teardown),
        T(more_pages_than_frames_is_53200_and_nothing_is_lost),
        T(many_commits_through_a_small_cache_stay_readable),
        T(the_lock_byte_page_is_neither_logged_nor_written),
        T(a_database_of_more_than_a_gibibyte_is_recovered),
        T(commits_that_nobody_syncs_are_synced_before_they_fill_the_cache),
        T(a_commit_that_begins_a_segment_above_max_wal_size_asks_for_a_checkpoint),
        T(stock_pg_waldump_prints_the_listing_of_the_rules),
    };
    return cmocka_run_group_tests_name("store_commit", tests, NULL, NULL);
}
