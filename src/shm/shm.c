/* The shared segment. Runs in: postmaster (create, reset), every child (uses the inherited
 * mapping). Owns: the memfd and the mapping. */
#include "shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REGION_ALIGN UINT64_C(4096)

static uint64_t
align_up(uint64_t n)
{
    return (n + REGION_ALIGN - 1) & ~(REGION_ALIGN - 1);
}

/* Header, slots, regions: where each begins. Pure. */
static void
lay_out(struct shm_head *h, uint32_t max_procs, const uint64_t *region_bytes, uint32_t n_regions)
{
    uint64_t at = align_up(sizeof *h) + align_up(max_procs * sizeof(struct slot));

    h->magic = SHM_MAGIC;
    h->max_procs = max_procs;
    h->n_regions = n_regions;
    for (uint32_t i = 0; i < n_regions; i++) {
        h->region[i] = (struct shm_region){ .at = at, .bytes = region_bytes[i] };
        at += align_up(region_bytes[i]);
    }
    h->bytes = at;
}

int
shm_create(struct shm *s, uint32_t max_procs, const uint64_t *region_bytes, uint32_t n_regions,
           struct err *e)
{
    struct shm_head h = { 0 };
    CLEANUP(closep) int fd = memfd_create("pinion", MFD_CLOEXEC);
    void *p;

    ASSERT(n_regions <= SHM_REGIONS_MAX);
    lay_out(&h, max_procs, region_bytes, n_regions);
    if (fd < 0 || ftruncate(fd, (off_t) h.bytes) < 0)
        return ERR_ERRNO(e, "could not create a shared memory segment of %" PRIu64 " bytes",
                         h.bytes);
    p = mmap(NULL, h.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        (void) ERR(e, OUT_OF_MEMORY, "could not map a shared memory segment of %" PRIu64 " bytes",
                   h.bytes);
        err_hint(e, "Reduce shared_buffers or max_connections.");
        return -ERR_OUT_OF_MEMORY;
    }
    memcpy(p, &h, sizeof h);
    *s = (struct shm){ .head = p,
                       .slots = (struct slot *) (void *) ((char *) p + align_up(sizeof h)),
                       .max_procs = max_procs,
                       .n_regions = n_regions,
                       .bytes = h.bytes,
                       .fd = TAKE_FD(fd) };
    memcpy(s->region, h.region, sizeof s->region);
    return 0;
}

int
shm_reset(struct shm *s, struct err *e)
{
    struct shm_head h = { 0 };
    uint64_t bytes[SHM_REGIONS_MAX];

    for (uint32_t i = 0; i < s->n_regions; i++)
        bytes[i] = s->region[i].bytes;
    lay_out(&h, s->max_procs, bytes, s->n_regions);
    /* SHM-1: the pages go, the mappings of all later forks stay the same. */
    if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t) s->bytes) < 0)
        return ERR_ERRNO(e, "could not reset the shared memory segment");
    memcpy(s->head, &h, sizeof h);
    return 0;
}

void *
shm_region(const struct shm *s, uint32_t region_idx)
{
    ASSERT(region_idx < s->n_regions);
    return (char *) s->head + s->region[region_idx].at;
}

void
shm_populate(void *p, uint64_t n)
{
#ifdef MADV_POPULATE_WRITE
    uintptr_t begin = (uintptr_t) p & ~(uintptr_t) (REGION_ALIGN - 1);

    (void) madvise((void *) begin, (uintptr_t) p + n - begin, MADV_POPULATE_WRITE);
#else
    (void) p;
    (void) n;
#endif
}

void
shm_close(struct shm *s)
{
    if (s->head != NULL)
        (void) munmap(s->head, s->bytes);
    if (s->fd >= 0)
        (void) close(s->fd);
    *s = (struct shm){ .fd = -1 };
}
