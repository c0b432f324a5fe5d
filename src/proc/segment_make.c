/* Sizing the segment: the settings every process must agree on are taken once, here. Runs in:
 * postmaster, once. Owns: nothing. Source: SHM-1, OVER-1, design 11 (memory). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/sysinfo.h>

#include "base/fdlist.h"
#include "conf/conf.h"
#include "proc/segment_int.h"
#include "shm/stat.h"
#include "sql/catalog_login.h"
#include "wal/wal_control.h"

static int
size_regions(struct segment *seg, const struct conf *conf, const char *data_dir, struct err *e)
{
    const struct conf_values *v = &conf->v;
    struct wal_control control;
    struct io io;
    CLEANUP(closep) int dir_fd = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r;

    if (dir_fd < 0)
        return ERR_ERRNO(e, "could not open data directory \"%s\"", data_dir);
    io_real_init(&io, dir_fd);
    r = wal_control_read(&io, &control, e);
    if (r < 0)
        return r;
    seg->wal_cfg = (struct wal_cfg){ .segsize = control.segment_bytes,
                                     .n_buffers = (uint32_t) (v->wal_buffers / PAGE_BYTES),
                                     .max_procs = seg->max_procs,
                                     .system_id = control.sysid,
                                     .archiving = v->archive_mode != CONF_ARCHIVE_OFF };
    seg->cache_cfg =
        (struct cache_cfg){ .n_frames = (uint32_t) (v->shared_buffers / PAGE_BYTES),
                            .n_overflow = (uint32_t) (v->cache_overflow_limit / PAGE_BYTES),
                            .max_procs = seg->max_procs,
                            .snapshot_patience = (usec_t) v->snapshot_patience };
    seg->store_cfg = (struct store_cfg){ .max_procs = seg->max_procs,
                                         .max_prepared = 0,
                                         .snapshot_patience = (usec_t) v->snapshot_patience,
                                         .max_wal_size = (uint64_t) v->max_wal_size,
                                         .min_wal_size = (uint64_t) v->min_wal_size,
                                         .completion_target = v->checkpoint_completion_target };
    if (seg->cache_cfg.n_overflow == 0)
        return 0;
    r = cache_over_create(&seg->cache_cfg, dir_fd, &seg->over_fd, &seg->over_map, e);
    seg->over_reset = cache_over_reset;
    if (r == 0)
        fd_inherit(seg->over_fd, "overflow frames");
    return r;
}

/* Mapping more than there is succeeds: its pages come when they are touched, and the kernel ends
 * somebody when there are none. Better told at the start. */
static int
check_memory(const uint64_t *bytes, uint32_t n, struct err *e)
{
    struct sysinfo info;
    uint64_t wanted = 0;
    uint64_t all;

    for (uint32_t i = 0; i < n; i++)
        wanted += bytes[i];
    if (sysinfo(&info) < 0)
        return 0;
    all = ((uint64_t) info.totalram + info.totalswap) * info.mem_unit;
    if (wanted <= all)
        return 0;
    (void) ERR(e, OUT_OF_MEMORY,
               "could not make shared memory of %" PRIu64 " MB: this machine has %" PRIu64 " MB",
               wanted >> 20, all >> 20);
    err_hint(e, "Reduce shared_buffers or max_connections.");
    return -ERR_OUT_OF_MEMORY;
}

static int
map_regions(struct segment *seg, struct err *e)
{
    const uint64_t bytes[REGIONS] = {
        [REGION_PAGE] = segment_page_bytes(seg),
        [REGION_WAL] = wal_shm_bytes(&seg->wal_cfg),
        [REGION_CACHE] = cache_shm_bytes(&seg->cache_cfg),
        [REGION_STORE] = store_shm_bytes(&seg->store_cfg),
        [REGION_LOGINS] = sizeof(struct catalog_logins),
        [REGION_STATS] = stat_shm_bytes(seg->max_procs),
    };

    int r = check_memory(bytes, REGIONS, e);

    if (r == 0)
        r = segment_map(seg, bytes, REGIONS, e);
    if (r < 0)
        return r;
    seg->cache_cfg.slots = seg->shm.slots; /* whom SNAP-6 wakes */
    return 0;
}

int
segment_create(const struct conf *conf, const char *data_dir, struct segment **ret, struct err *e)
{
    struct segment *seg;
    int r = segment_alloc((unsigned) conf->v.max_connections, &seg, e);

    if (r < 0)
        return r;
    r = size_regions(seg, conf, data_dir, e);
    if (r == 0)
        r = map_regions(seg, e);
    if (r < 0) {
        segment_free(seg);
        return r;
    }
    *ret = seg;
    return 0;
}
