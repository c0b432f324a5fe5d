/* Pages of pg_xact between the ring in shared memory and the files: inside src/store only. */
#pragma once

#include "store/store_xact.h"

/* Make `page`, which no id has been handed out of, the ring's: what was in its place is written and
 * synced first (XID-4). Outside the gate. */
int xact_file_make_ready(struct store *st, uint64_t page, struct err *e);
/* Recovery, alone: bring `page` into the ring from its file. */
int xact_file_bring(struct store *st, uint64_t page, struct err *e);
/* One byte of a page that is not in the ring; a missing page is zeros. */
int xact_file_read_byte(struct store *st, uint64_t page, uint32_t at, uint8_t *ret, struct err *e);
