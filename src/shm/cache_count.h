/* Names of what the page cache counts: the table tbl/cache_counts.def. */
#pragma once

/* clang-format off */
enum cache_count {
#define CACHE_COUNT(id, name, comment) CACHE_COUNT_##id,
#include "tbl/cache_counts.def"
#undef CACHE_COUNT
    CACHE_COUNTS
};
/* clang-format on */
