/* The real src/cache over a made-up disk, log and store, under the scheduler of sim_sched: readers
 * with pins, one writer per database, flush, horizon, cleaner, checkpointer, a database that is
 * made and purged. Between the switches SERVE (CACHE-2) is checked by brute force, and each page
 * read must be the one its snapshot must see.
 *
 *     cache [--seed N | --seeds A B] [--steps N]      exit 1: a rule is broken; the seed replays */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cache/cache_evict.h"
#include "sim/sim_sched.h"
#include "support/cache_fake.h"

#define BLOCKS      6
#define DBS         3 /* 0, 1: a writer each; 2: made and purged by one */
#define SHORT_LIVED 2
#define HIST_MAX    8000
#define COMMITS_MAX 8000
#define WORDS       4
#define CHECK_EVERY 3
#define DRAIN_STEPS 400000
#define PATIENCE    (20 * USEC_PER_MSEC)

enum who {
    READER_0,
    READER_1,
    READER_2,
    READER_3,
    WRITER_0,
    WRITER_1,
    FLUSHER,
    HORIZON,
    CLEANER_0,
    CLEANER_1,
    CHECKPOINTER,
    DROPPER,
    HOG,
    PROCS
};

struct held {
    struct cache_page page;
    uint32_t db;
    blk_t block;
};

struct actor {
    uint32_t proc;
    uint32_t db; /* writers */
    uint32_t entry[DBS];
    lsn_t own[DBS];
    struct held held[3];
    uint32_t n_held;
};

struct world {
    struct fake *f;
    lsn_t front[DBS][BLOCKS]; /* the disk: a page is two halves */
    lsn_t back[DBS][BLOCKS];
    lsn_t hist[DBS][BLOCKS][HIST_MAX];
    uint32_t n_hist[DBS][BLOCKS];
    lsn_t commits[COMMITS_MAX]; /* all LSNs, rising */
    uint32_t n_commits;
    lsn_t inserted;       /* end of the log */
    lsn_t inserting[DBS]; /* insertion slot: the commit being published; 0 = none */
    lsn_t flushed;
    lsn_t published[DBS];   /* p */
    lsn_t live[PROCS][DBS]; /* confirmed snapshots; 0 = none */
    bool is_stopping;
    uint32_t n_busy; /* tasks that have not ended and may wait for a flush or for H */
    bool is_made;    /* the short-lived database */
    bool is_hot;     /* this seed: few pages, frames enough, commits and horizon without a pause */
    uint32_t n_blocks;
    struct actor actor[PROCS];
    uint64_t n_read, n_commit, n_too_old, n_aborted, n_ckpt, n_written, n_gave_up, n_purged;
};

static struct world *w;

static struct cache *
cache_of(const struct actor *a)
{
    return fake_cache(w->f, a->proc);
}

/* ---- what must be ---- */

static lsn_t
right_version(uint32_t db, blk_t b, lsn_t s)
{
    uint32_t lo = 0, hi = w->n_hist[db][b];

    while (lo < hi) { /* first > s */
        uint32_t mid = (lo + hi) / 2;

        if (w->hist[db][b][mid] <= s)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo == 0 ? 0 : w->hist[db][b][lo - 1];
}

static void
fill(uint8_t *p, uint32_t db, blk_t b, lsn_t lsn)
{
    const uint64_t words[WORDS] = { db, b, lsn, ~lsn };

    memcpy(p, words, sizeof words);
    memcpy(p + PAGE_BYTES - sizeof words, words, sizeof words);
}

static bool
is_content(const uint8_t *p, uint32_t db, blk_t b, lsn_t lsn)
{
    const uint64_t words[WORDS] = { db, b, lsn, ~lsn };

    return memcmp(p, words, sizeof words) == 0 &&
           memcmp(p + PAGE_BYTES - sizeof words, words, sizeof words) == 0;
}

/* SERVE for one page and snapshot. A bucket in the middle of a change is looked at later. */
static void
check_serve_page(uint32_t db, blk_t block, lsn_t s)
{
    struct cache *c = fake_cache(w->f, HOG);
    const struct cache_key key = { atomic_load(&c->db[db].oid), FAKE_REL, block };
    struct cache_bucket *b = cache_map_bucket(c, &key);
    lsn_t right = right_version(db, block, s);
    struct cache_chain *ch;
    uint32_t ref = 0;

    if (atomic_load(&b->lock.word) != 0)
        return;
    ch = cache_map_find(c, b, &key);
    if (ch != NULL)
        for (ref = atomic_load(&ch->head); ref != 0 && atomic_load(&c->ver[ref - 1].lsn) > s;)
            ref = atomic_load(&c->ver[ref - 1].older);
    if (ref != 0) {
        if (atomic_load(&c->ver[ref - 1].lsn) != right)
            sim_fail("SERVE: db %u block %u at %lu: chain has %lu, right is %lu", db, block, s,
                     atomic_load(&c->ver[ref - 1].lsn), right);
        if (!is_content(cache_frame(c, ref - 1), db, block, right))
            sim_fail("SERVE: db %u block %u: frame of %lu was reused", db, block, right);
    } else if (w->front[db][block] != right || w->back[db][block] != right) {
        sim_fail("SERVE: db %u block %u at %lu: not in the chain, disk has %lu/%lu, right is %lu",
                 db, block, s, w->front[db][block], w->back[db][block], right);
    }
}

static void
check_serve_at(uint32_t db, lsn_t s)
{
    for (blk_t b = 0; b < BLOCKS; b++)
        check_serve_page(db, b, s);
}

/* Between two switches. */
static void
check_world(void *arg UNUSED)
{
    lsn_t h = cache_horizon(fake_cache(w->f, HOG));
    lsn_t below = UINT64_MAX; /* what is being published cannot be a snapshot yet */

    for (uint32_t db = 0; db < DBS; db++)
        if (w->inserting[db] != 0)
            below = MIN(below, w->inserting[db]);
    for (uint32_t db = 0; db < DBS; db++) {
        if (db == SHORT_LIVED && !w->is_made)
            continue;
        for (uint32_t p = 0; p < PROCS; p++)
            if (w->live[p][db] != 0)
                check_serve_at(db, w->live[p][db]);
        check_serve_at(db, h);
        for (uint32_t i = w->n_commits; i-- > 0 && w->commits[i] > h;)
            if (w->commits[i] < below)
                check_serve_at(db, w->commits[i]);
    }
    for (uint32_t p = 0; p < PROCS; p++)
        for (uint32_t i = 0; i < w->actor[p].n_held; i++) {
            const struct held *hd = &w->actor[p].held[i];

            if (!is_content(hd->page.data, hd->db, hd->block, hd->page.lsn))
                sim_fail("a pinned page changed: db %u block %u", hd->db, hd->block);
        }
}

/* ---- disk, log, store ---- */

static int
sim_read(void *arg UNUSED, uint32_t db, const struct cache_key *key, void *p, lsn_t *ret_lsn,
         struct err *e UNUSED)
{
    lsn_t front = w->front[db][key->block];

    sim_yield("reading");
    if (w->back[db][key->block] != front)
        sim_fail("torn read: db %u block %u", db, key->block);
    fill(p, db, key->block, front);
    sim_yield("read");
    *ret_lsn = front;
    return 0;
}

/* A flush waits for the insertion slots below its target (WAL-6). */
static void
flush_to(lsn_t target)
{
    for (uint32_t db = 0; db < DBS; db++)
        while (w->inserting[db] != 0 && w->inserting[db] <= target)
            sim_pause(1);
    sim_yield("flushing");
    w->flushed = MAX(w->flushed, target);
}

static int
sim_write_back(void *arg, uint32_t page_idx, struct err *e)
{
    struct actor *a = arg;
    struct cache *c = cache_of(a);
    struct cache_wb wb;
    int r = cache_wb_begin(c, page_idx, &wb);

    if (r == CACHE_WB_CLEAN)
        return 0;
    if (r != 0)
        return r;
    flush_to(wb.lsn);
    if (cache_wb_must_save(c, &wb))
        r = cache_wb_save_disk(c, &wb, e);
    if (r < 0)
        sim_fail("saving: %s", e != NULL ? e->message : "?");
    if (r != 0) {
        w->n_gave_up++;
        cache_wb_end(c, &wb, 0);
        return r;
    }
    sim_yield("writing");
    if (!is_content(wb.data, wb.db, wb.key.block, wb.lsn))
        sim_fail("write-back of a frame that was reused: db %u block %u", wb.db, wb.key.block);
    w->front[wb.db][wb.key.block] = wb.lsn;
    sim_pause(sim_below(4));
    w->back[wb.db][wb.key.block] = wb.lsn;
    sim_yield("written");
    w->n_written++;
    cache_wb_end(c, &wb, wb.lsn);
    return 0;
}

/* ---- reading ---- */

static void
unpin_all(struct actor *a)
{
    while (a->n_held > 0)
        cache_unpin(cache_of(a), &a->held[--a->n_held].page);
}

/* Read one page and check it. False: the snapshot was cancelled, or an interrupt taken. */
static bool
read_one(struct actor *a, uint32_t db, blk_t block, lsn_t s)
{
    struct err e = ERR_INIT;
    struct cache_page p;
    uint8_t spare[PAGE_BYTES];
    bool with_spare = sim_below(4) != 0;
    int r =
        cache_get(cache_of(a), a->entry[db], FAKE_REL, block, with_spare ? spare : NULL, &p, &e);

    if (r == CACHE_NO_PIN && !with_spare)
        return true;
    if (r == -ERR_SNAPSHOT_TOO_OLD || r == -ERR_QUERY_CANCELED)
        return false;
    if (r != 0)
        sim_fail("read of db %u block %u at %lu: %s", db, block, s, e.message);
    sim_pause(sim_below(4) == 0 ? sim_below(6) : 0);
    if (p.lsn != right_version(db, block, s) || !is_content(p.data, db, block, p.lsn))
        sim_fail("read of db %u block %u at %lu: got %lu, right is %lu", db, block, s, p.lsn,
                 right_version(db, block, s));
    w->n_read++;
    if (p.pin != CACHE_NONE && a->n_held < ELEMENTSOF(a->held) && sim_below(2) == 0)
        a->held[a->n_held++] = (struct held){ .page = p, .db = db, .block = block };
    else
        cache_unpin(cache_of(a), &p);
    return true;
}

static void
end_snapshot(struct actor *a, uint32_t db)
{
    unpin_all(a);
    if (cache_n_pinned(cache_of(a)) != 0)
        sim_fail("pins left");
    w->live[a->proc][db] = 0;
    cache_snapshot_drop(cache_of(a), a->entry[db]);
}

static void
read_some(struct actor *a, uint32_t db)
{
    struct cache *c = cache_of(a);
    lsn_t s = cache_snapshot_take(c, a->entry[db], a->own[db]);

    if (s > w->flushed && s > a->own[db])
        sim_fail("a snapshot above what is durable: %lu", s);
    if (s < a->own[db])
        sim_fail("a session moved backward: %lu", s);
    w->live[a->proc][db] = s;
    a->own[db] = s; /* PROMISE-2 */
    for (uint64_t n = 1 + sim_below(w->is_hot ? 2 : 5); n > 0; n--) {
        if (!read_one(a, db, (blk_t) sim_below(w->n_blocks), s)) {
            w->n_too_old++;
            break;
        }
        if (sim_below(8) == 0)
            sim_pause(sim_below(300)); /* an open cursor */
    }
    end_snapshot(a, db);
}

/* The next waits may be interrupted (INT-1), or not. */
static void
set_deadline(struct actor *a)
{
    cache_of(a)->self->statement_deadline =
        sim_below(4) == 0 ? clock_mono_usec() + sim_below(10 * USEC_PER_MSEC) : 0;
}

/* The exit callback in the middle of a statement (SNAP-4); then another process in this slot. */
static void
leave_and_come(struct actor *a)
{
    struct cache *c = cache_of(a);
    uint32_t db = (uint32_t) sim_below(2);

    w->live[a->proc][db] = cache_snapshot_take(c, a->entry[db], 0);
    for (uint64_t n = sim_below(4); n > 0; n--)
        (void) read_one(a, db, (blk_t) sim_below(w->n_blocks), w->live[a->proc][db]);
    a->n_held = 0;
    w->live[a->proc][db] = 0;
    cache_process_exit(c);
    for (db = 0; db < DBS; db++) {
        a->own[db] = 0;
        ASSERT(cache_entry_claim(c, db, &a->entry[db], NULL) == 0);
    }
}

static void
run_reader(void *arg)
{
    struct actor *a = arg;

    while (!w->is_stopping) {
        set_deadline(a);
        read_some(a, (uint32_t) sim_below(2));
        if (sim_below(20) == 0)
            leave_and_come(a);
        sim_yield("reader");
    }
}

/* ---- writing ---- */

static lsn_t
begin_commit(uint32_t db, const blk_t *blocks, uint32_t n)
{
    w->inserted += 10;
    w->inserting[db] = w->inserted; /* one step: under the reservation's lock */
    ASSERT(w->n_commits < COMMITS_MAX);
    w->commits[w->n_commits++] = w->inserted;
    for (uint32_t i = 0; i < n; i++) {
        ASSERT(w->n_hist[db][blocks[i]] < HIST_MAX);
        w->hist[db][blocks[i]][w->n_hist[db][blocks[i]]++] = w->inserted;
    }
    return w->inserted;
}

/* COMMIT-5, as far as the cache sees it. */
static void
commit(struct actor *a, uint32_t db, const blk_t *blocks, const uint32_t *frames, uint32_t n)
{
    struct cache *c = cache_of(a);
    lsn_t lsn = begin_commit(db, blocks, n);

    for (uint32_t i = 0; i < n; i++)
        fill(cache_frame(c, frames[i]), db, blocks[i], lsn);
    sim_yield("inserted");
    cache_publish(c, db, FAKE_REL, blocks, frames, n, lsn);
    sim_yield("published");
    w->published[db] = lsn;
    sim_yield("p moved");
    cache_snapshot_advance(c, a->entry[db], lsn); /* VFS-5 */
    w->live[a->proc][db] = lsn;
    a->own[db] = lsn;
    w->inserting[db] = 0;
    w->n_commit++;
}

/* A write transaction: the writer lock is ours by construction. */
static void
write_once(struct actor *a, uint32_t db)
{
    struct cache *c = cache_of(a);
    uint32_t n = 1 + (uint32_t) sim_below(MIN(3, w->n_blocks));
    blk_t first = (blk_t) sim_below(w->n_blocks);
    uint32_t frames[3];
    blk_t blocks[3];
    bool ok = true;
    int r;

    set_deadline(a);
    cache_snapshot_take_at(c, a->entry[db], w->published[db]);
    w->live[a->proc][db] = w->published[db];
    for (uint32_t i = 0; i < n; i++) {
        blocks[i] = (first + i) % w->n_blocks;
        ok = ok && read_one(a, db, blocks[i], w->published[db]);
    }
    if (!ok && cache_snapshot_cancelled(c, a->entry[db]))
        sim_fail("a writer was cancelled");
    r = ok ? cache_frames_take(c, db, n, frames, NULL) : 1;
    if (r == 0 && sim_below(10) == 0) {
        cache_frames_give_back(c, frames, n);
        r = 1;
    }
    if (r == 0)
        commit(a, db, blocks, frames, n);
    else
        w->n_aborted++;
    end_snapshot(a, db);
}

static void
run_writer(void *arg)
{
    struct actor *a = arg;
    bool is_sync = !w->is_hot && sim_below(2) == 0;

    while (!w->is_stopping) {
        write_once(a, a->db);
        if (is_sync)
            while (w->flushed < a->own[a->db])
                sim_pause(1);
        for (uint64_t n = w->is_hot ? 0 : sim_below(3); n > 0; n--)
            read_some(a, a->db);
        sim_yield("writer");
    }
    w->n_busy--;
}

/* ---- the others ---- */

static void
run_flusher(void *arg UNUSED)
{
    while (!w->is_stopping || w->n_busy > 0) {
        lsn_t target = w->inserted;

        sim_pause(1 + sim_below(w->is_hot ? 2 : 12));
        flush_to(target);
    }
}

static void
run_horizon(void *arg)
{
    struct actor *a = arg;

    while (!w->is_stopping || w->n_busy > 0) {
        lsn_t h = w->flushed;

        sim_pause(sim_below(w->is_hot ? 2 : 9));
        if (w->is_hot || sim_below(5) != 0)
            cache_horizon_raise(cache_of(a), h);
        sim_pause(1);
    }
}

static void
run_cleaner(void *arg)
{
    struct actor *a = arg;
    struct cache *c = cache_of(a);
    uint32_t pos = 0;

    while (!w->is_stopping) {
        uint32_t db = (uint32_t) sim_below(2);
        uint32_t frames[2];
        uint32_t idx;

        switch (w->is_hot ? 3 : sim_below(4)) {
        case 0:
            idx = cache_clean_candidate(c, &pos);
            if (idx != CACHE_NONE)
                (void) sim_write_back(a, idx, NULL);
            else
                pos = 0;
            break;
        case 1:
            cache_maintain(c);
            break;
        case 2: /* presses on the clock */
            if (cache_frames_take(c, db, 2, frames, NULL) == 0)
                cache_frames_give_back(c, frames, 2);
            break;
        default:
            (void) cache_prune(c, db);
            break;
        }
        sim_pause(!w->is_hot && sim_below(3) == 0 ? sim_below(100) : 1);
    }
    w->n_busy--;
}

/* CKPT-3: after it, every page is on disk as of `redo` or newer, or has an image behind it. */
static void
check_paid(lsn_t redo)
{
    for (uint32_t db = 0; db < SHORT_LIVED; db++) {
        for (blk_t b = 0; b < BLOCKS; b++) {
            lsn_t owed = right_version(db, b, redo);
            lsn_t newest = right_version(db, b, UINT64_MAX);

            if (w->front[db][b] < owed && newest == owed)
                sim_fail("the checkpoint of %lu did not write db %u block %u: %lu", redo, db, b,
                         owed);
        }
    }
}

static void
checkpoint(struct actor *a)
{
    struct cache *c = cache_of(a);
    lsn_t redo;
    uint32_t pos = 0, n, ids[4];

    while (w->inserting[0] != 0 || w->inserting[1] != 0 || w->inserting[SHORT_LIVED] != 0)
        sim_pause(1); /* the gate */
    redo = w->inserted;
    while ((n = cache_scan_dirty(c, redo, &pos, ids, 4)) > 0) {
        for (uint32_t i = 0; i < n; i++) {
            while (cache_is_owed(c, ids[i], redo)) {
                int r = sim_write_back(a, ids[i], NULL);

                if (r == CACHE_WB_BUSY)
                    cache_io_wait(c, ids[i]);
                else if (r != 0)
                    cache_wb_relieve(c, CACHE_NONE);
            }
        }
    }
    check_paid(redo);
    w->n_ckpt++;
}

static void
run_checkpointer(void *arg)
{
    while (!w->is_stopping) {
        sim_pause(sim_below(w->is_hot ? 4000 : 200));
        checkpoint(arg);
    }
    w->n_busy--;
}

/* A database that is opened, written, and dropped again (FILE-3). */
static void
run_dropper(void *arg)
{
    struct actor *a = arg;
    struct cache *c = cache_of(a);
    oid_t oid = 20000;

    while (!w->is_stopping) {
        cache_db_open(c, SHORT_LIVED, oid++);
        w->published[SHORT_LIVED] = w->inserted;
        memset(w->n_hist[SHORT_LIVED], 0, sizeof w->n_hist[SHORT_LIVED]);
        memset(w->front[SHORT_LIVED], 0, sizeof w->front[SHORT_LIVED]);
        memset(w->back[SHORT_LIVED], 0, sizeof w->back[SHORT_LIVED]);
        a->own[SHORT_LIVED] = 0;
        w->is_made = true;
        for (uint64_t n = sim_below(6); n > 0; n--) {
            write_once(a, SHORT_LIVED);
            sim_pause(sim_below(40));
        }
        w->is_made = false;
        cache_purge(c, SHORT_LIVED, sim_below(2) == 0 ? FAKE_REL : 0);
        if (!cache_db_is_empty(c, SHORT_LIVED))
            sim_fail("pages or versions left after the purge");
        w->n_purged++;
        sim_pause(sim_below(w->is_hot ? 8000 : 400));
    }
    w->n_busy--;
}

/* ---- one seed ---- */

/* Nothing left but what must be: no pin, no io, the frames add up. */
static void
check_end(void)
{
    for (uint32_t p = 0; p < PROCS; p++)
        if (cache_n_pinned(fake_cache(w->f, p)) != 0 || w->f->procs[p].self.hold != 0)
            sim_fail("process %u left a pin or a hold", p);
    fake_check(w->f);
}

static void
setup(uint64_t seed)
{
    static const uint8_t frames_left[] = { 9, 12, 16, 24 };
    const struct cache_cfg cfg = {
        .n_frames = 64,
        .n_overflow = seed % 5 == 4 ? 4 : 0,
        .max_procs = PROCS,
        .snapshot_patience = PATIENCE,
    };
    uint32_t take = 64u - frames_left[sim_below(ELEMENTSOF(frames_left))];

    w = calloc(1, sizeof *w);
    w->is_hot = seed % 4 == 3;
    w->n_blocks = w->is_hot ? 1 + (uint32_t) sim_below(2) : BLOCKS;
    take = w->is_hot ? 0 : take;
    w->f = fake_new(&cfg, BLOCKS);
    fake_cache(w->f, 0)->sh->reserve = 1 + (uint32_t) sim_below(2);
    for (uint32_t p = 0; p < PROCS; p++) {
        struct actor *a = &w->actor[p];
        struct cache *c = fake_cache(w->f, p);

        *a = (struct actor){ .proc = p, .db = p == WRITER_1 ? 1 : 0 };
        c->ops = (struct cache_ops){ .read = sim_read, .write_back = sim_write_back, .arg = a };
        c->pin_quota = 4 + p % 3 * 4; /* 64 frames would give none */
        for (uint32_t db = 0; db < DBS; db++)
            ASSERT(cache_entry_claim(c, db, &a->entry[db], NULL) == 0);
    }
    for (uint32_t i = 0; i < take; i++)
        ASSERT(cache_frame_for_saving(fake_cache(w->f, HOG)) != CACHE_NONE);
    w->n_busy = 6; /* writers, cleaners, checkpointer, dropper */
    w->inserted = w->flushed = cache_horizon(fake_cache(w->f, 0));
    for (uint32_t db = 0; db < DBS; db++)
        w->published[db] = w->inserted;
}

static void
spawn_all(void)
{
    static const struct {
        const char *name;
        void (*run)(void *arg);
    } roles[PROCS] = {
        [READER_0] = { "reader 0", run_reader },
        [READER_1] = { "reader 1", run_reader },
        [READER_2] = { "reader 2", run_reader },
        [READER_3] = { "reader 3", run_reader },
        [WRITER_0] = { "writer 0", run_writer },
        [WRITER_1] = { "writer 1", run_writer },
        [FLUSHER] = { "flusher", run_flusher },
        [HORIZON] = { "horizon", run_horizon },
        [CLEANER_0] = { "cleaner 0", run_cleaner },
        [CLEANER_1] = { "cleaner 1", run_cleaner },
        [CHECKPOINTER] = { "checkpointer", run_checkpointer },
        [DROPPER] = { "dropper", run_dropper },
    };

    for (uint32_t p = 0; p < HOG; p++)
        sim_spawn(roles[p].name, roles[p].run, &w->actor[p]);
}

static void
run_seed(uint64_t seed, uint64_t steps, bool verbose)
{
    sim_begin(seed);
    setup(seed);
    spawn_all();
    (void) sim_run(steps, check_world, NULL, CHECK_EVERY);
    w->is_stopping = true;
    if (!sim_run(DRAIN_STEPS, check_world, NULL, CHECK_EVERY)) {
        sim_print_tasks();
        sim_fail("somebody does not come to an end");
    }
    check_end();
    if (verbose)
        printf("seed %lu: %lu reads, %lu commits, %lu aborted, %lu too old, %lu checkpoints, %lu "
               "written, %lu gave up, %lu purged\n",
               seed, w->n_read, w->n_commit, w->n_aborted, w->n_too_old, w->n_ckpt, w->n_written,
               w->n_gave_up, w->n_purged);
    sim_end();
    fake_free(w->f);
    free(w);
}

int
main(int argc, char **argv)
{
    uint64_t from = 0, to = 100, steps = 10000;
    bool verbose = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            from = strtoull(argv[++i], NULL, 10);
            to = from + 1;
            verbose = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 2 < argc) {
            from = strtoull(argv[++i], NULL, 10);
            to = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc) {
            steps = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "-v") == 0) {
            verbose = true;
        } else {
            fprintf(stderr, "usage: cache [--seed N | --seeds A B] [--steps N] [-v]\n");
            return 2;
        }
    }
    for (uint64_t seed = from; seed < to; seed++)
        run_seed(seed, steps, verbose);
    printf("cache: seeds %lu to %lu, %lu steps each: no rule is broken\n", from, to - 1, steps);
    return 0;
}
