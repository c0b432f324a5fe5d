/* Error records and their SQLSTATE. Runs in every process; no state. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
    const char *sqlstate;
    const char *condition;
};

/* clang-format off */
static const struct err_row err_rows[] = {
#define ERRCODE(name, sqlstate, condition) { sqlstate, condition },
#include "tbl/errcodes.def"
#undef ERRCODE
};
/* clang-format on */

static_assert(ELEMENTSOF(err_rows) == ERR_CODES_END - ERR_BASE - 1, "a row for each code");

int
err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;

    ASSERT(code < 0);
    if (e == NULL || e->code != 0)
        return code;
    e->code = code;
    va_start(ap, fmt);
    (void) vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return code;
}

int
err_set_errno(struct err *e, int errnum, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    ASSERT(errnum > 0);
    if (e == NULL || e->code != 0)
        return -errnum;
    e->code = -errnum;
    e->sys_errno = errnum;
    va_start(ap, fmt);
    (void) vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    n = strlen(e->message);
    (void) snprintf(e->message + n, sizeof e->message - n, ": %s", strerrordesc_np(errnum));
    return -errnum;
}

void
err_detail(struct err *e, const char *fmt, ...)
{
    va_list ap;

    if (e == NULL || e->detail[0] != '\0')
        return;
    va_start(ap, fmt);
    (void) vsnprintf(e->detail, sizeof e->detail, fmt, ap);
    va_end(ap);
}

void
err_hint(struct err *e, const char *fmt, ...)
{
    va_list ap;

    if (e == NULL || e->hint[0] != '\0')
        return;
    va_start(ap, fmt);
    (void) vsnprintf(e->hint, sizeof e->hint, fmt, ap);
    va_end(ap);
}

void
err_clear(struct err *e)
{
    if (e == NULL)
        return;
    e->code = e->position = e->sys_errno = 0; /* not all 1.5 kB: this runs for every statement */
    e->message[0] = e->detail[0] = e->hint[0] = '\0';
}

/* The ERR_* that stands for an errno: what a user can act on gets its own code. */
static int
code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ERR_DISK_FULL;
    case ENOMEM:
        return ERR_OUT_OF_MEMORY;
    case EMFILE:
    case ENFILE:
    case EAGAIN:
        return ERR_INSUFFICIENT_RESOURCES;
    case ENOENT:
    case ENOTDIR:
        return ERR_UNDEFINED_FILE;
    case EEXIST:
        return ERR_DUPLICATE_FILE;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_INSUFFICIENT_PRIVILEGE;
    case EIO:
        return ERR_IO_ERROR;
    default:
        return ERR_SYSTEM_ERROR;
    }
}

static const struct err_row *
err_row_of(int r)
{
    int code = r < 0 ? -r : r;

    if (code == 0)
        return &err_rows[0];
    if (code <= ERR_BASE)
        code = code_of_errno(code);
    if (code >= ERR_CODES_END)
        code = ERR_INTERNAL_ERROR;
    return &err_rows[code - ERR_BASE - 1];
}

const char *
err_sqlstate(int r)
{
    return err_row_of(r)->sqlstate;
}

const char *
err_condition(int r)
{
    return err_row_of(r)->condition;
}
