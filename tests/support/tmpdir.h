/* A directory of this test's own, removed with all that is in it. */
#pragma once

#include "base/io.h"

struct tmpdir {
    char path[64];
    int fd;
    struct io io; /* real files below it */
};

/* Aborts the test program when it cannot be made. */
void tmpdir_make(struct tmpdir *t);
void tmpdir_remove(struct tmpdir *t);
