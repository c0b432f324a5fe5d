/* Contents of the made-up disk's files, in chunks; holes are zeros. Runs in tests. Owns: chunks. */
#include "sim/io_sim_content.h"

#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

static const uint8_t hole[CONTENT_CHUNK];

bool
io_sim_is_zero(const uint8_t *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static uint64_t
chunks_for(uint64_t n)
{
    return (n + CONTENT_CHUNK - 1) / CONTENT_CHUNK;
}

static void
reserve(struct content *c, uint64_t chunks)
{
    uint64_t want = MAX(chunks, c->chunks * 2);
    uint8_t **p;

    if (chunks <= c->chunks)
        return;
    p = realloc(c->chunk, want * sizeof *p);
    ASSERT(p != NULL);
    memset(p + c->chunks, 0, (want - c->chunks) * sizeof *p);
    c->chunk = p;
    c->chunks = want;
}

void
io_sim_content_size(struct content *c, uint64_t n)
{
    size_t tail = n % CONTENT_CHUNK;

    reserve(c, chunks_for(n));
    for (uint64_t i = chunks_for(n); i < chunks_for(c->n); i++) {
        free(c->chunk[i]);
        c->chunk[i] = NULL;
    }
    if (n < c->n && tail > 0 && c->chunk[n / CONTENT_CHUNK] != NULL)
        memset(c->chunk[n / CONTENT_CHUNK] + tail, 0, CONTENT_CHUNK - tail);
    c->n = n;
}

/* One part within one chunk. */
static void
put_part(uint8_t **chunk, size_t at, const uint8_t *p, size_t n)
{
    bool zero = p == NULL || io_sim_is_zero(p, n);

    if (*chunk == NULL && zero)
        return;
    if (*chunk == NULL) {
        *chunk = n == CONTENT_CHUNK ? malloc(CONTENT_CHUNK) : calloc(1, CONTENT_CHUNK);
        ASSERT(*chunk != NULL);
    }
    if (zero)
        memset(*chunk + at, 0, n);
    else
        memcpy(*chunk + at, p, n);
}

void
io_sim_content_put(struct content *c, uint64_t off, const uint8_t *p, size_t n)
{
    if (n > 0 && off + n > c->n)
        io_sim_content_size(c, off + n);
    while (n > 0) {
        size_t at = off % CONTENT_CHUNK;
        size_t part = MIN(n, CONTENT_CHUNK - at);

        put_part(&c->chunk[off / CONTENT_CHUNK], at, p, part);
        p = p == NULL ? NULL : p + part;
        off += part;
        n -= part;
    }
}

void
io_sim_content_get(const struct content *c, uint64_t off, uint8_t *p, size_t n)
{
    while (n > 0) {
        const uint8_t *chunk = c->chunk[off / CONTENT_CHUNK];
        size_t at = off % CONTENT_CHUNK;
        size_t part = MIN(n, CONTENT_CHUNK - at);

        memcpy(p, (chunk == NULL ? hole : chunk) + at, part);
        p += part;
        off += part;
        n -= part;
    }
}

void
io_sim_content_copy(struct content *to, const struct content *from)
{
    io_sim_content_size(to, 0);
    io_sim_content_size(to, from->n);
    for (uint64_t i = 0; i < chunks_for(from->n); i++)
        if (from->chunk[i] != NULL)
            put_part(&to->chunk[i], 0, from->chunk[i], CONTENT_CHUNK);
}

int
io_sim_content_each(const struct content *c, int (*fn)(void *arg, const uint8_t *p, size_t n),
                    void *arg)
{
    int r = 0;

    for (uint64_t off = 0; off < c->n && r >= 0; off += CONTENT_CHUNK) {
        const uint8_t *chunk = c->chunk[off / CONTENT_CHUNK];

        r = fn(arg, chunk == NULL ? hole : chunk, MIN(c->n - off, (uint64_t) CONTENT_CHUNK));
    }
    return r;
}

void
io_sim_content_free(struct content *c)
{
    io_sim_content_size(c, 0);
    free(c->chunk);
    *c = (struct content){ 0 };
}
