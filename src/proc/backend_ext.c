/* The extended protocol: Parse, Bind, Describe, Execute, Close to calls of the session.
 *
 * Runs in: backend. Owns: nothing. Source: wal-format.md 6.3, 6.8. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "proc/backend.h"

/* n bytes that last until the next message; NULL: no memory. */
static void *
scratch(struct backend *b, size_t n)
{
    n = MAX(n, 256u);
    if (n > b->scratch_n || b->scratch_n > PGWIRE_KEEP_BYTES) {
        free(b->scratch);
        b->scratch = malloc(n);
        b->scratch_n = b->scratch != NULL ? n : 0;
    }
    return b->scratch;
}

static int
do_parse(struct backend *b, const struct pgwire_msg *m, struct err *e)
{
    oid_t *types;
    struct pgwire_parse p;
    int r = pgwire_get_parse(m, &p, e);

    if (r == 0)
        r = pgwire_check_text(p.text, strlen(p.text), e);
    if (r < 0)
        return r;
    types = scratch(b, p.types.n * sizeof *types);
    if (types == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    for (uint32_t i = 0; i < p.types.n; i++)
        types[i] = pgwire_list_u32(&p.types, i);
    backend_activity(b, ACTIVITY_ACTIVE, p.text);
    log_set_statement(p.text); /* until the loop has answered */
    r = session_parse(b->session, p.name, p.text, types, p.types.n, e);
    if (r == 0)
        pgwire_put_bare(&b->conn.out, PGWIRE_PARSE_COMPLETE);
    return r;
}

static int16_t *
copy_formats(const struct pgwire_list *l, int16_t *p)
{
    for (uint32_t i = 0; i < l->n; i++)
        p[i] = pgwire_list_i16(l, i);
    return p + l->n;
}

/* Values in text form must be valid UTF-8. */
static int
copy_params(const struct pgwire_bind *w, struct session_value *params, struct err *e)
{
    struct pgwire_list l = w->params;

    for (uint32_t i = 0; i < w->params.n; i++) {
        uint32_t f = w->formats.n > 1 ? i : 0;
        bool is_text = f >= w->formats.n || pgwire_list_i16(&w->formats, f) == 0;
        const uint8_t *p;
        int32_t n = pgwire_next_value(&l, &p);
        int r = is_text && n > 0 ? pgwire_check_text((const char *) p, (size_t) n, e) : 0;

        if (r < 0)
            return r;
        params[i] = (struct session_value){ p, n };
    }
    return 0;
}

static int
do_bind(struct backend *b, const struct pgwire_msg *m, struct err *e)
{
    struct session_value *params;
    int16_t *formats, *result_formats;
    struct session_bind s;
    struct pgwire_bind w;
    int r = pgwire_get_bind(m, &w, e);

    if (r < 0)
        return r;
    params = scratch(b, w.params.n * sizeof *params +
                            (w.formats.n + w.result_formats.n) * sizeof *formats);
    if (params == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    formats = (int16_t *) (params + w.params.n);
    result_formats = copy_formats(&w.formats, formats);
    (void) copy_formats(&w.result_formats, result_formats);
    r = copy_params(&w, params, e);
    if (r < 0)
        return r;
    s = (struct session_bind){ .portal = w.portal,
                               .name = w.name,
                               .formats = formats,
                               .n_formats = w.formats.n,
                               .params = params,
                               .n_params = w.params.n,
                               .result_formats = result_formats,
                               .n_result_formats = w.result_formats.n };
    log_set_statement(session_prepared_text(b->session, w.name)); /* until the loop has answered */
    r = session_bind(b->session, &s, e);
    if (r == 0)
        pgwire_put_bare(&b->conn.out, PGWIRE_BIND_COMPLETE);
    return r;
}

/* What a Describe is about; a statement's parameter types come before its columns. */
struct described {
    struct backend *b;
    struct session_sink sink;
    const oid_t *types;
    uint32_t n_types;
    bool is_statement;
};

/* RowDescription, or NoData where there are no columns. */
static int
on_described(void *arg, const struct session_column *c, uint32_t n)
{
    struct described *d = arg;

    if (d->is_statement)
        pgwire_put_param_types(&d->b->conn.out, d->types, (uint16_t) d->n_types);
    if (n > 0)
        return d->sink.columns(d->b, c, n);
    pgwire_put_bare(&d->b->conn.out, PGWIRE_NO_DATA);
    return 0;
}

static int
do_describe(struct backend *b, const struct pgwire_msg *m, struct err *e)
{
    struct described d = { .b = b, .sink = backend_sink(b) };
    struct session_sink sink = d.sink;
    const char *name;
    char what;
    int r = pgwire_get_named(m, &what, &name, e);

    if (r < 0)
        return r;
    sink.arg = &d;
    sink.columns = on_described;
    sink.notice = NULL;
    d.is_statement = what == 'S';
    if (what == 'P')
        return session_describe_portal(b->session, name, &sink, e);
    return session_describe_statement(b->session, name, &d.types, &d.n_types, &sink, e);
}

/* A copy of what the portal runs: it may be gone before the log has it. */
static const char *
keep_statement(struct backend *b, const char *portal)
{
    const char *text = session_portal_text(b->session, portal);
    size_t n = strlen(text) + 1;

    if (n > b->statement_cap || b->statement_cap > PGWIRE_KEEP_BYTES) { /* no long one stays */
        char *more = realloc(b->statement, n);

        if (more == NULL)
            return "";
        b->statement = more;
        b->statement_cap = n;
    }
    memcpy(b->statement, text, n);
    return b->statement;
}

static int
do_execute(struct backend *b, const struct pgwire_msg *m, struct err *e)
{
    struct session_sink sink = backend_sink(b);
    const struct conf_values *v = &b->conf.cur.v;
    struct backend_timed t;
    char how[CATALOG_NAME_BYTES + 16] = "";
    const char *portal;
    uint32_t max_rows;
    int r = pgwire_get_execute(m, &portal, &max_rows, e);

    if (r < 0)
        return r;
    backend_activity(b, ACTIVITY_ACTIVE, NULL);
    if (v->log_statement > 0 || v->log_min_duration_statement >= 0)
        (void) snprintf(how, sizeof how, "execute %s: ", portal[0] == '\0' ? "<unnamed>" : portal);
    t = backend_log_begin(b, keep_statement(b, portal), how);
    r = session_execute_portal(b->session, portal, max_rows, &sink, e);
    backend_log_end(b, &t, r);
    if (r == SESSION_SUSPENDED)
        pgwire_put_bare(&b->conn.out, PGWIRE_PORTAL_SUSPENDED);
    return r < 0 ? r : 0;
}

static int
do_close(struct backend *b, const struct pgwire_msg *m, struct err *e)
{
    const char *name;
    char what;
    int r = pgwire_get_named(m, &what, &name, e);

    if (r < 0)
        return r;
    if (what == 'P')
        session_close_portal(b->session, name);
    else
        session_close_statement(b->session, name);
    pgwire_put_bare(&b->conn.out, PGWIRE_CLOSE_COMPLETE);
    return 0;
}

int
backend_extended(struct backend *b, enum pgwire_order order, const struct pgwire_msg *m,
                 struct err *e)
{
    if (order == PGWIRE_DO_PARSE)
        return do_parse(b, m, e);
    if (order == PGWIRE_DO_BIND)
        return do_bind(b, m, e);
    if (order == PGWIRE_DO_DESCRIBE)
        return do_describe(b, m, e);
    if (order == PGWIRE_DO_EXECUTE)
        return do_execute(b, m, e);
    ASSERT(order == PGWIRE_DO_CLOSE);
    return do_close(b, m, e);
}
