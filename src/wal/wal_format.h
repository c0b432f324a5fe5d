/* Constants of PostgreSQL 15's log and the arithmetic of positions in it
 * (wal-format.md 1.1-1.4, 1.9).
 *
 * Three kinds of position meet here. An LSN is a byte address that counts page headers. A *usable
 * position* counts only the bytes that records may use. The place between two records has two LSNs
 * when it is a page boundary: as an *end* it is the boundary, as a *start* it is behind the page
 * header. */
#pragma once

#include "base/err.h"
#include "base/types.h"

#define WAL_PAGE_BYTES         8192u
#define WAL_SHORT_HEADER       24u /* page header */
#define WAL_LONG_HEADER        40u /* page header of the first page of a segment */
#define WAL_RECORD_HEADER      24u
#define WAL_SEGMENT_BYTES_MIN  (UINT32_C(1) << 20)
#define WAL_SEGMENT_BYTES_MAX  (UINT32_C(1) << 30)
#define WAL_SEGMENT_NAME_BYTES 25 /* 24 digits and a NUL */
#define WAL_DIR                "pg_wal"

#define WAL_PAGE_MAGIC             0xD110u
#define WAL_PAGE_CONTRECORD        0x0001u /* begins with the rest of a record */
#define WAL_PAGE_LONG_HEADER       0x0002u
#define WAL_PAGE_BKP_REMOVABLE     0x0004u
#define WAL_PAGE_OVERWRITE         0x0008u /* FIRST_IS_OVERWRITE_CONTRECORD (1.10) */
#define WAL_PAGE_FLAGS             0x000Fu
#define WAL_USABLE_BYTES_PAGE      (WAL_PAGE_BYTES - WAL_SHORT_HEADER)
#define WAL_USABLE_BYTES_LONG_PAGE (WAL_PAGE_BYTES - WAL_LONG_HEADER)

/* Offsets in a record header. */
#define WAL_RECORD_AT_BYTES 0
#define WAL_RECORD_AT_XID   4
#define WAL_RECORD_AT_PREV  8
#define WAL_RECORD_AT_INFO  16
#define WAL_RECORD_AT_RMID  17
#define WAL_RECORD_AT_CRC   20

#define WAL_INFO_SPECIAL_REL \
    0x01u /* low bit of info: changes files in a way that block references do not show */
#define WAL_BLOCKS 33u /* block references a record can carry: ids 0..32 */
/* A record longer than this is refused by us, when writing and when reading (PostgreSQL 15: 1 GiB -
 * 1). A commit's longest record carries 32 images. */
#define WAL_RECORD_BYTES_MAX (UINT32_C(64) << 20)

/* Block header. */
#define WAL_FORK_MASK       0x0Fu
#define WAL_FORK_MAIN       0u
#define WAL_FORK_INIT       3u /* the highest */
#define WAL_BLOCK_HAS_IMAGE 0x10u
#define WAL_BLOCK_HAS_DATA  0x20u
#define WAL_BLOCK_WILL_INIT 0x40u
#define WAL_BLOCK_SAME_REL  0x80u
#define WAL_IMAGE_HAS_HOLE  0x01u
#define WAL_IMAGE_APPLY     0x02u
#define WAL_IMAGE_PGLZ      0x04u
#define WAL_IMAGE_LZ4       0x08u
#define WAL_IMAGE_ZSTD      0x10u
#define WAL_IMAGE_PACKED    (WAL_IMAGE_PGLZ | WAL_IMAGE_LZ4 | WAL_IMAGE_ZSTD)

/* First bytes of the header elements that are not block references. */
#define WAL_ID_DATA_SHORT 255u
#define WAL_ID_DATA_LONG  254u
#define WAL_ID_ORIGIN     253u
#define WAL_ID_TOP_XID    252u

/* Resource managers: RM_XLOG, …; record types: XLOG_NEXTOID, XACT_COMMIT, … */
enum wal_rmid {
#define RMGR(name, id, text) RM_##name = (id),
#include "tbl/wal_rmgrs.def"
    RM_CUSTOM_MIN = 128,
};
enum wal_info {
#define RMGR_INFO(rmgr, name, info, text) rmgr##_##name = (info),
#include "tbl/wal_rmgrs.def"
};
#define XACT_INFO_MASK  0x70u
#define XACT_INFO_XINFO 0x80u /* the xinfo word is present */

/* Difference between Unix seconds and seconds since 2000-01-01 00:00:00 UTC. */
#define WAL_EPOCH_SEC INT64_C(946684800)

/* WAL time (microseconds since 2000) of Unix microseconds, and back. */
static inline int64_t
wal_time(int64_t unix_usec)
{
    return unix_usec - WAL_EPOCH_SEC * 1000000;
}
static inline int64_t
wal_time_to_unix(int64_t wal_usec)
{
    return wal_usec + WAL_EPOCH_SEC * 1000000;
}

static inline bool
wal_segment_bytes_ok(uint64_t n)
{
    return n >= WAL_SEGMENT_BYTES_MIN && n <= WAL_SEGMENT_BYTES_MAX && (n & (n - 1)) == 0;
}
/* Segment number of the byte at lsn. */
static inline uint64_t
wal_segno(lsn_t lsn, uint32_t segment_bytes)
{
    return lsn / segment_bytes;
}
/* Segment number of the byte before lsn: an end exactly on a boundary belongs to the earlier file.
 */
static inline uint64_t
wal_segno_of_end(lsn_t lsn, uint32_t segment_bytes)
{
    return (lsn - 1) / segment_bytes;
}
static inline uint32_t
wal_segment_offset(lsn_t lsn, uint32_t segment_bytes)
{
    return (uint32_t) (lsn & (segment_bytes - 1));
}
static inline lsn_t
wal_page_start(lsn_t lsn)
{
    return lsn & ~(lsn_t) (WAL_PAGE_BYTES - 1);
}
static inline uint32_t
wal_page_offset(lsn_t lsn)
{
    return (uint32_t) (lsn & (WAL_PAGE_BYTES - 1));
}
/* Bytes of the header of the page that holds lsn. */
static inline uint32_t
wal_page_header_bytes(lsn_t lsn, uint32_t segment_bytes)
{
    return wal_segment_offset(lsn, segment_bytes) < WAL_PAGE_BYTES ? WAL_LONG_HEADER
                                                                   : WAL_SHORT_HEADER;
}
/* The start spelling of a place between two records: behind the page header if lsn is a page
 * boundary. */
static inline lsn_t
wal_start_of(lsn_t lsn, uint32_t segment_bytes)
{
    return wal_page_offset(lsn) == 0 ? lsn + wal_page_header_bytes(lsn, segment_bytes) : lsn;
}
static inline uint64_t
wal_usable_bytes(uint32_t segment_bytes)
{
    return (uint64_t) (segment_bytes / WAL_PAGE_BYTES) * WAL_USABLE_BYTES_PAGE -
           (WAL_LONG_HEADER - WAL_SHORT_HEADER);
}

/* LSN of usable position u, as a start and as an end. */
lsn_t wal_usable_to_start(uint64_t u, uint32_t segment_bytes);
lsn_t wal_usable_to_end(uint64_t u, uint32_t segment_bytes);
/* Usable position of an LSN in either spelling. An address inside a page header counts as the first
 * byte behind it. */
uint64_t wal_usable_of(lsn_t lsn, uint32_t segment_bytes);
/* End address of a record of `bytes` that starts at `start`: start + bytes, rounded up to a record
 * position, page headers between counted; the boundary itself if it fills its page. */
lsn_t wal_end_of(lsn_t start, uint64_t bytes, uint32_t segment_bytes);

/* Write the 24 digits and a NUL. */
void wal_segment_name(char ret[WAL_SEGMENT_NAME_BYTES], tli_t tli, uint64_t segno,
                      uint32_t segment_bytes);
/* The same as a path: pg_wal/<name>. */
#define WAL_SEGMENT_PATH_BYTES (WAL_SEGMENT_NAME_BYTES + sizeof WAL_DIR)
void wal_segment_path(char ret[WAL_SEGMENT_PATH_BYTES], tli_t tli, uint64_t segno,
                      uint32_t segment_bytes);
/* True if `name` is a segment's (exactly 24 digits, upper case, numbers in range); sets both. */
bool wal_segment_parse(const char *name, uint32_t segment_bytes, tli_t *ret_tli,
                       uint64_t *ret_segno);

/* "XLOG" … "customNNN" into ret (at least 16 bytes). */
void wal_rmgr_name(uint8_t rmid, char ret[16]);
static inline bool
wal_rmgr_ok(uint8_t rmid)
{
    return rmid <= RM_MESSAGE || rmid >= RM_CUSTOM_MIN;
}
/* Printed name of a record type, or NULL if tbl/wal_rmgrs.def has none. `info` as in the record. */
const char *wal_info_name(uint8_t rmid, uint8_t info);
