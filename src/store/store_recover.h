/* Crash recovery (REDO-1 … -7): what the startup process does before anybody else may touch a page.
 */
#pragma once

#include "store/store_file.h"
#include "store/store_recover_target.h"
#include "wal/wal_control.h"

/* The decision for a new timeline, durable in the file pinion_promotion (ha-rules PROMO-3): before
 * it everything backs out, after it every start rolls forward. */
struct recover_promotion {
    tli_t tli; /* 0 = none */
    tli_t parent;
    lsn_t at; /* switch point, an end */
    char reason[RECOVER_TEXT_BYTES];
};

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
    bool is_archive;       /* archive recovery: a new timeline begins at `end` */
    struct recover_promotion promotion;
    int (*at_end)(void *arg, struct err *e); /* as asked */
    void *at_end_arg;
};

/* Called now and then with positions (status block is kept up to date by the callee); return < 0 to
 * stop. */
typedef int (*recover_progress_fn)(void *arg, lsn_t at);

/* Get file `name` of pg_wal (a segment or a history) from the archive. 0: it is in pg_wal now,
 * durably; 1: the archive does not have it; < 0: recovery ends. `oldest` is the first segment that
 * is still needed. */
typedef int (*recover_fetch_fn)(void *arg, const char *name, const char *oldest, struct err *e);

/* How to recover. All is borrowed until store_recover_as() returns, but at_end and say. */
struct recover_ask {
    recover_progress_fn progress; /* may be NULL */
    /* Archive recovery, if recovery.signal is there; target NULL: refuse such a directory. */
    const struct recover_target *target;
    recover_fetch_fn fetch; /* NULL: no restore_command is set */
    int (*at_end)(void *arg,
                  struct err *e); /* once, before the server opens (recovery_end_command) */
    void (*restartpoint)(void *arg, const char *oldest); /* one was made */
    void (*say)(void *arg, const char *text);            /* for the server's log */
    void (*pass)(void *arg, enum startup_pass pass);     /* one begins; may be NULL */
    void *arg;                                           /* of all of them */
    bool keeps_touched; /* note what redo changes in STORE_TOUCHED_PATH (store_touched.h) */
};

#define RECOVER_SHUT_DOWN 1 /* outcome: the target is reached, the server shall end */

/* store_recover() with more to say; 0, RECOVER_SHUT_DOWN (nothing was opened) or < 0. */
int store_recover_as(struct store *st, const struct recover_ask *ask, struct recover_info *ret,
                     struct err *e);
/* Passes "redo" and "resolve": read the control file, REDO-1, redo to the end of the log, REDO-6,
 * open the log for insertion (wal_start). On return pages can be read (the catalogue with S = d),
 * nothing is checkpointed yet. < 0: refuse to start, e says why and what to do. */
int store_recover(struct store *st, recover_progress_fn fn, void *arg, struct recover_info *ret,
                  struct err *e);
/* Pass "settle" (REDO-7): sweep by the catalogue's list, cut files, checkpoint, control state 6 (in
 * production). Then snapshots may be given (cap = H). */
int store_recover_finish(struct store *st, const struct store_listed *list, uint32_t n,
                         struct recover_info *info, struct err *e);
