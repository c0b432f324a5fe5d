/* Archive recovery's commands and settings: for startup.c. */
#pragma once

#include "conf/conf_recovery.h"
#include "proc/attach.h"
#include "store/store_recover.h"

struct startup_archive {
    struct attached *a;
    struct recover_target target;
};

/* Fill what store_recover_as() asks about archives: from the settings. `s` lives as long. The
 * caller sets progress; `arg` of all is `s`. */
int startup_archive_ask(struct startup_archive *s, struct attached *a, struct recover_ask *ret,
                        struct err *e);
