/* wal: every record we write, as a stock pg_waldump prints it: the events of WAL-1 and the rest of
 * what a server logs, laid over several pages. Its output is compared line by line with our own
 * text of the same records, and those with what the design says they look like. */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/tmpdir.h"
#include "support/wal_lay.h"
#include "support/wal_text.h"
#include "wal/wal_delta.h"
#include "wal/wal_file.h"
#include "wal/wal_xact.h"
#include "wal/wal_xlog.h"

#define MIB  0x100000u
#define BIN  "/usr/lib/postgresql/15/bin"
#define TIME wal_time(INT64_C(1700000000123456))

static struct tmpdir tmp;
static struct wal_lay lay;
static uint8_t body[4096];
static struct buf b;
static char text[1 << 20];
static char want[1 << 20];

static struct buf *
begin(void)
{
    b = buf_init(body, sizeof body);
    return &b;
}

/* A record whose main data is what was put since begin(). */
static void
put(uint8_t rmid, uint8_t info, uint32_t xid)
{
    struct wal_rec rec = {
        .rmid = rmid, .info = info, .xid = xid, .main = body, .main_bytes = (uint32_t) b.n
    };

    assert_true(buf_ok(&b));
    (void) wal_lay_put(&lay, &rec);
    (void) begin();
}

static void
put_commit(uint32_t xid, const struct wal_xact_end *x)
{
    wal_xact_put_end(begin(), x);
    put(RM_XACT, wal_xact_info(x->prepared_xid != 0 ? XACT_COMMIT_PREPARED : XACT_COMMIT, x), xid);
}

/* A Generic record: `n` blocks from `blk` on; every third an image, raw or said to be lz4. */
static void
put_generic(uint32_t xid, oid_t rel, blk_t blk, uint32_t n)
{
    static uint8_t page[PAGE_BYTES];
    static const uint8_t delta[] = { 24, 0, 4, 0, 1, 2, 3, 4, 0x70, 0x17, 1, 0, 9 };
    struct wal_block blocks[WAL_BLOCKS];
    struct wal_rec rec = { .rmid = RM_GENERIC, .xid = xid, .n_blocks = n, .blocks = blocks };

    for (uint8_t i = 0; i < n; i++) {
        blocks[i] = (struct wal_block){ .id = i,
                                        .blk = blk + i,
                                        .rel = { TABLESPACE_DEFAULT, 16384, rel } };
        if (i % 3 == 0) {
            blocks[i].image = (struct wal_image){ .p = page,
                                                  .bytes = i % 2 == 0 ? 8192 : 777,
                                                  .info = WAL_IMAGE_APPLY };
            blocks[i].image.info |= i % 2 == 0 ? 0 : WAL_IMAGE_LZ4;
        } else {
            blocks[i].data = delta;
            blocks[i].data_bytes = sizeof delta;
        }
    }
    (void) wal_lay_put(&lay, &rec);
}

/* The events of engine-rules 12. */
static void
put_transactions(void)
{
    const struct wal_rel old_file = { TABLESPACE_DEFAULT, 16385, 16385 };
    const struct wal_rel new_file = { TABLESPACE_DEFAULT, 16385, 16386 };
    struct wal_xact_end commit = { .time = TIME, .db = 16384, .spc = TABLESPACE_DEFAULT };
    struct wal_xact_end drop = commit;
    struct wal_xact_end prepared = commit;
    struct wal_prepare prepare = {
        .xid = 904, .db = 16384, .time = TIME, .owner = 10, .gid = "g1"
    };

    drop.n_rels = 1;
    drop.rels = &old_file;
    prepared.prepared_xid = 904;
    put_generic(900, 16384, 0, 32);
    put_commit(900, &commit);
    wal_file_put_db_create(begin(), 16385, TABLESPACE_DEFAULT);
    put(RM_DATABASE, WAL_FILE_DB_CREATE_INFO, 901);
    wal_file_put_create(begin(), &old_file);
    put(RM_STORAGE, WAL_FILE_CREATE_INFO, 901);
    put_generic(901, 16385, 7, 1);
    put_commit(901, &commit);
    wal_file_put_create(begin(), &new_file);
    put(RM_STORAGE, WAL_FILE_CREATE_INFO, 902);
    put_generic(902, 16386, 0, 2);
    put_commit(902, &drop);
    put_generic(903, 1, 3, 1);
    wal_file_put_truncate(begin(),
                          &(struct wal_truncate){ .n_blocks = 9, .rel = new_file, .flags = 1 });
    put(RM_STORAGE, WAL_FILE_TRUNCATE_INFO, 903);
    wal_file_put_db_drop(begin(), 16385, TABLESPACE_DEFAULT);
    put(RM_DATABASE, WAL_FILE_DB_DROP_INFO, 903);
    put_commit(903, &drop);
    put_generic(904, 16384, 0, 1);
    wal_xact_put_prepare(begin(), &prepare);
    put(RM_XACT, XACT_PREPARE, 904);
    put_generic(904, 16384, 0, 1);
    put_commit(0, &prepared);
    wal_xact_put_end(begin(), &prepared);
    put(RM_XACT, wal_xact_info(XACT_ABORT_PREPARED, &prepared), 0);
}

static void
put_others(void)
{
    struct wal_checkpoint checkpoint = { .redo = lay.prev,
                                         .tli = 1,
                                         .prev_tli = 1,
                                         .full_page_writes = true,
                                         .next_xid = UINT64_C(0x100000400),
                                         .next_oid = 24576,
                                         .next_multi = 1,
                                         .oldest_xid = 3,
                                         .oldest_xid_db = 1,
                                         .oldest_multi = 1,
                                         .oldest_multi_db = 1,
                                         .time_sec = 1700000000,
                                         .oldest_active_xid = 1024 };
    struct wal_params params = { .max_connections = 100, .wal_level = 1, .wal_log_hints = true };
    const uint32_t xids[] = { 904, 905 };

    wal_xlog_put_nextoid(begin(), 24576);
    put(RM_XLOG, XLOG_NEXTOID, 0);
    wal_xlog_put_params(begin(), &params);
    put(RM_XLOG, XLOG_PARAMETER_CHANGE, 0);
    wal_xlog_put_running(begin(), &(struct wal_running){ .n_xids = 2,
                                                         .next_xid = 1024,
                                                         .oldest_running_xid = 904,
                                                         .latest_completed_xid = 1023,
                                                         .xids = xids });
    put(RM_STANDBY, STANDBY_RUNNING_XACTS, 0);
    wal_xlog_put_checkpoint(begin(), &checkpoint);
    put(RM_XLOG, XLOG_CHECKPOINT_ONLINE, 0);
    wal_xlog_put_end_of_recovery(
        begin(), &(struct wal_end_of_recovery){ .time = TIME, .tli = 2, .prev_tli = 1 });
    put(RM_XLOG, XLOG_END_OF_RECOVERY, 0);
    wal_xlog_put_backup_end(begin(), 0x100028);
    put(RM_XLOG, XLOG_BACKUP_END, 0);
    wal_xlog_put_fpw(begin(), true);
    put(RM_XLOG, XLOG_FPW_CHANGE, 0);
    checkpoint.oldest_active_xid = 0;
    wal_xlog_put_checkpoint(begin(), &checkpoint);
    put(RM_XLOG, XLOG_CHECKPOINT_SHUTDOWN, 0);
    put(RM_XLOG, XLOG_SWITCH, 0);
}

/* Our own text of all records. */
static void
print_ours(char *ret, size_t cap)
{
    struct wal_reader *r = NULL;
    const struct wal_decoded *d = NULL;
    size_t n = 0;

    assert_int_equal(wal_reader_new(&r,
                                    &(struct wal_reader_params){
                                        .read = wal_lay_read, .arg = &lay, .segment_bytes = MIB },
                                    NULL),
                     0);
    wal_reader_seek(r, MIB);
    while (wal_reader_next(r, &d, NULL) == 0) {
        size_t detail_at = 0;

        wal_text(d, true, ret + n, cap - n - 2, &detail_at);
        assert_int_equal(detail_at, 0);
        n += strlen(ret + n);
        ret[n++] = '\n';
        ret[n] = '\0';
    }
    wal_reader_free(r);
}

static void
print_stock(char *ret, size_t cap)
{
    char cmd[256];
    size_t n;
    FILE *f;

    (void) snprintf(cmd, sizeof cmd,
                    "LC_ALL=C TZ=UTC " BIN "/pg_waldump -b -p %s 000000010000000000000001 2>&1",
                    tmp.path);
    f = popen(cmd, "r");
    assert_non_null(f);
    n = fread(ret, 1, cap - 1, f);
    ret[n] = '\0';
    (void) pclose(f);
}

/* Everything is in one segment, which SWITCH ends; what stock says about the segment that is not
 * there is cut off. */
static void
stock_pg_waldump_prints_what_we_say_we_wrote(void **state)
{
    static const char *const must[] = {
        ("desc: Generic \n\tblkref #0: rel 1663/16384/16384 fork main blk 0 (FPW); "
         "hole: offset: 0, length: 0\n\tblkref #1: rel 1663/16384/16384 fork main blk 1\n"),
        "blk 3 (FPW); hole: offset: 0, length: 0, compression saved: 7415, method: lz4\n",
        "desc: COMMIT 2023-11-14 22:13:20.123456 UTC\n",
        "desc: CREATE_WAL_LOG create dir 1663/16385\n",
        "desc: CREATE base/16385/16386\n",
        "desc: COMMIT 2023-11-14 22:13:20.123456 UTC; rels: base/16385/16385\n",
        "desc: TRUNCATE base/16385/16386 to 9 blocks flags 1\n",
        "desc: DROP dir 1663/16385\n",
        "desc: PREPARE gid g1: 2023-11-14 22:13:20.123456 UTC\n",
        "tx:          0, ",
        "desc: COMMIT_PREPARED 904: 2023-11-14 22:13:20.123456 UTC\n",
        "desc: ABORT_PREPARED 904: 2023-11-14 22:13:20.123456 UTC\n",
        "latestCompletedXid 1023 oldestRunningXid 904; 2 xacts: 904 905\n",
    };
    char *stock_end;
    int fd;

    (void) state;
    if (access(BIN "/pg_waldump", X_OK) != 0)
        skip();
    tmpdir_make(&tmp);
    wal_lay_init(&lay, MIB, 2, MIB);
    put_transactions();
    put_others();
    fd = io_open(&tmp.io, "000000010000000000000001", O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(io_pwrite(&tmp.io, fd, lay.p, MIB, 0), MIB);
    (void) io_close(&tmp.io, fd);
    print_ours(want, sizeof want);
    print_stock(text, sizeof text);
    stock_end = strstr(text, "pg_waldump:");
    if (stock_end != NULL)
        *stock_end = '\0';
    for (size_t i = 0; i < strlen(want); i++)
        if (text[i] != want[i])
            fail_msg("stock\n%.400s\nours\n%.400s", text + i, want + i);
    assert_int_equal(strlen(text), strlen(want));
    for (size_t i = 0; i < ELEMENTSOF(must); i++)
        if (strstr(text, must[i]) == NULL)
            fail_msg("missing \"%s\"", must[i]);
    wal_lay_done(&lay);
    tmpdir_remove(&tmp);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stock_pg_waldump_prints_what_we_say_we_wrote),
    };

    return cmocka_run_group_tests_name("wal_waldump", tests, NULL, NULL);
}
