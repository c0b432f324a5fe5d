/* Overflow frames (OVER-1). Private to src/cache. */
#pragma once

#include "cache/cache_shared.h"

/* Give the file disk space for `need` frames that are not in use. False: limit or ENOSPC (e). */
bool cache_over_grow(struct cache *c, uint32_t need, struct err *e);
/* Under the free list's lock: overflow frames at hand; one of them (frame index, asserted); back.
 */
uint32_t cache_over_n_free(const struct cache *c);
uint32_t cache_over_pop(struct cache *c);
void cache_over_push(struct cache *c, uint32_t frame);
/* Give the free tail back to the file system. Bgwriter. */
void cache_over_punch(struct cache *c);
