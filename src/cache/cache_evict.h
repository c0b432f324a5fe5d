/* Frames: free lists, pins against reuse, the clock. Private to src/cache. */
#pragma once

#include "cache/cache_shared.h"

/* Unlinked frames, at most CACHE_BATCH: fence, one scan of all pins; unpinned → free, pinned →
 * limbo (EVICT-1). No lock held. */
void cache_frames_reap(struct cache *c, const uint32_t *frames, uint32_t n);
/* What is in limbo and no longer pinned → free. Looks at up to CACHE_BATCH. */
void cache_limbo_drain(struct cache *c);
/* A frame for a reader (EVICT-2): free list, 64 steps of the clock; else CACHE_NONE. */
uint32_t cache_frame_for_reader(struct cache *c);
/* A frame for EVICT-4's saving, from the reserve if need be (EVICT-5); else CACHE_NONE. */
uint32_t cache_frame_for_saving(struct cache *c);
