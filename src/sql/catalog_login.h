/* What a login asks of the catalogue, remembered for the next one: most logins open no catalogue at
 * all. */
#pragma once

#include "sql/catalog.h"

enum { CATALOG_LOGINS = 32, CATALOG_LOGIN_SETTINGS_BYTES = 512 };

/* In shared memory; valid when zeroed. An entry is what the catalogue said of one role and one
 * database as of one commit to it, and counts only while that is the newest. */
struct catalog_logins {
    struct spin lock; /* guards all below */
    uint32_t next;    /* the entry to replace */
    struct catalog_logins_entry {
        lsn_t as_of; /* 0: empty */
        struct catalog_role role;
        struct catalog_db db;
        uint32_t n; /* bytes of settings */
        char settings[CATALOG_LOGIN_SETTINGS_BYTES];
    } entries[CATALOG_LOGINS];
};

/* What a session starts from. */
struct catalog_login {
    struct catalog_role role;
    struct catalog_db db;
    uint32_t db_idx; /* a reference, the caller's (store_db_detach()) */
    char *settings;  /* owned: name NUL value NUL …, the strongest last; n bytes */
    size_t n;
};

/* catalog_login() and catalog_settings() from `logins`, or, if it does not know or something was
 * committed to the catalogue since, from the catalogue itself. Errors as theirs; on success *ret is
 * the caller's (catalog_login_done()). Backend. */
int catalog_log_in(struct store *st, struct catalog_logins *logins, const char *role,
                   const char *db, struct catalog_login *ret, struct err *e);
/* Frees the settings; the reference stays. */
void catalog_login_done(struct catalog_login *login);
/* fn(name, value) for each setting, in order. fn < 0 stops. */
int catalog_login_settings(const struct catalog_login *login, catalog_setting_fn fn, void *arg);
