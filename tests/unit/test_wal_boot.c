/* wal/wal_boot: the first segment and control file of a new cluster, as our reader and the stock
 * tools see them. */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/tmpdir.h"
#include "wal/wal_boot.h"
#include "wal/wal_reader.h"
#include "wal/wal_source_io.h"

#define BIN "/usr/lib/postgresql/15/bin"

static struct tmpdir tmp;
static struct io io; /* below it */

/* Directories and files that the stock tools want to see beside the log. */
static int
make_dir(void **state)
{
    static const char *const dirs[] = { "global", "pg_wal", "pg_wal/archive_status", "pg_tblspc",
                                        "base" };

    (void) state;
    tmpdir_make(&tmp);
    io = tmp.io;
    for (size_t i = 0; i < ELEMENTSOF(dirs); i++)
        if (io_mkdir(&io, dirs[i], 0700) < 0)
            return -1;
    return io_write_file_durably(&io, ".", "PG_VERSION", "15\n", 3, NULL);
}

static int
remove_dir(void **state)
{
    (void) state;
    tmpdir_remove(&tmp);
    return 0;
}

/* Run a command with the directory in place of %s. Returns its exit status; output in `out`. */
static char out[16384];
static int
run(const char *fmt)
{
    char cmd[512];
    const char *at = strstr(fmt, "%s");
    size_t n;
    FILE *f;

    (void) snprintf(cmd, sizeof cmd, "LC_ALL=C TZ=UTC %.*s%s%s 2>&1", (int) (at - fmt), fmt,
                    tmp.path, at + 2);
    f = popen(cmd, "r");
    assert_non_null(f);
    n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    return WEXITSTATUS(pclose(f));
}

static void
make_cluster(uint32_t segment_bytes, struct wal_checkpoint *ret)
{
    struct wal_boot_params params = { .sysid = wal_boot_sysid(INT64_C(1700000000123456), 4242),
                                      .segment_bytes = segment_bytes,
                                      .next_oid = FIRST_USER_OID,
                                      .next_xid = FIRST_XID,
                                      .time_sec = 1700000000 };
    struct wal_control control;
    struct err e = ERR_INIT;

    (void) io_unlink(&io, "pg_wal/000000010000000000000001");
    (void) io_unlink(&io, WAL_CONTROL_PATH);
    assert_ok(wal_boot_write(&io, &params, ret, &e), &e);
    control = wal_boot_control(&params, ret);
    assert_ok(wal_control_create(&io, &control, &e), &e);
    assert_int_equal(wal_boot_write(&io, &params, ret, NULL), -EEXIST);
}

static void
our_reader_finds_one_checkpoint_and_the_end_behind_it(void **state)
{
    static const uint32_t sizes[] = { 1u << 20, 16u << 20 };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
        CLEANUP(wal_history_done) struct wal_history history = { 0 };
        struct wal_source_io source;
        struct wal_reader *r = NULL;
        struct wal_checkpoint made;
        struct wal_checkpoint read;
        struct wal_control control;
        const struct wal_decoded *d = NULL;
        struct err e = ERR_INIT;

        make_cluster(sizes[i], &made);
        assert_int_equal(wal_control_read(&io, &control, &e), 0);
        assert_ok(wal_history_read(&io, control.checkpoint.tli, &history, &e), &e);
        wal_source_io_init(&source, &io, &history, control.segment_bytes);
        assert_ok(wal_reader_new(&r,
                                 &(struct wal_reader_params){ .read = wal_source_io_read,
                                                              .arg = &source,
                                                              .segment_bytes = sizes[i],
                                                              .sysid = control.sysid,
                                                              .history = &history },
                                 &e),
                  &e);
        wal_reader_seek(r, control.checkpoint_lsn);
        assert_int_equal(wal_reader_next(r, &d, &e), 0);
        assert_true(wal_decoded_is(d, RM_XLOG, XLOG_CHECKPOINT_SHUTDOWN));
        assert_int_equal(d->bytes, 114);
        assert_int_equal(d->prev, 0);
        assert_ok(wal_xlog_get_checkpoint(d->main, d->main_bytes, &read, &e), &e);
        assert_int_equal(read.redo, sizes[i] + 40);
        assert_int_equal(read.next_oid, made.next_oid);
        assert_int_equal(wal_reader_next(r, &d, &e), WAL_READER_END);
        assert_int_equal(wal_reader_end(r), sizes[i] + 40 + 120);
        wal_reader_free(r);
        wal_source_io_done(&source);
    }
}

static void
stock_pg_waldump_prints_the_checkpoint(void **state)
{
    struct wal_checkpoint made;

    (void) state;
    if (access(BIN "/pg_waldump", X_OK) != 0)
        skip();
    make_cluster(1u << 20, &made);
    (void) run(BIN "/pg_waldump -p %s/pg_wal 000000010000000000000001");
    assert_non_null(strstr(
        out,
        "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/00100028, prev "
        "0/00000000, desc: CHECKPOINT_SHUTDOWN redo 0/100028; tli 1; prev tli 1; fpw true; "
        "xid 0:3; oid 16384; multi 1; offset 0; oldest xid 3 in DB 1; oldest multi 1 in DB 1; "
        "oldest/newest commit timestamp xid: 0/0; oldest running xid 0; shutdown\n"));
    assert_null(strstr(out + 200, "rmgr:"));
}

static void
stock_pg_controldata_accepts_the_directory(void **state)
{
    struct wal_checkpoint made;

    (void) state;
    if (access(BIN "/pg_controldata", X_OK) != 0)
        skip();
    make_cluster(16u << 20, &made);
    assert_int_equal(run(BIN "/pg_controldata %s"), 0);
    assert_null(strstr(out, "WARNING"));
    assert_non_null(strstr(out, "Database cluster state:               shut down\n"));
    assert_non_null(strstr(out, "Latest checkpoint location:           0/1000028\n"));
    assert_non_null(
        strstr(out, "Latest checkpoint's REDO WAL file:    000000010000000000000001\n"));
    assert_non_null(
        strstr(out, "Time of latest checkpoint:            Tue Nov 14 22:13:20 2023\n"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_reader_finds_one_checkpoint_and_the_end_behind_it),
        cmocka_unit_test(stock_pg_waldump_prints_the_checkpoint),
        cmocka_unit_test(stock_pg_controldata_accepts_the_directory),
    };

    return cmocka_run_group_tests_name("wal_boot", tests, make_dir, remove_dir);
}
