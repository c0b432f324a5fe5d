/* Arguments of the commands that are the server's: transactions, settings, databases. Pure. */
#pragma once

#include "sql/sql_stmt.h"

/* Read the whole statement at `lex` (its first token) into `s`, whose kind and tag are set; may
 * refine both (ROLLBACK TO, SET TRANSACTION). Statements of SQLite are left alone. 0;
 * -ERR_SYNTAX_ERROR, lex standing at the offending token; -ERR_OUT_OF_MEMORY. */
int sql_command_parse(struct sql_lex *lex, struct sql_stmt *s, struct err *e);
