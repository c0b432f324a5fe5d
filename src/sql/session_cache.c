/* Prepared statements that a session keeps, by the text without literals (sql_template.h); newest
 * use first.
 *
 * Runs in: backend. Owns: the statements kept. Source: PostgreSQL's plancache.c for what makes a
 * kept plan bad; sqlite-vfs 5.8 for what SQLite finds out itself. */
#include <string.h>

#include "sql/session_int.h"

/* What a session keeps at most; memory as sqlite3_stmt_status() has it. */
#define CACHE_STATEMENTS 64
#define CACHE_BYTES      (512 << 10)
/* After so many uses in a row for which SQLite prepared again, it does better without parameters:
 * the plan depends on their values (LIKE, a partial index). */
#define STRIKES_MAX 2

struct session_cached {
    struct session_cached *next;
    struct sql_stmt stmt; /* of `key`; nothing owned */
    struct session_query q;
    size_t bytes;
    uint32_t strikes;
    bool is_busy;
    bool is_refused; /* not to be run with parameters */
    size_t n;
    char key[];
};

/* Forget the statement, not the key. */
static void
drop_statement(struct session *s, struct session_cached *c)
{
    ASSERT(!c->is_busy);
    session_query_done(&c->q);
    s->cache_bytes -= c->bytes;
    c->bytes = 0;
}

static void
cached_free(struct session *s, struct session_cached *c)
{
    drop_statement(s, c);
    s->n_cached--;
    free(c);
}

void
session_cache_clear(struct session *s)
{
    while (s->cached != NULL) {
        struct session_cached *c = s->cached;

        s->cached = c->next;
        cached_free(s, c);
    }
    session_kept_clear(s);
}

/* Within the limits again: the ones at the end go, the first one stays. */
static void
trim(struct session *s)
{
    size_t most = MIN((size_t) CACHE_BYTES, (size_t) s->cfg.conf->cur.v.session_memory_limit / 16);

    while (s->n_cached > CACHE_STATEMENTS || (s->n_cached > 1 && s->cache_bytes > most)) {
        struct session_cached **at = &s->cached;

        while ((*at)->next != NULL)
            at = &(*at)->next;
        cached_free(s, TAKE_PTR(*at));
    }
}

struct session_cached *
session_cache_find(struct session *s, const struct sql_template *t)
{
    for (struct session_cached **at = &s->cached; *at != NULL; at = &(*at)->next) {
        struct session_cached *c = *at;

        if (c->n != t->n || memcmp(c->key, t->key, t->n) != 0)
            continue;
        *at = c->next; /* to the front */
        c->next = s->cached;
        s->cached = c;
        return c;
    }
    return NULL;
}

const struct sql_stmt *
session_cached_stmt(const struct session_cached *c)
{
    return &c->stmt;
}

struct session_cached *
session_cache_add(struct session *s, const struct sql_template *t, const struct sql_stmt *stmt)
{
    struct session_cached *c = malloc(sizeof *c + t->n + 1);

    if (c == NULL)
        return NULL;
    *c = (struct session_cached){ .next = s->cached, .stmt = *stmt, .n = t->n };
    memcpy(c->key, t->key, t->n + 1);
    c->stmt.text = c->key;
    c->stmt.at = 0;
    c->stmt.n = c->n;
    s->cached = c;
    s->n_cached++;
    trim(s);
    return c;
}

static int
prepare(struct session *s, struct session_cached *c, size_t n_literals)
{
    struct err ignored = ERR_INIT; /* the statement as it was written will say it better */
    int r = session_query_prepare(s, &c->stmt, c->key, c->n, &c->q, &ignored);

    if (r < 0)
        return r;
    if (c->q.stmt == NULL || sqlite3_bind_parameter_count(c->q.stmt) != (int) n_literals)
        return -ERR_INTERNAL_ERROR;
    c->bytes = (size_t) sqlite3_stmt_status(c->q.stmt, SQLITE_STMTSTATUS_MEMUSED, 0);
    s->cache_bytes += c->bytes;
    trim(s);
    return 0;
}

static int
bind(struct session_cached *c, const struct sql_template *t, const char *text)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; i < t->n_literals && rc == SQLITE_OK; i++) {
        const struct sql_literal *l = &t->literals[i];

        rc = l->is_text ? sqlite3_bind_text(c->q.stmt, (int) i + 1, text + l->at, (int) l->n,
                                            SQLITE_STATIC)
                        : sqlite3_bind_int64(c->q.stmt, (int) i + 1, sql_literal_number(text, l));
    }
    return rc == SQLITE_OK ? 0 : -ERR_OUT_OF_MEMORY;
}

struct session_query *
session_cache_use(struct session *s, struct session_cached *c, const struct sql_template *t,
                  const char *text)
{
    int r = 0;

    ASSERT(!c->is_busy);
    if (c->is_refused)
        return NULL;
    if (c->q.stmt == NULL)
        r = prepare(s, c, t->n_literals);
    if (r == 0)
        r = bind(c, t, text);
    if (r < 0) {
        drop_statement(s, c);
        c->is_refused = true;
        return NULL;
    }
    session_query_forget_values(&c->q);
    c->is_busy = true;
    return &c->q;
}

bool
session_cache_done(struct session *s, struct session_cached *c)
{
    bool is_valid = sqlite3_expired(c->q.stmt) == 0;
    bool is_same = sqlite3_stmt_status(c->q.stmt, SQLITE_STMTSTATUS_REPREPARE, 1) == 0;

    session_query_rewind(&c->q);
    c->is_busy = false;
    if (is_valid && is_same) {
        c->strikes = 0;
        return true;
    }
    drop_statement(s, c); /* another schema or another plan: what was noted of it may be wrong */
    c->is_refused = !is_same && ++c->strikes >= STRIKES_MAX;
    return is_valid;
}

void
session_cache_forget(struct session *s, struct session_cached *c)
{
    for (struct session_cached **at = &s->cached; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            cached_free(s, c);
            return;
        }
    }
}
