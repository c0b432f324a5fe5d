/* Bodies (main data) of Transaction records: COMMIT, ABORT, their PREPARED kinds, and PREPARE
 * (wal-format.md 2.3). Pure. Parsed lists point into the record and are unaligned: read them with
 * the functions below. */
#pragma once

#include "base/buf.h"
#include "base/types.h"
#include "wal/wal_record.h"

#define WAL_XINFO_DB             0x0001u
#define WAL_XINFO_SUBXACTS       0x0002u
#define WAL_XINFO_RELS           0x0004u
#define WAL_XINFO_INVALS         0x0008u
#define WAL_XINFO_TWOPHASE       0x0010u
#define WAL_XINFO_ORIGIN         0x0020u
#define WAL_XINFO_AE_LOCKS       0x0040u
#define WAL_XINFO_GID            0x0080u
#define WAL_XINFO_DROPPED_STATS  0x0100u
#define WAL_XINFO_APPLY_FEEDBACK 0x20000000u
#define WAL_XINFO_RELCACHE       0x40000000u
#define WAL_XINFO_FORCE_SYNC     0x80000000u
#define WAL_GID_BYTES_MAX        200u /* with its NUL */

/* End of a transaction, to write or as read. */
struct wal_xact_end {
    int64_t time;   /* WAL time */
    uint32_t xinfo; /* put: only the bits without bytes (the last three, AE_LOCKS); get: all */
    oid_t db;       /* 0 = no database part */
    oid_t spc;
    uint32_t n_subxids;
    uint32_t n_rels;  /* files that go */
    uint32_t n_stats; /* get only, as messages */
    uint32_t n_messages;
    const void *subxids; /* u32 each */
    const void *rels;    /* struct wal_rel each */
    const void *stats;   /* 12 bytes each */
    const void *messages;
    uint32_t prepared_xid; /* 0 = not of a prepared transaction */
    const char *gid;       /* NULL = none; needs prepared_xid */
    bool has_origin;       /* get: of the record's bytes */
    lsn_t origin_lsn;
    int64_t origin_time;
};

/* The record's info byte for kind XACT_COMMIT, XACT_ABORT, XACT_COMMIT_PREPARED or
 * XACT_ABORT_PREPARED: the kind, 0x80 if there is an xinfo word, 0x01 if files go. */
uint8_t wal_xact_info(uint8_t kind, const struct wal_xact_end *x);
size_t wal_xact_end_bytes(const struct wal_xact_end *x);
void wal_xact_put_end(struct buf *b, const struct wal_xact_end *x);
/* `info` is the record's. Every count is checked against the bytes. Returns 0 or
 * -ERR_DATA_CORRUPTED. */
int wal_xact_get_end(const void *p, size_t n, uint8_t info, struct wal_xact_end *ret,
                     struct err *e);

static inline struct wal_rel
wal_xact_rel(const void *rels, uint32_t i)
{
    struct wal_rel rel;
    memcpy(&rel, (const uint8_t *) rels + sizeof rel * (size_t) i, sizeof rel);
    return rel;
}
static inline uint32_t
wal_xact_subxid(const void *subxids, uint32_t i)
{
    return get_u32((const uint8_t *) subxids + 4 * (size_t) i);
}

/* PREPARE. */
struct wal_prepare {
    uint32_t xid;
    oid_t db;
    int64_t time; /* WAL time */
    oid_t owner;
    const char *gid;
    uint32_t n_subxids;
    uint32_t n_commit_rels;
    uint32_t n_abort_rels;
    uint32_t n_commit_stats; /* get only, as the next two */
    uint32_t n_abort_stats;
    uint32_t n_messages;
    bool remove_init_file;
    const void *subxids;
    const void *commit_rels;
    const void *abort_rels;
    const void *commit_stats; /* 12 bytes each */
    const void *abort_stats;
    const void *messages;
    lsn_t origin_lsn;
    int64_t origin_time;
};
size_t wal_xact_prepare_bytes(const struct wal_prepare *x);
/* Header, gid, lists and the end record of the two-phase records. */
void wal_xact_put_prepare(struct buf *b, const struct wal_prepare *x);
int wal_xact_get_prepare(const void *p, size_t n, struct wal_prepare *ret, struct err *e);
