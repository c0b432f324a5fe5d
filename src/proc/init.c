/* Making a cluster. Runs in: `piniond init`. Owns: the new directory until it is done. Source:
 * INIT-1, design 3 and 11, wal-format.md 4.8, 4.9. */
#include "proc/init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "conf/conf.h"
#include "proc/child.h"
#include "proc/files.h"
#include "sql/catalog.h"
#include "vfs/vfs.h"
#include "vfs/vfs_selftest.h"
#include "wal/wal_boot.h"
#include "wal/wal_format.h"

#define NAME_MAX_BYTES 63u

static const char *const dirs[] = {
    "base",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_wal/archive_status",
    "pg_xact",
};

/* ---- parameters ---- */
static int
check_method(const char *what, const char *method, bool is_local, struct err *e)
{
    if (strcmp(method, "trust") == 0 || strcmp(method, "reject") == 0 ||
        (is_local && strcmp(method, "peer") == 0))
        return 0;
    (void) ERR(e, INVALID_PARAMETER_VALUE, "invalid authentication method \"%s\" for %s", method,
               what);
    err_hint(e, is_local ? "Use peer, trust or reject." : "Use trust or reject.");
    return -ERR_INVALID_PARAMETER_VALUE;
}

static int
check_params(const struct init_params *p, struct err *e)
{
    unsigned mb = p->wal_segsize_mb;
    int r;

    if (mb < 1 || mb > 1024 || (mb & (mb - 1)) != 0)
        return ERR(e, INVALID_PARAMETER_VALUE,
                   "WAL segment size must be a power of two from 1 to 1024 MB");
    if (p->wal_dir != NULL && p->wal_dir[0] != '/')
        return ERR(e, INVALID_PARAMETER_VALUE, "WAL directory location must be an absolute path");
    r = check_method("--auth-local", p->auth_local, true, e);
    return r < 0 ? r : check_method("--auth-host", p->auth_host, false, e);
}

static int
check_name(const char *name, struct err *e)
{
    if (name[0] == '\0' || strlen(name) > NAME_MAX_BYTES)
        return ERR(e, INVALID_NAME, "superuser name must have 1 to %u bytes", NAME_MAX_BYTES);
    if (strncmp(name, "pg_", 3) == 0) {
        (void) ERR(e, INVALID_NAME, "superuser name \"%s\" is disallowed", name);
        err_detail(e, "Role names cannot begin with \"pg_\".");
        return -ERR_INVALID_NAME;
    }
    return 0;
}

static int
find_superuser(const struct init_params *p, char *ret, size_t n, struct err *e)
{
    char bytes[4096];
    struct passwd pw;
    struct passwd *found = NULL;

    if (p->superuser != NULL) {
        (void) snprintf(ret, n, "%s", p->superuser);
        return check_name(p->superuser, e);
    }
    if (getpwuid_r(geteuid(), &pw, bytes, sizeof bytes, &found) != 0 || found == NULL) {
        (void) ERR(e, UNDEFINED_OBJECT, "could not find the name of user %u", (unsigned) geteuid());
        err_hint(e, "Name the superuser with -U NAME.");
        return -ERR_UNDEFINED_OBJECT;
    }
    (void) snprintf(ret, n, "%s", found->pw_name);
    return check_name(found->pw_name, e);
}

/* ---- directories ---- */
static int
is_empty(const char *path, bool *ret, struct err *e)
{
    DIR *d = opendir(path);
    const struct dirent *entry;

    *ret = true;
    if (d == NULL)
        return ERR_ERRNO(e, "could not open directory \"%s\"", path);
    while ((entry = readdir(d)) != NULL) /* NOLINT(concurrency-mt-unsafe): one thread */
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "lost+found") != 0)
            *ret = false;
    (void) closedir(d);
    return 0;
}

static int
make_parents(const char *path, struct err *e)
{
    char part[PATH_MAX];

    (void) snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return ERR_ERRNO(e, "could not create directory \"%s\"", part);
        *p = '/';
    }
    return 0;
}

/* 0: made. 1: it was there, empty. */
static int
make_empty_dir(const char *path, struct err *e)
{
    bool empty;
    int r = make_parents(path, e);

    if (r < 0)
        return r;
    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        return ERR_ERRNO(e, "could not create directory \"%s\"", path);
    r = is_empty(path, &empty, e);
    if (r < 0)
        return r;
    if (!empty) {
        (void) ERR(e, DUPLICATE_FILE, "directory \"%s\" exists but is not empty", path);
        err_hint(e, "Remove or empty the directory, or use another one.");
        return -ERR_DUPLICATE_FILE;
    }
    if (chmod(path, 0700) < 0)
        return ERR_ERRNO(e, "could not change permissions of directory \"%s\"", path);
    return 1;
}

/* pg_wal as PostgreSQL's initdb -X makes it: a symbolic link. */
static int
link_wal_dir(const struct io *io, const char *wal_dir, struct err *e)
{
    if (symlinkat(wal_dir, io->dir_fd, WAL_DIR) < 0)
        return ERR_ERRNO(e, "could not create symbolic link \"%s\"", WAL_DIR);
    return 0;
}

static int
make_skeleton(struct io *io, const char *wal_dir, struct err *e)
{
    for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
        bool is_link = wal_dir != NULL && strcmp(dirs[i], WAL_DIR) == 0;
        int r = is_link ? link_wal_dir(io, wal_dir, e) : io_mkdir(io, dirs[i], 0700);

        if (r < 0)
            return err_set_errno(e, -r, "could not create directory \"%s\"", dirs[i]);
    }
    return 0;
}

/* ---- files ---- */
static int
write_text(struct io *io, const char *path, const char *text, struct err *e)
{
    return io_write_file_durably(io, ".", path, text, strlen(text), e);
}

static int
write_hba(struct io *io, const struct init_params *p, struct err *e)
{
    char text[1024];

    (void) snprintf(
        text, sizeof text,
        "# Who may connect, to what, from where, how. The first line that matches counts.\n"
        "# Methods: peer (local only), trust, reject.\n"
        "#\n"
        "# TYPE  DATABASE  USER  ADDRESS        METHOD\n"
        "local   all       all                  %s\n"
        "host    all       all   127.0.0.1/32   %s\n"
        "host    all       all   ::1/128        %s\n",
        p->auth_local, p->auth_host, p->auth_host);
    return write_text(io, "pg_hba.conf", text, e);
}

/* Every setting that a file may set, with its default, commented out. */
static int
write_conf(struct io *io, struct err *e)
{
    size_t cap = 256 + CONF_SETTINGS * 400;
    CLEANUP(freep) char *text = malloc(cap);
    const char *group = "";
    size_t at;

    if (text == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    at = (size_t) snprintf(
        text, cap,
        "# Settings. A line is \"name = value\"; what is commented out is the default.\n"
        "# postgresql.auto.conf is read after this file. See pinion.conf(5).\n");
    for (int id = 0; id < CONF_SETTINGS && at < cap; id++) {
        const struct conf_desc *d = conf_desc((enum conf_id) id);
        bool is_quoted = d->type == CONF_TYPE_STRING || strchr(d->initial, ' ') != NULL;

        if (d->context == CONF_CONTEXT_INTERNAL ||
            (d->flags & (CONF_FLAG_COMPAT | CONF_FLAG_TXN)) != 0)
            continue;
        if (strcmp(group, d->group) != 0)
            at += (size_t) snprintf(text + at, cap - at, "\n# %s\n", d->group);
        group = d->group;
        at += (size_t) snprintf(text + at, cap - at, "#%s = %s%s%s  # %s%s\n", d->name,
                                is_quoted ? "'" : "", d->initial, is_quoted ? "'" : "", d->text,
                                d->context == CONF_CONTEXT_POSTMASTER ? " (restart)" : "");
    }
    ASSERT(at < cap);
    return write_text(io, "pinion.conf", text, e);
}

static int
write_xact(struct io *io, struct err *e)
{
    static const char zeros[PAGE_BYTES];

    return io_write_file_durably(io, "pg_xact", "pg_xact/0000", zeros, sizeof zeros, e);
}

static int
write_texts(struct io *io, const struct init_params *p, struct err *e)
{
    int r = write_text(io, "PG_VERSION", "15\n", e);

    if (r == 0)
        r = write_conf(io, e);
    if (r == 0)
        r = write_hba(io, p, e);
    if (r == 0)
        r = write_text(
            io, "pg_ident.conf",
            "# Not read by this version: peer authentication compares the names themselves.\n", e);
    if (r == 0)
        r = write_text(io, "postgresql.auto.conf",
                       "# Do not edit this file manually!\n"
                       "# It will be overwritten by the ALTER SYSTEM command.\n",
                       e);
    if (r == 0)
        r = files_make_notes(io, e);
    return r == 0 ? write_xact(io, e) : r;
}

/* ---- log and control file ---- */
static int
make_log(struct io *io, const struct init_params *p, struct wal_control *ret, struct err *e)
{
    usec_t now = clock_real_usec();
    struct wal_boot_params boot = {
        .sysid = wal_boot_sysid((int64_t) now, (uint32_t) getpid()),
        .segment_bytes = p->wal_segsize_mb * 1024u * 1024,
        .next_oid = FIRST_USER_OID,
        .next_xid = FIRST_XID,
        .time_sec = (int64_t) (now / USEC_PER_SEC),
    };
    struct wal_checkpoint checkpoint;
    int r = wal_boot_write(io, &boot, &checkpoint, e);

    if (r < 0)
        return r;
    *ret = wal_boot_control(&boot, &checkpoint);
    ret->params = (struct wal_params){ .max_connections = 100,
                                       .max_worker_processes = 8,
                                       .max_wal_senders = 10,
                                       .max_locks_per_xact = 64,
                                       .wal_level = 1,
                                       .wal_log_hints = true };
    if (getrandom(ret->nonce, sizeof ret->nonce, 0) != sizeof ret->nonce)
        return ERR_ERRNO(e, "could not draw random bytes");
    return 0;
}

static int
sync_dirs(struct io *io, struct err *e)
{
    for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
        int r = io_fsync_dir(io, dirs[i]);

        if (r < 0)
            return err_set_errno(e, -r, "could not sync directory \"%s\"", dirs[i]);
    }
    return 0;
}

static int
fill(struct io *io, const struct init_params *p, const char *superuser, struct err *e)
{
    struct wal_control control;
    int r = make_skeleton(io, p->wal_dir, e);

    if (r == 0)
        r = vfs_register(CHILD_TEMP_DIR, e);
    if (r == 0)
        r = vfs_selftest(e);
    if (r == 0)
        r = write_texts(io, p, e);
    if (r == 0)
        r = catalog_init(io, superuser, p->wal_segsize_mb * 1024u * 1024, e);
    if (r == 0)
        r = make_log(io, p, &control, e);
    if (r == 0)
        r = sync_dirs(io, e);
    if (r == 0)
        r = wal_control_create(io, &control, e); /* INIT-1: last */
    if (r == 0 && (r = io_fsync_dir(io, ".")) < 0)
        r = err_set_errno(e, -r, "could not sync the data directory");
    return r;
}

/* ---- all ---- */
static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void) st;
    (void) flag;
    if (ftw->level > 0)
        (void) remove(path);
    return 0;
}

static int
fill_or_remove(const char *path, const struct init_params *p, const char *superuser, struct err *e)
{
    CLEANUP(closep) int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct io io;
    int r;

    if (dir_fd < 0 || fchdir(dir_fd) < 0)
        return ERR_ERRNO(e, "could not open directory \"%s\"", path);
    io_real_init(&io, dir_fd);
    r = fill(&io, p, superuser, e);
    if (r < 0)
        (void) nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (r < 0 && p->wal_dir != NULL)
        (void) nftw(p->wal_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return r;
}

int
init_cluster(const struct init_params *params, struct err *e)
{
    char superuser[NAME_MAX_BYTES + 1];
    char path[PATH_MAX];
    bool made;
    bool made_wal = false;
    int r = check_params(params, e);

    (void) umask(0077);
    if (r == 0)
        r = find_superuser(params, superuser, sizeof superuser, e);
    if (r == 0)
        r = make_empty_dir(params->data_dir, e);
    if (r < 0)
        return r;
    made = r == 0;
    if (realpath(params->data_dir, path) == NULL)
        return ERR_ERRNO(e, "could not find directory \"%s\"", params->data_dir);
    if (params->wal_dir != NULL) {
        r = make_empty_dir(params->wal_dir, e);
        made_wal = r == 0;
    }
    if (r >= 0)
        r = fill_or_remove(path, params, superuser, e);
    if (r < 0 && made)
        (void) rmdir(path);
    if (r < 0 && made_wal)
        (void) rmdir(params->wal_dir);
    return r;
}
