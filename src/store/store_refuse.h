/* Databases that the startup process found damaged: nobody may log in to them until the next start.
 * They can be dropped. */
#pragma once

#include "store/store.h"

#define STORE_REFUSED_MAX 64u /* more damaged databases than this: the server does not start */

/* `why` is for the detail of the refusal, cut to 200 bytes. Startup, before anybody can log in. */
int store_refuse_db(struct store *st, oid_t oid, const char *why, struct err *e);
/* 0, or XX001: the database `oid`, called `name`, is refused. Any process. */
int store_refused_check(const struct store *st, oid_t oid, const char *name, struct err *e);
/* It was dropped. */
void store_refused_forget(struct store *st, oid_t oid);
