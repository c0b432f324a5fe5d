/* CREATE and DROP DATABASE at the store's level (FILE-2, FILE-3): a made-up catalogue whose page 2
 * names the database there is, or none. With a fault at hit 1, 2, 3 … as error, full disk or crash,
 * and a power cut at each call that changes the disk; after recovery the files are those that the
 * catalogue names, with their content. */
#include <stdio.h>
#include <string.h>

#include "fault/lives.h"
#include "support/store_world.h"
#include "support/test.h"

#include "store/store_recover.h"

#define ROUNDS 2 /* databases made and dropped in one life */

static struct world w;
static struct store_txn *catalog_txn;
static uint32_t catalog;

/* What must, and what may be there after a crash: the oid in the catalogue (1 = none, as the first
 * content of its page 2 says) and the v of that database's page 1. */
static struct {
    uint32_t sure, maybe;
    uint32_t v_sure, v_maybe;
} model;

static struct store *
st(void)
{
    return &w.procs[0].store;
}

/* ---- statements ---- */

/* The catalogue's page 2 becomes `row`, with what rides along. */
static int
write_catalog(uint32_t row, struct store_ride *ride, struct err *e)
{
    uint8_t page[PAGE_BYTES];
    int r = store_writer_take(st(), catalog, 0, e);

    if (r < 0)
        return r;
    r = store_txn_begin(catalog_txn, e);
    if (r < 0) {
        store_writer_drop(st(), catalog);
        return r;
    }
    assert_int_equal(store_txn_begin_write(catalog_txn, e), 0);
    for (pgno_t pgno = 1; pgno <= 2 && r == 0; pgno++) {
        world_fill(page, pgno, row, WORLD_PAGES);
        r = store_txn_stage(catalog_txn, pgno, page, e);
    }
    store_txn_ride(catalog_txn, ride);
    if (r == 0)
        r = store_txn_prepare(catalog_txn, e);
    if (r == 0)
        store_txn_commit(catalog_txn);
    store_txn_end_write(catalog_txn);
    store_txn_end(catalog_txn);
    store_txn_barrier(catalog_txn, true);
    return r;
}

static int
build(struct store_build *b, oid_t oid, uint8_t pages[][PAGE_BYTES], struct err *e)
{
    int r = store_build_begin(b, w.io, oid, oid, wal_durable(st()->wal), e);

    for (pgno_t pgno = 1; pgno <= WORLD_PAGES && r == 0; pgno++) {
        world_fill(pages[pgno - 1], pgno, 7, WORLD_PAGES);
        r = store_build_write(b, pgno, pages[pgno - 1], e);
        if (r < 0)
            store_build_abort(b);
    }
    if (r == 0) {
        r = store_build_finish(b, e);
        if (r < 0)
            store_build_abort(b);
        store_build_close(b);
    }
    return r;
}

static int
create(oid_t *ret, struct err *e)
{
    static uint8_t pages[WORLD_PAGES][PAGE_BYTES];
    struct store_build b;
    struct store_ride ride = { .kind = RIDE_CREATE_DB, .pages = pages[0], .n_pages = WORLD_PAGES };
    int r = store_oid_new(st(), ret, e);

    if (r == 0)
        r = build(&b, *ret, pages, e);
    if (r < 0)
        return r;
    ride.oid = ride.rel = *ret;
    model.maybe = *ret;
    model.v_maybe = 7;
    r = write_catalog(*ret, &ride, e);
    if (r < 0) { /* FILE-2: remove what was made */
        store_build_abort(&b);
        model.maybe = model.sure;
    } else {
        model.sure = *ret;
        model.v_sure = 7;
    }
    return r;
}

static int
change(oid_t oid, uint32_t v, struct err *e)
{
    struct store_txn *t = NULL;
    uint32_t db;
    int r = store_db_attach(st(), oid, oid, &db, e);

    if (r < 0)
        return r;
    r = store_txn_open(st(), db, &t, e);
    if (r == 0) {
        model.v_maybe = v;
        r = world_write(t, st(), db, v, 0, NULL, 0, WORLD_COMMIT, e);
        if (r == 0)
            model.v_sure = v;
        else
            model.v_maybe = model.v_sure;
    }
    store_txn_close(t);
    store_db_detach(st(), db);
    return r;
}

static int
drop(oid_t oid, struct err *e)
{
    struct store_ride ride = { .kind = RIDE_DROP_DB, .oid = oid, .rel = oid };
    int r = store_db_attach(st(), oid, oid, &ride.db, e);

    if (r < 0)
        return r;
    r = store_writer_take(st(), ride.db, 0, e);
    if (r == 0) {
        r = store_drop_begin(st(), ride.db, "gone", e);
        if (r == 0) {
            model.maybe = 1;
            r = write_catalog(1, &ride, e);
            if (r < 0) {
                store_drop_cancel(st(), ride.db);
                model.maybe = model.sure;
            } else {
                model.sure = 1;
            }
        }
        store_writer_drop(st(), ride.db);
    }
    store_db_detach(st(), ride.db);
    return r;
}

static void
run_all(void)
{
    struct checkpoint_stats stats;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct err e = ERR_INIT;
        oid_t oid = 0;

        lives_phase("create database", 30);
        if (create(&oid, &e) < 0)
            continue;
        lives_phase("commit", 5);
        (void) change(oid, 20 + i, NULL);
        if (i % 2 == 1)
            (void) store_checkpoint(st(), CKPT_FORCE, NULL, NULL, &stats, NULL);
        (void) change(oid, 30 + i, NULL);
        lives_phase("drop database", 5);
        if (drop(oid, &e) < 0) {
            err_clear(&e);
            if (drop(oid, &e) < 0) /* the fault fires once */
                fail_msg("the second DROP fails as well: %s", e.message);
        }
        lives_phase("purge and checkpoint", 20);
        if (i % 2 == 0)
            (void) store_purge_dropped(st(), NULL);
        (void) store_checkpoint(st(), CKPT_FORCE, NULL, NULL, &stats, NULL);
    }
}

/* ---- lives ---- */

static void
attach(void)
{
    w = (struct world){ .store_cfg = { .max_wal_size = 3u << 20,
                                       .min_wal_size = 2u << 20,
                                       .completion_target = 0.9 } };
    world_attach(&w, io_sim_io(lives.sim), 1, 128);
}

static void
open_catalog(void)
{
    struct err e = ERR_INIT;

    assert_ok(store_db_attach(st(), WORLD_CATALOG, WORLD_CATALOG, &catalog, &e), &e);
    assert_ok(store_txn_open(st(), catalog, &catalog_txn, &e), &e);
}

static bool
dir_exists(oid_t oid)
{
    char path[64];
    int fd;

    store_path_file(path, sizeof path, oid, oid);
    fd = io_open(w.io, path, O_RDONLY, 0);
    if (fd >= 0)
        (void) io_close(w.io, fd);
    return fd >= 0;
}

/* The catalogue's row decides which file must be there, and which must not. */
static void
check(const char *what, unsigned hit, uint32_t row)
{
    struct err e = ERR_INIT;
    struct store_txn *t;
    uint32_t got[WORLD_PAGES + 1];
    uint32_t db;
    pgno_t n;

    if (row != model.sure && row != model.maybe)
        fail_msg("%s %u: the catalogue names %u, want %u or %u", what, hit, row, model.sure,
                 model.maybe);
    for (oid_t oid = FIRST_USER_OID; oid < FIRST_USER_OID + 10; oid++)
        if (dir_exists(oid) != (oid == row))
            fail_msg("%s %u: the catalogue names %u, and base/%u is %s", what, hit, row, oid,
                     oid == row ? "missing" : "there");
    if (row == 1)
        return;
    assert_ok(store_db_attach(st(), row, row, &db, &e), &e);
    assert_ok(store_txn_open(st(), db, &t, &e), &e);
    if (world_read(t, got, WORLD_PAGES, &n, &e) < 0)
        fail_msg("%s %u: base/%u: %s", what, hit, row, e.message);
    assert_int_equal(n, WORLD_PAGES);
    if (got[1] != model.v_sure && got[1] != model.v_maybe)
        fail_msg("%s %u: base/%u has %u, want %u or %u", what, hit, row, got[1], model.v_sure,
                 model.v_maybe);
    for (pgno_t pgno = 2; pgno <= n; pgno++)
        assert_int_equal(got[pgno], 7);
    store_txn_close(t);
    store_db_detach(st(), db);
}

static uint32_t
recover(const char *what, unsigned hit)
{
    struct store_listed list[] = { { WORLD_CATALOG, WORLD_CATALOG },
                                   { WORLD_OID, WORLD_OID },
                                   { 0, 0 } };
    struct recover_info info;
    struct err e = ERR_INIT;
    uint32_t got[WORLD_PAGES + 1];
    pgno_t n;

    attach();
    if (store_recover(st(), NULL, NULL, &info, &e) < 0)
        fail_msg("%s %u: recovery: %s (%s)", what, hit, e.message, e.detail);
    open_catalog();
    assert_ok(world_read(catalog_txn, got, WORLD_PAGES, &n, &e), &e);
    list[2] = (struct store_listed){ got[2], got[2] };
    if (store_recover_finish(st(), list, got[2] == 1 ? 2 : 3, &info, &e) < 0)
        fail_msg("%s %u: end of recovery: %s (%s)", what, hit, e.message, e.detail);
    return got[2];
}

static void
begin_life(uint64_t seed)
{
    lives.sim = io_sim_new(seed);
    world_init(io_sim_io(lives.sim));
    model.sure = model.maybe = 1;
    model.v_sure = model.v_maybe = 0;
    attach();
    world_start(&w);
    open_catalog();
}

static void
end_life(const char *what, unsigned hit)
{
    world_detach(&w);
    io_sim_power_cut(lives.sim);
    check(what, hit, recover(what, hit));
    world_detach(&w);
    io_sim_process_crash(lives.sim);
    check(what, hit, recover(what, hit));
    world_detach(&w);
    io_sim_free(lives.sim);
}

/* ---- deaths ---- */

struct lives lives = {
    .name = "fault_create_drop",
    .begin = begin_life,
    .run = run_all,
    .end = end_life,
    .seeds = 3,
    .least = 50,
    .least_calls = 100,
};
