/* VACUUM in a session over the real store, with a fault at hit 1, 2, 3 … of any fault point, as
 * error, full disk and crash, and a power cut at each call that changes the disk. Whatever happens
 * the rows are the same and the structure is sound; an error leaves a session that can try again;
 * after recovery VACUUM comes to its end. */
#include <stdio.h>
#include <string.h>

#include "fault/lives.h"
#include "support/clients.h"
#include "support/test.h"

#include "store/store_checkpoint.h"
#include "store/store_recover.h"
#include "vfs/vfs.h"

#define FRAMES 256

/* 110 rows of a page each, of which 15 remain, spread over the file: VACUUM has to move pages, and
 * needs two transactions. */
#define FILL                                                                          \
    "CREATE TABLE t(id integer PRIMARY KEY, pad text);"                               \
    "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c WHERE x < 110) " \
    "INSERT INTO t SELECT x, printf('%.*c', 7000, char(65 + x % 26)) FROM c;"         \
    "DELETE FROM t WHERE id % 7 <> 0 OR id > 108"
#define ROWS "SELECT count(*), sum(id), sum(length(pad)), sum(unicode(pad)) FROM t"

static bool is_inside; /* the run has not come to its end: its session cannot be closed */
static char want[200];

static struct store *
st(void)
{
    return &clients.w.procs[0].store;
}

/* ---- one life ---- */

static void
attach(void)
{
    clients.w = (struct world){ .store_cfg = { .max_wal_size = 8u << 20,
                                               .min_wal_size = 2u << 20,
                                               .completion_target = 0.9 } };
    world_attach(&clients.w, io_sim_io(lives.sim), 1, FRAMES);
}

static void
log_in(void)
{
    assert_ok(conf_session_init(&clients.confs[0], &clients.conf, true, &clients.e), &clients.e);
    clients_login(0, "postgres");
}

static void
log_out(void)
{
    if (!is_inside)
        session_close(clients.sessions[0]);
    clients.sessions[0] = NULL;
    is_inside = false;
    world_detach(&clients.w);
}

static void
begin_life(uint64_t seed)
{
    static bool is_begun;

    err_clear(&clients.e);
    if (!is_begun) {
        assert_ok(vfs_register("/tmp", &clients.e), &clients.e);
        assert_ok(conf_init(&clients.conf, &clients.e), &clients.e);
        /* Those who died in the middle keep what they had. */
        assert_ok(
            conf_put(&clients.conf, CONF_session_memory_limit, "2GB", CONF_FROM_ARGS, &clients.e),
            &clients.e);
    }
    is_begun = true;
    lives.sim = io_sim_new(seed);
    clients_make_cluster(io_sim_io(lives.sim));
    assert_int_equal(io_syncfs(io_sim_io(lives.sim), -1), 0);
    attach();
    world_start(&clients.w);
    log_in();
    (void) clients_run(0, FILL);
    (void) snprintf(want, sizeof want, "%s", clients_run(0, ROWS));
    assert_ptr_equal(strchr(want, '!'), NULL);
}

static void
run_all(void)
{
    struct checkpoint_stats stats;

    is_inside = true;
    for (int i = 0; i < 2; i++) {
        (void) clients_run(0, "VACUUM");
        (void) store_checkpoint(st(), CKPT_FORCE, NULL, NULL, &stats, NULL);
    }
    is_inside = false;
}

static void
check(const char *what, unsigned n)
{
    if (strcmp(clients_run(0, ROWS), want) != 0)
        fail_msg("%s %u: the rows are %s, want %s (%s)", what, n, clients.out[0], want,
                 clients.e.message);
    clients_expect(0, "PRAGMA integrity_check", "ok;[PRAGMA]");
}

/* It had an error at most once: the next one has done it all. */
static void
survived(const char *what, unsigned n)
{
    CLIENTS_STATUS(0, 'I');
    assert_false(session_is_writing(clients.sessions[0]));
    check(what, n);
    clients_expect(0, "PRAGMA freelist_count", "0;[PRAGMA]");
}

static void
recover(const char *what, unsigned n)
{
    struct store_listed *list = NULL;
    struct recover_info info;
    struct err e = ERR_INIT;
    uint32_t n_list = 0;

    attach();
    if (store_recover(st(), NULL, NULL, &info, &e) < 0 ||
        catalog_list_files(st(), &list, &n_list, &e) < 0 ||
        store_recover_finish(st(), list, n_list, &info, &e) < 0)
        fail_msg("%s %u: recovery: %s (%s)", what, n, e.message, e.detail);
    free(list);
    log_in();
    check(what, n);
}

static void
end_life(const char *what, unsigned n)
{
    log_out();
    io_sim_power_cut(lives.sim);
    recover(what, n);
    clients_expect(0, "VACUUM", "[VACUUM]");
    survived(what, n);
    log_out();
    io_sim_process_crash(lives.sim);
    recover(what, n);
    clients_expect(0, "PRAGMA freelist_count", "0;[PRAGMA]");
    log_out();
    io_sim_free(lives.sim);
}

/* ---- deaths ---- */

struct lives lives = {
    .name = "fault_vacuum",
    .begin = begin_life,
    .run = run_all,
    .survived = survived,
    .end = end_life,
    .seeds = 1,
    .least = 30,
    .least_calls = 30,
    .stride = 7,
};
