/* What `pinionctl verify` asks a running server: which databases there are, and whether their
 * structure is sound. A database is read through a handle of its own, as an ordinary long reader:
 * no writer waits for it.
 *
 * Runs in: backend, inside sqlite3_step() of the session's own connection. Source: sqlite-vfs 5.11
 * (integrity_check), FILE-3. */
#include <string.h>

#include "sql/session_int.h"
#include "vfs/vfs_err.h"
#include "vfs/vfs_store.h"

#define PROGRESS_OPS 5000

struct looked_at {
    struct session *s;
    uint32_t db_idx;
    sqlite3 *db;
    struct vfs_handle *handle;
    struct store_txn *txn; /* borrowed from db */
};

static void
result_err(sqlite3_context *ctx, const struct session *s)
{
    sqlite3_result_error(ctx, s->interrupt.message, -1);
}

static int
check_superuser(struct session *s, struct err *e)
{
    if (s->cfg.role.is_superuser)
        return 0;
    return ERR(e, INSUFFICIENT_PRIVILEGE, "must be superuser to verify databases");
}

static void
fn_files(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = sqlite3_user_data(ctx);
    struct catalog *c = NULL;
    char *text = NULL;
    int r = check_superuser(s, &s->interrupt);

    (void) n;
    (void) v;
    if (r == 0)
        r = catalog_open(s->st, &c, &s->interrupt);
    if (r == 0)
        r = catalog_list_text(c, &text, &s->interrupt);
    catalog_close(c);
    if (r == 0)
        sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
    else
        result_err(ctx, s);
    free(text);
}

/* ---- structure ---- */

static int
on_progress(void *arg)
{
    struct looked_at *l = arg;

    if (store_txn_is_cancelled(l->txn)) /* SNAP-6 */
        return ERR(&l->s->interrupt, SNAPSHOT_TOO_OLD, "snapshot too old") < 0;
    return self_check(l->s->self, &l->s->interrupt) < 0;
}

/* The catalogue's connection is closed before the other one is opened: a process has few snapshot
 * entries. */
static int
attach(struct session *s, oid_t oid, uint32_t *ret_db_idx, struct err *e)
{
    struct catalog *c = NULL;
    int r = catalog_open(s->st, &c, e);

    if (r == 0)
        r = catalog_attach(c, oid, ret_db_idx, e);
    catalog_close(c);
    if (r == CATALOG_NONE)
        return ERR(e, INVALID_CATALOG_NAME, "there is no database with oid %u", oid);
    return r;
}

static int
step_all(struct looked_at *l, sqlite3_str *to, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_exec(l->db, "PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL);
    int r = 0;

    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(l->db, "PRAGMA integrity_check", -1, &stmt, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        sqlite3_str_appendf(to, "%s%s", sqlite3_str_length(to) > 0 ? "\n" : "",
                            (const char *) sqlite3_column_text(stmt, 0));
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_DONE) {
        if (l->s->interrupt.code != 0)
            r = l->s->interrupt.code;
        else
            r = vfs_err_set(l->db, l->handle, rc, e);
    }
    (void) sqlite3_finalize(stmt);
    return r;
}

static int
look_at(struct looked_at *l, oid_t oid, sqlite3_str *to, struct err *e)
{
    int r = attach(l->s, oid, &l->db_idx, e);

    if (r < 0)
        return r;
    r = vfs_store_connect(l->s->st, l->db_idx, &l->db, &l->handle, &l->txn, e);
    if (r == 0) {
        sqlite3_progress_handler(l->db, PROGRESS_OPS, on_progress, l);
        r = step_all(l, to, e);
        (void) sqlite3_close(l->db);
    }
    store_db_detach(l->s->st, l->db_idx);
    return r;
}

static void
fn_check(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct looked_at l = { .s = sqlite3_user_data(ctx) };
    sqlite3_str *text = sqlite3_str_new(NULL);
    int r = check_superuser(l.s, &l.s->interrupt);

    (void) n;
    if (r == 0)
        r = look_at(&l, (oid_t) sqlite3_value_int64(v[0]), text, &l.s->interrupt);
    if (r == 0 && sqlite3_str_errcode(text) != SQLITE_OK)
        r = ERR(&l.s->interrupt, OUT_OF_MEMORY, "out of memory");
    if (r == 0)
        sqlite3_result_text(ctx, sqlite3_str_value(text), -1, SQLITE_TRANSIENT);
    else
        result_err(ctx, l.s);
    sqlite3_free(sqlite3_str_finish(text));
}

int
session_add_verify(struct session *s, struct err *e)
{
    const int flags = SQLITE_UTF8 | SQLITE_DIRECTONLY;
    int rc = sqlite3_create_function_v2(s->db, "pinion_database_files", 0, flags, s, fn_files, NULL,
                                        NULL, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(s->db, "pinion_check_database", 1, flags, s, fn_check, NULL,
                                        NULL, NULL);
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
