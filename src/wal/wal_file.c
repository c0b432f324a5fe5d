/* Bodies of the records about files and databases.
 * Runs in: backends (make), startup (redo), tests. Pure. Owns: nothing.
 * Source: wal-format.md 2.4, 2.6. */
#include "wal/wal_file.h"

static void
put_rel(struct buf *b, const struct wal_rel *rel)
{
    buf_put_u32(b, rel->spc);
    buf_put_u32(b, rel->db);
    buf_put_u32(b, rel->rel);
}

static struct wal_rel
get_rel(struct cur *c)
{
    struct wal_rel rel;

    rel.spc = cur_u32(c);
    rel.db = cur_u32(c);
    rel.rel = cur_u32(c);
    return rel;
}

static int
check_cursor(const struct cur *c, const char *what, size_t n, struct err *e)
{
    if (c->failed || c->left != 0)
        return ERR(e, DATA_CORRUPTED, "a %s record has %zu bytes of data", what, n);
    return 0;
}

void
wal_file_put_create(struct buf *b, const struct wal_rel *rel)
{
    put_rel(b, rel);
    buf_put_u32(b, WAL_FORK_MAIN);
}

int
wal_file_get_create(const void *p, size_t n, struct wal_rel *ret_rel, uint32_t *ret_fork,
                    struct err *e)
{
    struct cur c = cur_init(p, n);

    *ret_rel = get_rel(&c);
    *ret_fork = cur_u32(&c);
    if (*ret_fork > WAL_FORK_INIT)
        return ERR(e, DATA_CORRUPTED, "a Storage CREATE record names fork %u", *ret_fork);
    return check_cursor(&c, "Storage CREATE", n, e);
}

void
wal_file_put_truncate(struct buf *b, const struct wal_truncate *t)
{
    buf_put_u32(b, t->n_blocks);
    put_rel(b, &t->rel);
    buf_put_u32(b, t->flags);
}

int
wal_file_get_truncate(const void *p, size_t n, struct wal_truncate *ret, struct err *e)
{
    struct cur c = cur_init(p, n);

    ret->n_blocks = cur_u32(&c);
    ret->rel = get_rel(&c);
    ret->flags = cur_u32(&c);
    return check_cursor(&c, "Storage TRUNCATE", n, e);
}

void
wal_file_put_db_create(struct buf *b, oid_t db, oid_t spc)
{
    buf_put_u32(b, db);
    buf_put_u32(b, spc);
}

int
wal_file_get_db_create(const void *p, size_t n, oid_t *ret_db, oid_t *ret_spc, struct err *e)
{
    struct cur c = cur_init(p, n);

    *ret_db = cur_u32(&c);
    *ret_spc = cur_u32(&c);
    return check_cursor(&c, "Database CREATE_WAL_LOG", n, e);
}

void
wal_file_put_db_drop(struct buf *b, oid_t db, oid_t spc)
{
    buf_put_u32(b, db);
    buf_put_u32(b, 1);
    buf_put_u32(b, spc);
}

int
wal_file_get_db_drop(const void *p, size_t n, struct wal_db_drop *ret, struct err *e)
{
    struct cur c = cur_init(p, n);

    ret->db = cur_u32(&c);
    ret->n_spcs = cur_u32(&c);
    ret->spcs = c.p;
    if (c.failed || c.left != 4 * (uint64_t) ret->n_spcs)
        return ERR(e, DATA_CORRUPTED, "a Database DROP record of %zu bytes lists %u tablespaces", n,
                   ret->n_spcs);
    return 0;
}
