/* postgresql.auto.conf: the file that ALTER SYSTEM writes. */
#pragma once

#include "conf/conf.h"

#define CONF_AUTO_FILE "postgresql.auto.conf"

/* The text of the file after ALTER SYSTEM: `old` (n bytes) without the rows of `name`, and with
 * name = 'value' as the last one if `value` is not NULL. `name` NULL: no rows are left. *ret is
 * owned by the caller. Returns 1 if `name` had a row, 0 if not, -ERR_CONFIG_FILE_ERROR if the old
 * text cannot be read, -ERR_OUT_OF_MEMORY. */
int conf_auto_edit(const char *old, size_t n, const char *name, const char *value, char **ret,
                   struct err *e);
/* Would the settings, each of which is fine, be wrong together with where->auto_text, and are they
 * not now? -ERR_INVALID_PARAMETER_VALUE. Reads the files. */
int conf_auto_check(const struct conf_where *where, struct err *e);
