/* What every child would do alike, once, before the first fork. */
#pragma once

#include "base/err.h"

/* Initialise libsqlite3 and register our VFS: tables in private memory, no connection (none would
 * survive a fork), no file, no random number (all children would draw the same). Postmaster. */
int prepare_children(struct err *e);
