/* Crash recovery (REDO-1 … -7): what the startup process does before anybody else may touch a page.
 */
#pragma once

#include "store/store_file.h"
#include "wal/wal_control.h"

struct recover_info {
    bool was_clean;  /* shut down cleanly: no redo was needed */
    bool goes_on;    /* the control file says shut down, but there is log behind that */
    lsn_t redo_from; /* where redo began */
    lsn_t end;       /* end of the log */
    uint64_t n_records, n_commits;
    /* What redo took, from its first record to the last page in the cache. */
    usec_t redo_usec, redo_user_usec, redo_system_usec;
    xid_t next_xid;
    uint32_t control_copy; /* 1: the first copy of the control file was damaged */
};

/* Called now and then with positions (status block is kept up to date by the callee); return < 0 to
 * stop. */
typedef int (*recover_progress_fn)(void *arg, lsn_t at);

/* Phase 1: read the control file, REDO-1, redo to the end of the log, REDO-6, open the log for
 * insertion (wal_start). On return pages can be read (the catalogue with S = d), nothing is
 * checkpointed yet. < 0: refuse to start, e says why and what to do. */
int store_recover(struct store *st, recover_progress_fn fn, void *arg, struct recover_info *ret,
                  struct err *e);
/* Phase 2 (REDO-7): sweep by the catalogue's list, cut files, checkpoint, control state 6 (in
 * production). Then snapshots may be given (cap = H). */
int store_recover_finish(struct store *st, const struct store_listed *list, uint32_t n,
                         struct recover_info *info, struct err *e);
