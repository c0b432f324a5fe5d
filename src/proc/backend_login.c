/* Who may come in: access rules, operating-system user, role, database, limits; then settings,
 * session and greeting.
 *
 * Runs in: backend. Owns: nothing. Source: postmaster.md 3.1 steps 7-9, 3.3;
 * wal-format.md 6.2, 6.11; design 11. */
#include <errno.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "proc/access.h"
#include "proc/attach.h"
#include "proc/backend.h"
#include "sql/catalog_login.h"

/* ---- access ---- */

static int
check_peer(const struct backend *b, struct err *e)
{
    struct ucred cred;
    socklen_t n = sizeof cred;
    struct passwd pw, *found = NULL;
    char buf[4096];

    if (getsockopt(b->fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
        return ERR(e, INVALID_AUTHORIZATION_SPECIFICATION,
                   "could not get credentials of the client: %s", strerrordesc_np(errno));
    (void) getpwuid_r(cred.uid, &pw, buf, sizeof buf, &found);
    if (found != NULL && strcmp(pw.pw_name, b->role) == 0)
        return 0;
    if (found == NULL)
        log_msg(LOG_LEVEL_LOG, "could not look up local user ID %u", (unsigned) cred.uid);
    else
        log_msg(LOG_LEVEL_LOG,
                "provided user name (%s) and authenticated user name (%s) do not match", b->role,
                pw.pw_name);
    return ERR(e, INVALID_AUTHORIZATION_SPECIFICATION, "Peer authentication failed for user \"%s\"",
               b->role);
}

static int
check_access(const struct backend *b, const struct pgwire_startup *s, struct err *e)
{
    const struct pgwire_hba_client client = {
        .addr = b->peer,
        .server = b->local,
        .role = b->role,
        .database = b->database,
        .is_replication = s->replication == PGWIRE_REPLICATION_PHYSICAL,
    };
    CLEANUP(conf_issues_done) struct conf_issues issues = { 0 };
    enum pgwire_hba_method method;
    int line, r = 0;

    if (access_rules() == NULL) /* a postmaster that has not read them: read them now */
        r = access_load(b->start->conf->v.hba_file, &issues, e);
    if (r < 0)
        return r;
    r = pgwire_hba_match(access_rules(), &client, &method, &line, e);
    if (r == 0 && method == PGWIRE_HBA_PEER)
        r = check_peer(b, e);
    if (r == 0 && s->replication != PGWIRE_REPLICATION_NONE)
        r = ERR(e, FEATURE_NOT_SUPPORTED, "replication connections are not supported yet");
    return r;
}

/* ---- limits ---- */

struct census {
    unsigned n_in; /* logged in, we among them */
    int32_t n_db, n_role;
};

static struct census
count_sessions(const struct backend *b, oid_t db, oid_t role)
{
    struct segment *seg = b->start->segment;
    struct segment_page *page = segment_page(seg);
    struct census c = { 0 };
    int first;
    unsigned n = segment_pool(seg, CHILD_BACKEND, &first);

    for (unsigned i = 0; i < n; i++) {
        uint64_t who =
            atomic_load_explicit(&page->logged_in[first + (int) i], memory_order_seq_cst);

        c.n_in += who != 0;
        c.n_role += who >> 32 == role;
        c.n_db += who != 0 && (oid_t) who == db;
    }
    return c;
}

static void
count_out(void *arg)
{
    const struct backend *b = arg;

    atomic_store_explicit(&segment_page(b->start->segment)->logged_in[b->start->slot_idx], 0,
                          memory_order_release);
}

static void
count_in(struct backend *b, oid_t db, oid_t role)
{
    atomic_store_explicit(&b->slot->db_oid, db, memory_order_relaxed);
    atomic_store_explicit(&b->slot->role_oid, role, memory_order_relaxed);
    child_on_exit(count_out, b);
    atomic_store_explicit(&segment_page(b->start->segment)->logged_in[b->start->slot_idx],
                          (uint64_t) role << 32 | db, memory_order_seq_cst);
}

/* We count ourselves in first, then look: of two that come at once never both get the last place.
 */
static int
check_limits(struct backend *b, const struct catalog_role *role, const struct catalog_db *db,
             struct err *e)
{
    const struct conf_values *v = &b->start->conf->v;
    struct census c;

    count_in(b, db->oid, role->oid);
    c = count_sessions(b, db->oid, role->oid);
    if (c.n_in > v->max_connections)
        return ERR(e, TOO_MANY_CONNECTIONS, "sorry, too many clients already");
    if (role->is_superuser)
        return 0;
    if (c.n_in > v->max_connections - v->superuser_reserved_connections)
        return ERR(e, TOO_MANY_CONNECTIONS,
                   "remaining connection slots are reserved for non-replication superuser "
                   "connections");
    if (db->conn_limit >= 0 && c.n_db > db->conn_limit)
        return ERR(e, TOO_MANY_CONNECTIONS, "too many connections for database \"%s\"", db->name);
    if (role->conn_limit >= 0 && c.n_role > role->conn_limit)
        return ERR(e, TOO_MANY_CONNECTIONS, "too many connections for role \"%s\"", role->name);
    return 0;
}

/* ---- settings ---- */

static int
on_stored_setting(void *arg, const char *name, const char *value)
{
    struct backend *b = arg;
    struct err e = ERR_INIT;

    if (conf_session_set_at_start(&b->conf, name, value, &e) < 0)
        log_err(LOG_LEVEL_WARNING, "setting of the catalogue: ", &e);
    return 0;
}

static int
set_from_client(struct backend *b, const struct pgwire_startup *s, struct err *e)
{
    CLEANUP(conf_rows_done) struct conf_rows rows = { 0 };
    int r = s->options != NULL ? conf_parse_options(s->options, &rows, e) : 0;

    for (size_t i = 0; r == 0 && i < rows.n; i++)
        r = conf_session_set_at_start(&b->conf, rows.rows[i].name, rows.rows[i].value, e);
    for (uint32_t i = 0; r == 0 && i < s->n_params; i++)
        r = conf_session_set_at_start(&b->conf, s->params[i].name, s->params[i].value, e);
    return r;
}

static int
make_settings(struct backend *b, const struct catalog_login *login, const struct session_cfg *cfg,
              const struct pgwire_startup *s, struct err *e)
{
    int r = conf_session_init(&b->conf, b->start->conf, cfg->role.is_superuser, e);
    char segsize[16];

    if (r < 0)
        return r;
    b->has_conf = true;
    (void) catalog_login_settings(login, on_stored_setting, b);
    if (r >= 0)
        r = set_from_client(b, s, e);
    if (r >= 0)
        r = conf_session_set_internal(&b->conf, CONF_session_authorization, cfg->role.name, e);
    if (r >= 0)
        r = conf_session_set_internal(&b->conf, CONF_is_superuser,
                                      cfg->role.is_superuser ? "on" : "off", e);
    (void) snprintf(segsize, sizeof segsize, "%u", cfg->store->wal->cfg.segsize);
    if (r >= 0)
        r = conf_session_set_internal(&b->conf, CONF_wal_segment_size, segsize, e);
    return r < 0 ? r : 0;
}

/* ---- in ---- */

static void
show_in_slot(struct backend *b)
{
    struct slot *s = b->slot;
    char host[64];

    (void) backend_host(b, host, sizeof host);
    slot_set_text(s, s->role_name, sizeof s->role_name, b->role, strlen(b->role));
    slot_set_text(s, s->db_name, sizeof s->db_name, b->database, strlen(b->database));
    slot_set_text(s, s->client_addr, sizeof s->client_addr, host, strlen(host));
}

static void
greet(struct backend *b)
{
    pgwire_put_auth_ok(&b->conn.out);
    backend_tell_settings(b);
    pgwire_put_backend_key(&b->conn.out,
                           (uint32_t) atomic_load_explicit(&b->slot->pid, memory_order_relaxed),
                           (uint32_t) b->slot->cancel_key);
    b->ready_due = true;
}

static void
log_in(const struct backend *b)
{
    if (!b->start->conf->v.log_connections)
        return;
    log_msg(LOG_LEVEL_LOG, "connection authorized: user=%s database=%s application_name=%s",
            b->role, b->database, b->conf.cur.v.application_name);
}

/* Role, database, limits, settings. On success cfg holds a reference of the database. */
static int
look_up(struct backend *b, const struct attached *a, const struct pgwire_startup *s,
        struct session_cfg *cfg, struct err *e)
{
    CLEANUP(catalog_login_done) struct catalog_login login = { .n = 0 };
    int r = catalog_log_in(cfg->store, a->logins, b->role, b->database, &login, e);

    if (r < 0)
        return r;
    cfg->role = login.role;
    cfg->db = login.db;
    cfg->db_idx = login.db_idx;
    r = check_limits(b, &cfg->role, &cfg->db, e);
    if (r == 0)
        r = make_settings(b, &login, cfg, s, e);
    return r; /* the reference goes with the process if we fail */
}

/* Cut as CREATE DATABASE cuts it. */
static void
copy_name(char *to, size_t cap, const char *name)
{
    size_t n = strlen(name);

    if (n >= cap)
        n = utf8_whole(name, cap - 1, name[cap - 1]);
    memcpy(to, name, n);
    to[n] = '\0';
}

int
backend_login(struct backend *b, struct attached *a, const struct pgwire_startup *s, struct err *e)
{
    struct session_cfg cfg = { .store = &a->store, .conf = &b->conf, .stats = &a->stats };
    int r;

    copy_name(b->role, sizeof b->role, s->user);
    copy_name(b->database, sizeof b->database, s->database);
    show_in_slot(b);
    log_set_session(b->role, b->database);
    if (s->minor > 0 || s->n_unknown > 0)
        pgwire_put_negotiate(&b->conn.out, s->unknown, s->n_unknown);
    r = check_access(b, s, e);
    if (r < 0)
        return r;
    a->self.statement_deadline = b->deadline; /* all that may wait waits no longer than this */
    r = look_up(b, a, s, &cfg, e);
    a->self.statement_deadline = 0;
    if (r < 0)
        return r;
    cfg.pid = atomic_load_explicit(&b->slot->pid, memory_order_relaxed);
    r = session_open(&cfg, &b->session, e);
    if (r < 0)
        return r;
    stat_set_db(&a->stats, cfg.db.oid);
    b->self = &a->self;
    stat_add(&a->self, STAT_SESSIONS, 1);
    b->state = pgwire_step(b->state, PGWIRE_ON_AUTHENTICATED).next;
    b->patience = PATIENCE_NONE;
    b->deadline = 0;
    greet(b);
    log_in(b);
    return 0;
}
