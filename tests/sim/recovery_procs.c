/* The processes of a round: writers, readers, DDL, checkpointer, walwriter and bgwriter. Runs in
 * sim/recovery, each a coroutine. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "sim/recovery_run.h"
#include "store/store_checkpoint.h"
#include "store/store_xact.h"
#include "wal/wal_record.h"

enum { PROC_CHECKPOINTER, PROC_WALWRITER, PROC_WRITER, PROC_READER = 5, PROC_DDL = 7 };

/* One process; procno is its place in the array. */
struct proc {
    struct sim *s;
    struct store *st;
    struct rng rng;
    uint32_t n_ops;
};

static struct proc procs[CLUSTER_PROCS];

/* Failures that a full disk, an injected error or somebody else's DROP explain. */
static void
tolerate(struct proc *p, int r, const struct err *e, const char *what)
{
    switch (r) {
    case -ERR_OBJECT_IN_USE:
    case -ERR_INVALID_CATALOG_NAME:
    case -ERR_DISK_FULL:
    case -ERR_INSUFFICIENT_RESOURCES:
    case -ENOSPC:
    case -ENOENT:
    case -EIO:
        return;
    default:
        if (strcmp(err_sqlstate(r), "53200") != 0)
            sim_fail(p->s, "%s: %s [%s] %s", what, e->message, err_sqlstate(r), e->detail);
    }
}

/* Attaching to `slot`, which was live when it was chosen, failed. */
static void
tolerate_attach(struct proc *p, int r, const struct err *e, uint32_t slot, oid_t oid)
{
    const struct model_db *now = model_now(&p->s->model, slot);

    if (r != -ERR_UNDEFINED_FILE || (now->is_live && now->oid == oid))
        tolerate(p, r, e, "attach");
}

/* The catalogue does not show a database before its CREATE has been published. */
static bool
is_being_made(const struct model *m, uint32_t slot)
{
    for (uint32_t i = m->n_log; i-- > 0;)
        if (m->log[i].other_slot == (int32_t) slot)
            return m->log[i].lsn == 0;
    return false;
}

static uint32_t
pick_live(struct proc *p)
{
    for (;;) {
        uint32_t slot = (uint32_t) rng_below(&p->rng, MODEL_DBS);

        if (model_now(&p->s->model, slot)->is_live && !is_being_made(&p->s->model, slot))
            return slot;
    }
}

static void
hand_out(struct proc *p, xid_t xid)
{
    struct model *m = &p->s->model;

    if (xid <= m->last_xid)
        sim_fail(p->s, "xid %" PRIu64 " handed out, but %" PRIu64 " was before", xid, m->last_xid);
    m->last_xid = xid;
}

static void
give_up(struct proc *p, xid_t xid)
{
    struct model *m = &p->s->model;

    if (xid != 0 && m->n_undone < MODEL_LOG)
        m->undone[m->n_undone++] = xid;
}

/* ---- writing ---- */

static int
stage_all(struct store_txn *t, const struct model_db *after, uint64_t staged, bool shrank,
          struct err *e)
{
    uint8_t p[PAGE_BYTES];
    int r = 0;

    for (pgno_t pgno = 1; pgno <= after->size && r == 0; pgno++) {
        if ((staged & BIT(pgno - 1)) == 0)
            continue;
        model_bytes(after, pgno, p);
        memset(p + PAGE_TAIL_AT, 0xAB, PAGE_TAIL_BYTES); /* SQLite's copy is not trusted */
        r = store_txn_stage(t, pgno, p, e);
    }
    if (r == 0 && shrank)
        r = store_txn_truncate(t, after->size, e);
    return r;
}

/* Inside the gate, or not prepared: commit, or give it up. The end of write follows. */
static void
commit_or_not(struct proc *p, struct store_txn *t, uint32_t slot, const struct model_db *after,
              struct model_commit **ret)
{
    xid_t xid = store_txn_xid_if_any(t);

    *ret = NULL;
    if (rng_below(&p->rng, 12) != 0)
        *ret = model_commit(&p->s->model, xid, slot, after);
    if (*ret == NULL)
        give_up(p, xid);
}

static void
finish_commit(struct proc *p, struct store_txn *t, struct model_commit *c)
{
    store_txn_commit(t);
    if (c->lsn != 0 && c->lsn != store_txn_version(t))
        sim_fail(p->s, "commit at " LSN_FMT " was seen at " LSN_FMT, LSN_ARGS(store_txn_version(t)),
                 LSN_ARGS(c->lsn));
    c->lsn = store_txn_version(t);
    if (model_missed(&p->s->model, c->slot, c->lsn) != NULL)
        sim_fail(p->s, "a snapshot above the commit at " LSN_FMT " did not contain it",
                 LSN_ARGS(c->lsn));
    p->s->stats->commits++;
}

static int
assign_xid(struct proc *p, struct store_txn *t, struct err *e)
{
    xid_t xid;
    int r = store_txn_xid(t, &xid, e);

    if (r == 0)
        hand_out(p, xid);
    return r;
}

/* The handle is open and the writer lock is ours. Returns the LSN that an answer promises. */
static void
write_once(struct proc *p, struct store_txn *t, uint32_t slot)
{
    struct model_db after = *model_now(&p->s->model, slot);
    pgno_t before = after.size;
    struct model_commit *c = NULL;
    struct err e = ERR_INIT;
    bool sync = rng_below(&p->rng, 5) != 0;
    uint64_t staged = 0;
    int r = store_txn_begin(t, &e);

    if (r == 0)
        r = store_txn_begin_write(t, &e);
    if (r != 0) {
        tolerate(p, r, &e, "begin");
        store_txn_end_write(t);
        store_txn_end(t);
        return;
    }
    sim_compare(p->s, t, &after);
    if (rng_below(&p->rng, 10) != 0) {
        model_mutate(&p->rng, &after, &p->s->taste, &staged);
        r = assign_xid(p, t, &e);
        if (r == 0)
            r = stage_all(t, &after, staged, after.size < before, &e);
        if (r == 0)
            r = store_txn_prepare(t, &e);
        if (r < 0) {
            tolerate(p, r, &e, "prepare");
            give_up(p, store_txn_xid_if_any(t));
        } else {
            commit_or_not(p, t, slot, &after, &c);
            if (c != NULL)
                finish_commit(p, t, c);
        }
    }
    lsn_t must = c != NULL ? c->lsn : store_txn_version(t);

    store_txn_end_write(t);
    store_txn_end(t);
    store_txn_barrier(t, sync);
    if (sync) /* SNAP-5: also for an empty write set and a rollback */
        p->s->model.need = MAX(p->s->model.need, must);
}

static void
write_op(struct proc *p)
{
    uint32_t slot = pick_live(p);
    oid_t oid = model_now(&p->s->model, slot)->oid;
    struct err e = ERR_INIT;
    struct store_txn *t;
    uint32_t db;
    int r = store_db_attach(p->st, oid, oid, &db, &e);

    if (r < 0) {
        tolerate_attach(p, r, &e, slot, oid);
        return;
    }
    r = store_writer_take(p->st, db, 0, &e);
    if (r < 0)
        sim_fail(p->s, "writer lock: %s", e.message);
    if (model_now(&p->s->model, slot)->oid == oid && model_now(&p->s->model, slot)->is_live) {
        r = store_txn_open(p->st, db, &t, &e);
        if (r < 0)
            sim_fail(p->s, "open: %s", e.message);
        write_once(p, t, slot);
        store_txn_close(t);
    }
    if (store_writer_is_mine(p->st, db))
        store_writer_drop(p->st, db);
    store_db_detach(p->st, db);
}

/* XID-2: come near the limit. */
static void
burn_xids(struct proc *p)
{
    struct err e = ERR_INIT; /* not in the loop: it is large */

    for (uint32_t i = 0; i < 200000; i++) {
        xid_t xid;

        if (store_xid_assign(p->st, &xid, &e) < 0)
            sim_fail(p->s, "xid: %s", e.message);
        hand_out(p, xid);
    }
    store_xact_running(p->st, 0);
}

static void
writer(void *arg)
{
    struct proc *p = arg;

    while (p->n_ops-- > 0) {
        if (p->s->burns && rng_below(&p->rng, 3) == 0)
            burn_xids(p);
        write_op(p);
        if (rng_below(&p->rng, 3) == 0) { /* as an evictor does */
            struct err e = ERR_INIT;

            (void) store_bgwriter_round(p->st, 3, &e);
            if (e.code != 0)
                tolerate(p, e.code, &e, "write-back");
        }
    }
    p->s->n_busy--;
}

/* ---- reading ---- */

static void
read_op(struct proc *p)
{
    uint32_t slot = pick_live(p);
    struct model *m = &p->s->model;
    oid_t oid = model_now(m, slot)->oid;
    struct err e = ERR_INIT;
    struct store_txn *t;
    uint32_t db;
    int r = store_db_attach(p->st, oid, oid, &db, &e);

    if (r < 0) {
        tolerate_attach(p, r, &e, slot, oid);
        return;
    }
    if (store_txn_open(p->st, db, &t, &e) < 0)
        sim_fail(p->s, "open: %s", e.message);
    if (model_now(m, slot)->oid == oid && model_now(m, slot)->is_live) {
        r = store_txn_begin(t, &e);
        if (r == 0) {
            m->need = MAX(m->need, store_txn_version(t)); /* it will be shown */
            model_saw(m, slot, store_txn_snapshot(t), store_txn_version(t));
            sim_compare(p->s, t, model_at(m, slot, oid, store_txn_version(t)));
            p->s->stats->reads++;
        } else
            tolerate(p, r, &e, "read");
        store_txn_end(t);
    }
    store_txn_close(t);
    store_db_detach(p->st, db);
}

static void
reader(void *arg)
{
    struct proc *p = arg;

    while (p->n_ops-- > 0) {
        read_op(p);
        coro_switch();
    }
    p->s->n_busy--;
}

/* ---- DDL ---- */

static void
list_without(struct model_db *catalog, oid_t oid)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < catalog->n_list; i++)
        if (catalog->list[i] != oid)
            catalog->list[n++] = catalog->list[i];
    catalog->n_list = n;
}

/* The catalogue's transaction with its rider; `catalog_db` is attached and its writer lock ours. */
static int
ddl_txn(struct proc *p, uint32_t catalog_db, struct store_ride *ride, const struct model_db *after,
        uint32_t other_slot, const struct model_db *other, lsn_t other_ver)
{
    struct model_commit *c = NULL;
    struct err e = ERR_INIT;
    bool sync = rng_below(&p->rng, 2) == 0;
    struct store_txn *t;
    lsn_t must = 0;
    int r = store_txn_open(p->st, catalog_db, &t, &e);

    if (r < 0)
        sim_fail(p->s, "open: %s", e.message);
    r = store_txn_begin(t, &e);
    if (r == 0)
        r = store_txn_begin_write(t, &e);
    if (r == 0)
        r = assign_xid(p, t, &e);
    if (r == 0)
        r = stage_all(t, after, 3, false, &e);
    if (r == 0) {
        store_txn_ride(t, ride);
        r = store_txn_prepare(t, &e);
    }
    if (r == 0) {
        commit_or_not(p, t, 0, after, &c);
        if (c != NULL) {
            c->other_slot = (int32_t) other_slot;
            c->other = *other;
            c->other_ver = other_ver;
            finish_commit(p, t, c);
            must = c->lsn;
            p->s->stats->ddl++;
        }
    } else {
        tolerate(p, r, &e, "ddl");
        give_up(p, store_txn_xid_if_any(t));
    }
    store_txn_end_write(t);
    store_txn_end(t);
    store_txn_barrier(t, sync);
    if (sync)
        p->s->model.need = MAX(p->s->model.need, must);
    store_txn_close(t);
    return c != NULL ? 0 : -1;
}

static int
build(struct proc *p, struct store_build *b, const struct model_db *d, uint8_t *pages,
      struct err *e)
{
    int r = store_build_begin(b, p->st->io, d->oid, d->oid, wal_durable(p->st->wal), e);

    if (r < 0)
        return r;
    for (pgno_t pgno = 1; pgno <= d->size && r == 0; pgno++) {
        model_bytes(d, pgno, pages + (pgno - 1) * PAGE_BYTES);
        r = store_build_write(b, pgno, pages + (pgno - 1) * PAGE_BYTES, e);
    }
    if (r == 0)
        r = store_build_finish(b, e);
    if (r == 0)
        store_build_close(b);
    if (r < 0)
        store_build_abort(b);
    return r;
}

static void
create_op(struct proc *p, uint32_t catalog_db, uint32_t slot)
{
    static uint8_t pages[MODEL_PAGES * PAGE_BYTES]; /* one DDL process */
    struct model_db after = *model_now(&p->s->model, 0);
    struct model_db made = { .is_live = true, .size = 1 };
    struct store_build b;
    struct store_ride ride;
    struct err e = ERR_INIT;
    uint64_t staged;
    int r = store_oid_new(p->st, &made.oid, &e);

    if (r < 0) {
        tolerate(p, r, &e, "oid");
        return;
    }
    if (made.oid <= p->s->last_oid)
        sim_fail(p->s, "oid %u handed out, but %u was before", made.oid, p->s->last_oid);
    p->s->last_oid = made.oid;
    model_mutate(&p->rng, &made, &p->s->taste, &staged);
    r = build(p, &b, &made, pages, &e);
    if (r < 0) {
        tolerate(p, r, &e, "build");
        return;
    }
    after.list[after.n_list++] = made.oid;
    after.page[0].cell[0]++;
    ride = (struct store_ride){ .kind = RIDE_CREATE_DB,
                                .oid = made.oid,
                                .rel = made.oid,
                                .pages = pages,
                                .n_pages = made.size };
    if (ddl_txn(p, catalog_db, &ride, &after, slot, &made, b.lsn) < 0)
        store_build_abort(&b);
}

static void
drop_with_locks(struct proc *p, uint32_t catalog_db, uint32_t slot, uint32_t db)
{
    struct model_db after = *model_now(&p->s->model, 0);
    struct model_db gone = { 0 };
    oid_t oid = store_db_oid(p->st, db);
    struct store_ride ride = { .kind = RIDE_DROP_DB, .oid = oid, .rel = oid, .db = db };
    struct err e = ERR_INIT;
    int r = store_drop_begin(p->st, db, "gone", &e);

    if (r < 0) {
        tolerate(p, r, &e, "drop");
        return;
    }
    r = store_writer_take(p->st, catalog_db, 0, &e);
    if (r < 0)
        sim_fail(p->s, "writer lock: %s", e.message);
    after = *model_now(&p->s->model, 0);
    list_without(&after, oid);
    after.page[0].cell[0]++;
    if (ddl_txn(p, catalog_db, &ride, &after, slot, &gone, 0) < 0)
        store_drop_cancel(p->st, db);
    if (store_writer_is_mine(p->st, catalog_db))
        store_writer_drop(p->st, catalog_db);
}

static void
drop_op(struct proc *p, uint32_t catalog_db, uint32_t slot)
{
    oid_t oid = model_now(&p->s->model, slot)->oid;
    struct err e = ERR_INIT;
    uint32_t db;
    int r = store_db_attach(p->st, oid, oid, &db, &e);

    if (r < 0) {
        tolerate_attach(p, r, &e, slot, oid);
        return;
    }
    r = store_writer_take(p->st, db, 0, &e);
    if (r < 0)
        sim_fail(p->s, "writer lock: %s", e.message);
    drop_with_locks(p, catalog_db, slot, db);
    store_writer_drop(p->st, db);
    store_db_detach(p->st, db);
}

static void
ddl(void *arg)
{
    struct proc *p = arg;

    while (p->n_ops-- > 0) {
        uint32_t slot = 2 + (uint32_t) rng_below(&p->rng, MODEL_DBS - 2);
        struct err e = ERR_INIT;
        uint32_t catalog_db;

        if (store_db_attach(p->st, CATALOG_DB_OID, CATALOG_DB_OID, &catalog_db, &e) < 0)
            sim_fail(p->s, "catalogue: %s", e.message);
        if (model_now(&p->s->model, slot)->is_live)
            drop_op(p, catalog_db, slot);
        else {
            if (store_writer_take(p->st, catalog_db, 0, &e) < 0)
                sim_fail(p->s, "writer lock: %s", e.message);
            create_op(p, catalog_db, slot);
            if (store_writer_is_mine(p->st, catalog_db))
                store_writer_drop(p->st, catalog_db);
        }
        store_db_detach(p->st, catalog_db);
    }
    p->s->n_busy--;
}

/* ---- those that work behind ---- */

static bool
pace(void *arg, double progress)
{
    (void) arg;
    (void) progress;
    coro_maybe(2);
    return false;
}

static void
checkpointer(void *arg)
{
    struct proc *p = arg;

    while (p->s->n_busy > 0) {
        struct checkpoint_stats stats;
        struct err e = ERR_INIT;
        uint64_t n = rng_below(&p->rng, 30);
        int r;

        for (uint64_t i = 0; i < n && p->s->n_busy > 0; i++)
            coro_switch();
        r = store_purge_dropped(p->st, &e);
        if (r >= 0)
            r = store_checkpoint(p->st, CKPT_FORCE, pace, NULL, &stats, &e);
        if (r < 0)
            tolerate(p, r, &e, "checkpoint");
        p->s->stats->checkpoints += r == 0;
    }
}

/* Fill the log up to the end of its page, so that the next record begins one, and flush that far
 * while others insert (WAL-6). A record rarely ends there by itself. */
static void
fill_log_page(struct proc *p)
{
    static uint8_t bytes[WAL_PAGE_BYTES];
    static const uint8_t body[WAL_PAGE_BYTES];
    struct wal *w = p->st->wal;
    uint32_t room = WAL_PAGE_BYTES - wal_page_offset(wal_insert_end(w));
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_NOOP, .main = body };
    struct buf b = buf_init(bytes, sizeof bytes);
    struct wal_inserted at;
    struct err e = ERR_INIT;

    if (room < WAL_RECORD_HEADER + 8 || room == WAL_PAGE_BYTES || wal_reserve(w, room) != 0)
        return;
    /* The head of the main data has 2 bytes up to 255 bytes, else 5. */
    rec.main_bytes = room - WAL_RECORD_HEADER - (room <= WAL_RECORD_HEADER + 2 + 255 ? 2 : 5);
    if (wal_record_put(&b, &rec, &e) < 0)
        sim_fail(p->s, "filler: %s", e.message);
    self_hold(p->st->self);
    wal_insert(w, &(struct wal_bytes){ bytes, (uint32_t) b.n }, 1, 0, &at);
    self_resume(p->st->self);
    wal_unreserve(w);
    wal_flush(w, at.end);
}

static void
background(void *arg)
{
    struct proc *p = arg;

    while (p->s->n_busy > 0) {
        struct err e = ERR_INIT;

        for (uint64_t i = rng_below(&p->rng, 20); i > 0; i--)
            coro_switch();
        if (rng_below(&p->rng, 4) == 0)
            fill_log_page(p);
        if (store_walwriter_round(p->st, &e) < 0)
            tolerate(p, e.code, &e, "walwriter");
        err_clear(&e);
        (void) store_bgwriter_round(p->st, (uint32_t) rng_below(&p->rng, 6), &e);
        if (e.code != 0)
            tolerate(p, e.code, &e, "bgwriter");
    }
}

void
sim_spawn_procs(struct sim *s)
{
    static void (*const fns[CLUSTER_PROCS])(void *) = {
        checkpointer, background, writer, writer, writer, reader, reader, ddl,
    };
    static const uint32_t ops[CLUSTER_PROCS] = { 0, 0, 12, 12, 12, 10, 10, 3 };

    s->n_busy = 0;
    for (uint32_t i = 0; i < CLUSTER_PROCS; i++) {
        struct proc *p = &procs[i];

        *p = (struct proc){ .s = s, .st = cluster_store(&s->cluster, i) };
        rng_init(&p->rng, rng_u64(&s->rng));
        if (ops[i] > 0) {
            p->n_ops = (uint32_t) rng_below(&p->rng, ops[i] * s->many + 1);
            s->n_busy++;
        }
        coro_spawn(fns[i], p);
    }
}
