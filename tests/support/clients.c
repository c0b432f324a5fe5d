/* Three sessions over the real store: see clients.h. */
#include "support/clients.h"

#include <stdio.h>
#include <string.h>

#include "support/test.h"
#include "vfs/vfs.h"

struct clients clients;

/* ---- a client ---- */

void
clients_say(char *p, const char *text, size_t n)
{
    size_t len = strlen(p);

    (void) snprintf(p + len, 8192 - len, "%.*s", (int) n, text);
}

static int
on_columns(void *arg, const struct session_column *c, uint32_t n)
{
    char text[64];

    for (uint32_t i = 0; i < n; i++) {
        (void) snprintf(text, sizeof text, "%s%s:%u", i > 0 ? "," : "<", c[i].name, c[i].type);
        clients_say(arg, text, strlen(text));
    }
    clients_say(arg, ">", n > 0 ? 1 : 0);
    return 0;
}

static int
on_row(void *arg, const struct session_value *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            clients_say(arg, "|", 1);
        if (v[i].n < 0)
            clients_say(arg, "NULL", 4);
        else
            clients_say(arg, v[i].p, (size_t) v[i].n);
    }
    clients_say(arg, ";", 1);
    return 0;
}

static int
on_complete(void *arg, const char *tag)
{
    clients_say(arg, "[", 1);
    clients_say(arg, tag, strlen(tag));
    clients_say(arg, "]", 1);
    return 0;
}

static int
on_empty(void *arg)
{
    clients_say(arg, "[empty]", 7);
    return 0;
}

static int
on_notice(void *arg, const char *severity, const struct err *n)
{
    (void) severity;
    clients_say(arg, "{", 1);
    clients_say(arg, err_sqlstate(n->code), 5);
    clients_say(arg, "}", 1);
    return 0;
}

struct session_sink
clients_sink(int i)
{
    return (struct session_sink){ .arg = clients.out[i],
                                  .columns = on_columns,
                                  .row = on_row,
                                  .complete = on_complete,
                                  .empty = on_empty,
                                  .notice = on_notice };
}

/* Everything that came back: without column descriptions unless `with_columns`; an error as
 * "!SQLSTATE". */
const char *
clients_run(int i, const char *sql)
{
    struct session_sink sink = clients_sink(i);
    int r;

    clients.out[i][0] = '\0';
    err_clear(&clients.e);
    r = session_execute(clients.sessions[i], sql, &sink, &clients.e);
    if (r < 0) {
        clients_say(clients.out[i], "!", 1);
        clients_say(clients.out[i], err_sqlstate(r), 5);
        if (clients.e.code == 0)
            fail_msg("%s: failed without words", sql);
    }
    return clients.out[i];
}

/* Take "<…>" out. */
static void
drop_columns(char *p)
{
    char *q = p;

    for (bool in = false; *p != '\0'; p++) {
        if (*p == '<')
            in = true;
        if (!in)
            *q++ = *p;
        if (*p == '>')
            in = false;
    }
    *q = '\0';
}

void
clients_expect(int i, const char *sql, const char *want)
{
    (void) clients_run(i, sql);
    if (strchr(want, '<') == NULL)
        drop_columns(clients.out[i]);
    if (strcmp(clients.out[i], want) != 0)
        fail_msg("session %d: %s\n  want %s\n  got  %s (%s) %s", i, sql, want, clients.out[i],
                 clients.e.message, clients.e.detail);
}

/* ---- a server ---- */

void
clients_make_cluster(struct io *io)
{
    world_init_dirs(io);
    assert_ok(catalog_init(io, "tester", WORLD_SEG, &clients.e), &clients.e);
    world_init_log(io);
}

void
clients_login(int i, const char *db)
{
    struct store *st = &clients.w.procs[i].store;
    struct session_cfg cfg = { .store = st, .conf = &clients.confs[i], .pid = 1000 + i };
    struct catalog *c;

    assert_ok(catalog_open(st, &c, &clients.e), &clients.e);
    assert_ok(catalog_login(c, "tester", db, &cfg.role, &cfg.db, &cfg.db_idx, &clients.e),
              &clients.e);
    catalog_close(c);
    assert_ok(session_open(&cfg, &clients.sessions[i], &clients.e), &clients.e);
}

int
clients_setup(void **state)
{
    (void) state;
    err_clear(&clients.e);
    tmpdir_make(&clients.dir);
    assert_ok(vfs_register("/tmp", &clients.e), &clients.e);
    clients_make_cluster(&clients.dir.io);
    clients.w = (struct world){ 0 };
    world_attach(&clients.w, &clients.dir.io, CLIENTS, 512);
    world_start(&clients.w);
    assert_ok(conf_init(&clients.conf, &clients.e), &clients.e);
    for (int i = 0; i < CLIENTS; i++) {
        assert_ok(conf_session_init(&clients.confs[i], &clients.conf, true, &clients.e),
                  &clients.e);
        clients_login(i, "postgres");
    }
    clients_expect(0, "CREATE TABLE t(id int PRIMARY KEY, v text NOT NULL)", "[CREATE TABLE]");
    return 0;
}

int
clients_teardown(void **state)
{
    (void) state;
    for (int i = 0; i < CLIENTS; i++) {
        session_close(clients.sessions[i]);
        clients.sessions[i] = NULL;
        conf_session_done(&clients.confs[i]);
    }
    conf_done(&clients.conf);
    for (uint32_t i = 0; i < CLIENTS; i++)
        store_process_exit(&clients.w.procs[i].store);
    world_detach(&clients.w);
    tmpdir_remove(&clients.dir);
    return 0;
}
