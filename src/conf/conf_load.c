/* Loading the settings of a server: files, arguments, derived defaults; and taking over a reload.
 *
 * Runs in: postmaster, `piniond -C`, `piniond init`. Owns: nothing between calls. Source: design 11
 * (places, modes). */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf_auto.h"
#include "conf/conf_credential.h"
#include "conf/conf_net.h"
#include "conf/conf_recovery.h"

#include "base/log.h"

int
conf_may_be_in_files(enum conf_id id, struct err *e)
{
    const struct conf_desc *d = conf_desc(id);

    if (d->context == CONF_CONTEXT_INTERNAL || (d->flags & CONF_FLAG_TXN) != 0)
        return ERR(e, CANT_CHANGE_RUNTIME_PARAM, "parameter \"%s\" cannot be changed", d->name);
    return 0;
}

void
conf_issues_log(const struct conf_issues *issues)
{
    for (size_t i = 0; i < issues->n; i++) {
        const struct conf_issue *issue = &issues->items[i];
        struct err e = issue->err;
        char file[CONF_PATH_BYTES + 32];
        char line[40];
        const char *const fields[] = { file, line, NULL };

        (void) conf_issue_text(issue, e.message, sizeof e.message);
        (void) snprintf(file, sizeof file, "PINION_CONFIG_FILE=%s",
                        issue->file != NULL ? issue->file : "");
        (void) snprintf(line, sizeof line, "PINION_CONFIG_LINE=%d", issue->line);
        log_err_event(LOG_LEVEL_LOG, LOG_EVENT_NONE, fields, "", &e);
    }
    if (issues->n_dropped > 0)
        log_msg(LOG_LEVEL_LOG, "%zu more errors are not shown", issues->n_dropped);
}

/* Remember where the value of a setting was written; `file` NULL: in no file. */
static int
set_origin(struct conf *conf, enum conf_id id, const char *file, int line)
{
    struct conf_origin *o = &conf->origins[id];

    free(o->file);
    *o = (struct conf_origin){ .line = line };
    if (file != NULL && (o->file = strdup(file)) == NULL)
        return -ENOMEM;
    return 0;
}

/* Each row to its setting; what is wrong to issues. Returns 0 or -ENOMEM. */
static int
put_rows(struct conf *conf, const struct conf_rows *rows, enum conf_source source,
         struct conf_issues *issues)
{
    for (size_t i = 0; i < rows->n; i++) {
        const struct conf_row *row = &rows->rows[i];
        struct err e = ERR_INIT;
        int id = conf_find_or_say(row->name, &e);
        int r = id < 0 ? id : conf_may_be_in_files((enum conf_id) id, &e);

        if (r == 0)
            r = conf_put(conf, (enum conf_id) id, row->value, source, &e);
        if (r < 0)
            conf_issues_add(issues, row->file, row->line, row->name, &e);
        else if (set_origin(conf, (enum conf_id) id, row->file, row->line) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Derived text for a setting that was left empty. */
static int
derive(struct conf *conf, enum conf_id id, const char *folder, const char *name, struct err *e)
{
    char path[PATH_MAX], list[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s%s", folder, name[0] != '\0' ? "/" : "", name);
    bool fits = n >= 0 && (size_t) n < sizeof path;

    if (id == CONF_unix_socket_directories && fits) {
        fits = conf_net_quote_name(path, list, sizeof list) == 0;
        (void) snprintf(path, sizeof path, "%s", fits ? list : "");
    }
    if (!fits)
        return ERR(e, CONFIG_FILE_ERROR, "path of \"%s\" is too long", conf_desc(id)->name);
    return conf_put(conf, id, path, (enum conf_source) conf->source[id], e);
}

enum {
    WAL_BUFFERS_MIN_BYTES = 64 * 1024,
    WAL_BUFFERS_MAX_BYTES = 16 * 1024 * 1024,
    BACKENDS_MIN_BYTES = 64 * 1024 * 1024, /* a few sessions at work_mem, with what they share */
};

/* Defaults that depend on others or on where the server lives. */
static int
conf_resolve(struct conf *conf, const struct conf_where *w, struct err *e)
{
    const char *run =
        w->runtime_dir != NULL && w->runtime_dir[0] != '\0' ? w->runtime_dir : w->data_dir;
    int r = 0;

    if (conf->v.wal_buffers < 0) {
        int64_t bytes = conf->v.shared_buffers / 32;

        bytes = MIN(MAX(bytes, WAL_BUFFERS_MIN_BYTES), WAL_BUFFERS_MAX_BYTES);
        conf->v.wal_buffers = bytes / 8192 * 8192;
    }
    conf->v.wal_buffers = MAX(conf->v.wal_buffers, WAL_BUFFERS_MIN_BYTES);
    if (w->data_dir[0] == '\0')
        return 0;
    r = derive(conf, CONF_data_directory, w->data_dir, "", e);
    if (r == 0)
        r = derive(conf, CONF_config_file, w->conf_dir, "pinion.conf", e);
    if (r == 0 && conf->v.hba_file[0] == '\0')
        r = derive(conf, CONF_hba_file, w->conf_dir, "pg_hba.conf", e);
    if (r == 0 && conf->v.unix_socket_directories[0] == '\0')
        r = derive(conf, CONF_unix_socket_directories, run, "", e);
    if (r == 0 && conf->v.control_socket[0] == '\0')
        r = derive(conf, CONF_control_socket, run, "control", e);
    return r;
}

/* Settings that are wrong together: told where the first of the two (-1: none) that is written
 * somewhere stands. */
static void
add_cross(const struct conf *conf, struct conf_issues *issues, int id, int other,
          const struct err *e)
{
    size_t before = issues->n;
    const char *name = id >= 0 ? conf_desc((enum conf_id) id)->name : "";
    int at = id >= 0 && conf->source[id] != CONF_FROM_DEFAULT ? id : other;

    if (at < 0 || conf->source[at] == CONF_FROM_DEFAULT)
        conf_issues_add(issues, conf->v.config_file, 0, name, e);
    else
        conf_issues_add(issues, conf->origins[at].file, conf->origins[at].line, name, e);
    if (issues->n > before)
        issues->items[before].is_cross = true;
}

/* What no single setting can know. */
static void
cross_check(const struct conf *conf, struct conf_issues *issues)
{
    struct conf_recovery recovery;
    const char *setting = "";
    struct err e = ERR_INIT;

    if (conf_recovery_read(&conf->v, &recovery, &setting, &e) < 0)
        add_cross(conf, issues, conf_find(setting), -1, &e);
    err_clear(&e);

    if (conf_net_check_sockets(&conf->v, &e) < 0)
        add_cross(conf, issues, CONF_unix_socket_directories, -1, &e);
    err_clear(&e);

    if (conf->v.backends_memory_max > 0 && conf->v.backends_memory_max < BACKENDS_MIN_BYTES) {
        (void) ERR(&e, INVALID_PARAMETER_VALUE, "backends_memory_max must be 0 or at least %dMB",
                   BACKENDS_MIN_BYTES >> 20);
        err_hint(&e, "It bounds all sessions together, and pages of the shared memory count for "
                     "whoever touches them first.");
        add_cross(conf, issues, CONF_backends_memory_max, -1, &e);
        err_clear(&e);
    }

    if (conf->v.superuser_reserved_connections >= conf->v.max_connections) {
        (void) ERR(&e, INVALID_PARAMETER_VALUE,
                   "superuser_reserved_connections (%" PRId64 ") must be less than max_connections "
                   "(%" PRId64 ")",
                   conf->v.superuser_reserved_connections, conf->v.max_connections);
        add_cross(conf, issues, CONF_superuser_reserved_connections, CONF_max_connections, &e);
    }
}

static int
parse_files(const struct conf_where *w, struct conf_rows *rows, struct conf_issues *issues)
{
    char path[PATH_MAX];
    int r = 0;

    if (w->data_dir[0] == '\0')
        return 0;
    (void) snprintf(path, sizeof path, "%s/pinion.conf", w->conf_dir);
    r = conf_parse_file(path, false, rows, issues);
    if (r == 0)
        r = conf_credentials_read(w->credentials_dir, rows, issues);
    if (r < 0)
        return r;
    (void) snprintf(path, sizeof path, "%s/" CONF_AUTO_FILE, w->data_dir);
    if (w->auto_text != NULL)
        return conf_parse_auto_text(path, w->auto_text, strlen(w->auto_text), rows, issues);
    return conf_parse_auto_file(path, rows, issues);
}

static int
load_files(const struct conf_where *w, struct conf *conf, struct conf_issues *issues)
{
    CLEANUP(conf_rows_done) struct conf_rows rows = { 0 };
    int r = parse_files(w, &rows, issues);

    return r < 0 ? r : put_rows(conf, &rows, CONF_FROM_FILE, issues);
}

static int
load_args(const char *const *args, size_t n_args, struct conf *conf, struct conf_issues *issues)
{
    CLEANUP(conf_rows_done) struct conf_rows rows = { 0 };

    for (size_t i = 0; i < n_args; i++) {
        int r = conf_parse_arg(args[i], &rows, issues);

        if (r < 0)
            return r;
    }
    return put_rows(conf, &rows, CONF_FROM_ARGS, issues);
}

static int
summary(const struct conf_issues *issues, struct err *e)
{
    char text[sizeof e->message];
    size_t more = issues->n - 1 + issues->n_dropped;
    int r = ERR(e, CONFIG_FILE_ERROR, "%s", conf_issue_text(&issues->items[0], text, sizeof text));

    if (more > 0)
        err_detail(e, "There %s %zu more %s in the configuration.", more == 1 ? "is" : "are", more,
                   more == 1 ? "error" : "errors");
    if (issues->items[0].err.hint[0] != '\0')
        err_hint(e, "%s", issues->items[0].err.hint);
    return r;
}

int
conf_load(const struct conf_where *where, const char *const *args, size_t n_args, struct conf *ret,
          struct conf_issues *issues, struct err *e)
{
    CLEANUP(conf_done) struct conf next = { 0 };
    int r = conf_init(&next, e);

    if (r < 0)
        return r;
    next.origins = calloc(CONF_SETTINGS, sizeof *next.origins);
    if (next.origins == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    r = load_files(where, &next, issues);
    if (r == 0)
        r = load_args(args, n_args, &next, issues);
    if (r < 0)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    r = conf_resolve(&next, where, e);
    if (r < 0)
        return r;
    cross_check(&next, issues);
    if (issues->n > 0) {
        free(issues->hba_file);
        issues->hba_file = strdup(next.v.hba_file);
        return summary(issues, e);
    }
    *ret = next;
    next = (struct conf){ 0 };
    return 0;
}

void
conf_files_done(struct conf_files *files)
{
    conf_rows_done(&files->rows);
    conf_issues_done(&files->issues);
    conf_done(&files->conf);
}

int
conf_load_files(const struct conf_where *where, struct conf_files *ret)
{
    CLEANUP(conf_issues_done) struct conf_issues again = { 0 };
    int r = parse_files(where, &ret->rows, &again);

    if (r < 0)
        return r;
    r = conf_load(where, NULL, 0, &ret->conf, &ret->issues, NULL);
    return r == -ERR_OUT_OF_MEMORY ? -ENOMEM : 0;
}

void
conf_diff(const struct conf *cur, const struct conf *next, struct conf_diff *ret)
{
    *ret = (struct conf_diff){ 0 };
    for (int id = 0; id < CONF_SETTINGS; id++) {
        enum conf_context context = conf_desc((enum conf_id) id)->context;

        if (context == CONF_CONTEXT_INTERNAL || conf_equal(cur, next, (enum conf_id) id))
            continue;
        if (context == CONF_CONTEXT_POSTMASTER && cur->source[id] == CONF_FROM_DEFAULT &&
            next->source[id] == CONF_FROM_DEFAULT)
            continue; /* derived from another, which is named */
        if (context == CONF_CONTEXT_POSTMASTER) {
            ret->restart[id] = true;
            ret->n_restart++;
        } else {
            ret->changed[id] = true;
            ret->n_changed++;
        }
    }
}

/* The places of next become those of cur, but for what waits for a restart: there the value in
 * force keeps its own. */
static void
take_origins(struct conf *cur, struct conf *next, const struct conf_diff *diff)
{
    for (int id = 0; id < CONF_SETTINGS; id++) {
        if (diff->restart[id]) {
            cur->origins[id].is_pending = true;
            continue;
        }
        free(cur->origins[id].file);
        cur->origins[id] = next->origins[id];
        next->origins[id] = (struct conf_origin){ .file = NULL };
        cur->source[id] = next->source[id];
    }
}

void
conf_apply(struct conf *cur, struct conf *next, const struct conf_diff *diff)
{
    for (int id = 0; id < CONF_SETTINGS; id++) {
        union conf_value v = { .i = 0 };

        if (!diff->changed[id])
            continue;
        conf_swap(next, (enum conf_id) id, &v); /* out of next */
        conf_swap(cur, (enum conf_id) id, &v);  /* into cur, the old one out */
        conf_value_done((enum conf_id) id, &v);
        cur->source[id] = next->source[id];
    }
    if (cur->origins != NULL && next->origins != NULL)
        take_origins(cur, next, diff);
    conf_done(next);
}
