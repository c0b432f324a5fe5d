/* The segment as a whole. Runs in: postmaster (create, reset), every child (inherited mapping).
 * Owns: the mapping, the eventfd, the overflow file. Source: SHM-1, OVER-1. */
#include "proc/segment.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fdlist.h"
#include "proc/segment_int.h"

#define MAX_DEAD_END 64u
#define MAX_WORKERS  3u

/* ---- pools ---- */
enum pool { POOL_ONE, POOL_CLIENTS, POOL_WORKERS, POOL_DEAD_ENDS };

/* clang-format off */
static const struct {
    enum pool pool;
    bool is_attached;
} kinds[CHILD_KINDS] = {
#define ATTACHED true
#define DETACHED false
#define CHILD_KIND(id, role, description, main, max, runs, attaches, exit0, exit1, phase, life) \
    [CHILD_##id] = { POOL_##max, attaches },
#include "tbl/child_kinds.def"
#undef CHILD_KIND
#undef ATTACHED
#undef DETACHED
};
/* clang-format on */

static unsigned
pool_size(unsigned max_connections, enum child_kind kind)
{
    switch (kinds[kind].pool) {
    case POOL_ONE:
        return 1;
    case POOL_CLIENTS:
        return 2 * max_connections; /* those not yet authenticated need one as well */
    case POOL_WORKERS:
        return MAX_WORKERS;
    case POOL_DEAD_ENDS:
        return MAX_DEAD_END;
    }
    return 0;
}

unsigned
segment_pool(const struct segment *seg, enum child_kind kind, int *ret_first_slot)
{
    int first = 0;

    *ret_first_slot = -1;
    if (!kinds[kind].is_attached)
        return pool_size(seg->max_connections, kind);
    for (enum child_kind k = 0; k < kind; k++)
        if (kinds[k].is_attached)
            first += (int) pool_size(seg->max_connections, k);
    *ret_first_slot = first;
    return pool_size(seg->max_connections, kind);
}

static uint32_t
count_slots(unsigned max_connections)
{
    uint32_t n = 0;

    for (enum child_kind k = 0; k < CHILD_KINDS; k++)
        n += kinds[k].is_attached ? pool_size(max_connections, k) : 0;
    return n;
}

/* ---- making ---- */
int
segment_alloc(unsigned max_connections, struct segment **ret, struct err *e)
{
    struct segment *seg = calloc(1, sizeof *seg);

    if (seg == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    seg->shm.fd = -1;
    seg->over_fd = -1;
    seg->max_connections = max_connections;
    seg->max_procs = count_slots(max_connections);
    seg->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (seg->wake_fd < 0) {
        free(seg);
        return ERR_ERRNO(e, "could not create event descriptor");
    }
    fd_inherit(seg->wake_fd, "children wake the postmaster");
    *ret = seg;
    return 0;
}

int
segment_map(struct segment *seg, const uint64_t *region_bytes, uint32_t n_regions, struct err *e)
{
    int r = shm_create(&seg->shm, seg->max_procs, region_bytes, n_regions, e);

    if (r == 0)
        seg->page = shm_region(&seg->shm, REGION_PAGE);
    return r;
}

int
segment_create_bare(unsigned max_connections, struct segment **ret, struct err *e)
{
    struct segment *seg;
    uint64_t bytes;
    int r = segment_alloc(max_connections, &seg, e);

    if (r < 0)
        return r;
    bytes = segment_page_bytes(seg);
    r = segment_map(seg, &bytes, 1, e);
    if (r < 0) {
        segment_free(seg);
        return r;
    }
    *ret = seg;
    return 0;
}

int
segment_reset(struct segment *seg, struct err *e)
{
    int r = shm_reset(&seg->shm, e);

    if (r == 0 && seg->over_fd >= 0)
        r = seg->over_reset(seg->over_fd, e);
    return r;
}

void
segment_free(struct segment *seg)
{
    if (seg == NULL)
        return;
    shm_close(&seg->shm);
    if (seg->over_map != NULL)
        (void) munmap(seg->over_map, (size_t) seg->cache_cfg.n_overflow * CACHE_FRAME_BYTES);
    if (seg->over_fd >= 0) {
        fd_disinherit(seg->over_fd);
        closep(&seg->over_fd);
    }
    fd_disinherit(seg->wake_fd);
    closep(&seg->wake_fd);
    free(seg);
}

/* ---- reading and telling ---- */
struct slot *
segment_slot(const struct segment *seg, int slot_idx)
{
    ASSERT(slot_idx >= 0 && (uint32_t) slot_idx < seg->max_procs);
    return &seg->shm.slots[slot_idx];
}

struct shm_status *
segment_status(const struct segment *seg)
{
    return &seg->shm.head->status;
}

struct segment_page *
segment_page(const struct segment *seg)
{
    return seg->page;
}

uint64_t
segment_page_bytes(const struct segment *seg)
{
    return sizeof *seg->page + seg->max_procs * sizeof seg->page->logged_in[0];
}

void
segment_tell(const struct segment *seg, uint32_t messages)
{
    uint64_t one = 1;
    ssize_t n;

    (void) atomic_fetch_or_explicit(&seg->page->messages, messages, memory_order_release);
    n = write(seg->wake_fd, &one, sizeof one);
    (void) n; /* full means that the postmaster will wake anyhow */
}

int
segment_wake_fd(const struct segment *seg)
{
    return seg->wake_fd;
}

uint32_t
segment_take_messages(const struct segment *seg)
{
    uint64_t count;
    ssize_t n = read(seg->wake_fd, &count, sizeof count);

    (void) n; /* empty: the bits count */
    return atomic_exchange_explicit(&seg->page->messages, 0, memory_order_acquire);
}
