/* The settings of one session: SET, SET LOCAL, RESET and their fate at the end of a transaction.
 * One per backend; no locks. */
#pragma once

#include "conf/conf.h"

struct conf_undo;

enum { CONF_UNDO_MAX = 10000 }; /* entries of one transaction */

struct conf_session {
    const struct conf *base; /* the process's own, borrowed: origins of what comes from files */
    struct conf cur;         /* what is in force: read cur.v.<setting> */
    struct conf reset;       /* what RESET goes back to */
    struct conf_undo *undo;  /* newest first; owned */
    unsigned n_undo;
    unsigned level; /* 0 = no transaction, 1 = transaction, 2… = savepoints */
    bool is_superuser;
    bool report[CONF_SETTINGS]; /* changed since the client was told */
    bool has_report;            /* one of them may be set */
};

/* Copies `base` (the postmaster's), which must stay as long as the session. All REPORT settings
 * count as changed. Returns 0 or -ENOMEM. */
int conf_session_init(struct conf_session *s, const struct conf *base, bool is_superuser,
                      struct err *e);
void conf_session_done(struct conf_session *s);

/* A value that came with the start-up packet: becomes the RESET value too. Contexts are checked as
 * for SET. */
int conf_session_set_at_start(struct conf_session *s, const char *name, const char *value,
                              struct err *e);
/* A value of the server's own (session_authorization, is_superuser, in_hot_standby, …). No context
 * check. */
int conf_session_set_internal(struct conf_session *s, enum conf_id id, const char *value,
                              struct err *e);
/* SET name = value (is_local: SET LOCAL). `value` NULL: TO DEFAULT. Returns 0,
 * -ERR_UNDEFINED_OBJECT, -ERR_CANT_CHANGE_RUNTIME_PARAM, -ERR_INSUFFICIENT_PRIVILEGE,
 * -ERR_INVALID_PARAMETER_VALUE or -ENOMEM; nothing changed on failure. */
int conf_session_set(struct conf_session *s, const char *name, const char *value, bool is_local,
                     struct err *e);
/* RESET ALL: what this session may change goes back. */
int conf_session_reset_all(struct conf_session *s, struct err *e);
/* Follow a reload: settings the session did not set itself take the new values, as do its RESET
 * values. */
int conf_session_reload(struct conf_session *s, const struct conf *base, struct err *e);

/* A transaction (level 1) or savepoint (2…) begins; ends. `commit` false: what was set in it is
 * undone. SET LOCAL is undone either way at level 1. */
void conf_session_push(struct conf_session *s);
void conf_session_pop(struct conf_session *s, bool commit);

/* May this session see it? 42501. */
int conf_session_may_show(const struct conf_session *s, enum conf_id id, struct err *e);
/* The next REPORT setting that changed since it was told, forgetting it; -1 if none. */
int conf_session_next_report(struct conf_session *s);
