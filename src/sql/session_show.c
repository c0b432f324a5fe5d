/* SHOW, SET, RESET over src/conf.
 *
 * Runs in: backend. Source: PostgreSQL 15's documentation; settings in tbl/settings.def. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sql/session_int.h"

#define VALUE_BYTES 8192

static const char *
isolation_name(enum sql_isolation i)
{
    switch (i) {
    case SQL_READ_UNCOMMITTED:
        return "read uncommitted";
    case SQL_REPEATABLE_READ:
        return "repeatable read";
    case SQL_SERIALIZABLE:
        return "serializable";
    case SQL_READ_COMMITTED:
    case SQL_ISOLATION_UNSAID:
        break;
    }
    return "read committed";
}

const char *
session_setting_text(const struct session *s, enum conf_id id, bool is_bare, char *p, size_t cap)
{
    if (id == CONF_transaction_isolation)
        (void) snprintf(p, cap, "%s", isolation_name(s->isolation));
    else if (id == CONF_transaction_read_only)
        (void) snprintf(p, cap, "%s", s->read_only ? "on" : "off");
    else if (is_bare)
        (void) conf_show_bare(&s->cfg.conf->cur, id, p, cap);
    else
        (void) conf_show(&s->cfg.conf->cur, id, p, cap);
    return p;
}

int
session_show_setting(const struct session *s, const char *name, char *p, size_t cap, struct err *e)
{
    int id = conf_find_or_say(name, e);
    int r = id < 0 ? id : conf_session_may_show(s->cfg.conf, (enum conf_id) id, e);

    if (r == 0)
        (void) session_setting_text(s, (enum conf_id) id, false, p, cap);
    return r;
}

static int
show_one(struct session *s, const char *name, const struct session_sink *sink, struct err *e)
{
    char value[VALUE_BYTES];
    int id = conf_find(name);
    struct session_column col = { .name = id >= 0 ? conf_desc((enum conf_id) id)->name : name,
                                  .type = TYPE_TEXT,
                                  .type_len = -1,
                                  .type_mod = -1 };
    struct session_value v;
    int r = session_show_setting(s, name, value, sizeof value, e);

    if (r < 0)
        return r;
    v = (struct session_value){ .p = value, .n = (int32_t) strlen(value) };
    r = sink->columns(sink->arg, &col, 1);
    return r < 0 ? r : sink->row(sink->arg, &v, 1);
}

static int
show_all(struct session *s, const struct session_sink *sink)
{
    static const char *const names[] = { "name", "setting", "description" };
    struct session_column cols[3];
    int r;

    for (int i = 0; i < 3; i++)
        cols[i] = (struct session_column){
            .name = names[i], .type = TYPE_TEXT, .type_len = -1, .type_mod = -1
        };
    r = sink->columns(sink->arg, cols, 3);
    for (unsigned i = 0; i < CONF_SETTINGS && r == 0; i++) {
        enum conf_id id = conf_by_name(i);
        const struct conf_desc *d = conf_desc(id);
        char value[VALUE_BYTES];
        struct session_value v[3];

        if (conf_session_may_show(s->cfg.conf, id, NULL) < 0)
            continue;
        (void) session_setting_text(s, id, false, value, sizeof value);
        v[0] = (struct session_value){ .p = d->name, .n = (int32_t) strlen(d->name) };
        v[1] = (struct session_value){ .p = value, .n = (int32_t) strlen(value) };
        v[2] = (struct session_value){ .p = d->text, .n = (int32_t) strlen(d->text) };
        r = sink->row(sink->arg, v, 3);
    }
    return r;
}

/* SET transaction_isolation and transaction_read_only are SET TRANSACTION in other words. */
static int
set_of_transaction(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink,
                   struct err *e)
{
    bool on;

    stmt->kind = SQL_SET_TRANSACTION;
    if (strcasecmp(stmt->name, "transaction_read_only") == 0) {
        if (stmt->value == NULL || !conf_parse_bool(stmt->value, &on))
            return ERR(e, INVALID_PARAMETER_VALUE,
                       "parameter \"transaction_read_only\" requires a Boolean value");
        stmt->read_only = on;
        return session_txn_command(s, stmt, sink, e);
    }
    for (int i = SQL_READ_UNCOMMITTED; i <= SQL_SERIALIZABLE; i++) {
        if (stmt->value != NULL && strcasecmp(stmt->value, isolation_name(i)) == 0) {
            stmt->isolation = (enum sql_isolation) i;
            return session_txn_command(s, stmt, sink, e);
        }
    }
    return ERR(e, INVALID_PARAMETER_VALUE,
               "invalid value for parameter \"transaction_isolation\": \"%s\"",
               stmt->value != NULL ? stmt->value : "default");
}

static int
do_set(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink, struct err *e)
{
    if (strcasecmp(stmt->name, "transaction_isolation") == 0 ||
        strcasecmp(stmt->name, "transaction_read_only") == 0)
        return set_of_transaction(s, stmt, sink, e);
    if (stmt->is_local && s->block == BLOCK_IMPLICIT)
        session_notice(sink, "WARNING", ERR_NO_ACTIVE_SQL_TRANSACTION,
                       "SET LOCAL can only be used in transaction blocks");
    return conf_session_set(s->cfg.conf, stmt->name, stmt->value, stmt->is_local, e);
}

static int
do_characteristics(struct session *s, const struct sql_stmt *stmt, struct err *e)
{
    int r = 0;

    if (stmt->isolation != SQL_ISOLATION_UNSAID)
        r = conf_session_set(s->cfg.conf, "default_transaction_isolation",
                             isolation_name(stmt->isolation), false, e);
    if (r == 0 && stmt->read_only >= 0)
        r = conf_session_set(s->cfg.conf, "default_transaction_read_only",
                             stmt->read_only != 0 ? "on" : "off", false, e);
    return r;
}

int
session_setting_command(struct session *s, struct sql_stmt *stmt, const struct session_sink *sink,
                        struct err *e)
{
    bool all = stmt->name[0] == '\0';

    if (stmt->kind == SQL_SET)
        return do_set(s, stmt, sink, e);
    if (stmt->kind == SQL_SET_CHARACTERISTICS)
        return do_characteristics(s, stmt, e);
    if (stmt->kind == SQL_SHOW)
        return all ? show_all(s, sink) : show_one(s, stmt->name, sink, e);
    ASSERT(stmt->kind == SQL_RESET);
    return all ? conf_session_reset_all(s->cfg.conf, e)
               : conf_session_set(s->cfg.conf, stmt->name, NULL, false, e);
}
