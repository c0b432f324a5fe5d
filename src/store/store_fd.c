/* Open data files of this process. Runs in every process that reads or writes data files. Owns: the
 * descriptors. Source: engine-rules FILE-8. */
#include "store/store_fd.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "shm/wait.h"
#include "store/store_file.h"

#define BUCKETS 256u

/* SQLite's lock bytes: PENDING, RESERVED and the 510 of SHARED. Whoever wants to read takes PENDING
 * for a moment and then SHARED: a write lock on either keeps everybody out. So there are two halves
 * to hand over: maker and startup process keep PENDING until the checkpointer has the others. */
#define PENDING_AT UINT64_C(0x40000000)
#define OTHERS_AT  (PENDING_AT + 1)
#define OTHERS     511u
#define RETRY_USEC (10 * USEC_PER_MSEC)

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
    struct self *locker;    /* lock what is opened, as this process; NULL: do not */
    usec_t locker_patience; /* with who has a file already */
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

static void
keep(struct store_fds *f, struct entry *x)
{
    if (!x->is_kept)
        f->n_loose--;
    x->is_kept = true;
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

void
store_fds_lock_opened(struct store_fds *f, struct self *self, usec_t patience)
{
    f->locker = self;
    f->locker_patience = patience;
}

int
store_fd_lock_pending(struct io *io, int fd)
{
    return io_lock(io, fd, PENDING_AT, 1, true);
}

/* Nobody else has it open in a transaction, and nobody can any more. */
static int
lock_opened(struct store_fds *f, int fd, const char *path, struct err *e)
{
    usec_t deadline = clock_mono_usec() + f->locker_patience;
    _Atomic uint32_t nobody_wakes = 0;
    int r;

    for (;;) {
        r = io_lock(f->io, fd, PENDING_AT, 1 + OTHERS, true);
        if (r != -EAGAIN || clock_mono_usec() >= deadline)
            break;
        r = wait_sleep(f->locker, &nobody_wakes, 0, clock_mono_usec() + RETRY_USEC, WAIT_DB_STATE,
                       e);
        if (r < 0)
            return r;
    }
    if (r == -EAGAIN) {
        (void) ERR(e, OBJECT_IN_USE, "database file \"%s\" is locked by another program", path);
        err_hint(e, "End what has it open, for example sqlite3, and start again.");
        return -ERR_OBJECT_IN_USE;
    }
    if (r == 0)
        r = io_unlock(f->io, fd, OTHERS_AT, OTHERS);
    return r < 0 ? err_set_errno(e, -r, "could not lock database file \"%s\"", path) : 0;
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
    if (f->locker != NULL) {
        int r = lock_opened(f, fd, path, e);

        if (r < 0) {
            (void) io_close(f->io, fd);
            return r;
        }
    }
    *ret = add(f, oid, rel, fd, e);
    if (*ret == NULL)
        return -ERR_OUT_OF_MEMORY;
    if (f->locker != NULL)
        keep(f, *ret); /* closing it would unlock it */
    return 0;
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

int
store_fd_keep(struct store_fds *f, oid_t oid, oid_t rel, bool lock, struct err *e)
{
    int r;
    struct entry *x = get(f, oid, rel, &r, e);

    if (x == NULL)
        return r;
    if (lock) {
        r = io_lock(f->io, x->fd, OTHERS_AT, OTHERS, true);
        if (r == 0 && (r = store_fd_lock_pending(f->io, x->fd)) == -EAGAIN)
            r = STORE_FD_HALF;
        if (r < 0)
            return err_set_errno(e, -r, "could not lock database file \"base/%u/%u\"", oid, rel);
    }
    keep(f, x);
    return r;
}

bool
store_fd_is_taken_over(struct io *io, int fd)
{
    int r = io_lock(io, fd, OTHERS_AT, OTHERS, true);

    if (r == 0)
        (void) io_unlock(io, fd, OTHERS_AT, OTHERS);
    return r == -EAGAIN;
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
