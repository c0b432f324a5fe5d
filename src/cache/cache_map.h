/* The hash from (database, file, block) to the chain of its versions. Private to src/cache. */
#pragma once

#include "cache/cache_shared.h"

/* The bucket that the key names. Pure. */
struct cache_bucket *cache_map_bucket(const struct cache *c, const struct cache_key *key);
/* Its spin lock (rank 60): held for some instructions, never over a wait. */
void cache_map_lock(struct cache *c, struct cache_bucket *b);
void cache_map_unlock(struct cache *c, struct cache_bucket *b);
/* Under b's lock; NULL if there is none. */
struct cache_chain *cache_map_find(const struct cache *c, const struct cache_bucket *b,
                                   const struct cache_key *key);
/* Under b's lock: a new chain, without version. Cannot fail: there are as many chains as frames
 * and processes, and a chain has a version or an io. */
struct cache_chain *cache_map_make(struct cache *c, struct cache_bucket *b,
                                   const struct cache_key *key, uint32_t db);
/* Under b's lock: find it, or make it. */
struct cache_chain *cache_map_get(struct cache *c, struct cache_bucket *b,
                                  const struct cache_key *key, uint32_t db);
/* Under b's lock: remove the chain if it has neither version nor io (EVICT-1). */
void cache_map_settle(struct cache *c, struct cache_bucket *b, struct cache_chain *ch);
/* Lock the bucket of the chain at `page_idx`; NULL (nothing locked) if there is no such chain now.
 */
struct cache_chain *cache_map_lock_chain(struct cache *c, uint32_t page_idx,
                                         struct cache_bucket **ret_bucket);
/* CACHE-5: every change but a new head or a new chain; under b's lock. */
void cache_map_bump(struct cache_bucket *b);

static inline struct cache_key
cache_map_key(const struct cache_chain *ch)
{
    return (struct cache_key){
        .oid = atomic_load_explicit(&ch->oid, memory_order_relaxed),
        .rel = atomic_load_explicit(&ch->rel, memory_order_relaxed),
        .block = atomic_load_explicit(&ch->block, memory_order_relaxed),
    };
}

static inline bool
cache_map_same(const struct cache_chain *ch, const struct cache_key *key)
{
    struct cache_key k = cache_map_key(ch);

    return k.block == key->block && k.rel == key->rel && k.oid == key->oid;
}
