/* `piniond verify`: is everything in a data directory as it should be? Reads only, in a process of
 * its own without shared memory; a running server is asked over its Unix socket for what the files
 * cannot say (structure, end of the log). */
#pragma once

#include "base/err.h"

struct verify_params {
    const char *data_dir;
    const char *user; /* role to connect as; NULL: the operating system's user */
    bool is_json;
    bool is_quiet; /* print problems only */
};

/* What verify_cluster() returns when it could look. */
enum verify_result {
    VERIFY_GOOD = 0,
    VERIFY_DAMAGED = 1,
    VERIFY_INCOMPLETE = 5, /* no problem found, but not everything could be checked */
};

/* Check control file, log and every database; prints what it finds. < 0: it could not begin
 * (-ENOENT: there is no such directory …), nothing was printed. */
int verify_cluster(const struct verify_params *params, struct err *e);
