/* The write set of a transaction. Runs in backends. Owns: heap, a temporary file and its mappings.
 */
#include "store/store_ws.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/spill.h"

#define CHUNK_PAGES_MIN 8u    /* the first chunk, which is kept */
#define CHUNK_PAGES_MAX 128u  /* 1 MiB */
#define MAP_PAGES_MAX   2048u /* of a mapped chunk: 16 MiB, so that there are few mappings */
#define MAP_MIN         64u
#define MAP_KEPT        4096u /* a bigger map is not kept for the next transaction */

struct ws_chunk {
    struct ws_chunk *next; /* older */
    uint32_t n_pages;
    bool is_mapped;
    uint8_t *bytes;
    alignas(64) uint8_t here[]; /* where bytes points to, unless it is mapped */
};

static uint32_t
hash(pgno_t pgno, uint32_t cap)
{
    return (pgno * UINT32_C(2654435769) >> 7) & (cap - 1);
}

static uint32_t *
slot_of(const struct store_ws *ws, pgno_t pgno)
{
    uint32_t i = hash(pgno, ws->map_cap);

    while (ws->map[i] != 0 && ws->pages[ws->map[i] - 1].pgno != pgno)
        i = (i + 1) & (ws->map_cap - 1);
    return &ws->map[i];
}

static void
fill_map(struct store_ws *ws)
{
    memset(ws->map, 0, ws->map_cap * sizeof *ws->map);
    for (uint32_t i = 0; i < ws->n; i++)
        *slot_of(ws, ws->pages[i].pgno) = i + 1;
}

static void
free_chunks(struct store_ws *ws, struct ws_chunk *keep)
{
    while (ws->chunks != keep) {
        struct ws_chunk *c = ws->chunks;

        ws->chunks = c->next;
        if (c->is_mapped)
            (void) munmap(c->bytes, (size_t) c->n_pages * PAGE_BYTES);
        free(c);
    }
    if (ws->fd != 0 && (keep == NULL || !keep->is_mapped)) {
        (void) close(ws->fd - 1);
        spill_release(ws->file_bytes);
        ws->fd = 0;
        ws->file_bytes = 0;
    }
}

void
store_ws_free(struct store_ws *ws)
{
    free_chunks(ws, NULL);
    free(ws->pages);
    free(ws->map);
    *ws = (struct store_ws){ .bytes_max = ws->bytes_max, .heap_max = ws->heap_max };
}

void
store_ws_clear(struct store_ws *ws)
{
    struct ws_chunk *first = ws->chunks;

    while (first != NULL && first->next != NULL)
        first = first->next;
    free_chunks(ws, first);
    ws->chunk_left = first != NULL ? first->n_pages : 0;
    if (ws->map_cap > MAP_KEPT) {
        free(ws->map);
        free(ws->pages);
        ws->map = NULL;
        ws->pages = NULL;
        ws->map_cap = ws->cap = 0;
    } else if (ws->n > 0) {
        memset(ws->map, 0, ws->map_cap * sizeof *ws->map);
    }
    ws->n = 0;
    ws->max = 0;
}

const uint8_t *
store_ws_find(const struct store_ws *ws, pgno_t pgno)
{
    uint32_t at;

    if (ws->n == 0 || pgno > ws->max)
        return NULL;
    at = *slot_of(ws, pgno);
    return at != 0 ? ws->pages[at - 1].p : NULL;
}

/* Room for one page more in `pages` and `map` (at most half full). */
static bool
make_room(struct store_ws *ws)
{
    if (ws->n == ws->cap) {
        uint32_t cap = MAX(MAP_MIN / 2, ws->cap * 2);
        struct ws_page *pages = realloc(ws->pages, cap * sizeof *pages);

        if (pages == NULL)
            return false;
        ws->pages = pages;
        ws->cap = cap;
    }
    if ((ws->n + 1) * 2 > ws->map_cap) {
        uint32_t cap = MAX(MAP_MIN, ws->map_cap * 2);
        uint32_t *map = realloc(ws->map, cap * sizeof *map);

        if (map == NULL)
            return false;
        ws->map = map;
        ws->map_cap = cap;
        fill_map(ws);
    }
    return true;
}

static int
heap_chunk(struct store_ws *ws, struct ws_chunk **ret, struct err *e)
{
    uint32_t n =
        ws->chunks == NULL ? CHUNK_PAGES_MIN : MIN(CHUNK_PAGES_MAX, ws->chunks->n_pages * 2);
    struct ws_chunk *c = aligned_alloc(
        64, (offsetof(struct ws_chunk, here) + 63 + (size_t) n * PAGE_BYTES) / 64 * 64);

    if (c == NULL)
        return ERR(e, OUT_OF_MEMORY, "could not allocate memory for a changed page");
    *c = (struct ws_chunk){ .n_pages = n, .bytes = c->here };
    *ret = c;
    return 0;
}

/* The next bytes of the temporary file: they have space on disk before they are mapped, so that
 * writing does not meet a full disk (SIGBUS). */
static int
map_file(struct store_ws *ws, uint64_t bytes, uint8_t **ret, struct err *e)
{
    void *map = MAP_FAILED;
    int r = ws->fd != 0 ? ws->fd - 1 : spill_open(e);

    if (r < 0)
        return r;
    ws->fd = r + 1;
    r = spill_charge(bytes, e);
    if (r < 0)
        return r;
    do
        r = posix_fallocate(ws->fd - 1, (off_t) ws->file_bytes, (off_t) bytes);
    while (r == EINTR);
    if (r == 0) {
        map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ws->fd - 1,
                   (off_t) ws->file_bytes);
        r = map == MAP_FAILED ? errno : 0;
    }
    if (r != 0) {
        spill_release(bytes);
        (void) err_set_errno(e, r, "could not extend the temporary file of a transaction");
        return spill_refused(-r, bytes, e);
    }
    ws->file_bytes += bytes;
    *ret = map;
    return 0;
}

static int
mapped_chunk(struct store_ws *ws, struct ws_chunk **ret, struct err *e)
{
    uint32_t n = MAX(CHUNK_PAGES_MAX, MIN(MAP_PAGES_MAX, ws->n / 8));
    CLEANUP(freep) struct ws_chunk *c = aligned_alloc(alignof(struct ws_chunk), sizeof *c);
    int r;

    if (c == NULL)
        return ERR(e, OUT_OF_MEMORY, "could not allocate memory for a changed page");
    *c = (struct ws_chunk){ .n_pages = n, .is_mapped = true };
    r = map_file(ws, (uint64_t) n * PAGE_BYTES, &c->bytes, e);
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

/* No page left: one more chunk. What is behind us is rarely read again before the commit: the
 * kernel keeps it, we do not. */
static int
new_chunk(struct store_ws *ws, struct err *e)
{
    struct ws_chunk *c = NULL;
    int r;

    if (ws->chunks != NULL && ws->chunks->is_mapped)
        (void) madvise(ws->chunks->bytes, (size_t) ws->chunks->n_pages * PAGE_BYTES, MADV_DONTNEED);
    if (ws->heap_max != 0 && (uint64_t) ws->n * PAGE_BYTES >= ws->heap_max)
        r = mapped_chunk(ws, &c, e);
    else
        r = heap_chunk(ws, &c, e);
    if (r < 0)
        return r;
    ASSERT(c != NULL);
    c->next = ws->chunks;
    ws->chunks = c;
    ws->chunk_left = c->n_pages;
    return 0;
}

static int
new_page(struct store_ws *ws, uint8_t **ret, struct err *e)
{
    int r = ws->chunk_left == 0 ? new_chunk(ws, e) : 0;

    if (r == 0)
        *ret = ws->chunks->bytes + (size_t) (ws->chunks->n_pages - ws->chunk_left--) * PAGE_BYTES;
    return r;
}

static int
too_large(const struct store_ws *ws, struct err *e)
{
    int r = ERR(e, OUT_OF_MEMORY, "the transaction has changed too many pages");

    err_detail(e, "It has changed %" PRIu64 " kB, more than the cache could hold.",
               ws->bytes_max / 1024);
    err_hint(e, "Raise shared_buffers or cache_overflow_limit, or make the change in several "
                "transactions.");
    return r;
}

int
store_ws_put(struct store_ws *ws, pgno_t pgno, const void *p, struct err *e)
{
    uint8_t *mine = NULL;
    uint32_t at = ws->n > 0 && pgno <= ws->max ? *slot_of(ws, pgno) : 0;
    int r;

    ASSERT(pgno > 0);
    if (at != 0) {
        memcpy(ws->pages[at - 1].p, p, PAGE_BYTES);
        return 0;
    }
    if (ws->bytes_max != 0 && (uint64_t) (ws->n + 1) * PAGE_BYTES > ws->bytes_max)
        return too_large(ws, e);
    if (!make_room(ws))
        return ERR(e, OUT_OF_MEMORY, "could not allocate memory for a changed page");
    r = new_page(ws, &mine, e);
    if (r < 0)
        return r;
    memcpy(mine, p, PAGE_BYTES);
    ws->pages[ws->n++] = (struct ws_page){ pgno, mine };
    *slot_of(ws, pgno) = ws->n;
    ws->max = MAX(ws->max, pgno);
    return 0;
}

void
store_ws_truncate(struct store_ws *ws, pgno_t n)
{
    uint32_t kept = 0;

    if (ws->max <= n)
        return;
    ws->max = 0;
    for (uint32_t i = 0; i < ws->n; i++)
        if (ws->pages[i].pgno <= n) {
            ws->max = MAX(ws->max, ws->pages[i].pgno);
            ws->pages[kept++] = ws->pages[i];
        }
    ws->n = kept; /* the bytes of the others are free again with the whole set */
    fill_map(ws);
}

static int
compare(const void *a, const void *b)
{
    pgno_t x = ((const struct ws_page *) a)->pgno;
    pgno_t y = ((const struct ws_page *) b)->pgno;

    return (x > y) - (x < y);
}

void
store_ws_sort(struct store_ws *ws)
{
    bool is_sorted = true;

    for (uint32_t i = 1; i < ws->n && is_sorted; i++)
        is_sorted = ws->pages[i - 1].pgno < ws->pages[i].pgno;
    if (is_sorted)
        return;
    qsort(ws->pages, ws->n, sizeof *ws->pages, compare);
    fill_map(ws);
}
