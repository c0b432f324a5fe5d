/* The control file.
 * Runs in: init, startup, checkpointer, postmaster (reads), tests. Owns: nothing between calls.
 * Source: wal-format.md 3.2; engine-rules CKPT-5. */
#include "wal/wal_control.h"

#include <errno.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "wal/wal_format.h"

#define CRC_AT            288u
#define FLOAT_FORMAT      UINT64_C(0x4132D68700000000) /* 1234567.0 */
#define RELSEG_BLOCKS     131072u
#define NAME_BYTES        64u
#define INDEX_KEYS        32u
#define TOAST_CHUNK_BYTES 1996u
#define LARGE_CHUNK_BYTES 2048u

static const char *const state_names[] = {
    [WAL_STATE_STARTING_UP] = "starting up",
    [WAL_STATE_SHUT_DOWN] = "shut down",
    [WAL_STATE_SHUT_DOWN_IN_RECOVERY] = "shut down in recovery",
    [WAL_STATE_SHUTTING_DOWN] = "shutting down",
    [WAL_STATE_IN_CRASH_RECOVERY] = "in crash recovery",
    [WAL_STATE_IN_ARCHIVE_RECOVERY] = "in archive recovery",
    [WAL_STATE_IN_PRODUCTION] = "in production",
};
static_assert(ELEMENTSOF(state_names) == WAL_STATES, "every state has a name");

const char *
wal_state_name(enum wal_state state)
{
    return (unsigned) state < WAL_STATES ? state_names[state] : "unrecognized";
}

static void
put_params(struct buf *b, const struct wal_params *p)
{
    buf_put_u32(b, (uint32_t) p->wal_level);
    buf_put_u8(b, p->wal_log_hints);
    buf_put_zero(b, 3);
    buf_put_u32(b, (uint32_t) p->max_connections);
    buf_put_u32(b, (uint32_t) p->max_worker_processes);
    buf_put_u32(b, (uint32_t) p->max_wal_senders);
    buf_put_u32(b, (uint32_t) p->max_prepared_xacts);
    buf_put_u32(b, (uint32_t) p->max_locks_per_xact);
    buf_put_u8(b, p->track_commit_timestamp);
    buf_put_zero(b, 3);
}

/* Bytes 204 to 252: what the build of a server fixes. Only the segment size varies. */
static void
put_layout(struct buf *b, uint32_t segment_bytes)
{
    buf_put_u32(b, 8); /* alignment */
    buf_put_u64(b, FLOAT_FORMAT);
    buf_put_u32(b, PAGE_BYTES);
    buf_put_u32(b, RELSEG_BLOCKS);
    buf_put_u32(b, WAL_PAGE_BYTES);
    buf_put_u32(b, segment_bytes);
    buf_put_u32(b, NAME_BYTES);
    buf_put_u32(b, INDEX_KEYS);
    buf_put_u32(b, TOAST_CHUNK_BYTES);
    buf_put_u32(b, LARGE_CHUNK_BYTES);
    buf_put_u8(b, 1); /* 8-byte values are passed by value */
    buf_put_zero(b, 3);
}
#define LAYOUT_AT       204u
#define LAYOUT_BYTES    48u
#define SEGMENT_SIZE_AT 228u

void
wal_control_put(uint8_t ret[WAL_CONTROL_BYTES], const struct wal_control *c)
{
    struct buf b = buf_init(ret, WAL_CONTROL_BYTES);

    buf_put_u64(&b, c->sysid);
    buf_put_u32(&b, WAL_CONTROL_VERSION);
    buf_put_u32(&b, WAL_CATALOG_VERSION);
    buf_put_u32(&b, (uint32_t) c->state);
    buf_put_zero(&b, 4);
    buf_put_u64(&b, (uint64_t) c->time_sec);
    buf_put_u64(&b, c->checkpoint_lsn);
    wal_xlog_put_checkpoint(&b, &c->checkpoint);
    buf_put_u64(&b, c->unlogged_lsn);
    buf_put_u64(&b, c->min_recovery_lsn);
    buf_put_u32(&b, c->min_recovery_tli);
    buf_put_zero(&b, 4);
    buf_put_u64(&b, c->backup_start_lsn);
    buf_put_u64(&b, c->backup_end_lsn);
    buf_put_u8(&b, c->backup_end_required);
    buf_put_zero(&b, 3);
    put_params(&b, &c->params);
    ASSERT(b.n == LAYOUT_AT);
    put_layout(&b, c->segment_bytes);
    buf_put_u32(&b, c->checksum_version);
    buf_put(&b, c->nonce, sizeof c->nonce);
    ASSERT(b.n == CRC_AT);
    buf_put_u32(&b, crc32c(0, ret, CRC_AT));
    buf_put_zero(&b, 4);
    ASSERT(buf_ok(&b));
}

static int
check_versions(const uint8_t *p, struct err *e)
{
    uint32_t version = get_u32(p + 8);
    uint32_t catalog = get_u32(p + 12);
    uint32_t segment_bytes = get_u32(p + SEGMENT_SIZE_AT);
    uint8_t layout[LAYOUT_BYTES];
    struct buf b = buf_init(layout, sizeof layout);
    int r;

    if (version != WAL_CONTROL_VERSION || catalog != WAL_CATALOG_VERSION) {
        r = ERR(e, FEATURE_NOT_SUPPORTED,
                "the control file has version %u and catalog version %u instead of %u and %u",
                version, catalog, WAL_CONTROL_VERSION, WAL_CATALOG_VERSION);
        err_hint(e, "The directory was made by a server of another version.");
        return r;
    }
    put_layout(&b, segment_bytes);
    if (memcmp(layout, p + LAYOUT_AT, sizeof layout) != 0)
        return ERR(e, FEATURE_NOT_SUPPORTED,
                   "the control file is of a server with another page or type layout");
    if (!wal_segment_bytes_ok(segment_bytes))
        return ERR(e, DATA_CORRUPTED, "the control file says log segments have %u bytes",
                   segment_bytes);
    return 0;
}

static void
get_params(struct cur *c, struct wal_params *p)
{
    p->wal_level = (int32_t) cur_u32(c);
    p->wal_log_hints = cur_u8(c) != 0;
    (void) cur_take(c, 3);
    p->max_connections = (int32_t) cur_u32(c);
    p->max_worker_processes = (int32_t) cur_u32(c);
    p->max_wal_senders = (int32_t) cur_u32(c);
    p->max_prepared_xacts = (int32_t) cur_u32(c);
    p->max_locks_per_xact = (int32_t) cur_u32(c);
    p->track_commit_timestamp = cur_u8(c) != 0;
    (void) cur_take(c, 3);
}

int
wal_control_get(const uint8_t p[WAL_CONTROL_BYTES], struct wal_control *ret, struct err *e)
{
    struct cur c = cur_init(p, WAL_CONTROL_BYTES);
    uint32_t state;
    int r;

    if (get_u32(p + CRC_AT) != crc32c(0, p, CRC_AT))
        return ERR(e, DATA_CORRUPTED, "the control file's checksum is %08X instead of %08X",
                   get_u32(p + CRC_AT), crc32c(0, p, CRC_AT));
    r = check_versions(p, e);
    if (r < 0)
        return r;
    ret->sysid = cur_u64(&c);
    (void) cur_u64(&c); /* versions */
    state = cur_u32(&c);
    (void) cur_u32(&c);
    ret->time_sec = (int64_t) cur_u64(&c);
    ret->checkpoint_lsn = cur_u64(&c);
    r = wal_xlog_get_checkpoint(cur_take(&c, WAL_CHECKPOINT_BYTES), WAL_CHECKPOINT_BYTES,
                                &ret->checkpoint, e);
    if (r < 0)
        return r;
    ret->unlogged_lsn = cur_u64(&c);
    ret->min_recovery_lsn = cur_u64(&c);
    ret->min_recovery_tli = cur_u32(&c);
    (void) cur_u32(&c);
    ret->backup_start_lsn = cur_u64(&c);
    ret->backup_end_lsn = cur_u64(&c);
    ret->backup_end_required = cur_u8(&c) != 0;
    (void) cur_take(&c, 3);
    get_params(&c, &ret->params);
    ret->segment_bytes = get_u32(p + SEGMENT_SIZE_AT);
    (void) cur_take(&c, LAYOUT_BYTES);
    ret->checksum_version = cur_u32(&c);
    memcpy(ret->nonce, cur_take(&c, sizeof ret->nonce), sizeof ret->nonce);
    if (state >= WAL_STATES)
        return ERR(e, DATA_CORRUPTED, "the control file has state %u", state);
    ret->state = (enum wal_state) state;
    return 0;
}

int
wal_control_read(struct io *io, struct wal_control *ret, struct err *e)
{
    uint8_t bytes[WAL_CONTROL_FILE_BYTES] = { 0 };
    struct err first = ERR_INIT;
    ssize_t n = io_read_file(io, WAL_CONTROL_PATH, bytes, sizeof bytes);
    int r;

    if (n < 0) {
        r = err_set_errno(e, (int) -n, "could not read file \"%s\"", WAL_CONTROL_PATH);
        err_hint(e, "Is this the data directory of a Pinion cluster?");
        return r;
    }
    /* CKPT-5: the first copy if its CRC holds, else the second. Another version's file is refused
     * as it is. A short file reads as zeros behind its end, which no CRC fits. */
    r = wal_control_get(bytes, ret, &first);
    if (r == 0)
        return 0;
    if (r == -ERR_DATA_CORRUPTED && wal_control_get(bytes + WAL_CONTROL_SECOND_AT, ret, NULL) == 0)
        return WAL_CONTROL_SECOND;
    r = err_set(e, r, "%s", first.message);
    if (r == -ERR_DATA_CORRUPTED) {
        err_detail(e, "Neither copy in \"%s\" is usable.", WAL_CONTROL_PATH);
        err_hint(e, "Restore the cluster from a base backup.");
    } else {
        err_hint(e, "%s", first.hint);
    }
    return r;
}

static int
write_all(struct io *io, int fd, const uint8_t *p, size_t n, uint64_t off)
{
    ssize_t r = io_pwrite(io, fd, p, n, off);

    return r < 0 ? (int) r : io_fsync(io, fd);
}

int
wal_control_create(struct io *io, const struct wal_control *c, struct err *e)
{
    uint8_t bytes[WAL_CONTROL_FILE_BYTES] = { 0 };
    int fd = io_open(io, WAL_CONTROL_PATH, O_WRONLY | O_CREAT | O_EXCL, 0600);
    int r = fd;

    if (fd >= 0) {
        wal_control_put(bytes, c);
        memcpy(bytes + WAL_CONTROL_SECOND_AT, bytes, WAL_CONTROL_BYTES);
        r = write_all(io, fd, bytes, sizeof bytes, 0);
        (void) io_close(io, fd);
    }
    if (r == 0)
        r = io_fsync_dir(io, "global");
    if (r < 0)
        return err_set_errno(e, -r, "could not create file \"%s\"", WAL_CONTROL_PATH);
    return 0;
}

int
wal_control_write(struct io *io, const struct wal_control *c, struct err *e)
{
    uint8_t bytes[WAL_CONTROL_BYTES];
    int fd = io_open(io, WAL_CONTROL_PATH, O_WRONLY, 0);
    int r = fd;

    if (fd >= 0) {
        wal_control_put(bytes, c);
        r = FAULT(CONTROL_BEFORE_SECOND);
        if (r == 0) /* CKPT-5: the copy that is read last is replaced first */
            r = write_all(io, fd, bytes, sizeof bytes, WAL_CONTROL_SECOND_AT);
        if (r == 0)
            r = FAULT(CONTROL_BETWEEN_COPIES);
        if (r == 0)
            r = write_all(io, fd, bytes, sizeof bytes, 0);
        (void) io_close(io, fd);
    }
    if (r < 0)
        return err_set_errno(e, -r, "could not write file \"%s\"", WAL_CONTROL_PATH);
    return 0;
}
