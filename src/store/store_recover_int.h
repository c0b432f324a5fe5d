/* Recovery under way: inside store_recover*.c only. */
#pragma once

#include "store/store_recover.h"
#include "store/store_recover_end.h"
#include "store/store_redo.h"

struct recovery {
    struct store *st;
    struct recover_ask ask;
    struct wal_control control;
    struct wal_history history; /* of the timeline that is recovered */
    struct wal_source_io source;
    struct wal_reader *reader;
    struct redo redo;
    lsn_t checkpoint_end;
    struct recover_promotion promotion; /* tli 0: none was decided */
    /* Archive recovery. */
    bool is_archive;
    bool is_consistent; /* everything that pages on disk may hold has been redone */
    lsn_t consistent_at;
    lsn_t applying_end; /* of the record being redone */
    lsn_t done_end;     /* of the last one redone; 0 = none yet */
    lsn_t done_lsn;
    lsn_t restart_redo; /* of the last restartpoint, or where redo began */
    bool has_stopped;   /* at a target, or where a promotion was decided */
    struct recover_stop stop;
};

/* ---- store_recover.c ---- */
/* The control file says "shut down in recovery": it was told to stop, or is where it shall end. */
int recover_note_stop(struct recovery *v, struct err *e);
/* Before the point moves where redo begins: the list of what redo has changed is on disk. */
int recover_keep_touched(struct recovery *v, struct err *e);

/* ---- store_archive.c: what archive recovery adds ---- */
/* The control file has been read: is it archive recovery, on which timeline? Sets is_archive,
 * promotion and history, or refuses. */
int recover_archive_choose(struct recovery *v, struct err *e);
/* The archive of struct wal_source_io; arg is the struct recovery. */
int recover_archive_fetch(void *arg, const char *name, struct err *e);
/* The checkpoint has been read: from where on the data are consistent. */
int recover_archive_begin(struct recovery *v, struct err *e);
/* Around each record; true: d is not redone (d was the last one). */
bool recover_archive_before(struct recovery *v, const struct wal_decoded *d);
bool recover_archive_after(struct recovery *v, const struct wal_decoded *d);
/* d, which has been redone, may be a checkpoint at which the next start can begin: a restartpoint,
 * if enough was redone since the last. */
int recover_archive_restartpoint(struct recovery *v, const struct wal_decoded *d, struct err *e);
/* Redo is over: may it end here? < 0, or RECOVER_SHUT_DOWN: the target asks for it. */
int recover_archive_over(struct recovery *v, struct err *e);
/* Decide on the new timeline and make its first segment and its history; `end` moves to it. All of
 * it may be repeated. */
int recover_archive_switch(struct recovery *v, struct recover_end *end, struct err *e);
/* The server is about to open: signal file, marker, and what the old timeline leaves behind. */
int recover_archive_finish(struct store *st, const struct recover_promotion *p, struct err *e);
