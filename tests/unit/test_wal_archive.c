/* wal/wal_archive: marks of the archiver. */
#include "support/test.h"

#include <stdio.h>
#include <string.h>

#include "support/tmpdir.h"
#include "wal/wal_archive.h"

static struct tmpdir tmp;

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&tmp);
    assert_int_equal(io_mkdir(&tmp.io, "pg_wal", 0700), 0);
    return io_mkdir(&tmp.io, "pg_wal/archive_status", 0700);
}

static int
teardown(void **state)
{
    (void) state;
    tmpdir_remove(&tmp);
    return 0;
}

static void
notify(const char *name)
{
    struct err e = ERR_INIT;

    assert_ok(wal_archive_notify(&tmp.io, name, &e), &e);
}

static int
state_of(const char *name)
{
    return wal_archive_state(&tmp.io, name, NULL);
}

static void
histories_come_first_then_names_in_order(void **state)
{
    static const char *const want[] = {
        "00000002.history",         "00000003.history",
        "000000010000000000000001", "000000010000000000000001.00000028.backup",
        "000000010000000000000002", "000000020000000000000001.partial"
    };
    struct wal_archive_list list;
    struct err e = ERR_INIT;

    (void) state;
    for (size_t i = ELEMENTSOF(want); i-- > 0;)
        notify(want[i]);
    notify("not a name of ours....");
    assert_ok(wal_archive_list(&tmp.io, &list, &e), &e);
    assert_int_equal(list.n, ELEMENTSOF(want));
    for (size_t i = 0; i < ELEMENTSOF(want); i++)
        assert_string_equal(list.name[i], want[i]);
}

static void
of_many_the_oldest_are_listed(void **state)
{
    struct wal_archive_list list;
    char name[WAL_SEGMENT_NAME_BYTES];
    struct err e = ERR_INIT;

    (void) state;
    for (uint64_t i = 0; i < 100; i++) {
        wal_segment_name(name, 1, i * 37 % 100 + 1, 1 << 20);
        notify(name);
    }
    assert_ok(wal_archive_list(&tmp.io, &list, &e), &e);
    assert_int_equal(list.n, WAL_ARCHIVE_LIST_MAX);
    for (uint64_t i = 0; i < list.n; i++) {
        wal_segment_name(name, 1, i + 1, 1 << 20);
        assert_string_equal(list.name[i], name);
    }
}

static void
a_mark_goes_from_ready_to_done_and_away(void **state)
{
    static const char name[] = "000000010000000000000005";
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(state_of(name), WAL_ARCHIVE_NONE);
    notify(name);
    assert_int_equal(state_of(name), WAL_ARCHIVE_READY);
    assert_ok(wal_archive_set_done(&tmp.io, name, &e), &e);
    assert_int_equal(state_of(name), WAL_ARCHIVE_DONE);
    assert_ok(wal_archive_set_done(&tmp.io, name, &e), &e); /* again, without a ready one */
    assert_int_equal(state_of(name), WAL_ARCHIVE_DONE);
    assert_int_equal(wal_archive_forget(&tmp.io, name), 0);
    assert_int_equal(state_of(name), WAL_ARCHIVE_NONE);
    assert_int_equal(wal_archive_forget(&tmp.io, name), 0); /* there is none */
}

static const struct io_ops *real_ops;
static const char moving[] = "000000010000000000000006";

/* The archiver is done between two looks of somebody else. */
static int
open_beside_the_archiver(struct io *io, const char *path, int flags, mode_t mode)
{
    int fd = real_ops->open(io, path, flags, mode);

    if (strstr(path, ".ready") == NULL)
        (void) real_ops->rename(io, "pg_wal/archive_status/000000010000000000000006.ready",
                                "pg_wal/archive_status/000000010000000000000006.done");
    return fd;
}

/* Else it would be made ready, and archived, once more. */
static void
a_mark_that_is_being_renamed_is_not_missed(void **state)
{
    struct io_ops ops = *tmp.io.ops;
    struct io io = tmp.io;

    (void) state;
    notify(moving);
    real_ops = tmp.io.ops;
    ops.open = open_beside_the_archiver;
    io.ops = &ops;
    assert_int_equal(wal_archive_state(&io, moving, NULL), WAL_ARCHIVE_DONE);
}

static void
a_sweep_marks_what_is_finished_and_has_no_mark(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    for (unsigned i = 1; i <= 4; i++) {
        char path[WAL_SEGMENT_PATH_BYTES];

        wal_segment_path(path, 1, i, 1 << 20);
        assert_true(io_open(&tmp.io, path, O_RDWR | O_CREAT, 0600) >= 0);
    }
    assert_ok(wal_archive_set_done(&tmp.io, "000000010000000000000001", &e), &e);
    assert_int_equal(wal_archive_sweep(&tmp.io, 4u << 20, 1 << 20, &e), 2);
    assert_int_equal(state_of("000000010000000000000001"), WAL_ARCHIVE_DONE);
    assert_int_equal(state_of("000000010000000000000002"), WAL_ARCHIVE_READY);
    assert_int_equal(state_of("000000010000000000000003"), WAL_ARCHIVE_READY);
    assert_int_equal(state_of("000000010000000000000004"), WAL_ARCHIVE_NONE);
    assert_int_equal(wal_archive_sweep(&tmp.io, 4u << 20, 1 << 20, &e), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(histories_come_first_then_names_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(of_many_the_oldest_are_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mark_goes_from_ready_to_done_and_away, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mark_that_is_being_renamed_is_not_missed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_sweep_marks_what_is_finished_and_has_no_mark, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
