/* The log's region of shared memory. For src/wal and its tests only. */
#pragma once

#include "wal/wal.h"
#include "wal/wal_format.h"

/* WAL-2: never handed out to commits: checkpoint, running-transactions and end-of-recovery records.
 */
#define WAL_STANDING_BYTES (UINT64_C(128) * 1024)

/* WAL-6. Set under `reserve`; moved (release) by its owner only. 0 = no insertion open. */
struct wal_slot {
    alignas(64) _Atomic lsn_t inserting;
};

/* Who sleeps until WAL_WRITE is dropped (wal_flush.c). */
struct wal_group {
    _Atomic uint32_t word; /* futex: bumped whenever WAL_WRITE is dropped or `failed` set */
    _Atomic uint32_t sleepers;
};

struct wal_shared {
    /* Insertion: guarded by `reserve`, but for the atomics, which are written under it. */
    alignas(64) struct spin reserve;
    uint64_t insert_u;   /* usable position of the next record */
    uint64_t last_u;     /* usable position of the last record; has_last says if there is one */
    uint64_t reserved;   /* bytes promised to processes (WAL-2) */
    lsn_t prev_at_start; /* prev of the first record after wal_start() */
    bool has_last;
    /* Slots [slot_top, …) were never set; only rises. Read by anyone: who must see a slot sees it.
     */
    _Atomic uint32_t slot_top;

    /* End of the last segment made and durable under its name. Written under lock WAL_MAKE
     * (release). */
    alignas(64) _Atomic lsn_t made_upto;
    struct rwlock make;

    /* Writing: guarded by lock WAL_WRITE; the positions are read by anyone (acquire) and only grow.
     */
    alignas(64) struct rwlock write;
    _Atomic lsn_t written;      /* handed to the kernel */
    _Atomic lsn_t durable;      /* WAL-4 */
    _Atomic uint32_t failed;    /* WAL-5: a write or sync failed; set once, under WAL_WRITE */
    _Atomic uint32_t flushes;   /* begun so far; moved under WAL_WRITE */
    _Atomic lsn_t flush_limit;  /* of the last one begun; likewise */
    struct wal_group group[2];  /* who sleeps until flush n is done: group[n % 2] */
    _Atomic uint32_t slot_word; /* futex: bumped when a slot moves while somebody waits for slots */
    _Atomic uint32_t slot_waiters;
    _Atomic uint32_t tli;
    _Atomic uint64_t switched_usec; /* monotonic: when the last segment was finished */

    /* Ring: buffer of the page at address a is (a / 8192) % n_buffers. */
    alignas(64) struct rwlock map; /* guards init_upto and giving a buffer to a page */
    _Atomic lsn_t init_upto;       /* pages below have been given their buffer; page aligned */
};

/* Parts behind the struct, at fixed places (wal_shm_bytes). */
struct wal_slot *wal_slots(const struct wal *w);
uint8_t *wal_ring_page(const struct wal *w, lsn_t page);

/* wal_flush.c, for wal_insert.c: under no lock but below WAL_WRITE, write whole pages below the
 * smallest slot so that the buffers of pages below `upto` become free. Waits for slots if it must.
 */
void wal_write_for_space(struct wal *w, lsn_t upto);
/* Smallest insertion slot, or `none` if all are 0. */
lsn_t wal_slot_min(const struct wal *w, lsn_t none);
/* wal_archive marks for what this process has finished; wakes the archiver. Holds no lock. */
void wal_announce(struct wal *w);
/* After a slot moved: wake who waits for slots. */
void wal_slot_moved(struct wal *w);
