/* The log, written: insertion by several processes at once, group commit, segments. (Reading:
 * wal_reader.h.)
 *
 * Order of a commit: wal_reserve() while it may still fail → wal_insert(…, WAL_KEEP_SLOT) → publish
 * → wal_slot_release() → later, outside everything, wal_flush(). Rules WAL-1 … WAL-6 of the engine
 * rules. Everything behind an insertion is a PANIC, never an error. */
#pragma once

#include "base/io.h"
#include "shm/shm.h"
#include "shm/stat.h"

struct wal_cfg {
    uint32_t segsize;   /* bytes, power of two, 1 MiB … 1 GiB */
    uint32_t n_buffers; /* pages of 8192 in the ring */
    uint32_t max_procs;
    uint64_t system_id;
    bool archiving; /* finished segments are marked for the archiver, and kept until it is done */
};

struct wal_shared; /* wal_shared.h: for src/wal only */

/* A process' handle. Fields are for src/wal; callers use the functions. */
struct wal {
    struct wal_shared *sh;
    struct wal_cfg cfg;
    struct io *io;
    struct self *self;
    struct shm_status *status; /* positions are stored here as well; may be NULL in tests */
    uint64_t reserved;         /* bytes of log space this process holds (WAL-2) */
    int seg_fd;                /* segment open for writing, -1 */
    uint64_t seg_no;
    tli_t seg_tli;
    void (*on_durable)(void *arg,
                       lsn_t durable); /* called by whoever moved it, without locks; may be NULL */
    void *on_durable_arg;
    /* Archiving: segments this process has finished and not marked yet; whom it tells. */
    lsn_t finished_from, finished_to; /* segment boundaries; to 0: none */
    void (*on_finished)(void *arg);   /* without locks; may be NULL */
    void *on_finished_arg;
};

/* Size of the region that wal_shm_init() fills. */
uint64_t wal_shm_bytes(const struct wal_cfg *cfg);
/* Fill the region. Startup process (or a test), before anybody else attaches. */
void wal_shm_init(void *mem, const struct wal_cfg *cfg);
/* Make the handle of this process. `io`, `self`, `status` are borrowed for the life of the handle.
 */
void wal_attach(struct wal *w, void *mem, const struct wal_cfg *cfg, struct io *io,
                struct self *self, struct shm_status *status);
void wal_detach(struct wal *w);

/* Open the log for insertion at `at` (a MAXALIGNed start or a page boundary), where recovery found
 * its end; `prev` is the start of the last record kept (0 for none). Loads the part of the page
 * before `at`, counts the segments made ahead. Startup, before the first insertion. */
int wal_start(struct wal *w, tli_t tli, lsn_t at, lsn_t prev, struct err *e);

/* ---- space (WAL-2) ---- */
#define WAL_NO_ROOM 1 /* outcome: make segments first, outside the gate */

/* Upper bound of the log bytes that `u` MAXALIGNed record bytes can take, page headers included,
 * wherever they start. Pure. */
uint64_t wal_need(uint64_t u, uint32_t segsize);
/* Reserve wal_need(u) bytes for this process (adds to what it holds). `u` is what one insertion at
 * one place takes: a group of at most WAL_GROUP_BYTES, or one record; call once for each. 0 or
 * WAL_NO_ROOM (and nothing added). Never waits. */
int wal_reserve(struct wal *w, uint64_t u);
/* The same for what frees space when it is done (DROP DATABASE): half of the standing reserve may
 * go into it. */
int wal_reserve_urgent(struct wal *w, uint64_t u);
/* Give back what is left of the reservation. */
void wal_unreserve(struct wal *w);
/* Make segments until a wal_reserve(u) can succeed. Interruptible; 53100 when the disk is full.
 * Caller is outside the gate. */
int wal_make_room(struct wal *w, uint64_t u, struct err *e);

/* Is there place for u bytes that take the standing reserve? If it was used up while no segment
 * could be made, make one: 53100 instead of an insertion beyond the end. Checkpointer. */
int wal_ensure_standing(struct wal *w, uint64_t u, struct err *e);

/* ---- insertion (WAL-1, WAL-6) ---- */
/* One encoded record (wal_record_put): prev and CRC still 0; both are filled in here, so the
 * bytes are not const. */
struct wal_bytes {
    uint8_t *p;
    uint32_t n; /* tot_len */
};
enum wal_insert_flag {
    WAL_KEEP_SLOT = 1u << 0, /* leave the insertion slot at the start of the last record until
                                wal_slot_release() (COMMIT-5) */
    WAL_STANDING = 1u << 1,  /* use the standing reserve (checkpoint, running transactions, end of
                                recovery), not this process' own */
    WAL_SWITCH = 1u << 2,    /* the record is XLOG SWITCH: fill the segment with zeros */
};
struct wal_inserted {
    lsn_t start;      /* start of the first record */
    lsn_t last_start; /* start of the last record */
    lsn_t end;        /* end of the last record: the address that follows it */
};
/* Insert records in this order, next to each other when they are ≤ WAL_GROUP_BYTES together (one
 * reservation of the position, prev-links inside), else one by one. Cannot fail: an error is a
 * PANIC. Interrupts are held by the caller. May wait for a log buffer. */
#define WAL_GROUP_BYTES (256u * 1024)
void wal_insert(struct wal *w, struct wal_bytes *recs, uint32_t n, unsigned flags,
                struct wal_inserted *ret);
/* Give back the insertion slot kept by WAL_KEEP_SLOT. */
void wal_slot_release(struct wal *w);

/* ---- durability (WAL-4, WAL-5) ---- */
/* Return when everything below `upto` is durable; at once if it already is. One leader writes and
 * syncs for all who wait. A failed write or sync is a PANIC, also for those who wait. Caller holds
 * no lock from WAL_WRITE up and no insertion slot. Not interruptible. */
void wal_flush(struct wal *w, lsn_t upto);
/* Write, without sync, what is complete. Walwriter. Returns bytes written. */
uint64_t wal_write_background(struct wal *w);

lsn_t wal_durable(const struct wal *w);   /* acquire */
lsn_t wal_insert_at(const struct wal *w); /* where the next record will start, behind a page header:
                                             a *start* (CKPT-2's R) */
lsn_t wal_insert_end(const struct wal *w); /* end of the last record reserved: an *end* (page
                                              boundary, not behind the header) */
/* Start of the last record inserted (prev of the next). */
lsn_t wal_last_record(const struct wal *w);
tli_t wal_tli(const struct wal *w);

/* ---- segments (WAL-3) ---- */
/* Make segments so that `ahead` whole ones are ready behind the insert position. Walwriter. */
int wal_keep_ahead(struct wal *w, uint32_t ahead, struct err *e);
/* Dispose of every segment of any timeline that lies wholly below `keep`: renamed to a future name
 * while the segments made end below `recycle_until`, else unlinked. With archiving, not what is not
 * in the archive yet. Checkpointer. */
struct wal_recycled {
    uint32_t n_recycled;
    uint32_t n_removed;
};
int wal_recycle(struct wal *w, lsn_t keep, lsn_t recycle_until, struct wal_recycled *ret,
                struct err *e);
/* End the current segment with a SWITCH record, so that it can be archived. *ret is the end of that
 * record, or the insert position when nothing has been written into this segment. Waits until it is
 * durable. Interruptible while it makes room; 53100. Caller holds no reservation. */
int wal_switch(struct wal *w, lsn_t *ret, struct err *e);
/* When the last segment was finished, or the log opened: monotonic. */
usec_t wal_switched_usec(const struct wal *w);
/* The exit callback's part (SNAP-4): reservation back; asserts that no insertion is open. */
void wal_process_exit(struct wal *w);
