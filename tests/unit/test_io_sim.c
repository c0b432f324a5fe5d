/* The made-up disk: what it may forget, and what it must not. */
#include "sim/io_sim.h"

#include <errno.h>
#include <setjmp.h>
#include <string.h>

#include "support/test.h"

static jmp_buf cut_jump;

static void
on_cut(void *arg)
{
    (void) arg;
    longjmp(cut_jump, 1);
}

static int
put(struct io *io, const char *path, const char *text, bool sync)
{
    int fd = io_open(io, path, O_RDWR | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(io_pwrite(io, fd, text, strlen(text), 0), strlen(text));
    if (sync)
        assert_int_equal(io_fsync(io, fd), 0);
    return fd;
}

static bool
has(struct io *io, const char *path, const char *text)
{
    char p[64] = "";
    ssize_t n = io_read_file(io, path, p, sizeof p);

    return n == (ssize_t) strlen(text) && memcmp(p, text, (size_t) n) == 0;
}

static void
what_was_synced_survives_every_cut(void **state)
{
    (void) state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct io_sim *s = io_sim_new(seed);
        struct io *io = io_sim_io(s);

        assert_int_equal(io_mkdir(io, "d", 0700), 0);
        assert_int_equal(io_fsync_dir(io, ""), 0);
        (void) put(io, "d/a", "hello", true);
        assert_int_equal(io_fsync_dir(io, "d"), 0);
        io_sim_power_cut(s);
        assert_true(has(io, "d/a", "hello"));
        io_sim_free(s);
    }
}

static void
what_was_not_synced_is_sometimes_lost_and_sometimes_kept(void **state)
{
    unsigned content_kept = 0;
    unsigned name_kept = 0;

    (void) state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct io_sim *s = io_sim_new(seed);
        struct io *io = io_sim_io(s);
        int fd = put(io, "a", "old", true);

        assert_int_equal(io_fsync_dir(io, ""), 0);
        assert_int_equal(io_pwrite(io, fd, "new", 3, 0), 3);
        (void) put(io, "b", "x", true);
        io_sim_power_cut(s);
        assert_true(has(io, "a", "old") || has(io, "a", "new"));
        content_kept += has(io, "a", "new");
        name_kept += has(io, "b", "x");
        io_sim_free(s);
    }
    assert_in_range(content_kept, 20, 180);
    assert_in_range(name_kept, 20, 180);
}

static void
a_rename_is_whole_or_not_at_all(void **state)
{
    (void) state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct io_sim *s = io_sim_new(seed);
        struct io *io = io_sim_io(s);
        struct err e = ERR_INIT;

        assert_ok(io_write_file_durably(io, "", "f", "one", 3, &e), &e);
        (void) put(io, "f.tmp", "two", true);
        assert_int_equal(io_rename(io, "f.tmp", "f"), 0);
        io_sim_power_cut(s);
        assert_true(has(io, "f", "one") || has(io, "f", "two"));
        io_sim_free(s);
    }
}

static void
a_write_tears_by_sector(void **state)
{
    unsigned torn = 0;

    (void) state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct io_sim *s = io_sim_new(seed);
        struct io *io = io_sim_io(s);
        char page[2048];
        char got[2048];
        int fd = io_open(io, "a", O_RDWR | O_CREAT, 0600);

        memset(page, 'o', sizeof page);
        assert_int_equal(io_pwrite(io, fd, page, sizeof page, 0), sizeof page);
        assert_int_equal(io_fsync(io, fd), 0);
        assert_int_equal(io_fsync_dir(io, ""), 0);
        memset(page, 'n', sizeof page);
        assert_int_equal(io_pwrite(io, fd, page, sizeof page, 0), sizeof page);
        io_sim_power_cut(s);
        assert_int_equal(io_read_file(io, "a", got, sizeof got), sizeof got);
        for (int i = 0; i < 4; i++)
            for (int j = 1; j < 512; j++)
                assert_int_equal(got[i * 512], got[i * 512 + j]);
        torn += memchr(got, 'o', sizeof got) != NULL && memchr(got, 'n', sizeof got) != NULL;
        io_sim_free(s);
    }
    assert_in_range(torn, 10, 190);
}

static void
a_failed_sync_loses_the_write_and_hides_it_until_dontneed(void **state)
{
    unsigned lost = 0;

    (void) state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct io_sim *s = io_sim_new(seed);
        struct io *io = io_sim_io(s);
        int fd = put(io, "a", "old", true);

        assert_int_equal(io_fsync_dir(io, ""), 0);
        assert_int_equal(io_pwrite(io, fd, "new", 3, 0), 3);
        io_sim_fail(s, SIM_SYNC, "a", 0, 1, EIO);
        assert_int_equal(io_fsync(io, fd), -EIO);
        assert_true(io_sim_failed(s));
        assert_int_equal(io_fsync(io, fd), 0); /* the kernel marked the page clean */
        assert_true(has(io, "a", "new"));
        assert_int_equal(io_dontneed(io, fd), 0);
        lost += has(io, "a", "old");
        io_sim_free(s);
    }
    assert_true(lost > 10);
}

static void
a_cut_comes_at_the_call_it_was_set_for(void **state)
{
    struct io_sim *s = io_sim_new(1);
    struct io *io = io_sim_io(s);
    uint64_t before = io_sim_calls(s);

    (void) state;
    io_sim_cut_after(s, 2, on_cut, NULL);
    if (setjmp(cut_jump) == 0) {
        (void) put(io, "a", "x", true);
        fail_msg("no cut");
    }
    assert_int_equal(io_sim_calls(s) - before, 2);
    io_sim_power_cut(s);
    io_sim_free(s);
}

static void
space_ends_where_it_was_said(void **state)
{
    struct io_sim *s = io_sim_new(1);
    struct io *io = io_sim_io(s);
    char p[100] = { 1 };
    int fd = io_open(io, "a", O_RDWR | O_CREAT, 0600);

    (void) state;
    io_sim_set_space(s, 150);
    assert_int_equal(io_allocate(io, fd, 0, 100), 0);
    assert_int_equal(io_pwrite(io, fd, p, sizeof p, 0), sizeof p);
    assert_int_equal(io_pwrite(io, fd, p, sizeof p, 100), -ENOSPC);
    assert_int_equal(io_pwrite(io, fd, p, 50, 100), 50);
    io_sim_free(s);
}

static void
one_descriptor_has_the_lock(void **state)
{
    struct io_sim *s = io_sim_new(1);
    struct io *io = io_sim_io(s);
    int a = io_open(io, "a", O_RDWR | O_CREAT, 0600);
    int b = io_open(io, "a", O_RDWR, 0);

    (void) state;
    assert_int_equal(io_lock(io, a, 0, 1, true), 0);
    assert_int_equal(io_lock(io, b, 0, 1, true), -EAGAIN);
    assert_int_equal(io_close(io, a), 0);
    assert_int_equal(io_lock(io, b, 0, 1, true), 0);
    io_sim_free(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_survives_every_cut),
        cmocka_unit_test(what_was_not_synced_is_sometimes_lost_and_sometimes_kept),
        cmocka_unit_test(a_rename_is_whole_or_not_at_all),
        cmocka_unit_test(a_write_tears_by_sector),
        cmocka_unit_test(a_failed_sync_loses_the_write_and_hides_it_until_dontneed),
        cmocka_unit_test(a_cut_comes_at_the_call_it_was_set_for),
        cmocka_unit_test(space_ends_where_it_was_said),
        cmocka_unit_test(one_descriptor_has_the_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
