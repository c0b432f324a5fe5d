/* The hash of chains: find, make, remove. Runs in: every attached process. Owns: buckets, free
 * chains. Source: engine-rules CACHE-1, CACHE-5. */
#include "cache/cache_map.h"

struct cache_bucket *
cache_map_bucket(const struct cache *c, const struct cache_key *key)
{
    uint64_t h = ((uint64_t) key->oid << 32 | key->rel) * UINT64_C(0x9E3779B97F4A7C15);

    h = (h ^ (h >> 29) ^ key->block) * UINT64_C(0xBF58476D1CE4E5B9);
    h ^= h >> 32;
    return &c->bucket[h & (c->sh->n_buckets - 1)];
}

void
cache_map_lock(struct cache *c, struct cache_bucket *b)
{
    spin_take(c->self, &b->lock, LOCK_BUCKET);
}

void
cache_map_unlock(struct cache *c, struct cache_bucket *b)
{
    spin_drop(c->self, &b->lock, LOCK_BUCKET);
}

void
cache_map_bump(struct cache_bucket *b)
{
    uint64_t seq = atomic_load_explicit(&b->seq, memory_order_relaxed);

    /* release: pairs with the second acquire of a look-up without the lock (CACHE-5) */
    atomic_store_explicit(&b->seq, seq + 1, memory_order_release);
}

struct cache_chain *
cache_map_find(const struct cache *c, const struct cache_bucket *b, const struct cache_key *key)
{
    uint32_t ref = atomic_load_explicit(&b->head, memory_order_relaxed);

    while (ref != 0) {
        struct cache_chain *ch = &c->chain[ref - 1];

        if (cache_map_same(ch, key))
            return ch;
        ref = atomic_load_explicit(&ch->next, memory_order_relaxed);
    }
    return NULL;
}

static struct cache_chain *
chain_alloc(struct cache *c)
{
    struct cache_shared *sh = c->sh;
    struct cache_chain *ch;

    spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
    if (sh->chain_first != 0) {
        ch = &c->chain[sh->chain_first - 1];
        sh->chain_first = atomic_load_explicit(&ch->next, memory_order_relaxed);
    } else {
        uint32_t n = atomic_load_explicit(&sh->n_chain_fresh, memory_order_relaxed);

        ASSERT(n < sh->n_chains);
        ch = &c->chain[n];
        /* release: who scans all chains sees this one zeroed */
        atomic_store_explicit(&sh->n_chain_fresh, n + 1, memory_order_release);
    }
    spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
    return ch;
}

struct cache_chain *
cache_map_make(struct cache *c, struct cache_bucket *b, const struct cache_key *key, uint32_t db)
{
    struct cache_chain *ch = chain_alloc(c);
    uint32_t first = atomic_load_explicit(&b->head, memory_order_relaxed);

    atomic_store_explicit(&ch->oid, key->oid, memory_order_relaxed);
    atomic_store_explicit(&ch->rel, key->rel, memory_order_relaxed);
    atomic_store_explicit(&ch->block, key->block, memory_order_relaxed);
    atomic_store_explicit(&ch->db, db, memory_order_relaxed);
    atomic_store_explicit(&ch->head, 0, memory_order_relaxed);
    atomic_store_explicit(&ch->io, CACHE_IO_NONE, memory_order_relaxed);
    atomic_store_explicit(&ch->disk_lsn, 0, memory_order_relaxed);
    atomic_store_explicit(&ch->next, first, memory_order_relaxed);
    atomic_store_explicit(&b->head, (uint32_t) (ch - c->chain) + 1, memory_order_release);
    atomic_fetch_add_explicit(&c->db[db].n_chains, 1, memory_order_relaxed);
    return ch;
}

struct cache_chain *
cache_map_get(struct cache *c, struct cache_bucket *b, const struct cache_key *key, uint32_t db)
{
    struct cache_chain *ch = cache_map_find(c, b, key);

    return ch != NULL ? ch : cache_map_make(c, b, key, db);
}

void
cache_map_settle(struct cache *c, struct cache_bucket *b, struct cache_chain *ch)
{
    struct cache_shared *sh = c->sh;
    uint32_t ref = (uint32_t) (ch - c->chain) + 1;
    uint32_t next = atomic_load_explicit(&ch->next, memory_order_relaxed);
    _Atomic uint32_t *link = &b->head;
    uint32_t db = atomic_load_explicit(&ch->db, memory_order_relaxed);

    if (atomic_load_explicit(&ch->head, memory_order_relaxed) != 0 ||
        atomic_load_explicit(&ch->io, memory_order_relaxed) != CACHE_IO_NONE)
        return;
    while (atomic_load_explicit(link, memory_order_relaxed) != ref) {
        uint32_t at = atomic_load_explicit(link, memory_order_relaxed);

        ASSERT(at != 0);
        link = &c->chain[at - 1].next;
    }
    atomic_store_explicit(link, next, memory_order_relaxed);
    cache_map_bump(b);
    atomic_fetch_sub_explicit(&c->db[db].n_chains, 1, memory_order_relaxed);
    spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
    atomic_store_explicit(&ch->next, sh->chain_first, memory_order_relaxed);
    sh->chain_first = ref;
    spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
}

struct cache_chain *
cache_map_lock_chain(struct cache *c, uint32_t page_idx, struct cache_bucket **ret_bucket)
{
    struct cache_chain *ch = &c->chain[page_idx];

    if (page_idx >= atomic_load_explicit(&c->sh->n_chain_fresh, memory_order_acquire))
        return NULL;
    for (;;) {
        struct cache_key key = cache_map_key(ch);
        struct cache_bucket *b = cache_map_bucket(c, &key);

        cache_map_lock(c, b);
        if (cache_map_find(c, b, &key) == ch) {
            *ret_bucket = b;
            return ch;
        }
        cache_map_unlock(c, b);
        if (cache_map_same(ch, &key))
            return NULL; /* it is not in the bucket that its key names: free */
    }
}
