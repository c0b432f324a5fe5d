/* The log, written and read back: by many threads as processes, over a small ring and small
 * segments. Also run under TSan. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "support/test.h"
#include "support/tmpdir.h"

#include "base/rng.h"
#include "wal/wal.h"
#include "wal/wal_archive.h"
#include "wal/wal_page.h"
#include "wal/wal_reader.h"
#include "wal/wal_record.h"
#include "wal/wal_shared.h"
#include "wal/wal_source_io.h"

#define SEG     WAL_SEGMENT_BYTES_MIN
#define THREADS 6
#define ROUNDS  250

struct rig {
    struct tmpdir dir;
    struct wal_cfg cfg;
    void *mem;
};

static struct rig rig;
static const lsn_t log_begin = SEG + WAL_LONG_HEADER;

static void
attach(struct wal *w, struct self *self, uint32_t procno)
{
    self_init(self, procno, NULL);
    wal_attach(w, rig.mem, &rig.cfg, &rig.dir.io, self, NULL);
}

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&rig.dir);
    rig.cfg = (struct wal_cfg){
        .segsize = SEG, .n_buffers = 8, .max_procs = THREADS + 1, .system_id = 77
    };
    rig.mem = aligned_alloc(8192, (wal_shm_bytes(&rig.cfg) + 8191) / 8192 * 8192);
    wal_shm_init(rig.mem, &rig.cfg);
    return io_mkdir(&rig.dir.io, WAL_DIR, 0700);
}

static int
teardown(void **state)
{
    (void) state;
    free(rig.mem);
    tmpdir_remove(&rig.dir);
    return 0;
}

/* A NOOP record whose main data say who wrote it: thread, sequence, then filler that follows from
 * both. */
static uint32_t
encode(uint8_t *p, size_t cap, uint32_t thread, uint32_t seq, uint32_t filler)
{
    static _Thread_local uint8_t body[70000];
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_NOOP, .main = body };
    struct buf b = buf_init(p, cap);
    struct err e = ERR_INIT;

    put_u32(body, thread);
    put_u32(body + 4, seq);
    memset(body + 8, (int) (thread * 31 + seq), filler);
    rec.main_bytes = 8 + filler;
    assert_ok(wal_record_put(&b, &rec, &e), &e);
    return (uint32_t) b.n;
}

static void
insert_one(struct wal *w, uint32_t thread, uint32_t seq, struct rng *rng)
{
    static _Thread_local uint8_t bytes[3][80000];
    struct wal_bytes recs[3];
    uint32_t n = 1 + (uint32_t) rng_below(rng, 3);
    struct wal_inserted at;
    struct err e = ERR_INIT;
    uint64_t u = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t filler = i + 1 < n && rng_below(rng, 10) == 0 ? (uint32_t) rng_below(rng, 60000)
                                                               : (uint32_t) rng_below(rng, 300);
        recs[i] = (struct wal_bytes){ bytes[i], encode(bytes[i], sizeof bytes[i], thread,
                                                       seq * 4 + i, filler) };
        u += MAXALIGN(recs[i].n);
    }
    while (wal_reserve(w, u) == WAL_NO_ROOM)
        assert_ok(wal_make_room(w, u, &e), &e);
    wal_insert(w, recs, n, WAL_KEEP_SLOT, &at);
    wal_slot_release(w);
    wal_unreserve(w);
    if (rng_below(rng, 3) == 0) {
        wal_flush(w, at.end);
        assert_true(wal_durable(w) >= at.end);
    }
}

static void *
writer(void *arg)
{
    uint32_t thread = (uint32_t) (uintptr_t) arg;
    struct self self;
    struct wal w;
    struct rng rng;

    rng_init(&rng, thread);
    attach(&w, &self, thread);
    for (uint32_t i = 0; i < ROUNDS; i++)
        insert_one(&w, thread, i, &rng);
    wal_flush(&w, wal_insert_end(&w));
    wal_process_exit(&w);
    wal_detach(&w);
    return NULL;
}

/* Read the whole log; per thread the sequence must ascend. Returns the number of NOOP records and
 * sets the end. */
static uint32_t
read_back(lsn_t from, lsn_t *ret_end)
{
    struct wal_history h;
    struct wal_source_io src;
    struct wal_reader *r = NULL;
    const struct wal_decoded *d;
    uint32_t last[THREADS + 1] = { 0 };
    uint32_t n = 0;
    struct err e = ERR_INIT;
    int rc;

    assert_ok(wal_history_init(&h, 1, &e), &e);
    wal_source_io_init(&src, &rig.dir.io, &h, SEG);
    assert_ok(wal_reader_new(&r,
                             &(struct wal_reader_params){ .read = wal_source_io_read,
                                                          .arg = &src,
                                                          .segment_bytes = SEG,
                                                          .sysid = 77,
                                                          .history = &h },
                             &e),
              &e);
    wal_reader_seek(r, from);
    while ((rc = wal_reader_next(r, &d, &e)) == 0) {
        if (d->info != XLOG_NOOP || d->main_bytes < 8)
            continue;
        uint32_t thread = get_u32(d->main);
        uint32_t seq = get_u32(d->main + 4);

        assert_true(thread <= THREADS);
        assert_true(last[thread] == 0 || seq + 1 > last[thread]);
        for (uint32_t i = 8; i < d->main_bytes; i++)
            if (d->main[i] != (uint8_t) (thread * 31 + seq))
                fail_msg("thread %u record %u: byte %u differs", thread, seq, i);
        last[thread] = seq + 1;
        n++;
    }
    assert_ok(rc, &e);
    *ret_end = wal_reader_end(r);
    wal_reader_free(r);
    wal_source_io_done(&src);
    wal_history_done(&h);
    return n;
}

static void
what_many_processes_insert_is_read_back_in_order(void **state)
{
    pthread_t t[THREADS];
    struct self self;
    struct wal w;
    struct err e = ERR_INIT;
    lsn_t end;

    (void) state;
    attach(&w, &self, THREADS);
    assert_ok(wal_start(&w, 1, log_begin, 0, &e), &e);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, writer, (void *) i), 0);
    for (int i = 0; i < THREADS; i++)
        (void) pthread_join(t[i], NULL);
    assert_true(read_back(log_begin, &end) >= THREADS * ROUNDS);
    assert_true(end == wal_insert_end(&w));
    assert_true(wal_durable(&w) == end);
    wal_detach(&w);
}

static void
the_log_goes_on_where_a_restart_found_its_end(void **state)
{
    struct self self;
    struct wal w;
    struct rng rng;
    struct err e = ERR_INIT;
    lsn_t end;
    lsn_t at = log_begin;
    lsn_t prev = 0;
    uint32_t n = 0;

    (void) state;
    rng_init(&rng, 5);
    for (uint32_t life = 0; life < 40; life++) {
        wal_shm_init(rig.mem, &rig.cfg);
        attach(&w, &self, 0);
        assert_ok(wal_start(&w, 1, at, prev, &e), &e);
        for (uint32_t i = 0; i < 5; i++)
            insert_one(&w, 0, life * 5 + i, &rng);
        wal_flush(&w, wal_insert_end(&w));
        at = wal_insert_end(&w);
        prev = wal_last_record(&w);
        wal_detach(&w);
        n = read_back(log_begin, &end);
        assert_true(end == at);
    }
    assert_true(n >= 200);
}

static void
a_switch_fills_the_segment_and_a_recycled_one_shows_nothing_old(void **state)
{
    struct self self;
    struct wal w;
    struct rng rng;
    struct err e = ERR_INIT;
    struct wal_recycled gone;
    uint8_t bytes[32];
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_SWITCH };
    lsn_t end;
    lsn_t before = log_begin;

    (void) state;
    rng_init(&rng, 9);
    attach(&w, &self, 0);
    assert_ok(wal_start(&w, 1, log_begin, 0, &e), &e);
    for (uint32_t i = 0; i < 20; i++) {
        struct buf b = buf_init(bytes, sizeof bytes);
        struct wal_inserted at;

        for (uint32_t k = 0; k < 5; k++)
            insert_one(&w, 0, i * 8 + k, &rng);
        assert_ok(wal_keep_ahead(&w, 2, &e), &e);
        assert_ok(wal_record_put(&b, &rec, &e), &e);
        wal_insert(&w, &(struct wal_bytes){ bytes, (uint32_t) b.n }, 1, WAL_SWITCH, &at);
        assert_int_equal(at.end % SEG, 0);
        wal_flush(&w, at.end);
        (void) read_back(before, &end);
        assert_true(end == at.end);
        before = wal_start_of(at.end, SEG);
        assert_ok(wal_recycle(&w, at.end, at.end + 4 * SEG, &gone, &e), &e);
        assert_int_equal(gone.n_recycled + gone.n_removed, 1);
    }
    insert_one(&w, 0, 1000, &rng);
    wal_flush(&w, wal_insert_end(&w));
    (void) read_back(before, &end);
    assert_true(end == wal_insert_end(&w));
    wal_detach(&w);
}

static void
insert_filler(struct wal *w, uint32_t seq, uint32_t filler)
{
    uint8_t bytes[512];
    struct wal_bytes rec = { bytes, encode(bytes, sizeof bytes, 0, seq, filler) };
    struct wal_inserted at;

    assert_int_equal(wal_reserve(w, MAXALIGN(rec.n)), 0);
    wal_insert(w, &rec, 1, 0, &at);
    wal_unreserve(w);
}

/* Somebody has taken the place behind a full page and not yet made the next page's buffer: its slot
 * stands behind the header of a page that is still an old one in the ring. */
static void
a_flush_up_to_a_full_page_writes_nothing_of_the_next(void **state)
{
    struct self self;
    struct wal w;
    struct err e = ERR_INIT;
    lsn_t end;
    lsn_t full;
    uint32_t seq = 0;
    uint64_t u;

    (void) state;
    attach(&w, &self, 0);
    assert_ok(wal_start(&w, 1, log_begin, 0, &e), &e);
    do { /* more than the ring holds, then up to the end of a page */
        uint32_t left = WAL_PAGE_BYTES - wal_page_offset(wal_insert_end(&w));

        insert_filler(&w, seq++, left >= 48 && left <= 256 ? left - 34 : 14);
    } while (wal_insert_end(&w) < log_begin + 20 * WAL_PAGE_BYTES ||
             wal_page_offset(wal_insert_end(&w)) != 0);
    full = wal_insert_end(&w);
    u = w.sh->insert_u;
    atomic_store(&w.sh->slot_top, 2);
    atomic_store(&wal_slots(&w)[1].inserting, wal_insert_at(&w));
    w.sh->insert_u += 64;
    wal_flush(&w, full);
    assert_true(atomic_load(&w.sh->written) == full);
    atomic_store(&wal_slots(&w)[1].inserting, 0);
    w.sh->insert_u = u;
    insert_filler(&w, seq++, 14);
    wal_flush(&w, wal_insert_end(&w));
    assert_int_equal(read_back(log_begin, &end), seq);
    assert_true(end == wal_insert_end(&w));
    wal_detach(&w);
}

static void
a_segment_made_ahead_says_how_large_it_is(void **state)
{
    struct self self;
    struct wal w;
    struct err e = ERR_INIT;
    uint8_t p[WAL_LONG_HEADER + WAL_RECORD_HEADER];
    struct wal_page_want want = { .lsn = 3 * SEG, .sysid = 77, .segment_bytes = SEG, .tli_min = 1 };
    struct wal_page page;
    int fd;

    (void) state;
    attach(&w, &self, 0);
    assert_ok(wal_start(&w, 1, log_begin, 0, &e), &e);
    assert_ok(wal_keep_ahead(&w, 2, &e), &e);
    fd = io_open(&rig.dir.io, WAL_DIR "/000000010000000000000003", O_RDONLY, 0);
    assert_true(io_pread(&rig.dir.io, fd, p, sizeof p, 0) == sizeof p);
    (void) io_close(&rig.dir.io, fd);
    assert_ok(wal_page_get(p, sizeof p, &want, &page, &e), &e);
    assert_int_equal(page.segment_bytes, SEG);
    assert_int_equal(get_u32(p + WAL_LONG_HEADER), 0); /* and there is no record in it */
    wal_detach(&w);
}

/* Write records of half a page each, without a flush, until segment `segno` is left behind. */
static void
leave_segment(struct wal *w, uint64_t segno)
{
    static uint8_t bytes[5000];

    for (uint32_t seq = 0; atomic_load(&w->sh->written) < (segno + 1) * SEG; seq++) {
        struct wal_bytes rec = { bytes, encode(bytes, sizeof bytes, 0, seq, 4000) };
        struct wal_inserted at;
        struct err e = ERR_INIT;

        while (wal_reserve(w, MAXALIGN(rec.n)) == WAL_NO_ROOM)
            assert_ok(wal_make_room(w, MAXALIGN(rec.n), &e), &e);
        wal_insert(w, &rec, 1, WAL_KEEP_SLOT, &at);
        wal_slot_release(w);
        wal_unreserve(w);
    }
}

static void
expect_archive_state(uint64_t segno, int want)
{
    char name[WAL_SEGMENT_NAME_BYTES];
    struct err e = ERR_INIT;

    wal_segment_name(name, 1, segno, SEG);
    if (wal_archive_state(&rig.dir.io, name, &e) != want)
        fail_msg("segment %s: %d, want %d", name, wal_archive_state(&rig.dir.io, name, &e), want);
}

static void
a_partial_segment_goes_with_those_of_its_age(void **state)
{
    static const char old[] = WAL_DIR "/000000010000000000000001" WAL_PARTIAL;
    static const char young[] = WAL_DIR "/000000010000000000000009" WAL_PARTIAL;
    struct self self;
    struct wal w;
    struct err e = ERR_INIT;
    struct wal_recycled gone;

    (void) state;
    attach(&w, &self, 0);
    assert_ok(wal_start(&w, 1, log_begin, 0, &e), &e);
    assert_ok(io_write_file_durably(&rig.dir.io, WAL_DIR, old, "x", 1, &e), &e);
    assert_ok(io_write_file_durably(&rig.dir.io, WAL_DIR, young, "x", 1, &e), &e);
    leave_segment(&w, 3);
    wal_flush(&w, wal_insert_end(&w));
    assert_ok(wal_recycle(&w, 3 * SEG, 100 * SEG, &gone, &e), &e);
    assert_int_equal(gone.n_recycled, 2);
    assert_int_equal(gone.n_removed, 1); /* it may be shorter */
    assert_int_equal(io_unlink(&rig.dir.io, old), -ENOENT);
    assert_int_equal(io_unlink(&rig.dir.io, young), 0);
    wal_detach(&w);
}

/* It would be archived twice, and a command that does not overwrite would fail for ever. */
static void
a_segment_that_another_process_finished_and_the_archive_has_is_not_marked_again(void **state)
{
    char name[WAL_SEGMENT_NAME_BYTES];
    struct self selves[2];
    struct wal a, b;
    struct err e = ERR_INIT;
    lsn_t at;

    (void) state;
    rig.cfg.archiving = true;
    assert_ok(io_mkdir(&rig.dir.io, WAL_STATUS_DIR, 0700), &e);
    attach(&a, &selves[0], 0);
    attach(&b, &selves[1], 1);
    assert_ok(wal_start(&a, 1, log_begin, 0, &e), &e);
    leave_segment(&a, 1);
    expect_archive_state(1, WAL_ARCHIVE_NONE); /* for want of buffers, perhaps inside the gate */
    assert_ok(wal_switch(&b, &at, &e), &e);
    expect_archive_state(2, WAL_ARCHIVE_READY);
    wal_segment_name(name, 1, 2, SEG);
    assert_ok(wal_archive_set_done(&rig.dir.io, name, &e), &e);
    leave_segment(&a, 3);
    wal_flush(&a, wal_insert_end(&a));
    for (uint64_t segno = 1; segno <= 3; segno++)
        expect_archive_state(segno, segno == 2 ? WAL_ARCHIVE_DONE : WAL_ARCHIVE_READY);
    assert_int_equal(io_unlink(&rig.dir.io, WAL_STATUS_DIR "/000000010000000000000002.ready"),
                     -ENOENT);
    wal_detach(&a);
    wal_detach(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_many_processes_insert_is_read_back_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_log_goes_on_where_a_restart_found_its_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_switch_fills_the_segment_and_a_recycled_one_shows_nothing_old, setup, teardown),
        cmocka_unit_test_setup_teardown(a_segment_made_ahead_says_how_large_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flush_up_to_a_full_page_writes_nothing_of_the_next, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_partial_segment_goes_with_those_of_its_age, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_segment_that_another_process_finished_and_the_archive_has_is_not_marked_again, setup,
            teardown),
    };

    return cmocka_run_group_tests_name("wal_write", tests, NULL, NULL);
}
