/* A cluster over a made-up disk; see cluster.h. Runs in tests. Owns: the memory that stands for the
 * segment. */
#include "sim/cluster.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/rng.h"
#include "store/store_checkpoint.h"
#include "store/store_page.h"
#include "store/store_xact.h"
#include "wal/wal_boot.h"
#include "wal/wal_format.h"

#define ALIGN_UP(n) (((n) + 4095u) & ~(uint64_t) 4095)

void
cluster_make(struct cluster *c, struct io_sim *disk, uint32_t n_frames)
{
    uint64_t at[3];

    *c = (struct cluster){ .disk = disk, .io = io_sim_io(disk) };
    c->wal_cfg = (struct wal_cfg){ .segsize = CLUSTER_SEGSIZE,
                                   .n_buffers = 8,
                                   .max_procs = CLUSTER_PROCS,
                                   .system_id = CLUSTER_SYSID };
    c->cache_cfg = (struct cache_cfg){ .n_frames = n_frames,
                                       .max_procs = CLUSTER_PROCS,
                                       .snapshot_patience = 100 * USEC_PER_MSEC };
    c->store_cfg = (struct store_cfg){ .max_procs = CLUSTER_PROCS,
                                       .snapshot_patience = 100 * USEC_PER_MSEC,
                                       .max_wal_size = 4 * CLUSTER_SEGSIZE,
                                       .min_wal_size = 2 * CLUSTER_SEGSIZE,
                                       .completion_target = 0.9 };
    at[0] = ALIGN_UP(wal_shm_bytes(&c->wal_cfg));
    at[1] = at[0] + ALIGN_UP(cache_shm_bytes(&c->cache_cfg));
    at[2] = at[1] + ALIGN_UP(store_shm_bytes(&c->store_cfg));
    c->mem_bytes = at[2];
    c->mem = mmap(NULL, c->mem_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(c->mem != MAP_FAILED);
    c->wal_mem = c->mem;
    c->cache_mem = (uint8_t *) c->mem + at[0];
    c->store_mem = (uint8_t *) c->mem + at[1];
}

void
cluster_forget(struct cluster *c)
{
    for (uint32_t i = 0; i < CLUSTER_PROCS; i++) {
        if (c->procs[i].is_attached)
            store_detach(&c->procs[i].store);
        c->procs[i] = (struct cluster_proc){ 0 };
    }
    (void) madvise(c->mem, c->mem_bytes, MADV_DONTNEED);
}

void
cluster_free(struct cluster *c)
{
    cluster_forget(c);
    (void) munmap(c->mem, c->mem_bytes);
    c->mem = NULL;
}

void
cluster_fill(struct cluster *c)
{
    wal_shm_init(c->wal_mem, &c->wal_cfg);
    cache_shm_init(c->cache_mem, &c->cache_cfg);
    store_shm_init(c->store_mem, &c->store_cfg);
}

int
cluster_attach(struct cluster *c, uint32_t procno, struct err *e)
{
    struct cluster_proc *p = &c->procs[procno];
    struct cache_ops ops;
    int r;

    ASSERT(!p->is_attached);
    self_init(&p->self, procno, NULL);
    wal_attach(&p->wal, c->wal_mem, &c->wal_cfg, c->io, &p->self, NULL);
    r = store_attach(&p->store, c->store_mem, &c->store_cfg, c->io, &p->wal, &p->cache, &p->self,
                     NULL, e);
    if (r < 0)
        return r;
    ops = store_cache_ops(&p->store);
    cache_attach(&p->cache, c->cache_mem, &c->cache_cfg, NULL, -1, &p->self, &ops);
    p->is_attached = true;
    return 0;
}

struct store *
cluster_store(struct cluster *c, uint32_t procno)
{
    return &c->procs[procno].store;
}

/* ---- init ---- */

static int
build_file(struct cluster *c, oid_t oid, struct err *e)
{
    struct store_build b;
    uint8_t p[PAGE_BYTES] = { 0 };
    int r = store_build_begin(&b, c->io, oid, oid, CLUSTER_SEGSIZE + WAL_LONG_HEADER, e);

    put_be32(p + 28, 2);
    if (r == 0)
        r = store_build_write(&b, 1, p, e);
    memset(p, 0, sizeof p);
    if (oid == CATALOG_DB_OID) {
        put_u32(p + CLUSTER_LIST_AT, 1);
        put_u32(p + CLUSTER_LIST_AT + 4, POSTGRES_DB_OID);
    }
    if (r == 0)
        r = store_build_write(&b, 2, p, e);
    if (r == 0)
        r = store_build_finish(&b, e);
    store_build_close(&b);
    return r;
}

int
cluster_init_dirs(struct io *io)
{
    static const char *const dirs[] = { "base",    "global",     "pg_wal", "pg_wal/archive_status",
                                        "pg_xact", "pg_twophase" };
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(dirs) && r == 0; i++)
        r = io_mkdir(io, dirs[i], 0700);
    return r;
}

int
cluster_init_log(struct io *io, struct err *e)
{
    static const uint8_t zeros[PAGE_BYTES];
    struct wal_boot_params params = { .sysid = CLUSTER_SYSID,
                                      .segment_bytes = CLUSTER_SEGSIZE,
                                      .next_oid = FIRST_USER_OID,
                                      .next_xid = FIRST_XID,
                                      .time_sec = 1700000000 };
    struct wal_checkpoint checkpoint;
    struct wal_control control;
    int r = io_write_file_durably(io, XACT_DIR, XACT_DIR "/0000", zeros, sizeof zeros, e);

    if (r == 0)
        r = wal_boot_write(io, &params, &checkpoint, e);
    if (r == 0) {
        control = wal_boot_control(&params, &checkpoint);
        r = wal_control_create(io, &control, e);
    }
    return r == 0 ? io_syncfs(io, -1) : r;
}

int
cluster_init_disk(struct cluster *c, struct err *e)
{
    int r = cluster_init_dirs(c->io);

    if (r == 0)
        r = build_file(c, CATALOG_DB_OID, e);
    if (r == 0)
        r = build_file(c, POSTGRES_DB_OID, e);
    return r == 0 ? cluster_init_log(c->io, e) : r;
}

void
cluster_begin(struct cluster *c, uint64_t seed)
{
    struct err e = ERR_INIT;

    log_set_min(LOG_LEVEL_PANIC);
    cluster_make(c, io_sim_new(seed), 64);
    cluster_hook_crashes();
    if (cluster_init_disk(c, &e) < 0)
        abort();
}

void
cluster_end(struct cluster *c)
{
    struct io_sim *disk = c->disk;

    cluster_free(c);
    io_sim_free(disk);
}

/* ---- one page at a time ---- */

static int
read_page(struct store *st, uint32_t db, pgno_t pgno, uint8_t *p, struct err *e)
{
    struct store_txn *t;
    int r = store_txn_open(st, db, &t, e);

    if (r < 0)
        return r;
    r = store_txn_begin(t, e);
    if (r == 0) {
        r = store_txn_read(t, pgno, p, e);
        store_txn_end(t);
    }
    store_txn_close(t);
    return r;
}

int
cluster_read(struct store *st, oid_t oid, pgno_t pgno, uint8_t *p, struct err *e)
{
    uint32_t db;
    int r = store_db_attach(st, oid, oid, &db, e);

    if (r < 0)
        return r;
    r = read_page(st, db, pgno, p, e);
    store_db_detach(st, db);
    return r;
}

static int
change_page(struct store *st, uint32_t db, pgno_t pgno, const uint8_t *p, lsn_t *ret_lsn,
            struct err *e)
{
    struct store_txn *t;
    uint8_t page1[PAGE_BYTES];
    int r = store_txn_open(st, db, &t, e);

    if (r < 0)
        return r;
    r = store_txn_begin(t, e);
    if (r == 0)
        r = store_txn_begin_write(t, e);
    if (r == 0)
        r = store_txn_read(t, 1, page1, e);
    if (r == 0) {
        put_be32(page1 + 28, MAX(page1_size(page1), pgno));
        put_u32(page1 + 24, get_u32(page1 + 24) + 1);
        r = store_txn_stage(t, 1, page1, e);
    }
    if (r == 0)
        r = store_txn_stage(t, pgno, p, e);
    if (r == 0)
        r = store_txn_prepare(t, e);
    if (r == 0) {
        store_txn_commit(t);
        *ret_lsn = store_txn_version(t);
    }
    store_txn_end_write(t);
    store_txn_end(t);
    if (r == 0)
        store_txn_barrier(t, true);
    store_txn_close(t);
    return r;
}

int
cluster_write(struct store *st, oid_t oid, pgno_t pgno, const uint8_t *p, lsn_t *ret_lsn,
              struct err *e)
{
    uint32_t db;
    int r = store_db_attach(st, oid, oid, &db, e);

    if (r < 0)
        return r;
    r = store_writer_take(st, db, 0, e);
    if (r == 0) {
        r = change_page(st, db, pgno, p, ret_lsn, e);
        if (store_writer_is_mine(st, db))
            store_writer_drop(st, db);
    }
    store_db_detach(st, db);
    return r;
}

/* ---- start and stop ---- */

#define CLUSTER_LIST_MAX 4u

int
cluster_recover(struct cluster *c, struct store_listed *list, uint32_t cap, uint32_t *ret_n,
                struct recover_info *ret, struct err *e)
{
    return cluster_recover_as(c, &(struct recover_ask){ .arg = NULL }, list, cap, ret_n, ret, e);
}

int
cluster_recover_as(struct cluster *c, const struct recover_ask *ask, struct store_listed *list,
                   uint32_t cap, uint32_t *ret_n, struct recover_info *ret, struct err *e)
{
    struct store *st;
    uint8_t p[PAGE_BYTES];
    int r;

    cluster_fill(c);
    r = cluster_attach(c, 0, e);
    st = cluster_store(c, 0);
    if (r == 0)
        r = store_recover_as(st, ask, ret, e);
    if (r == 0)
        r = cluster_read(st, CATALOG_DB_OID, 2, p, e);
    if (r != 0)
        return r;
    list[0] = (struct store_listed){ CATALOG_DB_OID, CATALOG_DB_OID };
    *ret_n = 1 + MIN(get_u32(p + CLUSTER_LIST_AT), cap - 1);
    for (uint32_t i = 1; i < *ret_n; i++) {
        oid_t oid = get_u32(p + CLUSTER_LIST_AT + 4 * i);

        list[i] = (struct store_listed){ oid, oid };
    }
    return store_recover_finish(st, list, *ret_n, ret, e);
}

int
cluster_start(struct cluster *c, uint32_t n_procs, struct err *e)
{
    struct store_listed list[CLUSTER_LIST_MAX];
    struct recover_info info;
    uint32_t n;
    int r = cluster_recover(c, list, CLUSTER_LIST_MAX, &n, &info, e);

    for (uint32_t i = 1; i < n_procs && r == 0; i++)
        r = cluster_attach(c, i, e);
    return r;
}

int
cluster_shutdown(struct cluster *c, uint32_t procno, struct err *e)
{
    struct checkpoint_stats stats;

    return store_checkpoint(cluster_store(c, procno), CKPT_SHUTDOWN | CKPT_IMMEDIATE, NULL, NULL,
                            &stats, e);
}

/* ---- crashes ---- */

static void
on_panic(const struct err *e)
{
    char text[600];

    (void) snprintf(text, sizeof text, "PANIC: %.400s", e->message);
    coro_crash(text);
}

static void
on_fault(enum fault_point p)
{
    char text[100];

    (void) snprintf(text, sizeof text, "fault point %s", fault_name(p));
    coro_crash(text);
}

void
cluster_hook_crashes(void)
{
    panic_hook = on_panic;
    fault_crash_hook = on_fault;
}

bool
cluster_has(const struct cluster *c, const char *path)
{
    int fd = io_open(c->io, path, O_RDONLY, 0);

    if (fd >= 0)
        (void) io_close(c->io, fd);
    return fd >= 0;
}

void
cluster_noise(uint8_t *p, uint64_t seed)
{
    struct rng r;

    rng_init(&r, seed);
    for (uint32_t at = 0; at < PAGE_TAIL_AT; at += 8)
        put_u64(p + at, rng_u64(&r));
    memset(p + PAGE_TAIL_AT, 0, PAGE_TAIL_BYTES);
}
