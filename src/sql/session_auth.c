/* What a client's SQL may do (sqlite-vfs 5.12): the authorizer, and limits.
 *
 * Runs in: backend. Source: sqlite-vfs 5.12; the idea of an allow-list of pragmas from dqlite. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sql/session_int.h"

struct pragma_row {
    const char *name;
    bool may_set; /* with a value, outside table-valued use */
};

/* Everything else is denied. */
static const struct pragma_row pragma_rows[] = {
    { "table_info", true },
    { "table_xinfo", true },
    { "table_list", true },
    { "index_list", true },
    { "index_info", true },
    { "index_xinfo", true },
    { "foreign_key_list", true },
    { "foreign_key_check", true },
    { "integrity_check", true },
    { "quick_check", true },
    { "incremental_vacuum", true },
    { "optimize", true },
    { "analysis_limit", true },
    { "defer_foreign_keys", true },
    { "user_version", true },
    { "application_id", false },
    { "case_sensitive_like", true },
    { "recursive_triggers", true },
    { "reverse_unordered_selects", true },
    { "automatic_index", true },
    { "database_list", false },
    { "collation_list", false },
    { "function_list", false },
    { "module_list", false },
    { "pragma_list", false },
    { "compile_options", false },
    { "encoding", false },
    { "freelist_count", false },
    { "page_count", false },
    { "page_size", false },
    { "max_page_count", false },
    { "auto_vacuum", false },
    { "foreign_keys", false },
    { "schema_version", false },
    { "data_version", false },
    { "cache_size", false },
    { "journal_mode", false },
    { "query_only", false },
};

static int
deny(struct session *s, const char *what, const char *name)
{
    if (s->seen.denied[0] == '\0')
        (void) snprintf(s->seen.denied, sizeof s->seen.denied, "%s %.60s", what, name);
    return SQLITE_DENY;
}

static int
authorize_pragma(struct session *s, const char *name, const char *value)
{
    s->seen.calls_pragma = true;
    if (strcasecmp(name, "optimize") == 0) /* runs ANALYZE inside a statement that "only reads" */
        s->seen.wants_write = true;
    for (size_t i = 0; i < ELEMENTSOF(pragma_rows); i++) {
        if (strcasecmp(name, pragma_rows[i].name) == 0)
            return value == NULL || pragma_rows[i].may_set ? SQLITE_OK
                                                           : deny(s, "changing pragma", name);
    }
    return deny(s, "pragma", name);
}

static int
authorize_function(struct session *s, const char *name)
{
    /* 5.12, hole 1: with a bound blob it registers any pointer as code, whatever the flags say. */
    if (strcasecmp(name, "fts3_tokenizer") == 0 || strcasecmp(name, "load_extension") == 0)
        return deny(s, "function", name);
    if (strcasecmp(name, "txid_current") == 0 || strcasecmp(name, "pg_current_xact_id") == 0)
        s->seen.wants_write = true;
    return SQLITE_OK;
}

static void
note_write(struct session *s, const char *db)
{
    if (db != NULL && strcmp(db, "temp") == 0)
        s->seen.writes_temp = true;
    else
        s->seen.writes_main = true;
}

int
session_authorize(void *arg, int action, const char *a1, const char *a2, const char *db,
                  const char *trigger)
{
    struct session *s = arg;

    (void) trigger;
    if (s->is_internal)
        return SQLITE_OK;
    switch (action) {
    case SQLITE_ATTACH: /* 5.12, hole 2; VACUUM INTO arrives here too */
        return deny(s, "command", "ATTACH");
    case SQLITE_DETACH:
        return deny(s, "command", "DETACH");
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
        return deny(s, "transaction command", a1 != NULL ? a1 : "");
    case SQLITE_PRAGMA:
        return authorize_pragma(s, a1, a2);
    case SQLITE_FUNCTION:
        return authorize_function(s, a2);
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        note_write(s, db);
        return SQLITE_OK;
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TABLE:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_CREATE_VIEW:
    case SQLITE_CREATE_VTABLE:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TABLE:
    case SQLITE_DROP_TRIGGER:
    case SQLITE_DROP_VIEW:
    case SQLITE_DROP_VTABLE:
    case SQLITE_ALTER_TABLE:
    case SQLITE_ANALYZE:
    case SQLITE_REINDEX:
        s->seen.is_ddl = true;
        note_write(s, action == SQLITE_ALTER_TABLE ? a1 : db);
        return SQLITE_OK;
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW:
    case SQLITE_DROP_TEMP_INDEX:
    case SQLITE_DROP_TEMP_TABLE:
    case SQLITE_DROP_TEMP_TRIGGER:
    case SQLITE_DROP_TEMP_VIEW:
        s->seen.is_ddl = s->seen.writes_temp = true;
        return SQLITE_OK;
    default: /* reads; SQLite's list, which grows */
        return SQLITE_OK;
    }
}

struct limit_row {
    int id;
    int value;
};

static const struct limit_row limit_rows[] = {
    { SQLITE_LIMIT_SQL_LENGTH, 64 << 20 }, { SQLITE_LIMIT_VDBE_OP, 25000000 },
    { SQLITE_LIMIT_COMPOUND_SELECT, 500 }, { SQLITE_LIMIT_EXPR_DEPTH, 1000 },
    { SQLITE_LIMIT_ATTACHED, 1 },          { SQLITE_LIMIT_VARIABLE_NUMBER, 65535 },
    { SQLITE_LIMIT_TRIGGER_DEPTH, 100 },   { SQLITE_LIMIT_WORKER_THREADS, 0 },
    { SQLITE_LIMIT_FUNCTION_ARG, 100 },    { SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50000 },
};

/* Instructions of SQLite's machine between two looks at the request word: some 50 µs; a look costs
 * a system call. */
#define PROGRESS_OPS 5000

void
session_harden(struct session *s)
{
    for (size_t i = 0; i < ELEMENTSOF(limit_rows); i++)
        (void) sqlite3_limit(s->db, limit_rows[i].id, limit_rows[i].value);
    (void) sqlite3_set_authorizer(s->db, session_authorize, s);
    sqlite3_progress_handler(s->db, PROGRESS_OPS, session_on_progress, s);
}
