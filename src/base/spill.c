/* Temporary files and their limit. Runs in: backend, startup, init. Owns: directory, limit and
 * count of the process. Source: temp_file_limit and base/pgsql_tmp are PostgreSQL's ideas. */
#include "base/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char spill_dir[512] = ".";
static uint64_t limit = SPILL_NO_LIMIT;
static uint64_t used = 0;
static struct spill_counts counts;

void
spill_set_dir(const char *dir)
{
    (void) snprintf(spill_dir, sizeof spill_dir, "%s", dir);
}

void
spill_set_limit(uint64_t bytes)
{
    limit = bytes;
}

uint64_t
spill_bytes(void)
{
    return used;
}

struct spill_counts
spill_counts(void)
{
    return counts;
}

static int
open_nameless(void)
{
    char path[sizeof spill_dir + 32];
    int fd = open(spill_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    (void) snprintf(path, sizeof path, "%s/pgsql_tmp.XXXXXX", spill_dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void) unlink(path);
    return fd;
}

int
spill_open(struct err *e)
{
    int fd = open_nameless();

    if (fd < 0 && errno == ENOENT && (mkdir(spill_dir, 0700) == 0 || errno == EEXIST))
        fd = open_nameless();
    if (fd < 0)
        return ERR_ERRNO(e, "could not create a temporary file in \"%s\"", spill_dir);
    counts.n_files++;
    return fd;
}

int
spill_charge(uint64_t bytes, struct err *e)
{
    int r;

    if (limit == SPILL_NO_LIMIT || (used <= limit && bytes <= limit - used)) {
        used += bytes;
        counts.n_bytes += bytes;
        return 0;
    }
    r = ERR(e, CONFIGURATION_LIMIT_EXCEEDED,
            "temporary file size exceeds temp_file_limit (%" PRIu64 "kB)", limit / 1024);
    err_hint(e, "Sorts, temporary tables and large transactions use temporary files.");
    return r;
}

int
spill_refused(int r, uint64_t bytes, struct err *e)
{
    if (r == -ENOSPC || r == -EDQUOT) {
        err_detail(e, "The temporary file was to grow by %" PRIu64 " bytes.", bytes);
        err_hint(e,
                 "Free space on the file system of \"%s\", or let the statement need less: "
                 "smaller transactions, more work_mem.",
                 spill_dir);
    }
    return r;
}

void
spill_release(uint64_t bytes)
{
    ASSERT(bytes <= used);
    used -= bytes;
}
