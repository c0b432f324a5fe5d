/* The recovery_target settings taken together. */
#pragma once

#include "conf/conf.h"

enum conf_recovery_kind {
    CONF_RECOVERY_END,
    CONF_RECOVERY_XID,
    CONF_RECOVERY_TIME,
    CONF_RECOVERY_LSN,
    CONF_RECOVERY_NAME,
    CONF_RECOVERY_IMMEDIATE,
};
enum conf_recovery_timeline {
    CONF_TIMELINE_LATEST,
    CONF_TIMELINE_CURRENT,
    CONF_TIMELINE_NUMBER,
};

struct conf_recovery {
    enum conf_recovery_kind kind;
    uint32_t xid;
    int64_t unix_usec;
    uint64_t lsn;
    const char *name; /* borrowed from the settings */
    enum conf_recovery_timeline timeline;
    uint32_t tli;
};

/* Read them. 0, or -ERR_INVALID_PARAMETER_VALUE with *ret_setting the one that is wrong. */
int conf_recovery_read(const struct conf_values *v, struct conf_recovery *ret,
                       const char **ret_setting, struct err *e);
/* "2026-11-21 13:40:00.5+02", "… Z", "… UTC", or without a zone (UTC): microseconds since 1970.
 * False: it is none. */
bool conf_parse_time(const char *text, int64_t *ret);
