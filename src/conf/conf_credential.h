/* Credentials that the service manager hands over ($CREDENTIALS_DIRECTORY): which there are and
 * what they are for is tbl/credentials.def. */
#pragma once

#include "conf/conf_parse.h"

/* What is in the directory `dir` (NULL or "": none was handed over). The one with settings is read
 * into rows, those that nothing here can use become issues, each with its file. Returns 0, or < 0
 * only if memory ran out. */
int conf_credentials_read(const char *dir, struct conf_rows *rows, struct conf_issues *issues);
