/* The table of open databases and their writer locks. Runs in every attached process. Owns:
 * store_shared.db[], db_oid[]. Source: engine-rules FILE-1, COMMIT-1. */
#include "store/store_db.h"

#include <errno.h>
#include <sched.h>

#include "base/clock.h"
#include "store/store_fd.h"
#include "store/store_page.h"
#include "store/store_shared.h"
#include "store/store_writeback.h"

/* ---- finding ---- */

uint32_t
store_db_find(const struct store *st, oid_t oid)
{
    uint32_t n = atomic_load_explicit(&st->sh->n_dbs, memory_order_acquire);

    for (uint32_t i = 0; i < n; i++)
        if (atomic_load_explicit(&st->sh->db_oid[i], memory_order_acquire) == oid)
            return i;
    return CACHE_NONE;
}

uint32_t
store_db_count(const struct store *st)
{
    return atomic_load_explicit(&st->sh->n_dbs, memory_order_acquire);
}

oid_t
store_db_oid(const struct store *st, uint32_t db)
{
    ASSERT(db < CACHE_DBS);
    return atomic_load_explicit(&st->sh->db_oid[db], memory_order_acquire);
}

lsn_t
store_db_published(const struct store *st, uint32_t db)
{
    return atomic_load_explicit(&store_db_at(st, db)->published, memory_order_acquire);
}

enum store_db_state
store_db_state(const struct store *st, uint32_t db)
{
    return db_word_state(atomic_load_explicit(&store_db_at(st, db)->word, memory_order_acquire));
}

bool
store_db_is_dropping(const struct store *st, uint32_t db)
{
    return store_db_state(st, db) == DB_DROPPING;
}

/* ---- references ---- */

/* Room for one more, before the reference is taken: so that the exit callback knows each of them.
 */
static int
reserve_ref(struct store *st, struct err *e)
{
    if (st->n_refs == st->refs_cap) {
        uint32_t cap = MAX(8u, st->refs_cap * 2);
        uint32_t *refs = realloc(st->refs, cap * sizeof *refs);

        if (refs == NULL)
            return ERR(e, OUT_OF_MEMORY, "could not remember an open database");
        st->refs = refs;
        st->refs_cap = cap;
    }
    return 0;
}

static void
drop_word_ref(struct store_db *d)
{
    (void) atomic_fetch_sub_explicit(&d->word, DB_REF, memory_order_acq_rel);
    wait_wake(&d->word, WAIT_ALL); /* DROP with FORCE, and the purge, wait for it */
}

void
store_db_detach(struct store *st, uint32_t db)
{
    struct store_db *d = store_db_at(st, db);

    for (uint32_t i = st->n_refs; i-- > 0;)
        if (st->refs[i] == db) {
            st->refs[i] = st->refs[--st->n_refs];
            atomic_store_explicit(&d->used_usec, clock_mono_usec(), memory_order_relaxed);
            drop_word_ref(d);
            return;
        }
    assert_failed("no reference of this database is held", __FILE__, __LINE__);
}

/* The slot becomes free: word first, so that nobody claims it before it is. */
static void
free_slot(struct store *st, uint32_t db)
{
    struct store_db *d = store_db_at(st, db);

    atomic_store_explicit(&d->word, db_word(DB_FREE, 0), memory_order_release);
    atomic_store_explicit(&st->sh->db_oid[db], 0, memory_order_release);
    wait_wake(&d->word, WAIT_ALL);
}

void
store_db_forget(struct store *st, uint32_t db)
{
    struct store_db *d = store_db_at(st, db);

    ASSERT(atomic_load_explicit(&d->word, memory_order_acquire) == db_word(DB_DROPPING, 0));
    free_slot(st, db);
}

/* ---- opening ---- */

static void
set_fields(struct store_db *d, oid_t rel, lsn_t p, pgno_t size)
{
    atomic_store_explicit(&d->needs_sync, 0, memory_order_relaxed);
    atomic_store_explicit(&d->file[0].since, 0, memory_order_relaxed);
    atomic_store_explicit(&d->file[0].rel, rel, memory_order_relaxed);
    atomic_store_explicit(&d->file[1].since, 0, memory_order_relaxed);
    atomic_store_explicit(&d->file[1].rel, 0, memory_order_relaxed);
    atomic_store_explicit(&d->cur, 0, memory_order_relaxed);
    atomic_store_explicit(&d->shrink_lsn, 0, memory_order_relaxed);
    atomic_store_explicit(&d->drop_lsn, 0, memory_order_relaxed);
    atomic_store_explicit(&d->unflushed, 0, memory_order_relaxed);
    atomic_store_explicit(&d->allocated, 0, memory_order_relaxed);
    atomic_store_explicit(&d->purge_failed, 0, memory_order_relaxed);
    atomic_store_explicit(&d->size, size, memory_order_relaxed);
    atomic_store_explicit(&d->published, p, memory_order_release);
}

/* FILE-1: page 1 from disk, no Page: nobody has changed it in memory. */
static int
read_page1(struct store *st, struct store_db *d, oid_t oid, oid_t rel, struct err *e)
{
    struct cache_key key = { oid, rel, 0 };
    uint64_t bytes = 0;
    lsn_t lsn;
    int r;

    r = store_file_read(st, &key, st->page_buf, &lsn, e);
    if (r == -ENOENT) {
        err_clear(e);
        return ERR(e, UNDEFINED_FILE, "database file \"base/%u/%u\" does not exist", oid, rel);
    }
    if (r == 0)
        r = store_file_size(st, oid, rel, &bytes, e);
    if (r < 0)
        return r;
    pgno_t size = page1_size(st->page_buf);

    if (size == 0 || lsn == 0)
        return ERR(e, DATA_CORRUPTED, "page 1 of database file \"base/%u/%u\" is empty", oid, rel);
    set_fields(d, rel, lsn, size);
    atomic_store_explicit(&d->allocated, bytes, memory_order_relaxed);
    if (bytes > (uint64_t) size * PAGE_BYTES)
        atomic_store_explicit(&d->shrink_lsn, lsn, memory_order_relaxed);
    return 0;
}

/* A free element becomes OPENING with one reference, ours. CACHE_NONE: none is free; *ret_found:
 * somebody else has put `oid` there meanwhile. */
static uint32_t
claim(struct store *st, oid_t oid, bool *ret_found)
{
    struct store_shared *sh = st->sh;
    uint32_t db = CACHE_NONE;

    spin_take(st->self, &sh->db_table, LOCK_DB_TABLE);
    uint32_t n = atomic_load_explicit(&sh->n_dbs, memory_order_relaxed);

    *ret_found = store_db_find(st, oid) != CACHE_NONE;
    for (uint32_t i = 0; i < n && !*ret_found && db == CACHE_NONE; i++)
        if (atomic_load_explicit(&sh->db_oid[i], memory_order_acquire) == 0)
            db = i;
    if (!*ret_found && db == CACHE_NONE && n < CACHE_DBS) {
        db = n;
        atomic_store_explicit(&sh->n_dbs, n + 1, memory_order_release);
    }
    if (db != CACHE_NONE) {
        atomic_store_explicit(&sh->db[db].word, db_word(DB_OPENING, 1), memory_order_relaxed);
        atomic_store_explicit(&sh->db_oid[db], oid, memory_order_release);
    }
    spin_drop(st->self, &sh->db_table, LOCK_DB_TABLE);
    return db;
}

/* ---- reuse (FILE-1) ---- */

/* The unreferenced database used longest ago becomes OPENING, so that nobody attaches. */
static uint32_t
choose_victim(struct store *st)
{
    uint32_t n = atomic_load_explicit(&st->sh->n_dbs, memory_order_acquire);
    usec_t oldest = UINT64_MAX;
    uint32_t db = CACHE_NONE;
    uint32_t w = db_word(DB_READY, 0);

    for (uint32_t i = 0; i < n; i++) {
        struct store_db *d = &st->sh->db[i];
        usec_t used = atomic_load_explicit(&d->used_usec, memory_order_relaxed);

        if (atomic_load_explicit(&d->word, memory_order_relaxed) == w && used < oldest) {
            oldest = used;
            db = i;
        }
    }
    if (db != CACHE_NONE &&
        !atomic_compare_exchange_strong_explicit(&st->sh->db[db].word, &w, db_word(DB_OPENING, 0),
                                                 memory_order_acq_rel, memory_order_relaxed))
        return CACHE_NONE;
    return db;
}

/* Everything of it to disk, its pages out of the cache. 0, > 0: not now, < 0. */
static int
empty_database(struct store *st, uint32_t db, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    lsn_t p = atomic_load_explicit(&d->published, memory_order_acquire);
    int r;

    if (atomic_load_explicit(&st->sh->in_redo, memory_order_relaxed) == 0)
        store_wait_durable(st, p);
    r = store_write_back_all(st, db, e);
    if (r == 0)
        r = store_file_cut(st, db, false, e);
    if (r != 0)
        return r;
    r = store_file_sync_idle(st, db, e);
    if (r < 0)
        return r;
    if (atomic_load_explicit(&d->shrink_lsn, memory_order_acquire) != 0 || cache_cap(st->cache) < p)
        return 1;
    (void) cache_prune(st->cache, db);
    cache_purge(st->cache, db, 0);
    return cache_db_is_empty(st->cache, db) ? 0 : 1;
}

static int
make_free_slot(struct store *st, struct err *e)
{
    uint32_t db = choose_victim(st);
    int r;

    if (db == CACHE_NONE)
        return ERR(e, TOO_MANY_CONNECTIONS, "too many databases are open at once");
    r = empty_database(st, db, e);
    if (r == 0) {
        free_slot(st, db);
        return 0;
    }
    atomic_store_explicit(&st->sh->db[db].word, db_word(DB_READY, 0), memory_order_release);
    wait_wake(&st->sh->db[db].word, WAIT_ALL);
    return r < 0 ? r : ERR(e, TOO_MANY_CONNECTIONS, "too many databases are open at once");
}

/* ---- attaching ---- */

/* 1: look again. */
static int
attach_found(struct store *st, uint32_t db, oid_t oid, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    uint32_t w = atomic_load_explicit(&d->word, memory_order_acquire);

    switch (db_word_state(w)) {
    case DB_FREE: /* being given back, or claimed: the other word follows at once */
        (void) sched_yield();
        return 1;
    case DB_OPENING: {
        int r = wait_sleep(st->self, &d->word, w, 0, WAIT_DB_STATE, e);

        return r < 0 ? r : 1;
    }
    case DB_DROPPING:
        return ERR(e, INVALID_CATALOG_NAME, "database %u is being dropped", oid);
    case DB_READY:
        break;
    }
    if (!atomic_compare_exchange_strong_explicit(&d->word, &w, w + DB_REF, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return 1;
    if (store_db_oid(st, db) == oid)
        return 0;
    drop_word_ref(d); /* it was given back and taken by another database meanwhile */
    return 1;
}

static int
open_claimed(struct store *st, uint32_t db, oid_t oid, oid_t rel, bool is_redo, struct err *e)
{
    struct store_db *d = store_db_at(st, db);
    int r = 0;

    self_hold(st->self);
    cache_db_open(st->cache, db, oid);
    if (is_redo) /* REDO-3 */
        set_fields(d, rel, 0, UINT32_MAX);
    else
        r = read_page1(st, d, oid, rel, e);
    self_resume(st->self);
    if (r < 0) {
        free_slot(st, db);
        return r;
    }
    atomic_store_explicit(&d->word, db_word(DB_READY, 1), memory_order_release);
    wait_wake(&d->word, WAIT_ALL);
    return 0;
}

static int
attach(struct store *st, oid_t oid, oid_t rel, bool is_redo, uint32_t *ret_db, struct err *e)
{
    int r = reserve_ref(st, e);

    ASSERT(oid != 0);
    while (r == 0) {
        uint32_t db = store_db_find(st, oid);
        bool found = false;

        if (db != CACHE_NONE) {
            r = attach_found(st, db, oid, e);
        } else if ((db = claim(st, oid, &found)) != CACHE_NONE) {
            r = open_claimed(st, db, oid, rel, is_redo, e);
        } else {
            r = found ? 1 : make_free_slot(st, e);
            r = r == 0 ? 1 : r;
        }
        if (r == 0) {
            st->refs[st->n_refs++] = db;
            *ret_db = db;
            return 0;
        }
        r = r > 0 ? 0 : r;
    }
    return r;
}

int
store_db_attach(struct store *st, oid_t oid, oid_t rel, uint32_t *ret_db, struct err *e)
{
    return attach(st, oid, rel, false, ret_db, e);
}

int
store_db_attach_redo(struct store *st, oid_t oid, oid_t rel, uint32_t *ret_db, struct err *e)
{
    return attach(st, oid, rel, true, ret_db, e);
}

void
store_db_publish(struct store *st, uint32_t db, pgno_t n_pages, lsn_t lsn)
{
    struct store_db *d = store_db_at(st, db);

    /* Who reads the small size sees shrink_lsn, who reads p sees both (EVICT-6). */
    if (n_pages < atomic_load_explicit(&d->size, memory_order_relaxed))
        atomic_store_explicit(&d->shrink_lsn, lsn, memory_order_release);
    atomic_store_explicit(&d->size, n_pages, memory_order_release);
    atomic_store_explicit(&d->published, lsn, memory_order_release);
}

/* ---- writer lock ---- */

int
store_writer_take(struct store *st, uint32_t db, usec_t deadline, struct err *e)
{
    int r;

    ASSERT(st->n_writers < ELEMENTSOF(st->writers));
    r = fair_take(st->self, &store_db_at(st, db)->writer, store_waits(st), LOCK_WRITER,
                  WAIT_WRITER_LOCK, deadline, e);
    if (r == WAIT_TIMED_OUT)
        return ERR(e, LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout");
    if (r < 0)
        return r;
    st->writers[st->n_writers++] = db;
    return 0;
}

void
store_writer_drop(struct store *st, uint32_t db)
{
    for (uint32_t i = 0; i < st->n_writers; i++)
        if (st->writers[i] == db) {
            st->writers[i] = st->writers[--st->n_writers];
            fair_drop(st->self, &store_db_at(st, db)->writer, store_waits(st), LOCK_WRITER);
            return;
        }
    assert_failed("the writer lock is not ours", __FILE__, __LINE__);
}

bool
store_writer_is_mine(const struct store *st, uint32_t db)
{
    return fair_is_mine(st->self, &store_db_at(st, db)->writer);
}

uint32_t
store_writer_owner(const struct store *st, uint32_t db)
{
    uint64_t owner = atomic_load_explicit(&store_db_at(st, db)->writer.owner, memory_order_acquire);

    return owner == 0 || owner >= FAIR_OWNER_OTHER ? UINT32_MAX : (uint32_t) (owner - 1);
}
