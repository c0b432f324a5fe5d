/* Runs SQL over a database in memory and compares the calls SQLite makes with those of sqlite-vfs
 * 5.3 … 5.5, and what comes out after refused commits with 5.6.
 *
 * Runs in: startup, init. No state outside the call. */
#include "vfs/vfs_selftest.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "vfs/vfs_file.h"
#include "vfs/vfs_mem.h"

#define TRACE_BYTES 512

struct conn {
    sqlite3 *db; /* owned */
    struct vfs_handle *h;
    char trace[TRACE_BYTES]; /* calls since the last reset, in short words */
    int64_t last_write_at;
};

/* The word for a call, "" to leave it out. Reads and fetches of pages depend on caches: out. */
static void
word_of(struct conn *c, const char *what, int64_t a, int64_t b, char *w, size_t n)
{
    w[0] = '\0';
    if (strcmp(what, "lock") == 0 || strcmp(what, "unlock") == 0)
        (void) snprintf(w, n, "%c%d ", what[0] == 'l' ? 'L' : 'U', (int) a);
    else if (strcmp(what, "write") == 0)
        (void) snprintf(w, n, "%s",
                        b == (int64_t) PAGE_BYTES && (a == 0 || a > c->last_write_at) ? "W "
                                                                                      : "w ");
    else if (strcmp(what, "sync") == 0)
        (void) snprintf(w, n, "S ");
    else if (strcmp(what, "phasetwo") == 0)
        (void) snprintf(w, n, "P ");
    else if (strcmp(what, "truncate") == 0)
        (void) snprintf(w, n, "T ");
    else if (strcmp(what, "read") == 0 && b == 16)
        (void) snprintf(w, n, "%s", a == 24 ? "V " : "? ");
    else if (strcmp(what, "read") == 0 && b == 100)
        (void) snprintf(w, n, "%s", a == 0 ? "H " : "? ");
    else if (strcmp(what, "read") == 0 && b != (int64_t) PAGE_BYTES)
        (void) snprintf(w, n, "? ");
    if (strcmp(what, "write") == 0)
        c->last_write_at = a;
}

static void
on_call(void *arg, const char *what, int64_t a, int64_t b)
{
    struct conn *c = arg;
    size_t len = strlen(c->trace);
    char w[16];

    word_of(c, what, a, b, w, sizeof w);
    /* A run of writes is one word. */
    if (strcmp(w, "W ") == 0 && len >= 2 && strcmp(c->trace + len - 2, "W ") == 0)
        return;
    (void) snprintf(c->trace + len, sizeof c->trace - len, "%s", w);
}

static int
conn_open(struct conn *c, struct vfs_mem_db *mem, struct err *e)
{
    struct vfs_open_args args = {
        .ops = &vfs_mem_ops, .use_fetch = true, .trace = on_call, .trace_arg = c
    };

    *c = (struct conn){ .db = NULL };
    args.t = vfs_mem_open(mem);
    if (args.t == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    return vfs_connect(&args, &c->db, &c->h, e);
}

static int
differs(const char *what, const char *want, const char *got, struct err *e)
{
    int r = ERR(e, FEATURE_NOT_SUPPORTED, "libsqlite3 %s behaves differently from what was tested",
                sqlite3_libversion());

    err_detail(e, "%s: expected \"%s\", found \"%s\".", what, want, got);
    err_hint(e, "Install the distribution's own libsqlite3, 3.40.1 or a version that was tested.");
    return r;
}

/* ---- cases: one connection's calls ---- */

struct trace_row {
    const char *sql;
    const char *want; /* calls, or "" to only run it */
};

/* In order, on one connection. sqlite-vfs 5.3, 5.4, 5.5. */
static const struct trace_row trace_rows[] = {
    { "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT UNIQUE)", "" },
    { "SELECT * FROM t", "L1 V U0 " },
    { "INSERT INTO t VALUES(1, 'one')", "L1 V L2 L4 W S P U1 U0 " },
    { "UPDATE t SET b = b", "L1 V L2 L4 W S P U1 U0 " },
    { "UPDATE t SET b = 'x' WHERE a = 77", "L1 V L2 L4 P U1 U0 " },
    { "BEGIN IMMEDIATE", "L1 V L2 " },
    { "COMMIT", "L4 P U1 U0 " },
    { "BEGIN IMMEDIATE; INSERT INTO t VALUES(2, 'two')", "L1 V L2 " },
    { "SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; RELEASE s", "" },
    { "ROLLBACK", "U1 U0 " },
    { "BEGIN; SELECT * FROM t; INSERT INTO t VALUES(2, 'two')", "L1 V L2 " },
    { "COMMIT", "L4 W S P U1 U0 " },
    { "CREATE INDEX i ON t(b, a)", "L1 V L2 L4 W S P U1 U0 " },
    { "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
      "WHERE i < 500) SELECT printf('%0200d', i) FROM n",
      "L1 V L2 L4 W S P U1 U0 " },
    { "DELETE FROM t WHERE a > 2", "L1 V L2 L4 W S P U1 U0 " },
    /* No truncation: at PHASETWO the file has its new size already (VFS-6). */
    { "PRAGMA incremental_vacuum", "L1 V L2 L4 W S P U1 U0 " },
};

/* xFileControl(SYNC) is followed by xSync at synchronous=FULL, which word_of() leaves out. */
static int
check_traces(struct conn *c, struct err *e)
{
    for (size_t i = 0; i < ELEMENTSOF(trace_rows); i++) {
        const struct trace_row *row = &trace_rows[i];
        int rc;

        c->trace[0] = '\0';
        rc = sqlite3_exec(c->db, row->sql, NULL, NULL, NULL);
        if (rc != SQLITE_OK)
            return differs(row->sql, "success", sqlite3_errmsg(c->db), e);
        if (row->want[0] != '\0' && strcmp(row->want, c->trace) != 0)
            return differs(row->sql, row->want, c->trace, e);
    }
    return 0;
}

/* The shape of the file (5.10). */
static int
check_shape(const struct vfs_mem_db *mem, struct err *e)
{
    const uint8_t *p = vfs_mem_page(mem, 1);
    char got[64];

    ASSERT(p != NULL);
    (void) snprintf(got, sizeof got, "page size %u, reserve %u, auto-vacuum %u",
                    (unsigned) p[16] << 8 | p[17], (unsigned) p[20], (unsigned) get_be32(p + 64));
    if (strcmp(got, "page size 8192, reserve 24, auto-vacuum 1") != 0)
        return differs("new file", "page size 8192, reserve 24, auto-vacuum 1", got, e);
    return 0;
}

/* ---- refused commits and two connections ---- */

static int
on_text(void *arg, int n, char **v, char **names)
{
    (void) n;
    (void) names;
    (void) snprintf(arg, 64, "%s", v[0] != NULL ? v[0] : "NULL");
    return 0;
}

static int
expect_rows(struct conn *c, const char *label, const char *want, struct err *e)
{
    char got[64] = "";
    int rc = sqlite3_exec(c->db, "SELECT group_concat(x, ' ') FROM (SELECT x FROM u ORDER BY x)",
                          on_text, got, NULL);

    if (rc != SQLITE_OK)
        return differs(label, want, sqlite3_errmsg(c->db), e);
    return strcmp(got, want) == 0 ? 0 : differs(label, want, got, e);
}

/* A COMMIT whose SYNC is refused rolls back and leaves nothing, neither here nor there (5.6). */
static int
check_refused(struct conn *a, struct conn *b, struct vfs_mem_db *mem, struct err *e)
{
    int rc =
        sqlite3_exec(a->db, "CREATE TABLE u(x); INSERT INTO u VALUES('base')", NULL, NULL, NULL);
    int r;

    if (rc != SQLITE_OK)
        return differs("second table", "success", sqlite3_errmsg(a->db), e);
    mem->fail_in[VFS_MEM_PREPARE] = 1;
    rc = sqlite3_exec(a->db, "BEGIN; INSERT INTO u VALUES('lost'); COMMIT", NULL, NULL, NULL);
    if ((rc & 0xff) != SQLITE_IOERR || sqlite3_get_autocommit(a->db) == 0)
        return differs("refused SYNC", "error and no transaction", sqlite3_errmsg(a->db), e);
    if (strstr(a->trace, "P ") != NULL && strstr(strrchr(a->trace, 'S'), "P ") != NULL)
        return differs("refused SYNC", "no PHASETWO", a->trace, e);
    rc = sqlite3_exec(b->db, "INSERT INTO u VALUES('other')", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return differs("write after a refused one", "success", sqlite3_errmsg(b->db), e);
    r = expect_rows(a, "rows after a refused SYNC", "base other", e);
    if (r == 0)
        rc = sqlite3_exec(a->db, "INSERT INTO u VALUES('second')", NULL, NULL, NULL);
    if (r == 0 && rc != SQLITE_OK)
        return differs("write after a refused one", "success", sqlite3_errmsg(a->db), e);
    return r == 0 ? expect_rows(b, "rows after all", "base other second", e) : r;
}

/* A stale snapshot is told at RESERVED, as 517, and reads go on (5.7). */
static int
check_stale(struct conn *a, struct conn *b, struct err *e)
{
    int rc = sqlite3_exec(a->db, "BEGIN; SELECT * FROM u", NULL, NULL, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_exec(b->db, "INSERT INTO u VALUES('third')", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return differs("stale snapshot", "success", sqlite3_errmsg(a->db), e);
    rc = sqlite3_exec(a->db, "INSERT INTO u VALUES('stale')", NULL, NULL, NULL);
    if (rc != SQLITE_BUSY_SNAPSHOT)
        return differs("stale write", "SQLITE_BUSY_SNAPSHOT", sqlite3_errmsg(a->db), e);
    return expect_rows(a, "rows of a held snapshot", "base other second", e);
}

static int
run(struct vfs_mem_db *mem, struct conn *a, struct conn *b, struct err *e)
{
    int reserve = (int) PAGE_TAIL_BYTES;
    int r = conn_open(a, mem, e);

    if (r < 0)
        return r;
    if (strcmp(a->trace, "H ") != 0)
        return differs("open", "H ", a->trace, e);
    (void) sqlite3_file_control(a->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserve);
    (void) sqlite3_exec(a->db, "PRAGMA auto_vacuum = INCREMENTAL", NULL, NULL, NULL);
    r = check_traces(a, e);
    if (r == 0)
        r = check_shape(mem, e);
    if (r == 0)
        r = conn_open(b, mem, e);
    if (r == 0)
        r = check_refused(a, b, mem, e);
    if (r == 0)
        r = check_stale(a, b, e);
    return r;
}

int
vfs_selftest(struct err *e)
{
    struct vfs_mem_db mem;
    struct conn a = { .db = NULL };
    struct conn b = { .db = NULL };
    int r;

    vfs_mem_init(&mem, NULL);
    r = run(&mem, &a, &b, e);
    (void) sqlite3_close(a.db);
    (void) sqlite3_close(b.db);
    vfs_mem_done(&mem);
    return r;
}
