/* The extended query protocol: portals.
 *
 * A portal borrows the SQLite statement of its prepared statement, or has one of its own if another
 * portal has it. Runs in: backend. Source: wal-format 6.8; sqlite-vfs 5.7 (a). */
#include <string.h>

#include "sql/session_int.h"

struct session_portal {
    struct session_portal *next;
    struct session_prepared *from; /* a reference */
    struct session_query own;      /* if q does not point into `from` */
    struct session_query *q;
    bool is_entered; /* the transaction was made ready for it */
    bool is_over;    /* run to its end */
    uint32_t n_formats;
    uint32_t depth;  /* savepoints when it was made */
    uint64_t n_rows; /* sent by all Executes */
    /* Read to its end before the first write (5.7 a): rows not sent yet. Owned values. */
    sqlite3_value **spool;
    size_t n_spool, at_spool, cap_spool;
    bool is_spooled;
    const char *name;  /* behind the formats */
    int16_t formats[]; /* of results */
};

/* ---- portals ---- */

static struct session_portal *
find_portal(const struct session *s, const char *name)
{
    for (struct session_portal *p = s->portals; p != NULL; p = p->next) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

const char *
session_prepared_text(const struct session *s, const char *name)
{
    const struct session_prepared *p = session_prepared_find(s, name);

    return p != NULL ? p->text : "";
}

const char *
session_portal_text(const struct session *s, const char *portal)
{
    const struct session_portal *p = find_portal(s, portal);

    return p != NULL ? p->from->text : "";
}

static void
portal_free(struct session *s, struct session_portal *p)
{
    for (size_t i = p->at_spool; i < p->n_spool; i++)
        sqlite3_value_free(p->spool[i]);
    if (p->q == &p->own) {
        session_query_done(&p->own);
    } else if (p->q != NULL) {
        session_query_rewind(p->q);
        p->from->is_lent = false;
    }
    session_prepared_unref(s, p->from);
    free(p->spool);
    free(p);
}

void
session_close_portals(struct session *s)
{
    while (s->portals != NULL) {
        struct session_portal *p = s->portals;

        s->portals = p->next;
        portal_free(s, p);
    }
}

void
session_close_portal(struct session *s, const char *name)
{
    for (struct session_portal **at = &s->portals; *at != NULL; at = &(*at)->next) {
        struct session_portal *p = *at;

        if (strcmp(p->name, name) == 0) {
            *at = p->next;
            portal_free(s, p);
            return;
        }
    }
}

static int
bind_params(struct session_portal *p, const struct session_bind *b, struct err *e)
{
    sqlite3_stmt *stmt = p->q == NULL ? NULL : p->q->stmt;
    int n = stmt == NULL ? 0 : sqlite3_bind_parameter_count(stmt);
    int r = 0;

    for (int i = 1; i <= n && r == 0; i++) {
        oid_t hint;
        uint32_t k = session_param_number(p->q, i, &hint);
        int16_t format;

        if (k == 0 || k > b->n_params)
            return ERR(e, UNDEFINED_PARAMETER, "there is no parameter $%u", k);
        format = b->n_formats == 0   ? (int16_t) 0
                 : b->n_formats == 1 ? b->formats[0]
                                     : b->formats[k - 1];
        r = types_bind(stmt, i, p->from->types[k - 1], format, b->params[k - 1].p,
                       b->params[k - 1].n, e);
    }
    return r;
}

static int
check_formats(const struct session_bind *b, const struct session_prepared *from, struct err *e)
{
    if (b->n_params != from->n_params)
        return ERR(e, PROTOCOL_VIOLATION,
                   "bind message supplies %u parameters, but prepared statement \"%s\" requires %u",
                   b->n_params, from->name, from->n_params);
    if (b->n_formats > 1 && b->n_formats != b->n_params)
        return ERR(e, PROTOCOL_VIOLATION, "bind message has %u parameter formats but %u parameters",
                   b->n_formats, b->n_params);
    if (b->n_result_formats > 1 && (int) b->n_result_formats != from->q.n_cols &&
        from->stmt.kind == SQL_QUERY)
        return ERR(e, PROTOCOL_VIOLATION,
                   "bind message has %u result formats but query has %d columns",
                   b->n_result_formats, from->q.n_cols);
    for (uint32_t i = 0; i < b->n_formats; i++) {
        if (b->formats[i] != 0 && b->formats[i] != 1)
            return ERR(e, INVALID_PARAMETER_VALUE, "unsupported format code: %d", b->formats[i]);
    }
    for (uint32_t i = 0; i < b->n_result_formats; i++) {
        if (b->result_formats[i] != 0 && b->result_formats[i] != 1)
            return ERR(e, INVALID_PARAMETER_VALUE, "unsupported format code: %d",
                       b->result_formats[i]);
    }
    return 0;
}

/* The portal gets a statement to run: its prepared statement's, or another of the same text. */
static int
lend_query(struct session *s, struct session_portal *p, struct err *e)
{
    struct session_prepared *from = p->from;

    if (from->q.stmt == NULL)
        return 0;
    if (!from->is_lent) {
        int r = session_prepared_renew(s, from, e);

        if (r < 0)
            return r;
        from->is_lent = true;
        p->q = &from->q;
        return 0;
    }
    p->q = &p->own;
    return session_query_prepare(s, &from->stmt, from->text, strlen(from->text), &p->own, e);
}

static int
portal_fill(struct session *s, struct session_portal *p, const struct session_bind *b,
            struct err *e)
{
    int r = check_formats(b, p->from, e);

    if (r == 0)
        r = lend_query(s, p, e);
    return r < 0 ? r : bind_params(p, b, e);
}

/* With room for its formats and its name. */
static struct session_portal *
portal_new(const struct session_bind *b)
{
    size_t n_name = strlen(b->portal) + 1;
    size_t n_formats = b->n_result_formats * sizeof(int16_t);
    struct session_portal *p = malloc(sizeof *p + n_formats + n_name);
    char *name;

    if (p == NULL)
        return NULL;
    *p = (struct session_portal){ .n_formats = b->n_result_formats };
    if (n_formats > 0)
        memcpy(p->formats, b->result_formats, n_formats);
    p->name = name = (char *) p->formats + n_formats;
    memcpy(name, b->portal, n_name);
    return p;
}

static int
bind_portal(struct session *s, const struct session_bind *b, struct err *e)
{
    struct session_prepared *from = session_prepared_find(s, b->name);
    struct session_portal *p;
    int r;

    if (from == NULL)
        return ERR(e, INVALID_SQL_STATEMENT_NAME, "prepared statement \"%s\" does not exist",
                   b->name);
    r = session_check_block(s, &from->stmt, e);
    if (r < 0)
        return r;
    if (b->portal[0] == '\0')
        session_close_portal(s, "");
    else if (find_portal(s, b->portal) != NULL)
        return ERR(e, DUPLICATE_CURSOR, "cursor \"%s\" already exists", b->portal);
    p = portal_new(b);
    if (p == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    p->from = from;
    p->depth = s->n_savepoints;
    from->refs++;
    r = portal_fill(s, p, b, e);
    if (r < 0) {
        portal_free(s, p);
        return r;
    }
    p->next = s->portals;
    s->portals = p;
    return 0;
}

int
session_bind(struct session *s, const struct session_bind *b, struct err *e)
{
    int r;

    if (s->block == BLOCK_NONE)
        session_begin_implicit(s);
    r = bind_portal(s, b, e);
    if (r < 0)
        session_fail(s);
    return r;
}

/* ---- describing ---- */

static int
describe(struct session *s, struct session_query *q, const struct sql_stmt *stmt,
         const struct session_run *run, const struct session_sink *sink, struct err *e)
{
    static const char *const all[] = { "name", "setting", "description" };
    struct session_column cols[3];
    uint32_t n = stmt->kind != SQL_SHOW ? 0 : stmt->name[0] != '\0' ? 1 : 3;

    if (q != NULL && q->n_cols > 0)
        return session_query_describe(s, q, run, q->has_row, sink, e);
    for (uint32_t i = 0; i < n; i++)
        cols[i] = (struct session_column){
            .name = n == 1 ? stmt->name : all[i], .type = TYPE_TEXT, .type_len = -1, .type_mod = -1
        };
    return sink->columns(sink->arg, cols, n);
}

int
session_describe_statement(struct session *s, const char *name, const oid_t **ret_types,
                           uint32_t *ret_n, const struct session_sink *sink, struct err *e)
{
    static const struct session_run text = { .describe = true };
    struct session_prepared *p = session_prepared_find(s, name);
    int r;

    if (p == NULL) {
        r = ERR(e, INVALID_SQL_STATEMENT_NAME, "prepared statement \"%s\" does not exist", name);
        session_fail(s);
        return r;
    }
    *ret_types = p->types;
    *ret_n = p->n_params;
    return describe(s, p->q.stmt == NULL ? NULL : &p->q, &p->stmt, &text, sink, e);
}

static bool
has_unknown_type(const struct session_query *q)
{
    for (int i = 0; i < q->n_cols; i++) {
        if (q->types[i] == TYPE_UNKNOWN)
            return true;
    }
    return false;
}

static int
enter(struct session *s, struct session_portal *p, struct err *e)
{
    int r;

    if (p->is_entered)
        return 0;
    r = session_query_enter(s, p->q, false, e);
    p->is_entered = r == 0;
    return r;
}

int
session_describe_portal(struct session *s, const char *portal, const struct session_sink *sink,
                        struct err *e)
{
    struct session_portal *p = find_portal(s, portal);
    struct session_run run = { .describe = true };
    int r = 0;

    if (p == NULL) {
        r = ERR(e, INVALID_CURSOR_NAME, "portal \"%s\" does not exist", portal);
        session_fail(s);
        return r;
    }
    /* What a reading query without declared types returns, its first row tells. */
    if (p->q != NULL && p->q->is_readonly && !p->is_entered && has_unknown_type(p->q)) {
        session_arm(s);
        r = enter(s, p, e);
        if (r == 0)
            r = session_query_peek(s, p->q, e);
        session_disarm(s);
        if (r < 0) {
            session_fail(s);
            return r;
        }
    }
    run.formats = p->formats;
    run.n_formats = p->n_formats;
    return describe(s, p->q, &p->from->stmt, &run, sink, e);
}

/* ---- spool (5.7 a) ---- */

static int
spool_row(struct session_portal *p, struct err *e)
{
    if (p->n_spool + (size_t) p->q->n_cols > p->cap_spool) {
        size_t cap = MAX(p->cap_spool * 2, p->n_spool + (size_t) p->q->n_cols);
        sqlite3_value **grown = realloc(p->spool, cap * sizeof(*grown));

        if (grown == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
        p->spool = grown;
        p->cap_spool = cap;
    }
    for (int i = 0; i < p->q->n_cols; i++) {
        sqlite3_value *copy = sqlite3_value_dup(sqlite3_column_value(p->q->stmt, i));

        if (copy == NULL)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
        p->spool[p->n_spool++] = copy;
    }
    return 0;
}

static int
spool_portal(struct session *s, struct session_portal *p, struct err *e)
{
    int rc = p->q->has_row ? SQLITE_ROW : sqlite3_step(p->q->stmt);
    int r = 0;

    p->q->has_row = false;
    while (rc == SQLITE_ROW && r == 0) {
        r = spool_row(p, e);
        if (r == 0)
            rc = sqlite3_step(p->q->stmt);
    }
    if (r == 0 && rc != SQLITE_DONE)
        r = session_failed(s, rc, true, e);
    (void) sqlite3_reset(p->q->stmt);
    p->is_spooled = true;
    return r;
}

int
session_spool_portals(struct session *s, bool readers, struct err *e)
{
    int r = 0;

    for (struct session_portal *p = s->portals; p != NULL && r == 0; p = p->next) {
        if (p->is_entered && p->q != NULL && !p->q->is_done && !p->is_spooled &&
            (readers || !p->q->is_readonly) && sqlite3_stmt_busy(p->q->stmt))
            r = spool_portal(s, p, e);
    }
    return r;
}

int
session_portals_to_savepoint(struct session *s, uint32_t k, bool back, struct err *e)
{
    for (struct session_portal **at = &s->portals; *at != NULL;) {
        struct session_portal *p = *at;

        if (back && p->depth > k) {
            *at = p->next;
            portal_free(s, p);
            continue;
        }
        p->depth = MIN(p->depth, k);
        at = &p->next;
    }
    return s->in_sqlite ? session_spool_portals(s, back, e) : 0;
}

static int
run_spooled(struct session *s, struct session_portal *p, const struct session_run *run,
            const struct session_sink *sink, uint64_t *n_rows, struct err *e)
{
    size_t n_cols = (size_t) p->q->n_cols;
    int r = 0;

    while (r == 0 && p->at_spool < p->n_spool) {
        r = session_query_send(s, p->q, run, p->spool + p->at_spool, sink, e);
        for (size_t i = 0; i < n_cols; i++)
            sqlite3_value_free(p->spool[p->at_spool + i]);
        p->at_spool += n_cols;
        if (++*n_rows == run->max_rows && run->max_rows > 0 && r == 0)
            return SESSION_SUSPENDED;
    }
    return r;
}

/* ---- executing ---- */

static int
no_columns(void *arg, const struct session_column *c, uint32_t n)
{
    (void) arg;
    (void) c;
    (void) n;
    return 0; /* Execute never sends a RowDescription */
}

/* A command of the server's. It may close every portal: p is not touched afterwards. */
static int
execute_command(struct session *s, struct session_portal *p, const struct session_sink *sink,
                char *tag, struct err *e)
{
    struct session_prepared *from = p->from;
    struct session_sink quiet = *sink;
    struct sql_stmt stmt = from->stmt;
    int r;

    quiet.columns = no_columns;
    p->is_over = stmt.kind != SQL_SHOW;
    from->refs++;
    r = session_command(s, &stmt, &quiet, e);
    memcpy(tag, stmt.tag, sizeof stmt.tag);
    session_prepared_unref(s, from);
    return r;
}

static int
execute_query(struct session *s, struct session_portal *p, uint32_t max_rows,
              const struct session_sink *sink, char *tag, struct err *e)
{
    struct session_run run = { .formats = p->formats,
                               .n_formats = p->n_formats,
                               .max_rows = max_rows };
    uint64_t n = 0;
    int r = enter(s, p, e);

    if (r == 0 && p->is_spooled)
        r = run_spooled(s, p, &run, sink, &n, e);
    else if (r == 0)
        r = session_query_run(s, p->q, &run, sink, &n, e);
    p->n_rows += n;
    session_query_tag(s, &p->from->stmt, p->is_spooled || p->n_rows > n, n, tag);
    p->is_over = r == 0;
    if (r == 0)
        session_count_rows(s, &p->from->stmt);
    return r;
}

/* Once at its end, only a query can be asked again: it has no more rows. What it did is not done
 * twice, nor said to be. */
static int
check_not_over(const struct session_portal *p, struct err *e)
{
    if (!p->is_over || (p->q != NULL && p->q->is_readonly))
        return 0;
    return ERR(e, OBJECT_NOT_IN_PREREQUISITE_STATE, "portal \"%s\" cannot be run", p->name);
}

int
session_execute_portal(struct session *s, const char *portal, uint32_t max_rows,
                       const struct session_sink *sink, struct err *e)
{
    struct session_portal *p = find_portal(s, portal);
    char tag[SQL_NAME_BYTES];
    int r;

    session_arm(s);
    if (p == NULL)
        r = ERR(e, INVALID_CURSOR_NAME, "portal \"%s\" does not exist", portal);
    else
        r = session_check_block(s, &p->from->stmt, e);
    if (r == 0)
        r = check_not_over(p, e);
    if (r == 0)
        r = self_check(s->self, e);
    if (r == 0 && p->from->stmt.kind == SQL_EMPTY) {
        session_disarm(s);
        return sink->empty(sink->arg);
    }
    if (r == 0 && s->block == BLOCK_NONE) /* behind a COMMIT in the same pipeline */
        session_begin_implicit(s);
    if (r == 0)
        r = p->q != NULL ? execute_query(s, p, max_rows, sink, tag, e)
                         : execute_command(s, p, sink, tag, e);
    session_disarm(s);
    if (r < 0) {
        if (r == -ERR_OUT_OF_MEMORY)
            session_cache_clear(s);
        session_fail(s);
        return r;
    }
    return r == SESSION_SUSPENDED ? r : sink->complete(sink->arg, tag);
}

int
session_sync(struct session *s, bool failed, struct err *e)
{
    if (s->block != BLOCK_IMPLICIT)
        return 0;
    if (!failed)
        return session_commit(s, e);
    session_rollback(s);
    return 0;
}
