/* A session: opening and closing, and the loop over the statements of a Query message.
 *
 * Runs in: backend. Owns: the SQLite connection, the reference to the database.
 * Source: wal-format 6.7; sqlite-vfs 5.7, 5.12; engine-rules SNAP-5, SNAP-6. */
#include "sql/session.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/spill.h"
#include "sql/session_int.h"
#include "vfs/vfs_store.h"
#include "vfs/vfs_temp.h"

int
session_open(const struct session_cfg *cfg, struct session **ret, struct err *e)
{
    struct session *s = calloc(1, sizeof *s);
    int r;

    if (s == NULL) {
        store_db_detach(cfg->store, cfg->db_idx);
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    }
    s->cfg = *cfg;
    s->st = cfg->store;
    s->self = cfg->store->self;
    r = vfs_store_connect(s->st, cfg->db_idx, &s->db, &s->handle, &s->txn, e);
    if (r == 0)
        r = session_add_functions(s, e);
    if (r == 0)
        r = session_add_activity(s, e);
    if (r == 0)
        r = session_add_settings(s, e);
    if (r == 0)
        r = session_add_files(s, e);
    if (r == 0)
        r = session_add_hba(s, e);
    if (r == 0)
        r = session_add_stats(s, e);
    if (r == 0)
        r = session_add_progress(s, e);
    if (r == 0)
        r = session_add_log(s, e);
    if (r == 0)
        r = session_add_verify(s, e);
    if (r < 0) {
        session_close(s);
        return r;
    }
    session_harden(s);
    *ret = s;
    return 0;
}

void
session_close(struct session *s)
{
    if (s == NULL)
        return;
    if (s->db != NULL) {
        session_close_portals(s);
        (void) session_close_prepared(s, NULL);
        session_cache_clear(s);
        session_own_done(s);
        (void) sqlite3_close(s->db);
    }
    if (store_writer_is_mine(s->st, s->cfg.db_idx))
        store_writer_drop(s->st, s->cfg.db_idx);
    store_db_detach(s->st, s->cfg.db_idx);
    free(s->savepoints);
    free(s->out.p);
    free(s);
}

void
session_leave(struct session *s)
{
    if (s != NULL && (s->block != BLOCK_NONE || s->portals != NULL || session_is_writing(s)))
        session_close(s);
}

char
session_status(const struct session *s)
{
    switch (s->block) {
    case BLOCK_OPEN:
        return 'T';
    case BLOCK_FAILED:
        return 'E';
    case BLOCK_NONE:
    case BLOCK_IMPLICIT:
        break;
    }
    return 'I';
}

bool
session_is_writing(const struct session *s)
{
    return store_writer_is_mine(s->st, s->cfg.db_idx);
}

usec_t
session_xact_start(const struct session *s)
{
    return s->xact_start;
}

void
session_on_snapshot_cancelled(struct session *s)
{
    if (!store_txn_is_cancelled(s->txn))
        return;
    s->snapshot_gone = true;
    session_fail(s);
}

/* ---- statements ---- */

/* Settings may have changed since the last statement. PRAGMA cache_size reads the schema, which the
 * first statement does anyway. */
static void
session_set_memory(struct session *s)
{
    static int64_t heap_limit = 0; /* as the library of this process has it */
    const struct conf_values *v = &s->cfg.conf->cur.v;
    char sql[64];

    if (heap_limit != v->session_memory_limit)
        (void) sqlite3_hard_heap_limit64(v->session_memory_limit);
    heap_limit = v->session_memory_limit;
    spill_set_limit(v->temp_file_limit < 0 ? SPILL_NO_LIMIT : (uint64_t) v->temp_file_limit);
    if (s->work_mem == v->work_mem)
        return;
    store_txn_set_memory(s->txn, (uint64_t) v->work_mem);
    (void) snprintf(sql, sizeof sql, "PRAGMA main.cache_size = -%" PRId64, v->work_mem / 1024);
    s->is_internal = true;
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        s->work_mem = v->work_mem;
    s->is_internal = false;
}

/* Time-outs, memory and clock of one statement. */
void
session_arm(struct session *s)
{
    const struct conf_values *v = &s->cfg.conf->cur.v;

    s->stmt_start = clock_real_usec();
    s->self->statement_deadline =
        v->statement_timeout > 0 ? clock_mono_usec() + (usec_t) v->statement_timeout : 0;
    session_set_memory(s);
    err_clear(&s->interrupt);
    vfs_error_reset(s->handle);
    vfs_temp_error_reset();
}

void
session_disarm(struct session *s)
{
    s->self->statement_deadline = 0;
    session_count_temp(s);
    err_clear(&s->interrupt);
}

struct query_text {
    const char *p; /* the whole string */
    size_t n;
};

/* One statement of it. */
struct job {
    const struct sql_stmt *stmt;
    const struct sql_template *shared; /* NULL: it has none */
    struct session_cached *cached;     /* NULL: seen for the first time */
    bool is_last;
    uint64_t n_rows; /* sent */
    char tag[SQL_NAME_BYTES];
};

static int
run_prepared(struct session *s, struct job *job, struct session_query *q,
             const struct session_sink *sink, struct err *e)
{
    static const struct session_run all = { .describe = true };
    int r = q->stmt == NULL ? 0 : session_query_enter(s, q, job->is_last, e);

    if (r == 0 && q->stmt != NULL)
        r = session_query_run(s, q, &all, sink, &job->n_rows, e);
    if (r == 0) {
        session_query_tag(s, job->stmt, false, job->n_rows, job->tag);
        session_count_rows(s, job->stmt);
    }
    return r;
}

/* A Query message brings no values. */
static int
refuse_params(const struct session_query *q, struct err *e)
{
    const char *name = q->is_numbered ? "$1" : sqlite3_bind_parameter_name(q->stmt, 1);

    return ERR(e, UNDEFINED_PARAMETER, "there is no parameter %s", name != NULL ? name : "?");
}

/* By the statement as it was written. */
static int
run_written(struct session *s, const struct query_text *text, struct job *job,
            const struct session_sink *sink, struct err *e)
{
    struct sql_stmt stmt = *job->stmt;
    struct session_query q;
    int r;

    if (job->shared != NULL) { /* job->stmt may be of the template */
        stmt.text = text->p + job->shared->at;
        stmt.at = job->shared->at;
        stmt.n = job->shared->end - job->shared->at;
    }
    r = session_query_prepare(s, &stmt, text->p, text->n, &q, e);
    if (r < 0)
        return r;
    if (q.stmt != NULL && sqlite3_bind_parameter_count(q.stmt) > 0)
        r = refuse_params(&q, e);
    if (r == 0)
        r = run_prepared(s, job, &q, sink, e);
    session_query_done(&q);
    return r;
}

static int
run_query(struct session *s, const struct query_text *text, struct job *job,
          const struct session_sink *sink, struct err *e)
{
    struct session_query *shared = NULL;
    bool is_valid;
    int r;

    if (job->shared != NULL && job->cached == NULL)
        job->cached = session_cache_add(s, job->shared, job->stmt);
    if (job->cached != NULL)
        shared = session_cache_use(s, job->cached, job->shared, text->p);
    if (shared == NULL) {
        r = run_written(s, text, job, sink, e);
        if (r < 0 && job->cached != NULL && job->n_rows == 0)
            session_cache_forget(s, job->cached); /* perhaps it was no statement at all */
        return r;
    }
    r = run_prepared(s, job, shared, sink, e);
    is_valid = session_cache_done(s, job->cached);
    if (r == -ERR_OUT_OF_MEMORY)
        session_cache_clear(s);
    if (r == 0 || is_valid || job->n_rows > 0)
        return r;
    /* SQLite could not prepare it again: the words of that belong to the text of the client. */
    err_clear(e);
    return run_written(s, text, job, sink, e);
}

int
session_command(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink,
                struct err *e)
{
    switch (stmt->kind) {
    case SQL_BEGIN:
    case SQL_COMMIT:
    case SQL_ROLLBACK:
    case SQL_SAVEPOINT:
    case SQL_RELEASE:
    case SQL_ROLLBACK_TO:
    case SQL_SET_TRANSACTION:
        return session_txn_command(s, stmt, sink, e);
    case SQL_SET:
    case SQL_SET_CHARACTERISTICS:
    case SQL_SHOW:
    case SQL_RESET:
        return session_setting_command(s, stmt, sink, e);
    case SQL_ALTER_SYSTEM:
        return session_alter_system(s, stmt, e);
    case SQL_VACUUM:
        return session_vacuum(s, stmt, sink, e);
    case SQL_DISCARD:
    case SQL_CHECKPOINT:
    case SQL_CREATE_DB:
    case SQL_DROP_DB:
    case SQL_DEALLOCATE:
    case SQL_NOTHING:
    case SQL_REFUSED:
        return session_utility(s, stmt, sink, e);
    case SQL_EMPTY:
    case SQL_QUERY:
        break;
    }
    return ERR(e, INTERNAL_ERROR, "not a command");
}

/* One statement, and, if it is the last of an implicit transaction, the commit before its tag. */
static int
run_one(struct session *s, const struct query_text *text, struct job *job, struct sql_stmt *command,
        const struct session_sink *sink, struct err *e)
{
    bool is_query = job->stmt->kind == SQL_QUERY;
    int r;

    if (s->block == BLOCK_NONE)
        session_begin_implicit(s);
    session_arm(s);
    r = session_check_block(s, job->stmt, e);
    if (r == 0)
        r = self_check(s->self, e);
    if (r == 0)
        r = is_query ? run_query(s, text, job, sink, e) : session_command(s, command, sink, e);
    if (r == 0 && job->is_last && s->block == BLOCK_IMPLICIT)
        r = session_commit(s, e);
    session_disarm(s);
    if (r < 0) {
        session_fail(s);
        return r;
    }
    return sink->complete(sink->arg, is_query ? job->tag : command->tag);
}

static void
stmt_donep(struct sql_stmt *stmt)
{
    sql_stmt_done(stmt);
}

/* Where a Query message has been read to. */
struct query_at {
    size_t pos;
    bool is_end; /* nothing more to run */
};

/* One that is not among those kept. */
static int
parse_and_run(struct session *s, const struct query_text *text, struct job *job,
              struct query_at *at, const struct session_sink *sink, struct err *e)
{
    CLEANUP(stmt_donep) struct sql_stmt stmt = { .kind = SQL_EMPTY };
    int r = sql_stmt_parse(text->p, text->n, at->pos, &stmt, &at->pos, e);

    if (r < 0) {
        session_fail(s);
        return r;
    }
    job->stmt = &stmt;
    job->is_last = at->is_end = sql_is_blank(text->p, text->n, at->pos);
    return run_one(s, text, job, &stmt, sink, e);
}

static int
run_next(struct session *s, const struct query_text *text, struct query_at *at,
         const struct session_sink *sink, struct err *e)
{
    struct sql_template shared;
    struct job job = { .stmt = NULL };

    if (sql_template(text->p, text->n, at->pos, &shared)) {
        job.shared = &shared;
        job.cached = session_cache_find(s, &shared);
    }
    if (job.cached == NULL)
        return parse_and_run(s, text, &job, at, sink, e);
    job.stmt = session_cached_stmt(job.cached);
    at->pos = shared.next;
    job.is_last = at->is_end = sql_is_blank(text->p, text->n, at->pos);
    return run_one(s, text, &job, NULL, sink, e);
}

int
session_execute(struct session *s, const char *text, const struct session_sink *sink, struct err *e)
{
    struct query_text whole = { .p = text, .n = strlen(text) };
    struct query_at at = { .is_end = sql_is_blank(text, whole.n, 0) };
    int r = 0;

    (void) session_close_prepared(s, ""); /* a Query destroys the unnamed statement and portal */
    session_close_portal(s, "");
    if (at.is_end && s->block == BLOCK_IMPLICIT) /* a pipeline without Sync */
        r = session_commit(s, e);
    if (at.is_end)
        return r < 0 ? r : sink->empty(sink->arg);
    while (r == 0 && !at.is_end)
        r = run_next(s, &whole, &at, sink, e);
    if (s->block == BLOCK_IMPLICIT) /* the sink failed, or the last one was COMMIT of an earlier */
        session_rollback(s);
    return r;
}
