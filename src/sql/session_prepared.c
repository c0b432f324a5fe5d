/* Prepared statements of the extended protocol, and those closed ones that are kept: a client that
 * sends the same Parse again gets the statement that SQLite has compiled already.
 *
 * Runs in: backend. Owns: the statements, open and kept. Source: wal-format 6.8; sqlite-vfs 5.8. */
#include <string.h>

#include "sql/session_int.h"

/* What is kept at most; memory as sqlite3_stmt_status() has it, and the texts. */
#define KEPT_STATEMENTS 32
#define KEPT_BYTES      (256 << 10)

static void
prepared_free(struct session_prepared *p)
{
    session_query_done(&p->q);
    sql_stmt_done(&p->stmt);
    free(p->name);
    free(p->types);
    free(p);
}

/* ---- closed ones ---- */

static void
kept_pop(struct session *s, struct session_prepared **at)
{
    struct session_prepared *p = *at;

    *at = p->next;
    p->next = NULL;
    s->n_kept--;
    s->kept_bytes -= p->bytes;
}

void
session_kept_clear(struct session *s)
{
    while (s->kept != NULL) {
        struct session_prepared *p = s->kept;

        kept_pop(s, &s->kept);
        prepared_free(p);
    }
    s->schema_age++;
}

static size_t
kept_most(const struct session *s)
{
    return MIN((size_t) KEPT_BYTES, (size_t) s->cfg.conf->cur.v.session_memory_limit / 32);
}

/* Would it be the same if its text were prepared now? Not what changes the schema or does something
 * while it is prepared (PRAGMA), nor what SQLite had to prepare again since. */
static bool
may_keep(const struct session *s, struct session_prepared *p)
{
    sqlite3_stmt *stmt = p->q.stmt;

    if (stmt == NULL || p->schema_age != s->schema_age || p->q.seen.is_ddl ||
        p->q.seen.calls_pragma || sqlite3_expired(stmt) != 0 ||
        sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_REPREPARE, 0) > 0)
        return false;
    if (p->bytes == 0)
        p->bytes = sizeof *p + p->n_text +
                   (size_t) sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_MEMUSED, 0);
    return p->bytes <= kept_most(s) / 4;
}

static void
keep(struct session *s, struct session_prepared *p)
{
    size_t most = kept_most(s);

    p->next = s->kept;
    s->kept = p;
    s->n_kept++;
    s->kept_bytes += p->bytes;
    while (s->n_kept > KEPT_STATEMENTS || s->kept_bytes > most) { /* the one at the end goes */
        struct session_prepared **at = &s->kept;

        while ((*at)->next != NULL)
            at = &(*at)->next;
        p = *at;
        kept_pop(s, at);
        prepared_free(p);
    }
}

/* The kept one of this text, no longer kept; or NULL. Nameless, without types, and nobody's. */
static struct session_prepared *
take_kept(struct session *s, const char *text, size_t n)
{
    for (struct session_prepared **at = &s->kept; *at != NULL; at = &(*at)->next) {
        struct session_prepared *p = *at;

        if (p->n_text == n && memcmp(p->text, text, n) == 0) {
            kept_pop(s, at);
            session_query_forget_values(&p->q);
            free(p->name);
            free(p->types);
            p->name = NULL;
            p->types = NULL;
            return p;
        }
    }
    return NULL;
}

/* ---- open ones ---- */

void
session_prepared_unref(struct session *s, struct session_prepared *p)
{
    if (--p->refs > 0)
        return;
    if (may_keep(s, p))
        keep(s, p);
    else
        prepared_free(p);
}

/* FNV-1a. */
static uint32_t
list_of(const char *name)
{
    uint32_t h = 2166136261u;

    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char) *name) * 16777619u;
    return h % SESSION_PREPARED_LISTS;
}

struct session_prepared *
session_prepared_find(const struct session *s, const char *name)
{
    for (struct session_prepared *p = s->prepared[list_of(name)]; p != NULL; p = p->next) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

static bool
close_in_list(struct session *s, struct session_prepared **at, const char *name)
{
    bool found = false;

    while (*at != NULL) {
        struct session_prepared *p = *at;

        if (name != NULL && strcmp(p->name, name) != 0) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        p->next = NULL;
        session_prepared_unref(s, p);
        found = true;
    }
    return found;
}

bool
session_close_prepared(struct session *s, const char *name)
{
    bool found = false;

    if (name != NULL)
        return close_in_list(s, &s->prepared[list_of(name)], name);
    for (uint32_t i = 0; i < SESSION_PREPARED_LISTS; i++)
        found = close_in_list(s, &s->prepared[i], NULL) || found;
    return found;
}

void
session_close_statement(struct session *s, const char *name)
{
    (void) session_close_prepared(s, name);
}

/* ---- Parse ---- */

uint32_t
session_param_number(const struct session_query *q, int idx, oid_t *ret_hint)
{
    /* SQLite looks for a name from the first on */
    const char *name = q->is_numbered ? NULL : sqlite3_bind_parameter_name(q->stmt, idx);
    char *end;
    unsigned long n;
    int32_t mod;

    *ret_hint = 0;
    if (name == NULL || (name[0] != '$' && name[0] != '?'))
        return (uint32_t) idx;
    n = strtoul(name + 1, &end, 10);
    if (end == name + 1)
        return (uint32_t) idx;
    if (strncmp(end, "::", 2) == 0)
        *ret_hint = types_of_decl(end + 2, &mod);
    return n > 65535 ? 0 : (uint32_t) n;
}

static int
count_params(struct session_prepared *p, int n, uint32_t n_types, struct err *e)
{
    oid_t hint;

    p->n_params = n_types;
    for (int i = 1; i <= n; i++) {
        uint32_t k = session_param_number(&p->q, i, &hint);

        if (k == 0)
            return ERR(e, UNDEFINED_PARAMETER, "there is no parameter %s",
                       sqlite3_bind_parameter_name(p->q.stmt, i));
        p->n_params = MAX(p->n_params, k);
    }
    return 0;
}

static int
set_param_types(struct session_prepared *p, const oid_t *types, uint32_t n_types, struct err *e)
{
    int n = p->q.stmt == NULL ? 0 : sqlite3_bind_parameter_count(p->q.stmt);
    int r = count_params(p, n, n_types, e);

    if (r < 0)
        return r;
    p->types = calloc(MAX(p->n_params, 1u), sizeof *p->types);
    if (p->types == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    if (n_types > 0)
        memcpy(p->types, types, n_types * sizeof *types);
    for (int i = 1; i <= n; i++) {
        oid_t hint;
        uint32_t k = session_param_number(&p->q, i, &hint);

        if (p->types[k - 1] == 0)
            p->types[k - 1] = hint;
    }
    for (uint32_t k = 0; k < p->n_params; k++) {
        if (p->types[k] == 0 || p->types[k] == TYPE_UNKNOWN)
            p->types[k] = TYPE_TEXT; /* SQLite converts by the affinity of what it meets */
    }
    return 0;
}

int
session_prepared_renew(struct session *s, struct session_prepared *p, struct err *e)
{
    struct session_query q;
    int r;

    if (p->schema_age == s->schema_age)
        return 0;
    r = session_query_prepare(s, &p->stmt, p->text, p->n_text, &q, e);
    if (r < 0)
        return r;
    if (q.n_cols != p->q.n_cols) {
        session_query_done(&q);
        return session_plan_changed(e);
    }
    session_query_done(&p->q);
    p->q = q;
    p->schema_age = s->schema_age;
    p->bytes = 0;
    return 0;
}

/* What SQLite knows of the schema, and so what it has compiled, is as current as a statement that
 * begins now. Nothing is asked while nobody commits. */
static int
make_schema_current(struct session *s, struct err *e)
{
    lsn_t newest = store_db_published(s->st, s->cfg.db_idx);
    lsn_t snapshot = store_txn_snapshot(s->txn);            /* 0: the look takes its own */
    bool is_in_all = cache_horizon(s->st->cache) >= newest; /* each new snapshot has it */
    int r;

    if (snapshot != 0 ? snapshot == s->schema_snapshot : newest == s->schema_newest && newest != 0)
        return 0;
    s->schema_snapshot = s->schema_newest = 0;
    r = session_look_at_schema(s, e);
    if (r < 0)
        return r; /* SQLite may have rolled back */
    s->schema_snapshot = snapshot;
    s->schema_newest = snapshot == 0 && is_in_all ? newest : 0;
    return 0;
}

static int
parse_new(struct session *s, struct session_prepared *p, struct err *e)
{
    size_t next;
    int r = sql_stmt_parse(p->text, p->n_text, 0, &p->stmt, &next, e);

    if (r == 0 && !sql_is_blank(p->text, p->n_text, next))
        r = ERR(e, SYNTAX_ERROR, "cannot insert multiple commands into a prepared statement");
    if (r == 0)
        r = session_check_block(s, &p->stmt, e);
    if (r < 0 || p->stmt.kind != SQL_QUERY)
        return r;
    r = make_schema_current(s, e);
    p->schema_age = s->schema_age;
    return r < 0 ? r : session_query_prepare(s, &p->stmt, p->text, p->n_text, &p->q, e);
}

static struct session_prepared *
prepared_new(const char *text, size_t n)
{
    struct session_prepared *p = malloc(sizeof *p + n + 1);

    if (p == NULL)
        return NULL;
    *p = (struct session_prepared){ .n_text = n };
    memcpy(p->text, text, n + 1);
    return p;
}

/* A prepared statement of this text without name and types in *ret, also on failure. */
static int
prepare(struct session *s, const char *text, struct session_prepared **ret, struct err *e)
{
    size_t n = strlen(text);
    struct session_prepared *p = *ret = take_kept(s, text, n);
    int r = 0;

    if (p != NULL) {
        r = session_check_block(s, &p->stmt, e);
        if (r == 0 && p->q.stmt != NULL)
            r = make_schema_current(s, e);
        if (r < 0 || p->schema_age == s->schema_age)
            return r;
        prepared_free(p);
    }
    p = *ret = prepared_new(text, n);
    return p == NULL ? ERR(e, OUT_OF_MEMORY, "out of memory") : parse_new(s, p, e);
}

int
session_parse(struct session *s, const char *name, const char *text, const oid_t *types,
              uint32_t n_types, struct err *e)
{
    struct session_prepared *p = NULL;
    struct session_prepared **list;
    int r;

    if (s->block == BLOCK_NONE)
        session_begin_implicit(s);
    if (name[0] == '\0')
        (void) session_close_prepared(s, "");
    session_arm(s);
    if (session_prepared_find(s, name) != NULL)
        r = ERR(e, DUPLICATE_PREPARED_STATEMENT, "prepared statement \"%s\" already exists", name);
    else
        r = prepare(s, text, &p, e);
    session_disarm(s);
    if (r == 0)
        r = set_param_types(p, types, n_types, e);
    if (r == 0 && (p->name = strdup(name)) == NULL)
        r = ERR(e, OUT_OF_MEMORY, "out of memory");
    if (r < 0) {
        if (p != NULL)
            prepared_free(p);
        if (r == -ERR_OUT_OF_MEMORY)
            session_cache_clear(s);
        session_fail(s);
        return r;
    }
    p->refs = 1;
    list = &s->prepared[list_of(name)];
    p->next = *list;
    *list = p;
    return 0;
}
