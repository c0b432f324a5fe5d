/* wal/wal_control: the control file, its two copies, and what a stock pg_controldata thinks of it.
 */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "support/golden.h"
#include "support/tmpdir.h"
#include "wal/wal_control.h"

#define BIN "/usr/lib/postgresql/15/bin"

static struct tmpdir tmp;
static struct io io; /* below it */

static int
make_dir(void **state)
{
    (void) state;
    tmpdir_make(&tmp);
    io = tmp.io;
    return io_mkdir(&io, "global", 0700);
}

static int
remove_dir(void **state)
{
    (void) state;
    tmpdir_remove(&tmp);
    return 0;
}

static void
put_file(const uint8_t *p, size_t n)
{
    int fd = io_open(&io, WAL_CONTROL_PATH, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(io_pwrite(&io, fd, p, n, 0), n);
    (void) io_close(&io, fd);
}

static struct wal_control
sample(void)
{
    struct wal_control c = { .sysid = UINT64_C(7710407667967067528),
                             .state = WAL_STATE_IN_PRODUCTION,
                             .time_sec = 1700000000,
                             .checkpoint_lsn = 0x1000028,
                             .checkpoint = { .redo = 0x1000028,
                                             .tli = 1,
                                             .prev_tli = 1,
                                             .full_page_writes = true,
                                             .next_xid = UINT64_C(0x100000003),
                                             .next_oid = 16384,
                                             .next_multi = 1,
                                             .oldest_xid = 3,
                                             .oldest_xid_db = 1,
                                             .oldest_multi = 1,
                                             .oldest_multi_db = 1,
                                             .time_sec = 1700000000 },
                             .unlogged_lsn = WAL_CONTROL_UNLOGGED_LSN,
                             .min_recovery_lsn = 0x2000000,
                             .min_recovery_tli = 1,
                             .backup_start_lsn = 0x3000000,
                             .backup_end_lsn = 0x4000000,
                             .backup_end_required = true,
                             .params = { .max_connections = 100,
                                         .max_worker_processes = 8,
                                         .max_wal_senders = 10,
                                         .max_prepared_xacts = 7,
                                         .max_locks_per_xact = 64,
                                         .wal_level = 1,
                                         .wal_log_hints = true },
                             .segment_bytes = 16u << 20 };

    for (size_t i = 0; i < sizeof c.nonce; i++)
        c.nonce[i] = (uint8_t) i;
    return c;
}

static void
assert_same(const struct wal_control *a, const struct wal_control *b)
{
    uint8_t pa[WAL_CONTROL_BYTES];
    uint8_t pb[WAL_CONTROL_BYTES];

    wal_control_put(pa, a);
    wal_control_put(pb, b);
    assert_memory_equal(pa, pb, sizeof pa);
}

/* Our encoding of what we decoded equals the stock bytes, but for padding that stock leaves as it
 * was in memory. */
static void
check_sample(const char *name, enum wal_state state)
{
    static const uint32_t padding[][2] = { { 20, 4 },  { 57, 7 },  { 100, 4 }, { 124, 4 },
                                           { 148, 4 }, { 169, 3 }, { 177, 3 }, { 201, 3 },
                                           { 249, 3 }, { 288, 8 } };
    size_t n = 0;
    uint8_t *p = golden_read(name, &n);
    uint8_t again[WAL_CONTROL_BYTES];
    struct wal_control c;
    struct err e = ERR_INIT;

    assert_int_equal(n, WAL_CONTROL_FILE_BYTES);
    assert_ok(wal_control_get(p, &c, &e), &e);
    assert_int_equal(c.state, state);
    wal_control_put(again, &c);
    for (size_t i = 0; i < ELEMENTSOF(padding); i++)
        memcpy(again + padding[i][0], p + padding[i][0], padding[i][1]);
    assert_memory_equal(again, p, sizeof again);
    free(p);
}

static void
a_stock_file_decodes_and_encodes_to_the_same_bytes(void **state)
{
    (void) state;
    check_sample("wal/pg_control", WAL_STATE_SHUT_DOWN);
    check_sample("wal/pg_control.in_backup", WAL_STATE_IN_PRODUCTION);
}

static void
every_field_survives_a_write_and_a_read(void **state)
{
    struct wal_control c = sample();
    struct wal_control got = { 0 };
    struct err e = ERR_INIT;
    uint8_t bytes[WAL_CONTROL_FILE_BYTES + 1];

    (void) state;
    (void) io_unlink(&io, WAL_CONTROL_PATH);
    assert_ok(wal_control_create(&io, &c, &e), &e);
    assert_int_equal(wal_control_read(&io, &got, &e), 0);
    assert_same(&c, &got);
    c.state = WAL_STATE_SHUT_DOWN;
    c.checkpoint_lsn = 0x5000028;
    assert_ok(wal_control_write(&io, &c, &e), &e);
    assert_int_equal(wal_control_read(&io, &got, &e), 0);
    assert_same(&c, &got);
    assert_int_equal(io_read_file(&io, WAL_CONTROL_PATH, bytes, sizeof bytes),
                     WAL_CONTROL_FILE_BYTES);
    assert_memory_equal(bytes, bytes + WAL_CONTROL_SECOND_AT, WAL_CONTROL_BYTES);
    for (size_t i = WAL_CONTROL_BYTES; i < WAL_CONTROL_SECOND_AT; i++)
        assert_int_equal(bytes[i], 0);
    assert_int_equal(wal_control_create(&io, &c, NULL), -EEXIST);
}

/* Both copies from `old` to `new` with a write that stops after `cut` bytes of the step. */
static void
a_write_torn_at_any_byte_leaves_the_old_or_the_new_content(void **state)
{
    struct wal_control old = sample();
    struct wal_control new = sample();
    uint8_t p_old[WAL_CONTROL_BYTES];
    uint8_t p_new[WAL_CONTROL_BYTES];
    uint8_t file[WAL_CONTROL_FILE_BYTES] = { 0 };

    (void) state;
    new.state = WAL_STATE_SHUT_DOWN;
    new.time_sec++;
    new.checkpoint_lsn = 0x7000028;
    new.checkpoint.next_oid = 99999;
    wal_control_put(p_old, &old);
    wal_control_put(p_new, &new);
    for (unsigned step = 0; step < 2; step++) {
        for (size_t cut = 0; cut <= WAL_CONTROL_BYTES; cut++) {
            struct wal_control got = { 0 };
            size_t at = step == 0 ? WAL_CONTROL_SECOND_AT : 0;
            int r;

            memcpy(file, p_old, sizeof p_old);
            memcpy(file + WAL_CONTROL_SECOND_AT, step == 0 ? p_old : p_new, sizeof p_old);
            memcpy(file + at, p_new, cut);
            put_file(file, sizeof file);
            r = wal_control_read(&io, &got, NULL);
            if (r != 0 && r != WAL_CONTROL_SECOND)
                fail_msg("step %u cut at %zu: %d", step, cut, r);
            assert_same(&got, got.state == old.state ? &old : &new);
            if (step == 0) /* the first copy is untouched, so it is the one that counts */
                assert_int_equal(got.state, old.state);
            if (r == WAL_CONTROL_SECOND)
                assert_int_equal(got.state, new.state);
        }
    }
}

static void
either_copy_damaged_at_any_bit_is_survived_both_are_refused(void **state)
{
    struct wal_control c = sample();
    uint8_t file[WAL_CONTROL_FILE_BYTES] = { 0 };
    struct wal_control got;

    (void) state;
    wal_control_put(file, &c);
    memcpy(file + WAL_CONTROL_SECOND_AT, file, WAL_CONTROL_BYTES);
    for (size_t bit = 0; bit < 8 * 292; bit += 3) {
        uint8_t mask = (uint8_t) (1u << bit % 8);
        struct err e = ERR_INIT;
        uint8_t one[WAL_CONTROL_BYTES];

        memcpy(one, file, sizeof one);
        one[bit / 8] ^= mask;
        assert_int_equal(wal_control_get(one, &got, &e), -ERR_DATA_CORRUPTED);
        if (bit % 96 != 0)
            continue;
        file[bit / 8] ^= mask;
        put_file(file, sizeof file);
        assert_int_equal(wal_control_read(&io, &got, NULL), WAL_CONTROL_SECOND);
        assert_same(&got, &c);
        file[WAL_CONTROL_SECOND_AT + bit / 8] ^= mask;
        put_file(file, sizeof file);
        e = ERR_INIT;
        assert_int_equal(wal_control_read(&io, &got, &e), -ERR_DATA_CORRUPTED);
        assert_string_not_equal(e.hint, "");
        file[bit / 8] ^= mask;
        put_file(file, sizeof file);
        assert_int_equal(wal_control_read(&io, &got, NULL), 0);
        file[WAL_CONTROL_SECOND_AT + bit / 8] ^= mask;
    }
}

static void
a_file_cut_short_is_read_as_far_as_it_goes(void **state)
{
    struct wal_control c = sample();
    uint8_t file[WAL_CONTROL_FILE_BYTES] = { 0 };
    struct wal_control got;

    (void) state;
    wal_control_put(file, &c);
    for (size_t n = 0; n <= 400; n += 8) {
        put_file(file, n);
        assert_int_equal(wal_control_read(&io, &got, NULL), n >= 292 ? 0 : -ERR_DATA_CORRUPTED);
    }
}

static void
a_file_of_another_version_is_refused_even_if_the_second_copy_fits(void **state)
{
    struct wal_control c = sample();
    uint8_t file[WAL_CONTROL_FILE_BYTES] = { 0 };
    struct wal_control got;
    struct err e = ERR_INIT;

    (void) state;
    wal_control_put(file, &c);
    memcpy(file + WAL_CONTROL_SECOND_AT, file, WAL_CONTROL_BYTES);
    put_u32(file + 8, 1201);
    put_u32(file + 288, crc32c(0, file, 288));
    put_file(file, sizeof file);
    assert_int_equal(wal_control_read(&io, &got, &e), -ERR_FEATURE_NOT_SUPPORTED);
    assert_non_null(strstr(e.message, "1201"));
}

/* Needs -Dfaults=true. */
static void
a_write_that_fails_between_the_copies_leaves_the_old_content_in_force(void **state)
{
    static const enum fault_point points[] = { FAULT_CONTROL_BEFORE_SECOND,
                                               FAULT_CONTROL_BETWEEN_COPIES };
    struct wal_control old = sample();
    struct wal_control new = sample();
    struct wal_control got = { 0 };

    (void) state;
#ifndef PINION_FAULTS
    skip();
#endif
    new.checkpoint_lsn = 0x9000028;
    for (size_t i = 0; i < ELEMENTSOF(points); i++) {
        struct err e = ERR_INIT;

        (void) io_unlink(&io, WAL_CONTROL_PATH);
        assert_ok(wal_control_create(&io, &old, &e), &e);
        fault_arm(points[i], 0, 1, FAULT_DO_ERROR, EIO);
        assert_int_equal(wal_control_write(&io, &new, &e), -EIO);
        fault_reset();
        assert_int_equal(wal_control_read(&io, &got, NULL), 0);
        assert_same(&got, &old);
    }
    assert_int_equal(wal_control_write(&io, &new, NULL), 0); /* and is repaired by the next write */
    assert_int_equal(wal_control_read(&io, &got, NULL), 0);
    assert_same(&got, &new);
}

static void
a_missing_file_says_what_was_expected(void **state)
{
    struct wal_control got;
    struct err e = ERR_INIT;

    (void) state;
    (void) io_unlink(&io, WAL_CONTROL_PATH);
    assert_int_equal(wal_control_read(&io, &got, &e), -ENOENT);
    assert_string_not_equal(e.hint, "");
}

/* Each "label: value" line of pg_controldata is looked for in `want`. */
static void
stock_pg_controldata_prints_what_we_wrote(void **state)
{
    static const char *const want[] = {
        "pg_control version number:            1300\n",
        "Catalog version number:               202209061\n",
        "Database system identifier:           7710407667967067528\n",
        "Database cluster state:               in production\n",
        "Latest checkpoint location:           0/1000028\n",
        "Latest checkpoint's NextXID:          1:3\n",
        "Latest checkpoint's NextOID:          16384\n",
        "Minimum recovery ending location:     0/2000000\n",
        "Min recovery ending loc's timeline:   1\n",
        "Backup start location:                0/3000000\n",
        "Backup end location:                  0/4000000\n",
        "End-of-backup record required:        yes\n",
        "wal_level setting:                    replica\n",
        "wal_log_hints setting:                on\n",
        "max_prepared_xacts setting:           7\n",
        "Bytes per WAL segment:                16777216\n",
        "Data page checksum version:           0\n",
        "Mock authentication nonce:            000102030405060708090a0b0c0d0e0f1011121314151617",
    };
    struct wal_control c = sample();
    static char out[8192];
    char cmd[256];
    struct err e = ERR_INIT;
    size_t n;
    FILE *f;

    (void) state;
    if (access(BIN "/pg_controldata", X_OK) != 0)
        skip();
    (void) io_unlink(&io, WAL_CONTROL_PATH);
    assert_ok(wal_control_create(&io, &c, &e), &e);
    (void) snprintf(cmd, sizeof cmd, "LC_ALL=C TZ=UTC " BIN "/pg_controldata %s 2>&1", tmp.path);
    f = popen(cmd, "r");
    assert_non_null(f);
    n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    assert_int_equal(pclose(f), 0);
    assert_null(strstr(out, "WARNING"));
    for (size_t i = 0; i < ELEMENTSOF(want); i++)
        if (strstr(out, want[i]) == NULL)
            fail_msg("missing \"%s\" in\n%s", want[i], out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stock_file_decodes_and_encodes_to_the_same_bytes),
        cmocka_unit_test(every_field_survives_a_write_and_a_read),
        cmocka_unit_test(a_write_torn_at_any_byte_leaves_the_old_or_the_new_content),
        cmocka_unit_test(either_copy_damaged_at_any_bit_is_survived_both_are_refused),
        cmocka_unit_test(a_file_cut_short_is_read_as_far_as_it_goes),
        cmocka_unit_test(a_file_of_another_version_is_refused_even_if_the_second_copy_fits),
        cmocka_unit_test(a_write_that_fails_between_the_copies_leaves_the_old_content_in_force),
        cmocka_unit_test(a_missing_file_says_what_was_expected),
        cmocka_unit_test(stock_pg_controldata_prints_what_we_wrote),
    };

    return cmocka_run_group_tests_name("wal_control", tests, make_dir, remove_dir);
}
