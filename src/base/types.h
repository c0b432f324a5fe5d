/* Scalars with a unit, and how they print. */
#pragma once

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef uint64_t lsn_t;  /* byte position in the log; 0 = none */
typedef uint32_t tli_t;  /* timeline, from 1 */
typedef uint32_t pgno_t; /* SQLite page number, from 1 */
typedef uint32_t blk_t;  /* PostgreSQL block number = pgno - 1 */
typedef uint32_t oid_t;  /* object identifier; 0 = none */
typedef uint64_t xid_t;  /* full transaction id (epoch << 32 | xid); 0 = none (XID-1) */
typedef uint64_t usec_t; /* microseconds; clock named at each use */

#define LSN_FMT       "%X/%X"
#define LSN_ARGS(lsn) ((unsigned) ((lsn) >> 32)), ((unsigned) (lsn))
/* "1/A0", as people write it; false: it is none, and *ret is as it was. */
bool lsn_parse(const char *text, lsn_t *ret);

#define USEC_PER_SEC  UINT64_C(1000000)
#define USEC_PER_MSEC UINT64_C(1000)

#define PAGE_BYTES      8192u /* SQLite page = PostgreSQL BLCKSZ */
#define PAGE_TAIL_BYTES 24u   /* reserved: LSN u64, CRC-32C u32, format u32, spare u64 */
#define PAGE_TAIL_AT    (PAGE_BYTES - PAGE_TAIL_BYTES)
#define LOCK_BYTE_PGNO  131073u /* the page SQLite never writes: byte 2^30 of the file */

#define TABLESPACE_DEFAULT UINT32_C(1663)
#define CATALOG_DB_OID     UINT32_C(1)
#define POSTGRES_DB_OID    UINT32_C(5)
#define FIRST_USER_OID     UINT32_C(16384)
#define FIRST_XID          UINT64_C(3)

/* A counter or position in shared memory for somebody who only shows or judges it: a value it has
 * had, ordered with nothing else. */
static inline uint64_t
peek64(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}
