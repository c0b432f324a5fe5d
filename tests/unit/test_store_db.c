/* The table of open databases and the writer locks. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "support/store_world.h"
#include "support/test.h"
#include "support/tmpdir.h"

#include "base/clock.h"
#include "store/store_checkpoint.h"
#include "store/store_page.h"

#define PROCS 6

static struct tmpdir dir;
static struct world w;

static struct store *
store(uint32_t i)
{
    return &w.procs[i].store;
}

static int
setup(void **state)
{
    (void) state;
    tmpdir_make(&dir);
    world_init(&dir.io);
    w = (struct world){ 0 };
    world_attach(&w, &dir.io, PROCS, 128);
    world_start(&w);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    for (uint32_t i = 0; i < PROCS; i++)
        store_process_exit(store(i));
    world_detach(&w);
    tmpdir_remove(&dir);
    return 0;
}

static void
all_processes_get_the_same_index_and_page_1_gives_its_size(void **state)
{
    struct err e = ERR_INIT;
    uint32_t db;
    uint32_t other;
    uint32_t catalog;

    (void) state;
    assert_ok(store_db_attach(store(0), WORLD_OID, WORLD_OID, &db, &e), &e);
    assert_ok(store_db_attach(store(1), WORLD_OID, WORLD_OID, &other, &e), &e);
    assert_ok(store_db_attach(store(1), WORLD_CATALOG, WORLD_CATALOG, &catalog, &e), &e);
    assert_int_equal(db, other);
    assert_int_not_equal(db, catalog);
    assert_int_equal(store_db_oid(store(2), db), WORLD_OID);
    assert_int_equal(store_db_state(store(2), db), DB_READY);
    assert_int_equal(atomic_load(&store_db_at(store(0), db)->size), WORLD_PAGES);
    assert_true(store_db_published(store(2), db) == WORLD_SEG + 40);
    assert_int_equal(db_word_refs(atomic_load(&store_db_at(store(0), db)->word)), 2);
    store_db_detach(store(0), db);
    store_process_exit(store(1));
    assert_int_equal(db_word_refs(atomic_load(&store_db_at(store(0), db)->word)), 0);
    assert_int_equal(store_db_find(store(0), WORLD_OID), db); /* stays open, with its pages */
}

static void
a_missing_or_damaged_file_is_refused_and_may_be_tried_again(void **state)
{
    uint8_t page[PAGE_BYTES];
    uint8_t good[PAGE_BYTES];
    struct err e = ERR_INIT;
    uint32_t db;
    int fd;

    (void) state;
    assert_int_equal(store_db_attach(store(0), 99, 99, &db, &e), -ERR_UNDEFINED_FILE);
    err_clear(&e);
    fd = io_open(&dir.io, "base/5/5", O_RDWR, 0);
    assert_true(io_pread(&dir.io, fd, good, PAGE_BYTES, 0) == PAGE_BYTES);
    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        page[i] = good[i];
    page[300] ^= 1;
    assert_true(io_pwrite(&dir.io, fd, page, PAGE_BYTES, 0) == PAGE_BYTES);
    assert_int_equal(store_db_attach(store(0), 5, 5, &db, &e), -ERR_DATA_CORRUPTED);
    err_clear(&e);
    assert_int_equal(store_db_find(store(0), 5), CACHE_NONE);
    assert_true(io_pwrite(&dir.io, fd, good, PAGE_BYTES, 0) == PAGE_BYTES);
    assert_ok(store_db_attach(store(0), 5, 5, &db, &e), &e);
    (void) io_close(&dir.io, fd);
}

static void
a_longer_file_is_to_be_cut(void **state)
{
    uint8_t page[PAGE_BYTES] = { 0 };
    struct err e = ERR_INIT;
    uint32_t db;
    int fd = io_open(&dir.io, "base/5/5", O_RDWR, 0);

    (void) state;
    assert_true(io_pwrite(&dir.io, fd, page, PAGE_BYTES, 20 * PAGE_BYTES) == PAGE_BYTES);
    (void) io_close(&dir.io, fd);
    assert_ok(store_db_attach(store(0), 5, 5, &db, &e), &e);
    assert_true(atomic_load(&store_db_at(store(0), db)->shrink_lsn) ==
                store_db_published(store(0), db));
}

static void *
attach_many(void *arg)
{
    struct store *st = arg;
    struct err e = ERR_INIT;
    uintptr_t n_bad = 0;

    for (uint32_t i = 0; i < 300; i++) {
        oid_t oid = i % 3 == 0 ? WORLD_CATALOG : WORLD_OID;
        uint32_t db = 0;

        if (store_db_attach(st, oid, oid, &db, &e) < 0 || store_db_oid(st, db) != oid)
            n_bad++;
        else
            store_db_detach(st, db);
    }
    return (void *) n_bad;
}

static void
processes_that_open_at_once_agree(void **state)
{
    pthread_t threads[PROCS];
    void *n_bad;

    (void) state;
    for (uint32_t i = 0; i < PROCS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, attach_many, store(i)), 0);
    for (uint32_t i = 0; i < PROCS; i++) {
        assert_int_equal(pthread_join(threads[i], &n_bad), 0);
        assert_null(n_bad);
    }
    assert_int_equal(atomic_load(&store(0)->sh->n_dbs), 2);
}

/* A database with a commit that is not on disk; all others of the table are in use. */
static uint32_t
fill_table(void)
{
    struct store_shared *sh = store(0)->sh;
    struct store_txn *t;
    struct err e = ERR_INIT;
    uint32_t db;

    assert_ok(store_db_attach(store(0), WORLD_OID, WORLD_OID, &db, &e), &e);
    assert_ok(store_txn_open(store(0), db, &t, &e), &e);
    assert_ok(world_write(t, store(0), db, 7, 0, &(struct world_change){ 2, 7 }, 1,
                          WORLD_COMMIT_ASYNC, &e),
              &e);
    store_txn_close(t);
    for (uint32_t i = 1; i < CACHE_DBS; i++) {
        atomic_store(&sh->db_oid[i], 100000 + i);
        atomic_store(&sh->db[i].word, db_word(DB_READY, 1));
    }
    atomic_store(&sh->n_dbs, CACHE_DBS);
    return db;
}

static void
when_the_table_is_full_the_one_unused_longest_makes_room(void **state)
{
    struct store_shared *sh = store(0)->sh;
    uint32_t db = fill_table();
    struct store_txn *t;
    struct err e = ERR_INIT;
    uint32_t catalog;

    (void) state;
    assert_int_equal(store_db_attach(store(1), WORLD_CATALOG, WORLD_CATALOG, &catalog, &e),
                     -ERR_TOO_MANY_CONNECTIONS);
    err_clear(&e);
    store_db_detach(store(0), db);
    assert_ok(store_db_attach(store(1), WORLD_CATALOG, WORLD_CATALOG, &catalog, &e), &e);
    assert_int_equal(catalog, db);
    atomic_store(&sh->db[9].word, db_word(DB_READY, 0));
    atomic_store(&sh->db[9].word, db_word(DB_FREE, 0));
    atomic_store(&sh->db_oid[9], 0);
    /* What was committed there is on disk. */
    assert_ok(store_db_attach(store(0), WORLD_OID, WORLD_OID, &db, &e), &e);
    assert_int_equal(db, 9);
    assert_ok(store_txn_open(store(0), db, &t, &e), &e);
    uint32_t got[10];
    pgno_t n;

    assert_ok(world_read(t, got, 9, &n, &e), &e);
    assert_int_equal(got[2], 7);
    store_txn_close(t);
}

static const struct io_ops *real_ops;
static struct checkpoint_stats meanwhile;

/* A checkpoint of another process comes and goes while the disk syncs. */
static int
fsync_beside_a_checkpoint(struct io *io, int fd)
{
    static bool has_run;
    struct err e = ERR_INIT;

    if (!has_run) {
        has_run = true; /* its own syncs are none of ours */
        assert_ok(store_checkpoint(store(2), CKPT_FORCE, NULL, NULL, &meanwhile, &e), &e);
    }
    return real_ops->fsync(io, fd);
}

/* CKPT-3: its control file says that the page is on disk. */
static void
a_checkpoint_does_not_pass_over_a_file_that_is_being_synced(void **state)
{
    uint32_t db = fill_table();
    struct io_ops ops = *dir.io.ops;
    struct err e = ERR_INIT;
    uint32_t catalog;

    (void) state;
    store_db_detach(store(0), db);
    real_ops = dir.io.ops;
    ops.fsync = fsync_beside_a_checkpoint;
    dir.io.ops = &ops;
    assert_ok(store_db_attach(store(1), WORLD_CATALOG, WORLD_CATALOG, &catalog, &e), &e);
    dir.io.ops = real_ops;
    assert_int_equal(catalog, db);
    assert_int_equal(meanwhile.n_files, 1);
    assert_int_equal(atomic_load(&store_db_at(store(0), db)->needs_sync), 0);
}

static void
a_database_being_dropped_lets_nobody_in(void **state)
{
    struct err e = ERR_INIT;
    uint32_t db;
    uint32_t other;

    (void) state;
    assert_ok(store_db_attach(store(0), WORLD_OID, WORLD_OID, &db, &e), &e);
    assert_ok(store_db_attach(store(1), WORLD_OID, WORLD_OID, &other, &e), &e);
    assert_ok(store_writer_take(store(0), db, 0, &e), &e);
    assert_int_equal(store_drop_begin(store(0), db, "gone", &e), -ERR_OBJECT_IN_USE);
    err_clear(&e);
    store_db_detach(store(1), db);
    assert_ok(store_drop_begin(store(0), db, "gone", &e), &e);
    assert_int_equal(store_db_attach(store(1), WORLD_OID, WORLD_OID, &other, &e),
                     -ERR_INVALID_CATALOG_NAME);
    err_clear(&e);
    /* It died before its commit: the exit callback lets them in again. */
    store_process_exit(store(0));
    assert_ok(store_db_attach(store(1), WORLD_OID, WORLD_OID, &other, &e), &e);
    assert_ok(store_writer_take(store(1), other, clock_mono_usec() + USEC_PER_SEC, &e), &e);
}

static void
the_writer_lock_times_out_and_names_its_owner(void **state)
{
    struct err e = ERR_INIT;
    uint32_t db;

    (void) state;
    for (uint32_t i = 0; i < 2; i++)
        assert_ok(store_db_attach(store(i), WORLD_OID, WORLD_OID, &db, &e), &e);
    assert_int_equal(store_writer_owner(store(0), db), UINT32_MAX);
    assert_ok(store_writer_take(store(1), db, 0, &e), &e);
    assert_int_equal(store_writer_owner(store(0), db), 1);
    assert_true(store_writer_is_mine(store(1), db));
    assert_int_equal(store_writer_take(store(0), db, clock_mono_usec() + 1000, &e),
                     -ERR_LOCK_NOT_AVAILABLE);
    err_clear(&e);
    slot_request(&w.slots[0], REQ_CANCEL);
    assert_int_equal(store_writer_take(store(0), db, 0, &e), -ERR_QUERY_CANCELED);
    store_writer_drop(store(1), db);
    assert_int_equal(store_writer_owner(store(0), db), UINT32_MAX);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(all_processes_get_the_same_index_and_page_1_gives_its_size),
        T(a_missing_or_damaged_file_is_refused_and_may_be_tried_again),
        T(a_longer_file_is_to_be_cut),
        T(processes_that_open_at_once_agree),
        T(when_the_table_is_full_the_one_unused_longest_makes_room),
        T(a_checkpoint_does_not_pass_over_a_file_that_is_being_synced),
        T(a_database_being_dropped_lets_nobody_in),
        T(the_writer_lock_times_out_and_names_its_owner),
    };
    return cmocka_run_group_tests_name("store_db", tests, NULL, NULL);
}
