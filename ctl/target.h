/* Which server is meant: by data directory, instance name or socket. */
#pragma once

#include <sys/types.h>

#include "args.h"
#include "client.h"

/* Whom instances belong to. */
#define SERVICE_USER "pinion"

struct target {
    char name[128];     /* for people: the instance, or the last part of the directory */
    char socket[4096];  /* of the control socket */
    char datadir[4096]; /* empty if unknown */
    char instance[128]; /* empty unless meant by instance */
    char unit[192];     /* "pinion@NAME.service", with an instance */
    pid_t pid;          /* of a postmaster.pid that is held, 0 = none */
};

/* Returns 0, or CTL_NO_INSTANCE or CTL_USAGE with p set. Does not connect; reads postmaster.pid. */
int target_find(const struct args *a, struct target *ret, struct problem *p);

/* Read postmaster.pid again: a server that has just started says there where its control socket is.
 */
void target_refresh(struct target *t);

/* The instances in /etc/pinion, sorted: calls fn for each. Returns how many. */
int target_each_instance(void (*fn)(void *arg, const char *name), void *arg);

/* An instance by name. */
void target_set_instance(struct target *t, const char *name);

bool is_instance_name(const char *name);
/* Is systemd PID 1 here? */
bool has_systemd(void);

/* Is there such an instance or data directory? 0 (also if only a socket is known); CTL_NO_INSTANCE;
 * CTL_PERMISSION, that cannot be seen. */
int target_exists(const struct target *t, struct problem *p);

/* Does anybody hold the lock file of the data directory? (Its pid may long be another process.)
 * False if the directory is unknown. */
bool target_is_locked(const struct target *t);

/* As client_open(); CTL_UNREACHABLE if nothing listens, but the lock file is held: it starts, ends,
 * or somebody took its socket away. CTL_NO_INSTANCE if there is nothing that could listen. */
int target_open(const struct target *t, struct client *c, struct problem *p);
