/* Chains of versions: walk, link, unlink, retire. Private to src/cache. */
#pragma once

#include "cache/cache_map.h"

/* All under the lock of the chain's bucket. A frame is given as ref: index + 1, 0 = none. */

/* Newest version ≤ s. */
uint32_t cache_version_find(const struct cache *c, const struct cache_chain *ch, lsn_t s);
/* LSN of the lowest version; UINT64_MAX if there is none. */
lsn_t cache_version_lowest(const struct cache *c, const struct cache_chain *ch);
/* Fill in a frame that we own for this chain. */
void cache_version_fill(struct cache *c, const struct cache_chain *ch, uint32_t frame, lsn_t lsn);
/* Link what was read from disk at the low end (CACHE-6). */
void cache_version_link_low(struct cache *c, struct cache_bucket *b, struct cache_chain *ch,
                            uint32_t frame);
/* Take out the sole version (EVICT-3, EVICT-6): the caller reaps the frame. */
void cache_version_unlink_sole(struct cache *c, struct cache_bucket *b, struct cache_chain *ch,
                               uint32_t frame);
