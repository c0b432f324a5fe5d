/* Three sessions over the real store in one process and one thread: what a client says and what
 * comes back, as text. */
#pragma once

#include "sql/session.h"
#include "support/store_world.h"
#include "support/tmpdir.h"

#define CLIENTS 3

/* Of the test program; clients_setup() fills it, clients_teardown() empties it. */
struct clients {
    struct tmpdir dir;
    struct world w;
    struct conf conf;
    struct conf_session confs[CLIENTS];
    struct session *sessions[CLIENTS];
    char out[CLIENTS][8192]; /* what the sink was told: rows as "a|b;", tags in brackets */
    struct err e;            /* of the last statement */
};
extern struct clients clients;

/* The files of a new cluster with the databases that `piniond init` makes; superuser "tester". */
void clients_make_cluster(struct io *io);
/* A cluster, its server parts, three sessions in the database postgres, an empty table t(id, v). */
int clients_setup(void **state);
int clients_teardown(void **state);
/* Open session i in `db`. */
void clients_login(int i, const char *db);

/* A sink that writes into clients.out[i]. */
struct session_sink clients_sink(int i);
/* Append to an element of clients.out. */
void clients_say(char *p, const char *text, size_t n);
/* All that came back, column descriptions as "<name:type,…>", an error as "!SQLSTATE". */
const char *clients_run(int i, const char *sql);
/* Fails the test unless `want` comes back; column descriptions count only if `want` has some. */
void clients_expect(int i, const char *sql, const char *want);

#define CLIENTS_STATUS(i, c) assert_int_equal(session_status(clients.sessions[i]), c)
