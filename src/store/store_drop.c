/* Oids, and databases that go. Runs in a backend that creates or drops a database, and in the
 * checkpointer. Owns: struct store_oid_shared; store_db.drop_lsn. Source: engine-rules FILE-2,
 * FILE-3. */
#include <errno.h>

#include "base/fault.h"
#include "store/store_db.h"
#include "store/store_fd.h"
#include "store/store_file.h"
#include "store/store_shared.h"
#include "wal/wal_record.h"
#include "wal/wal_xlog.h"

/* ---- oids ---- */

/* Log that oids below `limit` may be handed out, durably. */
static int
log_nextoid(struct store *st, oid_t limit, struct err *e)
{
    uint8_t main[8];
    struct buf m = buf_init(main, sizeof main);
    struct wal_rec rec = { .rmid = RM_XLOG, .info = XLOG_NEXTOID };
    int r;

    wal_xlog_put_nextoid(&m, limit);
    rec.main = main;
    rec.main_bytes = (uint32_t) m.n;
    r = wal_make_room(st->wal, STORE_SMALL_BYTES, e);
    return r < 0 ? r : store_log_small(st, &rec, NULL, e);
}

static int
next_oid(struct store *st, oid_t *ret, struct err *e)
{
    struct store_oid_shared *o = &st->sh->oids;
    oid_t next = atomic_load_explicit(&o->next, memory_order_relaxed);

    if (next > UINT32_MAX - STORE_OIDS_LOGGED)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "all object identifiers have been used");
    if (next >= atomic_load_explicit(&o->limit, memory_order_relaxed)) {
        oid_t before = atomic_load_explicit(&o->limit, memory_order_relaxed);
        int r;

        /* first, so that a checkpoint behind the record carries it; nothing is handed out yet */
        atomic_store_explicit(&o->limit, next + STORE_OIDS_LOGGED, memory_order_release);
        r = log_nextoid(st, next + STORE_OIDS_LOGGED, e);
        if (r < 0) {
            atomic_store_explicit(&o->limit, before, memory_order_release);
            return r;
        }
    }
    atomic_store_explicit(&o->next, next + 1, memory_order_release);
    *ret = next;
    return 0;
}

int
store_oid_new(struct store *st, oid_t *ret, struct err *e)
{
    struct store_oid_shared *o = &st->sh->oids;

    for (;;) {
        char dir[STORE_PATH_BYTES];
        int fd;
        int r;

        rwlock_take_exclusive(st->self, &o->lock, LOCK_OID, WAIT_OID);
        r = next_oid(st, ret, e);
        rwlock_drop_exclusive(st->self, &o->lock, LOCK_OID);
        if (r < 0)
            return r;
        store_path_dir(dir, sizeof dir, *ret);
        fd = io_open(st->io, dir, O_RDONLY | O_DIRECTORY, 0);
        if (fd == -ENOENT)
            return 0;
        if (fd < 0)
            return err_set_errno(e, -fd, "could not open directory \"%s\"", dir);
        (void) io_close(st->io, fd);
    }
}

oid_t
store_oid_for_checkpoint(const struct store *st, bool is_shutdown)
{
    const struct store_oid_shared *o = &st->sh->oids;

    return is_shutdown ? atomic_load_explicit(&o->next, memory_order_acquire)
                       : atomic_load_explicit(&o->limit, memory_order_acquire);
}

void
store_oid_start(struct store *st, oid_t next)
{
    next = MAX(next, FIRST_USER_OID);
    atomic_store_explicit(&st->sh->oids.next, next, memory_order_release);
    atomic_store_explicit(&st->sh->oids.limit, next, memory_order_release);
}

/* ---- drop (FILE-3) ---- */

static uint32_t
own_refs(const struct store *st, uint32_t db)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < st->n_refs; i++)
        n += st->refs[i] == db;
    return n;
}

int
store_drop_begin(struct store *st, uint32_t db, const char *name, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    uint32_t own = own_refs(st, db);
    uint32_t w = db_word(DB_READY, own);
    uint32_t others;

    ASSERT(own > 0 && store_writer_is_mine(st, db));
    if (atomic_compare_exchange_strong_explicit(&d->word, &w, db_word(DB_DROPPING, own),
                                                memory_order_acq_rel, memory_order_acquire)) {
        st->dropping = db;
        return 0;
    }
    if (db_word_state(w) == DB_DROPPING)
        return ERR(e, OBJECT_IN_USE, "database \"%s\" is already being dropped", name);
    (void) ERR(e, OBJECT_IN_USE, "database \"%s\" is being accessed by other users", name);
    others = db_word_refs(w) - own;
    err_detail(e,
               others == 1 ? "There is %u other session using the database."
                           : "There are %u other sessions using the database.",
               others);
    return -ERR_OBJECT_IN_USE;
}

void
store_drop_cancel(struct store *st, uint32_t db)
{
    struct store_db *d = store_db_at(st, db);
    uint32_t w = atomic_load_explicit(&d->word, memory_order_acquire);

    while (db_word_state(w) == DB_DROPPING &&
           !atomic_compare_exchange_weak_explicit(&d->word, &w, db_word(DB_READY, db_word_refs(w)),
                                                  memory_order_acq_rel, memory_order_acquire))
        ;
    if (st->dropping == db)
        st->dropping = CACHE_NONE;
    wait_wake(&d->word, WAIT_ALL);
}

void
store_drop_published(struct store *st, uint32_t db, lsn_t lsn)
{
    atomic_store_explicit(&store_db_at(st, db)->drop_lsn, lsn, memory_order_release);
    st->dropping = CACHE_NONE;
}

/* 1: gone; 0: not yet. */
static int
purge_one(struct store *st, uint32_t db, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    lsn_t lsn = atomic_load_explicit(&d->drop_lsn, memory_order_acquire);
    oid_t oid = store_db_oid(st, db);
    int r;

    if (lsn == 0 || cache_cap(st->cache) < lsn ||
        atomic_load_explicit(&d->word, memory_order_acquire) != db_word(DB_DROPPING, 0))
        return 0;
    r = FAULT(DROP_PURGE);
    if (r < 0)
        return err_set_errno(e, -r, "could not remove database %u", oid);
    cache_purge(st->cache, db, 0);
    r = store_dir_remove(st->io, oid, e);
    if (r < 0)
        return r;
    store_fd_forget(st->fds, oid, 0); /* FILE-8: locked until it is gone */
    atomic_store_explicit(&d->drop_lsn, 0, memory_order_release);
    store_db_forget(st, db);
    return 1;
}

int
store_purge_dropped(struct store *st, struct err *e)
{
    uint32_t n = atomic_load_explicit(&st->sh->n_dbs, memory_order_acquire);
    int failed = 0;
    int gone = 0;

    for (uint32_t i = 0; i < n; i++)
        if (store_db_oid(st, i) != 0 && store_db_is_dropping(st, i)) {
            int r = purge_one(st, i, e); /* one that cannot go holds up no other */

            if (r < 0) { /* nor who dropped it: it has happened, and is tried again */
                atomic_store_explicit(&store_db_at(st, i)->purge_failed, 1, memory_order_release);
                wait_wake(&store_db_at(st, i)->word, WAIT_ALL);
            }
            failed = MIN(failed, r);
            gone += MAX(r, 0);
        }
    return failed < 0 ? failed : gone;
}

int
store_drop_wait(struct store *st, oid_t oid, struct err *e)
{
    store_role_wake(st, STORE_ROLE_CHECKPOINTER);
    for (;;) {
        uint32_t db = store_db_find(st, oid);
        struct store_db *d;
        uint32_t w;
        int r;

        if (db == CACHE_NONE)
            return 0;
        d = store_db_at(st, db);
        w = atomic_load_explicit(&d->word, memory_order_acquire);
        if (db_word_state(w) != DB_DROPPING || store_db_oid(st, db) != oid ||
            atomic_load_explicit(&d->purge_failed, memory_order_acquire) != 0)
            return 0;
        r = wait_sleep(st->self, &d->word, w, 0, WAIT_DB_STATE, e);
        if (r < 0)
            return r;
    }
}
