/* Counters of the archiver. Runs in: archiver (writes), backends (read). Owns: nothing. */
#include "shm/archive_stat.h"

#include <stdatomic.h>
#include <string.h>

#define READ_TRIES 1000 /* the writer needs some nanoseconds, unless it was stopped there */

void
archive_count_add(struct archive_count *c, const char *name, usec_t now_real)
{
    uint64_t words[ARCHIVE_STAT_NAME_BYTES / 8] = { 0 };
    size_t n = strlen(name);

    memcpy(words, name, MIN(n, sizeof words - 1));
    (void) atomic_fetch_add_explicit(&c->seq, 1, memory_order_acq_rel);
    for (size_t i = 0; i < ELEMENTSOF(words); i++)
        atomic_store_explicit(&c->last_name[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&c->last_usec, now_real, memory_order_relaxed);
    (void) atomic_fetch_add_explicit(&c->n, 1, memory_order_relaxed);
    (void) atomic_fetch_add_explicit(&c->seq, 1, memory_order_release);
}

struct archive_seen
archive_count_read(const struct archive_count *c)
{
    uint64_t words[ARCHIVE_STAT_NAME_BYTES / 8];
    struct archive_seen ret = { 0 };

    for (int i = 0; i < READ_TRIES; i++) {
        uint32_t before = atomic_load_explicit(&c->seq, memory_order_acquire);

        for (size_t w = 0; w < ELEMENTSOF(words); w++)
            words[w] = atomic_load_explicit(&c->last_name[w], memory_order_relaxed);
        ret.last_usec = atomic_load_explicit(&c->last_usec, memory_order_relaxed);
        ret.n = atomic_load_explicit(&c->n, memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        if (before % 2 == 0 && atomic_load_explicit(&c->seq, memory_order_relaxed) == before)
            break;
    }
    memcpy(ret.last_name, words, sizeof ret.last_name);
    ret.last_name[sizeof ret.last_name - 1] = '\0';
    return ret;
}
