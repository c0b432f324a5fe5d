/* The segment put together: sizes, regions, the postmaster's page, and who gets which slot.
 *
 * The postmaster makes it before its first fork and resets it after a crash (SHM-1); it never looks
 * beyond the postmaster's page, the slots and the status block, and takes no lock. The regions of
 * log, cache and store are filled by the startup process (attach.h). */
#pragma once

#include <stdatomic.h>

#include "proc/mains.h"
#include "shm/shm.h"

struct conf;

/* Bits of segment_page.messages: a child's word to the postmaster. */
enum segment_message {
    MSG_REDO_STARTED = 1u << 0, /* startup */
    MSG_CONSISTENT = 1u << 1,   /* startup (standby) */
    MSG_WAL_IS_SHUT = 1u << 2,  /* checkpointer: the shutdown checkpoint is done, or none was due */
    MSG_CHECKPOINT = 1u << 3,   /* checkpointer: one began or ended */
    MSG_WORKER = 1u << 5,       /* autovacuum launcher: a worker for `worker_db` */
    MSG_PROGRESS = 1u << 4,     /* startup, checkpointer: the status block has moved */
    MSG_SETTLED = 1u << 6,      /* backend: waits for its client, while `newcomers_wait` */
};

/* Bits of segment_page.checkpoint_asked. */
#define SEGMENT_CHECKPOINT_FAST   1u /* no throttling */
#define SEGMENT_CHECKPOINT_SPREAD 2u

/* Region 0. Single atomics; read by the postmaster with range checks. */
struct segment_page {
    _Atomic uint32_t messages;        /* children: fetch_or release; postmaster: exchange acquire */
    _Atomic uint32_t quit_reason;     /* postmaster, before QUIT is sent: enum quit_reason */
    _Atomic uint32_t startup_verdict; /* startup, before it fails: exit code of the server (65 data,
                                         74 I/O, disk full, 78 settings), 0 = 1 as always */
    _Atomic uint32_t has_shutdown_checkpoint; /* checkpointer, before MSG_WAL_IS_SHUT */
    /* Checkpoints asked by the postmaster: it ORs bits in and wakes the checkpointer,
     * which takes them (exchange). The one asked for is the first with a number above `started`, as
     * read before the OR. */
    _Atomic uint32_t checkpoint_asked;
    _Atomic uint64_t checkpoint_started; /* checkpointer: counts */
    _Atomic uint64_t checkpoint_done;    /* checkpointer: := started, after the end of each */
    _Atomic uint64_t checkpoint_failed;  /* checkpointer: `started` of the last that failed */
    _Atomic uint32_t worker_db; /* autovacuum launcher: oid, then MSG_WORKER; postmaster: 0 when a
                                   worker was started, else it is asked again */
    _Atomic uint32_t newcomers_wait; /* postmaster: clients wait for a backend that has not logged
                                        in to sleep */
    _Atomic uint32_t files_locked;   /* checkpointer, once it holds every database file (FILE-8) */
    /* By slot: who is logged in there, role << 32 | database, 0 = nobody. Its backend. Close
     * together, because each login counts them (the slots would be a page each). */
    _Atomic uint64_t logged_in[];
};

/* Make and map it for the settings in `conf` and the control file under data_dir (-1 < 0: 53200,
 * XX001 for a bad control file). Takes nothing. */
int segment_create(const struct conf *conf, const char *data_dir, struct segment **ret,
                   struct err *e);
/* A segment without log, cache and store, for tests of the postmaster. */
int segment_create_bare(unsigned max_connections, struct segment **ret, struct err *e);
/* All zero again; only when no child is left. */
int segment_reset(struct segment *seg, struct err *e);
/* Unmap and free. Accepts NULL. */
void segment_free(struct segment *seg);

/* How many children of a kind there may be, and the first slot of its pool (-1: no slots). */
unsigned segment_pool(const struct segment *seg, enum child_kind kind, int *ret_first_slot);
struct slot *segment_slot(const struct segment *seg, int slot_idx);
struct shm_status *segment_status(const struct segment *seg);
struct segment_page *segment_page(const struct segment *seg);
/* Bytes of it. */
uint64_t segment_page_bytes(const struct segment *seg);

/* Child → postmaster: set bits and wake it. Any child that has the segment. */
void segment_tell(const struct segment *seg, uint32_t messages);
/* The postmaster's end: the eventfd to watch, and what was said since the last call. */
int segment_wake_fd(const struct segment *seg);
uint32_t segment_take_messages(const struct segment *seg);
