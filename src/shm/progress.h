/* How far the startup process and the checkpoint under way have got, for people and for the
 * postmaster's patience. Single relaxed atomics: each is right by itself, two of them may be of
 * different moments. */
#pragma once

#include <stdatomic.h>

#include "base/types.h"

/* clang-format off */
enum startup_pass {
    STARTUP_NOT_BEGUN,
#define STARTUP_PASS(id, name, what) STARTUP_##id,
#include "tbl/startup_passes.def"
#undef STARTUP_PASS
    STARTUP_DONE,
    STARTUP_PASSES
};

enum checkpoint_phase {
    CHECKPOINT_NONE,
#define CHECKPOINT_PHASE(id, name) CHECKPOINT_PHASE_##id,
#include "tbl/checkpoint_phases.def"
#undef CHECKPOINT_PHASE
    CHECKPOINT_PHASES
};
/* clang-format on */

/* Written by the startup process; kept until the memory is reset. */
struct shm_startup {
    _Atomic int32_t pid; /* 0: it has left */
    _Atomic uint32_t pass;
    _Atomic uint64_t began_usec[STARTUP_PASSES]; /* monotonic, by pass; 0 = not yet */
    _Atomic uint64_t blocks_total;               /* verify: pages of all files to be looked at */
    _Atomic uint64_t blocks_done;
    _Atomic uint32_t n_refused; /* databases found damaged, which take no connections */
};

/* Written by whoever makes the checkpoint. */
struct shm_checkpoint {
    _Atomic int32_t pid;
    _Atomic uint32_t phase;
    _Atomic uint64_t began_usec;      /* real time */
    _Atomic uint64_t began_mono_usec; /* monotonic */
    _Atomic uint64_t redo_lsn;        /* 0 until it is taken */
    _Atomic uint64_t buffers_total;   /* pages owed */
    _Atomic uint64_t buffers_done;    /* of them looked at: written, by us or by somebody else */
    _Atomic uint64_t buffers_written; /* of them by us */
    _Atomic uint64_t files_total;     /* to be synced */
    _Atomic uint64_t files_synced;
};

/* "redo"; "done" behind the last. "" for what is out of range. */
const char *startup_pass_name(uint32_t pass);
/* "writing buffers" */
const char *checkpoint_phase_name(uint32_t phase);

/* The startup process goes on to a pass, or is done. */
void startup_pass_begin(struct shm_startup *s, enum startup_pass pass);
/* What a pass took so far, or altogether when the next one that ran has begun; 0: it did not run.
 */
usec_t startup_pass_usec(const struct shm_startup *s, enum startup_pass pass, usec_t now);
