/* wal/wal_source_io: segments of a history in pg_wal; a hole or an error is never the end of the
 * log (REDO-4). */
#include "support/test.h"

#include <errno.h>
#include <string.h>

#include "support/tmpdir.h"
#include "support/wal_lay.h"
#include "wal/wal_source_io.h"

#define MIB   0x100000u
#define BEGIN ((lsn_t) MIB)

static struct tmpdir tmp;
static struct wal_lay lay;
static struct wal_history history;

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&tmp);
    wal_lay_init(&lay, MIB, 4, BEGIN);
    if (wal_history_init(&history, 1, NULL) < 0)
        return -1;
    return io_mkdir(&tmp.io, "pg_wal", 0700);
}

static int
teardown(void **state)
{
    (void) state;
    tmpdir_remove(&tmp);
    wal_lay_done(&lay);
    wal_history_done(&history);
    return 0;
}

/* The first n bytes of a segment of the laid log as a file of this timeline. */
static void
put_segment(tli_t tli, uint64_t segno, size_t n)
{
    char path[WAL_SEGMENT_PATH_BYTES];
    int fd;

    wal_segment_path(path, tli, segno, MIB);
    fd = io_open(&tmp.io, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(io_pwrite(&tmp.io, fd, lay.p + (segno * MIB - BEGIN), n, 0), n);
    (void) io_close(&tmp.io, fd);
}

static void
drop_segment(tli_t tli, uint64_t segno)
{
    char path[WAL_SEGMENT_PATH_BYTES];

    wal_segment_path(path, tli, segno, MIB);
    assert_int_equal(io_unlink(&tmp.io, path), 0);
}

static void
put_records(unsigned n, uint32_t bytes)
{
    static uint8_t body[100000];
    struct wal_rec rec = { .rmid = 200, .main = body, .main_bytes = bytes };

    while (n-- > 0)
        (void) wal_lay_put(&lay, &rec);
}

/* Read from the beginning. Returns the outcome, the number of records and where they end. */
static int
read_all(struct io *io, unsigned *ret_n, lsn_t *ret_end, struct err *e)
{
    struct wal_source_io source;
    struct wal_reader *r = NULL;
    const struct wal_decoded *d;
    int rc;

    wal_source_io_init(&source, io, &history, MIB);
    assert_int_equal(wal_reader_new(&r,
                                    &(struct wal_reader_params){ .read = wal_source_io_read,
                                                                 .arg = &source,
                                                                 .segment_bytes = MIB,
                                                                 .history = &history },
                                    NULL),
                     0);
    wal_reader_seek(r, BEGIN);
    *ret_n = 0;
    while ((rc = wal_reader_next(r, &d, e)) == 0)
        ++*ret_n;
    *ret_end = wal_reader_end(r);
    wal_reader_free(r);
    wal_source_io_done(&source);
    return rc;
}

static void
segments_of_one_timeline_are_read_in_order_to_the_end(void **state)
{
    struct err e = ERR_INIT;
    unsigned n = 0;
    lsn_t end = 0;

    (void) state;
    put_records(60, 50000);
    for (uint64_t segno = 1; segno <= 3; segno++)
        put_segment(1, segno, MIB);
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), WAL_READER_END);
    assert_int_equal(n, 60);
    assert_int_equal(end, lay.next);
}

static void
a_missing_last_segment_is_the_end(void **state)
{
    struct err e = ERR_INIT;
    unsigned n = 0;
    lsn_t end = 0;

    (void) state;
    put_records(60, 50000);
    put_segment(1, 1, MIB);
    put_segment(1, 2, MIB);
    put_segment(2, 4, MIB); /* of a timeline that is no part of this history: does not count */
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), WAL_READER_END);
    assert_true(n > 35);
    assert_true(n < 60);
    assert_true(end < 3 * (lsn_t) MIB);
}

static void
a_missing_or_short_segment_with_a_later_one_is_an_error(void **state)
{
    struct err e = ERR_INIT;
    unsigned n = 0;
    lsn_t end = 0;

    (void) state;
    put_records(60, 50000);
    put_segment(1, 1, MIB);
    put_segment(1, 3, MIB);
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), -ERR_DATA_CORRUPTED);
    assert_non_null(strstr(e.message, "000000010000000000000002"));
    assert_non_null(strstr(e.message, "missing"));
    assert_string_not_equal(e.hint, "");
    put_segment(1, 2, MIB / 2 + 1000);
    e = ERR_INIT;
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), -ERR_DATA_CORRUPTED);
    assert_non_null(strstr(e.message, "too short"));
    drop_segment(1, 3);
    e = ERR_INIT;
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), WAL_READER_END);
    put_segment(1, 2, MIB);
    put_segment(1, 3, MIB);
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), WAL_READER_END);
    assert_int_equal(n, 60);
}

static struct io_ops eio_ops;
static unsigned eio_in;
static ssize_t
eio_pread(struct io *io, int fd, void *p, size_t n, uint64_t off)
{
    return eio_in-- == 0 ? -EIO : tmp.io.ops->pread(io, fd, p, n, off);
}

static void
an_io_error_is_an_error(void **state)
{
    struct io io = tmp.io;
    unsigned n = 0;
    lsn_t end = 0;

    (void) state;
    put_records(10, 50000);
    put_segment(1, 1, MIB);
    eio_ops = *tmp.io.ops;
    eio_ops.pread = eio_pread;
    io.ops = &eio_ops;
    for (unsigned at = 0; at < 60; at += 7) {
        struct err e = ERR_INIT;

        eio_in = at;
        assert_int_equal(read_all(&io, &n, &end, &e), -EIO);
        assert_non_null(strstr(e.message, "could not read file \"pg_wal/0000"));
    }
}

static void
a_history_is_followed_over_its_switch_points(void **state)
{
    static struct wal_lay old;
    struct err e = ERR_INIT;
    unsigned n = 0;
    lsn_t end = 0;
    lsn_t switch_lsn;

    (void) state;
    put_records(30, 50000); /* into segment 2 */
    switch_lsn = lay.next;
    assert_int_equal(wal_segno(switch_lsn, MIB), 2);
    put_segment(1, 1, MIB);
    /* the old timeline goes on for itself */
    old = lay;
    put_records(5, 300);
    put_segment(1, 2, MIB);
    put_segment(1, 3, MIB);
    memset(lay.p + (switch_lsn - BEGIN), 0, WAL_PAGE_BYTES);
    lay.next = old.next;
    lay.prev = old.prev;
    lay.tli = 2;
    put_records(25, 50000); /* into segment 3 */
    put_segment(2, 2, MIB);
    put_segment(2, 3, MIB);
    wal_history_done(&history);
    assert_ok(wal_history_write(&tmp.io, 2, 1, switch_lsn, "test", &e), &e);
    assert_ok(wal_history_read(&tmp.io, 2, &history, &e), &e);
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), WAL_READER_END);
    assert_int_equal(n, 55);
    assert_int_equal(end, lay.next);
    /* Without the new timeline's last segment the log ends before it; the old timeline's file of
     * that number is of an abandoned branch. */
    drop_segment(2, 3);
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), WAL_READER_END);
    assert_true(n > 30);
    assert_true(end < 3 * (lsn_t) MIB);
    /* Without its first, the ancestor's file serves up to the switch point, and no further. */
    drop_segment(2, 2);
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), WAL_READER_END);
    assert_int_equal(n, 30);
    assert_int_equal(end, switch_lsn);
    put_segment(2, 3, MIB);
    assert_int_equal(read_all(&tmp.io, &n, &end, &e), -ERR_DATA_CORRUPTED);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(segments_of_one_timeline_are_read_in_order_to_the_end),
        TEST(a_missing_last_segment_is_the_end),
        TEST(a_missing_or_short_segment_with_a_later_one_is_an_error),
        TEST(an_io_error_is_an_error),
        TEST(a_history_is_followed_over_its_switch_points),
    };

    return cmocka_run_group_tests_name("wal_source_io", tests, NULL, NULL);
}
