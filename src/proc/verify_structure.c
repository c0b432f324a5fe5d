/* The structure of a database by SQLite's integrity_check: its file as it lies there, or asked of
 * the running server. Runs in: `piniond verify`, startup. Owns: nothing. Source: sqlite-vfs 5.11;
 * PostgreSQL's pg_amcheck. */
#include <stdio.h>
#include <string.h>

#include "proc/verify_int.h"
#include "store/store_file.h"
#include "vfs/vfs_plain.h"

#define STRUCTURE_TRIES 3 /* of one that ended with "snapshot too old" */
#define LINES_MAX       100u

struct findings {
    struct verify *v;
    const struct verify_db *db;
    uint64_t n;
};

static void
finding(struct findings *f, const char *text, const char *detail)
{
    struct verify_problem p = { .part = "database" };

    (void) snprintf(p.database, sizeof p.database, "%s", f->db->name);
    store_path_file(p.file, sizeof p.file, f->db->oid, f->db->rel);
    (void) snprintf(p.message, sizeof p.message, "structure: %.490s", text);
    (void) snprintf(p.detail, sizeof p.detail, "%s", detail);
    f->n++;
    report_problem(&f->v->report, &p);
}

static int
on_plain_line(void *arg, int n, const char *const *values)
{
    struct findings *f = arg;

    if (n == 1 && values[0] != NULL && strcmp(values[0], "ok") != 0 && f->n < LINES_MAX)
        finding(f, values[0], "");
    return 0;
}

static void
show_structure(const struct findings *f)
{
    char text[90];

    (void) snprintf(text, sizeof text, "%s: structure", f->db->name);
    report_progress(&f->v->report, text, 0, 0);
}

static bool
on_plain_progress(void *arg)
{
    const struct findings *f = arg;
    const struct report_sink *sink = f->v->report.sink;

    if (sink != NULL)
        return sink->busy(sink->arg) < 0;
    show_structure(f);
    return false;
}

static int
on_lines(void *arg, uint32_t n, const char *const *values)
{
    struct findings *f = arg;
    char *text = n == 1 && values[0] != NULL ? strdup(values[0]) : NULL;
    char *rest = text;
    const char *line;

    while ((line = strsep(&rest, "\n")) != NULL) {
        if (strcmp(line, "ok") != 0 && f->n < LINES_MAX)
            finding(f, line, "");
    }
    free(text);
    return 0;
}

static int
ask_structure(struct findings *f, struct err *e)
{
    char sql[80];
    int r = -ERR_SNAPSHOT_TOO_OLD;

    (void) snprintf(sql, sizeof sql, "SELECT pinion_check_database(%u)", f->db->oid);
    show_structure(f);
    for (int i = 0; i < STRUCTURE_TRIES && r == -ERR_SNAPSHOT_TOO_OLD; i++) {
        err_clear(e);
        r = verify_client_query(f->v->client, sql, on_lines, f, e);
    }
    return r;
}

static int
read_structure(struct findings *f, struct err *e)
{
    struct vfs_plain file = {
        .io = &f->v->io, .row = on_plain_line, .stop = on_plain_progress, .arg = f
    };
    char path[STORE_PATH_BYTES];
    int r;

    store_path_file(path, sizeof path, f->db->oid, f->db->rel);
    file.fd = io_open(&f->v->io, path, O_RDONLY, 0);
    if (file.fd < 0)
        return err_set_errno(e, -file.fd, "could not open file \"%s\"", path);
    r = vfs_plain_query(&file, "PRAGMA integrity_check", e);
    (void) io_close(&f->v->io, file.fd);
    return r;
}

static bool
is_damage(int r)
{
    return r == -ERR_DATA_CORRUPTED || r == -ERR_INDEX_CORRUPTED;
}

const char *
verify_structure(struct verify *v, const struct verify_db *db)
{
    struct findings f = { .v = v, .db = db };
    struct err e = ERR_INIT;
    int r = 0;

    if (v->client != NULL)
        r = ask_structure(&f, &e);
    else if (v->server == SERVER_STOPPED)
        r = read_structure(&f, &e);
    else
        return "unchecked"; /* said once, for all */
    if (r == -ERR_INVALID_CATALOG_NAME)
        return NULL;
    if (r < 0 && is_damage(r))
        finding(&f, e.message, e.detail);
    else if (r < 0)
        report_unchecked(&v->report, "structure of database \"%s\": %s", db->name, e.message);
    return f.n > 0 ? "damaged" : r < 0 ? "unchecked" : "ok";
}
