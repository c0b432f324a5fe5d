/* What a damaged disk can leave of the control file: the input as a structure, once as it is and
 * once with a right checksum, which chance would not find. What is accepted must survive being
 * written and read again. Run: as fuzz_startup. */
#include <string.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "wal/wal_control.h"

#define CRC_AT (WAL_CONTROL_BYTES - 8)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
look(const uint8_t p[WAL_CONTROL_BYTES])
{
    struct wal_control c;
    struct wal_control again;
    uint8_t bytes[WAL_CONTROL_BYTES];
    struct err e = ERR_INIT;

    if (wal_control_get(p, &c, &e) < 0) {
        ASSERT(e.message[0] != '\0');
        return;
    }
    ASSERT(c.state < WAL_STATES && wal_state_name(c.state) != NULL);
    ASSERT(c.segment_bytes >= 1u << 20 && (c.segment_bytes & (c.segment_bytes - 1)) == 0);
    wal_control_put(bytes, &c);
    ASSERT(wal_control_get(bytes, &again, &e) == 0);
    ASSERT(again.checkpoint_lsn == c.checkpoint_lsn && again.checkpoint.redo == c.checkpoint.redo &&
           again.checkpoint.next_xid == c.checkpoint.next_xid);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t *bytes =
        calloc(1, WAL_CONTROL_BYTES); /* exact, so that a read behind the end is seen */

    ASSERT(bytes != NULL);
    if (n > 0)
        memcpy(bytes, p, MIN(n, WAL_CONTROL_BYTES));
    look(bytes);
    put_u32(bytes + CRC_AT, crc32c(0, bytes, CRC_AT));
    look(bytes);
    free(bytes);
    return 0;
}
