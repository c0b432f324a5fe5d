/* Which databases a verification looks at. Runs in: `piniond verify`, startup. Owns: v->dbs.
 * Source: FILE-7. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "proc/verify_int.h"
#include "store/store_file.h"
#include "vfs/vfs_plain.h"

static int
add_db(struct verify *v, oid_t oid, oid_t rel, const char *name)
{
    if (v->n_dbs % 64 == 0) {
        struct verify_db *grown = realloc(v->dbs, (v->n_dbs + 64) * sizeof *grown);

        if (grown == NULL)
            return -ENOMEM;
        v->dbs = grown;
    }
    v->dbs[v->n_dbs] = (struct verify_db){ .oid = oid, .rel = rel };
    (void) snprintf(v->dbs[v->n_dbs++].name, sizeof v->dbs->name, "%s", name);
    return 0;
}

static int
add_line(void *arg, uint32_t n, const char *const *values)
{
    const char *line = n == 1 ? values[0] : NULL;

    while (line != NULL && *line != '\0') {
        oid_t oid;
        oid_t rel;
        char name[64];

        if (sscanf(line, "%u %u %63[^\n]", &oid, &rel, name) == 3 &&
            add_db(arg, oid, rel, name) < 0)
            return -ENOMEM;
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return 0;
}

static int
add_row(void *arg, int n, const char *const *values)
{
    if (n != 3 || values[0] == NULL || values[1] == NULL || values[2] == NULL)
        return 0;
    return add_db(arg, (oid_t) strtoul(values[0], NULL, 10), (oid_t) strtoul(values[1], NULL, 10),
                  values[2]);
}

struct scan {
    struct verify *v;
    oid_t oid;
};

static bool
is_number(const char *name)
{
    return name[0] != '\0' && strspn(name, "0123456789") == strlen(name);
}

static int
on_file(void *arg, const char *name, bool is_dir)
{
    const struct scan *s = arg;
    char label[64];

    if (is_dir || !is_number(name))
        return 0;
    (void) snprintf(label, sizeof label, "oid %u", s->oid);
    return add_db(s->v, s->oid, (oid_t) strtoul(name, NULL, 10), label);
}

static int
on_dir(void *arg, const char *name, bool is_dir)
{
    struct scan s = { .v = arg };
    char path[STORE_PATH_BYTES];

    if (!is_dir || !is_number(name))
        return 0;
    s.oid = (oid_t) strtoul(name, NULL, 10);
    store_path_dir(path, sizeof path, s.oid);
    return io_list(&s.v->io, path, on_file, &s);
}

int
verify_list_stopped(struct verify *v, struct err *e)
{
    char path[STORE_PATH_BYTES];
    struct vfs_plain file = { .io = &v->io, .row = add_row, .arg = v };
    int r;

    store_path_file(path, sizeof path, CATALOG_DB_OID, CATALOG_DB_OID);
    file.fd = io_open(&v->io, path, O_RDONLY, 0);
    if (file.fd < 0)
        return err_set_errno(e, -file.fd, "could not open file \"%s\"", path);
    r = vfs_plain_query(&file, "SELECT oid, relfilenode, datname FROM pg_database ORDER BY oid", e);
    (void) io_close(&v->io, file.fd);
    return r;
}

int
verify_list(struct verify *v)
{
    struct err e = ERR_INIT;
    int r = -1;

    if (v->client != NULL)
        r = verify_client_query(v->client, "SELECT pinion_database_files()", add_line, v, &e);
    else if (v->server == SERVER_STOPPED)
        r = verify_list_stopped(v, &e);
    if (r >= 0)
        return 0;
    if (e.code != 0)
        report_unchecked(&v->report, "whether a database is missing: %s", e.message);
    v->n_dbs = 0;
    return io_list(&v->io, "base", on_dir, v);
}
