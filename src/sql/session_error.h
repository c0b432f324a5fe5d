/* What SQLite says, in PostgreSQL's words and codes. */
#pragma once

#include <sqlite3.h>

#include "base/err.h"

/* Translate result code rc and SQLite's message into e. `is_run`: it failed while running, not
 * while being prepared. Returns the negative code. Pure. */
int session_error_translate(int rc, const char *message, bool is_run, struct err *e);
