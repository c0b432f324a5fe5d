/* Prepare, commit, discard (COMMIT-2 … -6), for store_txn.c. */
#pragma once

#include "store/store.h"

struct store_txn;
struct commit_plan;

/* COMMIT-2 … -4. 0: inside the gate with everything reserved, interrupts held (t->has_held). < 0:
 * nothing is held. */
int store_commit_prepare(struct store_txn *t, struct err *e);
/* COMMIT-5. The snapshot and the header of t become those of the commit. */
void store_commit_publish(struct store_txn *t);
/* COMMIT-6, of a prepared transaction: frames, reservation, gate, long_commit. */
void store_commit_discard(struct store_txn *t);

/* Ready for the next transaction; big buffers are given back. */
void store_plan_reset(struct commit_plan *plan);
void store_plan_free(struct commit_plan *plan);

/* The buffers in which records are put together, one per process. Accepts NULL. */
struct store_encode;
void store_encode_free(struct store_encode *enc);
