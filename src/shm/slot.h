/* One slot per process attached to the segment: who it is, what was asked of it, what it does.
 *
 * The cache, the log and the store keep their per-process words (pins, snapshots, insertion slot,
 * gate flag) in arrays of their own, indexed by the same `procno`. Slots are given out by the
 * postmaster before the fork; a child only fills its own. */
#pragma once

#include "base/beat.h"
#include "base/macro.h"
#include "base/types.h"

/* Bits of slot.request. Set by others, cleared by the owner when it has acted. */
enum slot_request {
    REQ_CANCEL = 1u << 0,    /* 57014: cancel request of a client, or pg_cancel_backend */
    REQ_TERMINATE = 1u << 1, /* 57P01: end the session */
    REQ_RELOAD = 1u << 2,    /* read the configuration again */
    REQ_STOP = 1u << 3,      /* auxiliary process: finish and exit 0 */
    REQ_SNAPSHOT = 1u << 4,  /* one of its snapshots was cancelled (SNAP-6): look at the entries */
    REQ_WORK =
        1u << 5, /* auxiliary process: there is something to do (checkpoint asked, log to write) */
    REQ_FINISH = 1u << 6, /* checkpointer: make the shutdown checkpoint, then exit */
};

enum slot_state { SLOT_FREE, SLOT_STARTING, SLOT_ATTACHED };

/* What a backend does; PostgreSQL's words are in slot_activity_name(). */
enum slot_activity {
    ACTIVITY_STARTING,
    ACTIVITY_IDLE,
    ACTIVITY_ACTIVE,
    ACTIVITY_IDLE_IN_TRANSACTION,
    ACTIVITY_IDLE_IN_FAILED_TRANSACTION,
};

#define SLOT_NAME_BYTES  64
#define SLOT_QUERY_BYTES 1024

/* What a VACUUM is at, also autovacuum's. */
enum slot_vacuum { VACUUM_NONE, VACUUM_INIT, VACUUM_HEAP };

/* Guards: `state`, `pid`, `kind`, `cancel_key`, `started_usec`: written before ATTACHED is stored
 * (release). The words marked @ are single atomics. Texts: written by the owner between two bumps
 * of `text_seq` (odd = being written); readers retry. */
struct slot {
    alignas(64) _Atomic uint32_t state; /* @ enum slot_state */
    _Atomic uint32_t
        request; /* @ bits of enum slot_request; also the futex word of the owner's sleeps */
    _Atomic uint32_t wake;       /* @ futex word: bumped by whoever wakes this process */
    _Atomic uint32_t wait_event; /* @ enum wait_event */
    _Atomic uint32_t activity;   /* @ enum slot_activity */
    _Atomic int32_t pid;         /* @ */
    uint32_t kind;               /* row of child_kinds.def */
    _Atomic uint32_t db_oid;     /* @ 0 = none yet */
    _Atomic uint32_t role_oid;   /* @ */
    uint64_t cancel_key; /* BackendKeyData's secret (low 32 bits on the wire in protocol 3.0) */
    _Atomic uint64_t started_usec;      /* @ real time */
    _Atomic uint64_t xact_start_usec;   /* @ real time, 0 = none */
    _Atomic uint64_t query_start_usec;  /* @ real time */
    _Atomic uint64_t state_change_usec; /* @ real time */
    struct beat beat;                   /* watchdog and time-out extension */
    _Atomic uint32_t vacuum;            /* @ enum slot_vacuum */
    _Atomic uint64_t vacuum_total;      /* @ free pages that it gives back */
    _Atomic uint64_t vacuum_done;       /* @ of them so far */
    _Atomic uint32_t text_seq;          /* @ seqlock of the texts below */
    char role_name[SLOT_NAME_BYTES];
    char db_name[SLOT_NAME_BYTES];
    char application_name[SLOT_NAME_BYTES];
    char client_addr[SLOT_NAME_BYTES];
    char query[SLOT_QUERY_BYTES];
};

/* Ask `s` for something and wake it, wherever it sleeps. Any process, no lock. */
void slot_request(struct slot *s, uint32_t bits);
/* Wake the owner without a request. */
void slot_wake(struct slot *s);
/* Owner only: take away bits it has acted on. */
void slot_request_clear(struct slot *s, uint32_t bits);
/* Owner only: set one of the texts (cut to its size). */
void slot_set_text(struct slot *s, char *field, size_t field_bytes, const char *text, size_t n);
/* A consistent copy of all texts; false if the owner kept writing. */
bool slot_copy(const struct slot *s, struct slot *ret);
const char *slot_activity_name(enum slot_activity a);
