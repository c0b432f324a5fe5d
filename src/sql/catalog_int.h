/* A connection to the catalogue, as catalog.c and catalog_ddl.c know it. */
#pragma once

#include <sqlite3.h>

#include "sql/catalog.h"

struct vfs_handle;

struct catalog {
    struct store *st;
    uint32_t db_idx; /* our reference to database 1 */
    sqlite3 *db;     /* owned */
    struct vfs_handle *handle;
    struct store_txn *txn; /* borrowed from db */
};

/* Prepare one statement with up to two text parameters (NULL: none). The caller finalises. */
int catalog_prepare(struct catalog *c, const char *sql, const char *p1, sqlite3_stmt **ret,
                    struct err *e);
/* A call on the connection failed: its words. */
int catalog_failed(struct catalog *c, int rc, struct err *e);
