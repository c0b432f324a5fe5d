/* What must hold after each recovery. Runs in sim/recovery. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "sim/recovery_run.h"
#include "store/store_page.h"
#include "store/store_xact.h"

void
sim_compare(struct sim *s, struct store_txn *t, const struct model_db *want)
{
    static uint8_t expected[PAGE_BYTES];
    uint8_t got[PAGE_BYTES];
    struct err e = ERR_INIT;

    if (store_txn_size(t) != want->size)
        sim_fail(s, "database %u has %u pages at " LSN_FMT ", not %u", want->oid, store_txn_size(t),
                 LSN_ARGS(store_txn_version(t)), want->size);
    for (pgno_t pgno = 1; pgno <= want->size; pgno++) {
        int r = store_txn_read(t, pgno, got, &e);

        if (r == -EIO && io_sim_failed(s->disk))
            return; /* told so, and nothing wrong was shown */
        if (r < 0)
            sim_fail(s, "database %u page %u: %s %s", want->oid, pgno, e.message, e.detail);
        model_bytes(want, pgno, expected);
        if (memcmp(got, expected, PAGE_TAIL_AT) != 0)
            sim_fail(s, "database %u page %u is wrong at version " LSN_FMT " (size %u)", want->oid,
                     pgno, LSN_ARGS(store_txn_version(t)), want->size);
    }
}

/* ---- which commits survived ---- */

static bool
is_committed(struct sim *s, xid_t xid)
{
    struct err e = ERR_INIT;
    unsigned bits = 0;

    if (store_xact_bits(cluster_store(&s->cluster, 0), xid, &bits, &e) < 0)
        sim_fail(s, "status of %" PRIu64 ": %s", xid, e.message);
    return bits == XACT_BIT_COMMITTED;
}

/* PROMISE-1, PROMISE-3: everything up to `need`; a prefix in LSN order of the rest. */
static void
check_prefix(struct sim *s, const bool *survived)
{
    const struct model *m = &s->model;
    lsn_t newest = 0;

    for (uint32_t i = 0; i < m->n_log; i++)
        if (survived[i])
            newest = MAX(newest, m->log[i].lsn);
    for (uint32_t i = 0; i < m->n_log; i++) {
        const struct model_commit *c = &m->log[i];

        if (survived[i] || c->lsn == 0)
            continue;
        if (c->lsn <= m->need)
            sim_fail(s,
                     "commit " LSN_FMT " (xid %" PRIu64
                     ") is lost; shown or acknowledged up to " LSN_FMT,
                     LSN_ARGS(c->lsn), c->xid, LSN_ARGS(m->need));
        if (c->lsn < newest)
            sim_fail(s, "commit " LSN_FMT " is lost, but " LSN_FMT " survived", LSN_ARGS(c->lsn),
                     LSN_ARGS(newest));
    }
    for (uint32_t i = 0; i < m->n_undone; i++)
        if (is_committed(s, m->undone[i]))
            sim_fail(s, "xid %" PRIu64 " was given up, but is committed", m->undone[i]);
}

static void
fold(struct sim *s)
{
    struct model *m = &s->model;
    bool survived[MODEL_LOG];

    for (uint32_t i = 0; i < m->n_log; i++)
        survived[i] = is_committed(s, m->log[i].xid);
    for (uint32_t i = 0; i < m->n_log && s->verbose; i++)
        (void) fprintf(stderr, "commit %" PRIu64 " at " LSN_FMT " of database %u%s\n",
                       m->log[i].xid, LSN_ARGS(m->log[i].lsn), m->log[i].after.oid,
                       survived[i] ? "" : ": lost");
    check_prefix(s, survived);
    for (uint32_t i = 0; i < m->n_log; i++) {
        const struct model_commit *c = &m->log[i];

        if (!survived[i])
            continue;
        m->base[c->slot] = c->after;
        if (c->other_slot >= 0)
            m->base[c->other_slot] = c->other;
    }
    m->n_log = 0;
    m->n_undone = 0;
    m->n_views = 0;
    m->need = 0;
    m->start = s->info.end;
}

/* ---- contents ---- */

static void
check_db(struct sim *s, const struct model_db *want)
{
    struct store *st = cluster_store(&s->cluster, 0);
    struct err e = ERR_INIT;
    struct store_txn *t;
    uint32_t db;

    if (store_db_attach(st, want->oid, want->oid, &db, &e) < 0)
        sim_fail(s, "database %u: %s", want->oid, e.message);
    if (store_txn_open(st, db, &t, &e) < 0 || store_txn_begin(t, &e) < 0)
        sim_fail(s, "database %u: %s", want->oid, e.message);
    sim_compare(s, t, want);
    store_txn_end(t);
    store_txn_close(t);
    store_db_detach(st, db);
}

/* On disk: no page is torn or strange, no file is longer than it says (REDO-7). */
static void
check_file(struct sim *s, const struct model_db *want)
{
    struct io *io = s->cluster.io;
    char path[STORE_PATH_BYTES];
    uint8_t p[PAGE_BYTES];
    struct err e = ERR_INIT;
    uint64_t bytes = 0;
    lsn_t lsn;
    int fd;

    store_path_file(path, sizeof path, want->oid, want->oid);
    fd = io_open(io, path, O_RDONLY, 0);
    if (fd < 0 || io_size(io, fd, &bytes) < 0)
        sim_fail(s, "file \"%s\" is missing", path);
    if (bytes > (uint64_t) want->size * PAGE_BYTES)
        sim_fail(s, "file \"%s\" has %" PRIu64 " bytes for %u pages", path, bytes, want->size);
    for (blk_t block = 0; block * (uint64_t) PAGE_BYTES < bytes; block++) {
        if (io_pread(io, fd, p, PAGE_BYTES, (uint64_t) block * PAGE_BYTES) != PAGE_BYTES ||
            page_check(p, block, &lsn, &e) < 0)
            sim_fail(s, "file \"%s\": %s %s", path, e.message, e.detail);
        if (lsn > s->info.end)
            sim_fail(s, "file \"%s\" block %u has LSN " LSN_FMT " behind the end of the log", path,
                     block, LSN_ARGS(lsn));
    }
    (void) io_close(io, fd);
}

static int
check_name(void *arg, const char *name, bool is_dir)
{
    struct sim *s = arg;

    for (uint32_t i = 0; i < MODEL_DBS; i++)
        if (s->model.base[i].is_live && s->model.base[i].oid == strtoul(name, NULL, 10))
            return 0;
    sim_fail(s, "base/%s is left over (%d)", name, is_dir);
}

void
sim_check(void *arg)
{
    struct sim *s = arg;

    fold(s);
    for (uint32_t i = 0; i < MODEL_DBS; i++)
        if (s->model.base[i].is_live) {
            check_db(s, &s->model.base[i]);
            check_file(s, &s->model.base[i]);
        }
    if (!s->info.was_clean)
        (void) io_list(s->cluster.io, "base", check_name, s);
    if (s->info.next_xid <= s->model.last_xid)
        sim_fail(s, "next xid %" PRIu64 ", but %" PRIu64 " was handed out", s->info.next_xid,
                 s->model.last_xid);
    if (s->was_clean && !s->info.was_clean)
        sim_fail(s, "recovery after a clean stop");
}
