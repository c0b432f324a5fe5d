/* cache: who gets frames when they are short (EVICT-2, -5), cancelling (SNAP-6), overflow (OVER-1).
 */
#include "support/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/cache_fake.h"

#define NF   64
#define LEFT 8 /* the reserve */

static struct cache_cfg
cfg_of(uint32_t n_overflow, usec_t patience)
{
    return (struct cache_cfg){
        .n_frames = NF, .n_overflow = n_overflow, .max_procs = 4, .snapshot_patience = patience
    };
}

/* Commit n single blocks from `from` on; the last result. */
static int
commit_range(struct fake *f, blk_t from, uint32_t n, struct err *e)
{
    int r = 0;

    for (blk_t b = from; b < from + n && r == 0; b++)
        r = fake_commit(f, 1, 0, &b, 1, NULL, e);
    return r;
}

static void
more_than_the_cache_can_ever_hold_is_refused_at_once(void **state)
{
    struct cache_cfg cfg = cfg_of(0, 3600 * USEC_PER_SEC);
    struct fake *f = fake_new(&cfg, 256);
    struct err e = ERR_INIT;
    uint32_t frames[NF];
    struct cache *c = fake_cache(f, 0);

    (void) state;
    assert_string_equal(err_sqlstate(cache_frames_take(c, 0, NF - LEFT + 1, frames, &e)), "53200");
    err_clear(&e);
    assert_ok(cache_frames_take(c, 0, NF - LEFT, frames, &e), &e);
    cache_frames_give_back(c, frames, NF - LEFT);
    fake_check(f);
    fake_free(f);
}

static void
all_frames_or_none_and_patience_bounds_the_wait(void **state)
{
    struct cache_cfg cfg = cfg_of(0, 5 * USEC_PER_MSEC);
    struct fake *f = fake_new(&cfg, 256);
    struct err e = ERR_INIT;
    uint32_t mine[40], other[40];
    struct cache *c = fake_cache(f, 0);

    (void) state;
    assert_ok(cache_frames_take(c, 0, 40, mine, &e), &e);
    assert_string_equal(err_sqlstate(cache_frames_take(fake_cache(f, 1), 1, 40, other, &e)),
                        "53200");
    assert_int_equal(atomic_load(&c->sh->n_free), NF - 40);
    assert_non_null(strstr(e.hint, "shared_buffers"));
    err_clear(&e);
    cache_frames_give_back(c, mine, 40);
    assert_ok(cache_frames_take(fake_cache(f, 1), 1, 40, other, &e), &e);
    fake_check(f);
    fake_free(f);
}

static void
dirty_victims_are_written_back_for_a_writer(void **state)
{
    struct cache_cfg cfg = cfg_of(64, USEC_PER_SEC);
    struct fake *f = fake_new(&cfg, 256);
    struct err e = ERR_INIT;
    struct cache_stats st;

    (void) state;
    cache_horizon_raise(fake_cache(f, 0), 1000000);
    assert_ok(commit_range(f, 0, 200, &e), &e);
    cache_stats(fake_cache(f, 0), &st);
    assert_true(st.n_written >= 200 - (NF - LEFT));
    assert_int_equal(st.n_overflow_used, 0);
    fake_check(f);
    fake_free(f);
}

static void
overflow_is_used_when_nothing_can_be_written(void **state)
{
    struct cache_cfg cfg = cfg_of(64, 5 * USEC_PER_MSEC);
    struct fake *f = fake_new(&cfg, 256);
    struct err e = ERR_INIT;
    struct cache_stats st;
    int r;

    (void) state;
    cache_horizon_raise(fake_cache(f, 0), 1000000);
    f->no_write = true;
    assert_ok(commit_range(f, 0, NF - LEFT + 64, &e), &e);
    cache_stats(fake_cache(f, 0), &st);
    assert_int_equal(st.n_overflow_used, 64);
    assert_int_equal(st.n_free, LEFT);
    r = commit_range(f, 200, 1, &e);
    assert_string_equal(err_sqlstate(r), "53200");
    assert_non_null(strstr(e.detail, "could not write")); /* the cause is told */
    fake_check(f);
    f->no_write = false;
    err_clear(&e);
    assert_ok(commit_range(f, 0, 120, &e), &e);
    cache_maintain(fake_cache(f, 0));
    fake_check(f);
    fake_free(f);
}

/* 2,000 dirty pages in the overflow, each of which a snapshot makes costly to write: a writer of
 * one page takes an overflow frame. Then the bgwriter's rounds empty the overflow. */
static void
one_frame_costs_few_writes_while_the_overflow_can_give_and_the_overflow_empties(void **state)
{
    struct cache_cfg cfg = cfg_of(6000, USEC_PER_SEC);
    struct fake *f = fake_new(&cfg, 4096);
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    struct cache_stats before, after;
    uint32_t entry = fake_snapshot(f, 1, 0, NULL);
    uint32_t pos, ids[64];
    blk_t blocks[2000];
    uint32_t n;

    (void) state;
    for (blk_t b = 0; b < 2000; b++)
        blocks[b] = b;
    cache_horizon_raise(c, 1000000);
    assert_ok(fake_commit(f, 0, 0, blocks, 2000, NULL, &e), &e);
    for (blk_t b = 2000; b < 2020; b++) {
        cache_stats(c, &before);
        assert_ok(fake_commit(f, 0, 0, &b, 1, NULL, &e), &e);
        cache_stats(c, &after);
        assert_true(after.n_written - before.n_written <= 64 + 16);
    }
    cache_snapshot_drop(fake_cache(f, 1), entry);
    for (pos = 0; (n = cache_scan_dirty(c, UINT64_MAX, &pos, ids, 64)) > 0;)
        for (uint32_t i = 0; i < n; i++)
            assert_ok(fake_write_back(&f->procs[0], ids[i], &e), &e);
    cache_prune(c, 0);
    for (int round = 0; round < 8; round++)
        cache_maintain(c);
    cache_stats(c, &after);
    assert_int_equal(after.n_overflow_used, 0);
    assert_int_equal(atomic_load(&c->sh->over_grown), 0);
    fake_check(f);
    fake_free(f);
}

static void
the_reserve_saves_a_disk_version_when_nothing_else_is_left(void **state)
{
    struct cache_cfg cfg = cfg_of(0, 0);
    struct fake *f = fake_new(&cfg, 256);
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    uint32_t entry = fake_snapshot(f, 0, 0, NULL);
    uint32_t pos = 0, ids[NF], n, busy = 0;

    (void) state;
    assert_ok(commit_range(f, 0, NF - LEFT, &e), &e); /* all frames but the reserve are dirty */
    cache_horizon_raise(c, 1000000);
    n = cache_scan_dirty(c, UINT64_MAX, &pos, ids, NF);
    assert_int_equal(n, NF - LEFT);
    for (uint32_t i = 0; i < n; i++)
        busy += fake_write_back(&f->procs[0], ids[i], &e) == CACHE_NO_PIN;
    assert_int_equal(busy, NF - LEFT - LEFT); /* the reserve did for eight; the others give up */
    assert_int_equal(atomic_load(&c->sh->n_free), 0);
    fake_check(f);
    cache_wb_relieve(c, CACHE_NONE); /* nothing to prune: the snapshot is asked to end */
    assert_true(cache_snapshot_cancelled(c, entry));
    cache_snapshot_drop(c, entry);
    assert_int_equal(cache_prune(c, 0), LEFT);
    for (uint32_t i = 0; i < n; i++)
        assert_ok(fake_write_back(&f->procs[0], ids[i], &e), &e);
    pos = 0;
    assert_int_equal(cache_scan_dirty(c, UINT64_MAX, &pos, ids, NF), 0);
    fake_check(f);
    fake_free(f);
}

/* A cancelled reader is asked, answers 72000, and only its release frees frames. */
static void
the_oldest_snapshot_is_asked_to_end_on_real_shortage_only(void **state)
{
    struct cache_cfg cfg = cfg_of(0, 2 * USEC_PER_MSEC);
    struct fake *f = fake_new(&cfg, 256);
    struct cache *c = fake_cache(f, 0), *w = fake_cache(f, 1);
    struct err e = ERR_INIT;
    struct cache_page p;
    uint32_t old = 0, pos = 0, other_db, writers;
    lsn_t lsn;
    int r = 0;

    (void) state;
    other_db = fake_snapshot(f, 2, 1, NULL);  /* older, but its database holds nothing */
    for (int i = 0; i < 100 && r == 0; i++) { /* each commit of block 0 is needed by a snapshot */
        blk_t b = 0;

        if (i == 1)
            old = fake_snapshot(f, 0, 0, NULL);
        assert_int_equal(cache_entry_claim(fake_cache(f, 3), 0, &writers, NULL), 0);
        r = fake_commit(f, 1, 0, &b, 1, &lsn, &e);
        if (r == 0)
            cache_horizon_raise(w, lsn);
        cache_entry_release(fake_cache(f, 3), writers);
    }
    assert_int_equal(r, 0); /* by interval one snapshot is no shortage */
    assert_false(cache_snapshot_cancelled(c, old));

    f->no_write = true;
    err_clear(&e);
    for (int i = 0; i < 2; i++) { /* nothing can be written: shortage */
        err_clear(&e);
        r = commit_range(f, 10, 100, &e);
        assert_string_equal(err_sqlstate(r), "53200");
    } /* the first took snapshot_patience, so the snapshot is older than that in the second */
    assert_true(cache_snapshot_cancelled(c, old));
    assert_false(cache_snapshot_cancelled(fake_cache(f, 2), other_db));
    assert_int_equal(cache_unresponsive(w, &pos), 0); /* process 0 */
    assert_int_equal(cache_unresponsive(w, &pos), CACHE_NONE);
    err_clear(&e);
    assert_string_equal(err_sqlstate(cache_get(c, old, FAKE_REL, 0, NULL, &p, &e)), "72000");
    cache_snapshot_drop(c, old);
    pos = 0;
    assert_int_equal(cache_unresponsive(w, &pos), CACHE_NONE);
    assert_int_not_equal(cache_snapshot_take(c, old, 0), 0);
    assert_false(cache_snapshot_cancelled(c, old)); /* the new one was not asked */
    fake_check(f);
    fake_free(f);
}

static void
a_holder_of_the_writer_lock_is_never_asked(void **state)
{
    struct cache_cfg cfg = cfg_of(0, 2 * USEC_PER_MSEC);
    struct fake *f = fake_new(&cfg, 256);
    struct cache *w = fake_cache(f, 1);
    struct err e = ERR_INIT;
    uint32_t mine, catalogue;
    lsn_t lsn;
    blk_t b = 0;

    (void) state;
    assert_ok(fake_commit(f, 1, 0, &b, 1, &lsn, &e), &e);
    cache_horizon_raise(w, lsn);
    assert_int_equal(cache_entry_claim(w, 0, &mine, NULL), 0);
    assert_int_equal(cache_entry_claim(w, 0, &catalogue, NULL), 0);
    cache_snapshot_take_at(w, mine, lsn);
    cache_snapshot_take(w, catalogue, 0);
    assert_ok(fake_commit(f, 1, 0, &b, 1, &lsn, &e), &e);
    cache_horizon_raise(w, lsn);
    f->no_write = true;
    assert_string_equal(err_sqlstate(commit_range(f, 10, 100, &e)), "53200");
    assert_false(cache_snapshot_cancelled(w, mine));
    assert_false(cache_snapshot_cancelled(w, catalogue));
    assert_int_equal(atomic_load(&w->sh->n_cancelled), 0);
    fake_free(f);
}

static void
an_interrupt_ends_the_wait_for_frames(void **state)
{
    struct cache_cfg cfg = cfg_of(0, 3600 * USEC_PER_SEC);
    struct fake *f = fake_new(&cfg, 256);
    struct err e = ERR_INIT;
    uint32_t mine[40], other[40];

    (void) state;
    assert_ok(cache_frames_take(fake_cache(f, 0), 0, 40, mine, &e), &e);
    f->procs[1].self.statement_deadline = clock_mono_usec();
    assert_string_equal(err_sqlstate(cache_frames_take(fake_cache(f, 1), 1, 40, other, &e)),
                        "57014");
    assert_int_equal(atomic_load(&fake_cache(f, 0)->sh->frame_waiters), 0);
    fake_free(f);
}

static uint64_t
disk_use(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t) st.st_blocks * 512;
}

static void
the_overflow_file_grows_before_use_and_its_free_tail_is_punched_out(void **state)
{
    struct cache_cfg cfg = cfg_of(6000, USEC_PER_SEC);
    const char *tmp = getenv("TMPDIR");
    int dir = open(tmp != NULL ? tmp : "/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t bytes = (cache_shm_bytes(&cfg) + 63) & ~UINT64_C(63);
    void *mem = aligned_alloc(64, bytes), *map;
    struct err e = ERR_INIT;
    struct self self;
    struct cache c;
    static uint32_t frames[6000];
    int fd;

    (void) state;
    memset(mem, 0, bytes);
    assert_ok(cache_over_create(&cfg, dir, &fd, &map, &e), &e);
    assert_int_equal(disk_use(fd), 0);
    cache_shm_init(mem, &cfg);
    self_init(&self, 0, NULL);
    cache_attach(&c, mem, &cfg, map, fd, &self, NULL);
    assert_ok(cache_frames_take(&c, 0, 3000, frames, &e), &e);
    for (uint32_t i = 0; i < 3000; i++)
        memset(cache_frame(&c, frames[i]), 1, CACHE_FRAME_BYTES);
    assert_true(disk_use(fd) >= 2 * CACHE_OVER_STEP - CACHE_FRAME_BYTES);
    cache_frames_give_back(&c, frames + 100, 2900);
    cache_maintain(&c);
    assert_true(disk_use(fd) <= CACHE_OVER_STEP + CACHE_FRAME_BYTES);
    assert_int_equal(cache_frame(&c, frames[99])[0], 1);
    assert_ok(cache_frames_take(&c, 0, 3000, frames + 100, &e), &e); /* and grows again */
    cache_process_exit(&c);
    cache_maintain(&c);
    assert_ok(cache_over_reset(fd, &e), &e);
    assert_int_equal(disk_use(fd), 0);
    munmap(map, (size_t) cfg.n_overflow * CACHE_FRAME_BYTES);
    close(fd);
    close(dir);
    free(mem);
}

static void
no_overflow_frame_is_handed_out_without_disk_space(void **state)
{
    struct cache_cfg cfg = cfg_of(64, 2 * USEC_PER_MSEC);
    struct fake *f = fake_new(&cfg, 256);
    struct cache *c = fake_cache(f, 0);
    struct err e = ERR_INIT;
    uint32_t frames[100];

    (void) state;
    c->over_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* cannot be allocated */
    assert_string_equal(err_sqlstate(cache_frames_take(c, 0, 100, frames, &e)), "53200");
    if (strstr(e.detail, "could not grow the overflow file") == NULL)
        fail_msg("%s / %s", e.message, e.detail);
    assert_int_equal(atomic_load(&c->sh->over_grown), 0);
    close(c->over_fd);
    c->over_fd = -1;
    err_clear(&e);
    assert_ok(cache_frames_take(c, 0, 100, frames, &e), &e);
    fake_check(f);
    fake_free(f);
}

/* Pages of memory behind the frames [from, from + n) that are there. */
static uint32_t
pages_there(const struct cache *c, uint32_t from, uint32_t n)
{
    uintptr_t begin = (uintptr_t) cache_frame_at(c, from) & ~(uintptr_t) 4095;
    size_t bytes = (uintptr_t) cache_frame_at(c, from + n) - begin;
    CLEANUP(freep) uint8_t *is_there = calloc(bytes / 4096 + 1, 1);
    uint32_t sum = 0;

    assert_non_null(is_there);
    assert_int_equal(mincore((void *) begin, bytes, is_there), 0);
    for (size_t i = 0; i < bytes / 4096; i++)
        sum += is_there[i] & 1;
    return sum;
}

static void
frames_have_their_memory_before_redo_takes_them(void **state)
{
    struct cache_cfg cfg = { .n_frames = 2 * CACHE_AHEAD, .max_procs = 2 };
    struct fake *f = fake_new(&cfg, 16);
    struct err e = ERR_INIT;
    struct cache *redo = fake_cache(f, 0);
    struct cache *helper = fake_cache(f, 1);
    static uint32_t frames[CACHE_AHEAD];
    uint8_t *first = cache_frame_at(redo, CACHE_AHEAD);

    (void) state;
    assert_ok(cache_frames_take(redo, 0, CACHE_AHEAD, frames, &e), &e);
    assert_false(cache_wants_ahead(redo, 0)); /* a short redo asks for nothing */
    assert_true(cache_wants_ahead(redo, CACHE_AHEAD - 1));
    first = (uint8_t *) (((uintptr_t) first + 4095) & ~(uintptr_t) 4095);
    assert_int_equal(
        madvise(first, (size_t) (CACHE_AHEAD - 2) * CACHE_FRAME_BYTES / 4096 * 4096, MADV_DONTNEED),
        0);
    *first = 7; /* somebody was faster */
    assert_true(pages_there(redo, CACHE_AHEAD + 2, CACHE_AHEAD - 8) < 8);
    assert_int_equal(cache_make_ahead(helper), CACHE_AHEAD);
    assert_int_equal(*first, 7);
    if (madvise(first, 4096, 23 /* MADV_POPULATE_WRITE, Linux 5.14 */) == 0)
        assert_true(pages_there(redo, CACHE_AHEAD + 2, CACHE_AHEAD - 8) >= 2 * (CACHE_AHEAD - 8));
    assert_int_equal(cache_make_ahead(helper), 0); /* all there are */
    assert_false(cache_wants_ahead(redo, CACHE_AHEAD - 1));
    cache_frames_give_back(redo, frames, CACHE_AHEAD);
    fake_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_the_cache_can_ever_hold_is_refused_at_once),
        cmocka_unit_test(all_frames_or_none_and_patience_bounds_the_wait),
        cmocka_unit_test(dirty_victims_are_written_back_for_a_writer),
        cmocka_unit_test(overflow_is_used_when_nothing_can_be_written),
        cmocka_unit_test(
            one_frame_costs_few_writes_while_the_overflow_can_give_and_the_overflow_empties),
        cmocka_unit_test(the_reserve_saves_a_disk_version_when_nothing_else_is_left),
        cmocka_unit_test(the_oldest_snapshot_is_asked_to_end_on_real_shortage_only),
        cmocka_unit_test(a_holder_of_the_writer_lock_is_never_asked),
        cmocka_unit_test(an_interrupt_ends_the_wait_for_frames),
        cmocka_unit_test(no_overflow_frame_is_handed_out_without_disk_space),
        cmocka_unit_test(the_overflow_file_grows_before_use_and_its_free_tail_is_punched_out),
        cmocka_unit_test(frames_have_their_memory_before_redo_takes_them),
    };

    return cmocka_run_group_tests_name("cache_frames", tests, NULL, NULL);
}
