/* One statement of a query string: where it ends, whose it is (SQLite's or the server's), what its
 * tag will be, and the arguments of the server's own commands. Pure. */
#pragma once

#include "base/err.h"
#include "sql/sql_lex.h"

#define SQL_NAME_BYTES 64

enum sql_kind {
    SQL_EMPTY,
    SQL_QUERY, /* SQLite's: everything not named below */
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVEPOINT,
    SQL_RELEASE,
    SQL_ROLLBACK_TO,
    SQL_SET,             /* SET [SESSION | LOCAL] name = value */
    SQL_SET_TRANSACTION, /* of the current transaction */
    SQL_SET_CHARACTERISTICS,
    SQL_SHOW, /* name "" = ALL */
    SQL_RESET,
    SQL_ALTER_SYSTEM, /* name = value; value NULL = out of the file, name "" = ALL */
    SQL_DISCARD,
    SQL_CHECKPOINT,
    SQL_VACUUM, /* name: the table, "" = unsaid */
    SQL_CREATE_DB,
    SQL_DROP_DB,
    SQL_DEALLOCATE, /* name "" = ALL */
    SQL_NOTHING,    /* accepted, no effect: CLOSE ALL, UNLISTEN *, LOCK-free leftovers of poolers */
    SQL_REFUSED,    /* a command of PostgreSQL or SQLite that is not supported: 0A000 */
};

/* Isolation levels in the order of enum conf_isolation. */
enum sql_isolation {
    SQL_ISOLATION_UNSAID = -1,
    SQL_READ_UNCOMMITTED,
    SQL_READ_COMMITTED,
    SQL_REPEATABLE_READ,
    SQL_SERIALIZABLE
};

struct sql_stmt {
    enum sql_kind kind;
    const char *text;         /* the statement, borrowed */
    size_t at;                /* its start in the query string */
    size_t n;                 /* its bytes, without the ";" */
    char tag[SQL_NAME_BYTES]; /* command tag without counts: "INSERT 0" is written by the caller */
    bool tag_counts;          /* rows are counted behind it */
    bool is_explain;
    /* transactions */
    enum sql_isolation isolation;
    int8_t read_only;  /* -1 unsaid */
    int8_t deferrable; /* -1 unsaid */
    bool chain;
    bool immediate; /* BEGIN IMMEDIATE: SQLite's word for "this will write" */
    /* others */
    char name[SQL_NAME_BYTES]; /* savepoint, setting, database */
    char *value;               /* SET: owned; NULL = DEFAULT */
    bool is_local;
    bool if_exists;
    bool force;
    bool vacuum_full;
    bool vacuum_verbose;
    bool vacuum_analyze;
    char owner[SQL_NAME_BYTES]; /* CREATE DATABASE … OWNER; "" = unsaid */
};

/* Read the statement that starts at text[pos]; *ret_next is where the next one starts. SQL_EMPTY
 * only when nothing is there but white space and ";". Returns 0 or -ERR_SYNTAX_ERROR (with
 * position) for a server's command that cannot be read, -ERR_OUT_OF_MEMORY. */
int sql_stmt_parse(const char *text, size_t n, size_t pos, struct sql_stmt *ret, size_t *ret_next,
                   struct err *e);
void sql_stmt_done(struct sql_stmt *s);
/* What the statements of a query string do, the most of them (log_statement). What cannot be read
 * counts as other. */
enum sql_class { SQL_CLASS_OTHER, SQL_CLASS_CHANGE, SQL_CLASS_DEFINE };
enum sql_class sql_stmt_class(const char *text, size_t n);
/* Is there nothing more to run from text[pos] on? */
bool sql_is_blank(const char *text, size_t n, size_t pos);

/* What SQLite is given: the text with PostgreSQL's spellings that it cannot read replaced:
 * "pg_catalog." before a name is blanked, CURRENT_USER and the like get their "()"; of many
 * parameters "$7" becomes "?7", or "?" in its turn: SQLite looks for each name among all. *ret is
 * owned by the caller. sql_rewrite_at() turns a byte offset in it back into one in the
 * statement. */
struct sql_rewrite {
    char *text; /* owned, ends with NUL */
    size_t n;
    size_t added[16]; /* offsets in `text` where two bytes were put in, ascending */
    size_t n_added;
    bool is_numbered; /* no parameter has a name: its place is its number */
};
#define SQL_PARAMS_BY_NAME 64 /* so many keep their names */
int sql_rewrite(const char *text, size_t n, struct sql_rewrite *ret, struct err *e);
void sql_rewrite_done(struct sql_rewrite *r);
size_t sql_rewrite_at(const struct sql_rewrite *r, size_t at);
