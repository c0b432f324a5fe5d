/* The first segment of a new cluster.
 * Runs in: init, tests. Owns: nothing between calls.
 * Source: engine-rules INIT-1, WAL-3; wal-format.md 3.1, 3.2. */
#include "wal/wal_boot.h"

#include <errno.h>

#include "wal/wal_page.h"
#include "wal/wal_record.h"

#define TEMP_PATH   WAL_DIR "/xlogtemp.init"
#define CHUNK_BYTES (256u * 1024)

uint64_t
wal_boot_sysid(int64_t unix_usec, uint32_t pid)
{
    uint64_t sec = (uint64_t) unix_usec / USEC_PER_SEC;
    uint64_t usec = (uint64_t) unix_usec % USEC_PER_SEC;

    return sec << 32 | usec << 12 | (pid & 0xFFF);
}

static struct wal_checkpoint
first_checkpoint(const struct wal_boot_params *params)
{
    return (struct wal_checkpoint){
        .redo = (lsn_t) params->segment_bytes + WAL_LONG_HEADER,
        .tli = 1,
        .prev_tli = 1,
        .full_page_writes = true,
        .next_xid = params->next_xid,
        .next_oid = params->next_oid,
        .next_multi = 1,
        .oldest_xid = (uint32_t) FIRST_XID,
        .oldest_xid_db = CATALOG_DB_OID,
        .oldest_multi = 1,
        .oldest_multi_db = CATALOG_DB_OID,
        .time_sec = params->time_sec,
    };
}

/* Header and record into the first bytes of `p`, which is zero. */
static int
put_first_page(uint8_t *p, size_t n, const struct wal_boot_params *params,
               const struct wal_checkpoint *checkpoint, struct err *e)
{
    uint8_t body[WAL_CHECKPOINT_BYTES];
    struct buf b = buf_init(body, sizeof body);
    struct wal_page page =
        wal_page_of(params->segment_bytes, 1, 0, params->sysid, params->segment_bytes);
    uint32_t header = wal_page_put(p, &page);
    struct wal_rec rec = {
        .rmid = RM_XLOG, .info = XLOG_CHECKPOINT_SHUTDOWN, .main = body, .main_bytes = sizeof body
    };
    int r;

    wal_xlog_put_checkpoint(&b, checkpoint);
    b = buf_init(p + header, n - header);
    r = wal_record_put(&b, &rec, e);
    if (r == 0)
        wal_record_seal(b.p, (uint32_t) b.n, 0);
    return r;
}

/* WAL-3: zeros are written, not a hole. */
static int
write_segment(struct io *io, int fd, uint8_t *chunk, uint32_t segment_bytes)
{
    for (uint64_t at = 0; at < segment_bytes; at += CHUNK_BYTES) {
        ssize_t r = io_pwrite(io, fd, chunk, CHUNK_BYTES, at);

        if (r < 0)
            return (int) r;
        if (at == 0)
            memset(chunk, 0, WAL_PAGE_BYTES);
    }
    return io_fsync(io, fd);
}

int
wal_boot_write(struct io *io, const struct wal_boot_params *params, struct wal_checkpoint *ret,
               struct err *e)
{
    CLEANUP(freep) uint8_t *chunk = NULL;
    char path[WAL_SEGMENT_PATH_BYTES];
    int fd;
    int r;

    if (!wal_segment_bytes_ok(params->segment_bytes))
        return ERR(e, INVALID_PARAMETER_VALUE,
                   "log segments of %u bytes: must be a power of two from 1 MiB to 1 GiB",
                   params->segment_bytes);
    chunk = calloc(1, CHUNK_BYTES);
    if (chunk == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory for the first log segment");
    *ret = first_checkpoint(params);
    r = put_first_page(chunk, CHUNK_BYTES, params, ret, e);
    if (r < 0)
        return r;
    wal_segment_path(path, 1, 1, params->segment_bytes);
    fd = io_open(io, path, O_RDONLY, 0);
    if (fd >= 0) {
        (void) io_close(io, fd);
        return err_set_errno(e, EEXIST, "could not create file \"%s\"", path);
    }
    fd = io_open(io, TEMP_PATH, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    r = fd;
    if (fd >= 0) {
        r = write_segment(io, fd, chunk, params->segment_bytes);
        (void) io_close(io, fd);
    }
    if (r == 0)
        r = io_rename(io, TEMP_PATH, path);
    if (r == 0)
        r = io_fsync_dir(io, WAL_DIR);
    if (r < 0) {
        (void) io_unlink(io, TEMP_PATH);
        return err_set_errno(e, -r, "could not create file \"%s\"", path);
    }
    return 0;
}

struct wal_control
wal_boot_control(const struct wal_boot_params *params, const struct wal_checkpoint *checkpoint)
{
    return (struct wal_control){
        .sysid = params->sysid,
        .state = WAL_STATE_SHUT_DOWN,
        .time_sec = params->time_sec,
        .checkpoint_lsn = checkpoint->redo,
        .checkpoint = *checkpoint,
        .unlogged_lsn = WAL_CONTROL_UNLOGGED_LSN,
        /* Stock's defaults; the first start replaces them (PARAMETER_CHANGE). pg_rewind needs
           wal_log_hints. */
        .params = { .max_connections = 100,
                    .max_worker_processes = 8,
                    .max_wal_senders = 10,
                    .max_prepared_xacts = 0,
                    .max_locks_per_xact = 64,
                    .wal_level = 1,
                    .wal_log_hints = true },
        .segment_bytes = params->segment_bytes,
    };
}
