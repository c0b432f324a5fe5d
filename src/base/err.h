/* Errors: a code in the return value, the words in `struct err`.
 *
 * Return values: 0 success; > 0 an outcome the function documents; < 0 failure, forwarded
 * unchanged: -errno above -1000, -ERR_* from -1000 down. `err_sqlstate()` maps both to SQLSTATE. */
#pragma once

#include "base/macro.h"

/* clang-format off */
enum err_code {
    ERR_BASE = 999,
#define ERRCODE(name, sqlstate, condition) ERR_##name,
#include "tbl/errcodes.def"
#undef ERRCODE
    ERR_CODES_END
};
/* clang-format on */

struct err {
    int code;      /* the negative code; 0 = no error yet */
    int position;  /* 1-based character position in the statement; 0 = none */
    int sys_errno; /* errno behind it, 0 = none */
    char message[512];
    char detail[512];
    char hint[512];
};

#define ERR_INIT  \
    (struct err)  \
    {             \
        .code = 0 \
    }

/* Record a failure and return it: `return ERR(e, DISK_FULL, "could not …", …);`. The first failure
 * wins: a second call leaves e as it is. `e` may be NULL. */
#define ERR(e, name, ...) err_set((e), -ERR_##name, __VA_ARGS__)

/* The same from errno: code -errno, and ": <strerror>" behind the message. ENOSPC/EDQUOT map to
 * 53100. */
#define ERR_ERRNO(e, ...) err_set_errno((e), errno, __VA_ARGS__)

/* `code` < 0. Returns code. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);
/* `errnum` > 0. Returns -errnum. */
int err_set_errno(struct err *e, int errnum, const char *fmt, ...) PRINTF(3, 4);
/* Set detail or hint if not set yet. Full sentences. */
void err_detail(struct err *e, const char *fmt, ...) PRINTF(2, 3);
void err_hint(struct err *e, const char *fmt, ...) PRINTF(2, 3);
/* Forget: ready for the next statement. */
void err_clear(struct err *e);

/* Five characters for any negative return value (or 0). Never NULL. */
const char *err_sqlstate(int r);
/* PostgreSQL's condition name, such as "disk_full". Never NULL. */
const char *err_condition(int r);
