/* The control file global/pg_control (wal-format.md 3.2), in two copies (CKPT-5).
 *
 * The structure's 296 bytes are at offset 0, where stock tools look, and at 4096. A write replaces
 * 4096 first, syncs, then 0, syncs: at every moment one of them is whole. */
#pragma once

#include "base/io.h"
#include "base/types.h"
#include "wal/wal_xlog.h"

#define WAL_CONTROL_PATH         "global/pg_control"
#define WAL_CONTROL_FILE_BYTES   8192u
#define WAL_CONTROL_BYTES        296u
#define WAL_CONTROL_SECOND_AT    4096u
#define WAL_CONTROL_VERSION      1300u
#define WAL_CATALOG_VERSION      202209061u
#define WAL_CONTROL_UNLOGGED_LSN UINT64_C(1000)
#define WAL_CONTROL_NONCE_BYTES  32u

enum wal_state {
    WAL_STATE_STARTING_UP,
    WAL_STATE_SHUT_DOWN,
    WAL_STATE_SHUT_DOWN_IN_RECOVERY,
    WAL_STATE_SHUTTING_DOWN,
    WAL_STATE_IN_CRASH_RECOVERY,
    WAL_STATE_IN_ARCHIVE_RECOVERY,
    WAL_STATE_IN_PRODUCTION,
    WAL_STATES
};
/* As pg_controldata prints it. */
const char *wal_state_name(enum wal_state state);

struct wal_control {
    uint64_t sysid;
    enum wal_state state;
    int64_t time_sec;     /* of the last change, Unix seconds; the writer sets it */
    lsn_t checkpoint_lsn; /* start of the latest checkpoint record */
    struct wal_checkpoint checkpoint;
    lsn_t unlogged_lsn;
    lsn_t min_recovery_lsn;
    tli_t min_recovery_tli;
    lsn_t backup_start_lsn;
    lsn_t backup_end_lsn;
    bool backup_end_required;
    struct wal_params params; /* settings as PARAMETER_CHANGE carries them */
    uint32_t segment_bytes;
    uint32_t checksum_version; /* we write 0: pages have their own checksum, not PostgreSQL's; hints
                                  are logged */
    uint8_t nonce[WAL_CONTROL_NONCE_BYTES];
};

/* Outcomes of wal_control_read(). */
enum { WAL_CONTROL_SECOND = 1 };

/* The 296 bytes, CRC and fixed values included. */
void wal_control_put(uint8_t ret[WAL_CONTROL_BYTES], const struct wal_control *c);
/* Returns 0, -ERR_DATA_CORRUPTED (CRC, impossible value) or -ERR_FEATURE_NOT_SUPPORTED (another
 * version or layout). */
int wal_control_get(const uint8_t p[WAL_CONTROL_BYTES], struct wal_control *ret, struct err *e);

/* Read the file. Returns 0; WAL_CONTROL_SECOND if the first copy is damaged and the second was used
 * (tell the log; a write repairs it); < 0 with a hint if there is no usable copy. */
int wal_control_read(struct io *io, struct wal_control *ret, struct err *e);
/* Make the file with both copies, 8192 bytes, and fsync it and its directory. For init. */
int wal_control_create(struct io *io, const struct wal_control *c, struct err *e);
/* Replace both copies (CKPT-5). A failure after the first byte leaves one whole copy; the caller
 * PANICs. */
int wal_control_write(struct io *io, const struct wal_control *c, struct err *e);
