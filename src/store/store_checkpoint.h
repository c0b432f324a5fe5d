/* Checkpoints (CKPT-1 … -6) and the request protocol between whoever asks and the checkpointer
 * (postmaster.md 5.6). */
#pragma once

#include "store/store.h"

enum checkpoint_flag {
    CKPT_SHUTDOWN = 1u << 0,
    CKPT_END_OF_RECOVERY = 1u << 1,
    CKPT_IMMEDIATE = 1u << 2, /* do not spread the writes */
    CKPT_FORCE = 1u << 3,     /* even if nothing was logged since the last one */
    CKPT_WAIT = 1u << 5,      /* asker: return when done */
    CKPT_CAUSE_XLOG = 1u << 7,
    CKPT_CAUSE_TIME = 1u << 8,
};

struct checkpoint_stats {
    uint32_t flags;
    lsn_t redo;
    lsn_t record;
    uint64_t n_pages; /* written */
    uint32_t n_files; /* synced */
    uint32_t n_segs_added, n_segs_removed, n_segs_recycled;
    usec_t start_usec; /* monotonic, as all below */
    usec_t write_usec, sync_usec, longest_sync_usec, total_usec;
    uint64_t distance, estimate; /* bytes of log */
};

/* Called between page writes: sleep as `progress` (0…1, of pages written) asks; return true to stop
 * spreading (an immediate request came, or stop). NULL = no throttle. */
typedef bool (*checkpoint_pace_fn)(void *arg, double progress);

#define STORE_FLAGS_BYTES 120
/* "immediate force wait" */
const char *store_checkpoint_flags_text(uint32_t flags, char p[STORE_FLAGS_BYTES]);

/* Make one checkpoint. 0; CKPT_SKIPPED (1): nothing logged since the last; < 0: it failed cleanly
 * before its record (disk full) and may be tried again. fsync failures are PANICs. Checkpointer, or
 * startup at the end of recovery (flags END_OF_RECOVERY or SHUTDOWN). */
#define CKPT_SKIPPED 1
/* With SHUTDOWN the log's end is durable, no snapshot and no writer is left, and nobody else
 * inserts. */
int store_checkpoint(struct store *st, uint32_t flags, checkpoint_pace_fn pace, void *pace_arg,
                     struct checkpoint_stats *ret, struct err *e);

/* Nothing was logged since the last checkpoint, and none of the flags asks for one all the same. */
bool store_checkpoint_is_idle(const struct store *st, uint32_t flags);

/* Archive recovery: everything that was redone goes to disk, and stays there. Startup, alone. */
int store_restartpoint(struct store *st, struct err *e);

/* Ask the checkpointer: sets flags in shared memory; the caller then wakes it
 * (slot_request(REQ_WORK)). With CKPT_WAIT store_checkpoint_wait() waits for one that *began* after
 * the request; 0, or < 0: it failed (its message in e). Interruptible. */
uint64_t store_checkpoint_ask(struct store *st, uint32_t flags);
int store_checkpoint_wait(struct store *st, uint64_t ticket, struct err *e);
/* Checkpointer: take what was asked (0 = nothing), and report the end of a checkpoint to the
 * waiters. */
uint32_t store_checkpoint_take_request(struct store *st, uint64_t *ret_ticket);
void store_checkpoint_done(struct store *st, uint64_t ticket, int result, const struct err *e);
/* No segment could be made: ask for a checkpoint if it would give some back. Any process. */
void store_checkpoint_for_space(struct store *st);
/* Does the log written since the last redo point ask for one (max_wal_size)? */
bool store_checkpoint_is_due(const struct store *st);
lsn_t store_redo_pointer(const struct store *st);
/* Recovery: the redo pointer of the checkpoint it began from. Never lowers it. */
void store_redo_pointer_set(struct store *st, lsn_t redo);
/* What is asked and not taken yet: a checkpoint under way looks for IMMEDIATE (postmaster.md 5.6
 * P09). */
uint32_t store_checkpoint_peek(const struct store *st);

/* Bgwriter's round: prune, clean candidates up to max_pages, limbo. Returns pages written. */
uint32_t store_bgwriter_round(struct store *st, uint32_t max_pages, struct err *e);
/* Walwriter's round: write and sync what asynchronous commits left (SNAP-7), keep two segments
 * ahead (WAL-3), XID-2's RUNNING_XACTS. */
int store_walwriter_round(struct store *st, struct err *e);
