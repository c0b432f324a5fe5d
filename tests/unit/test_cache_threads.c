/* cache: real threads over private memory: readers, one writer per database, write-back, a pruner,
 * the horizon. Each page read must be the one that its snapshot must see. For TSan:
 * CC=clang meson setup build-tsan -Db_sanitize=thread -Db_lundef=false; meson test --suite thread
 */
#include "support/test.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "support/cache_fake.h"

#define BLOCKS  40
#define COMMITS 2000
#define WRITERS 2
#define READERS 3

enum role { WRITER_0, WRITER_1, FLUSHER, CLEANER, READER_0, ROLES = READER_0 + READERS };

struct world {
    struct fake *f;
    pthread_barrier_t start;                      /* nobody is over before everybody runs */
    lsn_t hist[WRITERS][BLOCKS][COMMITS * 3 + 1]; /* before n_hist is raised (release) */
    _Atomic uint32_t n_hist[WRITERS][BLOCKS];
    _Atomic lsn_t inserting[WRITERS]; /* an insertion slot: nothing at or above it is shown */
    _Atomic uint32_t n_done;
    _Atomic uint64_t n_read;
};

struct thread {
    struct world *w;
    void *(*run)(void *);
    uint32_t proc;
    struct rng rng;
    uint64_t n_read;
};

static void
commit(struct thread *t, uint32_t db)
{
    struct world *w = t->w;
    struct cache *c = fake_cache(w->f, t->proc);
    blk_t first = (blk_t) rng_below(&t->rng, BLOCKS);
    uint32_t n = 1 + (uint32_t) rng_below(&t->rng, 3);
    uint32_t frames[3];
    blk_t blocks[3];
    lsn_t lsn;

    while (cache_frames_take(c, db, n, frames, NULL) != 0)
        ;
    atomic_store(&w->inserting[db], atomic_load(&w->f->next_lsn) + 1);
    lsn = atomic_fetch_add(&w->f->next_lsn, 10) + 10;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at;

        blocks[i] = (first + i * 7) % BLOCKS;
        at = atomic_load(&w->n_hist[db][blocks[i]]);
        fake_fill(cache_frame(c, frames[i]), db, blocks[i], lsn);
        w->hist[db][blocks[i]][at] = lsn;
        atomic_store(&w->n_hist[db][blocks[i]], at + 1);
    }
    cache_publish(c, db, FAKE_REL, blocks, frames, n, lsn);
    atomic_store(&w->inserting[db], 0);
}

static void *
run_writer(void *arg)
{
    struct thread *t = arg;

    for (uint32_t i = 0; i < COMMITS; i++)
        commit(t, t->proc);
    atomic_fetch_add(&t->w->n_done, 1);
    return NULL;
}

static bool
is_over(const struct world *w)
{
    return atomic_load(&w->n_done) == WRITERS;
}

/* The log: a flush waits for the slots below its target. */
static void *
run_flusher(void *arg)
{
    struct thread *t = arg;
    struct world *w = t->w;

    while (!is_over(w)) {
        lsn_t target = atomic_load(&w->f->next_lsn);

        for (uint32_t i = 0; i < WRITERS; i++) {
            lsn_t slot;

            while ((slot = atomic_load(&w->inserting[i])) != 0 && slot <= target)
                sched_yield();
        }
        cache_horizon_raise(fake_cache(w->f, t->proc), target);
        if (rng_below(&t->rng, 4) == 0)
            sched_yield();
    }
    return NULL;
}

static void *
run_cleaner(void *arg)
{
    struct thread *t = arg;
    struct cache *c = fake_cache(t->w->f, t->proc);
    uint32_t pos = 0;

    while (!is_over(t->w)) {
        uint32_t ids[16];
        uint32_t n = cache_scan_dirty(c, cache_horizon(c), &pos, ids, 16);

        for (uint32_t i = 0; i < n; i++)
            (void) fake_write_back(&t->w->f->procs[t->proc], ids[i], NULL);
        if (n == 0)
            pos = 0;
        (void) cache_prune(c, (uint32_t) rng_below(&t->rng, WRITERS));
        cache_maintain(c);
    }
    return NULL;
}

static void
check_page(struct thread *t, uint32_t db, blk_t b, lsn_t s, const struct cache_page *p)
{
    struct world *w = t->w;
    uint32_t lo = 0, hi = atomic_load(&w->n_hist[db][b]);

    while (lo < hi) { /* first > s */
        uint32_t mid = (lo + hi) / 2;

        if (w->hist[db][b][mid] <= s)
            lo = mid + 1;
        else
            hi = mid;
    }
    ASSERT(p->lsn == (lo == 0 ? 0 : w->hist[db][b][lo - 1]));
    ASSERT(fake_is(p->data, db, b, p->lsn));
    t->n_read++;
}

static void *
run_reader(void *arg)
{
    struct thread *t = arg;
    struct cache *c = fake_cache(t->w->f, t->proc);
    uint32_t entry[WRITERS];
    uint8_t spare[PAGE_BYTES];

    for (uint32_t db = 0; db < WRITERS; db++)
        ASSERT(cache_entry_claim(c, db, &entry[db], NULL) == 0);
    do {
        uint32_t db = (uint32_t) rng_below(&t->rng, WRITERS);
        lsn_t s = cache_snapshot_take(c, entry[db], 0);

        for (uint32_t i = (uint32_t) rng_below(&t->rng, 40); i > 0; i--) {
            blk_t b = (blk_t) rng_below(&t->rng, BLOCKS);
            struct err e = ERR_INIT;
            struct cache_page p;
            int r = cache_get(c, entry[db], FAKE_REL, b, spare, &p, &e);

            if (r == -ERR_SNAPSHOT_TOO_OLD)
                break;
            ASSERT(r == 0);
            check_page(t, db, b, s, &p);
            cache_unpin(c, &p);
        }
        ASSERT(cache_n_pinned(c) == 0);
        cache_snapshot_drop(c, entry[db]);
    } while (!is_over(t->w) || t->n_read == 0); /* the machine may not have run it until then */
    return NULL;
}

static void *
run_with_the_others(void *arg)
{
    struct thread *t = arg;

    pthread_barrier_wait(&t->w->start);
    return t->run(t);
}

static void
threads_see_what_their_snapshots_must(void **state)
{
    static void *(*const runs[])(void *) = { run_writer, run_writer, run_flusher, run_cleaner,
                                             run_reader, run_reader, run_reader };
    const struct cache_cfg cfg = {
        .n_frames = 96, .n_overflow = 32, .max_procs = ROLES, .snapshot_patience = USEC_PER_SEC
    };
    struct world *w = calloc(1, sizeof *w);
    struct thread t[ROLES];
    pthread_t id[ROLES];
    uint64_t n_read = 0;

    (void) state;
    static_assert(ELEMENTSOF(runs) == ROLES, "one per role");
    w->f = fake_new(&cfg, BLOCKS);
    assert_int_equal(pthread_barrier_init(&w->start, NULL, ROLES), 0);
    for (uint32_t i = 0; i < ROLES; i++) {
        t[i] = (struct thread){ .w = w, .run = runs[i], .proc = i };
        rng_init(&t[i].rng, i);
        assert_int_equal(pthread_create(&id[i], NULL, run_with_the_others, &t[i]), 0);
    }
    for (uint32_t i = 0; i < ROLES; i++) {
        pthread_join(id[i], NULL);
        n_read += t[i].n_read;
    }
    pthread_barrier_destroy(&w->start);
    assert_true(n_read > 0);
    fake_check(w->f);
    fake_free(w->f);
    free(w);
}

static void *
run_waiter(void *arg)
{
    struct cache *c = arg;

    for (lsn_t lsn = 1001; lsn <= 3000; lsn++) {
        ASSERT(cache_horizon_wait(c, lsn, NULL) == 0);
        ASSERT(cache_horizon(c) >= lsn);
    }
    return NULL;
}

static void
who_waits_for_the_horizon_is_woken_each_time_it_moves(void **state)
{
    const struct cache_cfg cfg = { .n_frames = 64, .max_procs = 3 };
    struct fake *f = fake_new(&cfg, 1);
    pthread_t id[2];

    (void) state;
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&id[i], NULL, run_waiter, fake_cache(f, i)), 0);
    for (lsn_t lsn = 1001; lsn <= 3000; lsn++) {
        cache_horizon_raise(fake_cache(f, 2), lsn);
        if (lsn % 16 == 0)
            sched_yield();
    }
    for (uint32_t i = 0; i < 2; i++)
        pthread_join(id[i], NULL);
    assert_int_equal(atomic_load(&fake_cache(f, 0)->sh->horizon_waiters), 0);
    fake_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_for_the_horizon_is_woken_each_time_it_moves),
        cmocka_unit_test(threads_see_what_their_snapshots_must),
    };

    return cmocka_run_group_tests_name("cache_threads", tests, NULL, NULL);
}
