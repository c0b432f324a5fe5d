/* Files that forget: see io_sim.h. Runs in tests. Owns the whole tree. */
#include "sim/io_sim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "sim/io_sim_tree.h"

static struct io_sim *
sim_of(struct io *io)
{
    return io->ctx;
}

/* ---- every call ---- */

static bool
hits_rule(struct io_sim *s, enum io_sim_op op, const char *path)
{
    struct fail_rule *f = &s->fail;

    s->passed++;
    if (f->times == 0 || (f->op != op && f->op != SIM_ANY) ||
        strncmp(path, f->prefix, strlen(f->prefix)) != 0)
        return false;
    f->hits++;
    if (f->hits <= f->after || f->hits - f->after > f->times)
        return false;
    f->fired = true;
    return true;
}

static void
cut(struct io_sim *s)
{
    s->cut_at = 0;
    s->cut_hook(s->cut_arg);
    abort(); /* the hook must not return */
}

/* Counts the call. True: the cut comes after its effect (call cut()). */
static bool
begin(struct io_sim *s)
{
    if (s->call_hook != NULL)
        s->call_hook(s->call_arg);
    s->calls++;
    if (s->cut_at == 0 || s->calls != s->cut_at)
        return false;
    if (rng_below(&s->rng, 2) == 0)
        cut(s);
    return true;
}

static struct inode *
inode_of(struct io_sim *s, int fd)
{
    ASSERT(fd >= 0 && fd < SIM_FDS && s->fds[fd].inode != NULL);
    return s->fds[fd].inode;
}

/* ---- the table ---- */

static int
sim_open(struct io *io, const char *path, int flags, mode_t mode)
{
    struct io_sim *s = sim_of(io);
    bool late = (flags & O_CREAT) != 0 && begin(s);
    struct name *found = io_sim_find(&s->now, path);
    struct inode *in;
    int fd = 0;

    (void) mode;
    if (hits_rule(s, SIM_OPEN, path))
        return -s->fail.error;
    if (found != NULL && (flags & O_EXCL) != 0 && (flags & O_CREAT) != 0)
        return -EEXIST;
    if (found == NULL && (flags & O_CREAT) == 0)
        return -ENOENT;
    if (!io_sim_has_parent(&s->now, path))
        return -ENOENT;
    while (fd < SIM_FDS && s->fds[fd].inode != NULL)
        fd++;
    if (fd == SIM_FDS)
        return -EMFILE;
    if (found == NULL) {
        in = io_sim_inode_new(s, false);
        io_sim_change_names(s, NAME_ADD, "", path, in);
    } else
        in = found->inode;
    if (in->is_dir && (flags & O_ACCMODE) != O_RDONLY)
        return -EISDIR;
    if ((flags & O_TRUNC) != 0 && in->now.n > 0) {
        io_sim_add_change(in, true, 0, NULL, 0);
        io_sim_content_size(&in->now, 0);
    }
    if (late)
        cut(s);
    s->fds[fd].inode = in;
    (void) snprintf(s->fds[fd].path, SIM_PATH, "%s", path);
    return fd;
}

static int
sim_close(struct io *io, int fd)
{
    struct io_sim *s = sim_of(io);
    struct inode *in = inode_of(s, fd);

    if (in->lock_fd == fd)
        in->lock_fd = -1;
    s->fds[fd].inode = NULL;
    return 0;
}

static ssize_t
sim_pread(struct io *io, int fd, void *p, size_t n, uint64_t off)
{
    struct io_sim *s = sim_of(io);
    struct inode *in = inode_of(s, fd);

    if (s->call_hook != NULL)
        s->call_hook(s->call_arg);
    if (hits_rule(s, SIM_READ, s->fds[fd].path))
        return -s->fail.error;
    if (off >= in->now.n || n == 0)
        return 0;
    n = MIN(n, in->now.n - off);
    io_sim_content_get(&in->now, off, p, n);
    return (ssize_t) n;
}

static bool
take_space(struct io_sim *s, struct inode *in, uint64_t end)
{
    uint64_t have = MAX(in->now.n, in->allocated);

    if (end <= have || s->space == UINT64_MAX)
        return true;
    if (end - have > s->space)
        return false;
    s->space -= end - have;
    in->allocated = end;
    return true;
}

static ssize_t
sim_pwrite(struct io *io, int fd, const void *p, size_t n, uint64_t off)
{
    struct io_sim *s = sim_of(io);
    struct inode *in = inode_of(s, fd);
    bool late = begin(s);

    if (hits_rule(s, SIM_WRITE, s->fds[fd].path)) {
        if (s->fail.half && n > 1 && take_space(s, in, off + n / 2)) {
            io_sim_add_change(in, false, off, p, n / 2);
            io_sim_content_put(&in->now, off, p, n / 2);
        }
        return -s->fail.error;
    }
    if (!take_space(s, in, off + n))
        return -ENOSPC;
    io_sim_add_change(in, false, off, p, n);
    io_sim_content_put(&in->now, off, p, n);
    if (late)
        cut(s);
    return (ssize_t) n;
}

static int
sim_fsync(struct io *io, int fd)
{
    struct io_sim *s = sim_of(io);
    struct inode *in = inode_of(s, fd);
    bool late = begin(s);

    if (hits_rule(s, SIM_SYNC, s->fds[fd].path)) {
        in->is_stale |= in->first != NULL; /* a second failure makes nothing right again */
        io_sim_settle_some(s, in, 2, true);
        return -s->fail.error;
    }
    io_sim_settle_inode(in);
    if (late)
        cut(s);
    return 0;
}

static int
sim_fsync_dir(struct io *io, const char *path)
{
    struct io_sim *s = sim_of(io);
    bool late = begin(s);

    if (hits_rule(s, SIM_SYNC_DIR, path))
        return -s->fail.error;
    if (path[0] != '\0' && strcmp(path, ".") != 0 && io_sim_find(&s->now, path) == NULL)
        return -ENOENT;
    io_sim_settle_names(s, path);
    if (late)
        cut(s);
    return 0;
}

static int
sim_truncate(struct io *io, int fd, uint64_t bytes)
{
    struct io_sim *s = sim_of(io);
    struct inode *in = inode_of(s, fd);
    bool late = begin(s);

    if (hits_rule(s, SIM_TRUNCATE, s->fds[fd].path))
        return -s->fail.error;
    io_sim_add_change(in, true, bytes, NULL, 0);
    io_sim_content_size(&in->now, bytes);
    if (late)
        cut(s);
    return 0;
}

static int
sim_allocate(struct io *io, int fd, uint64_t off, uint64_t n)
{
    struct io_sim *s = sim_of(io);
    struct inode *in = inode_of(s, fd);
    bool late = begin(s);
    bool fits;

    if (hits_rule(s, SIM_ALLOCATE, s->fds[fd].path))
        return -s->fail.error;
    fits = take_space(s, in, off + n);
    if (late)
        cut(s);
    return fits ? 0 : -ENOSPC;
}

static int
sim_size(struct io *io, int fd, uint64_t *ret_bytes)
{
    struct io_sim *s = sim_of(io);

    if (hits_rule(s, SIM_OTHER, s->fds[fd].path))
        return -s->fail.error;
    *ret_bytes = inode_of(s, fd)->now.n;
    return 0;
}

static int
sim_rename(struct io *io, const char *from, const char *to)
{
    struct io_sim *s = sim_of(io);
    bool late = begin(s);
    struct name *found = io_sim_find(&s->now, from);

    if (hits_rule(s, SIM_RENAME, from))
        return -s->fail.error;
    if (found == NULL || !io_sim_has_parent(&s->now, to))
        return -ENOENT;
    ASSERT(!found->inode->is_dir && io_sim_dir_bytes(from) == io_sim_dir_bytes(to));
    io_sim_change_names(s, NAME_RENAME, from, to, found->inode);
    if (late)
        cut(s);
    return 0;
}

static int
sim_unlink(struct io *io, const char *path)
{
    struct io_sim *s = sim_of(io);
    bool late = begin(s);
    struct name *found = io_sim_find(&s->now, path);

    if (hits_rule(s, SIM_UNLINK, path))
        return -s->fail.error;
    if (found == NULL)
        return -ENOENT;
    if (found->inode->is_dir)
        return -EISDIR;
    io_sim_change_names(s, NAME_REMOVE, path, "", found->inode);
    if (late)
        cut(s);
    return 0;
}

static int
sim_mkdir(struct io *io, const char *path, mode_t mode)
{
    struct io_sim *s = sim_of(io);
    bool late = begin(s);

    (void) mode;
    if (hits_rule(s, SIM_MKDIR, path))
        return -s->fail.error;
    if (io_sim_find(&s->now, path) != NULL)
        return -EEXIST;
    if (!io_sim_has_parent(&s->now, path))
        return -ENOENT;
    io_sim_change_names(s, NAME_ADD, "", path, io_sim_inode_new(s, true));
    if (late)
        cut(s);
    return 0;
}

static int
sim_rmdir(struct io *io, const char *path)
{
    struct io_sim *s = sim_of(io);
    bool late = begin(s);
    struct name *found = io_sim_find(&s->now, path);

    if (hits_rule(s, SIM_MKDIR, path))
        return -s->fail.error;
    if (found == NULL)
        return -ENOENT;
    if (!found->inode->is_dir)
        return -ENOTDIR;
    for (uint32_t i = 0; i < s->now.n; i++)
        if (io_sim_is_in_dir(s->now.at[i].path, path))
            return -ENOTEMPTY;
    io_sim_change_names(s, NAME_REMOVE, path, "", found->inode);
    if (late)
        cut(s);
    return 0;
}

static int
sim_list(struct io *io, const char *path, io_list_fn fn, void *arg)
{
    struct io_sim *s = sim_of(io);
    struct names *copy;
    int r = 0;

    if (hits_rule(s, SIM_OTHER, path))
        return -s->fail.error;
    if (path[0] != '\0' && strcmp(path, ".") != 0 &&
        (io_sim_find(&s->now, path) == NULL || !io_sim_find(&s->now, path)->inode->is_dir))
        return -ENOENT;
    copy = malloc(sizeof *copy); /* fn may remove what it is told of */
    ASSERT(copy != NULL);
    io_sim_names_copy(copy, &s->now);
    for (uint32_t i = 0; i < copy->n && r >= 0; i++)
        if (io_sim_is_in_dir(copy->at[i].path, path)) {
            size_t skip = io_sim_dir_bytes(copy->at[i].path);

            r = fn(arg, copy->at[i].path + (skip > 0 ? skip + 1 : 0), copy->at[i].inode->is_dir);
        }
    free(copy);
    return r < 0 ? r : 0;
}

static int
sim_syncfs(struct io *io, int fd)
{
    struct io_sim *s = sim_of(io);
    bool late = begin(s);

    (void) fd;
    if (hits_rule(s, SIM_SYNCFS, ""))
        return -s->fail.error;
    for (struct inode *in = s->inodes; in != NULL; in = in->next)
        io_sim_settle_inode(in);
    io_sim_settle_names(s, NULL);
    if (late)
        cut(s);
    return 0;
}

/* What is not synced may reach the disk at any time anyway (cut()). */
static int
sim_write_out(struct io *io, int fd)
{
    struct io_sim *s = sim_of(io);

    return hits_rule(s, SIM_OTHER, s->fds[fd].path) ? -s->fail.error : 0;
}

/* Clean pages are read from the disk again; dirty ones stay. */
static int
sim_dontneed(struct io *io, int fd)
{
    struct io_sim *s = sim_of(io);
    struct inode *in = inode_of(s, fd);

    if (hits_rule(s, SIM_OTHER, s->fds[fd].path))
        return -s->fail.error;
    if (in->is_stale) {
        io_sim_content_copy(&in->now, &in->disk);
        for (struct change *c = in->first; c != NULL; c = c->next)
            io_sim_apply_change(&in->now, c);
        in->is_stale = false;
    }
    return 0;
}

static int
sim_lock(struct io *io, int fd, uint64_t off, uint64_t n, bool exclusive)
{
    struct inode *in = inode_of(sim_of(io), fd);

    (void) off;
    (void) n;
    if (in->lock_fd >= 0 && in->lock_fd != fd)
        return -EAGAIN;
    if (exclusive)
        in->lock_fd = fd;
    return 0;
}

static int
sim_unlock(struct io *io, int fd, uint64_t off, uint64_t n)
{
    struct inode *in = inode_of(sim_of(io), fd);

    (void) off;
    (void) n;
    if (in->lock_fd == fd)
        in->lock_fd = -1;
    return 0;
}

static const struct io_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .fsync = sim_fsync,
    .fdatasync = sim_fsync,
    .fsync_dir = sim_fsync_dir,
    .truncate = sim_truncate,
    .allocate = sim_allocate,
    .size = sim_size,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .list = sim_list,
    .syncfs = sim_syncfs,
    .dontneed = sim_dontneed,
    .write_out = sim_write_out,
    .lock = sim_lock,
    .unlock = sim_unlock,
};

/* ---- for tests ---- */

struct io_sim *
io_sim_new(uint64_t seed)
{
    struct io_sim *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    rng_init(&s->rng, seed);
    s->io = (struct io){ .ops = &sim_ops, .dir_fd = -1, .ctx = s };
    s->sector = 512;
    s->space = UINT64_MAX;
    return s;
}

void
io_sim_free(struct io_sim *s)
{
    if (s == NULL)
        return;
    while (s->inodes != NULL) {
        struct inode *in = s->inodes;

        s->inodes = in->next;
        io_sim_inode_free(in);
    }
    free(s);
}

struct io *
io_sim_io(struct io_sim *s)
{
    return &s->io;
}

struct io_sim *
io_sim_clone(const struct io_sim *from, uint64_t seed)
{
    struct io_sim *s = io_sim_new(seed);

    if (s == NULL)
        return NULL;
    s->sector = from->sector;
    for (uint32_t i = 0; i < from->now.n; i++) {
        const struct name *name = &from->now.at[i];
        struct inode *in = io_sim_inode_new(s, name->inode->is_dir);

        io_sim_content_copy(&in->now, &name->inode->now);
        io_sim_content_copy(&in->disk, &name->inode->now);
        io_sim_names_set(&s->now, name->path, in);
        io_sim_names_set(&s->disk, name->path, in);
    }
    return s;
}

void
io_sim_set_sector(struct io_sim *s, uint32_t bytes)
{
    s->sector = bytes;
}

uint64_t
io_sim_calls(const struct io_sim *s)
{
    return s->calls;
}

uint64_t
io_sim_passed(const struct io_sim *s)
{
    return s->passed;
}

void
io_sim_cut_after(struct io_sim *s, uint64_t n, void (*hook)(void *arg), void *arg)
{
    s->cut_at = n == 0 ? 0 : s->calls + n;
    s->cut_hook = hook;
    s->cut_arg = arg;
}

void
io_sim_on_call(struct io_sim *s, void (*fn)(void *arg), void *arg)
{
    s->call_hook = fn;
    s->call_arg = arg;
}

void
io_sim_process_crash(struct io_sim *s)
{
    for (uint32_t i = 0; i < SIM_FDS; i++)
        s->fds[i].inode = NULL;
    for (struct inode *in = s->inodes; in != NULL; in = in->next)
        in->lock_fd = -1;
    s->cut_at = 0;
    io_sim_collect(s);
}

void
io_sim_power_cut(struct io_sim *s)
{
    /* Sometimes the disk had nearly caught up, sometimes it had done nothing. */
    uint32_t keep = (uint32_t) rng_below(&s->rng, 9);
    struct names *disk = &s->disk;

    for (struct inode *in = s->inodes; in != NULL; in = in->next) {
        bool differs = in->first != NULL || in->is_stale;

        io_sim_settle_some(s, in, keep, false);
        in->allocated = 0;
        if (differs)
            io_sim_content_copy(&in->now, &in->disk);
        in->is_stale = false;
    }
    for (uint32_t i = 0; i < s->n_pending; i++)
        if (rng_below(&s->rng, 8) < keep)
            io_sim_apply_names(disk, &s->pending[i]);
    s->n_pending = 0;
    io_sim_drop_orphans(disk);
    io_sim_names_copy(&s->now, disk);
    io_sim_process_crash(s);
}

void
io_sim_fail(struct io_sim *s, enum io_sim_op op, const char *prefix, uint32_t after, uint32_t times,
            int error)
{
    s->fail = (struct fail_rule){ .op = op, .after = after, .times = times, .error = error };
    (void) snprintf(s->fail.prefix, sizeof s->fail.prefix, "%s", prefix);
}

void
io_sim_fail_any(struct io_sim *s, uint32_t after, int error, bool half)
{
    s->fail = (struct fail_rule){
        .op = SIM_ANY, .after = after, .times = 1, .error = error, .half = half
    };
}

bool
io_sim_failed(const struct io_sim *s)
{
    return s->fail.fired;
}

void
io_sim_set_space(struct io_sim *s, uint64_t bytes)
{
    s->space = bytes;
}

int
io_sim_poke(struct io_sim *s, const char *path, uint64_t off, const void *p, size_t n)
{
    struct name *found = io_sim_find(&s->now, path);

    if (found == NULL)
        return -ENOENT;
    io_sim_content_put(&found->inode->now, off, p, n);
    io_sim_content_put(&found->inode->disk, off, p, n);
    return 0;
}

static int
add_to_crc(void *arg, const uint8_t *p, size_t n)
{
    uint32_t *crc = arg;

    *crc = crc32c(*crc, p, n);
    return 0;
}

uint64_t
io_sim_digest(const struct io_sim *s, const char *prefix)
{
    uint64_t sum = 0; /* the order of names does not matter */

    for (uint32_t i = 0; i < s->now.n; i++) {
        const struct name *name = &s->now.at[i];
        uint32_t path_crc = crc32c(0, name->path, strlen(name->path));
        uint32_t crc = path_crc;

        (void) io_sim_content_each(&name->inode->now, add_to_crc, &crc);
        if (strncmp(name->path, prefix, strlen(prefix)) == 0)
            sum += ((uint64_t) crc << 32 | path_crc) * UINT64_C(0x9E3779B97F4A7C15);
    }
    return sum;
}

static int
add_to_file(void *arg, const uint8_t *p, size_t n)
{
    const int *fd = arg;

    return write(*fd, p, n) == (ssize_t) n ? 0 : -1;
}

int
io_sim_export(const struct io_sim *s, int dir_fd)
{
    for (int dirs = 2; dirs >= 0; dirs--) /* two levels of directories, then files */
        for (uint32_t i = 0; i < s->now.n; i++) {
            const struct name *name = &s->now.at[i];
            const struct content *c = &name->inode->now;
            CLEANUP(closep) int fd = -1;

            if (name->inode->is_dir != (dirs > 0))
                continue;
            if (dirs > 0) {
                (void) mkdirat(dir_fd, name->path, 0700);
                continue;
            }
            fd = openat(dir_fd, name->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
            if (fd < 0 || io_sim_content_each(c, add_to_file, &fd) < 0)
                return -errno;
        }
    return 0;
}
