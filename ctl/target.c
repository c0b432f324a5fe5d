/* From options to a control socket.
 * Runs in: pinionctl. Owns: nothing. Source: design 11 (places), systemd-ops 4.2 (default
 * instance). */
#include <sys/types.h>

#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PID_FILE_PG_LINES 8 /* PostgreSQL's; ours follow */

bool
has_systemd(void)
{
    return access("/run/systemd/system", F_OK) == 0;
}

bool
is_instance_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");

    return n > 0 && n <= 31 && name[n] == '\0' && strchr("_.-", name[0]) == NULL;
}

void
target_set_instance(struct target *t, const char *name)
{
    memset(t, 0, sizeof *t);
    (void) snprintf(t->name, sizeof t->name, "%s", name);
    (void) snprintf(t->instance, sizeof t->instance, "%s", name);
    (void) snprintf(t->socket, sizeof t->socket, "%s/%s/control", PINION_RUNDIR, name);
    (void) snprintf(t->datadir, sizeof t->datadir, "%s/%s", PINION_STATEDIR, name);
    (void) snprintf(t->unit, sizeof t->unit, "pinion@%s.service", name);
}

static int
is_instance_dir(const struct dirent *d)
{
    return is_instance_name(d->d_name);
}

int
target_each_instance(void (*fn)(void *arg, const char *name), void *arg)
{
    struct dirent **list = NULL;
    int n_found = 0;
    int n = scandir(PINION_SYSCONFDIR, &list, is_instance_dir, alphasort);

    for (int i = 0; i < n; i++) {
        char file[512];
        (void) snprintf(file, sizeof file, "%s/%s/pinion.conf", PINION_SYSCONFDIR, list[i]->d_name);
        if (access(file, F_OK) == 0 || errno == EACCES) {
            fn(arg, list[i]->d_name);
            n_found++;
        }
        free(list[i]);
    }
    free(list);
    return n_found;
}

struct names {
    char first[128];
    char all[512];
    bool has_main;
};

static void
collect(void *arg, const char *name)
{
    struct names *to = arg;
    size_t n = strlen(to->all);

    (void) snprintf(to->all + n, sizeof to->all - n, "%s%s", n > 0 ? ", " : "", name);
    if (n == 0)
        (void) snprintf(to->first, sizeof to->first, "%s", name);
    to->has_main = to->has_main || strcmp(name, "main") == 0;
}

/* Neither -D nor -i nor --socket. */
static int
find_default(struct target *ret, struct problem *p)
{
    const char *env = getenv("PINION_INSTANCE"); /* NOLINT(concurrency-mt-unsafe): one thread */
    struct names names = { 0 };

    if (env != NULL && env[0] != '\0') {
        target_set_instance(ret, env);
        return 0;
    }
    int n = target_each_instance(collect, &names);
    if (n == 1 || names.has_main) {
        target_set_instance(ret, n == 1 ? names.first : "main");
        return 0;
    }
    if (n == 0) {
        fail(p, CTL_NO_INSTANCE, "no instance found in %s", PINION_SYSCONFDIR);
        hint(p, "Name a data directory with -D, or make an instance: sudo pinionctl create main");
        return CTL_NO_INSTANCE;
    }
    fail(p, CTL_USAGE, "more than one instance; say which with -i");
    hint(p, "There are: %s.", names.all);
    return CTL_USAGE;
}

static bool
is_locked(int fd)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Pid, and the control path among the lines behind PostgreSQL's. In a file that nobody holds they
 * are of a server that is gone or, if the directory was copied while it ran, of another. */
void
target_refresh(struct target *t)
{
    char path[4200], line[4096];
    (void) snprintf(path, sizeof path, "%s/postmaster.pid", t->datadir);
    FILE *f = t->datadir[0] == '\0' ? NULL : open_file(path);

    if (f == NULL)
        return;
    bool is_held = is_locked(fileno(f));
    for (int i = 1; is_held && fgets(line, sizeof line, f) != NULL; i++) {
        line[strcspn(line, "\n")] = '\0';
        if (i == 1)
            t->pid = (pid_t) strtol(line, NULL, 10);
        else if (i > PID_FILE_PG_LINES && line[0] == '/')
            (void) snprintf(t->socket, sizeof t->socket, "%s", line);
    }
    (void) fclose(f);
}

static void
set_datadir(struct target *t, const char *dir)
{
    memset(t, 0, sizeof *t);
    if (realpath(dir, t->datadir) == NULL)
        (void) snprintf(t->datadir, sizeof t->datadir, "%s", dir);
    for (size_t n = strlen(t->datadir); n > 1 && t->datadir[n - 1] == '/'; n--)
        t->datadir[n - 1] = '\0';
    const char *slash = strrchr(t->datadir, '/');
    (void) snprintf(t->name, sizeof t->name, "%.100s", slash == NULL ? t->datadir : slash + 1);
    (void) snprintf(t->socket, sizeof t->socket, "%.4000s/control", t->datadir);
}

int
target_find(const struct args *a, struct target *ret, struct problem *p)
{
    const char *dir = a->value[OPTION_DATADIR];
    const char *instance = a->value[OPTION_INSTANCE];
    const char *socket = a->value[OPTION_SOCKET];

    memset(ret, 0, sizeof *ret);
    if ((dir != NULL && dir[0] == '\0') || (socket != NULL && socket[0] == '\0'))
        return fail(p, CTL_USAGE, "%s is empty",
                    dir != NULL ? "the data directory's name" : "the socket's path");
    if (socket != NULL) {
        (void) snprintf(ret->socket, sizeof ret->socket, "%s", socket);
        (void) snprintf(ret->name, sizeof ret->name, "server");
        return 0;
    }
    if (instance != NULL && !is_instance_name(instance))
        return fail(p, CTL_USAGE, "\"%s\" is not a name for an instance", instance);
    if (dir != NULL)
        set_datadir(ret, dir);
    else if (instance != NULL)
        target_set_instance(ret, instance);
    else {
        int r = find_default(ret, p);
        if (r != 0)
            return r;
    }
    target_refresh(ret);
    return 0;
}

int
target_exists(const struct target *t, struct problem *p)
{
    bool is_instance = t->instance[0] != '\0';
    char path[4400], lock[4200];

    (void) snprintf(lock, sizeof lock, "%s/postmaster.pid", t->datadir);
    (void) snprintf(path, sizeof path, "%s/%s%s", is_instance ? PINION_SYSCONFDIR : t->datadir,
                    t->instance, is_instance ? "/pinion.conf" : "pinion.conf");
    if (t->datadir[0] == '\0' || access(lock, F_OK) == 0 || access(path, F_OK) == 0)
        return 0;
    if (errno == EACCES) {
        fail(p, CTL_PERMISSION, "could not look for \"%s\": %m", path);
        hint(p, "Run this as root or as the server's user.");
        return CTL_PERMISSION;
    }
    fail(p, CTL_NO_INSTANCE, "there is no %s \"%s\": could not find \"%s\"",
         is_instance ? "instance" : "data directory", is_instance ? t->instance : t->datadir, path);
    if (is_instance)
        hint(p, "Make it: sudo pinionctl create %s", t->instance);
    else
        hint(p, "Make one: pinionctl init -D %.300s", t->datadir);
    return CTL_NO_INSTANCE;
}

bool
target_is_locked(const struct target *t)
{
    char path[4200];

    (void) snprintf(path, sizeof path, "%s/postmaster.pid", t->datadir);
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 && is_locked(fd);
}

int
target_open(const struct target *t, struct client *c, struct problem *p)
{
    int r = client_open(c, t->socket, p);

    if (r == CTL_NOT_RUNNING && !target_is_locked(t)) {
        struct problem none;

        if (target_exists(t, &none) == CTL_NO_INSTANCE)
            *p = none;
        return p->exit;
    }
    if (r != CTL_NOT_RUNNING)
        return r;
    fail(p, CTL_UNREACHABLE, "the server runs, but nothing listens at \"%s\"", t->socket);
    hint(p,
         "It starts, or ends; or the socket was taken away: then SIGINT to its main process stops "
         "it (the first line of postmaster.pid).");
    return CTL_UNREACHABLE;
}
