/* This process' open data files: a small cache of descriptors by (oid, rel). The checkpointer's are
 * kept and locked (FILE-8). Names are never used twice (oids are not), so an entry cannot become
 * wrong, only useless. */
#pragma once

#include "store/store.h"

struct store_fds; /* opaque */

/* At most `max` descriptors that are not kept; the one used longest ago goes first. */
int store_fds_new(struct store_fds **ret, struct io *io, uint32_t max, struct err *e);
void store_fds_free(struct store_fds *f); /* accepts NULL */

/* The descriptor of base/<oid>/<rel>, opened if need be; borrowed until the next call. -ENOENT: no
 * such file. */
int store_fd_get(struct store_fds *f, oid_t oid, oid_t rel, int *ret_fd, struct err *e);
/* The same, and never closed by itself: until store_fd_forget(). With `lock`, also an exclusive OFD
 * lock on SQLite's lock bytes; -EAGAIN: somebody else has it (nothing is kept then);
 * STORE_FD_HALF: who made or recovered it has still its half, and nobody else can come in. Call
 * again. */
#define STORE_FD_HALF 1
int store_fd_keep(struct store_fds *f, oid_t oid, oid_t rel, bool lock, struct err *e);
/* Startup (FILE-8): from now on each file is locked before it is used, and kept; one that another
 * program has open is waited for. `self` NULL: no longer (what is locked stays so). */
void store_fds_lock_opened(struct store_fds *f, struct self *self, usec_t patience);
/* The maker's half of the lock, on its own descriptor: 0 or -errno. And has the checkpointer got
 * the other half? */
int store_fd_lock_pending(struct io *io, int fd);
bool store_fd_is_taken_over(struct io *io, int fd);
/* Keep a descriptor made by the caller; takes fd. */
int store_fd_adopt(struct store_fds *f, oid_t oid, oid_t rel, int fd, struct err *e);
/* Close it, if it is open. rel 0: every file of the database. */
void store_fd_forget(struct store_fds *f, oid_t oid, oid_t rel);
/* Close what `is_wanted` does not want (it is given each pair). */
void store_fd_sweep(struct store_fds *f, bool (*is_wanted)(void *arg, oid_t oid, oid_t rel),
                    void *arg);
