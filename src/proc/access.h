/* The access rules in force: read by the postmaster at start and reload, inherited by every fork.
 */
#pragma once

#include "base/err.h"

struct conf_issues;
struct pgwire_hba;

/* Read `path` and take its rules over, whole or not at all: on < 0 (F0000, e names file and line;
 * every fault is added to `issues`) the old ones stay. Postmaster. */
int access_load(const char *path, struct conf_issues *issues, struct err *e);
/* The same without taking them over. */
int access_check(const char *path, struct conf_issues *issues, struct err *e);
/* The rules in force, or NULL if none were ever loaded. */
const struct pgwire_hba *access_rules(void);
