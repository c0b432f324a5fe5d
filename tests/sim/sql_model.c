/* What a database of sim/sql must hold at its n-th transaction: a function of its number and n. */
#include <stdio.h>

#include "sim/sql_sim.h"

/* Content of m at n, made step by step. */
struct content {
    int64_t n;
    int v[KEYS]; /* -1 = no row */
    int len[KEYS];
};

static uint64_t
hash(uint64_t a, uint64_t b, uint64_t c)
{
    struct rng r;

    rng_init(&r, a * UINT64_C(0x9e3779b97f4a7c15) ^ b * UINT64_C(0xc2b2ae3d27d4eb4f) ^ c);
    return rng_u64(&r);
}

uint32_t
n_changes(uint32_t db, int64_t n)
{
    return 1 + (uint32_t) (hash(db, (uint64_t) n, 99) % OPS_MAX);
}

struct change
change_of(uint32_t db, int64_t n, uint32_t j)
{
    uint64_t h = hash(db, (uint64_t) n, j);
    struct change c = { .key = (int) (h % KEYS), .v = (int) (h >> 8 & 0xffff) };

    c.len = (h >> 24 & 15) == 0 ? (int) (h >> 32 & 0x7fff) : (int) (h >> 32 & 0x3ff);
    if ((h >> 28 & 3) == 0)
        c.v = -1;
    return c;
}

static void
content_advance(struct content *c, uint32_t db, int64_t n)
{
    while (c->n < n) {
        c->n++;
        for (uint32_t j = 0; j < n_changes(db, c->n); j++) {
            struct change ch = change_of(db, c->n, j);

            c->v[ch.key] = ch.v;
            c->len[ch.key] = ch.len;
        }
    }
}

void
content_text(uint32_t db, int64_t n, char *p, size_t cap)
{
    struct content c = { .n = 0 };
    size_t at = 0;

    for (int k = 0; k < KEYS; k++)
        c.v[k] = -1;
    content_advance(&c, db, n);
    p[0] = '\0';
    for (int k = 0; k < KEYS; k++) {
        if (c.v[k] >= 0)
            at += (size_t) snprintf(p + at, cap - at, "%d:%d:%d ", k, c.v[k], c.len[k]);
    }
}
