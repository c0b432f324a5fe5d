/* pg_settings, and pg_reload_conf().
 *
 * Runs in: backend, inside sqlite3_step(). Reads the session's settings and, for files and lines,
 * the process's own. Source: PostgreSQL 15's documentation of the view. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sql/session_rows.h"

static const char *const type_names[] = { "bool", "integer", "real", "string", "enum" };
/* ---- values ---- */

static void
put_limit(struct rows *rows, const struct conf_desc *d, double limit)
{
    char text[64];

    if (d->type == CONF_TYPE_INT)
        (void) snprintf(text, sizeof text, "%.0f", limit);
    else if (d->type == CONF_TYPE_REAL)
        (void) snprintf(text, sizeof text, "%g", limit);
    else
        text[0] = '\0';
    rows_text(rows, text);
}

/* "a|b c" as an array in text form: {a,"b c"}. */
static void
put_enum(struct rows *rows, const struct conf_desc *d)
{
    sqlite3_str *to = sqlite3_str_new(NULL);

    sqlite3_str_appendchar(to, 1, '{');
    for (const char *p = d->values; p != NULL; p++) {
        int n = (int) strcspn(p, "|");
        const char *quote = memchr(p, ' ', (size_t) n) != NULL ? "\"" : "";

        sqlite3_str_appendf(to, "%s%.*s%s", quote, n, p, quote);
        p += n;
        if (*p == '\0')
            break;
        sqlite3_str_appendchar(to, 1, ',');
    }
    sqlite3_str_appendchar(to, 1, '}');
    rows_text(rows, sqlite3_str_value(to));
    sqlite3_free(sqlite3_str_finish(to));
}

/* "" is a value, not NULL. */
static void
put_value(struct rows *rows, const struct conf *conf, enum conf_id id)
{
    char text[CONF_VALUE_BYTES_MAX + 1];

    rows_value(rows, conf_show_bare(conf, id, text, sizeof text));
}

static const char *
source_of(const struct conf *conf, enum conf_id id)
{
    if (conf_desc(id)->context == CONF_CONTEXT_INTERNAL && conf->source[id] == CONF_FROM_CLIENT)
        return "override";
    return conf_source_name((enum conf_source) conf->source[id]);
}

/* Where the value is written: for superusers, as long as it is the one in force. */
static void
put_origin(struct rows *rows, const struct conf_session *cs, enum conf_id id)
{
    const struct conf_origin *o = cs->base->origins != NULL ? &cs->base->origins[id] : NULL;

    if (o != NULL && o->file != NULL && cs->is_superuser && cs->cur.source[id] == CONF_FROM_FILE) {
        rows_text(rows, o->file);
        rows_int(rows, o->line);
    } else {
        rows_null(rows);
        rows_null(rows);
    }
    rows_int(rows, o != NULL && o->is_pending);
}

static void
put_setting(const struct session *s, struct rows *rows, const struct conf *boot, enum conf_id id)
{
    const struct conf_session *cs = s->cfg.conf;
    const struct conf_desc *d = conf_desc(id);
    char text[CONF_VALUE_BYTES_MAX + 1];

    rows_text(rows, d->name);
    rows_value(rows, session_setting_text(s, id, true, text, sizeof text));
    rows_text(rows, d->unit != CONF_UNIT_NONE ? conf_unit_name(d->unit) : NULL);
    rows_text(rows, d->group);
    rows_text(rows, d->text);
    rows_null(rows); /* extra_desc: the manual has it */
    rows_text(rows, conf_context_name(d->context));
    rows_text(rows, type_names[d->type]);
    rows_text(rows, source_of(&cs->cur, id));
    put_limit(rows, d, d->min);
    put_limit(rows, d, d->max);
    if (d->type == CONF_TYPE_ENUM)
        put_enum(rows, d);
    else
        rows_null(rows);
    put_value(rows, boot, id);
    put_value(rows, &cs->reset, id);
    put_origin(rows, cs, id);
}

static int
fill_settings(struct session *s, struct rows *rows, struct err *e)
{
    struct conf boot;
    int r = conf_init(&boot, e);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < CONF_SETTINGS; i++)
        if (conf_session_may_show(s->cfg.conf, conf_by_name(i), NULL) == 0)
            put_setting(s, rows, &boot, conf_by_name(i));
    conf_done(&boot);
    return 0;
}

static const struct session_view settings = {
    "pg_settings",
    "CREATE TABLE pg_settings(name text, setting text, unit text, category text, "
    "short_desc text, extra_desc text, context text, vartype text, source text, min_val text, "
    "max_val text, enumvals text, boot_val text, reset_val text, sourcefile text, "
    "sourceline integer, pending_restart boolean)",
    17, fill_settings
};

/* ---- reload ---- */

/* The postmaster is our parent: if it is gone, so are we, soon. */
static void
fn_reload_conf(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct session *s = sqlite3_user_data(ctx);
    pid_t parent = getppid();

    (void) n;
    (void) v;
    if (!s->cfg.role.is_superuser) {
        (void) ERR(&s->interrupt, INSUFFICIENT_PRIVILEGE,
                   "permission denied for function pg_reload_conf");
        sqlite3_result_error(ctx, s->interrupt.message, -1);
        return;
    }
    sqlite3_result_int(ctx, parent > 1 && kill(parent, SIGHUP) == 0);
    sqlite3_result_subtype(ctx, SUBTYPE_BOOL);
}

int
session_add_settings(struct session *s, struct err *e)
{
    int r = session_add_view(s, &settings, e);
    int rc;

    if (r < 0)
        return r;
    rc = sqlite3_create_function_v2(s->db, "pg_reload_conf", 0, SQLITE_UTF8 | SQLITE_DIRECTONLY, s,
                                    fn_reload_conf, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : session_failed(s, rc, false, e);
}
