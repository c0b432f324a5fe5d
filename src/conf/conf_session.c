/* The settings of one session: SET, SET LOCAL and RESET, undone with their transaction.
 *
 * Runs in: backend. Owns: two copies of the settings and the undo list. Source: the behaviour of
 * PostgreSQL's SET. */
#include "conf/conf_session.h"

#include <errno.h>
#include <string.h>

/* The value a setting had before it was set at `level`. */
struct conf_undo {
    struct conf_undo *next;
    union conf_value value; /* owned */
    enum conf_id id;
    unsigned level;
    uint8_t source;
    bool is_local;
};

int
conf_session_init(struct conf_session *s, const struct conf *base, bool is_superuser, struct err *e)
{
    int r;

    *s = (struct conf_session){ .base = base, .is_superuser = is_superuser };
    r = conf_copy(&s->cur, base, e);
    if (r == 0)
        r = conf_copy(&s->reset, base, e);
    if (r < 0) {
        conf_session_done(s);
        return r;
    }
    s->has_report = true;
    for (int id = 0; id < CONF_SETTINGS; id++)
        s->report[id] = (conf_desc((enum conf_id) id)->flags & CONF_FLAG_REPORT) != 0;
    return 0;
}

static void
undo_free(struct conf_undo *u)
{
    conf_value_done(u->id, &u->value);
    free(u);
}

void
conf_session_done(struct conf_session *s)
{
    while (s->undo != NULL) {
        struct conf_undo *u = s->undo;

        s->undo = u->next;
        undo_free(u);
    }
    conf_done(&s->cur);
    conf_done(&s->reset);
}

static void
changed(struct conf_session *s, enum conf_id id)
{
    if ((conf_desc(id)->flags & CONF_FLAG_REPORT) != 0)
        s->report[id] = s->has_report = true;
}

/* May this session change it now? */
static int
check_context(const struct conf_session *s, enum conf_id id, struct err *e)
{
    const struct conf_desc *d = conf_desc(id);

    switch (d->context) {
    case CONF_CONTEXT_INTERNAL:
        return ERR(e, CANT_CHANGE_RUNTIME_PARAM, "parameter \"%s\" cannot be changed", d->name);
    case CONF_CONTEXT_POSTMASTER:
        return ERR(e, CANT_CHANGE_RUNTIME_PARAM,
                   "parameter \"%s\" cannot be changed without restarting the server", d->name);
    case CONF_CONTEXT_SIGHUP:
        return ERR(e, CANT_CHANGE_RUNTIME_PARAM, "parameter \"%s\" cannot be changed now", d->name);
    case CONF_CONTEXT_SUPERUSER:
        if (!s->is_superuser)
            return ERR(e, INSUFFICIENT_PRIVILEGE, "permission denied to set parameter \"%s\"",
                       d->name);
        return 0;
    case CONF_CONTEXT_USER:
        return 0;
    }
    return -ERR_INTERNAL_ERROR;
}

int
conf_session_set_at_start(struct conf_session *s, const char *name, const char *value,
                          struct err *e)
{
    int id = conf_find_or_say(name, e), r;

    if (id < 0)
        return id;
    r = check_context(s, (enum conf_id) id, e);
    if (r == 0)
        r = conf_put(&s->cur, (enum conf_id) id, value, CONF_FROM_CLIENT, e);
    if (r == 0)
        r = conf_put(&s->reset, (enum conf_id) id, value, CONF_FROM_CLIENT, e);
    if (r == 0)
        changed(s, (enum conf_id) id);
    return r;
}

int
conf_session_set_internal(struct conf_session *s, enum conf_id id, const char *value, struct err *e)
{
    int r = conf_put(&s->cur, id, value, CONF_FROM_CLIENT, e);

    if (r == 0)
        r = conf_put(&s->reset, id, value, CONF_FROM_CLIENT, e);
    if (r == 0)
        changed(s, id);
    return r;
}

/* The newest entry of a setting, or NULL. */
static struct conf_undo *
undo_find(struct conf_session *s, enum conf_id id)
{
    struct conf_undo *u = s->undo;

    while (u != NULL && u->id != id)
        u = u->next;
    return u;
}

/* Set in the transaction once more: is the entry that is there enough? */
static bool
undo_covers(struct conf_session *s, enum conf_id id, bool is_local)
{
    struct conf_undo *u = undo_find(s, id);

    if (u == NULL || u->level != s->level || (is_local && !u->is_local))
        return false;
    u->is_local = is_local;
    return true;
}

/* The new value goes in by conf_put() or from the RESET values; the old one to the undo list. */
static int
set(struct conf_session *s, enum conf_id id, const char *value, bool is_local, struct err *e)
{
    struct conf_undo *u;
    int r;

    if (s->n_undo >= CONF_UNDO_MAX)
        return ERR(e, PROGRAM_LIMIT_EXCEEDED, "too many SET commands in one transaction");
    u = calloc(1, sizeof *u);
    if (u == NULL)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    *u = (struct conf_undo){ .id = id, .level = s->level, .is_local = is_local };
    u->source = s->cur.source[id];
    r = conf_dup(&s->cur, id, &u->value);
    if (r < 0)
        r = ERR(e, OUT_OF_MEMORY, "out of memory");
    else if (value != NULL)
        r = conf_put(&s->cur, id, value, CONF_FROM_SESSION, e);
    else {
        union conf_value v = { .i = 0 };

        r = conf_dup(&s->reset, id, &v);
        if (r == 0) {
            conf_swap(&s->cur, id, &v);
            conf_value_done(id, &v);
            s->cur.source[id] = s->reset.source[id];
        }
    }
    if (r < 0 || s->level == 0 || undo_covers(s, id, is_local)) {
        undo_free(u);
    } else {
        u->next = s->undo;
        s->undo = u;
        s->n_undo++;
    }
    if (r == 0)
        changed(s, id);
    return r;
}

int
conf_session_set(struct conf_session *s, const char *name, const char *value, bool is_local,
                 struct err *e)
{
    int id = conf_find_or_say(name, e);
    int r = id < 0 ? id : check_context(s, (enum conf_id) id, e);

    if (r < 0)
        return r;
    if (is_local && s->level == 0) /* the caller warns: no transaction, no effect */
        return value != NULL ? conf_check((enum conf_id) id, value, e) : 0;
    return set(s, (enum conf_id) id, value, is_local, e);
}

int
conf_session_reset_all(struct conf_session *s, struct err *e)
{
    for (int id = 0; id < CONF_SETTINGS; id++) {
        const struct conf_desc *d = conf_desc((enum conf_id) id);
        int r;

        if (check_context(s, (enum conf_id) id, NULL) < 0 || (d->flags & CONF_FLAG_TXN) != 0 ||
            conf_equal(&s->cur, &s->reset, (enum conf_id) id))
            continue;
        r = set(s, (enum conf_id) id, NULL, false, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int
take_over(struct conf *to, const struct conf *base, enum conf_id id, struct err *e)
{
    union conf_value v;

    if (conf_dup(base, id, &v) < 0)
        return ERR(e, OUT_OF_MEMORY, "out of memory");
    conf_swap(to, id, &v);
    conf_value_done(id, &v);
    to->source[id] = base->source[id];
    return 0;
}

/* What the end of a transaction puts back is what is in force by then. */
static int
reload_undo(struct conf_session *s, const struct conf *base, struct err *e)
{
    for (struct conf_undo *u = s->undo; u != NULL; u = u->next) {
        union conf_value v;

        if (conf_desc(u->id)->context < CONF_CONTEXT_SIGHUP || u->source > CONF_FROM_ARGS)
            continue;
        if (conf_dup(base, u->id, &v) < 0)
            return ERR(e, OUT_OF_MEMORY, "out of memory");
        conf_value_done(u->id, &u->value);
        u->value = v;
        u->source = base->source[u->id];
    }
    return 0;
}

int
conf_session_reload(struct conf_session *s, const struct conf *base, struct err *e)
{
    s->base = base;
    for (int i = 0; i < CONF_SETTINGS; i++) {
        enum conf_id id = (enum conf_id) i;

        if (conf_desc(id)->context < CONF_CONTEXT_SIGHUP || s->reset.source[id] > CONF_FROM_ARGS)
            continue;
        if (s->cur.source[id] <= CONF_FROM_ARGS) {
            bool is_new = !conf_equal(&s->cur, base, id);

            if (is_new && take_over(&s->cur, base, id, e) < 0)
                return -ERR_OUT_OF_MEMORY;
            if (is_new)
                changed(s, id);
            s->cur.source[id] = base->source[id];
        }
        if (take_over(&s->reset, base, id, e) < 0)
            return -ERR_OUT_OF_MEMORY;
    }
    return reload_undo(s, base, e);
}

void
conf_session_push(struct conf_session *s)
{
    s->level++;
}

/* Put the old value back and forget the entry. */
static void
restore(struct conf_session *s, struct conf_undo *u)
{
    conf_swap(&s->cur, u->id, &u->value);
    s->cur.source[u->id] = u->source;
    changed(s, u->id);
}

void
conf_session_pop(struct conf_session *s, bool commit)
{
    bool is_kept[CONF_SETTINGS] = { false }; /* a later plain SET stands above an older SET LOCAL */
    struct conf_undo *u;

    ASSERT(s->level > 0);
    s->level--;
    if (commit && s->level > 0) {
        for (u = s->undo; u != NULL && u->level > s->level; u = u->next)
            u->level = s->level;
        return;
    }
    while (s->undo != NULL && s->undo->level > s->level) {
        u = s->undo;
        s->undo = u->next;
        s->n_undo--;
        if (commit && !u->is_local)
            is_kept[u->id] = true;
        else if (!is_kept[u->id])
            restore(s, u);
        undo_free(u);
    }
}

int
conf_session_may_show(const struct conf_session *s, enum conf_id id, struct err *e)
{
    if (s->is_superuser || (conf_desc(id)->flags & CONF_FLAG_PRIVATE) == 0)
        return 0;
    return ERR(e, INSUFFICIENT_PRIVILEGE, "must be superuser to examine \"%s\"",
               conf_desc(id)->name);
}

int
conf_session_next_report(struct conf_session *s)
{
    for (int id = 0; s->has_report && id < CONF_SETTINGS; id++) {
        if (s->report[id]) {
            s->report[id] = false;
            return id;
        }
    }
    s->has_report = false;
    return -1;
}
