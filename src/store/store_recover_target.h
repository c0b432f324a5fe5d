/* Where archive recovery shall stop. Pure. */
#pragma once

#include "wal/wal_record.h"

enum recover_target_kind {
    RECOVER_TO_END, /* of what there is */
    RECOVER_TO_XID, /* equality, not order */
    RECOVER_TO_TIME,
    RECOVER_TO_LSN,
    RECOVER_TO_NAME,
    RECOVER_TO_CONSISTENCY, /* "immediate" */
};
enum recover_timeline { RECOVER_LATEST, RECOVER_CURRENT, RECOVER_NUMBERED };

struct recover_target {
    enum recover_target_kind kind;
    bool inclusive; /* xid, time, lsn: stop behind what matches, else before it */
    uint32_t xid;
    int64_t time; /* WAL time */
    lsn_t lsn;
    const char *name; /* borrowed; of a restore point */
    enum recover_timeline timeline;
    tli_t tli;       /* RECOVER_NUMBERED */
    bool shuts_down; /* reached: end the server instead of opening it */
};

/* How it stopped. */
struct recover_stop {
    enum recover_target_kind kind;
    bool after; /* behind the record that matched */
    uint32_t xid;
    int64_t time; /* of the commit or restore point; WAL time, 0 = none */
    lsn_t lsn;
    char name[64];
};

/* Is d the record before which to stop? Consistency was reached at an earlier one. *ret is set when
 * true. */
bool recover_stops_before(const struct recover_target *t, const struct wal_decoded *d,
                          struct recover_stop *ret);
/* Is d, which has been redone, the last one? */
bool recover_stops_after(const struct recover_target *t, const struct wal_decoded *d,
                         bool is_consistent, struct recover_stop *ret);

#define RECOVER_TEXT_BYTES 200
/* "starting point-in-time recovery to XID 7". */
const char *recover_target_text(const struct recover_target *t, char p[RECOVER_TEXT_BYTES]);
/* "recovery stopping after commit of transaction 7, time …". */
const char *recover_stop_text(const struct recover_stop *s, char p[RECOVER_TEXT_BYTES]);
/* The reason in the history file, in PostgreSQL's words (wal-format.md 4.1). NULL: the end of the
 * log. */
const char *recover_reason(const struct recover_stop *s, char p[RECOVER_TEXT_BYTES]);
