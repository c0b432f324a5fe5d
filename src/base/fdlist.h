/* The descriptors a child may keep: an allow-list. Everything else is closed right after the fork.
 *
 * Idea: MCH_Fd_Inherit of Varnish. Descriptors are O_CLOEXEC besides; this list is about fork, not
 * exec. */
#pragma once

#include "base/err.h"

#define FDLIST_MAX 32

/* From now on children keep `fd`; `why` is borrowed for ever ("lock file"). Registering a
 * descriptor twice replaces the reason. More than FDLIST_MAX is a bug (ASSERT). Not thread-safe:
 * postmaster only. */
void fd_inherit(int fd, const char *why);
/* Children started later do not get it. Unknown descriptors are accepted. */
void fd_disinherit(int fd);

/* In a child that is to have nothing of its parent: the list is empty. */
void fdlist_forget(void);

/* In a child: close every descriptor above 2 that is neither registered nor `keep` (-1 = none).
 * Async-signal-safe. Returns 0 or -errno. */
int fdlist_close_others(int keep);
