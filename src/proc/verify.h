/* `piniond verify`: is everything in a data directory as it should be? Reads only, in a process of
 * its own without shared memory; a running server is asked over its Unix socket for what the files
 * cannot say (structure, end of the log). */
#pragma once

struct verify_params {
    const char *data_dir;
    const char *user; /* role to connect as; NULL: the operating system's user */
};

/* What `piniond verify` ends with. pinionctl hands it on. */
enum verify_exit {
    VERIFY_EXIT_GOOD = 0,
    VERIFY_EXIT_DAMAGED = 1,
    VERIFY_EXIT_FAILED = 1,       /* it could not go on: the last line is "error" */
    VERIFY_EXIT_NO_DIRECTORY = 4, /* likewise */
    VERIFY_EXIT_INCOMPLETE = 5,   /* no problem found, but not everything could be checked */
    VERIFY_EXIT_NOT_PERMITTED = 77,
};

/* Check control file, log and every database; prints what it finds, and why it could not go on
 * (verify_report.c). */
enum verify_exit verify_cluster(const struct verify_params *params);
