/* Recovery targets as settings. Runs in: postmaster, startup, `piniond -C`. Pure.
 * Source: postmaster.md 5.2; values and refusals are PostgreSQL's. */
#include "conf/conf_recovery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/types.h"

#define NAME_BYTES_MAX 63

/* ---- times ---- */

/* ".5" to microseconds; what it took. */
static size_t
parse_fraction(const char *p, int64_t *ret)
{
    int64_t unit = 100000;
    size_t n = 1;

    *ret = 0;
    if (p[0] != '.' && p[0] != ',')
        return 0;
    for (; p[n] >= '0' && p[n] <= '9'; n++, unit /= 10)
        *ret += (p[n] - '0') * unit;
    return n;
}

/* "", "Z", "UTC", "GMT", "+02", "-0330", "+05:30" to seconds east of Greenwich. */
static bool
parse_zone(const char *p, int64_t *ret)
{
    int h = 0;
    int m = 0;
    int used = 0;

    p += strspn(p, " ");
    *ret = 0;
    if (*p == '\0' || strcasecmp(p, "z") == 0 || strcasecmp(p, "utc") == 0 ||
        strcasecmp(p, "gmt") == 0)
        return true;
    if (*p != '+' && *p != '-')
        return false;
    if ((sscanf(p + 1, "%2d:%2d%n", &h, &m, &used) != 2 || p[1 + used] != '\0') &&
        (sscanf(p + 1, "%2d%2d%n", &h, &m, &used) != 2 || p[1 + used] != '\0')) {
        m = 0;
        if (sscanf(p + 1, "%2d%n", &h, &used) != 1 || p[1 + used] != '\0')
            return false;
    }
    if (h < 0 || h > 15 || m < 0 || m > 59)
        return false;
    *ret = (*p == '-' ? -1 : 1) * ((int64_t) h * 3600 + (int64_t) m * 60);
    return true;
}

bool
conf_parse_time(const char *text, int64_t *ret)
{
    struct tm tm = { 0 };
    struct tm back;
    const char *p;
    int64_t usec;
    int64_t zone;
    time_t t;
    int day;

    p = strptime(text, "%Y-%m-%d", &tm);
    if (p == NULL)
        return false;
    if (*p == 'T' || *p == ' ') {
        const char *q = strptime(p + 1, "%H:%M:%S", &tm);

        if (q == NULL)
            q = strptime(p + 1, "%H:%M", &tm);
        if (q == NULL)
            return false;
        p = q;
    }
    p += parse_fraction(p, &usec);
    if (!parse_zone(p, &zone))
        return false;
    day = tm.tm_mday;
    t = timegm(&tm);
    if (gmtime_r(&t, &back) == NULL || back.tm_mday != day) /* 30 February */
        return false;
    *ret = ((int64_t) t - zone) * 1000000 + usec;
    return true;
}

/* ---- one target ---- */

static int
invalid(const char *setting, const char *value, struct err *e)
{
    return ERR(e, INVALID_PARAMETER_VALUE, "invalid value for parameter \"%s\": \"%s\"", setting,
               value);
}

static bool
read_number(const char *value, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(value, &end, 0);
    return errno == 0 && value[0] >= '0' && value[0] <= '9' && *end == '\0';
}

/* Ids with an epoch are taken by their low word, as records have them. */
static int
read_xid(const char *value, uint32_t *ret, struct err *e)
{
    uint64_t n;

    if (!read_number(value, &n))
        return invalid("recovery_target_xid", value, e);
    *ret = (uint32_t) n;
    return 0;
}

static int
read_target(const struct conf_values *v, struct conf_recovery *ret, struct err *e)
{
    switch (ret->kind) {
    case CONF_RECOVERY_END:
        break;
    case CONF_RECOVERY_XID:
        return read_xid(v->recovery_target_xid, &ret->xid, e);
    case CONF_RECOVERY_TIME:
        if (!conf_parse_time(v->recovery_target_time, &ret->unix_usec)) {
            (void) invalid("recovery_target_time", v->recovery_target_time, e);
            err_hint(e, "Write it as 2026-11-21 13:40:00+00; without a zone it is UTC.");
            return -ERR_INVALID_PARAMETER_VALUE;
        }
        break;
    case CONF_RECOVERY_LSN:
        if (!lsn_parse(v->recovery_target_lsn, &ret->lsn))
            return invalid("recovery_target_lsn", v->recovery_target_lsn, e);
        break;
    case CONF_RECOVERY_NAME:
        ret->name = v->recovery_target_name;
        if (strlen(ret->name) > NAME_BYTES_MAX)
            return ERR(e, INVALID_PARAMETER_VALUE,
                       "recovery_target_name is too long (maximum %d characters)", NAME_BYTES_MAX);
        break;
    case CONF_RECOVERY_IMMEDIATE:
        if (strcmp(v->recovery_target, "immediate") != 0) {
            (void) invalid("recovery_target", v->recovery_target, e);
            err_hint(e, "The only allowed value is \"immediate\".");
            return -ERR_INVALID_PARAMETER_VALUE;
        }
        break;
    }
    return 0;
}

static int
read_timeline(const char *value, struct conf_recovery *ret, struct err *e)
{
    if (strcmp(value, "latest") == 0)
        ret->timeline = CONF_TIMELINE_LATEST;
    else if (strcmp(value, "current") == 0)
        ret->timeline = CONF_TIMELINE_CURRENT;
    else {
        uint64_t n = 0;

        ret->timeline = CONF_TIMELINE_NUMBER;
        if (!read_number(value, &n) || n == 0 || n > UINT32_MAX) {
            (void) invalid("recovery_target_timeline", value, e);
            err_hint(e, "It is \"latest\", \"current\", or the number of a timeline.");
            return -ERR_INVALID_PARAMETER_VALUE;
        }
        ret->tli = (uint32_t) n;
    }
    return 0;
}

int
conf_recovery_read(const struct conf_values *v, struct conf_recovery *ret, const char **ret_setting,
                   struct err *e)
{
    const struct {
        enum conf_recovery_kind kind;
        const char *setting, *value;
    } targets[] = {
        { CONF_RECOVERY_XID, "recovery_target_xid", v->recovery_target_xid },
        { CONF_RECOVERY_TIME, "recovery_target_time", v->recovery_target_time },
        { CONF_RECOVERY_LSN, "recovery_target_lsn", v->recovery_target_lsn },
        { CONF_RECOVERY_NAME, "recovery_target_name", v->recovery_target_name },
        { CONF_RECOVERY_IMMEDIATE, "recovery_target", v->recovery_target },
    };

    *ret = (struct conf_recovery){ .kind = CONF_RECOVERY_END };
    for (size_t i = 0; i < ELEMENTSOF(targets); i++) {
        if (targets[i].value[0] == '\0')
            continue;
        *ret_setting = targets[i].setting;
        if (ret->kind != CONF_RECOVERY_END) {
            (void) ERR(e, INVALID_PARAMETER_VALUE, "multiple recovery targets specified");
            err_detail(e, "At most one of recovery_target, recovery_target_lsn, "
                          "recovery_target_name, recovery_target_time, recovery_target_xid may be "
                          "set.");
            return -ERR_INVALID_PARAMETER_VALUE;
        }
        ret->kind = targets[i].kind;
        if (read_target(v, ret, e) < 0)
            return -ERR_INVALID_PARAMETER_VALUE;
    }
    *ret_setting = "recovery_target_timeline";
    return read_timeline(v->recovery_target_timeline, ret, e);
}
