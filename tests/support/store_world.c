/* A small cluster for tests of the store. */
#include "support/store_world.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "wal/wal_boot.h"
#include "wal/wal_record.h"

static void
must(int r, const struct err *e, const char *what)
{
    if (r >= 0)
        return;
    (void) fprintf(stderr, "%s: %s [%s]\n", what, e->message, err_sqlstate(r));
    abort();
}

void
world_fill(uint8_t *p, pgno_t pgno, uint32_t v, pgno_t n)
{
    uint32_t x = pgno * 2654435761u + v;

    memset(p, 0x55, PAGE_BYTES);
    for (uint32_t i = 100; i + 4 <= PAGE_BYTES; i += 128) /* sparse: deltas stay short */
        put_u32(p + i, x + i);
    put_u32(p + 40, pgno);
    put_u32(p + 44, v);
    put_be32(p + 28, pgno == 1 ? n : 0);
}

uint32_t
world_value(const uint8_t *p, pgno_t pgno)
{
    uint8_t want[PAGE_BYTES];
    uint32_t v = get_u32(p + 44);

    memset(want, 0, sizeof want); /* a zero page that was written has a tail */
    if (memcmp(p, want, PAGE_TAIL_AT) == 0)
        return 0;
    world_fill(want, pgno, v, get_be32(p + 28));
    return memcmp(p, want, PAGE_TAIL_AT) == 0 ? v : UINT32_MAX;
}

static void
make_database(struct io *io, oid_t oid)
{
    struct store_build b;
    struct err e = ERR_INIT;
    uint8_t page[PAGE_BYTES];
    lsn_t lsn = WORLD_SEG + WAL_LONG_HEADER;

    must(store_build_begin(&b, io, oid, oid, lsn, &e), &e, "build");
    for (pgno_t pgno = 1; pgno <= WORLD_PAGES; pgno++) {
        world_fill(page, pgno, 1, WORLD_PAGES);
        must(store_build_write(&b, pgno, page, &e), &e, "build");
    }
    must(store_build_finish(&b, &e), &e, "build");
    store_build_close(&b);
}

void
world_init_dirs(struct io *io)
{
    static const char *const dirs[] = { "global", "base", "pg_wal", "pg_xact", "pg_twophase" };
    struct err e = ERR_INIT;

    for (size_t i = 0; i < ELEMENTSOF(dirs); i++)
        must(io_mkdir(io, dirs[i], 0700), &e, dirs[i]);
    must(io_fsync_dir(io, ""), &e, "directory");
}

void
world_init_log(struct io *io)
{
    struct wal_boot_params params = { .sysid = 77,
                                      .segment_bytes = WORLD_SEG,
                                      .next_oid = FIRST_USER_OID,
                                      .next_xid = FIRST_XID,
                                      .time_sec = 1700000000 };
    struct wal_checkpoint checkpoint;
    struct wal_control control;
    struct err e = ERR_INIT;

    must(wal_boot_write(io, &params, &checkpoint, &e), &e, "log");
    control = wal_boot_control(&params, &checkpoint);
    must(wal_control_create(io, &control, &e), &e, "control file");
}

void
world_init(struct io *io)
{
    world_init_dirs(io);
    make_database(io, WORLD_CATALOG);
    make_database(io, WORLD_OID);
    world_init_log(io);
}

/* Zero pages that cost nothing until touched: the shared parts are large and mostly idle. */
static void *
zeroed(uint64_t bytes)
{
    void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem == MAP_FAILED)
        abort();
    return mem;
}

static void
attach_proc(struct world *w, uint32_t i)
{
    struct world_proc *p = &w->procs[i];
    struct cache_ops ops = store_cache_ops(&p->store);
    struct err e = ERR_INIT;

    self_init(&p->self, i, &w->slots[i]);
    wal_attach(&p->wal, w->mem_wal, &w->wal_cfg, w->io, &p->self, &w->status);
    cache_attach(&p->cache, w->mem_cache, &w->cache_cfg, NULL, -1, &p->self, &ops);
    must(store_attach(&p->store, w->mem_store, &w->store_cfg, w->io, &p->wal, &p->cache, &p->self,
                      &w->status, &e),
         &e, "attach");
}

void
world_attach(struct world *w, struct io *io, uint32_t n_procs, uint32_t n_frames)
{
    w->io = io;
    w->n_procs = n_procs;
    w->wal_cfg = (struct wal_cfg){
        .segsize = WORLD_SEG, .n_buffers = 16, .max_procs = n_procs, .system_id = 77
    };
    w->cache_cfg = (struct cache_cfg){ .n_frames = n_frames,
                                       .max_procs = n_procs,
                                       .snapshot_patience = 10 * USEC_PER_SEC };
    if (w->store_cfg.max_wal_size == 0)
        w->store_cfg = (struct store_cfg){ .snapshot_patience = 10 * USEC_PER_SEC,
                                           .max_wal_size = 8u << 20,
                                           .min_wal_size = 2u << 20,
                                           .completion_target = 0.9 };
    w->store_cfg.max_procs = n_procs;
    w->mem_wal = zeroed(wal_shm_bytes(&w->wal_cfg));
    w->mem_cache = zeroed(cache_shm_bytes(&w->cache_cfg));
    w->mem_store = zeroed(store_shm_bytes(&w->store_cfg));
    w->slots = zeroed(n_procs * sizeof *w->slots);
    w->procs = calloc(n_procs, sizeof *w->procs);
    memset(&w->status, 0, sizeof w->status);
    wal_shm_init(w->mem_wal, &w->wal_cfg);
    cache_shm_init(w->mem_cache, &w->cache_cfg);
    store_shm_init(w->mem_store, &w->store_cfg);
    for (uint32_t i = 0; i < n_procs; i++)
        attach_proc(w, i);
}

void
world_start(struct world *w)
{
    struct store *st = &w->procs[0].store;
    struct wal_control control;
    struct err e = ERR_INIT;
    lsn_t end;

    must(wal_control_read(w->io, &control, &e), &e, "control file");
    end =
        wal_end_of(control.checkpoint_lsn, WAL_RECORD_HEADER + 2 + WAL_CHECKPOINT_BYTES, WORLD_SEG);
    must(wal_start(st->wal, control.checkpoint.tli, end, control.checkpoint_lsn, &e), &e, "log");
    must(store_xact_start(st, control.checkpoint.next_xid, control.checkpoint.next_xid, &e), &e,
         "ids");
    store_oid_start(st, control.checkpoint.next_oid);
    store_redo_pointer_set(st, control.checkpoint.redo);
    cache_horizon_raise(st->cache, wal_durable(st->wal));
    cache_cap_unlimited(st->cache, false);
    atomic_store(&w->status.ready, 1);
}

uint32_t
world_open(struct world *w, struct io *io, uint32_t n_procs, uint32_t n_frames,
           struct store_txn **txns)
{
    struct err e = ERR_INIT;
    uint32_t db = 0;

    *w = (struct world){ 0 };
    world_attach(w, io, n_procs, n_frames);
    world_start(w);
    for (uint32_t i = 0; i < n_procs; i++) {
        struct store *st = &w->procs[i].store;

        must(store_db_attach(st, WORLD_OID, WORLD_OID, &db, &e), &e, "database");
        must(store_txn_open(st, db, &txns[i], &e), &e, "handle");
    }
    return db;
}

void
world_close(struct world *w, struct store_txn **txns)
{
    for (uint32_t i = 0; i < w->n_procs; i++) {
        store_txn_close(txns[i]);
        store_process_exit(&w->procs[i].store);
    }
    world_detach(w);
}

void
world_detach(struct world *w)
{
    for (uint32_t i = 0; i < w->n_procs; i++) {
        wal_detach(&w->procs[i].wal);
        store_detach(&w->procs[i].store);
    }
    free(w->procs);
    (void) munmap(w->mem_wal, wal_shm_bytes(&w->wal_cfg));
    (void) munmap(w->mem_cache, cache_shm_bytes(&w->cache_cfg));
    (void) munmap(w->mem_store, store_shm_bytes(&w->store_cfg));
    (void) munmap(w->slots, w->n_procs * sizeof *w->slots);
    w->procs = NULL;
}

static int
stage_all(struct store_txn *t, uint32_t v, pgno_t n, const struct world_change *changes,
          uint32_t n_changes, struct err *e)
{
    uint8_t page[PAGE_BYTES];
    int r;

    world_fill(page, 1, v, n);
    r = store_txn_stage(t, 1, page, e);
    for (uint32_t i = 0; i < n_changes && r == 0; i++) {
        world_fill(page, changes[i].pgno, changes[i].v, n);
        r = store_txn_stage(t, changes[i].pgno, page, e);
    }
    return r;
}

int
world_write(struct store_txn *t, struct store *st, uint32_t db, uint32_t v, pgno_t n,
            const struct world_change *changes, uint32_t n_changes, enum world_end end,
            struct err *e)
{
    bool is_async = end == WORLD_COMMIT_ASYNC;
    int r = store_writer_take(st, db, 0, e);

    if (r < 0)
        return r;
    r = store_txn_begin(t, e);
    if (r < 0) {
        store_writer_drop(st, db);
        return r;
    }
    r = store_txn_begin_write(t, e);
    must(r == 0 ? 0 : -ERR_INTERNAL_ERROR, e, "begin_write");
    n = n == 0 ? store_txn_size(t) : n;
    r = stage_all(t, v, n, changes, n_changes, e);
    if (r == 0 && end != WORLD_ROLLBACK)
        r = store_txn_prepare(t, e);
    if (r == 0 && end != WORLD_ROLLBACK && n < store_txn_size(t))
        must(store_txn_truncate(t, n, e), e, "truncate");
    if (r == 0 && (end == WORLD_COMMIT || is_async))
        store_txn_commit(t);
    store_txn_end_write(t);
    store_txn_end(t);
    store_txn_barrier(t, !is_async);
    return r;
}

int
world_read(struct store_txn *t, uint32_t *ret, pgno_t cap, pgno_t *ret_n, struct err *e)
{
    uint8_t page[PAGE_BYTES];
    int r = store_txn_begin(t, e);

    if (r < 0)
        return r;
    *ret_n = store_txn_size(t);
    for (pgno_t pgno = 1; pgno <= *ret_n && pgno <= cap && r >= 0; pgno++) {
        r = store_txn_read(t, pgno, page, e);
        ret[pgno] = world_value(page, pgno);
    }
    store_txn_end(t);
    store_txn_barrier(t, true);
    return r < 0 ? r : 0;
}
