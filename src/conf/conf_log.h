/* The settings of the server's log: what they may be, and telling base/log. */
#pragma once

#include "conf/conf.h"

/* Is `text` a value of log_destination, log_line_prefix or log_filename? Other settings: yes.
 * Returns 0 or -ERR_INVALID_PARAMETER_VALUE. */
int conf_log_check(enum conf_id id, const char *text, struct err *e);
/* log_destination as BIT(LOG_FORMAT_*). */
unsigned conf_log_formats(const struct conf_values *v);
/* Make them this process' own: after log_init(), after a reload, after SET. */
void conf_log_apply(const struct conf_values *v);
