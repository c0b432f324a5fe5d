/* The registered VFS and the opening of connections.
 *
 * Runs in: backend, startup, checkpointer, init; in the postmaster only the registration
 * (connections do not survive a fork). Owns: the registration, the name under which the next main
 * file is opened. Source: sqlite-vfs 5.1, 5.2, 5.11, 5.12. */
#include "vfs/vfs.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spill.h"
#include "vfs/vfs_err.h"
#include "vfs/vfs_file.h"
#include "vfs/vfs_temp.h"

#define FILE_BYTES MAX(sizeof(struct vfs_handle), sizeof(struct vfs_temp))
/* Of each connection: SQLite makes 18 large and 60 small slots of it. */
#define LOOKASIDE_BYTES 1200
#define LOOKASIDE_SLOTS 24
/* Milliseconds between 1 January 4713 BC (SQLite's day 0) and 1970. */
#define UNIX_EPOCH_MSEC INT64_C(210866760000000)

/* What an xOpen of a main file is for: on the stack of vfs_connect() around sqlite3_open_v2(),
 * which calls xOpen before it returns. A process has one; the coroutines of a simulation several.
 */
struct pending {
    struct pending *next;
    const struct vfs_open_args *args;
    char name[32];
    struct vfs_handle *opened;
    struct err last_words; /* of a handle that the failing open has closed again */
};

static struct pending *pendings;

static struct pending *
pending_find(const char *name)
{
    for (struct pending *p = pendings; p != NULL; p = p->next) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

static void
pending_remove(struct pending *p)
{
    for (struct pending **at = &pendings; *at != NULL; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            return;
        }
    }
}

static int
open_main(sqlite3_filename name, sqlite3_file *f)
{
    struct vfs_handle *h = (struct vfs_handle *) (void *) f;
    struct pending *p = name != NULL ? pending_find(name) : NULL;

    if (p == NULL)
        return SQLITE_CANTOPEN; /* ATTACH and the like: no file of ours, no file of anybody's */
    if (sqlite3_uri_boolean(name, "nolock", 0) != 0 ||
        sqlite3_uri_boolean(name, "immutable", 0) != 0)
        return SQLITE_CANTOPEN; /* 5.11: would make no lock calls */
    *h = (struct vfs_handle){ .ops = p->args->ops,
                              .t = p->args->t,
                              .level = SQLITE_LOCK_NONE,
                              .is_building = p->args->is_building,
                              .trace = p->args->trace,
                              .trace_arg = p->args->trace_arg };
    h->base.pMethods = &vfs_file_methods;
    h->last_words = &p->last_words;
    p->opened = h;
    return SQLITE_OK;
}

/* 5.9: not SQLITE_OPEN_MEMORY, with which journals could only be in memory. */
static int
open_temp(sqlite3_filename name, sqlite3_file *f, int flags)
{
    struct vfs_temp *temp = (struct vfs_temp *) (void *) f;
    struct vfs_handle *of = NULL;
    bool is_journal =
        (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUBJOURNAL | SQLITE_OPEN_TEMP_JOURNAL)) !=
        0;

    if ((flags & SQLITE_OPEN_MAIN_JOURNAL) != 0)
        of = (struct vfs_handle *) (void *) sqlite3_database_file_object(name);
    return vfs_temp_open(temp, is_journal, of);
}

static int
vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *ret_flags)
{
    (void) vfs;
    f->pMethods = NULL;
    if (ret_flags != NULL)
        *ret_flags = flags;
    if ((flags & SQLITE_OPEN_MAIN_DB) != 0)
        return open_main(name, f);
    if ((flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0)
        return SQLITE_CANTOPEN;
    return open_temp(name, f, flags);
}

static int
vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    (void) vfs;
    (void) name;
    (void) sync_dir;
    return SQLITE_OK;
}

static int
vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
    (void) vfs;
    (void) name;
    (void) flags;
    *ret = 0; /* 5.3: journal and WAL file must be absent */
    return SQLITE_OK;
}

static int
vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int n, char *ret)
{
    (void) vfs;
    (void) snprintf(ret, (size_t) n, "%s", name);
    return SQLITE_OK;
}

static void *
vfs_dl_open(sqlite3_vfs *vfs, const char *name)
{
    (void) vfs;
    (void) name;
    return NULL; /* no extension is ever loaded */
}

static void
vfs_dl_error(sqlite3_vfs *vfs, int n, char *ret)
{
    (void) vfs;
    (void) snprintf(ret, (size_t) n, "extensions cannot be loaded");
}

static void (*vfs_dl_sym(sqlite3_vfs *vfs, void *lib, const char *name))(void)
{
    (void) vfs;
    (void) lib;
    (void) name;
    return NULL;
}

static void
vfs_dl_close(sqlite3_vfs *vfs, void *lib)
{
    (void) vfs;
    (void) lib;
}

static int
vfs_randomness(sqlite3_vfs *vfs, int n, char *ret)
{
    ssize_t r = getrandom(ret, (size_t) n, 0);

    (void) vfs;
    return r < 0 ? 0 : (int) r;
}

static int
vfs_sleep(sqlite3_vfs *vfs, int usec)
{
    (void) vfs;
    return usec; /* nobody waits inside SQLite: there is no busy handler */
}

static int
vfs_now_msec(sqlite3_vfs *vfs, sqlite3_int64 *ret)
{
    (void) vfs;
    *ret = UNIX_EPOCH_MSEC + (sqlite3_int64) (clock_real_usec() / USEC_PER_MSEC);
    return SQLITE_OK;
}

static int
vfs_now_days(sqlite3_vfs *vfs, double *ret)
{
    sqlite3_int64 msec;

    (void) vfs_now_msec(vfs, &msec);
    *ret = (double) msec / 86400000.0;
    return SQLITE_OK;
}

static int
vfs_last_error(sqlite3_vfs *vfs, int n, char *ret)
{
    (void) vfs;
    (void) n;
    (void) ret;
    return 0;
}

static sqlite3_vfs pinion_vfs = {
    .iVersion = 2,
    .szOsFile = FILE_BYTES,
    .mxPathname = 512,
    .zName = VFS_NAME,
    .xOpen = vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_full_pathname,
    .xDlOpen = vfs_dl_open,
    .xDlError = vfs_dl_error,
    .xDlSym = vfs_dl_sym,
    .xDlClose = vfs_dl_close,
    .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep,
    .xCurrentTime = vfs_now_days,
    .xGetLastError = vfs_last_error,
    .xCurrentTimeInt64 = vfs_now_msec,
};

/* Refused, which is no harm, if some other code of the process has started the library. */
static void
configure_library(void)
{
    /* One thread: its mutexes are nothing but time. */
    (void) sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    /* By default a connection touches fifty pages of memory before it does anything: 120 kB of
     * slots for small allocations and 20 pages of private cache, linked into lists. We read pages
     * where they are (xFetch). */
    (void) sqlite3_config(SQLITE_CONFIG_LOOKASIDE, LOOKASIDE_BYTES, LOOKASIDE_SLOTS);
    (void) sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
}

int
vfs_register(const char *dir, struct err *e)
{
    static bool is_registered;
    int rc;

    spill_set_dir(dir);
    if (is_registered)
        return 0;
    configure_library(); /* first of all: every other call starts the library */
    rc = sqlite3_initialize();
    if (rc == SQLITE_OK)
        rc = sqlite3_vfs_register(&pinion_vfs, 1); /* the default: nothing reaches plain files */
    if (rc != SQLITE_OK)
        return ERR(e, SYSTEM_ERROR, "could not initialize libsqlite3: %s", sqlite3_errstr(rc));
    is_registered = true;
    return 0;
}

/* ---- a connection ---- */

struct config_row {
    int op;
    int value;
};

/* sqlite-vfs 5.12. WRITABLE_SCHEMA needs no row: off by default, and DEFENSIVE keeps it so. */
static const struct config_row config_rows[] = {
    { SQLITE_DBCONFIG_DEFENSIVE, 1 },
    { SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },
    { SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
    { SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0 },
    { SQLITE_DBCONFIG_DQS_DML, 0 },
    { SQLITE_DBCONFIG_DQS_DDL, 0 },
    { SQLITE_DBCONFIG_ENABLE_FKEY, 1 },
    { SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0 },
    { SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1 },
};

static int
configure(sqlite3 *db, const struct vfs_open_args *args)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; i < ELEMENTSOF(config_rows) && rc == SQLITE_OK; i++)
        rc = sqlite3_db_config(db, config_rows[i].op, config_rows[i].value, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_extended_result_codes(db, 1);
    /* 5.9, 5.0. None of these reads the database (PRAGMA synchronous would). secure_delete is ON
     * for correctness: without it SQLite 3.40.1 loses the root page that DROP INDEX moved and
     * ROLLBACK TO brought back (test_45:
     * a_savepoint_brings_back_an_index_whose_root_page_had_moved). */
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "PRAGMA secure_delete = ON; PRAGMA temp_store = FILE", NULL, NULL,
                          NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(
            db, args->use_fetch ? "PRAGMA mmap_size = 2147418112" : "PRAGMA mmap_size = 0", NULL,
            NULL, NULL);
    return rc;
}

int
vfs_connect(const struct vfs_open_args *args, sqlite3 **ret_db, struct vfs_handle **ret_handle,
            struct err *e)
{
    static unsigned counter = 0;
    CLEANUP(freep) struct pending *p = calloc(1, sizeof *p);
    struct err words = ERR_INIT;
    sqlite3 *db = NULL;
    int rc;

    if (p == NULL) {
        args->ops->close(args->t);
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    }
    *p = (struct pending){ .next = pendings, .args = args };
    (void) snprintf(p->name, sizeof p->name, "/database-%u", ++counter);
    pendings = p;
    rc = sqlite3_open_v2(p->name, &db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                             SQLITE_OPEN_EXRESCODE,
                         VFS_NAME);
    pending_remove(p);
    if (p->opened == NULL)
        args->ops->close(args->t); /* else xClose does */
    if (rc == SQLITE_OK)
        rc = configure(db, args);
    if (rc != SQLITE_OK) {
        (void) vfs_err_set(db, NULL, rc, &words);
        (void) sqlite3_close(db); /* with which the handle goes, if it has not gone yet */
        return vfs_err_copy(e, p->last_words.code != 0 ? &p->last_words : &words);
    }
    p->opened->last_words = NULL;
    *ret_db = db;
    *ret_handle = p->opened;
    return 0;
}
