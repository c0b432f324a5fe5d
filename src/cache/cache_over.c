/* The overflow file: frames of second choice, mapped once, given disk space before they are used.
 * Runs in: postmaster (create, reset); preparing writers, write-back (grow); bgwriter (punch).
 * Owns: over_used, over_grown. Source: engine-rules OVER-1. */
#include "cache/cache_over.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fault.h"

int
cache_over_create(const struct cache_cfg *cfg, int dir_fd, int *ret_fd, void **ret_map,
                  struct err *e)
{
    const uint64_t bytes = (uint64_t) cfg->n_overflow * CACHE_FRAME_BYTES;
    CLEANUP(closep) int fd = -1;
    void *map;

    *ret_fd = -1;
    *ret_map = NULL;
    if (cfg->n_overflow == 0)
        return 0;
    fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        fd = openat(dir_fd, "cache_overflow.tmp", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd >= 0 && unlinkat(dir_fd, "cache_overflow.tmp", 0) < 0)
            return ERR_ERRNO(e, "could not remove the name of the overflow file of the cache");
    }
    if (fd < 0)
        return ERR_ERRNO(e, "could not create the overflow file of the cache");
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (map == MAP_FAILED) {
        int r = ERR_ERRNO(e, "could not map the overflow file of the cache");

        err_hint(e, "Lower cache_overflow_limit (now %" PRIu64 " MB).", bytes >> 20);
        return r;
    }
    *ret_fd = TAKE_FD(fd);
    *ret_map = map;
    return 0;
}

int
cache_over_reset(int over_fd, struct err *e)
{
    if (over_fd >= 0 && ftruncate(over_fd, 0) < 0)
        return ERR_ERRNO(e, "could not cut the overflow file of the cache");
    return 0;
}

uint32_t
cache_over_n_free(const struct cache *c)
{
    return atomic_load_explicit(&c->sh->over_grown, memory_order_relaxed) -
           atomic_load_explicit(&c->sh->over_in_use, memory_order_relaxed);
}

uint32_t
cache_over_pop(struct cache *c)
{
    struct cache_shared *sh = c->sh;
    uint32_t word = sh->over_hint / 64;
    uint32_t i, n;

    ASSERT(cache_over_n_free(c) > 0);
    while (c->over_used[word] == UINT64_MAX)
        word++;
    i = word * 64 + (uint32_t) __builtin_ctzll(~c->over_used[word]);
    ASSERT(i < atomic_load_explicit(&sh->over_grown, memory_order_relaxed));
    c->over_used[word] |= BIT(i % 64);
    sh->over_hint = i + 1;
    n = atomic_fetch_add_explicit(&sh->over_in_use, 1, memory_order_relaxed) + 1;
    if (n > atomic_load_explicit(&sh->over_peak, memory_order_relaxed))
        atomic_store_explicit(&sh->over_peak, n, memory_order_relaxed);
    return sh->n_frames + i;
}

void
cache_over_push(struct cache *c, uint32_t frame)
{
    struct cache_shared *sh = c->sh;
    uint32_t i = frame - sh->n_frames;

    ASSERT(c->over_used[i / 64] & BIT(i % 64));
    c->over_used[i / 64] &= ~BIT(i % 64);
    sh->over_hint = MIN(sh->over_hint, i);
    atomic_fetch_sub_explicit(&sh->over_in_use, 1, memory_order_relaxed);
}

/* Frames that fit into whole steps of file. */
static uint32_t
frames_in_steps(const struct cache *c, uint32_t n)
{
    uint64_t bytes = (uint64_t) n * CACHE_FRAME_BYTES;
    uint64_t steps = (bytes + CACHE_OVER_STEP - 1) / CACHE_OVER_STEP;

    return (uint32_t) MIN(steps * CACHE_OVER_STEP / CACHE_FRAME_BYTES, c->sh->n_overflow);
}

/* Disk space for frames [grown, want), and only then `over_grown`. Under over_lock. */
static bool
allocate(struct cache *c, uint32_t grown, uint32_t want, struct err *e)
{
    struct cache_shared *sh = c->sh;
    off_t at = (off_t) grown * CACHE_FRAME_BYTES;
    off_t end = (off_t) want * CACHE_FRAME_BYTES;
    int r = FAULT(CACHE_OVER_GROW);

    if (r == 0 && c->over_fd >= 0 && fallocate(c->over_fd, 0, at, end - at) < 0)
        r = -errno;
    if (r < 0) {
        (void) err_set_errno(e, -r, "could not grow the overflow file of the cache");
        return false;
    }
    /* the free list's lock orders it before any frame that is handed out */
    spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
    atomic_store_explicit(&sh->over_grown, want, memory_order_relaxed);
    spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
    return true;
}

bool
cache_over_grow(struct cache *c, uint32_t need, struct err *e)
{
    struct cache_shared *sh = c->sh;
    uint64_t want;
    uint32_t grown;
    bool ok = false;

    if (sh->n_overflow == 0)
        return false;
    rwlock_take_exclusive(c->self, &sh->over_lock, LOCK_OVER, WAIT_FRAME);
    want = (uint64_t) atomic_load_explicit(&sh->over_in_use, memory_order_relaxed) + need;
    grown = atomic_load_explicit(&sh->over_grown, memory_order_relaxed);
    if (want <= grown)
        ok = true; /* somebody else has */
    else if (want <= sh->n_overflow)
        ok = allocate(c, grown, frames_in_steps(c, (uint32_t) want), e);
    rwlock_drop_exclusive(c->self, &sh->over_lock, LOCK_OVER);
    return ok;
}

/* One more than the highest overflow frame in use. Under the free list's lock. */
static uint32_t
used_end(const struct cache *c)
{
    uint32_t word = (atomic_load_explicit(&c->sh->over_grown, memory_order_relaxed) + 63) / 64;

    while (word > 0 && c->over_used[word - 1] == 0)
        word--;
    if (word == 0)
        return 0;
    return word * 64 - (uint32_t) __builtin_clzll(c->over_used[word - 1]);
}

void
cache_over_punch(struct cache *c)
{
    struct cache_shared *sh = c->sh;
    uint32_t grown = atomic_load_explicit(&sh->over_grown, memory_order_relaxed);
    uint32_t keep;

    if (grown == 0 || !rwlock_try_exclusive(c->self, &sh->over_lock, LOCK_OVER))
        return;
    spin_take(c->self, &sh->free_lock, LOCK_FREE_LIST);
    grown = atomic_load_explicit(&sh->over_grown, memory_order_relaxed);
    keep = frames_in_steps(c, used_end(c));
    keep = MIN(keep, grown);
    atomic_store_explicit(&sh->over_grown, keep, memory_order_relaxed); /* none is handed out now */
    spin_drop(c->self, &sh->free_lock, LOCK_FREE_LIST);
    if (keep < grown && c->over_fd >= 0) {
        off_t from = (off_t) keep * CACHE_FRAME_BYTES;
        off_t to = (off_t) grown * CACHE_FRAME_BYTES;

        /* an error leaves the space in the file: it is used again when we grow */
        (void) fallocate(c->over_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to - from);
    }
    rwlock_drop_exclusive(c->self, &sh->over_lock, LOCK_OVER);
}
