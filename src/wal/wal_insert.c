/* Insertion into the log: space is promised (WAL-2), a place is taken under one spinlock, bytes are
 * copied into the ring outside it.
 *
 * Runs in: every process that logs. Owns: the insertion half of struct wal_shared, this process'
 * insertion slot. An error here is a PANIC. Source: engine-rules WAL-1, -2, -6; the idea of usable
 * positions and of several inserters is PostgreSQL's xlog.c. */
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "wal/wal_page.h"
#include "wal/wal_record.h"
#include "wal/wal_shared.h"

/* ---- region ---- */

static uint64_t
slots_at(void)
{
    return (sizeof(struct wal_shared) + 63) & ~UINT64_C(63);
}

static uint64_t
ring_at(const struct wal_cfg *cfg)
{
    uint64_t at = slots_at() + cfg->max_procs * sizeof(struct wal_slot);

    return (at + WAL_PAGE_BYTES - 1) & ~(uint64_t) (WAL_PAGE_BYTES - 1);
}

uint64_t
wal_shm_bytes(const struct wal_cfg *cfg)
{
    return ring_at(cfg) + (uint64_t) cfg->n_buffers * WAL_PAGE_BYTES;
}

void
wal_shm_init(void *mem, const struct wal_cfg *cfg)
{
    memset(mem, 0, ring_at(cfg));
}

struct wal_slot *
wal_slots(const struct wal *w)
{
    return (struct wal_slot *) (void *) ((char *) w->sh + slots_at());
}

uint8_t *
wal_ring_page(const struct wal *w, lsn_t page)
{
    uint64_t idx = page / WAL_PAGE_BYTES % w->cfg.n_buffers;

    return (uint8_t *) w->sh + ring_at(&w->cfg) + idx * WAL_PAGE_BYTES;
}

void
wal_attach(struct wal *w, void *mem, const struct wal_cfg *cfg, struct io *io, struct self *self,
           struct shm_status *status)
{
    ASSERT(cfg->n_buffers >= 8);
    *w = (struct wal){
        .sh = mem, .cfg = *cfg, .io = io, .self = self, .status = status, .seg_fd = -1
    };
}

void
wal_detach(struct wal *w)
{
    if (w->seg_fd >= 0)
        (void) io_close(w->io, w->seg_fd);
    w->seg_fd = -1;
}

/* ---- positions ---- */

static void
reserve_take(const struct wal *w)
{
    spin_take(w->self, &w->sh->reserve, LOCK_WAL_RESERVE);
}

static void
reserve_drop(const struct wal *w)
{
    spin_drop(w->self, &w->sh->reserve, LOCK_WAL_RESERVE);
}

static uint64_t
insert_u(const struct wal *w)
{
    uint64_t u;

    reserve_take(w);
    u = w->sh->insert_u;
    reserve_drop(w);
    return u;
}

lsn_t
wal_insert_at(const struct wal *w)
{
    return wal_usable_to_start(insert_u(w), w->cfg.segsize);
}

lsn_t
wal_insert_end(const struct wal *w)
{
    return wal_usable_to_end(insert_u(w), w->cfg.segsize);
}

static lsn_t
last_record(const struct wal *w)
{
    const struct wal_shared *sh = w->sh;

    return sh->has_last ? wal_usable_to_start(sh->last_u, w->cfg.segsize) : sh->prev_at_start;
}

lsn_t
wal_last_record(const struct wal *w)
{
    lsn_t lsn;

    reserve_take(w);
    lsn = last_record(w);
    reserve_drop(w);
    return lsn;
}

tli_t
wal_tli(const struct wal *w)
{
    return atomic_load_explicit(&w->sh->tli, memory_order_acquire);
}

/* ---- space (WAL-2) ---- */

uint64_t
wal_need(uint64_t u, uint32_t segsize)
{
    uint64_t q = u / WAL_USABLE_BYTES_PAGE + 2;

    return u + WAL_SHORT_HEADER * q +
           (WAL_LONG_HEADER - WAL_SHORT_HEADER) * (q * WAL_PAGE_BYTES / segsize + 2);
}

static int
reserve_above(struct wal *w, uint64_t u, uint64_t standing)
{
    struct wal_shared *sh = w->sh;
    uint64_t need = wal_need(u, w->cfg.segsize);
    lsn_t made;
    bool fits;

    reserve_take(w);
    made = atomic_load_explicit(&sh->made_upto, memory_order_acquire); /* give_back() lowers it */
    fits =
        wal_usable_to_start(sh->insert_u, w->cfg.segsize) + sh->reserved + need + standing <= made;
    if (fits)
        sh->reserved += need;
    reserve_drop(w);
    if (!fits)
        return WAL_NO_ROOM;
    w->reserved += need;
    return 0;
}

int
wal_reserve(struct wal *w, uint64_t u)
{
    return reserve_above(w, u, WAL_STANDING_BYTES);
}

int
wal_reserve_urgent(struct wal *w, uint64_t u)
{
    return reserve_above(w, u, WAL_STANDING_BYTES / 2);
}

void
wal_unreserve(struct wal *w)
{
    if (w->reserved == 0)
        return;
    reserve_take(w);
    ASSERT(w->sh->reserved >= w->reserved);
    w->sh->reserved -= w->reserved;
    reserve_drop(w);
    w->reserved = 0;
}

/* ---- ring ---- */

/* Give buffers to pages from init_upto up to `page`, as far as their old content has been written.
 * Returns whether `page` has its buffer. */
static bool
map_pages(struct wal *w, lsn_t page)
{
    struct wal_shared *sh = w->sh;
    uint64_t ring_bytes = (uint64_t) w->cfg.n_buffers * WAL_PAGE_BYTES;
    lsn_t at;

    rwlock_take_exclusive(w->self, &sh->map, LOCK_WAL_MAP, WAIT_WAL_WRITE);
    at = atomic_load_explicit(&sh->init_upto, memory_order_relaxed);
    while (at <= page &&
           at + WAL_PAGE_BYTES <=
               atomic_load_explicit(&sh->written, memory_order_acquire) + ring_bytes) {
        uint8_t *p = wal_ring_page(w, at);
        struct wal_page h = wal_page_of(at, wal_tli(w), 0, w->cfg.system_id, w->cfg.segsize);

        shm_touch(p);
        memset(p, 0, WAL_PAGE_BYTES);
        (void) wal_page_put(p, &h);
        at += WAL_PAGE_BYTES;
        atomic_store_explicit(&sh->init_upto, at, memory_order_release);
    }
    rwlock_drop_exclusive(w->self, &sh->map, LOCK_WAL_MAP);
    return at > page;
}

/* The buffer of the page that holds `lsn`. `done` = first byte of ours not yet copied: the slot is
 * moved there before any wait (WAL-6), unless it must stay on the commit record. */
static uint8_t *
page_for(struct wal *w, lsn_t lsn, bool may_move_slot, lsn_t done)
{
    struct wal_shared *sh = w->sh;
    lsn_t page = wal_page_start(lsn);

    while (atomic_load_explicit(&sh->init_upto, memory_order_acquire) <= page) {
        if (may_move_slot) {
            atomic_store_explicit(&wal_slots(w)[w->self->procno].inserting, done,
                                  memory_order_release);
            wal_slot_moved(w);
        }
        if (!map_pages(w, page))
            wal_write_for_space(w, page + WAL_PAGE_BYTES -
                                       (uint64_t) w->cfg.n_buffers * WAL_PAGE_BYTES);
    }
    return wal_ring_page(w, page);
}

/* Copy one sealed record to its place. Page headers on the way get CONTRECORD and what remains
 * (wal-format 1.9). */
static void
copy_record(struct wal *w, const struct wal_bytes *rec, lsn_t start, bool may_move_slot)
{
    uint32_t done = 0;
    lsn_t at = start;

    while (done < rec->n) {
        uint8_t *p = page_for(w, at, may_move_slot, at);
        uint32_t off = wal_page_offset(at);

        shm_touch(p + off);
        if (off == 0) { /* the record goes on here, behind the header */
            struct wal_page h =
                wal_page_of(at, wal_tli(w), rec->n - done, w->cfg.system_id, w->cfg.segsize);
            off = wal_page_put(p, &h);
            at += off;
        }
        uint32_t n = MIN(rec->n - done, WAL_PAGE_BYTES - off);

        memcpy(p + off, rec->p + done, n);
        done += n;
        at += n;
    }
}

/* ---- insertion ---- */

struct place {
    uint64_t u;  /* usable position of the first record */
    lsn_t prev;  /* its prev */
    lsn_t start; /* its start */
    lsn_t end;   /* end of the last one */
};

/* The one critical section that fixes place, order and prev-links. */
static void
take_place(struct wal *w, uint64_t u_bytes, uint64_t u_last, unsigned flags, struct place *ret)
{
    struct wal_shared *sh = w->sh;
    uint32_t seg = w->cfg.segsize;
    uint64_t used;

    reserve_take(w);
    ret->u = sh->insert_u;
    ret->prev = last_record(w);
    ret->start = wal_usable_to_start(ret->u, seg);
    ret->end = wal_usable_to_end(ret->u + u_bytes, seg);
    used = ret->end - wal_usable_to_end(ret->u, seg);
    sh->insert_u += u_bytes;
    sh->last_u = ret->u + u_last;
    sh->has_last = true;
    if ((flags & WAL_SWITCH) != 0) { /* the rest of the segment is padding */
        uint64_t per_seg = wal_usable_bytes(seg);

        sh->insert_u = (sh->insert_u + per_seg - 1) / per_seg * per_seg;
        ret->end = wal_usable_to_end(sh->insert_u, seg);
    }
    if ((flags & (WAL_STANDING | WAL_SWITCH)) == 0) {
        ASSERT(used <= w->reserved);
        w->reserved -= used;
        sh->reserved -= used;
    }
    if (w->self->procno >= atomic_load_explicit(&sh->slot_top, memory_order_relaxed))
        atomic_store_explicit(&sh->slot_top, w->self->procno + 1, memory_order_release);
    atomic_store_explicit(&wal_slots(w)[w->self->procno].inserting, ret->start,
                          memory_order_release);
    reserve_drop(w);
    ASSERT(ret->end <= atomic_load_explicit(&sh->made_upto, memory_order_acquire));
    if (w->status != NULL)
        atomic_store_explicit(&w->status->insert_lsn, ret->end, memory_order_relaxed);
}

void
wal_slot_release(struct wal *w)
{
    struct wal_slot *slot = &wal_slots(w)[w->self->procno];

    ASSERT(atomic_load_explicit(&slot->inserting, memory_order_relaxed) != 0);
    atomic_store_explicit(&slot->inserting, 0, memory_order_release);
    wal_slot_moved(w);
}

/* Records next to each other. */
static void
insert_group(struct wal *w, struct wal_bytes *recs, uint32_t n, unsigned flags,
             struct wal_inserted *ret)
{
    bool keep = (flags & WAL_KEEP_SLOT) != 0;
    uint64_t u_bytes = 0;
    uint64_t u_last = 0;
    struct place place;
    uint64_t u;
    lsn_t prev;
    lsn_t start = 0;

    for (uint32_t i = 0; i < n; i++) {
        u_last = u_bytes;
        u_bytes += MAXALIGN(recs[i].n);
    }
    take_place(w, u_bytes, u_last, flags, &place);
    stat_add(w->self, STAT_WAL_RECORDS, n);
    u = place.u;
    prev = place.prev;
    for (uint32_t i = 0; i < n; i++) {
        bool stays = keep && i + 1 == n; /* COMMIT-5: the slot stays at this record's start */

        start = wal_usable_to_start(u, w->cfg.segsize);
        wal_record_seal(recs[i].p, recs[i].n, prev);
        stat_add(w->self, STAT_WAL_BYTES, recs[i].n);
        if (stays) { /* it cannot be written before its own end: it has to fit into the ring */
            ASSERT(recs[i].n <= (w->cfg.n_buffers - 2) * WAL_USABLE_BYTES_PAGE);
            atomic_store_explicit(&wal_slots(w)[w->self->procno].inserting, start,
                                  memory_order_release);
            wal_slot_moved(w);
        }
        copy_record(w, &recs[i], start, !stays);
        prev = start;
        u += MAXALIGN(recs[i].n);
    }
    if ((flags & WAL_SWITCH) != 0) /* zero pages without headers up to the segment's end (1.11) */
        for (lsn_t page = wal_page_start(start + WAL_RECORD_HEADER - 1) + WAL_PAGE_BYTES;
             page < place.end; page += WAL_PAGE_BYTES)
            memset(page_for(w, page, true, page), 0, WAL_PAGE_BYTES);
    if (!keep)
        wal_slot_release(w);
    if (ret->start == 0)
        ret->start = place.start;
    ret->last_start = start;
    ret->end = place.end;
}

void
wal_insert(struct wal *w, struct wal_bytes *recs, uint32_t n, unsigned flags,
           struct wal_inserted *ret)
{
    uint64_t total = 0;

    ASSERT(n > 0);
    *ret = (struct wal_inserted){ 0 };
    self_hold(w->self);
    for (uint32_t i = 0; i < n; i++)
        total += recs[i].n;
    if (total <= WAL_GROUP_BYTES) {
        insert_group(w, recs, n, flags, ret);
    } else {
        for (uint32_t i = 0; i < n; i++)
            insert_group(w, &recs[i], 1, i + 1 == n ? flags : flags & ~(unsigned) WAL_KEEP_SLOT,
                         ret);
    }
    self_resume(w->self);
}

void
wal_process_exit(struct wal *w)
{
    wal_unreserve(w);
    ASSERT(atomic_load_explicit(&wal_slots(w)[w->self->procno].inserting, memory_order_relaxed) ==
           0);
}
