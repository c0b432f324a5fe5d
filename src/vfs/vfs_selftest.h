/* The start-up test that refuses a libsqlite3 which behaves differently from what the VFS was built
 * on (sqlite-vfs 5.4 … 5.6). */
#pragma once

#include "vfs/vfs.h"

/* Some milliseconds, in private memory. vfs_register() was called. Startup and init, before a
 * database is touched. 0; 0A000 naming the library, the case, what was expected and what was
 * seen. */
int vfs_selftest(struct err *e);
