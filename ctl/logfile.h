/* Where the log of a server is, if it is a file. */
#pragma once

#include "target.h"

/* The file of `format` ("stderr", "jsonlog") that the log collector writes now; without a collector
 * the file that the running server's standard error is. */
bool logfile_find(const struct target *t, const char *format, char *to, size_t cap);
