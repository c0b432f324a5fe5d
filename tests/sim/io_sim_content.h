/* What a file of the made-up disk holds: sparse, as on a real one. A log segment is a megabyte of
 * zeros before anything is in it; they cost nothing here. For io_sim*.c only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONTENT_CHUNK = 8192 };

struct content {
    uint8_t **chunk; /* owned, each owned; NULL = a hole: zeros */
    uint64_t n;      /* bytes; zeros follow in the last chunk */
    uint64_t chunks; /* entries of `chunk`, ≥ n / CONTENT_CHUNK rounded up */
};

/* Cut, or grow with a hole. */
void io_sim_content_size(struct content *c, uint64_t n);
/* p = NULL: zeros. Grows as needed. */
void io_sim_content_put(struct content *c, uint64_t off, const uint8_t *p, size_t n);
/* off + n ≤ c->n. */
void io_sim_content_get(const struct content *c, uint64_t off, uint8_t *p, size_t n);
void io_sim_content_copy(struct content *to, const struct content *from);
/* All bytes from the first to the last, in parts; fn returns < 0 to stop, which is returned. */
int io_sim_content_each(const struct content *c, int (*fn)(void *arg, const uint8_t *p, size_t n),
                        void *arg);
void io_sim_content_free(struct content *c);
/* True for n > 0 bytes of zeros. */
bool io_sim_is_zero(const uint8_t *p, size_t n);
