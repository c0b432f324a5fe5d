/* The order of a verification. Runs in: `piniond verify`. Owns: everything in struct verify.
 * Source: design 6 (pass "verify"), FILE-7; PostgreSQL's pg_checksums and pg_amcheck for what
 * operators expect. */
#include "proc/verify_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proc/files.h"
#include "store/store_file.h"
#include "vfs/vfs.h"

#define PAUSE_NSEC (10 * 1000 * 1000)

/* ---- the server ---- */

/* An OFD lock on postmaster.pid is held as long as a process of the server lives. */
static bool
is_locked(const struct verify *v)
{
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    CLEANUP(closep) int fd = openat(v->dir_fd, "postmaster.pid", O_RDONLY | O_CLOEXEC);

    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK;
}

bool
verify_is_running(const struct verify *v)
{
    return v->server == SERVER_RUNNING;
}

/* Time is all there is to wait for: a file does not say that somebody who is a stranger to us has
 * finished a write, and a torn write may also be damage, which no event would ever end. */
bool
verify_pause(const struct verify *v)
{
    struct timespec pause = { .tv_nsec = PAUSE_NSEC };

    return verify_is_running(v) && nanosleep(&pause, NULL) == 0;
}

static int
parse_lsn(void *arg, uint32_t n, const char *const *values)
{
    if (n != 1 || values[0] == NULL || !lsn_parse(values[0], arg))
        return -ERR_PROTOCOL_VIOLATION;
    return 0;
}

int
verify_ask_end(struct verify *v, lsn_t *ret, struct err *e)
{
    return verify_client_query(v->client, "SELECT pg_current_wal_flush_lsn()", parse_lsn, ret, e);
}

/* Lines 4 and 5 of postmaster.pid. */
static int
find_socket(struct verify *v, char *ret, size_t cap, struct err *e)
{
    char text[16384];
    char *rest = text;
    char *port = NULL;
    char *dir = NULL;
    ssize_t n = io_read_file(&v->io, "postmaster.pid", text, sizeof text - 1);

    if (n >= 0) {
        text[n] = '\0';
        for (int i = 1; i <= 5 && rest != NULL; i++) {
            char *line = strsep(&rest, "\n");

            port = i == 4 ? line : port;
            dir = i == 5 ? line : dir;
        }
    }
    if (port == NULL || dir == NULL || dir[0] == '\0')
        return ERR(e, CONNECTION_FAILURE, "the server has no Unix socket");
    (void) snprintf(ret, cap, "%s/.s.PGSQL.%s", dir, port);
    return 0;
}

static void
connect_server(struct verify *v)
{
    char path[PATH_MAX];
    struct err e = ERR_INIT;
    int r = find_socket(v, path, sizeof path, &e);

    if (r == 0)
        r = verify_client_open(path, v->params->user, &v->client, &e);
    if (r < 0)
        (void) snprintf(v->no_client, sizeof v->no_client, "%.300s%s%.250s", e.message,
                        e.hint[0] != '\0' ? "; " : "", e.hint);
    /* Its pages may be torn still. */
    if (r == -ERR_CANNOT_CONNECT_NOW)
        v->server = SERVER_CRASHED;
}

/* ---- a database ---- */

/* Returns how many of them recovery cannot repair. */
static int64_t
settle_suspects(struct verify *v)
{
    int64_t n = 0;

    if (v->n_suspects == 0)
        return 0;
    verify_wal_images(v);
    for (uint32_t i = 0; i < v->n_suspects; i++) {
        if (v->suspects[i].has_image)
            continue;
        report_problem(&v->report, &v->suspects[i].problem);
        n++;
    }
    v->n_suspects = 0;
    return n;
}

static void
check_database(struct verify *v, const struct verify_db *db)
{
    uint32_t n_pages = 0;
    int64_t n_bad = verify_pages(v, db, &n_pages);
    const char *structure = n_bad < 0 ? NULL : verify_structure(v, db);
    char file[STORE_PATH_BYTES];

    if (n_bad < 0 || structure == NULL)
        return; /* dropped meanwhile */
    n_bad += settle_suspects(v);
    store_path_file(file, sizeof file, db->oid, db->rel);
    report_line("database");
    report_number(VERIFY_OID, db->oid);
    report_text(VERIFY_NAME, db->name);
    report_text(VERIFY_FILE, file);
    report_number(VERIFY_PAGES, n_pages);
    report_number(VERIFY_DAMAGED, (uint64_t) n_bad);
    report_text(VERIFY_STRUCTURE, structure);
    report_line_end();
}

/* ---- what the last clean stop noted ---- */

static void
on_changed(void *arg, oid_t oid, oid_t rel)
{
    struct verify *v = arg;
    struct verify_problem p = { .part = "database" };

    for (uint32_t i = 0; i < v->n_dbs; i++) {
        if (v->dbs[i].oid == oid)
            (void) snprintf(p.database, sizeof p.database, "%s", v->dbs[i].name);
    }
    store_path_file(p.file, sizeof p.file, oid, rel);
    (void) snprintf(p.message, sizeof p.message,
                    "the file was changed while the server was stopped");
    (void) snprintf(
        p.detail, sizeof p.detail,
        "Its size or change counter is not what the server noted in \"pinion_format\".");
    report_problem(&v->report, &p);
}

static void
check_notes(struct verify *v)
{
    struct err e = ERR_INIT;

    if (v->server == SERVER_STOPPED && files_check_stopped(&v->io, on_changed, v, &e) < 0)
        report_unchecked(&v->report, "what the last stop noted: %s", e.message);
}

/* ---- all of it ---- */

static void
tell_limits(struct verify *v)
{
    if (v->server == SERVER_RUNNING && v->client == NULL)
        report_unchecked(&v->report,
                         "structure of the databases and the end of the log: the running server "
                         "cannot be asked: %s",
                         v->no_client);
    if (v->server == SERVER_CRASHED)
        report_unchecked(&v->report,
                         "structure of the databases: the cluster was not shut down and needs "
                         "recovery; start the server, then verify again");
}

/* Nothing but the control file can be judged while recovery repairs the rest. */
static bool
is_recovering(struct verify *v)
{
    if (v->client != NULL || v->server != SERVER_CRASHED || !is_locked(v))
        return false;
    report_unchecked(&v->report, "log and databases: the server is not ready: %s", v->no_client);
    return true;
}

static int
check_all(struct verify *v, struct err *e)
{
    static const char *const server_names[] = { "stopped", "crashed", "running" };
    struct wal_control at_start;
    int r;

    v->server = is_locked(v) ? SERVER_RUNNING : SERVER_STOPPED;
    if (v->server == SERVER_RUNNING)
        connect_server(v);
    else if (wal_control_read(&v->io, &at_start, NULL) >= 0 &&
             at_start.state != WAL_STATE_SHUT_DOWN)
        v->server = SERVER_CRASHED;
    report_line("cluster");
    report_text(VERIFY_DIRECTORY, v->params->data_dir);
    report_text(VERIFY_SERVER, server_names[v->server]);
    report_line_end();
    r = verify_control(v);
    if (r < 0)
        report_unchecked(&v->report, "log and databases: there is no usable control file");
    if (r < 0 || is_recovering(v))
        return 0;
    at_start = v->control;
    verify_wal(v);
    tell_limits(v);
    r = verify_list(v);
    if (r < 0)
        return err_set_errno(e, -r, "could not list the databases");
    check_notes(v);
    for (uint32_t i = 0; i < v->n_dbs; i++)
        check_database(v, &v->dbs[i]);
    if (v->server != SERVER_RUNNING &&
        (is_locked(v) || wal_control_read(&v->io, &v->control, NULL) < 0 ||
         v->control.checkpoint_lsn != at_start.checkpoint_lsn))
        report_unchecked(&v->report, "anything for certain: the server was started meanwhile; "
                                     "verify again");
    return 0;
}

static void
verify_done(struct verify *v)
{
    verify_client_close(v->client);
    free(v->dbs);
    free(v->suspects);
    closep(&v->dir_fd);
}

static int
verify_open(struct verify *v, struct err *e)
{
    const char *dir = v->params->data_dir;

    v->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (v->dir_fd < 0)
        return ERR_ERRNO(e, "could not open data directory \"%s\"", dir);
    if (faccessat(v->dir_fd, WAL_CONTROL_PATH, R_OK, AT_EACCESS) < 0)
        return ERR_ERRNO(e, "\"%s\" is not the data directory of a cluster", dir);
    io_real_init(&v->io, v->dir_fd);
    v->suspects = calloc(SUSPECTS_MAX, sizeof *v->suspects);
    if (v->suspects == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    return vfs_register("/tmp", e);
}

enum verify_exit
verify_cluster(const struct verify_params *params)
{
    CLEANUP(verify_done) struct verify v = { .params = params, .dir_fd = -1 };
    struct err e = ERR_INIT;
    int r = verify_open(&v, &e);

    if (r == 0)
        r = check_all(&v, &e);
    return r < 0 ? report_error(r, &e) : report_end(&v.report);
}
