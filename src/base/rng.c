/* SplitMix64. Runs in every process. Source: Steele, Lea, Flood, "Fast splittable pseudorandom
 * number generators". */
#include "base/rng.h"

#include "base/macro.h"

void
rng_init(struct rng *r, uint64_t seed)
{
    r->state = seed;
}

uint64_t
rng_u64(struct rng *r)
{
    uint64_t z = (r->state += UINT64_C(0x9E3779B97F4A7C15));

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t
rng_below(struct rng *r, uint64_t n)
{
    ASSERT(n > 0);
    return (uint64_t) (((__uint128_t) rng_u64(r) * n) >> 64);
}
