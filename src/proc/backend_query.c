/* The session: messages in, orders carried out, results and errors out.
 *
 * Runs in: backend. Owns: nothing. Source: wal-format.md 6.7, 6.8, 6.11; design 4 (patience with
 * writers). */
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "proc/backend.h"
#include "sql/sql_stmt.h"

/* ---- results ---- */

/* A message of a result is complete: keep the buffer small. */
static int
sent_one(struct backend *b)
{
    int r;

    if (b->conn.out.failed) { /* too large, or no memory: as if it had not begun (WIRE-3) */
        pgwire_undo(&b->conn.out);
        return ERR(&b->sink_err, OUT_OF_MEMORY, "result does not fit into a message");
    }
    r = pgwire_relieve(&b->conn, &b->sink_err);
    return r;
}

static int
on_columns(void *arg, const struct session_column *c, uint32_t n)
{
    struct backend *b = arg;

    pgwire_begin_columns(&b->conn.out, (uint16_t) n);
    for (uint32_t i = 0; i < n; i++) {
        const struct pgwire_column column = { .name = c[i].name,
                                              .type_oid = c[i].type,
                                              .type_len = c[i].type_len,
                                              .type_mod = c[i].type_mod,
                                              .format = c[i].format };

        pgwire_put_column(&b->conn.out, &column);
    }
    pgwire_end(&b->conn.out);
    return sent_one(b);
}

static int
on_row(void *arg, const struct session_value *v, uint32_t n)
{
    struct backend *b = arg;

    pgwire_begin_row(&b->conn.out, (uint16_t) n);
    for (uint32_t i = 0; i < n; i++)
        pgwire_put_value(&b->conn.out, v[i].p, v[i].n);
    pgwire_end(&b->conn.out);
    return sent_one(b);
}

static int
on_complete(void *arg, const char *tag)
{
    struct backend *b = arg;

    pgwire_put_complete(&b->conn.out, tag);
    return sent_one(b);
}

static int
on_empty(void *arg)
{
    struct backend *b = arg;

    pgwire_put_bare(&b->conn.out, PGWIRE_EMPTY_QUERY);
    return sent_one(b);
}

/* client_min_messages knows debug|info|notice|warning|error|log; INFO always goes out. */
static int
on_notice(void *arg, const char *severity, const struct err *notice)
{
    static const char *const ranks[] = { "DEBUG", "INFO", "NOTICE", "WARNING" };
    struct backend *b = arg;
    int rank = 0;

    while (rank < (int) ELEMENTSOF(ranks) - 1 && strcmp(ranks[rank], severity) != 0)
        rank++;
    if (rank < b->conf.cur.v.client_min_messages && rank != 1)
        return 0;
    pgwire_put_error(&b->conn.out, severity, notice);
    return sent_one(b);
}

struct session_sink
backend_sink(struct backend *b)
{
    err_clear(&b->sink_err);
    return (struct session_sink){ .arg = b,
                                  .columns = on_columns,
                                  .row = on_row,
                                  .complete = on_complete,
                                  .empty = on_empty,
                                  .notice = on_notice };
}

/* ---- what others see ---- */

/* The time since the last change belongs to what was done until now. */
static void
count_time(const struct backend *b, usec_t now)
{
    const struct slot *s = b->slot;
    usec_t since = atomic_load_explicit(&s->state_change_usec, memory_order_relaxed);
    usec_t took = since != 0 && now > since ? now - since : 0; /* clocks jump */

    backend_count(b, STAT_SESSION_TIME, took);
    switch ((enum slot_activity) atomic_load_explicit(&s->activity, memory_order_relaxed)) {
    case ACTIVITY_ACTIVE:
        backend_count(b, STAT_ACTIVE_TIME, took);
        break;
    case ACTIVITY_IDLE_IN_TRANSACTION:
    case ACTIVITY_IDLE_IN_FAILED_TRANSACTION:
        backend_count(b, STAT_IDLE_IN_TXN_TIME, took);
        break;
    case ACTIVITY_STARTING:
    case ACTIVITY_IDLE:
        break;
    }
}

void
backend_log_levels(const struct backend *b)
{
    const struct conf_values *v = &b->conf.cur.v;

    log_set_levels((enum log_level) v->log_min_messages,
                   (enum log_level) v->log_min_error_statement,
                   (enum log_verbosity) v->log_error_verbosity);
}

void
backend_activity(struct backend *b, enum slot_activity activity, const char *text)
{
    struct slot *s = b->slot;
    usec_t now = clock_real_usec();

    count_time(b, now);
    if (text != NULL) {
        slot_set_text(s, s->query, sizeof s->query, text, strlen(text));
        atomic_store_explicit(&s->query_start_usec, now, memory_order_relaxed);
    }
    atomic_store_explicit(&s->xact_start_usec,
                          b->session != NULL ? session_xact_start(b->session) : 0,
                          memory_order_relaxed);
    atomic_store_explicit(&s->state_change_usec, now, memory_order_relaxed);
    atomic_store_explicit(&s->activity, (uint32_t) activity, memory_order_relaxed);
}

void
backend_tell_settings(struct backend *b)
{
    const struct conf *cur = &b->conf.cur;
    char value[1024];
    int id;

    while ((id = conf_session_next_report(&b->conf)) >= 0) {
        pgwire_put_parameter(&b->conn.out, conf_desc((enum conf_id) id)->name,
                             conf_show(cur, (enum conf_id) id, value, sizeof value));
        if (id != CONF_application_name)
            continue;
        slot_set_text(b->slot, b->slot->application_name, sizeof b->slot->application_name,
                      cur->v.application_name, strlen(cur->v.application_name));
        log_set_application(cur->v.application_name);
    }
    backend_log_levels(b);
    backend_set_tcp(b, &cur->v);
}

/* ---- statements in the log ---- */

struct backend_timed
backend_log_begin(const struct backend *b, const char *text, const char *how)
{
    const struct conf_values *v = &b->conf.cur.v;
    struct backend_timed t = { .text = text, .how = how };

    if (text[0] == '\0')
        return t;
    /* log_statement: none|ddl|mod|all */
    t.is_logged = v->log_statement == 3 ||
                  (v->log_statement > 0 && (int) sql_stmt_class(text, strlen(text)) >=
                                               (int) SQL_CLASS_DEFINE + 1 - v->log_statement);
    if (t.is_logged)
        log_query(how, text);
    if (v->log_min_duration_statement >= 0)
        t.start = clock_mono_usec();
    log_set_statement(text);
    return t;
}

void
backend_log_end(const struct backend *b, const struct backend_timed *t, int r)
{
    usec_t usec;
    char head[160];

    if (t->start == 0 || r < 0)
        return;
    usec = clock_mono_usec() - t->start;
    if (usec < (usec_t) b->conf.cur.v.log_min_duration_statement)
        return;
    (void) snprintf(head, sizeof head, "duration: %.3f ms%s%s", (double) usec / 1e3,
                    t->is_logged ? "" : "  ", t->is_logged ? "" : t->how);
    log_query(head, t->is_logged ? "" : t->text);
}

static enum slot_activity
idle_activity(char status)
{
    return status == 'I'   ? ACTIVITY_IDLE
           : status == 'T' ? ACTIVITY_IDLE_IN_TRANSACTION
                           : ACTIVITY_IDLE_IN_FAILED_TRANSACTION;
}

/* ---- between two messages ---- */

/* Everything is answered: say so, send it. */
static void
tell_ready(struct backend *b)
{
    char status = session_status(b->session);
    int r;

    b->ready_due = false;
    slot_request_clear(b->slot, REQ_CANCEL); /* it was meant for what has just ended */
    backend_tell_settings(b);
    pgwire_put_ready(&b->conn.out, status);
    backend_activity(b, idle_activity(status), NULL);
    r = pgwire_flush(&b->conn, &b->err);
    if (r < 0)
        backend_broken(b, r, &b->err);
}

static void
be_patient(struct backend *b, enum backend_patience patience, int64_t usec)
{
    usec_t deadline;

    if (usec <= 0)
        return;
    deadline = clock_mono_usec() + (usec_t) usec;
    if (b->deadline != 0 && b->deadline <= deadline)
        return;
    b->deadline = deadline;
    b->patience = patience;
}

/* How long the client may be silent now. */
static void
set_patience(struct backend *b)
{
    const struct conf_values *v = &b->conf.cur.v;
    bool is_in_txn = session_status(b->session) != 'I';

    b->deadline = 0;
    b->patience = PATIENCE_NONE;
    if (session_is_writing(b->session))
        be_patient(b, PATIENCE_WRITER, v->idle_in_write_transaction_timeout);
    if (is_in_txn)
        be_patient(b, PATIENCE_IDLE_TXN, v->idle_in_transaction_session_timeout);
    else if (b->state == PGWIRE_IDLE)
        be_patient(b, PATIENCE_IDLE, v->idle_session_timeout);
}

static struct pgwire_step
next_message(struct backend *b, struct pgwire_msg *m)
{
    struct err *e = &b->err;
    struct pgwire_step step;
    int r;

    err_clear(e);
    err_clear(&b->sink_err);
    if (b->ready_due && b->state == PGWIRE_IDLE)
        tell_ready(b);
    set_patience(b);
    b->conn.in_max = (size_t) b->conf.cur.v.session_memory_limit;
    r = pgwire_read_message(&b->conn, m, e);
    b->deadline = 0;
    b->patience = PATIENCE_NONE;
    if (r == PGWIRE_EOF) {
        if (session_status(b->session) != 'I')
            log_msg(LOG_LEVEL_LOG, "unexpected EOF on client connection with an open transaction");
        backend_count(b, STAT_SESSIONS_ABANDONED, 1);
        backend_leave(b, CHILD_OK);
    }
    if (r < 0)
        backend_broken(b, r, e);
    step = pgwire_step(b->state, pgwire_event_of_type(m->type));
    if (step.order == PGWIRE_DO_VIOLATION) {
        (void) ERR(e, PROTOCOL_VIOLATION, "unexpected message type \"%c\" in phase %s", m->type,
                   pgwire_state_name(b->state));
        backend_fatal(b, e);
    }
    b->state = step.next;
    return step;
}

/* ---- orders ---- */

static int
run_query(struct backend *b, const struct pgwire_msg *m, struct err *e)
{
    struct session_sink sink = backend_sink(b);
    struct backend_timed t;
    const char *text;
    int r = pgwire_get_query(m, &text, e);

    if (r == 0)
        r = pgwire_check_text(text, strlen(text), e);
    if (r < 0)
        return r;
    backend_activity(b, ACTIVITY_ACTIVE, text);
    t = backend_log_begin(b, text, "statement: ");
    r = session_execute(b->session, text, &sink, e);
    backend_log_end(b, &t, r);
    return r;
}

static int
run_sync(struct backend *b, const struct pgwire_msg *m, bool failed, struct err *e)
{
    int r = pgwire_get_empty(m, e);
    int r2 = session_sync(b->session, failed || r < 0, e);

    return r < 0 ? r : r2;
}

static int
refuse_too_long(struct backend *b, enum pgwire_order order, const struct pgwire_msg *m,
                struct err *e)
{
    int r = ERR(e, OUT_OF_MEMORY, "out of memory");

    b->ready_due = order == PGWIRE_DO_QUERY || order == PGWIRE_DO_REFUSE_FUNCTION;
    err_detail(e, "A message of %zu bytes is longer than session_memory_limit.", m->too_long);
    return r;
}

static int
carry_out(struct backend *b, enum pgwire_order order, const struct pgwire_msg *m, struct err *e)
{
    switch (order) {
    case PGWIRE_DO_QUERY:
        b->ready_due = true;
        return run_query(b, m, e);
    case PGWIRE_DO_SYNC:
    case PGWIRE_DO_SYNC_FAILED:
        b->ready_due = true;
        return run_sync(b, m, order == PGWIRE_DO_SYNC_FAILED, e);
    case PGWIRE_DO_REFUSE_FUNCTION:
        b->ready_due = true;
        return ERR(e, FEATURE_NOT_SUPPORTED, "function calls by message are not supported");
    case PGWIRE_DO_FLUSH:
        return pgwire_flush(&b->conn, e);
    case PGWIRE_DO_PARSE:
    case PGWIRE_DO_BIND:
    case PGWIRE_DO_DESCRIBE:
    case PGWIRE_DO_EXECUTE:
    case PGWIRE_DO_CLOSE:
        return backend_extended(b, order, m, e);
    case PGWIRE_DO_LEAVE:
        backend_leave(b, CHILD_OK);
    case PGWIRE_DO_NOTHING:
    case PGWIRE_DO_ANSWER_N:
    case PGWIRE_DO_CANCEL:
    case PGWIRE_DO_AUTHENTICATE:
    case PGWIRE_DO_GREET:
    case PGWIRE_DO_VIOLATION:
    case PGWIRE_ORDERS:
        break;
    }
    return 0;
}

/* An order ended in r < 0: ERROR and go on, or the end. */
static void
answer_error(struct backend *b, int r)
{
    struct err *e = &b->err;

    if (e->code == 0 && b->sink_err.code != 0)
        *e = b->sink_err;
    if (e->code == 0)
        (void) err_set(e, r, "statement failed");
    if (r == -ERR_CONNECTION_FAILURE || r == -ERR_ADMIN_SHUTDOWN ||
        r == -ERR_IDLE_IN_TRANSACTION_SESSION_TIMEOUT)
        backend_broken(b, r, e);
    session_fail(b->session); /* whoever refused it: nothing of the transaction may commit */
    log_err(LOG_LEVEL_ERROR, "", e);
    pgwire_put_error(&b->conn.out, "ERROR", e);
    b->state = pgwire_step(b->state, PGWIRE_ON_FAILED).next;
    slot_request_clear(b->slot, REQ_SNAPSHOT); /* the snapshot went with the statement */
}

NORETURN void
backend_loop(struct backend *b)
{
    for (;;) {
        struct pgwire_msg m;
        struct pgwire_step step = next_message(b, &m);
        int r;

        b->in_statement = step.order != PGWIRE_DO_FLUSH;
        if (m.too_long > 0 && step.order != PGWIRE_DO_NOTHING)
            r = refuse_too_long(b, step.order, &m, &b->err);
        else
            r = carry_out(b, step.order, &m, &b->err);
        b->in_statement = false;
        if (r < 0)
            answer_error(b, r);
        log_set_statement(NULL);
        err_clear(&b->err);
        r = pgwire_relieve(&b->conn, &b->err);
        if (r < 0)
            backend_broken(b, r, &b->err);
    }
}
