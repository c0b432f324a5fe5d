/* pg_rotate_logfile() and pg_current_logfile(): the files of the log collector.
 *
 * Runs in: backend, inside sqlite3_step(). Owns: nothing. Source: PostgreSQL 15's documentation;
 * the request is pg_ctl's: a file "logrotate" in the data directory, then USR1. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sql/session_int.h"

static bool
may_call(sqlite3_context *ctx, const char *name)
{
    struct session *s = sqlite3_user_data(ctx);

    if (s->cfg.role.is_superuser)
        return true;
    (void) ERR(&s->interrupt, INSUFFICIENT_PRIVILEGE, "permission denied for function %s", name);
    sqlite3_result_error(ctx, s->interrupt.message, -1);
    return false;
}

/* The postmaster is our parent: if it is gone, so are we, soon. */
static bool
ask_postmaster(void)
{
    pid_t parent = getppid();
    CLEANUP(closep) int fd = -1;

    fd = open("logrotate", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    return fd >= 0 && parent > 1 && kill(parent, SIGUSR1) == 0;
}

/* false: nobody collects the log. */
static void
fn_rotate(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    const struct session *s = sqlite3_user_data(ctx);

    (void) n;
    (void) v;
    if (!may_call(ctx, "pg_rotate_logfile"))
        return;
    sqlite3_result_int(ctx, s->cfg.conf->cur.v.logging_collector && ask_postmaster());
    sqlite3_result_subtype(ctx, SUBTYPE_BOOL);
}

/* The file of `format`, or the first; NULL if there is none. */
static void
fn_current(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = sqlite3_user_data(ctx);
    const char *format = n > 0 ? (const char *) sqlite3_value_text(v[0]) : "";
    char line[4200];
    FILE *f;

    if (format == NULL || !may_call(ctx, "pg_current_logfile"))
        return;
    if (format[0] != '\0' && strcmp(format, "stderr") != 0 && strcmp(format, "csvlog") != 0 &&
        strcmp(format, "jsonlog") != 0) {
        (void) ERR(&s->interrupt, INVALID_PARAMETER_VALUE, "log format \"%s\" is not supported",
                   format);
        sqlite3_result_error(ctx, s->interrupt.message, -1);
        return;
    }
    f = fopen("current_logfiles", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *path = strchr(line, ' ');

        if (path == NULL)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        if (format[0] != '\0' && strcmp(format, line) != 0)
            continue;
        sqlite3_result_text(ctx, path, -1, SQLITE_TRANSIENT);
        break;
    }
    if (f != NULL)
        (void) fclose(f);
}

int
session_add_log(struct session *s, struct err *e)
{
    static const struct {
        const char *name;
        int n_args;
        void (*fn)(sqlite3_context *ctx, int n, sqlite3_value **v);
    } rows[] = { { "pg_rotate_logfile", 0, fn_rotate },
                 { "pg_current_logfile", 0, fn_current },
                 { "pg_current_logfile", 1, fn_current } };
    int rc = SQLITE_OK;

    for (size_t i = 0; rc == SQLITE_OK && i < ELEMENTSOF(rows); i++)
        rc = sqlite3_create_function_v2(s->db, rows[i].name, rows[i].n_args,
                                        SQLITE_UTF8 | SQLITE_DIRECTONLY, s, rows[i].fn, NULL, NULL,
                                        NULL);
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
