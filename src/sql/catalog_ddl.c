/* CREATE and DROP DATABASE, and the first catalogue. Runs in: backend; catalog_init in init.
 * Source: engine-rules FILE-2, FILE-3, COMMIT-1, INIT-1; design 11. */
#include <stdio.h>
#include <string.h>

#include "sql/catalog_int.h"
#include "store/store_refuse.h"
#include "vfs/vfs_build.h"
#include "vfs/vfs_err.h"
#include "vfs/vfs_file.h"
#include "vfs/vfs_selftest.h"

#define FIRST_ROLE_OID 10

static void
finalizep(sqlite3_stmt **stmt)
{
    (void) sqlite3_finalize(*stmt);
}

static void
build_donep(struct vfs_build *b)
{
    vfs_build_done(b);
}

/* ---- one change of a row, with what rides along ---- */

/* Take the catalogue's writer lock and run one statement (?1 name, ?2 a, ?3 b) as a transaction of
 * its own; `ride` goes with it. *ret_changes rows were changed. */
static int
change_row(struct catalog *c, const char *sql, const char *name, int64_t a, int64_t b,
           struct store_ride *ride, int *ret_changes, struct err *e)
{
    CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
    int r = catalog_prepare(c, sql, name, &stmt, e);
    int rc;

    if (r < 0)
        return r;
    if (sqlite3_bind_parameter_count(stmt) > 1)
        (void) sqlite3_bind_int64(stmt, 2, a);
    if (sqlite3_bind_parameter_count(stmt) > 2)
        (void) sqlite3_bind_int64(stmt, 3, b);
    store_txn_ride(c->txn, ride);
    rc = sqlite3_step(stmt);
    *ret_changes = sqlite3_changes(c->db);
    if (rc != SQLITE_DONE && (rc & 0xff) == SQLITE_CONSTRAINT)
        r = ERR(e, DUPLICATE_DATABASE, "database \"%s\" already exists", name);
    else if (rc != SQLITE_DONE)
        r = catalog_failed(c, rc, e);
    (void) sqlite3_reset(stmt);
    if (store_writer_is_mine(c->st, c->db_idx))
        store_writer_drop(c->st, c->db_idx);
    store_txn_ride(c->txn, NULL);
    return r;
}

/* ---- CREATE DATABASE ---- */

static int
check_name(const char *name, struct err *e)
{
    if (name[0] == '\0')
        return ERR(e, INVALID_NAME, "a database name must not be empty");
    if (strlen(name) >= CATALOG_NAME_BYTES)
        return ERR(e, INVALID_NAME, "database name \"%s\" is too long", name);
    if (strcmp(name, "template0") == 0 || strcmp(name, "template1") == 0)
        return ERR(e, DUPLICATE_DATABASE, "database \"%s\" already exists", name);
    return 0;
}

/* Make base/<oid>/<oid>, complete and synced; *ret_pages are its pages. On failure nothing is left.
 */
static int
make_file(struct store_build *out, const char *(*setup)(void *arg), void *arg, uint8_t **ret_pages,
          uint32_t *ret_n, struct err *e)
{
    CLEANUP(build_donep) struct vfs_build b = { .db = NULL };
    const char *sql;
    pgno_t n = 0;
    int r = vfs_build_open(&b, e);

    if (r < 0) {
        store_build_abort(out);
        return r;
    }
    while (r == 0 && setup != NULL && (sql = setup(arg)) != NULL) {
        int rc = sqlite3_exec(b.db, sql, NULL, NULL, NULL);

        if (rc != SQLITE_OK)
            r = vfs_err_set(b.db, NULL, rc, e);
    }
    if (r == 0)
        r = vfs_build_finish(&b, out, ret_pages, &n, e);
    if (r == 0)
        r = store_build_finish(out, e);
    if (r < 0)
        store_build_abort(out);
    *ret_n = n;
    return r;
}

int
catalog_create_db(struct catalog *c, const char *name, oid_t owner, usec_t deadline, bool wait,
                  struct err *e)
{
    CLEANUP(freep) uint8_t *pages = NULL;
    struct store_build out = { .fd = -1 };
    struct store_ride ride = { .kind = RIDE_CREATE_DB };
    struct catalog_db found;
    int changes;
    int r = check_name(name, e);

    if (r == 0)
        r = catalog_find_db(c, name, &found, e);
    if (r == 0)
        r = ERR(e, DUPLICATE_DATABASE, "database \"%s\" already exists", name);
    if (r < 0)
        return r;
    r = store_oid_new(c->st, &ride.oid, e);
    if (r < 0)
        return r;
    ride.rel = ride.oid;
    r = store_build_begin(&out, c->st->io, ride.oid, ride.rel, wal_durable(c->st->wal), e);
    if (r == 0)
        r = make_file(&out, NULL, NULL, &pages, &ride.n_pages, e);
    if (store_note_space(c->st, r, MAX(ride.n_pages, 2u) * PAGE_BYTES, e) < 0)
        return r;
    ride.pages = pages;
    r = store_writer_take(c->st, c->db_idx, deadline, e);
    if (r == 0)
        r = change_row(c,
                       "INSERT INTO pg_database(datname, oid, relfilenode, datdba) "
                       "VALUES(?1, ?2, ?2, ?3)",
                       name, ride.oid, owner, &ride, &changes, e);
    store_txn_barrier(c->txn, wait);
    if (r < 0)
        store_build_abort(&out);
    else
        store_build_hand_over(&out, c->st);
    return r;
}

/* ---- DROP DATABASE ---- */

/* The target is DROPPING and its writer lock ours: remove its row. */
static int
drop_row(struct catalog *c, const struct catalog_db *db, uint32_t idx, usec_t deadline,
         struct err *e)
{
    struct store_ride ride = { .kind = RIDE_DROP_DB, .oid = db->oid, .rel = db->rel, .db = idx };
    int changes = 0;
    int r = store_writer_take(c->st, c->db_idx, deadline, e); /* COMMIT-1: target, then catalogue */

    if (r < 0)
        return r;
    r = change_row(c, "DELETE FROM pg_database WHERE datname = ?1 AND oid = ?2", db->name, db->oid,
                   0, &ride, &changes, e);
    if (r == 0 && changes != 1) /* cannot be: attach found it READY */
        r = ERR(e, INTERNAL_ERROR, "database \"%s\" has no row", db->name);
    return r;
}

int
catalog_drop_db(struct catalog *c, const char *name, const struct catalog_role *role,
                bool if_exists, usec_t deadline, struct err *e)
{
    struct catalog_db db;
    struct err ignored = ERR_INIT;
    uint32_t idx;
    int r = catalog_find_db(c, name, &db, e);

    if (r == CATALOG_NONE)
        return if_exists ? CATALOG_NONE
                         : ERR(e, INVALID_CATALOG_NAME, "database \"%s\" does not exist", name);
    if (r < 0)
        return r;
    if (!role->is_superuser && role->oid != db.owner)
        return ERR(e, INSUFFICIENT_PRIVILEGE, "must be owner of database %s", name);
    if (db.oid == CATALOG_DB_OID)
        return ERR(e, OBJECT_IN_USE, "cannot drop the catalogue");
    r = store_db_attach(c->st, db.oid, db.rel, &idx, e);
    if (r < 0)
        return r;
    r = store_writer_take(c->st, idx, deadline, e);
    if (r < 0) {
        store_db_detach(c->st, idx);
        return r;
    }
    r = store_drop_begin(c->st, idx, name, e);
    if (r == 0) {
        r = drop_row(c, &db, idx, deadline, e);
        if (r < 0)
            store_drop_cancel(c->st, idx);
    }
    store_writer_drop(c->st, idx);
    store_db_detach(c->st, idx);
    store_txn_barrier(c->txn, true);
    if (r == 0)
        store_refused_forget(c->st, db.oid);
    if (r == 0)
        (void) store_drop_wait(c->st, db.oid, &ignored); /* it has happened: SNAP-5 is behind us */
    return r;
}

/* ---- init ---- */

static const char *const catalog_sql[] = {
    "CREATE TABLE pg_database("
    "oid INTEGER PRIMARY KEY, datname TEXT NOT NULL UNIQUE, datdba INTEGER NOT NULL, "
    "relfilenode INTEGER NOT NULL, datconnlimit INTEGER NOT NULL DEFAULT -1, "
    "datallowconn INTEGER NOT NULL DEFAULT 1)",
    "CREATE TABLE pg_authid("
    "oid INTEGER PRIMARY KEY, rolname TEXT NOT NULL UNIQUE, rolsuper INTEGER NOT NULL DEFAULT 0, "
    "rolcanlogin INTEGER NOT NULL DEFAULT 1, rolreplication INTEGER NOT NULL DEFAULT 0, "
    "rolconnlimit INTEGER NOT NULL DEFAULT -1, rolpassword TEXT, rolvaliduntil TEXT)",
    "CREATE TABLE pg_db_role_setting("
    "setdatabase INTEGER NOT NULL, setrole INTEGER NOT NULL, name TEXT NOT NULL, value TEXT, "
    "PRIMARY KEY(setdatabase, setrole, name)) WITHOUT ROWID",
    "CREATE TABLE pinion_meta(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "INSERT INTO pinion_meta VALUES('catalog_version', '1')",
    ("INSERT INTO pg_database(oid, datname, datdba, relfilenode, datallowconn) "
     "VALUES(1, 'pinion_catalog', 10, 1, 0), (5, 'postgres', 10, 5, 1)"),
};

struct first_catalog {
    size_t next;        /* statement */
    char role_sql[256]; /* the last one */
};

static const char *
next_statement(void *arg)
{
    struct first_catalog *f = arg;
    size_t i = f->next++;

    if (i < ELEMENTSOF(catalog_sql))
        return catalog_sql[i];
    return i == ELEMENTSOF(catalog_sql) ? f->role_sql : NULL;
}

static int
make_first(struct io *io, oid_t oid, lsn_t lsn, struct first_catalog *f, struct err *e)
{
    struct store_build out = { .fd = -1 };
    uint32_t n;
    int r = store_build_begin(&out, io, oid, oid, lsn, e);

    if (r == 0)
        r = make_file(&out, f != NULL ? next_statement : NULL, f, NULL, &n, e);
    store_build_close(&out);
    return r;
}

int
catalog_init(struct io *io, const char *superuser, uint32_t wal_seg_bytes, struct err *e)
{
    struct first_catalog f = { .next = 0 };
    lsn_t lsn = (lsn_t) wal_seg_bytes + 40; /* INIT-1 */
    int r;

    if (superuser[0] == '\0' || strlen(superuser) >= CATALOG_NAME_BYTES)
        return ERR(e, INVALID_NAME, "\"%s\" cannot be the name of a role", superuser);
    if (strncmp(superuser, "pg_", 3) == 0)
        return ERR(e, INVALID_NAME, "role name \"%s\" is reserved", superuser);
    (void) sqlite3_snprintf(sizeof f.role_sql, f.role_sql,
                            "INSERT INTO pg_authid(oid, rolname, rolsuper, rolreplication) "
                            "VALUES(%d, %Q, 1, 1)",
                            FIRST_ROLE_OID, superuser);
    r = vfs_register(".", e);
    if (r == 0)
        r = vfs_selftest(e);
    if (r == 0)
        r = make_first(io, CATALOG_DB_OID, lsn, &f, e);
    return r < 0 ? r : make_first(io, POSTGRES_DB_OID, lsn, NULL, e);
}
