/* Timelines: history files, ancestry, switch points (wal-format.md 1.14, 4.1). */
#pragma once

#include "base/buf.h"
#include "base/io.h"
#include "base/types.h"

/* One timeline's stretch of the log: [begin, end). */
struct wal_history_entry {
    tli_t tli;
    lsn_t begin; /* 0 for the first */
    lsn_t end;   /* the switch point; UINT64_MAX for the last, whose history this is */
};

/* A timeline with its ancestors, oldest first; the last entry is the timeline itself. */
struct wal_history {
    struct wal_history_entry *entries; /* heap, owned */
    uint32_t n;                        /* >= 1 */
};

#define WAL_HISTORY_PATH_BYTES 32
#define WAL_HISTORY_BYTES_MAX  (1u << 20)

/* pg_wal/<8 digits>.history */
void wal_history_path(char ret[WAL_HISTORY_PATH_BYTES], tli_t tli);

/* Read a history file's text. Takes nothing; ret is to be dropped with wal_history_done(). Returns
 * 0, -ERR_DATA_CORRUPTED (not of the form, not ascending, not below `tli`) or -ENOMEM. */
int wal_history_parse(const char *text, size_t n, tli_t tli, struct wal_history *ret,
                      struct err *e);
/* History of `tli` from pg_wal. Timeline 1 without a file has no ancestors; another one's file must
 * exist (-ENOENT). */
int wal_history_read(struct io *io, tli_t tli, struct wal_history *ret, struct err *e);
/* A timeline without ancestors. */
int wal_history_init(struct wal_history *ret, tli_t tli, struct err *e);
void wal_history_done(struct wal_history *h); /* accepts a zeroed one */

/* Write the text of a new timeline's history: the parent's text (n may be 0) and one line more. */
void wal_history_put(struct buf *b, const char *parent_text, size_t n, tli_t parent,
                     lsn_t switch_lsn, const char *reason);
/* Make pg_wal/<tli>.history durably: the parent's file, if it has one, and the new line. */
int wal_history_write(struct io *io, tli_t tli, tli_t parent, lsn_t switch_lsn, const char *reason,
                      struct err *e);
/* Highest timeline at or above `from` that has a history file: looks for from + 1, from + 2, …
 * until one is missing. Returns 0 or -errno. */
int wal_history_newest(struct io *io, tli_t from, tli_t *ret, struct err *e);

static inline tli_t
wal_history_tli(const struct wal_history *h)
{
    return h->entries[h->n - 1].tli;
}
/* Timeline that owns the byte at lsn. */
tli_t wal_history_tli_at(const struct wal_history *h, lsn_t lsn);
/* The entry of a timeline, or NULL if it is no ancestor. */
const struct wal_history_entry *wal_history_find(const struct wal_history *h, tli_t tli);
/* True if (tli, lsn) is a place on this history: tli is an ancestor and lsn, an end address, not
 * behind its switch point. */
bool wal_history_holds(const struct wal_history *h, tli_t tli, lsn_t lsn);
