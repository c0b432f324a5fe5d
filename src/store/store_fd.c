/* Open data files of this process. Runs in every process that reads or writes data files. Owns: the
 * descriptors. Source: engine-rules FILE-8. */
#include "store/store_fd.h"

#include <errno.h>

#include "store/store_file.h"

#define BUCKETS 256u

/* SQLite's lock bytes: PENDING, RESERVED and the 510 of SHARED. */
#define LOCK_BYTES_AT UINT64_C(0x40000000)
#define LOCK_BYTES    512u

struct entry {
    struct entry *next; /* in its bucket */
    uint64_t used;      /* store_fds.clock at the last use */
    oid_t oid, rel;
    int fd;
    bool is_kept;
};

struct store_fds {
    struct io *io;
    uint32_t max;
    uint32_t n_loose; /* entries that are not kept */
    uint64_t clock;
    struct entry *bucket[BUCKETS];
};

static struct entry **
bucket_of(struct store_fds *f, oid_t oid, oid_t rel)
{
    return &f->bucket[((oid * 31u) ^ rel) % BUCKETS];
}

int
store_fds_new(struct store_fds **ret, struct io *io, uint32_t max, struct err *e)
{
    struct store_fds *f = calloc(1, sizeof *f);

    if (f == NULL)
        return ERR(e, OUT_OF_MEMORY, "could not allocate the table of open files");
    f->io = io;
    f->max = max;
    *ret = f;
    return 0;
}

static void
close_at(struct store_fds *f, struct entry **at)
{
    struct entry *x = *at;

    *at = x->next;
    if (!x->is_kept)
        f->n_loose--;
    (void) io_close(f->io, x->fd);
    free(x);
}

void
store_fds_free(struct store_fds *f)
{
    if (f == NULL)
        return;
    for (uint32_t i = 0; i < BUCKETS; i++)
        while (f->bucket[i] != NULL)
            close_at(f, &f->bucket[i]);
    free(f);
}

static struct entry *
find(struct store_fds *f, oid_t oid, oid_t rel)
{
    for (struct entry *x = *bucket_of(f, oid, rel); x != NULL; x = x->next)
        if (x->oid == oid && x->rel == rel)
            return x;
    return NULL;
}

/* Close the loose one that was used longest ago. */
static void
close_oldest(struct store_fds *f)
{
    struct entry **oldest = NULL;

    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct entry **at = &f->bucket[i]; *at != NULL; at = &(*at)->next)
            if (!(*at)->is_kept && (oldest == NULL || (*at)->used < (*oldest)->used))
                oldest = at;
    if (oldest != NULL)
        close_at(f, oldest);
}

/* Takes fd. NULL: no memory. */
static struct entry *
add(struct store_fds *f, oid_t oid, oid_t rel, int fd, struct err *e)
{
    struct entry **bucket = bucket_of(f, oid, rel);
    struct entry *x = calloc(1, sizeof *x);

    if (x == NULL) {
        (void) io_close(f->io, fd);
        (void) ERR(e, OUT_OF_MEMORY, "could not remember an open file");
        return NULL;
    }
    *x = (struct entry){ .next = *bucket, .oid = oid, .rel = rel, .fd = fd };
    *bucket = x;
    f->n_loose++;
    return x;
}

static int
open_file(struct store_fds *f, oid_t oid, oid_t rel, struct entry **ret, struct err *e)
{
    char path[64];
    int fd;

    if (f->n_loose >= f->max)
        close_oldest(f);
    store_path_file(path, sizeof path, oid, rel);
    fd = io_open(f->io, path, O_RDWR, 0);
    if (fd == -EMFILE || fd == -ENFILE) {
        close_oldest(f);
        fd = io_open(f->io, path, O_RDWR, 0);
    }
    if (fd < 0)
        return err_set_errno(e, -fd, "could not open file \"%s\"", path);
    *ret = add(f, oid, rel, fd, e);
    return *ret != NULL ? 0 : -ERR_OUT_OF_MEMORY;
}

/* NULL: *ret_r says why. */
static struct entry *
get(struct store_fds *f, oid_t oid, oid_t rel, int *ret_r, struct err *e)
{
    struct entry *x = find(f, oid, rel);

    *ret_r = 0;
    if (x == NULL)
        *ret_r = open_file(f, oid, rel, &x, e);
    if (x != NULL)
        x->used = ++f->clock;
    return x;
}

int
store_fd_get(struct store_fds *f, oid_t oid, oid_t rel, int *ret_fd, struct err *e)
{
    int r;
    struct entry *x = get(f, oid, rel, &r, e);

    if (x == NULL)
        return r;
    *ret_fd = x->fd;
    return 0;
}

static void
keep(struct store_fds *f, struct entry *x)
{
    if (!x->is_kept)
        f->n_loose--;
    x->is_kept = true;
}

int
store_fd_keep(struct store_fds *f, oid_t oid, oid_t rel, bool lock, struct err *e)
{
    int r;
    struct entry *x = get(f, oid, rel, &r, e);

    if (x == NULL)
        return r;
    if (lock) {
        r = io_lock(f->io, x->fd, LOCK_BYTES_AT, LOCK_BYTES, true);
        if (r < 0)
            return err_set_errno(e, -r, "could not lock database file \"base/%u/%u\"", oid, rel);
    }
    keep(f, x);
    return 0;
}

int
store_fd_adopt(struct store_fds *f, oid_t oid, oid_t rel, int fd, struct err *e)
{
    struct entry *x;

    store_fd_forget(f, oid, rel);
    x = add(f, oid, rel, fd, e);
    if (x == NULL)
        return -ERR_OUT_OF_MEMORY;
    keep(f, x);
    return 0;
}

void
store_fd_forget(struct store_fds *f, oid_t oid, oid_t rel)
{
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct entry **at = &f->bucket[i]; *at != NULL;) {
            if ((*at)->oid == oid && (rel == 0 || (*at)->rel == rel))
                close_at(f, at);
            else
                at = &(*at)->next;
        }
}

void
store_fd_sweep(struct store_fds *f, bool (*is_wanted)(void *arg, oid_t oid, oid_t rel), void *arg)
{
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct entry **at = &f->bucket[i]; *at != NULL;) {
            if (!is_wanted(arg, (*at)->oid, (*at)->rel))
                close_at(f, at);
            else
                at = &(*at)->next;
        }
}
