/* ALTER SYSTEM in a session, with each I/O call failing once and a power cut at each call that
 * changes the disk. postgresql.auto.conf is whole at any time; what was answered is in it; what was
 * refused may be, if only the last sync failed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fault/lives.h"
#include "support/clients.h"
#include "support/test.h"

#include "conf/conf_auto.h"
#include "vfs/vfs.h"

#define STATEMENTS 4

static bool is_inside; /* the run has not come to its end: its session cannot be closed */
static struct {
    int sure, maybe; /* lock_timeout in the file, 0 = no row */
} model;

/* ---- one life ---- */

static void
attach(void)
{
    clients.w = (struct world){ 0 };
    world_attach(&clients.w, io_sim_io(lives.sim), 1, 128);
}

static void
begin_life(uint64_t seed)
{
    static bool is_begun;
    struct io *io;

    err_clear(&clients.e);
    if (!is_begun) {
        assert_ok(vfs_register("/tmp", &clients.e), &clients.e);
        assert_ok(conf_init(&clients.conf, &clients.e), &clients.e);
    }
    is_begun = true;
    lives.sim = io_sim_new(seed);
    io = io_sim_io(lives.sim);
    clients_make_cluster(io);
    assert_ok(io_write_file_durably(io, ".", "PG_VERSION", "15\n", 3, &clients.e), &clients.e);
    assert_int_equal(io_syncfs(io, -1), 0);
    attach();
    world_start(&clients.w);
    assert_ok(conf_session_init(&clients.confs[0], &clients.conf, true, &clients.e), &clients.e);
    clients_login(0, "postgres");
    model.sure = model.maybe = 0;
}

static void
alter(int value)
{
    char sql[80];

    (void) snprintf(sql, sizeof sql, "ALTER SYSTEM SET lock_timeout = %d", value);
    model.maybe = value;
    if (strcmp(clients_run(0, sql), "[ALTER SYSTEM]") == 0)
        model.sure = value;
}

static void
run_all(void)
{
    is_inside = true;
    lives_phase("alter system", 30);
    for (int i = 1; i <= STATEMENTS; i++)
        alter(i);
    is_inside = false;
}

/* The value in the file; everything else in it must be as it was written. */
static int
value_in_file(const char *what, unsigned n)
{
    CLEANUP(conf_rows_done) struct conf_rows rows = { 0 };
    CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };
    char text[1000];
    ssize_t r = io_read_file(io_sim_io(lives.sim), CONF_AUTO_FILE, text, sizeof text);

    if (r == -ENOENT)
        return 0;
    assert_true(r > 0);
    assert_int_equal(conf_parse_auto_text("a", text, (size_t) r, &rows, &issues), 0);
    if (issues.n > 0 || rows.n != 1 || strcmp(rows.rows[0].name, "lock_timeout") != 0 ||
        rows.rows[0].line != 3 || text[r - 1] != '\n')
        fail_msg("%s %u: the file is %.*s", what, n, (int) r, text);
    return (int) strtol(rows.rows[0].value, NULL, 10);
}

/* An answer is kept; a statement that failed later may have taken effect as well. */
static void
check(const char *what, unsigned n)
{
    int value = value_in_file(what, n);

    if (value < model.sure || value > model.maybe)
        fail_msg("%s %u: the file has %d, want %d to %d", what, n, value, model.sure, model.maybe);
}

static void
survived(const char *what, unsigned n)
{
    check(what, n);
    alter(STATEMENTS + 1);
    if (model.sure != STATEMENTS + 1)
        fail_msg("%s %u: the next one failed: %s", what, n, clients.e.message);
    check(what, n);
}

static void
end_life(const char *what, unsigned n)
{
    if (!is_inside)
        session_close(clients.sessions[0]);
    clients.sessions[0] = NULL;
    is_inside = false;
    world_detach(&clients.w);
    io_sim_power_cut(lives.sim);
    check(what, n);
    io_sim_free(lives.sim);
}

/* ---- deaths ---- */

struct lives lives = {
    .name = "fault_alter_system",
    .begin = begin_life,
    .run = run_all,
    .survived = survived,
    .end = end_life,
    .seeds = 3,
    .least_calls = 30,
};
