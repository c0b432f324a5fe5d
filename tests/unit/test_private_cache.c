/* Four handles on one database against a model: rollbacks, refused commits, failing reads, open
 * cursors. Each row read is compared with the model at the version (page 1's LSN) that the handle
 * says it sees. Over memory with injected failures, and over the real store. */
#include "support/test.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "sql/catalog.h"
#include "support/clients.h"
#include "vfs/vfs_file.h"
#include "vfs/vfs_mem.h"
#include "vfs/vfs_store.h"

#define HANDLES 4
#define KEYS    40
#define STEPS   3000

/* What the two tables hold. */
struct content {
    int m[KEYS], n[KEYS];
};

struct version {
    lsn_t lsn;
    struct content c;
};

struct handle {
    sqlite3 *db;
    struct vfs_handle *h;
    struct store_txn *txn; /* NULL over memory */
    struct store *st;
    bool in_txn;
    struct content mine; /* as the open transaction sees it */
    sqlite3_stmt *cursor;
    struct content at_cursor; /* what an open cursor must go on to see of m */
};

static struct handle handles[HANDLES];
static struct version *versions;
static size_t n_versions;
static struct rng rng;
static uint64_t seed;
static unsigned n_compared, n_refused;

/* memory */
static struct vfs_mem_db mem;
static bool over_memory;
/* the store */
static struct tmpdir dir;
static struct world w;
static uint32_t db_idx;

static void
add_version(lsn_t lsn, const struct content *c)
{
    versions = realloc(versions, (n_versions + 1) * sizeof *versions);
    assert_non_null(versions);
    versions[n_versions++] = (struct version){ .lsn = lsn, .c = *c };
}

static const struct content *
at_version(lsn_t lsn)
{
    for (size_t i = n_versions; i > 0; i--) {
        if (versions[i - 1].lsn == lsn)
            return &versions[i - 1].c;
    }
    fail_msg("seed %llu: no version %llu", (unsigned long long) seed, (unsigned long long) lsn);
    return NULL;
}

static const struct content *
newest(void)
{
    return &versions[n_versions - 1].c;
}

static int
run(struct handle *c, const char *sql)
{
    return sqlite3_exec(c->db, sql, NULL, NULL, NULL);
}

/* ---- the writer lock, as the session takes it ---- */

static bool
take_writer(struct handle *c)
{
    struct err e = ERR_INIT;

    if (over_memory)
        return mem.writer == NULL || mem.writer == c->h->t;
    return store_writer_is_mine(c->st, db_idx) ||
           store_writer_take(c->st, db_idx, clock_mono_usec() + 1, &e) == 0;
}

static void
drop_writer(struct handle *c)
{
    if (!over_memory && store_writer_is_mine(c->st, db_idx))
        store_writer_drop(c->st, db_idx);
    if (!over_memory)
        store_txn_barrier(c->txn, true);
}

/* ---- steps ---- */

static void
check_row(sqlite3_stmt *st, const int *want, const char *what)
{
    int k = sqlite3_column_int(st, 0);
    int v = sqlite3_column_int(st, 1);

    n_compared++;
    if (k < 0 || k >= KEYS || v != want[k])
        fail_msg("seed %llu: %s: key %d is %d, want %d", (unsigned long long) seed, what, k, v,
                 k >= 0 && k < KEYS ? want[k] : -1);
}

/* All rows of one table, in one statement. */
static void
read_all(struct handle *c, char table)
{
    char sql[64];
    const struct content *want = NULL;
    sqlite3_stmt *st;
    int rc, n = 0;

    (void) snprintf(sql, sizeof sql, "SELECT k, CAST(v AS int) FROM %c", table);
    rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW)
            break;
        if (want == NULL)
            want = c->in_txn ? &c->mine : at_version(c->h->ops->version(c->h->t));
        check_row(st, table == 'm' ? want->m : want->n, "read");
        n++;
    }
    (void) sqlite3_finalize(st);
    if (rc != SQLITE_DONE)
        assert_int_equal(rc & 0xff, SQLITE_IOERR); /* injected */
    else
        assert_int_equal(n, KEYS);
}

static void
end_cursor(struct handle *c)
{
    if (c->cursor != NULL)
        (void) sqlite3_finalize(c->cursor);
    c->cursor = NULL;
}

/* Open a cursor on m, or read some more rows of it. */
static void
use_cursor(struct handle *c)
{
    int rc = SQLITE_OK;

    if (c->cursor == NULL) {
        rc = sqlite3_prepare_v2(c->db, "SELECT k, CAST(v AS int) FROM m", -1, &c->cursor, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_step(c->cursor);
        if (rc == SQLITE_ROW)
            c->at_cursor = c->in_txn ? c->mine : *at_version(c->h->ops->version(c->h->t));
    } else {
        for (uint64_t n = rng_below(&rng, 15) + 1; n > 0 && (rc == SQLITE_OK || rc == SQLITE_ROW);
             n--)
            rc = sqlite3_step(c->cursor);
    }
    if (rc == SQLITE_ROW)
        check_row(c->cursor, c->at_cursor.m, "cursor");
    else
        end_cursor(c);
}

static void
forget_txn(struct handle *c)
{
    end_cursor(c);
    if (sqlite3_get_autocommit(c->db) == 0)
        assert_int_equal(run(c, "ROLLBACK"), SQLITE_OK);
    c->in_txn = false;
    drop_writer(c);
}

static void
change(struct handle *c)
{
    char table = c->cursor != NULL ? 'n' : rng_below(&rng, 2) == 0 ? 'm' : 'n';
    int k = (int) rng_below(&rng, KEYS);
    int v = (int) rng_below(&rng, 1000000);
    char sql[160];
    int rc;

    (void) snprintf(sql, sizeof sql, "UPDATE %c SET v = printf('%%-700d', %d) WHERE k = %d", table,
                    v, k);
    rc = run(c, sql);
    if (rc != SQLITE_OK) {
        n_refused++;
        forget_txn(c);
        return;
    }
    *(table == 'm' ? &c->mine.m[k] : &c->mine.n[k]) = v;
}

static void
begin(struct handle *c)
{
    bool held = c->cursor != NULL; /* then the snapshot is what it is */
    int rc;

    if (!take_writer(c))
        return;
    rc = run(c, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) { /* stale beside an open cursor, or injected */
        if (!held)
            assert_int_equal(rc & 0xff, SQLITE_IOERR);
        forget_txn(c);
        return;
    }
    c->in_txn = true;
    c->mine = *newest();
}

static void
commit(struct handle *c)
{
    uint64_t before = c->h->counts.n_commit;
    bool was_staged;
    int rc;

    if (over_memory && rng_below(&rng, 3) == 0)
        mem.fail_in[rng_below(&rng, 2) == 0 ? VFS_MEM_PREPARE : VFS_MEM_STAGE] = 1;
    rc = run(c, "COMMIT");
    was_staged = memcmp(&c->mine, newest(), sizeof c->mine) != 0;
    memset(mem.fail_in, 0, sizeof mem.fail_in);
    if (rc != SQLITE_OK) {
        n_refused++;
        forget_txn(c);
        return;
    }
    assert_int_equal(c->h->counts.n_commit, before + 1);
    if (was_staged || c->h->cache_ver != versions[n_versions - 1].lsn)
        add_version(c->h->cache_ver, &c->mine);
    c->in_txn = false;
    drop_writer(c);
}

static void
one_step(void)
{
    struct handle *c = &handles[rng_below(&rng, HANDLES)];
    uint64_t what = rng_below(&rng, 100);

    if (over_memory && rng_below(&rng, 20) == 0)
        mem.fail_in[rng_below(&rng, 3) == 0 ? VFS_MEM_FETCH : VFS_MEM_READ] =
            1 + (uint32_t) rng_below(&rng, 4);
    if (what < 30)
        read_all(c, what % 2 == 0 ? 'm' : 'n');
    else if (what < 45)
        use_cursor(c);
    else if (!c->in_txn)
        begin(c);
    else if (what < 80)
        change(c);
    else if (what < 93)
        commit(c);
    else
        forget_txn(c);
    memset(mem.fail_in, 0, sizeof mem.fail_in);
    if (c->in_txn && sqlite3_get_autocommit(c->db) != 0)
        forget_txn(c); /* an injected failure of a read undid it */
}

static void
fill(void)
{
    struct content zero;

    memset(&zero, 0, sizeof zero);
    assert_true(take_writer(&handles[0]));
    assert_int_equal(run(&handles[0],
                         "BEGIN IMMEDIATE; CREATE TABLE m(k INTEGER PRIMARY KEY, v);"
                         "CREATE TABLE n(k INTEGER PRIMARY KEY, v);"
                         "INSERT INTO m WITH RECURSIVE i(k) AS (SELECT 0 UNION ALL SELECT k + 1 "
                         "FROM i WHERE k < 39) SELECT k, printf('%-700d', 0) FROM i;"
                         "INSERT INTO n SELECT * FROM m; COMMIT"),
                     SQLITE_OK);
    add_version(handles[0].h->cache_ver, &zero);
    drop_writer(&handles[0]);
}

static void
check_integrity(struct handle *c)
{
    sqlite3_stmt *st;

    assert_int_equal(sqlite3_prepare_v2(c->db, "PRAGMA integrity_check", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_string_equal((const char *) sqlite3_column_text(st, 0), "ok");
    (void) sqlite3_finalize(st);
}

static void
walk(uint64_t s, unsigned steps)
{
    seed = s;
    rng_init(&rng, s);
    n_compared = n_refused = 0;
    fill();
    for (unsigned i = 0; i < steps; i++)
        one_step();
    for (int i = 0; i < HANDLES; i++) {
        forget_txn(&handles[i]);
        read_all(&handles[i], 'm');
        check_integrity(&handles[i]);
        assert_int_equal(sqlite3_close(handles[i].db), SQLITE_OK);
    }
    free(versions);
    versions = NULL;
    n_versions = 0;
    assert_true(n_compared > steps);
}

static void
four_handles_over_memory_see_what_their_version_holds(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    over_memory = true;
    assert_ok(vfs_register("/tmp", &e), &e);
    for (uint64_t s = 1; s <= 4; s++) {
        vfs_mem_init(&mem, NULL);
        memset(handles, 0, sizeof handles);
        for (int i = 0; i < HANDLES; i++) {
            struct vfs_open_args args = { .ops = &vfs_mem_ops,
                                          .t = vfs_mem_open(&mem),
                                          .use_fetch = i % 2 == 0 };

            assert_ok(vfs_connect(&args, &handles[i].db, &handles[i].h, &e), &e);
        }
        walk(s, STEPS);
        assert_true(n_refused > 10);
        vfs_mem_done(&mem);
    }
}

static void
four_handles_over_the_store_see_what_their_version_holds(void **state)
{
    struct err e = ERR_INIT;

    (void) state;
    over_memory = false;
    tmpdir_make(&dir);
    clients_make_cluster(&dir.io);
    w = (struct world){ 0 };
    world_attach(&w, &dir.io, HANDLES, 256);
    world_start(&w);
    memset(handles, 0, sizeof handles);
    for (int i = 0; i < HANDLES; i++) {
        handles[i].st = &w.procs[i].store;
        assert_ok(store_db_attach(handles[i].st, POSTGRES_DB_OID, POSTGRES_DB_OID, &db_idx, &e),
                  &e);
        assert_ok(vfs_store_connect(handles[i].st, db_idx, &handles[i].db, &handles[i].h,
                                    &handles[i].txn, &e),
                  &e);
    }
    walk(11, 1000);
    for (int i = 0; i < HANDLES; i++)
        store_process_exit(&w.procs[i].store);
    world_detach(&w);
    tmpdir_remove(&dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_handles_over_memory_see_what_their_version_holds),
        cmocka_unit_test(four_handles_over_the_store_see_what_their_version_holds),
    };

    return cmocka_run_group_tests_name("private_cache", tests, NULL, NULL);
}
