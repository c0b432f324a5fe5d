/* Files in redo: made, noted as ghosts, gone. Runs in: startup. Owns: struct redo's notes. Source:
 * engine-rules FILE-6. */
#include <errno.h>
#include <stdio.h>

#include "base/fault.h"
#include "store/store_db.h"
#include "store/store_fd.h"
#include "store/store_redo.h"
#include "store/store_shared.h"

static struct redo_ghost *
find_ghost(struct redo *r, oid_t oid, oid_t rel)
{
    for (uint32_t i = 0; i < r->n_ghosts; i++)
        if (r->ghosts[i].oid == oid && (rel == 0 || r->ghosts[i].rel == rel))
            return &r->ghosts[i];
    return NULL;
}

static void
forget_ghosts(struct redo *r, oid_t oid, oid_t rel)
{
    struct redo_ghost *g;

    while ((g = find_ghost(r, oid, rel)) != NULL)
        *g = r->ghosts[--r->n_ghosts];
}

static int
note_ghost(struct redo *r, oid_t oid, oid_t rel, lsn_t lsn, struct err *e)
{
    if (find_ghost(r, oid, rel) != NULL)
        return 0;
    if (r->n_ghosts == r->ghosts_cap) {
        uint32_t cap = MAX(8u, r->ghosts_cap * 2);
        struct redo_ghost *ghosts = realloc(r->ghosts, cap * sizeof *ghosts);

        if (ghosts == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory for missing files");
        r->ghosts = ghosts;
        r->ghosts_cap = cap;
    }
    r->ghosts[r->n_ghosts++] = (struct redo_ghost){ .oid = oid, .rel = rel, .lsn = lsn };
    return 0;
}

int
redo_check_ghosts(const struct redo *r, struct err *e)
{
    const struct redo_ghost *g = r->ghosts;

    if (r->n_ghosts == 0)
        return 0;
    (void) ERR(e, DATA_CORRUPTED, "file \"base/%u/%u\" is missing", g->oid, g->rel);
    err_detail(e, "The commit at " LSN_FMT " changed it and nothing later removed it.",
               LSN_ARGS(g->lsn));
    err_hint(e, "Restore the cluster from a base backup.");
    return -ERR_DATA_CORRUPTED;
}

int
redo_dir_want(struct redo *r, oid_t oid, struct err *e)
{
    int rc = FAULT(REDO_FILE);

    if (rc < 0)
        return err_set_errno(e, -rc, "could not create directory \"base/%u\"", oid);
    return store_dir_make(r->st->io, oid, NULL, e);
}

int
redo_file_want(struct redo *r, oid_t oid, oid_t rel, lsn_t lsn, bool ghost, struct err *e)
{
    char dir[STORE_PATH_BYTES];
    char path[STORE_PATH_BYTES];
    struct io *io = r->st->io;
    int fd;
    int rc = store_fd_get(r->st->fds, oid, rel, &fd, NULL);

    if (rc == 0) {
        if (!ghost)
            forget_ghosts(r, oid, rel);
        return 0;
    }
    if (rc != -ENOENT)
        return store_fd_get(r->st->fds, oid, rel, &fd, e);
    rc = redo_dir_want(r, oid, e);
    if (rc < 0)
        return rc;
    store_path_dir(dir, sizeof dir, oid);
    store_path_file(path, sizeof path, oid, rel);
    fd = io_open(io, path, O_RDWR | O_CREAT, 0600);
    rc = fd;
    if (fd >= 0) {
        rc = io_fsync(io, fd);
        (void) io_close(io, fd);
    }
    if (rc >= 0)
        rc = io_fsync_dir(io, dir);
    if (rc < 0)
        return err_set_errno(e, -rc, "could not create file \"%s\"", path);
    return ghost ? note_ghost(r, oid, rel, lsn, e) : 0;
}

static void
purge_cache(struct redo *r, oid_t oid, oid_t rel)
{
    struct store *st = r->st;
    uint32_t db = store_db_find(st, oid);

    if (db == CACHE_NONE)
        return;
    cache_purge(st->cache, db, rel);
    if (rel != 0)
        return; /* one file of a database that stays */
    atomic_store_explicit(&store_db_at(st, db)->word, db_word(DB_DROPPING, 0),
                          memory_order_release);
    store_db_forget(st, db);
}

int
redo_file_gone(struct redo *r, oid_t oid, oid_t rel, struct err *e)
{
    int rc = FAULT(REDO_FILE);

    if (rc == 0 && r->st->redo_guard != NULL) { /* FILE-4 */
        rc = r->st->redo_guard(r->st->redo_guard_arg, UINT64_MAX, e);
        if (rc < 0)
            return rc;
    }
    purge_cache(r, oid, rel);
    store_fd_forget(r->st->fds, oid, rel);
    forget_ghosts(r, oid, rel);
    if (rc < 0)
        return err_set_errno(e, -rc, "could not remove \"base/%u\"", oid);
    if (rel == 0)
        return store_dir_remove(r->st->io, oid, e);
    return store_file_remove(r->st->io, oid, rel, e);
}
