/* Database files: made, dropped, swept (FILE-2 … FILE-8). The catalogue's row changes travel in the
 * same transaction, by store_txn_ride(). */
#pragma once

#include "store/store_txn.h"

enum store_ride_kind { RIDE_CREATE_DB, RIDE_DROP_DB };

/* What COMMIT-5 inserts beside the catalogue's own pages. */
struct store_ride {
    enum store_ride_kind kind;
    oid_t oid;            /* of the database created or dropped */
    oid_t rel;            /* its file */
    uint32_t db;          /* DROP: its index, held DROPPING */
    const uint8_t *pages; /* CREATE: the new file's pages, unstamped, borrowed */
    uint32_t n_pages;
};

#define STORE_PATH_BYTES 40
/* "base/<oid>" and "base/<oid>/<rel>" into p. */
void store_path_dir(char *p, size_t n, oid_t oid);
void store_path_file(char *p, size_t n, oid_t oid, oid_t rel);

/* base/<oid> with its PG_VERSION is there, durably. *ret_made (may be NULL): it was not before. */
int store_dir_make(struct io *io, oid_t oid, bool *ret_made, struct err *e);
/* Remove base/<oid> and all in it, durably. No error if it is gone. */
int store_dir_remove(struct io *io, oid_t oid, struct err *e);
/* Remove one file, durably. No error if it is gone. */
int store_file_remove(struct io *io, oid_t oid, oid_t rel, struct err *e);

/* Oids, in struct store_shared as `oids`. Valid when zeroed, useless until store_oid_start(). */
#define STORE_OIDS_LOGGED 8192u /* one NEXTOID record per so many (FILE-2) */
struct store_oid_shared {
    struct rwlock lock;     /* LOCK_OID */
    _Atomic uint32_t next;  /* written under lock */
    _Atomic uint32_t limit; /* first oid that no durable record reserves; written under lock */
};
/* Next oid (NEXTOID logged and flushed ahead, FILE-2) whose base/<oid> does not exist. */
int store_oid_new(struct store *st, oid_t *ret, struct err *e);
/* What a checkpoint record carries: at shutdown the next, else the limit. */
oid_t store_oid_for_checkpoint(const struct store *st, bool is_shutdown);
/* Recovery: the first oid that may be handed out. */
void store_oid_start(struct store *st, oid_t next);

/* A new file written by a build handle (src/vfs/vfs_build.c): whole pages straight to the file,
 * stamped with L = `lsn` = d read before (FILE-2; INIT-1 in init). begin: mkdir, PG_VERSION,
 * O_EXCL, locked before it has its name (FILE-8); finish: fsync file and directories; close;
 * abort: remove what was made. One process, no Db. */
struct store_build {
    struct io *io; /* borrowed */
    oid_t oid, rel;
    lsn_t lsn;
    int fd; /* owned; -1 when closed */
    pgno_t n_pages;
    bool made_dir;
};
int store_build_begin(struct store_build *b, struct io *io, oid_t oid, oid_t rel, lsn_t lsn,
                      struct err *e);
/* The page with a zero tail. STORE_SHORT and zeros: not written yet. */
int store_build_read(struct store_build *b, pgno_t pgno, void *p, struct err *e);
/* The lock-byte page is passed over (COMMIT-3). */
int store_build_write(struct store_build *b, pgno_t pgno, const void *p, struct err *e);
int store_build_finish(struct store_build *b, struct err *e);
void store_build_close(struct store_build *b);
/* After the COMMIT: closes when the checkpointer has its half of the lock; after a second without
 * that the descriptor stays with this process. */
void store_build_hand_over(struct store_build *b, struct store *st);
void store_build_abort(struct store_build *b);

/* COMMIT-5 of a RIDE_DROP_DB: drop_lsn := C; from then on the checkpointer may purge it. */
void store_drop_published(struct store *st, uint32_t db, lsn_t lsn);
/* DROP, first half (FILE-3): CAS READY → DROPPING if ours is the only reference; 55006 otherwise,
 * naming it `name`. The caller holds the target's writer lock. */
int store_drop_begin(struct store *st, uint32_t db, const char *name, struct err *e);
void store_drop_cancel(struct store *st, uint32_t db);
/* Checkpointer, once per second and in each checkpoint: purge, unlink, rmdir what cap allows.
 * Returns the number of databases gone, or < 0. */
int store_purge_dropped(struct store *st, struct err *e);
/* Wait until the checkpointer has removed it, or could not (it tries again every second); wakes it.
 * The caller has given back its reference. Interruptible. */
int store_drop_wait(struct store *st, oid_t oid, struct err *e);

/* One database file that the catalogue names. */
struct store_listed {
    oid_t oid, rel;
};
/* FILE-6: remove every base/<n ≠ 1> directory and relation file that is not listed. Startup, after
 * redo. */
int store_sweep(struct store *st, const struct store_listed *list, uint32_t n, struct err *e);
/* FILE-8: open and write-lock (OFD on SQLite's lock bytes) every listed file; keeps the
 * descriptors. Checkpointer. -EAGAIN: somebody else has one. > 0: locked, but somebody of ours has
 * still half a lock: call again. */
int store_lock_files(struct store *st, const struct store_listed *list, uint32_t n, struct err *e);
/* FILE-8, startup: lock every file that is there before anything is read or replayed, and from then
 * on what is opened. -ERR_OBJECT_IN_USE: another program has one, for longer than `patience`. */
int store_lock_present(struct store *st, usec_t patience, struct err *e);
