/* The database files that the catalogue names: locked against others while we run, noted at a clean
 * stop (FILE-8, design 11).
 *
 * Runs in: checkpointer; files_check_stopped() in startup and `piniond verify`. */
#pragma once

#include "proc/attach.h"
#include "store/store_file.h"

struct files {
    lsn_t seen;                /* version of the catalogue the list is from; 0 = none yet */
    struct store_listed *list; /* owned */
    uint32_t n;
    bool all_locked;  /* nobody else can open one */
    bool is_complete; /* and nobody of ours has half a lock */
    bool has_warned;  /* that somebody else has one open */
};

/* Has the catalogue changed, or is a file not locked yet? Then read it again and lock what is new.
 * Cheap otherwise. 0, or < 0 with e (tried again at the next round). */
int files_follow(struct files *f, struct attached *a, struct err *e);

/* After the shutdown checkpoint: write `pinion_format`: our version, and for each file the change
 * counter of page 1 and the size. */
int files_note_clean_stop(const struct files *f, struct attached *a, struct err *e);

/* After a clean stop, before anything is changed: does each file still look as noted? Logs what has
 * changed. `fn` is called for each file that has. Returns 0, or < 0: pinion_format cannot be read,
 * or is of another version. A missing file of notes is no error. */
typedef void (*files_changed_fn)(void *arg, oid_t oid, oid_t rel);
int files_check_stopped(struct io *io, files_changed_fn fn, void *arg, struct err *e);
/* The file of notes as init makes it. */
int files_make_notes(struct io *io, struct err *e);
