/* What every child would do alike, once, before the first fork. */
#pragma once

#include "base/err.h"

struct conf;

/* Initialise libsqlite3 and register our VFS: tables in private memory, no connection (none would
 * survive a fork), no file, no random number (all children would draw the same). Cgroups and OOM
 * scores as confine.h says. Postmaster. */
int prepare_children(const struct conf *conf, struct err *e);
