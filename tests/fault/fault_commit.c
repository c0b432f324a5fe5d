/* Commit and checkpoint, with a fault at hit 1, 2, 3 … of any fault point until none fires: as an
 * error, as a crash; and with a power cut before or after each call that changes the disk. After
 * each the cluster recovers: every acknowledged transaction is there, each one whole or not at all,
 * in their order, and later ones go on. */
#include <stdio.h>
#include <string.h>

#include "fault/lives.h"
#include "support/store_world.h"
#include "support/test.h"

#include "base/rng.h"
#include "store/store_recover.h"
#include "store/store_writeback.h"
#include "wal/wal_record.h"

#define PROCS  2
#define FRAMES 64
#define PAGES  24 /* a database is never larger */
#define STEPS  22 /* transactions of one run */

/* The sim and what should be in it. state[k] is what the k-th transaction made. */
struct model {
    uint32_t v[STEPS + 2][PAGES + 1];
    pgno_t n[STEPS + 2];
    uint32_t n_begun; /* state[n_begun] may be there */
    uint32_t n_acked; /* state[n_acked] must be there, or a later one */
};

static struct world w;
static struct store_txn *t;
static uint32_t db;
static struct model model;

/* ---- one life ---- */

static void
attach(void)
{
    w = (struct world){ .store_cfg = { .max_wal_size = 3u << 20,
                                       .min_wal_size = 2u << 20,
                                       .completion_target = 0.9 } };
    world_attach(&w, io_sim_io(lives.sim), PROCS, FRAMES);
    t = NULL;
}

static int
open_database(struct err *e)
{
    int r = store_db_attach(&w.procs[0].store, WORLD_OID, WORLD_OID, &db, e);

    return r < 0 ? r : store_txn_open(&w.procs[0].store, db, &t, e);
}

/* One transaction of the run, the same each time: changes, sometimes growth or a cut. */
static void
run_one(uint32_t i)
{
    struct store *st = &w.procs[0].store;
    struct world_change changes[4];
    struct err e = ERR_INIT;
    struct rng rng;
    uint32_t *v = model.v[model.n_begun + 1];
    pgno_t was = model.n[model.n_begun];
    pgno_t n = was;
    bool is_rolled_back = i % 5 == 3;
    bool is_async = i % 4 == 1;
    int r;

    rng_init(&rng, i + 1);
    if (i % 2 == 1)
        n = 4 + (pgno_t) rng_below(&rng, PAGES - 4);
    memcpy(v, model.v[model.n_begun], sizeof model.v[0]);
    for (pgno_t pgno = was + 1; pgno <= n; pgno++)
        v[pgno] = 0;
    v[1] = 100 + i;
    for (uint32_t k = 0; k < ELEMENTSOF(changes); k++) {
        changes[k] = (struct world_change){ 2 + (pgno_t) rng_below(&rng, n - 1), 100 * i + k + 1 };
        v[changes[k].pgno] = changes[k].v;
    }
    model.n[model.n_begun + 1] = n;
    if (!is_rolled_back)
        model.n_begun++;
    r = world_write(t, st, db, 100 + i, n, changes, ELEMENTSOF(changes),
                    is_rolled_back ? WORLD_ROLLBACK_PREPARED
                    : is_async     ? WORLD_COMMIT_ASYNC
                                   : WORLD_COMMIT,
                    &e);
    if (is_rolled_back)
        return;
    if (r == 0)
        model.n_acked = is_async ? model.n_acked : model.n_begun;
    else
        model.n_begun--; /* failed cleanly: it must not be there */
}

/* What is left of the segment is filled, so that the next commit stands in another. */
static void
switch_segment(void)
{
    uint64_t per_seg = wal_segno(wal_insert_end(w.procs[1].store.wal), WORLD_SEG);
    uint8_t bytes[8192];

    while (wal_segno(wal_insert_end(w.procs[1].store.wal), WORLD_SEG) == per_seg) {
        struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_NOOP, .main_bytes = 8000 };
        struct buf b = buf_init(bytes, sizeof bytes);
        struct wal_inserted at;
        struct err e = ERR_INIT;
        static const uint8_t zeros[8000];

        rec.main = zeros;
        assert_ok(wal_record_put(&b, &rec, &e), &e);
        if (wal_make_room(w.procs[1].store.wal, MAXALIGN(b.n), &e) < 0 ||
            wal_reserve(w.procs[1].store.wal, MAXALIGN(b.n)) != 0)
            return;
        wal_insert(w.procs[1].store.wal, &(struct wal_bytes){ bytes, (uint32_t) b.n }, 1, 0, &at);
        wal_unreserve(w.procs[1].store.wal);
    }
    wal_flush(w.procs[1].store.wal, wal_insert_end(w.procs[1].store.wal));
}

/* As a start or stop does it; a copy is always whole (CKPT-5). */
static void
write_control_file(void)
{
    struct wal_control control;
    struct err e = ERR_INIT;

    if (wal_control_read(w.io, &control, &e) >= 0)
        (void) wal_control_write(w.io, &control, &e);
}

static void
run_all(void)
{
    struct checkpoint_stats stats;

    for (uint32_t i = 0; i < STEPS; i++) {
        lives_phase("commit", 30);
        run_one(i);
        lives_phase("write-back", 10);
        if (i % 8 == 5) /* behind an asynchronous commit */
            (void) store_write_back_all(&w.procs[1].store, db, NULL); /* what eviction may do */
        lives_phase("checkpoint", 80);
        if (i % 4 == 2)
            (void) store_checkpoint(&w.procs[1].store, CKPT_FORCE, NULL, NULL, &stats, NULL);
        lives_phase("segment switch and make", 20);
        if (i % 4 == 3)
            (void) store_walwriter_round(&w.procs[1].store, NULL);
        if (i == STEPS / 2)
            switch_segment();
        lives_phase("write-back", 10);
        if (i % 6 == 5)
            (void) store_bgwriter_round(&w.procs[1].store, 3, NULL);
        lives_phase("control file", 10);
        if (i % 8 == 6)
            write_control_file();
    }
}

/* Does a fresh snapshot show state k? */
static bool
is_state(uint32_t k, const uint32_t *got, pgno_t n)
{
    if (n != model.n[k])
        return false;
    for (pgno_t pgno = 1; pgno <= n; pgno++)
        if (got[pgno] != model.v[k][pgno])
            return false;
    return true;
}

static void
check(const char *what, unsigned hit)
{
    uint32_t got[PAGES + 1];
    struct err e = ERR_INIT;
    pgno_t n = 0;

    if (world_read(t, got, PAGES, &n, &e) < 0)
        fail_msg("%s %u: reading: %s (%s)", what, hit, e.message, e.detail);
    for (uint32_t k = model.n_acked; k <= model.n_begun; k++)
        if (is_state(k, got, n)) {
            model.n_acked = model.n_begun = k; /* what came later is gone for good */
            return;
        }
    for (pgno_t pgno = 1; pgno <= n; pgno++)
        if (got[pgno] != model.v[model.n_begun][pgno])
            print_error("page %u is %u, in state %u it is %u\n", pgno, got[pgno], model.n_begun,
                        model.v[model.n_begun][pgno]);
    fail_msg("%s %u: %u pages, page 1 is %u: none of the states %u … %u (%s)", what, hit, n, got[1],
             model.n_acked, model.n_begun, lives.why.message);
}

/* In another session's eyes: what it is shown must survive, what it is not shown may. */
static void
check_survivor(const char *what, unsigned hit)
{
    struct store *st = &w.procs[1].store;
    struct store_txn *mine = t;
    struct err e = ERR_INIT;
    uint32_t n_begun = model.n_begun;

    if (store_db_attach(st, WORLD_OID, WORLD_OID, &db, &e) < 0 ||
        store_txn_open(st, db, &t, &e) < 0)
        fail_msg("%s %u: opening: %s", what, hit, e.message);
    check(what, hit);
    model.n_begun = n_begun;
    store_txn_close(t);
    store_db_detach(st, db);
    t = mine;
}

static void
recover(const char *what, unsigned hit)
{
    static const struct store_listed list[] = { { WORLD_CATALOG, WORLD_CATALOG },
                                                { WORLD_OID, WORLD_OID } };
    struct recover_info info;
    struct err e = ERR_INIT;

    attach();
    if (store_recover(&w.procs[0].store, NULL, NULL, &info, &e) < 0 ||
        store_recover_finish(&w.procs[0].store, list, ELEMENTSOF(list), &info, &e) < 0)
        fail_msg("%s %u: recovery: %s (%s)", what, hit, e.message, e.detail);
    if (open_database(&e) < 0)
        fail_msg("%s %u: opening: %s", what, hit, e.message);
}

static void
begin_life(uint64_t seed)
{
    struct err e = ERR_INIT;

    lives.sim = io_sim_new(seed);
    world_init(io_sim_io(lives.sim));
    memset(&model, 0, sizeof model);
    for (pgno_t pgno = 1; pgno <= WORLD_PAGES; pgno++)
        model.v[0][pgno] = 1;
    model.n[0] = WORLD_PAGES;
    attach();
    world_start(&w);
    assert_ok(open_database(&e), &e);
}

/* The rest of a life whose run has ended, by itself or not. */
static void
end_life(const char *what, unsigned hit)
{
    world_detach(&w);
    io_sim_power_cut(lives.sim);
    recover(what, hit);
    check(what, hit);
    run_one(STEPS + 1); /* later ones go on */
    check(what, hit);
    world_detach(&w);
    io_sim_process_crash(lives.sim); /* and so they do after the next crash */
    recover(what, hit);
    check(what, hit);
    world_detach(&w);
    io_sim_free(lives.sim);
}

/* ---- deaths ---- */

struct lives lives = {
    .name = "fault_commit",
    .begin = begin_life,
    .run = run_all,
    .survived = check_survivor,
    .end = end_life,
    .seeds = 5,
    .least = 50,
    .least_calls = 200,
};
