/* What the store knows of SQLite's b-tree pages: which of their bytes mean nothing. Pure. */
#pragma once

#include <stdbool.h>

#include "base/types.h"

/* Is this page of a database with this header (100 bytes of page 1) and of `size` pages either a
 * b-tree page or not SQLite's type of one in its first byte? Not so for page 1, for pointer maps,
 * and in files so large that an overflow page's link could look like a type. */
bool store_btree_is_told_by_type(const uint8_t *header, pgno_t pgno, pgno_t size);
/* Give the unused bytes of a b-tree page (the gap before its cells, the inside of its free blocks)
 * back the content that they have in `base`: they mean nothing, and what is equal is not logged.
 * Any other page, and what is inconsistent, stays as it is. Both are PAGE_BYTES long. */
void store_btree_keep_unused(uint8_t *page, const uint8_t *base);
