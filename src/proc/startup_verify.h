/* The last pass of the startup process: are the database files sound (startup_verify)? */
#pragma once

#include "proc/attach.h"

/* After "settle": everything is on disk and nobody writes. Looks at what the setting says; a
 * damaged database is told and refused (store_refuse.h). < 0: the catalogue is damaged, the disk
 * fails, or somebody told us to leave. */
int startup_verify(struct attached *a, struct err *e);
