/* The contract of the VFS with libsqlite3: sqlite-vfs table 5.6 and each failure it calls proved.
 */
#include "support/test.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/spill.h"
#include "vfs/vfs_file.h"
#include "vfs/vfs_mem.h"
#include "vfs/vfs_selftest.h"
#include "vfs/vfs_temp.h"

struct conn {
    sqlite3 *db;
    struct vfs_handle *h;
    char trace[4096];
};

static struct vfs_mem_db mem;
static struct conn a, b;
static sqlite3_io_methods mutant; /* the methods with one of them replaced */

static void
on_call(void *arg, const char *what, int64_t x, int64_t y)
{
    struct conn *c = arg;
    size_t n = strlen(c->trace);

    (void) y;
    (void) snprintf(c->trace + n, sizeof c->trace - n, "%s@%lld ", what, (long long) x);
}

static void
conn_open(struct conn *c, struct vfs_mem_db *db)
{
    struct err e = ERR_INIT;
    struct vfs_open_args args = { .ops = &vfs_mem_ops,
                                  .t = vfs_mem_open(db),
                                  .use_fetch = true,
                                  .trace = on_call,
                                  .trace_arg = c };

    memset(c, 0, sizeof *c);
    assert_ok(vfs_connect(&args, &c->db, &c->h, &e), &e);
}

static int
run(struct conn *c, const char *sql)
{
    c->trace[0] = '\0';
    vfs_error_reset(c->h);
    return sqlite3_exec(c->db, sql, NULL, NULL, NULL);
}

static void
must(struct conn *c, const char *sql)
{
    int rc = run(c, sql);

    if (rc != SQLITE_OK)
        fail_msg("%s: %s (%d), %s", sql, sqlite3_errmsg(c->db), rc, c->h->err.message);
}

static int
on_row(void *arg, int n, char **v, char **names)
{
    (void) n;
    (void) names;
    (void) snprintf(arg, 256, "%s", v[0] != NULL ? v[0] : "NULL");
    return 0;
}

static void
expect(struct conn *c, const char *sql, const char *want)
{
    char got[256] = "";
    int rc = sqlite3_exec(c->db, sql, on_row, got, NULL);

    if (rc != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(c->db));
    if (strcmp(got, want) != 0)
        fail_msg("%s: want \"%s\", got \"%s\"", sql, want, got);
}

#define ROWS "SELECT group_concat(x, ',') FROM (SELECT x FROM t ORDER BY rowid)"

static int
setup(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    assert_ok(vfs_register("/tmp", &e), &e);
    vfs_mem_init(&mem, NULL);
    conn_open(&a, &mem);
    conn_open(&b, &mem);
    must(&a, "CREATE TABLE t(x); INSERT INTO t VALUES('base')");
    expect(&b, ROWS, "base");
    mutant = vfs_file_methods;
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    assert_int_equal(sqlite3_close(a.db), SQLITE_OK);
    assert_int_equal(sqlite3_close(b.db), SQLITE_OK);
    vfs_mem_done(&mem);
    return 0;
}

static void
the_installed_library_passes_the_self_test(void **state)
{
    struct err e = ERR_INIT;
    int r = vfs_selftest(&e);

    (void) state;
    if (r < 0)
        fail_msg("%s: %s", e.message, e.detail);
}

static int
refuse_commit(void *arg)
{
    (void) arg;
    return 1;
}

/* What SQLite runs for each new connection: it makes the library behave differently. */
static int
on_connection(sqlite3 *db, char **message, const void *api)
{
    (void) message;
    (void) api;
    (void) sqlite3_commit_hook(db, refuse_commit, NULL);
    return SQLITE_OK;
}

static void
a_library_that_behaves_differently_is_refused_with_both_sides_named(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    assert_int_equal(sqlite3_auto_extension((void (*)(void)) on_connection), SQLITE_OK);
    assert_int_equal(vfs_selftest(&e), -ERR_FEATURE_NOT_SUPPORTED);
    sqlite3_reset_auto_extension();
    assert_non_null(strstr(e.message, sqlite3_libversion()));
    assert_non_null(strstr(e.detail, "expected"));
    assert_true(e.hint[0] != '\0');
}

/* ---- table 5.6 ---- */

struct step_row {
    const char *label;
    enum vfs_mem_step step;
    const char *sql;  /* run on a with the step failing at its first call */
    int want_rc;      /* primary code */
    bool want_open;   /* a transaction is still open afterwards */
    bool want_retry;  /* COMMIT again succeeds */
    const char *rows; /* what everybody sees in the end */
};

static const struct step_row step_rows[] = {
    { "SHARED", VFS_MEM_BEGIN, "SELECT * FROM t", SQLITE_IOERR, false, false, "base" },
    { "RESERVED, autocommit", VFS_MEM_BEGIN_WRITE, "INSERT INTO t VALUES('n')", SQLITE_IOERR, false,
      false, "base" },
    { "EXCLUSIVE, autocommit", VFS_MEM_CHECK, "INSERT INTO t VALUES('n')", SQLITE_BUSY, false,
      false, "base" },
    { "EXCLUSIVE, explicit", VFS_MEM_CHECK, "BEGIN; INSERT INTO t VALUES('n'); COMMIT", SQLITE_BUSY,
      true, true, "base,n" },
    { "xWrite, autocommit", VFS_MEM_STAGE, "INSERT INTO t VALUES('n')", SQLITE_FULL, false, false,
      "base" },
    { "xWrite, explicit", VFS_MEM_STAGE, "BEGIN; INSERT INTO t VALUES('n'); COMMIT", SQLITE_FULL,
      false, false, "base" },
    { "SYNC, autocommit", VFS_MEM_PREPARE, "INSERT INTO t VALUES('n')", SQLITE_IOERR, false, false,
      "base" },
    { "SYNC, explicit", VFS_MEM_PREPARE, "BEGIN; INSERT INTO t VALUES('n'); COMMIT", SQLITE_IOERR,
      false, false, "base" },
};

static void
each_step_fails_as_its_table_says(void **state)
{
    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(step_rows); i++) {
        const struct step_row *row = &step_rows[i];
        int rc;

        mem.fail_in[row->step] = 1;
        rc = run(&a, row->sql);
        if ((rc & 0xff) != row->want_rc)
            fail_msg("%s: want %d, got %d", row->label, row->want_rc, rc);
        if (a.h->err.code != -ERR_IO_ERROR)
            fail_msg("%s: the real error was lost", row->label);
        if ((sqlite3_get_autocommit(a.db) == 0) != row->want_open)
            fail_msg("%s: transaction open: %d", row->label, !row->want_open);
        if (row->want_retry)
            must(&a, "COMMIT");
        expect(&a, ROWS, row->rows);
        expect(&b, ROWS, row->rows);
        must(&b, "DELETE FROM t WHERE x = 'n'");
        expect(&a, ROWS, "base");
    }
}

static void
a_standby_refuses_reserved_as_read_only_and_goes_on_reading(void **state)
{
    (void) state;
    mem.fail_in[VFS_MEM_BEGIN_WRITE] = 1;
    mem.fail_code = ERR_READ_ONLY_SQL_TRANSACTION;
    assert_int_equal(run(&a, "INSERT INTO t VALUES('n')") & 0xff, SQLITE_READONLY);
    expect(&a, ROWS, "base");
    must(&a, "CREATE TEMP TABLE w(x); INSERT INTO w SELECT x FROM t");
    must(&a, "INSERT INTO t VALUES('n')"); /* the same connection writes after promotion */
    expect(&b, ROWS, "base,n");
}

static void
a_failed_read_of_page_1_leaves_no_cache_that_is_believed(void **state)
{
    (void) state;
    must(&b, "INSERT INTO t VALUES('b1')");
    mem.fail_in[VFS_MEM_READ] = 1;
    assert_int_equal(run(&a, ROWS) & 0xff, SQLITE_IOERR);
    expect(&a, ROWS, "base,b1");
    must(&a, "INSERT INTO t VALUES('a1')");
    expect(&b, ROWS, "base,b1,a1");
}

/* ---- proved failures ---- */

static int control_op, control_rc;
static unsigned control_hits;

static int
failing_control(sqlite3_file *f, int op, void *arg)
{
    if (op == control_op && control_hits++ == 0)
        return control_rc;
    return vfs_file_methods.xFileControl(f, op, arg);
}

/* sqlite-vfs 5.6: the program that loses b's row when COMMIT_PHASETWO fails with BUSY. */
static void
lost_update_program(int op, int rc)
{
    control_op = op;
    control_rc = rc;
    control_hits = 0;
    mutant.xFileControl = failing_control;
    a.h->base.pMethods = &mutant;
    assert_int_not_equal(run(&a, "BEGIN; INSERT INTO t VALUES('LOST'); COMMIT"), SQLITE_OK);
    (void) run(&a, "ROLLBACK");
    must(&b, "INSERT INTO t VALUES('b-row')");
    expect(&b, ROWS, "base,b-row");
}

static void
whatever_code_phasetwo_fails_with_nothing_is_lost(void **state)
{
    static const int codes[] = { SQLITE_BUSY, SQLITE_ABORT, SQLITE_IOERR, SQLITE_FULL };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
        lost_update_program(SQLITE_FCNTL_COMMIT_PHASETWO, codes[i]);
        expect(&a, ROWS, "base,b-row");
        must(&a, "INSERT INTO t VALUES('a2')");
        expect(&a, ROWS, "base,b-row,a2");
        expect(&b, ROWS, "base,b-row,a2");
        expect(&b, "PRAGMA integrity_check", "ok");
        must(&b, "DELETE FROM t WHERE x <> 'base'");
    }
}

static void
a_failed_phasetwo_shows_nothing_to_its_own_connection_either(void **state)
{
    (void) state;
    must(&a, "PRAGMA mmap_size = 0");
    control_op = SQLITE_FCNTL_COMMIT_PHASETWO;
    control_rc = SQLITE_BUSY;
    control_hits = 0;
    mutant.xFileControl = failing_control;
    a.h->base.pMethods = &mutant;
    assert_int_not_equal(run(&a, "BEGIN; INSERT INTO t VALUES('LOST'); COMMIT"), SQLITE_OK);
    (void) run(&a, "ROLLBACK");
    expect(&a, ROWS, "base"); /* VFS-2: cleared when a write set is discarded */
}

/* Two contents with one change counter: a restore in place, drop and create, a rewind (5.8). */
static void
equal_change_counters_do_not_deceive(void **state)
{
    uint8_t counter[4];
    uint8_t *page1;

    (void) state;
    must(&a, "PRAGMA mmap_size = 0");
    expect(&a, ROWS, "base");
    memcpy(counter, vfs_mem_page(&mem, 1) + 24, sizeof counter);
    must(&b, "UPDATE t SET x = 'other'");
    page1 = (uint8_t *) (uintptr_t) vfs_mem_page(&mem, 1);
    memcpy(page1 + 24, counter, sizeof counter);
    memcpy(page1 + 92, counter, sizeof counter);
    expect(&a, ROWS, "other");
}

static int
honest_read(sqlite3_file *f, void *p, int n, sqlite3_int64 off)
{
    struct vfs_handle *h = (struct vfs_handle *) (void *) f;

    if (n != 16 || off != 24)
        return vfs_file_methods.xRead(f, p, n, off);
    memcpy(p, h->ops->header(h->t) + off, 16);
    return SQLITE_OK;
}

static void
without_the_version_answer_the_lost_update_happens(void **state)
{
    (void) state;
    must(&a, "PRAGMA mmap_size = 0"); /* xFetch would read past the bad cache */
    mutant.xRead = honest_read;       /* VFS-2 off: this test guards the other one */
    lost_update_program(SQLITE_FCNTL_COMMIT_PHASETWO, SQLITE_BUSY);
    expect(&a, ROWS, "base,LOST");
    must(&a, "INSERT INTO t VALUES('a2')");
    expect(&b, ROWS, "base,LOST,a2");
}

static void
plain_busy_at_sync_would_repeat_neither_check_nor_writes(void **state)
{
    (void) state;
    control_op = SQLITE_FCNTL_SYNC;
    control_rc = SQLITE_BUSY;
    control_hits = 0;
    mutant.xFileControl = failing_control;
    a.h->base.pMethods = &mutant;
    assert_int_equal(run(&a, "BEGIN; INSERT INTO t VALUES('n'); COMMIT") & 0xff, SQLITE_BUSY);
    assert_int_equal(sqlite3_get_autocommit(a.db), 0);
    assert_int_equal(run(&a, "COMMIT"), SQLITE_OK);
    assert_null(strstr(a.trace, "lock@4"));
    assert_null(strstr(a.trace, "write@"));
    expect(&b, ROWS, "base,n"); /* only because the write set was kept */
}

/* Any code but BUSY at SYNC is a clean rollback. */
static void
a_refused_sync_is_a_clean_rollback_for_every_code(void **state)
{
    static const int codes[] = { ERR_DISK_FULL, ERR_OUT_OF_MEMORY, ERR_QUERY_CANCELED,
                                 ERR_READ_ONLY_SQL_TRANSACTION, ERR_IO_ERROR };

    (void) state;
    for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
        mem.fail_in[VFS_MEM_PREPARE] = 1;
        mem.fail_code = codes[i];
        assert_int_not_equal(run(&a, "BEGIN; INSERT INTO t VALUES('LOST'); COMMIT"), SQLITE_OK);
        assert_int_equal(a.h->err.code, -codes[i]);
        assert_int_equal(sqlite3_get_autocommit(a.db), 1);
        assert_null(mem.writer);
        must(&b, "INSERT INTO t VALUES('b-row')");
        expect(&a, ROWS, "base,b-row");
        must(&a, "INSERT INTO t VALUES('a2')");
        expect(&b, ROWS, "base,b-row,a2");
        must(&b, "DELETE FROM t WHERE x <> 'base'");
    }
}

static void
a_rollback_after_a_spill_is_swallowed_and_leaves_no_trace(void **state)
{
    uint64_t before = mem.n_nonempty_commits;

    (void) state;
    must(&a, "PRAGMA cache_size = 2; PRAGMA cache_spill = 1");
    must(&a, "BEGIN; INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
             "WHERE i < 2000) SELECT printf('%0200d', i) FROM n");
    expect(&a, "SELECT count(*) FROM t", "2001"); /* its own spilled pages */
    assert_true(a.h->has_staged);
    must(&a, "ROLLBACK");
    assert_int_equal(mem.n_nonempty_commits, before);
    expect(&a, ROWS, "base");
    must(&a, "INSERT INTO t VALUES('n')");
    expect(&b, ROWS, "base,n");
    expect(&b, "PRAGMA integrity_check", "ok");
}

/* 3 MB of originals, of which a journal keeps 256 kB in memory. */
static void
a_large_rollback_and_one_to_a_savepoint_bring_every_page_back(void **state)
{
    (void) state;
    must(&a, "PRAGMA cache_size = 5; CREATE TABLE w(i INTEGER PRIMARY KEY, v); "
             "INSERT INTO w WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
             "WHERE i < 3000) SELECT i, printf('%01000d', i) FROM n");
    must(&a, "BEGIN; UPDATE w SET v = v || 'a'");
    expect(&a, "SELECT sum(length(v)) FROM w", "3003000");
    assert_true(spill_bytes() > 2000000);
    must(&a, "SAVEPOINT s; DELETE FROM w WHERE i % 2; UPDATE w SET v = 'b' || v");
    expect(&a, "SELECT count(*), sum(length(v)) FROM w", "1500");
    must(&a, "ROLLBACK TO s");
    expect(&a, "SELECT sum(length(v)) FROM w WHERE v = printf('%01000d', i) || 'a'", "3003000");
    must(&a, "ROLLBACK");
    expect(&a, "SELECT sum(length(v)) FROM w WHERE v = printf('%01000d', i)", "3000000");
    expect(&b, "PRAGMA integrity_check", "ok");
    must(&a, "BEGIN; UPDATE w SET v = v || 'c'; SAVEPOINT s; DELETE FROM w; ROLLBACK TO s; COMMIT");
    expect(&b, "SELECT sum(length(v)) FROM w WHERE v = printf('%01000d', i) || 'c'", "3003000");
    expect(&b, "PRAGMA integrity_check", "ok");
    assert_int_equal(spill_bytes(), 0);
}

static void
the_limit_of_temporary_files_fails_the_statement_with_its_reason(void **state)
{
    (void) state;
    must(&a, "PRAGMA cache_size = 5; CREATE TABLE w(i INTEGER PRIMARY KEY, v); "
             "INSERT INTO w WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
             "WHERE i < 3000) SELECT i, printf('%01000d', i) FROM n");
    spill_set_limit(1000000);
    vfs_temp_error_reset();
    assert_int_equal(run(&a, "UPDATE w SET v = v || 'a'"), SQLITE_FULL);
    assert_int_equal(vfs_temp_error()->code, -ERR_CONFIGURATION_LIMIT_EXCEEDED);
    assert_int_equal(spill_bytes(), 0);
    spill_set_limit(SPILL_NO_LIMIT);
    expect(&a, "SELECT sum(length(v)) FROM w WHERE v = printf('%01000d', i)", "3000000");
    must(&a, "UPDATE w SET v = v || 'a'");
    expect(&b, "SELECT sum(length(v)) FROM w", "3003000");
}

/* ---- other corners of 5.4 … 5.14 ---- */

static void
a_commit_beside_an_open_select_moves_the_handle_to_it(void **state)
{
    sqlite3_stmt *st;

    (void) state;
    must(&a, "INSERT INTO t VALUES('two'), ('three')");
    assert_int_equal(sqlite3_prepare_v2(a.db, "SELECT x FROM t", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    must(&a, "UPDATE t SET x = 'new' WHERE x = 'three'");
    assert_int_equal(a.h->level, SQLITE_LOCK_SHARED);
    assert_int_equal(a.h->cache_ver, mem.published); /* VFS-5 */
    expect(&a, "SELECT count(*) FROM t WHERE x = 'new'", "1");
    must(&b, "INSERT INTO t VALUES('b')"); /* not seen by the held snapshot */
    expect(&a, "SELECT count(*) FROM t WHERE x = 'b'", "0");
    (void) sqlite3_finalize(st);
    expect(&a, "SELECT count(*) FROM t WHERE x = 'b'", "1");
}

static void
reads_with_nobody_writing_keep_the_cache_warm(void **state)
{
    struct vfs_mem_db other;
    struct conn c;
    uint64_t n;

    (void) state;
    vfs_mem_init(&other, mem.clock); /* one log, two databases */
    conn_open(&c, &other);
    must(&c, "CREATE TABLE o(x)");
    expect(&a, ROWS, "base");
    n = a.h->counts.n_read;
    for (int i = 0; i < 20; i++) {
        must(&c, "INSERT INTO o VALUES(1)");
        expect(&a, ROWS, "base");
    }
    assert_int_equal(a.h->counts.n_read, n); /* VFS-2: page 1's LSN, not S */
    must(&b, "INSERT INTO t VALUES('b')");
    expect(&a, ROWS, "base,b");
    assert_true(a.h->counts.n_read > n);
    assert_int_equal(sqlite3_close(c.db), SQLITE_OK);
    vfs_mem_done(&other);
}

static void
own_commits_keep_the_cache_warm(void **state)
{
    uint64_t n, nonce;

    (void) state;
    must(&a, "INSERT INTO t VALUES('x')");
    n = a.h->counts.n_read;
    nonce = a.h->counts.n_nonce;
    for (int i = 0; i < 10; i++)
        must(&a, "UPDATE t SET x = x || '!' WHERE rowid = 2");
    assert_int_equal(a.h->counts.n_read, n);
    assert_int_equal(a.h->counts.n_nonce, nonce);
}

static void
an_emptied_shared_cache_makes_private_ones_stale(void **state)
{
    uint64_t nonce = a.h->counts.n_nonce;

    (void) state;
    expect(&a, ROWS, "base");
    mem.epoch++; /* CACHE-8 */
    expect(&a, ROWS, "base");
    assert_int_equal(a.h->counts.n_nonce, nonce + 1);
}

static void
schema_changes_of_others_are_seen(void **state)
{
    (void) state;
    expect(&a, "SELECT count(*) FROM t", "1");
    must(&b, "ALTER TABLE t ADD COLUMN y DEFAULT 7");
    expect(&a, "SELECT y FROM t", "7");
    must(&b, "DROP TABLE t; CREATE TABLE t(z)");
    expect(&a, "SELECT count(z) FROM t", "0");
}

static void
dangerous_pragmas_and_foreign_files_are_refused(void **state)
{
    sqlite3 *db = NULL;

    (void) state;
    assert_int_equal(run(&a, "PRAGMA journal_mode = DELETE"), SQLITE_ERROR);
    assert_int_equal(run(&a, "PRAGMA locking_mode = EXCLUSIVE"), SQLITE_ERROR);
    expect(&a, "PRAGMA journal_mode", "delete");
    assert_int_not_equal(run(&a, "ATTACH '/tmp/x.db' AS x"), SQLITE_OK);
    assert_int_not_equal(sqlite3_open_v2("file:/database-1?nolock=1", &db,
                                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, VFS_NAME),
                         SQLITE_OK);
    (void) sqlite3_close(db);
}

static void
a_failed_open_tells_the_real_error(void **state)
{
    struct err e = ERR_INIT;
    struct vfs_open_args args = { .ops = &vfs_mem_ops, .t = vfs_mem_open(&mem) };
    struct vfs_handle *h;
    sqlite3 *db;

    (void) state;
    mem.fail_in[VFS_MEM_BEGIN] = 1;
    mem.fail_code = ERR_DATA_CORRUPTED;
    assert_int_equal(vfs_connect(&args, &db, &h, &e), -ERR_DATA_CORRUPTED);
    assert_string_equal(e.message, "injected failure at step 0");
    assert_int_equal(mem.n_handles, 2);
}

static void
sorts_and_temporary_tables_use_files_without_names(void **state)
{
    (void) state;
    must(&a, "PRAGMA temp.cache_size = 5; CREATE TEMP TABLE w(x)");
    must(&a, "INSERT INTO w WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
             "i < 5000) SELECT printf('%0200d', i) FROM n");
    must(&a, "CREATE INDEX temp.wi ON w(x)");
    expect(&a, "SELECT count(DISTINCT x) FROM w", "5000");
    expect(&b, ROWS, "base");
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_installed_library_passes_the_self_test),
        T(a_library_that_behaves_differently_is_refused_with_both_sides_named),
        T(each_step_fails_as_its_table_says),
        T(a_standby_refuses_reserved_as_read_only_and_goes_on_reading),
        T(a_failed_read_of_page_1_leaves_no_cache_that_is_believed),
        T(whatever_code_phasetwo_fails_with_nothing_is_lost),
        T(a_failed_phasetwo_shows_nothing_to_its_own_connection_either),
        T(equal_change_counters_do_not_deceive),
        T(without_the_version_answer_the_lost_update_happens),
        T(plain_busy_at_sync_would_repeat_neither_check_nor_writes),
        T(a_refused_sync_is_a_clean_rollback_for_every_code),
        T(a_rollback_after_a_spill_is_swallowed_and_leaves_no_trace),
        T(a_large_rollback_and_one_to_a_savepoint_bring_every_page_back),
        T(the_limit_of_temporary_files_fails_the_statement_with_its_reason),
        T(a_commit_beside_an_open_select_moves_the_handle_to_it),
        T(reads_with_nobody_writing_keep_the_cache_warm),
        T(own_commits_keep_the_cache_warm),
        T(an_emptied_shared_cache_makes_private_ones_stale),
        T(schema_changes_of_others_are_seen),
        T(dangerous_pragmas_and_foreign_files_are_refused),
        T(a_failed_open_tells_the_real_error),
        T(sorts_and_temporary_tables_use_files_without_names),
    };

    return cmocka_run_group_tests_name("vfs", tests, NULL, NULL);
}
