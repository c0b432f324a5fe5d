/* The records of one commit (WAL-1): put together in buffers of this process and inserted. */
#pragma once

#include "store/store_plan.h"

/* Make st->enc if this process has none yet. Outside the gate: the only allocation. */
int store_encode_ready(struct store *st, struct err *e);
/* Insert the records of t's plan, COMMIT last, whose insertion slot is kept. Cannot fail: an error
 * is a PANIC. Interrupts are held. Returns C, the end of the COMMIT record. */
lsn_t store_encode_insert(struct store_txn *t);
