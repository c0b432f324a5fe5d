/* The commit gate (CKPT-1): commits are inside it from choosing delta or image until they are
 * published; the checkpointer closes it for an instant, so that no commit straddles its redo point
 * or its record. */
#pragma once

#include "shm/lock.h"

/* Valid when zeroed. */
struct store_gate {
    _Atomic uint32_t closed; /* 1 = nobody may enter; futex; written by the holder of long_commit */
    _Atomic uint32_t left;   /* futex: bumped by who leaves, or backs out, while it is closed */
    struct fair long_commit; /* rank LOCK_LONG_COMMIT (COMMIT-4, CKPT-1) */
};
/* One per process: who is inside. */
struct store_gate_flag {
    alignas(64) _Atomic uint32_t in_gate;
};

struct store_gate_ref {
    struct store_gate *gate;
    struct store_gate_flag *flags; /* [n] */
    struct fair_wait *waits;       /* [n]: for long_commit */
    uint32_t n;
};

/* Enter; waits while it is closed, which an interrupt may end (the caller is then outside). 0 or
 * < 0. */
int store_gate_enter(const struct store_gate_ref *g, struct self *self, struct err *e);
void store_gate_leave(const struct store_gate_ref *g, struct self *self);
/* long_commit: taken before entering, by commits of more than 4 MB; interrupts are held by the
 * caller. */
void store_gate_take_long(const struct store_gate_ref *g, struct self *self);
void store_gate_drop_long(const struct store_gate_ref *g, struct self *self);
/* Close: takes long_commit, then waits until everybody has left. Interrupts are held by the
 * caller. Checkpointer. */
void store_gate_close(const struct store_gate_ref *g, struct self *self);
void store_gate_open(const struct store_gate_ref *g, struct self *self);
