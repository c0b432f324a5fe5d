/* pg_stat_activity, and the two functions that act on what it shows: pg_cancel_backend(),
 * pg_terminate_backend().
 *
 * Runs in: backend, inside sqlite3_step(). Reads every slot without a lock (slot_copy). Source:
 * PostgreSQL 15's documentation of the view. */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "shm/wait.h"
#include "sql/session_rows.h"

/* clang-format off */
static const char *const roles[] = {
#define CHILD_KIND(id, role, ...) role,
#include "tbl/child_kinds.def"
#undef CHILD_KIND
};

/* clang-format on */

struct slot *
session_slots(const struct session *s, uint32_t *ret_n)
{
    *ret_n = s->self->slot != NULL ? s->st->cfg.max_procs : 0;
    return s->self->slot != NULL ? s->self->slot - s->self->procno : NULL;
}

static bool
is_attached(const struct slot *slot)
{
    return atomic_load_explicit(&slot->state, memory_order_acquire) == SLOT_ATTACHED;
}

static const char *
role_of(const struct slot *slot)
{
    return slot->kind < ELEMENTSOF(roles) ? roles[slot->kind] : "";
}

bool
session_slot_is_backend(const struct slot *slot)
{
    return is_attached(slot) && strcmp(role_of(slot), "backend") == 0;
}

bool
session_slot_is_worker_of(const struct slot *slot, oid_t db)
{
    return is_attached(slot) &&
           (strcmp(role_of(slot), "autovacuum worker") == 0 ||
            strcmp(role_of(slot), "background worker") == 0) &&
           atomic_load_explicit(&slot->db_oid, memory_order_seq_cst) == db;
}

/* ---- rows; "" and 0 are NULL ---- */

static void
put_number(struct rows *rows, uint32_t i)
{
    if (i != 0)
        rows_int(rows, i);
    else
        rows_null(rows);
}

/* Who and where: for everybody. Of what only backends have, `s` is NULL for others. */
static void
put_who(struct rows *rows, const struct slot *p, const struct slot *s)
{
    put_number(rows, s != NULL ? s->db_oid : 0);
    rows_text(rows, s != NULL ? s->db_name : NULL);
    rows_int(rows, p->pid);
    put_number(rows, s != NULL ? s->role_oid : 0);
    rows_text(rows, s != NULL ? s->role_name : NULL);
    rows_text(rows, s != NULL ? s->application_name : NULL);
}

/* From where, since when, and what it does. */
static void
put_doing(struct rows *rows, const struct slot *p, const struct slot *s)
{
    enum wait_event w = p->wait_event < WAIT_EVENTS ? (enum wait_event) p->wait_event : WAIT_NONE;

    rows_text(rows, s != NULL ? s->client_addr : NULL);
    rows_time(rows, p->started_usec);
    rows_time(rows, s != NULL ? s->xact_start_usec : 0);
    rows_time(rows, s != NULL ? s->query_start_usec : 0);
    rows_time(rows, s != NULL ? s->state_change_usec : 0);
    rows_text(rows, wait_event_type(w));
    rows_text(rows, wait_event_name(w));
    rows_text(rows, s != NULL ? slot_activity_name((enum slot_activity) s->activity) : NULL);
    rows_text(rows, s != NULL ? s->query : NULL);
    rows_text(rows, strcmp(role_of(p), "backend") == 0 ? "client backend" : role_of(p));
}

/* A statement may hold a password: as in PostgreSQL it is its own role's and superusers' to see. */
static void
put_hidden(struct rows *rows)
{
    for (int i = 0; i < 8; i++) /* client_addr to state */
        rows_null(rows);
    rows_text(rows, "<insufficient privilege>");
    rows_null(rows); /* backend_type */
}

static bool
has_session(const struct slot *slot)
{
    return strcmp(role_of(slot), "backend") == 0 || slot->db_oid != 0;
}

static int
fill_activity(struct session *s, struct rows *rows, struct err *e)
{
    uint32_t n;
    const struct slot *slots = session_slots(s, &n);
    struct slot copy;

    (void) e;
    for (uint32_t i = 0; i < n; i++) {
        if (!is_attached(&slots[i]) || !slot_copy(&slots[i], &copy))
            continue;
        put_who(rows, &copy, has_session(&copy) ? &copy : NULL);
        if (s->cfg.role.is_superuser || copy.role_oid == s->cfg.role.oid)
            put_doing(rows, &copy, has_session(&copy) ? &copy : NULL);
        else
            put_hidden(rows);
    }
    return 0;
}

static const struct session_view activity = {
    "pg_stat_activity",
    "CREATE TABLE pg_stat_activity(datid oid, datname name, pid integer, usesysid oid, "
    "usename name, application_name text, client_addr text, backend_start timestamptz, "
    "xact_start timestamptz, query_start timestamptz, state_change timestamptz, "
    "wait_event_type text, wait_event text, state text, query text, backend_type text)",
    16, fill_activity
};

/* ---- acting on a backend ---- */

/* Ask the backend of that pid; only one's own role's sessions, unless superuser. */
static void
ask_backend(sqlite3_context *ctx, int32_t pid, uint32_t bits)
{
    struct session *s = sqlite3_user_data(ctx);
    uint32_t n;
    struct slot *slots = session_slots(s, &n);
    bool found = false;

    for (uint32_t i = 0; i < n && !found; i++) {
        if (!session_slot_is_backend(&slots[i]) ||
            atomic_load_explicit(&slots[i].pid, memory_order_relaxed) != pid)
            continue;
        if (!s->cfg.role.is_superuser &&
            atomic_load_explicit(&slots[i].role_oid, memory_order_relaxed) != s->cfg.role.oid) {
            (void) ERR(&s->interrupt, INSUFFICIENT_PRIVILEGE,
                       "must be a member of the role whose %s or superuser",
                       bits == REQ_CANCEL ? "query is being canceled"
                                          : "process is being terminated");
            sqlite3_result_error(ctx, s->interrupt.message, -1);
            return;
        }
        slot_request(&slots[i], bits);
        (void) kill(pid, SIGUSR1); /* it may sleep on its socket */
        found = true;
    }
    sqlite3_result_int(ctx, found);
    sqlite3_result_subtype(ctx, SUBTYPE_BOOL);
}

static void
fn_cancel_backend(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    ask_backend(ctx, sqlite3_value_int(v[0]), REQ_CANCEL);
}

static void
fn_terminate_backend(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    (void) n;
    ask_backend(ctx, sqlite3_value_int(v[0]), REQ_TERMINATE);
}

int
session_add_activity(struct session *s, struct err *e)
{
    int flags = SQLITE_UTF8 | SQLITE_DIRECTONLY;
    int r = session_add_view(s, &activity, e);
    int rc;

    if (r < 0)
        return r;
    rc = sqlite3_create_function_v2(s->db, "pg_cancel_backend", 1, flags, s, fn_cancel_backend,
                                    NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(s->db, "pg_terminate_backend", 1, flags, s,
                                        fn_terminate_backend, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
