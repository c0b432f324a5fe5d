/* What the databases must contain: the model of sim/recovery. Pages are a few cells, spread over
 * the page so that changes are deltas; the last cell can fill half the page with noise, so that
 * they are images. Pure but for the reports. */
#pragma once

#include "base/macro.h"
#include "base/rng.h"
#include "base/types.h"

#define MODEL_CELLS 16
#define MODEL_PAGES 44
#define MODEL_DBS   6 /* 0: catalogue, 1: the database made by init */
#define MODEL_LOG   1024

struct model_page {
    uint64_t cell[MODEL_CELLS];
};
struct model_db {
    bool is_live;
    oid_t oid;
    pgno_t size;
    struct model_page page[MODEL_PAGES];
    uint32_t n_list; /* catalogue only: the other databases */
    oid_t list[MODEL_DBS];
};

/* One commit, in the order in which they were begun: registered before COMMIT_PHASETWO. */
struct model_commit {
    xid_t xid;
    lsn_t lsn; /* 0: its end was not seen */
    uint32_t slot;
    struct model_db after;
    int32_t other_slot; /* the database created or dropped with it, -1 = none */
    struct model_db other;
    lsn_t other_ver; /* LSN of the created file's pages */
};

/* What readers were given: a snapshot and the version of page 1 in it. */
#define MODEL_VIEWS 64
struct model_view {
    uint32_t slot;
    lsn_t snap, ver;
};

struct model {
    struct model_db base[MODEL_DBS]; /* as of the last recovery */
    struct model_commit *log;        /* [MODEL_LOG] */
    uint32_t n_log;
    lsn_t start;             /* end of the last recovery: versions at or below are the base's */
    lsn_t need;              /* every commit at or below was acknowledged or shown */
    xid_t last_xid;          /* newest id ever handed out */
    xid_t undone[MODEL_LOG]; /* ids whose transactions were given up */
    uint32_t n_undone;
    struct model_view views[MODEL_VIEWS]; /* the latest, a ring */
    uint32_t n_views;
};

void model_init(struct model *m);
/* Newest state of a database. */
const struct model_db *model_now(const struct model *m, uint32_t slot);
/* The state that a reader must see whose page 1 has version `ver`; learns the LSN of a commit whose
 * end was not seen. */
const struct model_db *model_at(struct model *m, uint32_t slot, oid_t oid, lsn_t ver);
void model_saw(struct model *m, uint32_t slot, lsn_t snap, lsn_t ver);
/* A reader whose snapshot should have contained the commit at `lsn` and did not, or NULL
 * (PROMISE-3). */
const struct model_view *model_missed(const struct model *m, uint32_t slot, lsn_t lsn);
/* Register a commit that is about to happen. NULL: the log is full. */
struct model_commit *model_commit(struct model *m, xid_t xid, uint32_t slot,
                                  const struct model_db *after);
/* The page as bytes (PAGE_TAIL_AT of them count). */
void model_bytes(const struct model_db *d, pgno_t pgno, uint8_t *p);
/* What a transaction may do. */
struct model_taste {
    pgno_t max_pages;
    uint32_t noise;  /* of 8 changed pages, how many become incompressible */
    uint32_t one_in; /* pages that change */
    uint32_t growth; /* pages at once */
};
/* Change some pages at random; page 1 always changes. *ret_staged: bit of each page to be written.
 */
void model_mutate(struct rng *r, struct model_db *d, const struct model_taste *taste,
                  uint64_t *ret_staged);
