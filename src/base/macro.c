/* Cleanup handlers and the end of a failed assertion. Runs in every process. */
#include "base/macro.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

void
assert_failed(const char *what, const char *file, int line)
{
    (void) fprintf(stderr, "PANIC:  assertion failed: %s, %s:%d\n", what, file, line);
    abort();
}

void
closep(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        (void) close(*fd);
    *fd = -1;
    errno = saved;
}

void
freep(void *pp)
{
    void **p = pp;

    free(*p);
    *p = NULL;
}
