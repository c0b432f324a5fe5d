/* Our codes and SQLite's. Runs in: backend, startup, init. No state. */
#include "vfs/vfs_err.h"

#include "vfs/vfs_file.h"

int
vfs_err_reserved(int r)
{
    return r == -ERR_READ_ONLY_SQL_TRANSACTION ? SQLITE_READONLY : SQLITE_IOERR_LOCK;
}

struct code_row {
    int rc;
    int code;
};

/* Extended codes before their primary ones: first match wins. */
static const struct code_row code_rows[] = {
    { SQLITE_CONSTRAINT_UNIQUE, ERR_UNIQUE_VIOLATION },
    { SQLITE_CONSTRAINT_PRIMARYKEY, ERR_UNIQUE_VIOLATION },
    { SQLITE_CONSTRAINT_ROWID, ERR_UNIQUE_VIOLATION },
    { SQLITE_CONSTRAINT_NOTNULL, ERR_NOT_NULL_VIOLATION },
    { SQLITE_CONSTRAINT_FOREIGNKEY, ERR_FOREIGN_KEY_VIOLATION },
    { SQLITE_CONSTRAINT_CHECK, ERR_CHECK_VIOLATION },
    { SQLITE_CONSTRAINT_DATATYPE, ERR_DATATYPE_MISMATCH },
    { SQLITE_CONSTRAINT, ERR_INTEGRITY_CONSTRAINT_VIOLATION },
    { SQLITE_BUSY_SNAPSHOT, ERR_SERIALIZATION_FAILURE },
    { SQLITE_BUSY, ERR_LOCK_NOT_AVAILABLE },
    { SQLITE_LOCKED, ERR_OBJECT_IN_USE },
    { SQLITE_READONLY, ERR_READ_ONLY_SQL_TRANSACTION },
    { SQLITE_FULL, ERR_DISK_FULL },
    { SQLITE_IOERR_NOMEM, ERR_OUT_OF_MEMORY },
    { SQLITE_NOMEM, ERR_OUT_OF_MEMORY },
    { SQLITE_IOERR, ERR_IO_ERROR },
    { SQLITE_CANTOPEN, ERR_IO_ERROR },
    { SQLITE_CORRUPT, ERR_DATA_CORRUPTED },
    { SQLITE_NOTADB, ERR_DATA_CORRUPTED },
    { SQLITE_INTERRUPT, ERR_QUERY_CANCELED },
    { SQLITE_TOOBIG, ERR_PROGRAM_LIMIT_EXCEEDED },
    { SQLITE_MISMATCH, ERR_DATATYPE_MISMATCH },
    { SQLITE_AUTH, ERR_INSUFFICIENT_PRIVILEGE },
    { SQLITE_RANGE, ERR_PROTOCOL_VIOLATION },
    { SQLITE_ERROR, ERR_SYNTAX_ERROR },
};

int
vfs_err_code(int rc)
{
    for (size_t i = 0; i < ELEMENTSOF(code_rows); i++) {
        if (rc == code_rows[i].rc || (rc & 0xff) == code_rows[i].rc)
            return code_rows[i].code;
    }
    return ERR_INTERNAL_ERROR;
}

int
vfs_err_copy(struct err *e, const struct err *from)
{
    if (e != NULL && e->code == 0)
        *e = *from;
    return from->code;
}

int
vfs_err_set(sqlite3 *db, const struct vfs_handle *h, int rc, struct err *e)
{
    if (h != NULL && vfs_error(h)->code != 0)
        return vfs_err_copy(e, vfs_error(h));
    return err_set(e, -vfs_err_code(rc), "%s",
                   db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}
