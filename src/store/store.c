/* The store's shared part, a process' handle on it, and what a process gives back when it ends.
 * Runs in every attached process. Owns: struct store. Source: engine-rules SHM-1, SNAP-4. */
#include "store/store.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "store/store_commit.h"
#include "store/store_fd.h"
#include "store/store_shared.h"
#include "store/store_writeback.h"
#include "wal/wal_record.h"
#include "wal/wal_xlog.h"

#define OPEN_FILES 64u /* descriptors of data files a process keeps, unless told */

uint64_t
store_shm_bytes(const struct store_cfg *cfg)
{
    return sizeof(struct store_shared) +
           (uint64_t) cfg->max_procs * (sizeof(struct store_proc) + sizeof(struct store_gate_flag) +
                                        sizeof(struct fair_wait));
}

void
store_shm_init(void *mem, const struct store_cfg *cfg)
{
    /* The segment is zero, and zero is right: no database, gate open, nothing asked, nobody's
     * role. */
    (void) mem;
    (void) cfg;
}

/* d has moved, and H with it. */
static void
raise_horizon(void *arg, lsn_t durable)
{
    struct store *st = arg;

    store_on_durable(st->cache, durable);
    if (st->status != NULL)
        atomic_store_explicit(&st->status->horizon_lsn, cache_horizon(st->cache),
                              memory_order_relaxed);
}

int
store_attach(struct store *st, void *mem, const struct store_cfg *cfg, struct io *io,
             struct wal *wal, struct cache *cache, struct self *self, struct shm_status *status,
             struct err *e)
{
    int r;

    *st = (struct store){ .sh = mem,
                          .cfg = *cfg,
                          .io = io,
                          .wal = wal,
                          .cache = cache,
                          .self = self,
                          .status = status,
                          .dropping = CACHE_NONE };
    ASSERT(self->procno < cfg->max_procs);
    r = store_fds_new(&st->fds, io, cfg->open_files != 0 ? cfg->open_files : OPEN_FILES, e);
    if (r < 0)
        return r;
    st->page_buf = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
    st->spare_buf = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
    if (st->page_buf == NULL || st->spare_buf == NULL) {
        store_detach(st);
        return ERR(e, OUT_OF_MEMORY, "could not allocate a page");
    }
    wal->on_durable = raise_horizon;
    wal->on_durable_arg = st;
    return 0;
}

void
store_detach(struct store *st)
{
    store_encode_free(st->enc);
    store_fds_free(st->fds);
    free(st->page_buf);
    free(st->spare_buf);
    free(st->refs);
    st->enc = NULL;
    st->fds = NULL;
    st->page_buf = st->spare_buf = NULL;
    st->refs = NULL;
    st->n_refs = st->refs_cap = 0;
}

struct cache_ops
store_cache_ops(struct store *st)
{
    return (struct cache_ops){ .read = store_page_read, .write_back = store_page_evict, .arg = st };
}

void
store_process_exit(struct store *st)
{
    struct store_gate_ref gate = store_gate_of(st);

    self_hold(st->self);
    cache_process_exit(st->cache);
    wal_process_exit(st->wal);
    if (st->in_gate)
        store_gate_leave(&gate, st->self);
    st->in_gate = false;
    if (st->has_long_commit)
        store_gate_drop_long(&gate, st->self);
    st->has_long_commit = false;
    while (st->n_writers > 0)
        store_writer_drop(st, st->writers[st->n_writers - 1]);
    if (st->dropping != CACHE_NONE)
        store_drop_cancel(st, st->dropping);
    store_xact_running(st, 0);
    while (st->n_refs > 0)
        store_db_detach(st, st->refs[st->n_refs - 1]);
    self_resume(st->self);
}

void
store_wait_durable(struct store *st, lsn_t lsn)
{
    wal_flush(st->wal, lsn);
    raise_horizon(st, wal_durable(st->wal));
}

int
store_log_small(struct store *st, const struct wal_rec *rec, lsn_t *ret_end, struct err *e)
{
    uint8_t bytes[STORE_SMALL_BYTES];
    struct buf b = buf_init(bytes, sizeof bytes);
    struct wal_inserted ins;
    int r = wal_ensure_standing(st->wal, STORE_STANDING_LEAST, e);

    if (r == 0)
        r = wal_record_put(&b, rec, e);
    if (r < 0)
        return r;
    self_hold(st->self);
    wal_insert(st->wal, &(struct wal_bytes){ bytes, (uint32_t) b.n }, 1, WAL_STANDING, &ins);
    self_resume(st->self);
    wal_flush(st->wal, ins.end);
    if (ret_end != NULL)
        *ret_end = ins.end;
    return 0;
}

int
store_switch_log(struct store *st, lsn_t *ret, struct err *e)
{
    uint64_t before = wal_insert_end(st->wal);
    int r = wal_switch(st->wal, ret, e);

    /* A server on which nothing else happens needs no checkpoint because of the switch. */
    if (r == 0)
        (void) atomic_compare_exchange_strong_explicit(&st->sh->ckpt.last_end, &before,
                                                       wal_insert_end(st->wal),
                                                       memory_order_relaxed, memory_order_relaxed);
    return r;
}

int
store_restore_point(struct store *st, const char *name, lsn_t *ret, struct err *e)
{
    uint8_t body[WAL_RESTORE_POINT_BYTES];
    struct buf b = buf_init(body, sizeof body);
    struct wal_restore_point point = { .time = wal_time((int64_t) clock_real_usec()) };
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_RESTORE_POINT, .main = body };
    size_t n = strlen(name);

    if (n >= sizeof point.name)
        return ERR(e, INVALID_PARAMETER_VALUE,
                   "value too long for restore point (maximum %zu characters)",
                   sizeof point.name - 1);
    memcpy(point.name, name, n + 1);
    wal_xlog_put_restore_point(&b, &point);
    rec.main_bytes = (uint32_t) b.n;
    return store_log_small(st, &rec, ret, e);
}

int
store_note_space(const struct store *st, int r, uint64_t bytes, struct err *e)
{
    space_note(st->status != NULL ? &st->status->space[SPACE_DATA] : NULL, r, bytes);
    if (r == -ENOSPC || r == -EDQUOT) {
        err_detail(e, "The data directory was to grow by %" PRIu64 " bytes.", bytes);
        err_hint(e,
                 "Free space on its file system. Reading goes on, and so does writing as soon as "
                 "there is space.");
    }
    return r;
}

void
store_on_durable(void *cache, lsn_t durable)
{
    cache_horizon_raise(cache, durable);
}

void
store_role_take(struct store *st, enum store_role role)
{
    atomic_store_explicit(&st->sh->role[role], st->self->procno + 1, memory_order_release);
    if (role == STORE_ROLE_BGWRITER)
        st->cache->writes_as = CACHE_BGWRITER;
    if (role == STORE_ROLE_CHECKPOINTER)
        st->cache->writes_as = CACHE_CHECKPOINTER;
}

bool
store_role_is_taken(const struct store *st, enum store_role role)
{
    return atomic_load_explicit(&st->sh->role[role], memory_order_acquire) != 0;
}

void
store_role_wake(struct store *st, enum store_role role)
{
    uint32_t who = atomic_load_explicit(&st->sh->role[role], memory_order_acquire);

    if (who == 0 || who > st->cfg.max_procs || st->self->slot == NULL)
        return;
    /* Slots are one array, ours among them. */
    slot_request(st->self->slot - st->self->procno + (who - 1), REQ_WORK);
}
