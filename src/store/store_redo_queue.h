/* Commits that have been read and are not applied yet, in their order. Most of redo's time went
 * into waiting for memory: the page that a record changes is cold. So a commit waits for a few
 * others, and its lines are on their way meanwhile. */
#pragma once

#include "store/store_redo_open.h"

struct redo;

#define REDO_QUEUE_COMMITS 8

struct redo_decided {
    lsn_t lsn; /* the commit's */
    struct redo_open open;
};

struct redo_queue {
    struct redo_decided commits[REDO_QUEUE_COMMITS];
    uint32_t first;
    uint32_t n;
};

/* Are the transaction's records changes of pages only, all of them in memory? All others are
 * applied at once, behind an emptied queue. */
bool redo_queue_may_wait(const struct redo_open *o);
/* Takes the transaction out of the open set. There must be room. */
void redo_queue_add(struct redo *r, struct redo_open *o, lsn_t lsn);
/* Apply the oldest until `leave` are left. */
int redo_queue_apply(struct redo *r, uint32_t leave, struct err *e);
/* Gives back the memory, applied or not. */
void redo_queue_done(struct redo *r);
