/* A file as a backend of the VFS: only reads, one version, no locks. Runs in: `piniond verify`,
 * startup. Owns: nothing but the connection while a statement runs. */
#include "vfs/vfs_plain.h"

#include <string.h>

#include "base/buf.h"
#include "store/store_page.h"
#include "vfs/vfs.h"
#include "vfs/vfs_err.h"
#include "vfs/vfs_file.h"

#define HEADER_BYTES 100
#define COLUMNS_MAX  16
#define PROGRESS_OPS 5000
#define STOP_READS   128u

/* One statement: SQLite looks at the structure of a tree in one instruction, in which only reads
 * can be stopped. */
struct asked {
    const struct vfs_plain *f;
    uint32_t n_reads;
    bool is_stopped;
};

struct plain {
    struct asked *asked; /* borrowed */
    struct io *io;
    int fd;
    uint8_t header[HEADER_BYTES];
    pgno_t size;
};

static bool
is_stopped(struct asked *q)
{
    q->is_stopped = q->is_stopped || (q->f->stop != NULL && q->f->stop(q->f->arg));
    return q->is_stopped;
}

static int
plain_begin(void *arg, struct err *e)
{
    struct plain *t = arg;
    ssize_t n = io_pread(t->io, t->fd, t->header, HEADER_BYTES, 0);

    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read page 1");
    if (n < HEADER_BYTES)
        return ERR(e, DATA_CORRUPTED, "the file has no page 1");
    t->size = page1_size(t->header);
    return 0;
}

static void
plain_end(void *arg)
{
    (void) arg;
}

static lsn_t
plain_version(void *arg)
{
    (void) arg;
    return 1; /* there is only one */
}

static uint64_t
plain_epoch(void *arg)
{
    (void) arg;
    return 0;
}

static const uint8_t *
plain_header(void *arg)
{
    return ((struct plain *) arg)->header;
}

static pgno_t
plain_size(void *arg)
{
    return ((struct plain *) arg)->size;
}

static int
plain_read(void *arg, pgno_t pgno, void *p, struct err *e)
{
    const struct plain *t = arg;
    ssize_t n;

    if (t->asked->is_stopped || (++t->asked->n_reads % STOP_READS == 0 && is_stopped(t->asked)))
        return ERR(e, QUERY_CANCELED, "the statement was stopped");
    n = io_pread(t->io, t->fd, p, PAGE_BYTES, (uint64_t) (pgno - 1) * PAGE_BYTES);
    if (n < 0)
        return err_set_errno(e, (int) -n, "could not read page %u", pgno);
    memset((uint8_t *) p + n, 0, PAGE_BYTES - (size_t) n);
    return pgno > t->size || n < (ssize_t) PAGE_BYTES ? VFS_SHORT : 0;
}

static int
plain_fetch(void *arg, pgno_t pgno, const void **ret, struct err *e)
{
    (void) arg;
    (void) pgno;
    (void) e;
    *ret = NULL;
    return 0;
}

static void
plain_unfetch(void *arg, const void *p)
{
    (void) arg;
    (void) p;
}

static int
plain_begin_write(void *arg, struct err *e)
{
    (void) arg;
    return ERR(e, READ_ONLY_SQL_TRANSACTION, "the file is only read");
}

static int
plain_check(void *arg, struct err *e)
{
    return plain_begin_write(arg, e);
}

static int
plain_stage(void *arg, pgno_t pgno, const void *p, struct err *e)
{
    (void) pgno;
    (void) p;
    return plain_begin_write(arg, e);
}

static int
plain_truncate(void *arg, pgno_t n_pages, struct err *e)
{
    (void) n_pages;
    return plain_begin_write(arg, e);
}

static int
plain_prepare(void *arg, struct err *e)
{
    return plain_begin_write(arg, e);
}

static void
plain_close(void *arg)
{
    free(arg);
}

static const struct vfs_ops plain_ops = {
    .begin = plain_begin,
    .end = plain_end,
    .version = plain_version,
    .epoch = plain_epoch,
    .header = plain_header,
    .size = plain_size,
    .read = plain_read,
    .fetch = plain_fetch,
    .unfetch = plain_unfetch,
    .begin_write = plain_begin_write,
    .check = plain_check,
    .stage = plain_stage,
    .truncate = plain_truncate,
    .prepare = plain_prepare,
    .commit = plain_end, /* after begin_write has refused nobody comes here */
    .end_write = plain_end,
    .close = plain_close,
};

static int
on_progress(void *arg)
{
    return is_stopped(arg);
}

static int
connect_plain(struct asked *q, sqlite3 **ret_db, struct vfs_handle **ret_handle, struct err *e)
{
    struct vfs_open_args args = { .ops = &plain_ops };
    struct plain *t = calloc(1, sizeof *t);

    if (t == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    t->asked = q;
    t->io = q->f->io;
    t->fd = q->f->fd;
    args.t = t;
    return vfs_connect(&args, ret_db, ret_handle, e);
}

static int
run_statement(const struct asked *q, sqlite3 *db, struct vfs_handle *h, const char *sql,
              struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_exec(db, "PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL);
    int r = 0;

    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    while (rc == SQLITE_OK && r == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *values[COLUMNS_MAX];
        int n = MIN(sqlite3_column_count(stmt), COLUMNS_MAX);

        for (int i = 0; i < n; i++)
            values[i] = (const char *) sqlite3_column_text(stmt, i);
        if (!q->is_stopped) /* what it says of pages that it could not read is no finding */
            r = q->f->row(q->f->arg, n, values);
        rc = SQLITE_OK;
    }
    if (q->is_stopped)
        r = ERR(e, QUERY_CANCELED, "the statement was stopped");
    else if (r == 0 && rc != SQLITE_OK && rc != SQLITE_DONE)
        r = vfs_err_set(db, h, rc, e);
    (void) sqlite3_finalize(stmt);
    return r;
}

int
vfs_plain_query(const struct vfs_plain *f, const char *sql, struct err *e)
{
    struct asked q = { .f = f };
    struct vfs_handle *h = NULL;
    sqlite3 *db = NULL;
    int r = connect_plain(&q, &db, &h, e);

    if (r < 0)
        return r;
    sqlite3_progress_handler(db, PROGRESS_OPS, on_progress, &q);
    r = run_statement(&q, db, h, sql, e);
    (void) sqlite3_close(db);
    return r;
}
