/* The cluster catalogue: database oid 1, SQLite tables of databases, roles and settings (design
 * 11). A `struct catalog` is one connection to it; it takes one of the process' snapshot entries
 * while open. */
#pragma once

#include "store/store_file.h"

#define CATALOG_NAME_BYTES     64
#define CATALOG_PASSWORD_BYTES 256

struct catalog;

struct catalog_role {
    oid_t oid;
    char name[CATALOG_NAME_BYTES];
    bool is_superuser;
    bool can_login;
    bool can_replicate;
    int32_t conn_limit;                    /* -1 = none */
    char password[CATALOG_PASSWORD_BYTES]; /* "" = none; SCRAM verifier */
    char valid_until[CATALOG_NAME_BYTES];  /* "" = for ever */
};

struct catalog_db {
    oid_t oid;
    oid_t rel; /* relfilenode */
    char name[CATALOG_NAME_BYTES];
    oid_t owner;
    int32_t conn_limit; /* -1 = none */
    bool allow_conn;
};

/* Attach to database 1 and open it. Backend, startup, checkpointer. */
int catalog_open(struct store *st, struct catalog **ret, struct err *e);
/* Accepts NULL. */
void catalog_close(struct catalog *c);

#define CATALOG_NONE 1 /* outcome: no such row */
int catalog_find_role(struct catalog *c, const char *name, struct catalog_role *ret, struct err *e);
int catalog_find_db(struct catalog *c, const char *name, struct catalog_db *ret, struct err *e);
int catalog_find_db_by_oid(struct catalog *c, oid_t oid, struct catalog_db *ret, struct err *e);

/* What a backend does after the start-up packet: find the role (28000 if it does not exist or may
 * not log in), find the database (3D000; 55000 if it takes no connections), take a reference to it,
 * read its row again (FILE-3). On success *ret_db_idx holds a reference (store_db_detach()). */
int catalog_login(struct catalog *c, const char *role_name, const char *db_name,
                  struct catalog_role *ret_role, struct catalog_db *ret_db, uint32_t *ret_db_idx,
                  struct err *e);

/* Take a reference to the database with this oid, as catalog_login() does: CATALOG_NONE if there is
 * none. */
int catalog_attach(struct catalog *c, oid_t oid, uint32_t *ret_db_idx, struct err *e);

/* One text of all databases, a line "<oid> <relfilenode> <name>" for each, by oid. *ret is the
 * caller's to free(). */
int catalog_list_text(struct catalog *c, char **ret, struct err *e);

/* Every file the catalogue names, itself included: for store_recover_finish(), store_lock_files().
 * Opens and closes the catalogue. *ret is the caller's to free(). */
int catalog_list_files(struct store *st, struct store_listed **ret, uint32_t *ret_n, struct err *e);

/* Calls fn(name, value) for each row of pg_db_role_setting that applies, the strongest last (all;
 * database; role; role in database). fn < 0 stops. */
typedef int (*catalog_setting_fn)(void *arg, const char *name, const char *value);
int catalog_settings(struct catalog *c, oid_t db, oid_t role, catalog_setting_fn fn, void *arg,
                     struct err *e);

/* CREATE DATABASE `name` owned by `owner` (FILE-2). Returns when it is durable (SNAP-5), if `wait`.
 * 42P04, 53100 … `deadline` of the writer queue: monotonic, 0 = none. */
int catalog_create_db(struct catalog *c, const char *name, oid_t owner, usec_t deadline, bool wait,
                      struct err *e);
/* DROP DATABASE (FILE-3): 3D000 (CATALOG_NONE if `if_exists`), 55006, 42501 (by others than
 * `role`'s own). Waits for the checkpointer to remove the file; an interrupt during that wait is
 * swallowed: the drop has happened. */
int catalog_drop_db(struct catalog *c, const char *name, const struct catalog_role *role,
                    bool if_exists, usec_t deadline, struct err *e);

/* `piniond init`: makes base/1/1 and base/5/5 with build handles, tail LSN segsize + 40 (INIT-1),
 * with the superuser role `superuser` (oid 10). No shared memory. base/ exists. */
int catalog_init(struct io *io, const char *superuser, uint32_t wal_seg_bytes, struct err *e);
