/* Cumulative statistics: blocks of processes, sums of those who left, resets, the file over a stop.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/stat.h"
#include "support/test.h"

#define PROCS 4u
#define DB    16384u

struct world {
    void *mem;
    struct self self[PROCS];
    struct stats st[PROCS];
};

static void
attach(struct world *w, uint32_t procno)
{
    self_init(&w->self[procno], procno, NULL);
    stat_attach(&w->st[procno], w->mem, PROCS, &w->self[procno]);
}

static void
begin(struct world *w)
{
    *w = (struct world){ .mem = aligned_alloc(64, (stat_shm_bytes(PROCS) + 63) / 64 * 64) };
    assert_non_null(w->mem);
    memset(w->mem, 0, stat_shm_bytes(PROCS));
    for (uint32_t i = 0; i < PROCS; i++)
        attach(w, i);
}

static void
end(struct world *w)
{
    free(w->mem);
}

static uint64_t
of_db(struct world *w, oid_t oid, enum stat_id id)
{
    uint64_t n[STAT_DB_COUNTS];
    usec_t reset;

    stat_read_db(&w->st[0], oid, n, &reset);
    return n[id];
}

static uint64_t
of_cluster(struct world *w, enum stat_id id)
{
    uint64_t n[STAT_COUNTS];
    usec_t reset[STAT_GROUPS];

    stat_read_cluster(&w->st[0], n, reset);
    return n[id];
}

static void
what_a_process_counts_is_seen_at_once_and_stays_when_it_leaves(void **state)
{
    struct world w;

    (void) state;
    begin(&w);
    stat_set_db(&w.st[1], DB);
    stat_set_db(&w.st[2], DB);
    stat_add(&w.self[1], STAT_XACT_COMMIT, 3);
    stat_add(&w.self[2], STAT_XACT_COMMIT, 4);
    stat_add(&w.self[1], STAT_WAL_SYNC, 5);
    assert_int_equal(of_db(&w, DB, STAT_XACT_COMMIT), 7);
    assert_int_equal(of_cluster(&w, STAT_WAL_SYNC), 5);
    stat_process_exit(&w.st[1]);
    assert_int_equal(of_db(&w, DB, STAT_XACT_COMMIT), 7);
    assert_int_equal(of_cluster(&w, STAT_WAL_SYNC), 5);
    stat_add(&w.self[1], STAT_WAL_SYNC, 1); /* after the end: nowhere */
    attach(&w, 1);                          /* the slot's next owner begins at zero */
    stat_set_db(&w.st[1], DB + 1);
    stat_add(&w.self[1], STAT_XACT_COMMIT, 1);
    assert_int_equal(of_db(&w, DB, STAT_XACT_COMMIT), 7);
    assert_int_equal(of_db(&w, DB + 1, STAT_XACT_COMMIT), 1);
    assert_int_equal(of_cluster(&w, STAT_WAL_SYNC), 5);
    end(&w);
}

static void
what_came_before_a_database_was_chosen_stays_with_none(void **state)
{
    struct world w;

    (void) state;
    begin(&w);
    stat_add(&w.self[1], STAT_BLKS_HIT, 2);
    stat_set_db(&w.st[1], DB);
    stat_add(&w.self[1], STAT_BLKS_HIT, 1);
    assert_int_equal(of_db(&w, 0, STAT_BLKS_HIT), 2);
    assert_int_equal(of_db(&w, DB, STAT_BLKS_HIT), 1);
    end(&w);
}

static void
a_reset_begins_at_zero_and_takes_nothing_from_others(void **state)
{
    struct world w;
    uint64_t n[STAT_DB_COUNTS];
    usec_t reset = 0;

    (void) state;
    begin(&w);
    stat_set_db(&w.st[1], DB);
    stat_add(&w.self[1], STAT_TUP_INSERTED, 10);
    stat_add(&w.self[1], STAT_WAL_SYNC, 10);
    stat_add(&w.self[1], STAT_BUF_ALLOC, 10);
    stat_reset_db(&w.st[0], DB);
    stat_reset_cluster(&w.st[0], STAT_GROUP_WAL);
    stat_add(&w.self[1], STAT_TUP_INSERTED, 1);
    stat_add(&w.self[1], STAT_WAL_SYNC, 2);
    stat_process_exit(&w.st[1]); /* the base counts what is in its block, too */
    stat_read_db(&w.st[0], DB, n, &reset);
    assert_int_equal(n[STAT_TUP_INSERTED], 1);
    assert_true(reset != 0);
    assert_int_equal(of_cluster(&w, STAT_WAL_SYNC), 2);
    assert_int_equal(of_cluster(&w, STAT_BUF_ALLOC), 10);
    end(&w);
}

static void
a_dropped_database_is_forgotten_and_its_place_used_again(void **state)
{
    struct world w;
    struct stat_shared *sh;

    (void) state;
    begin(&w);
    sh = w.mem;
    for (oid_t oid = DB; oid < DB + 3 * STAT_DBS; oid++) {
        stat_reset_db(&w.st[0], oid);
        stat_forget_db(&w.st[0], oid);
    }
    assert_int_equal(sh->n_dbs, 1);
    for (oid_t oid = DB; oid < DB + STAT_DBS + 5; oid++) /* more than there is room for */
        stat_reset_db(&w.st[0], oid);
    assert_int_equal(sh->n_dbs, STAT_DBS);
    assert_int_equal(of_db(&w, DB + STAT_DBS + 1, STAT_XACT_COMMIT), 0);
    end(&w);
}

static void
who_still_leaves_a_dropped_database_does_not_bring_it_back(void **state)
{
    struct world w;
    struct stat_shared *sh;

    (void) state;
    begin(&w);
    sh = w.mem;
    for (uint32_t i = 1; i <= 2; i++) {
        stat_set_db(&w.st[i], DB);
        stat_add(&w.self[i], STAT_XACT_COMMIT, 1);
    }
    stat_forget_db(&w.st[0], DB);
    stat_process_exit(&w.st[1]);
    stat_set_db(&w.st[2], DB + 1);
    for (uint32_t i = 0; i < sh->n_dbs; i++)
        assert_false(sh->db[i].is_used && sh->db[i].oid == DB);
    assert_int_equal(of_db(&w, DB, STAT_XACT_COMMIT), 0);
    end(&w);
}

static void
a_file_is_shown_with_the_count_that_it_raised_until_a_reset(void **state)
{
    const char *long_name = "00000001000000000000000A.0123456789ABCDEF.0123456789ABCDEF";
    struct stat_archiver a;
    struct world w;

    (void) state;
    begin(&w);
    stat_add_file(&w.st[1], STAT_ARCHIVE_FAILED, "00000002.history");
    stat_add_file(&w.st[1], STAT_ARCHIVED, "00000002.history");
    stat_add_file(&w.st[1], STAT_ARCHIVED, long_name);
    stat_read_archiver(&w.st[0], &a);
    assert_int_equal(a.n[0], 2);
    assert_int_equal(strlen(a.last[0].name), STAT_FILE_BYTES - 1);
    assert_int_equal(strncmp(a.last[0].name, long_name, STAT_FILE_BYTES - 1), 0);
    assert_int_equal(a.n[1], 1);
    assert_string_equal(a.last[1].name, "00000002.history");
    assert_true(a.last[0].when >= a.last[1].when && a.last[1].when != 0);
    stat_reset_cluster(&w.st[0], STAT_GROUP_WAL); /* another group */
    stat_read_archiver(&w.st[0], &a);
    assert_int_equal(a.n[0], 2);
    stat_reset_cluster(&w.st[0], STAT_GROUP_ARCHIVER);
    stat_process_exit(&w.st[1]);
    stat_read_archiver(&w.st[0], &a);
    for (size_t i = 0; i < STAT_FILES; i++)
        assert_true(a.n[i] == 0 && a.last[i].when == 0 && a.last[i].name[0] == '\0');
    assert_true(a.reset != 0);
    end(&w);
}

/* ---- the file ---- */

struct disk {
    char dir[32];
    int fd;
    struct io io;
};

static void
make_disk(struct disk *d)
{
    strcpy(d->dir, "/tmp/pinion-stat-XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    d->fd = open(d->dir, O_RDONLY | O_DIRECTORY);
    assert_true(d->fd >= 0);
    assert_int_equal(mkdirat(d->fd, "pg_stat", 0700), 0);
    io_real_init(&d->io, d->fd);
}

static void
drop_disk(struct disk *d)
{
    (void) unlinkat(d->fd, STAT_PATH, 0);
    (void) unlinkat(d->fd, "pg_stat", AT_REMOVEDIR);
    assert_int_equal(rmdir(d->dir), 0);
    (void) close(d->fd);
}

static bool
has_file(const struct disk *d)
{
    return faccessat(d->fd, STAT_PATH, F_OK, 0) == 0;
}

/* Counts of three processes, two of them gone, and a reset. */
static void
count_some(struct world *w)
{
    stat_set_db(&w->st[1], DB);
    stat_add(&w->self[1], STAT_XACT_COMMIT, 100);
    stat_add(&w->self[1], STAT_WAL_BYTES, UINT64_C(1) << 40);
    stat_process_exit(&w->st[1]);
    stat_reset_db(&w->st[0], DB);
    stat_set_db(&w->st[2], DB);
    stat_add(&w->self[2], STAT_XACT_COMMIT, 7);
    stat_process_exit(&w->st[2]);
    stat_add(&w->self[3], STAT_CKPT_REQ, 2);
    stat_add_file(&w->st[3], STAT_ARCHIVED, "000000010000000000000002");
}

static void
a_clean_stop_keeps_everything_once(void **state)
{
    struct world w;
    struct disk d;
    struct err e = ERR_INIT;
    uint64_t n[STAT_DB_COUNTS];
    struct stat_archiver before, after;
    usec_t reset = 0;

    (void) state;
    make_disk(&d);
    begin(&w);
    count_some(&w);
    stat_read_archiver(&w.st[0], &before);
    assert_int_equal(stat_save(&w.st[3], &d.io, &e), 0);
    end(&w);
    begin(&w);
    assert_int_equal(stat_restore(&w.st[0], &d.io, true, &e), 0);
    stat_read_db(&w.st[0], DB, n, &reset);
    assert_int_equal(n[STAT_XACT_COMMIT], 7);
    assert_true(reset != 0);
    assert_true(of_cluster(&w, STAT_WAL_BYTES) == UINT64_C(1) << 40);
    assert_int_equal(of_cluster(&w, STAT_CKPT_REQ), 2);
    stat_read_archiver(&w.st[0], &after);
    assert_memory_equal(&after, &before, sizeof after);
    assert_false(has_file(&d));
    assert_int_equal(stat_restore(&w.st[0], &d.io, true, &e), 0); /* nothing is added twice */
    assert_int_equal(of_cluster(&w, STAT_CKPT_REQ), 2);
    end(&w);
    drop_disk(&d);
}

static void
a_crash_forgets_them_and_says_since_when(void **state)
{
    struct world w;
    struct disk d;
    struct err e = ERR_INIT;
    uint64_t n[STAT_COUNTS];
    usec_t reset[STAT_GROUPS];
    struct stat_archiver a;

    (void) state;
    make_disk(&d);
    begin(&w);
    count_some(&w);
    assert_int_equal(stat_save(&w.st[3], &d.io, &e), 0);
    end(&w);
    begin(&w);
    assert_int_equal(stat_restore(&w.st[0], &d.io, false, &e), 0);
    assert_int_equal(of_db(&w, DB, STAT_XACT_COMMIT), 0);
    stat_read_cluster(&w.st[0], n, reset);
    assert_int_equal(n[STAT_CKPT_REQ], 0);
    stat_read_archiver(&w.st[0], &a);
    assert_true(a.n[0] == 0 && a.last[0].when == 0 && a.reset != 0);
    assert_true(reset[STAT_GROUP_WAL] != 0 && reset[STAT_GROUP_BGWRITER] != 0);
    assert_false(has_file(&d));
    end(&w);
    drop_disk(&d);
}

/* Each byte of the file changed, each length cut: told and forgotten, or (in the last line's end)
 * harmless; never half taken. */
static void
a_damaged_file_is_told_and_nothing_of_it_is_taken(void **state)
{
    struct world w;
    struct disk d;
    struct err e = ERR_INIT;
    uint8_t good[4096];
    ssize_t n;
    int fd;

    (void) state;
    make_disk(&d);
    begin(&w);
    count_some(&w);
    assert_int_equal(stat_save(&w.st[3], &d.io, &e), 0);
    n = io_read_file(&d.io, STAT_PATH, good, sizeof good);
    assert_true(n > 0);
    for (ssize_t at = 0; at < 2 * n; at++) {
        uint8_t bad[sizeof good];
        size_t bytes = at < n ? (size_t) n : (size_t) (at - n);
        int r;

        memcpy(bad, good, (size_t) n);
        if (at < n)
            bad[at] ^= 0x11;
        fd = openat(d.fd, STAT_PATH, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, bad, bytes), bytes);
        assert_int_equal(close(fd), 0);
        memset(w.mem, 0, stat_shm_bytes(PROCS));
        err_clear(&e);
        r = stat_restore(&w.st[0], &d.io, true, &e);
        if (r < 0) {
            assert_true(e.message[0] != '\0');
            assert_int_equal(of_cluster(&w, STAT_CKPT_REQ), 0);
            assert_int_equal(of_db(&w, DB, STAT_XACT_COMMIT), 0);
            assert_int_equal(((struct stat_shared *) w.mem)->last[0].when, 0);
        } else { /* its newline */
            assert_true(at == n - 1 || at == 2 * n - 1);
        }
        assert_false(has_file(&d));
    }
    end(&w);
    drop_disk(&d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_process_counts_is_seen_at_once_and_stays_when_it_leaves),
        cmocka_unit_test(what_came_before_a_database_was_chosen_stays_with_none),
        cmocka_unit_test(a_reset_begins_at_zero_and_takes_nothing_from_others),
        cmocka_unit_test(a_dropped_database_is_forgotten_and_its_place_used_again),
        cmocka_unit_test(who_still_leaves_a_dropped_database_does_not_bring_it_back),
        cmocka_unit_test(a_file_is_shown_with_the_count_that_it_raised_until_a_reset),
        cmocka_unit_test(a_clean_stop_keeps_everything_once),
        cmocka_unit_test(a_crash_forgets_them_and_says_since_when),
        cmocka_unit_test(a_damaged_file_is_told_and_nothing_of_it_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
