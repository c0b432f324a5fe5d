/* Reading the cluster catalogue. Runs in: backend (login, DDL), startup (the list of files),
 * checkpointer. Owns: one connection, one reference to database 1. Source: design 11, FILE-3. */
#include "sql/catalog.h"

#include <stdio.h>
#include <string.h>

#include "sql/catalog_int.h"
#include "store/store_refuse.h"
#include "vfs/vfs_err.h"
#include "vfs/vfs_file.h"
#include "vfs/vfs_store.h"

int
catalog_failed(struct catalog *c, int rc, struct err *e)
{
    int r = vfs_err_set(c->db, c->handle, rc, e);

    vfs_error_reset(c->handle);
    return r;
}

int
catalog_prepare(struct catalog *c, const char *sql, const char *p1, sqlite3_stmt **ret,
                struct err *e)
{
    int rc;

    vfs_error_reset(c->handle);
    rc = sqlite3_prepare_v2(c->db, sql, -1, ret, NULL);
    if (rc == SQLITE_OK && p1 != NULL)
        rc = sqlite3_bind_text(*ret, 1, p1, -1, SQLITE_TRANSIENT);
    return rc == SQLITE_OK ? 0 : catalog_failed(c, rc, e);
}

static void
finalizep(sqlite3_stmt **stmt)
{
    (void) sqlite3_finalize(*stmt);
}

int
catalog_open(struct store *st, struct catalog **ret, struct err *e)
{
    struct catalog *c = calloc(1, sizeof *c);
    int r;

    if (c == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    c->st = st;
    r = store_db_attach(st, CATALOG_DB_OID, CATALOG_DB_OID, &c->db_idx, e);
    if (r < 0) {
        free(c);
        return r;
    }
    r = vfs_store_connect(st, c->db_idx, &c->db, &c->handle, &c->txn, e);
    if (r < 0) {
        store_db_detach(st, c->db_idx);
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

void
catalog_close(struct catalog *c)
{
    if (c == NULL)
        return;
    (void) sqlite3_close(c->db);
    if (store_writer_is_mine(c->st, c->db_idx))
        store_writer_drop(c->st, c->db_idx);
    store_db_detach(c->st, c->db_idx);
    free(c);
}

static void
get_text(sqlite3_stmt *stmt, int col, char *ret, size_t cap)
{
    const char *p = (const char *) sqlite3_column_text(stmt, col);

    (void) snprintf(ret, cap, "%s", p != NULL ? p : "");
}

static int
step(struct catalog *c, sqlite3_stmt *stmt, struct err *e)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_DONE)
        return CATALOG_NONE;
    return rc == SQLITE_ROW ? 0 : catalog_failed(c, rc, e);
}

/* The only row of a statement that gives one at most, in *ret. 0, CATALOG_NONE or < 0. */
static int
find_row(struct catalog *c, const char *sql, const char *p1, sqlite3_stmt **ret, struct err *e)
{
    int r = catalog_prepare(c, sql, p1, ret, e);

    return r == 0 ? step(c, *ret, e) : r;
}

int
catalog_find_role(struct catalog *c, const char *name, struct catalog_role *ret, struct err *e)
{
    CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
    int r = find_row(c,
                     "SELECT oid, rolname, rolsuper, rolcanlogin, rolreplication, "
                     "rolconnlimit, rolpassword, rolvaliduntil FROM pg_authid "
                     "WHERE rolname = ?1",
                     name, &stmt, e);

    if (r != 0)
        return r;
    *ret = (struct catalog_role){ .oid = (oid_t) sqlite3_column_int64(stmt, 0),
                                  .is_superuser = sqlite3_column_int(stmt, 2) != 0,
                                  .can_login = sqlite3_column_int(stmt, 3) != 0,
                                  .can_replicate = sqlite3_column_int(stmt, 4) != 0,
                                  .conn_limit = sqlite3_column_int(stmt, 5) };
    get_text(stmt, 1, ret->name, sizeof ret->name);
    get_text(stmt, 6, ret->password, sizeof ret->password);
    get_text(stmt, 7, ret->valid_until, sizeof ret->valid_until);
    return 0;
}

#define SELECT_DB \
    "SELECT oid, relfilenode, datname, datdba, datconnlimit, datallowconn FROM pg_database "

static int
find_db(struct catalog *c, const char *sql, const char *p1, struct catalog_db *ret, struct err *e)
{
    CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
    int r = find_row(c, sql, p1, &stmt, e);

    if (r != 0)
        return r;
    *ret = (struct catalog_db){ .oid = (oid_t) sqlite3_column_int64(stmt, 0),
                                .rel = (oid_t) sqlite3_column_int64(stmt, 1),
                                .owner = (oid_t) sqlite3_column_int64(stmt, 3),
                                .conn_limit = sqlite3_column_int(stmt, 4),
                                .allow_conn = sqlite3_column_int(stmt, 5) != 0 };
    get_text(stmt, 2, ret->name, sizeof ret->name);
    return 0;
}

int
catalog_find_db(struct catalog *c, const char *name, struct catalog_db *ret, struct err *e)
{
    return find_db(c, SELECT_DB "WHERE datname = ?1", name, ret, e);
}

int
catalog_find_db_by_oid(struct catalog *c, oid_t oid, struct catalog_db *ret, struct err *e)
{
    char text[16];

    (void) snprintf(text, sizeof text, "%u", oid);
    return find_db(c, SELECT_DB "WHERE oid = CAST(?1 AS INTEGER)", text, ret, e);
}

static int
no_such_db(const char *name, struct err *e)
{
    return ERR(e, INVALID_CATALOG_NAME, "database \"%s\" does not exist", name);
}

int
catalog_login(struct catalog *c, const char *role_name, const char *db_name,
              struct catalog_role *ret_role, struct catalog_db *ret_db, uint32_t *ret_db_idx,
              struct err *e)
{
    struct catalog_db again;
    int r = catalog_find_role(c, role_name, ret_role, e);

    if (r == CATALOG_NONE)
        return ERR(e, INVALID_AUTHORIZATION_SPECIFICATION, "role \"%s\" does not exist", role_name);
    if (r < 0)
        return r;
    if (!ret_role->can_login)
        return ERR(e, INVALID_AUTHORIZATION_SPECIFICATION, "role \"%s\" is not permitted to log in",
                   role_name);
    r = catalog_find_db(c, db_name, ret_db, e);
    if (r != 0)
        return r < 0 ? r : no_such_db(db_name, e);
    if (!ret_db->allow_conn)
        return ERR(e, OBJECT_NOT_IN_PREREQUISITE_STATE,
                   "database \"%s\" is not currently accepting connections", db_name);
    r = store_refused_check(c->st, ret_db->oid, db_name, e);
    if (r == 0)
        r = store_db_attach(c->st, ret_db->oid, ret_db->rel, ret_db_idx, e);
    if (r < 0)
        return r;
    r = catalog_find_db(c, db_name, &again, e); /* FILE-3: in a new snapshot */
    if (r == 0 && again.oid == ret_db->oid)
        return 0;
    store_db_detach(c->st, *ret_db_idx);
    return r < 0 ? r : no_such_db(db_name, e);
}

/* Its file in a snapshot of its own; 0 in *ret: there is no such row. */
static int
find_rel(struct catalog *c, oid_t oid, oid_t *ret, struct err *e)
{
    CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
    int r =
        catalog_prepare(c, "SELECT relfilenode FROM pg_database WHERE oid = ?1", NULL, &stmt, e);

    *ret = 0;
    if (r < 0)
        return r;
    (void) sqlite3_bind_int64(stmt, 1, oid);
    r = step(c, stmt, e);
    if (r == 0)
        *ret = (oid_t) sqlite3_column_int64(stmt, 0);
    return r < 0 ? r : 0;
}

int
catalog_attach(struct catalog *c, oid_t oid, uint32_t *ret_db_idx, struct err *e)
{
    oid_t rel;
    oid_t again = 0;
    int r = find_rel(c, oid, &rel, e);

    if (r < 0 || rel == 0)
        return r < 0 ? r : CATALOG_NONE;
    r = store_db_attach(c->st, oid, rel, ret_db_idx, e);
    if (r < 0)
        return r;
    r = find_rel(c, oid, &again, e); /* FILE-3: in a new snapshot */
    if (r == 0 && again == rel)
        return 0;
    store_db_detach(c->st, *ret_db_idx);
    return r < 0 ? r : CATALOG_NONE;
}

int
catalog_list_text(struct catalog *c, char **ret, struct err *e)
{
    CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
    const char *text = NULL;
    int r = find_row(c,
                     "SELECT group_concat(line, char(10)) FROM (SELECT oid || ' ' || "
                     "relfilenode || ' ' || datname AS line FROM pg_database ORDER BY oid)",
                     NULL, &stmt, e);

    if (r == 0)
        text = (const char *) sqlite3_column_text(stmt, 0);
    if (r == 0)
        *ret = strdup(text != NULL ? text : "");
    return r == 0 && *ret == NULL ? ERR(e, OUT_OF_MEMORY, "out of memory") : r;
}

static int
read_files(struct catalog *c, struct store_listed **ret, uint32_t *ret_n, struct err *e)
{
    CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
    CLEANUP(freep) struct store_listed *list = NULL;
    uint32_t n = 0, cap = 0;
    int r =
        catalog_prepare(c, "SELECT oid, relfilenode FROM pg_database ORDER BY oid", NULL, &stmt, e);
    int rc;

    if (r < 0)
        return r;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (n == cap) {
            struct store_listed *grown;

            cap = cap == 0 ? 16 : cap * 2;
            grown = realloc(list, cap * sizeof *grown);
            if (grown == NULL)
                return ERR(e, OUT_OF_MEMORY, "out of memory");
            list = grown;
        }
        list[n++] = (struct store_listed){ .oid = (oid_t) sqlite3_column_int64(stmt, 0),
                                           .rel = (oid_t) sqlite3_column_int64(stmt, 1) };
    }
    if (rc != SQLITE_DONE)
        return catalog_failed(c, rc, e);
    *ret = TAKE_PTR(list);
    *ret_n = n;
    return 0;
}

int
catalog_list_files(struct store *st, struct store_listed **ret, uint32_t *ret_n, struct err *e)
{
    struct catalog *c = NULL;
    int r = catalog_open(st, &c, e);

    if (r == 0)
        r = read_files(c, ret, ret_n, e);
    catalog_close(c);
    return r;
}

int
catalog_settings(struct catalog *c, oid_t db, oid_t role, catalog_setting_fn fn, void *arg,
                 struct err *e)
{
    CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
    int r = catalog_prepare(c,
                            "SELECT name, value FROM pg_db_role_setting "
                            "WHERE setdatabase IN (0, ?1) AND setrole IN (0, ?2) "
                            "ORDER BY setrole <> 0, setdatabase <> 0, name",
                            NULL, &stmt, e);
    int rc;

    if (r < 0)
        return r;
    (void) sqlite3_bind_int64(stmt, 1, db);
    (void) sqlite3_bind_int64(stmt, 2, role);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        r = fn(arg, (const char *) sqlite3_column_text(stmt, 0),
               (const char *) sqlite3_column_text(stmt, 1));
        if (r < 0)
            return r;
    }
    return rc == SQLITE_DONE ? 0 : catalog_failed(c, rc, e);
}
