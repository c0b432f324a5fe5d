/* Which files of pg_wal wait for the archiver: pg_wal/archive_status/<name>.ready and .done
 * (wal-format.md 4.6).
 *
 * A name is a segment's, a history's, a partial segment's or a backup's. A file whose name is ready
 * is kept; what is neither ready nor done is made ready before anybody removes it, so a lost mark
 * costs time and never a file. */
#pragma once

#include "base/io.h"
#include "wal/wal_format.h"

#define WAL_STATUS_DIR         WAL_DIR "/archive_status"
#define WAL_ARCHIVE_NAME_BYTES 48 /* a name and a NUL */
#define WAL_ARCHIVE_LIST_MAX   64
/* Behind the name of a segment that its timeline left half written. */
#define WAL_PARTIAL ".partial"

enum wal_archive_state { WAL_ARCHIVE_NONE, WAL_ARCHIVE_READY, WAL_ARCHIVE_DONE };

/* Is it a name that the archiver takes? */
bool wal_archive_name_ok(const char *name);
/* enum wal_archive_state, or -errno. */
int wal_archive_state(struct io *io, const char *name, struct err *e);
/* Mark a file as ready, durably. Its content must be durable already. */
int wal_archive_notify(struct io *io, const char *name, struct err *e);
/* The file is in the archive: durably done, whatever it was before. */
int wal_archive_set_done(struct io *io, const char *name, struct err *e);
/* The file is gone: no mark of it any more. Not durable. 0, or -errno of the mark that stays: it
 * matters to the archiver only. */
int wal_archive_forget(struct io *io, const char *name);

/* What is ready, in the order in which it is to be archived: histories, then by name (timeline,
 * number); at most WAL_ARCHIVE_LIST_MAX of them. */
struct wal_archive_list {
    uint32_t n;
    char name[WAL_ARCHIVE_LIST_MAX][WAL_ARCHIVE_NAME_BYTES];
};
int wal_archive_list(struct io *io, struct wal_archive_list *ret, struct err *e);
/* Mark every segment that ends at or below `end` and has no mark: after a crash, or when archiving
 * was switched on. Returns how many, or < 0. */
int wal_archive_sweep(struct io *io, lsn_t end, uint32_t segment_bytes, struct err *e);
