/* The processes of a round of sim/sql: clients, DDL, checkpointer, walwriter and bgwriter. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/sql_sim.h"
#include "store/store_checkpoint.h"

/* ---- a client ---- */

static int
on_columns(void *arg, const struct session_column *c, uint32_t n)
{
    (void) arg;
    (void) c;
    (void) n;
    return 0;
}

static int
on_row(void *arg, const struct session_value *v, uint32_t n)
{
    struct proc *p = arg;

    for (uint32_t i = 0; i < n && p->n_out + 1 < sizeof p->out; i++)
        p->n_out += (size_t) snprintf(p->out + p->n_out, sizeof p->out - p->n_out, "%.*s|",
                                      v[i].n > 0 ? v[i].n : 0, (const char *) v[i].p);
    return 0;
}

static int
on_tag(void *arg, const char *tag)
{
    (void) arg;
    (void) tag;
    return 0;
}

static int
on_empty(void *arg)
{
    (void) arg;
    return 0;
}

int
run(struct proc *p, const char *sql)
{
    struct session_sink sink = {
        .arg = p, .columns = on_columns, .row = on_row, .complete = on_tag, .empty = on_empty
    };

    p->n_out = 0;
    p->out[0] = '\0';
    err_clear(&p->e);
    return session_execute(p->session, sql, &sink, &p->e);
}

/* Failures that an injected error, shortage or somebody else's DROP explain. */
static bool
is_tolerable(int r)
{
    const char *state = err_sqlstate(r);

    return strncmp(state, "53", 2) == 0 || strcmp(state, "55006") == 0 ||
           strcmp(state, "3D000") == 0 || strcmp(state, "58030") == 0 ||
           strcmp(state, "72000") == 0 || strcmp(state, "58P01") == 0;
}

static void
tolerate(struct proc *p, int r, const char *what)
{
    if (!is_tolerable(r))
        sim_fail("process %u: %s: %s [%s] %s", p->no, what, p->e.message, err_sqlstate(r),
                 p->e.detail);
}

void
leave(struct proc *p)
{
    session_close(p->session);
    p->session = NULL;
}

/* Connect to one of the first n_dbs databases that is there. False: not now. */
static bool
enter(struct proc *p, uint32_t n_dbs)
{
    struct store *st = cluster_store(&sim.cluster, p->no);
    struct session_cfg cfg = { .store = st, .conf = &p->conf, .pid = (int32_t) p->no };
    uint32_t db = (uint32_t) rng_below(&p->rng, n_dbs);
    struct catalog *c;
    int r;

    if (!sim.dbs[db].is_made || sim.dbs[db].may_be_gone)
        db = 0;
    err_clear(&p->e);
    r = catalog_open(st, &c, &p->e);
    if (r == 0) {
        r = catalog_login(c, "sim", sim.dbs[db].name, &cfg.role, &cfg.db, &cfg.db_idx, &p->e);
        catalog_close(c);
    }
    if (r == 0)
        r = session_open(&cfg, &p->session, &p->e);
    if (r < 0) {
        tolerate(p, r, "connect");
        return false;
    }
    p->db = db;
    p->seen = p->own = N_UNKNOWN;
    p->is_async = p->no != PROC_DDL && rng_below(&p->rng, 5) == 0;
    r = run(p, p->is_async ? "SET synchronous_commit = off" : "SET synchronous_commit = on");
    if (r < 0)
        sim_fail("SET: %s", p->e.message);
    return true;
}

static void
promise(struct proc *p, int64_t n)
{
    p->seen = MAX(p->seen, n);
    if (p->is_async && n <= p->own)
        return;
    if (sim.verbose && n > sim.dbs[p->db].promised)
        (void) fprintf(stderr, "process %u%s: %s at %" PRId64 "\n", p->no,
                       p->is_async ? " (async)" : "", sim.dbs[p->db].name, n);
    sim.dbs[p->db].promised = MAX(sim.dbs[p->db].promised, n);
}

/* The whole content in one statement. *ret_n: its meta.n; N_UNKNOWN: no tables. < 0: failed. */
int
read_all(struct proc *p, int64_t *ret_n)
{
    char want[TEXT_MAX];
    char *text;
    int r = run(p, "SELECT n, (SELECT group_concat(k || ':' || v || ':' || length(pad) || ' ', '') "
                   "FROM (SELECT * FROM m ORDER BY k)) FROM meta");

    if (r == -ERR_UNDEFINED_TABLE) {
        *ret_n = N_UNKNOWN;
        return 0;
    }
    if (r < 0)
        return r;
    if (sscanf(p->out, "%" SCNd64 "|", ret_n) != 1)
        sim_fail("database %u: meta has no row", p->db);
    text = strchr(p->out, '|') + 1;
    text[strcspn(text, "|")] = '\0';
    content_text(p->db, *ret_n, want, sizeof want);
    if (strcmp(text, want) != 0)
        sim_fail("database %u at %" PRId64 ":\n  is   %s\n  want %s", p->db, *ret_n, text, want);
    return 0;
}

static void
read_op(struct proc *p)
{
    bool block = rng_below(&p->rng, 4) == 0;
    int64_t n, again;
    int r;

    if (block)
        (void) run(p, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    r = read_all(p, &n);
    if (r == 0) {
        if (n < p->seen)
            sim_fail("process %u went back from %" PRId64 " to %" PRId64, p->no, p->seen, n);
        promise(p, n); /* PROMISE-1 */
        stats->reads++;
    }
    if (r == 0 && block && n != N_UNKNOWN) {
        r = read_all(p, &again);
        if (r == 0 && again != n)
            sim_fail("a held snapshot moved from %" PRId64 " to %" PRId64, n, again);
    }
    if (r < 0)
        tolerate(p, r, "read");
    if (block)
        (void) run(p, "ROLLBACK");
}

/* The changes of transaction n, some by way of savepoints. */
static int
make_changes(struct proc *p, int64_t n)
{
    char sql[256];
    int r = 0;

    for (uint32_t j = 0; j < n_changes(p->db, n) && r == 0; j++) {
        struct change c = change_of(p->db, n, j);

        if (rng_below(&p->rng, 8) == 0) {
            r = run(p, "SAVEPOINT a; DELETE FROM m; UPDATE meta SET n = 0; ROLLBACK TO a");
            if (r < 0)
                break;
        }
        if (c.v < 0)
            (void) snprintf(sql, sizeof sql, "DELETE FROM m WHERE k = %d", c.key);
        else
            (void) snprintf(sql, sizeof sql,
                            "INSERT INTO m VALUES(%d, %d, printf('%%.*c', %d, 'x')) ON CONFLICT(k) "
                            "DO UPDATE SET v = excluded.v, pad = excluded.pad",
                            c.key, c.v, c.len);
        if (c.v >= 0 && c.len == 0)
            (void) snprintf(sql, sizeof sql,
                            "INSERT INTO m VALUES(%d, %d, '') ON CONFLICT(k) DO UPDATE SET v = "
                            "excluded.v, pad = excluded.pad",
                            c.key, c.v);
        r = run(p, sql);
    }
    return r;
}

static void
write_op(struct proc *p)
{
    int64_t n = N_UNKNOWN;
    int r = run(p, rng_below(&p->rng, 2) == 0 ? "BEGIN" : "BEGIN; SAVEPOINT before");

    if (r == 0)
        r = run(p, "UPDATE meta SET n = n + 1 RETURNING n");
    if (r == 0 && sscanf(p->out, "%" SCNd64 "|", &n) != 1)
        sim_fail("UPDATE returned nothing");
    if (r == 0 && n <= p->seen)
        sim_fail("process %u writes on %" PRId64 ", was shown %" PRId64, p->no, n - 1, p->seen);
    /* SNAP-5: with synchronous_commit = off nothing waits, and what the transaction built on counts
     * as the session's own, however it ends. */
    if (r == 0 && p->is_async)
        p->own = MAX(p->own, n - 1);
    if (r == 0)
        r = make_changes(p, n);
    if (r == 0 && rng_below(&p->rng, 8) == 0) {
        (void) run(p, "ROLLBACK");
        promise(p, n - 1); /* SNAP-5: it built on n - 1, and the answer said so */
        return;
    }
    if (r == 0)
        r = run(p, "COMMIT");
    if (r == 0) {
        p->own = MAX(p->own, n);
        promise(p, n);
        stats->commits++;
        return;
    }
    if (r != -ERR_UNDEFINED_TABLE)
        tolerate(p, r, "write");
    (void) run(p, "ROLLBACK");
}

/* Only what has free pages counts. Not in an asynchronous session, in which it would stand for all
 * that it built on (see write_op). */
static void
vacuum_op(struct proc *p)
{
    int64_t n_free = 0;
    int r = run(p, "PRAGMA freelist_count");

    if (r == 0)
        (void) sscanf(p->out, "%" SCNd64 "|", &n_free);
    if (r == 0)
        r = run(p, "VACUUM");
    if (r < 0)
        tolerate(p, r, "vacuum");
    else if (n_free > 0)
        stats->vacuums++;
}

void
client(void *arg)
{
    struct proc *p = arg;

    while (p->n_ops-- > 0) {
        if (p->session == NULL && !enter(p, sim.n_dbs))
            continue;
        if (p->no < PROC_READER && rng_below(&p->rng, 4) != 0)
            write_op(p);
        else if (!p->is_async && (sim.seed + p->n_ops) % 6 == 0)
            vacuum_op(p);
        else
            read_op(p);
        if (rng_below(&p->rng, 5) == 0)
            leave(p);
    }
    if (p->session != NULL)
        leave(p);
    sim.n_busy--;
}

/* ---- DDL ---- */

static void
create_op(struct proc *p)
{
    struct sim_db *d = &sim.dbs[sim.n_dbs];
    char sql[64];
    int r;

    *d = (struct sim_db){ .may_be_made = true, .promised = N_UNKNOWN };
    (void) snprintf(d->name, sizeof d->name, "d%u", sim.n_dbs);
    (void) snprintf(sql, sizeof sql, "CREATE DATABASE %s", d->name);
    sim.n_dbs++;
    r = run(p, sql);
    if (r < 0) {
        tolerate(p, r, "create");
        d->may_be_made = false; /* an answered error means it was not */
        return;
    }
    d->is_made = true;
    stats->creates++;
}

/* Give the databases made the tables they need. */
static void
furnish(struct proc *p)
{
    struct store *st = cluster_store(&sim.cluster, p->no);

    for (uint32_t i = 0; i < sim.n_dbs; i++) {
        struct session_cfg cfg = { .store = st, .conf = &p->conf };
        struct session *first = p->session;
        struct sim_db *d = &sim.dbs[i];
        struct catalog *c;
        int r;

        if (!d->is_made || d->may_be_gone || d->promised != N_UNKNOWN)
            continue;
        r = catalog_open(st, &c, &p->e);
        if (r == 0) {
            r = catalog_login(c, "sim", d->name, &cfg.role, &cfg.db, &cfg.db_idx, &p->e);
            catalog_close(c);
        }
        if (r == 0)
            r = session_open(&cfg, &p->session, &p->e);
        if (r == 0) {
            r = run(p, "CREATE TABLE IF NOT EXISTS meta(n int); "
                       "CREATE TABLE IF NOT EXISTS m(k integer PRIMARY KEY, v int, pad text);"
                       "INSERT INTO meta SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM meta)");
            leave(p);
        }
        p->session = first;
        if (r < 0)
            tolerate(p, r, "furnish");
        else
            d->promised = MAX(d->promised, 0);
    }
}

static void
drop_op(struct proc *p)
{
    struct sim_db *d = &sim.dbs[1 + rng_below(&p->rng, sim.n_dbs - 1)];
    bool was = d->may_be_gone;
    char sql[64];
    int r;

    if (!d->is_made || d->is_gone)
        return;
    (void) snprintf(sql, sizeof sql, "DROP DATABASE %s", d->name);
    d->may_be_gone = true;
    r = run(p, sql);
    if (r == 0) {
        d->is_gone = true;
        stats->drops++;
    } else {
        tolerate(p, r, "drop");
        d->may_be_gone = was;
    }
}

void
ddl(void *arg)
{
    struct proc *p = arg;

    while (p->n_ops-- > 0) {
        if (p->session == NULL && !enter(p, 1)) /* this one stays on postgres */
            continue;
        furnish(p);
        if (sim.n_dbs < DBS && rng_below(&p->rng, 2) == 0)
            create_op(p);
        else if (sim.n_dbs > 1)
            drop_op(p);
        furnish(p);
    }
    if (p->session != NULL)
        leave(p);
    sim.n_busy--;
}

/* ---- behind ---- */

static bool
pace(void *arg, double progress)
{
    (void) arg;
    (void) progress;
    coro_maybe(2);
    return false;
}

static void
behind_failed(int r, const struct err *e, const char *what)
{
    if (!is_tolerable(r) && r != -EIO)
        sim_fail("%s: %s [%s]", what, e->message, err_sqlstate(r));
}

void
checkpointer(void *arg)
{
    struct proc *p = arg;
    struct store *st = cluster_store(&sim.cluster, p->no);

    while (sim.n_busy > 0) {
        struct checkpoint_stats done;
        struct err e = ERR_INIT;
        int r;

        for (uint64_t i = rng_below(&p->rng, 80); i > 0 && sim.n_busy > 0; i--) {
            coro_switch();
            if (i % 8 == 0 && store_purge_dropped(st, &e) < 0)
                behind_failed(e.code, &e, "purge");
        }
        err_clear(&e);
        r = store_checkpoint(st, CKPT_FORCE, pace, NULL, &done, &e);
        if (r < 0)
            behind_failed(r, &e, "checkpoint");
    }
}

void
background(void *arg)
{
    struct proc *p = arg;
    struct store *st = cluster_store(&sim.cluster, p->no);

    while (sim.n_busy > 0) {
        struct err e = ERR_INIT;
        int r;

        for (uint64_t i = rng_below(&p->rng, 20); i > 0; i--)
            coro_switch();
        r = store_walwriter_round(st, &e);
        if (r < 0)
            behind_failed(r, &e, "walwriter");
        err_clear(&e);
        (void) store_bgwriter_round(st, (uint32_t) rng_below(&p->rng, 6), &e);
        if (e.code != 0)
            behind_failed(e.code, &e, "bgwriter");
    }
}
