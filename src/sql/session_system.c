/* ALTER SYSTEM: settings that outlive the session, written to postgresql.auto.conf. They take
 * effect at the next reload or restart.
 *
 * Runs in: backend. Source: PostgreSQL 15's documentation of the command. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "conf/conf_auto.h"
#include "shm/wait.h"
#include "sql/session_int.h"

#define LOCK_FILE  "PG_VERSION" /* in every data directory, and never written again */
#define LOCK_AT    (UINT64_C(1) << 40)
#define RETRY_USEC (10 * USEC_PER_MSEC)

/* One ALTER SYSTEM at a time: a lock on a byte that nobody reads, gone with its holder. */
static int
lock_file(struct session *s, int fd, struct err *e)
{
    int64_t timeout = s->cfg.conf->cur.v.lock_timeout;
    usec_t deadline = timeout > 0 ? clock_mono_usec() + (usec_t) timeout : 0;
    _Atomic uint32_t nobody = 0;
    int r;

    while ((r = io_lock(s->st->io, fd, LOCK_AT, 1, true)) == -EAGAIN || r == -EACCES) {
        usec_t now = clock_mono_usec();

        if (deadline != 0 && now >= deadline)
            return ERR(e, LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout");
        r = wait_sleep(s->self, &nobody, 0, now + RETRY_USEC, WAIT_AUTO_FILE, e);
        if (r < 0)
            return r;
    }
    return r < 0 ? err_set_errno(e, -r, "could not lock file \"%s\"", LOCK_FILE) : 0;
}

/* ---- what is asked for ---- */

static int
check_right(const struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    const struct shm_status *status = s->st->status;
    bool in_recovery =
        status != NULL && atomic_load_explicit(&status->in_recovery, memory_order_acquire) != 0;
    int r = session_check_alone(s, "ALTER SYSTEM", e);

    if (r < 0)
        return r;
    if (!s->cfg.conf->is_superuser && stmt->name[0] == '\0')
        return ERR(e, INSUFFICIENT_PRIVILEGE,
                   "permission denied to perform ALTER SYSTEM RESET ALL");
    if (!s->cfg.conf->is_superuser)
        return ERR(e, INSUFFICIENT_PRIVILEGE, "permission denied to set parameter \"%s\"",
                   stmt->name);
    if (s->read_only && !in_recovery) /* the file is this server's own, a standby may write it */
        return ERR(e, READ_ONLY_SQL_TRANSACTION,
                   "cannot execute ALTER SYSTEM in a read-only transaction");
    return 0;
}

/* Name and value by the table. *ret_name: as the table spells it; an unknown name stays, so that
 * its row can be taken out. */
static int
check_setting(const struct sql_stmt *stmt, const char **ret_name, struct err *e)
{
    int id = conf_find(stmt->name);
    int r;

    *ret_name = stmt->name;
    if (id < 0)
        return stmt->value != NULL ? conf_find_or_say(stmt->name, e) : 0;
    *ret_name = conf_desc((enum conf_id) id)->name;
    r = conf_may_be_in_files((enum conf_id) id, e);
    if (r < 0 || stmt->value == NULL)
        return r;
    if (strpbrk(stmt->value, "\r\n") != NULL)
        return ERR(e, FEATURE_NOT_SUPPORTED,
                   "parameter value for ALTER SYSTEM must not contain a newline");
    return conf_check((enum conf_id) id, stmt->value, e);
}

/* ---- the file ---- */

/* Its text; no file: nothing. *ret is owned by the caller. */
static ssize_t
read_old(struct io *io, char **ret, struct err *e)
{
    ssize_t n;

    *ret = malloc(CONF_FILE_BYTES_MAX);
    if (*ret == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    n = io_read_file(io, CONF_AUTO_FILE, *ret, CONF_FILE_BYTES_MAX);
    if (n < 0 && n != -ENOENT)
        return err_set_errno(e, (int) -n, "could not read file \"%s\"", CONF_AUTO_FILE);
    return MAX(n, 0);
}

/* Together with the other settings, where this process knows the files they are in. */
static int
check_together(const struct session *s, const char *text, struct err *e)
{
    char dir[CONF_PATH_BYTES];
    struct conf_where where;

    if (!session_conf_where(s, dir, sizeof dir, &where))
        return 0;
    where.auto_text = text;
    return conf_auto_check(&where, e);
}

static int
rewrite(const struct session *s, const char *name, const char *value, struct err *e)
{
    CLEANUP(freep) char *old = NULL;
    CLEANUP(freep) char *text = NULL;
    ssize_t n = read_old(s->st->io, &old, e);
    int r = n < 0 ? (int) n : conf_auto_edit(old, (size_t) n, name, value, &text, e);

    if (r < 0)
        return r;
    if (r == 0 && name != NULL && value == NULL && conf_find(name) < 0)
        return conf_find_or_say(name, e);
    if (strlen(text) > CONF_FILE_BYTES_MAX)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "file \"%s\" would become too large", CONF_AUTO_FILE);
    r = value != NULL ? check_together(s, text, e) : 0;
    return r < 0 ? r : io_write_file_durably(s->st->io, ".", CONF_AUTO_FILE, text, strlen(text), e);
}

int
session_alter_system(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    bool is_all = stmt->name[0] == '\0';
    const char *name = NULL;
    int r = check_right(s, stmt, e);
    int fd;

    if (r == 0 && !is_all)
        r = check_setting(stmt, &name, e);
    if (r < 0)
        return r;
    fd = io_open(s->st->io, LOCK_FILE, O_RDWR, 0);
    if (fd < 0)
        return err_set_errno(e, -fd, "could not open file \"%s\"", LOCK_FILE);
    r = lock_file(s, fd, e);
    if (r == 0)
        r = rewrite(s, name, stmt->value, e);
    (void) io_close(s->st->io, fd); /* the lock goes with it */
    return r;
}
