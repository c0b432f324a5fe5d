/* Temporary files of SQLite: sorts, materialised views, temporary tables. Private, without a name,
 * gone with the process. */
#pragma once

#include "vfs/vfs.h"

struct vfs_temp {
    sqlite3_file base; /* first: SQLite casts */
    int fd;            /* owned */
};

/* Make one in `dir`. Returns SQLITE_OK or SQLITE_CANTOPEN. */
int vfs_temp_open(struct vfs_temp *f, const char *dir);
