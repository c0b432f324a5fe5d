/* The plan of a commit: which pages are logged how (COMMIT-2, COMMIT-3), and how much log that
 * takes (COMMIT-4). */
#pragma once

#include "store/store_txn_impl.h"

#define PLAN_BLOCKS       32u   /* blocks of one Generic record (WAL-1) */
#define PLAN_IMAGE_HEADER 5u    /* what an image adds to a block's header in the log */
#define PLAN_DELTA_MAX    4095u /* bytes; a longer delta is an image (COMMIT-3) */
#define PLAN_LONG_BYTES   (UINT64_C(4) << 20) /* counted as images: a long commit (COMMIT-4) */

/* Make the list of pages from the frozen write set: base versions under S, deltas, zero pages, the
 * riders. No frames yet. Reads; may be interrupted. */
int store_plan_make(struct store_txn *t, struct err *e);
/* Take all frames or none and fill them: may wait (COMMIT-2). */
int store_plan_take_frames(struct store_txn *t, struct err *e);
/* Inside the gate: delta or image of each page by the redo pointer; log_bytes. Pure. */
void store_plan_choose(struct commit_plan *plan, lsn_t redo);
/* Counted as images, is it a long commit? */
bool store_plan_is_long(const struct commit_plan *plan);
