/* `piniond init`: a new cluster in an empty directory. Runs in: its own process, without shared
 * memory. */
#pragma once

#include "base/err.h"

struct init_params {
    const char *data_dir;    /* made if it is not there; absolute or relative */
    const char *superuser;   /* name of role 10; NULL: the operating system's user */
    unsigned wal_segsize_mb; /* 1 … 1024, a power of two */
    const char *auth_local;  /* method of the "local" line: "peer", "trust", "reject" */
    const char *auth_host;   /* of the "host" lines: "trust", "reject" */
    const char *wal_dir;     /* absolute; pg_wal is a symbolic link to it. NULL: a directory */
};

/* Everything is made and synced before the control file, which is last: a directory without it is
 * not a cluster (INIT-1). On failure what was made is removed again. Prints nothing. 22023 for a
 * bad parameter, 58P02 if a directory is not empty. */
int init_cluster(const struct init_params *params, struct err *e);
