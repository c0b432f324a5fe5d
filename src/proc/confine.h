/* What the kernel does with a process when memory is short: OOM score and cgroup of each child.
 *
 * Floor 5. Prepared by the postmaster, done by each child at its birth. */
#pragma once

#include "base/err.h"
#include "proc/mains.h"

struct conf_values;

/* The groups below the unit's own, which child_cgroups makes. */
enum confine_group {
    CONFINE_POSTMASTER,
    CONFINE_AUX,      /* the server's own processes */
    CONFINE_BACKENDS, /* who works for clients, or on their data beside them */
    CONFINE_GROUPS
};

/* Pure: where a child of this kind belongs. */
enum confine_group confine_group_of(enum child_kind kind);
/* The directory of our own group in the unified hierarchy: where it is mounted (`mount`, NULL:
 * nowhere) and what /proc/self/cgroup says (`text`, without a leaf "postmaster" that the service
 * manager chose). Pure. Returns 0 or -ERR_CONFIG_FILE_ERROR. */
int confine_own_group(const char *mount, const char *text, char *ret, size_t cap, struct err *e);
/* Make the groups below `own`, move this process into its own, let them have what controllers there
 * are, and limit the memory of the backends (bytes; 0: no limit). Existing groups are taken as they
 * are. Returns 0, or < 0 with words that say what the unit lacks. */
int confine_make_groups(const char *own, int64_t backends_memory_max, struct err *e);

/* In the postmaster, before the first fork: by the settings, make the groups; remember what
 * $PG_OOM_ADJUST_FILE and $PG_OOM_ADJUST_VALUE ask for (PostgreSQL's names). */
int confine_prepare(const struct conf_values *v, struct err *e);
/* In the fork: the OOM score that was asked for, and the group. What fails is said in the log, no
 * more: the kernel's limits are no reason to refuse a client. */
void confine_child(enum child_kind kind);
