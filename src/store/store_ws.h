/* The write set: private copies of the pages a transaction has written. Heap of one process up to
 * heap_max, then a mapped temporary file (sqlite-vfs 5.9). */
#pragma once

#include "base/err.h"
#include "base/types.h"

struct ws_page {
    pgno_t pgno;
    uint8_t *p; /* PAGE_BYTES, owned by the write set */
};

struct ws_chunk;

struct store_ws {
    struct ws_page *pages; /* in the order of writing; ascending after store_ws_sort() */
    uint32_t n, cap;
    uint32_t *map; /* pgno → index + 1, open addressing; map_cap is a power of two */
    uint32_t map_cap;
    struct ws_chunk *chunks; /* newest first; pages come out of it */
    uint32_t chunk_left;     /* unused pages of the newest chunk */
    pgno_t max;              /* highest page, 0 = none */
    uint64_t bytes_max;      /* of staged pages; 0 = no limit */
    uint64_t heap_max;       /* of them in the heap; 0 = all */
    int fd;                  /* of the temporary file, + 1; 0 = none */
    uint64_t file_bytes;     /* its size */
};

/* All zero is an empty set without limit. */
void store_ws_free(struct store_ws *ws);
/* Forget the pages; a little memory is kept for the next transaction. */
void store_ws_clear(struct store_ws *ws);
/* The copy of a page, or NULL. */
const uint8_t *store_ws_find(const struct store_ws *ws, pgno_t pgno);
/* Copy a page in, replacing an earlier copy. 53200 at the limit; 53400, 53100 of the file. */
int store_ws_put(struct store_ws *ws, pgno_t pgno, const void *p, struct err *e);
/* Drop the pages above n. */
void store_ws_truncate(struct store_ws *ws, pgno_t n);
/* Sort by page number. store_ws_put() may follow; it goes on at the end. */
void store_ws_sort(struct store_ws *ws);
