/* A multi-version database in private memory.
 *
 * Runs in: startup and init (self-test, build handles), tests. Owns: all pages. */
#include "vfs/vfs_mem.h"

#include <string.h>

#include "base/buf.h"

struct vfs_mem_version {
    lsn_t lsn;
    struct vfs_mem_version *older;  /* owned */
    uint8_t data[PAGE_BYTES + 256]; /* and the slack a newer SQLite may look at (5.10) */
};

struct staged {
    pgno_t pgno;
    struct vfs_mem_version *v; /* owned until published */
};

struct vfs_mem {
    struct vfs_mem_db *db;
    bool is_open;
    lsn_t s, ver;
    uint8_t hdr[100];
    pgno_t size;
    bool is_prepared;
    struct staged *staged; /* owned; ascending only by accident */
    size_t n_staged, cap_staged;
};

void
vfs_mem_init(struct vfs_mem_db *db, lsn_t *clock)
{
    *db = (struct vfs_mem_db){ .fail_code = ERR_IO_ERROR, .epoch = 1 };
    db->clock = clock != NULL ? clock : &db->own_clock;
}

static void
free_chain(struct vfs_mem_version *v)
{
    while (v != NULL) {
        struct vfs_mem_version *older = v->older;

        free(v);
        v = older;
    }
}

void
vfs_mem_done(struct vfs_mem_db *db)
{
    ASSERT(db->n_handles == 0);
    for (pgno_t i = 0; i < db->cap; i++)
        free_chain(db->pages[i]);
    free(db->pages);
    db->pages = NULL;
    db->cap = 0;
}

struct vfs_mem *
vfs_mem_open(struct vfs_mem_db *db)
{
    struct vfs_mem *t = calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->db = db;
    db->n_handles++;
    return t;
}

/* Does this call of the step fail? */
static int
fails(struct vfs_mem_db *db, enum vfs_mem_step step, struct err *e)
{
    if (db->fail_in[step] == 0 || --db->fail_in[step] > 0)
        return 0;
    return err_set(e, -db->fail_code, "injected failure at step %d", (int) step);
}

static const struct vfs_mem_version *
version_at(const struct vfs_mem_db *db, pgno_t pgno, lsn_t s)
{
    const struct vfs_mem_version *v = pgno >= 1 && pgno <= db->cap ? db->pages[pgno - 1] : NULL;

    while (v != NULL && v->lsn > s)
        v = v->older;
    return v;
}

pgno_t
vfs_mem_size(const struct vfs_mem_db *db)
{
    const uint8_t *p = vfs_mem_page(db, 1);

    return p == NULL ? 0 : get_be32(p + 28);
}

const uint8_t *
vfs_mem_page(const struct vfs_mem_db *db, pgno_t pgno)
{
    const struct vfs_mem_version *v = version_at(db, pgno, UINT64_MAX);

    return v == NULL ? NULL : v->data;
}

static void
see(struct vfs_mem *t, lsn_t s)
{
    const struct vfs_mem_version *v = version_at(t->db, 1, s);

    t->s = s;
    t->ver = v == NULL ? 0 : v->lsn;
    memset(t->hdr, 0, sizeof t->hdr);
    if (v != NULL)
        memcpy(t->hdr, v->data, sizeof t->hdr);
    t->size = get_be32(t->hdr + 28);
}

static int
mem_begin(void *arg, struct err *e)
{
    struct vfs_mem *t = arg;
    int r = fails(t->db, VFS_MEM_BEGIN, e);

    if (r < 0)
        return r;
    ASSERT(!t->is_open);
    t->is_open = true;
    see(t, *t->db->clock);
    return 0;
}

static void
mem_end(void *arg)
{
    struct vfs_mem *t = arg;

    t->is_open = false;
    t->s = 0;
}

static lsn_t
mem_version(void *arg)
{
    return ((struct vfs_mem *) arg)->ver;
}

static uint64_t
mem_epoch(void *arg)
{
    return ((struct vfs_mem *) arg)->db->epoch;
}

static const uint8_t *
mem_header(void *arg)
{
    return ((struct vfs_mem *) arg)->hdr;
}

static pgno_t
mem_size(void *arg)
{
    return ((struct vfs_mem *) arg)->size;
}

static struct staged *
staged_find(struct vfs_mem *t, pgno_t pgno)
{
    for (size_t i = t->n_staged; i > 0; i--) {
        if (t->staged[i - 1].pgno == pgno)
            return &t->staged[i - 1];
    }
    return NULL;
}

static int
mem_read(void *arg, pgno_t pgno, void *p, struct err *e)
{
    struct vfs_mem *t = arg;
    const struct staged *st = staged_find(t, pgno);
    const struct vfs_mem_version *v;
    int r = fails(t->db, VFS_MEM_READ, e);

    if (r < 0)
        return r;
    v = st != NULL ? st->v : version_at(t->db, pgno, t->s);
    if (v == NULL)
        memset(p, 0, PAGE_BYTES);
    else
        memcpy(p, v->data, PAGE_BYTES);
    return pgno > t->size ? VFS_SHORT : 0;
}

static int
mem_fetch(void *arg, pgno_t pgno, const void **ret, struct err *e)
{
    struct vfs_mem *t = arg;
    const struct vfs_mem_version *v = version_at(t->db, pgno, t->s);
    int r = fails(t->db, VFS_MEM_FETCH, e);

    *ret = NULL;
    if (r < 0)
        return r;
    if (v == NULL || pgno == 1 || pgno > t->size || staged_find(t, pgno) != NULL)
        return 0;
    t->db->n_lent++;
    *ret = v->data;
    return 0;
}

static void
mem_unfetch(void *arg, const void *p)
{
    struct vfs_mem *t = arg;

    (void) p;
    ASSERT(t->db->n_lent > 0);
    t->db->n_lent--;
}

static int
mem_begin_write(void *arg, struct err *e)
{
    struct vfs_mem *t = arg;
    int r = fails(t->db, VFS_MEM_BEGIN_WRITE, e);

    if (r < 0)
        return r;
    if (t->db->writer != NULL && t->db->writer != t)
        return VFS_STALE; /* the queue is above: never two at RESERVED (5.14) */
    if (t->ver != t->db->published)
        return VFS_STALE; /* VFS-3 */
    t->db->writer = t;
    return 0;
}

static int
mem_check(void *arg, struct err *e)
{
    return fails(((struct vfs_mem *) arg)->db, VFS_MEM_CHECK, e);
}

static int
mem_stage(void *arg, pgno_t pgno, const void *p, struct err *e)
{
    struct vfs_mem *t = arg;
    struct staged *st = staged_find(t, pgno);
    int r = fails(t->db, VFS_MEM_STAGE, e);

    if (r < 0)
        return r;
    if (st == NULL && t->n_staged == t->cap_staged) {
        size_t cap = t->cap_staged == 0 ? 16 : t->cap_staged * 2;
        struct staged *grown = realloc(t->staged, cap * sizeof *grown);

        if (grown == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
        t->staged = grown;
        t->cap_staged = cap;
    }
    if (st == NULL) {
        struct vfs_mem_version *v = calloc(1, sizeof *v);

        if (v == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
        st = &t->staged[t->n_staged++];
        *st = (struct staged){ .pgno = pgno, .v = v };
    }
    memcpy(st->v->data, p, PAGE_BYTES);
    t->size = MAX(t->size, pgno);
    return 0;
}

static void
drop_staged(struct vfs_mem *t, pgno_t above)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n_staged; i++) {
        if (t->staged[i].pgno > above)
            free(t->staged[i].v);
        else
            t->staged[n++] = t->staged[i];
    }
    t->n_staged = n;
}

static int
mem_truncate(void *arg, pgno_t n_pages, struct err *e)
{
    struct vfs_mem *t = arg;
    int r = fails(t->db, VFS_MEM_TRUNCATE, e);

    if (r < 0)
        return r;
    if (t->is_prepared) {
        ASSERT(n_pages == t->size); /* VFS-6 */
        return 0;
    }
    drop_staged(t, n_pages);
    t->size = n_pages;
    return 0;
}

static int
mem_prepare(void *arg, struct err *e)
{
    struct vfs_mem *t = arg;
    const struct staged *first = staged_find(t, 1);
    pgno_t top = 0;
    int r = fails(t->db, VFS_MEM_PREPARE, e);

    if (r < 0)
        return r;
    if (t->n_staged == 0)
        return 0;
    if (first == NULL) /* COMMIT-2 */
        return ERR(e, INTERNAL_ERROR, "page 1 is missing from a write set");
    t->size = get_be32(first->v->data + 28);
    drop_staged(t, t->size);
    for (size_t i = 0; i < t->n_staged; i++)
        top = MAX(top, t->staged[i].pgno);
    if (top > t->db->cap) {
        pgno_t cap = MAX(top, t->db->cap * 2);
        struct vfs_mem_version **grown = realloc(t->db->pages, cap * sizeof(*grown));

        if (grown == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
        memset(grown + t->db->cap, 0, (cap - t->db->cap) * sizeof(*grown));
        t->db->pages = grown;
        t->db->cap = cap;
    }
    t->is_prepared = true;
    return 0;
}

static void
mem_commit(void *arg)
{
    struct vfs_mem *t = arg;
    struct vfs_mem_db *db = t->db;

    if (t->n_staged == 0)
        return;
    ASSERT(t->is_prepared);
    *db->clock += 8;
    for (size_t i = 0; i < t->n_staged; i++) {
        struct vfs_mem_version *v = t->staged[i].v;

        v->lsn = *db->clock;
        v->older = db->pages[t->staged[i].pgno - 1];
        db->pages[t->staged[i].pgno - 1] = v;
        if (db->n_handles == 1 && db->n_lent == 0) { /* nobody can see the older ones */
            free_chain(v->older);
            v->older = NULL;
        }
    }
    t->n_staged = 0;
    db->published = *db->clock;
    db->n_nonempty_commits++;
    see(t, *db->clock); /* VFS-5 */
}

static void
mem_end_write(void *arg)
{
    struct vfs_mem *t = arg;

    drop_staged(t, 0);
    t->is_prepared = false;
    t->size = get_be32(t->hdr + 28);
    if (t->db->writer == t)
        t->db->writer = NULL;
}

static void
mem_close(void *arg)
{
    struct vfs_mem *t = arg;

    t->db->n_handles--;
    free(t->staged);
    free(t);
}

const struct vfs_ops vfs_mem_ops = {
    .begin = mem_begin,
    .end = mem_end,
    .version = mem_version,
    .epoch = mem_epoch,
    .header = mem_header,
    .size = mem_size,
    .read = mem_read,
    .fetch = mem_fetch,
    .unfetch = mem_unfetch,
    .begin_write = mem_begin_write,
    .check = mem_check,
    .stage = mem_stage,
    .truncate = mem_truncate,
    .prepare = mem_prepare,
    .commit = mem_commit,
    .end_write = mem_end_write,
    .close = mem_close,
};
