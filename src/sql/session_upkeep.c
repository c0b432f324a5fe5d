/* What autovacuum does with one database: free pages go back to the file system, the planner's
 * statistics are made anew; all in small transactions, with a pause between two.
 *
 * Runs in: autovacuum worker. Owns: nothing. Source: PostgreSQL's autovacuum for the thresholds;
 * SQLite's incremental_vacuum and analysis_limit. */
#include <string.h>

#include "sql/session_int.h"

/* Rows looked at of one index: the planner wants proportions, not counts. */
#define ANALYZE_ROWS "400"

struct session_upkeep_plan
session_upkeep_decide(const struct session_upkeep_view *v, const struct conf_values *c)
{
    int64_t keep = c->autovacuum_vacuum_threshold;
    double free_max = (double) keep + c->autovacuum_vacuum_scale_factor * (double) v->n_pages;
    double changed_max = (double) c->autovacuum_analyze_threshold +
                         c->autovacuum_analyze_scale_factor * (double) v->n_rows;

    return (struct session_upkeep_plan){ .vacuum = (double) v->n_free > free_max,
                                         .keep = keep,
                                         .analyze = (double) v->n_changed > changed_max };
}

/* Rows by the planner's statistics: of each table the largest count of its indexes. */
static int
read_view(struct session *s, struct session_upkeep_view *v, struct err *e)
{
    uint64_t n[STAT_DB_COUNTS];
    usec_t reset;
    int64_t has_stat = 0;
    int r = session_read_number(s, "PRAGMA freelist_count", NULL, &v->n_free, e);

    if (r == 0)
        r = session_read_number(s, "PRAGMA page_count", NULL, &v->n_pages, e);
    if (r == 0)
        r = session_read_number(
            s, "SELECT count(*) FROM main.sqlite_schema WHERE name = 'sqlite_stat1'", NULL,
            &has_stat, e);
    if (r == 0 && has_stat != 0)
        r = session_read_number(s,
                                "SELECT sum(n) FROM (SELECT max(CAST(stat AS INTEGER)) AS n "
                                "FROM main.sqlite_stat1 GROUP BY tbl)",
                                NULL, &v->n_rows, e);
    stat_read_db(s->cfg.stats, s->cfg.db.oid, n, &reset);
    v->n_changed = (int64_t) (n[STAT_TUP_INSERTED] + n[STAT_TUP_UPDATED] + n[STAT_TUP_DELETED] -
                              n[STAT_ROWS_ANALYZED]);
    return r;
}

/* The name of the table behind `after`, or NULL: no more. sqlite3_free(). */
static int
next_table(struct session *s, const char *after, char **ret, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    int rc;
    int r = 0;

    *ret = NULL;
    s->is_internal = true;
    rc = sqlite3_prepare_v2(s->db,
                            "SELECT min(name) FROM main.sqlite_schema WHERE type = 'table' AND "
                            "rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name > ?1",
                            -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 1, after, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    s->is_internal = false;
    if (rc == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL) {
        *ret = sqlite3_mprintf("%s", sqlite3_column_text(stmt, 0));
        r = *ret == NULL ? ERR(e, OUT_OF_MEMORY, "out of memory") : 0;
    } else if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        r = session_failed(s, rc, true, e);
    }
    (void) sqlite3_finalize(stmt);
    return r;
}

/* One table in a transaction of its own. Somebody may have dropped it since we saw its name. */
static int
analyze_table(struct session *s, const char *name, struct session_upkeep_done *ret, struct err *e)
{
    char *sql = sqlite3_mprintf("ANALYZE main.\"%w\"", name);
    usec_t held = 0;
    int r = sql == NULL ? ERR(e, OUT_OF_MEMORY, "out of memory") : session_step(s, sql, &held, e);

    sqlite3_free(sql);
    session_holds_add(&ret->holds, held);
    if (r == -ERR_UNDEFINED_TABLE) {
        err_clear(e);
        session_rollback(s);
        session_begin_implicit(s);
        return 0;
    }
    ret->n_tables += r == 0;
    return r;
}

static int
analyze_tables(struct session *s, usec_t pause, struct session_upkeep_done *ret, struct err *e)
{
    char *name = sqlite3_mprintf("%s", "");
    int r = name == NULL ? ERR(e, OUT_OF_MEMORY, "out of memory")
                         : session_exec(s, "PRAGMA analysis_limit = " ANALYZE_ROWS, e);

    while (r == 0) {
        char *next = NULL;

        r = next_table(s, name, &next, e);
        sqlite3_free(name);
        name = next;
        if (r < 0 || name == NULL)
            break;
        r = analyze_table(s, name, ret, e);
        if (r == 0 && pause > 0)
            r = session_pause(s, pause, e);
    }
    sqlite3_free(name);
    return r;
}

static int
do_upkeep(struct session *s, struct session_upkeep_done *ret, struct err *e)
{
    const struct conf_values *c = &s->cfg.conf->cur.v;
    struct session_upkeep_view v = { .n_pages = 0 };
    struct session_upkeep_plan plan = { .vacuum = false };
    usec_t pause = (usec_t) c->autovacuum_vacuum_cost_delay;
    int r = read_view(s, &v, e);

    if (r == 0)
        plan = session_upkeep_decide(&v, c);
    if (r == 0 && plan.vacuum)
        r = session_give_back(s, plan.keep, pause, ret, e);
    if (r == 0 && plan.analyze) {
        r = analyze_tables(s, pause, ret, e);
        if (r == 0)
            stat_add(s->self, STAT_ROWS_ANALYZED, (uint64_t) v.n_changed);
    }
    return r;
}

int
session_upkeep(struct session *s, struct session_upkeep_done *ret, struct err *e)
{
    int r;

    *ret = (struct session_upkeep_done){ .n_pages = 0 };
    session_begin_implicit(s);
    session_arm(s);
    r = do_upkeep(s, ret, e);
    session_disarm(s);
    if (r < 0)
        session_fail(s);
    else
        r = session_commit(s, e);
    return r;
}
