/* Seeded random numbers for simulations, back-off jitter and draws. Not for secrets (use
 * getrandom()). */
#pragma once

#include <stdint.h>

struct rng {
    uint64_t state;
};

/* Any seed is good. The same seed gives the same numbers for ever (SplitMix64). */
void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
/* Uniform in [0, n); n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);
