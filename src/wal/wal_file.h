/* Bodies (main data) of the records about files: Storage CREATE and TRUNCATE, Database
 * CREATE_WAL_LOG and DROP (wal-format.md 2.4, 2.6). Pure. The info byte to write stands beside
 * each. */
#pragma once

#include "base/buf.h"
#include "base/types.h"
#include "wal/wal_record.h"

/* Storage CREATE, info 0x11. Main fork only when writing; reading accepts forks 0..3. */
#define WAL_FILE_CREATE_INFO  (STORAGE_CREATE | WAL_INFO_SPECIAL_REL)
#define WAL_FILE_CREATE_BYTES 16u
void wal_file_put_create(struct buf *b, const struct wal_rel *rel);
int wal_file_get_create(const void *p, size_t n, struct wal_rel *ret_rel, uint32_t *ret_fork,
                        struct err *e);

/* Storage TRUNCATE, info 0x21, flags 1 (main fork). */
#define WAL_FILE_TRUNCATE_INFO  (STORAGE_TRUNCATE | WAL_INFO_SPECIAL_REL)
#define WAL_FILE_TRUNCATE_BYTES 20u
struct wal_truncate {
    blk_t n_blocks; /* new length */
    struct wal_rel rel;
    uint32_t flags; /* 1 main, 2 vm, 4 fsm */
};
void wal_file_put_truncate(struct buf *b, const struct wal_truncate *t);
int wal_file_get_truncate(const void *p, size_t n, struct wal_truncate *ret, struct err *e);

/* Database CREATE_WAL_LOG, info 0x10. */
#define WAL_FILE_DB_CREATE_INFO  DATABASE_CREATE_WAL_LOG
#define WAL_FILE_DB_CREATE_BYTES 8u
void wal_file_put_db_create(struct buf *b, oid_t db, oid_t spc);
int wal_file_get_db_create(const void *p, size_t n, oid_t *ret_db, oid_t *ret_spc, struct err *e);

/* Database DROP, info 0x21. One tablespace when writing. */
#define WAL_FILE_DB_DROP_INFO  (DATABASE_DROP | WAL_INFO_SPECIAL_REL)
#define WAL_FILE_DB_DROP_BYTES 12u
struct wal_db_drop {
    oid_t db;
    uint32_t n_spcs;
    const void *spcs; /* u32 each, in the record */
};
void wal_file_put_db_drop(struct buf *b, oid_t db, oid_t spc);
int wal_file_get_db_drop(const void *p, size_t n, struct wal_db_drop *ret, struct err *e);
