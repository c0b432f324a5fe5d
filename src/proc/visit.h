/* A database visited by a process of the server that has no session yet, or needs none. */
#pragma once

#include "proc/attach.h"
#include "sql/catalog.h"

/* Its row, and a reference (store_db_detach()) at *ret_db_idx. CATALOG_NONE: it was dropped
 * meanwhile. From before the reference on slot.db_oid says where we are: who drops the database
 * asks us to leave it; the caller sets it to 0 when it has. A database that the start found damaged
 * counts as dropped. */
int visit_db(struct attached *a, oid_t oid, struct catalog_db *ret, uint32_t *ret_db_idx,
             struct err *e);
/* What others see of it: the database, and what is done there. */
void visit_show(struct attached *a, const struct catalog_db *db, const char *text);
