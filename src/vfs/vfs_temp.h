/* Temporary files of SQLite: sorts, materialised views, temporary tables, and the journals that
 * roll a transaction or a statement back. Private, without a name, gone with the process.
 *
 * A journal is written at its end, a few bytes at a time: it is kept in memory as long as it is
 * small, and written in blocks when it is not. */
#pragma once

#include "vfs/vfs.h"

struct vfs_handle;

struct vfs_temp {
    sqlite3_file base; /* first: SQLite casts */
    int fd;            /* owned; -1: all is in buf */
    uint64_t size;     /* bytes of the file, with what is in buf */
    uint64_t charged;  /* to temp_file_limit */
    uint8_t *buf;      /* owned; of a journal: bytes from buf_at on that are not in the file */
    uint64_t buf_at;
    uint32_t buf_n, buf_cap;
    bool is_journal;
    struct vfs_handle *of; /* main journal: the handle of its database; else NULL */
};

/* Make one in spill's directory. `of` is the main handle whose journal it is, or NULL. SQLITE_OK or
 * SQLITE_CANTOPEN. */
int vfs_temp_open(struct vfs_temp *f, bool is_journal, struct vfs_handle *of);
/* Why a call on a temporary file failed last, since the reset: code 0 if none did. Of the process:
 * a session has one thread. */
const struct err *vfs_temp_error(void);
void vfs_temp_error_reset(void);
