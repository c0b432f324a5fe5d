/* A database file read as it lies there, for tools, while nobody writes it: no cache, no log, no
 * store. */
#pragma once

#include "base/io.h"

/* One row: `n` columns as text, NULL for NULL. < 0 stops with that code. */
typedef int (*vfs_plain_row_fn)(void *arg, int n, const char *const *values);
/* Called now and then inside a long statement. True: stop it (57014). */
typedef bool (*vfs_plain_stop_fn)(void *arg);

struct vfs_plain {
    struct io *io; /* borrowed */
    int fd;        /* borrowed, open for reading */
    vfs_plain_row_fn row;
    vfs_plain_stop_fn stop; /* NULL = never */
    void *arg;              /* of both */
};

/* Run one statement that only reads. Pages are given to SQLite whatever their tail says: whoever
 * wants their checksums looks at them himself (store_page.h). CHECK constraints are not evaluated:
 * they may name functions of a session. vfs_register() was called. 0; the row function's code;
 * XX001, 58030, 25006, 57014 … with SQLite's words. */
int vfs_plain_query(const struct vfs_plain *f, const char *sql, struct err *e);
