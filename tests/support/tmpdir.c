/* Temporary directories for tests. */
#include "support/tmpdir.h"

#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

void
tmpdir_make(struct tmpdir *t)
{
    const char *base = getenv("TMPDIR");

    (void) snprintf(t->path, sizeof t->path, "%s/pinion-test-XXXXXX", base != NULL ? base : "/tmp");
    ASSERT(mkdtemp(t->path) != NULL);
    t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ASSERT(t->fd >= 0);
    io_real_init(&t->io, t->fd);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void) st;
    (void) flag;
    (void) ftw;
    return remove(path);
}

void
tmpdir_remove(struct tmpdir *t)
{
    (void) close(t->fd);
    (void) nftw(t->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    t->fd = -1;
}
