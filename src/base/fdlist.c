/* The allow-list of descriptors that survive a fork. Runs in: postmaster, and each child once.
 * Owns: the list. */
#include "base/fdlist.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

static struct {
    int fd;
    const char *why;
} kept[FDLIST_MAX];
static size_t n_kept;

void
fd_inherit(int fd, const char *why)
{
    ASSERT(fd >= 0);
    for (size_t i = 0; i < n_kept; i++) {
        if (kept[i].fd == fd) {
            kept[i].why = why;
            return;
        }
    }
    ASSERT(n_kept < FDLIST_MAX);
    kept[n_kept].fd = fd;
    kept[n_kept].why = why;
    n_kept++;
}

void
fd_disinherit(int fd)
{
    for (size_t i = 0; i < n_kept; i++) {
        if (kept[i].fd == fd) {
            kept[i] = kept[--n_kept];
            return;
        }
    }
}

void
fdlist_forget(void)
{
    n_kept = 0;
}

/* The lowest descriptor >= from that is to stay, or -1. */
static int
next_kept(int from, int keep)
{
    int best = keep >= from ? keep : -1;

    for (size_t i = 0; i < n_kept; i++)
        if (kept[i].fd >= from && (best < 0 || kept[i].fd < best))
            best = kept[i].fd;
    return best;
}

int
fdlist_close_others(int keep)
{
    int from = STDERR_FILENO + 1;
    int stay;

    while ((stay = next_kept(from, keep)) >= 0) {
        if (stay > from && close_range((unsigned) from, (unsigned) stay - 1, 0) < 0)
            return -errno;
        from = stay + 1;
    }
    return close_range((unsigned) from, UINT_MAX, 0) < 0 ? -errno : 0;
}
