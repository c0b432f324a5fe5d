/* Commands that make a cluster: init, create.
 * Runs in: pinionctl. Owns: nothing. Source: design 11 (modes, init), systemd-ops 4.4. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "out.h"
#include "process.h"

#define ARGS_MAX 128

/* Do the options of init say where? --help needs no place. */
static bool
names_directory(const struct args *a)
{
    static const char *const words[] = { "-D", "--datadir", "--pgdata", "--help" };

    for (int i = 0; i < a->n_rest; i++) {
        for (size_t k = 0; k < ELEMENTSOF(words); k++) {
            if (strncmp(a->rest[i], words[k], strlen(words[k])) == 0)
                return true;
        }
    }
    return false;
}

int
cmd_init(const struct args *a, struct problem *p)
{
    char server[4096];
    const char *argv[ARGS_MAX + 5];
    int n = 0;
    int r = process_find_server(server, sizeof server, p);

    if (r != 0)
        return r;
    if (args_has(a, OPTION_INSTANCE) || args_has(a, OPTION_SOCKET)) {
        fail(p, CTL_USAGE, "init makes a data directory (-D DIR)");
        hint(p, "An instance is made with 'sudo pinionctl create NAME'.");
        return CTL_USAGE;
    }
    if (!args_has(a, OPTION_DATADIR) && !names_directory(a)) {
        fail(p, CTL_USAGE, "init needs -D DIR");
        hint(p, "For example: pinionctl init -D ~/data; 'pinionctl init --help' has all options.");
        return CTL_USAGE;
    }
    if (a->n_rest > ARGS_MAX)
        return fail(p, CTL_USAGE, "too many arguments");
    argv[n++] = server;
    argv[n++] = "init";
    if (args_has(a, OPTION_DATADIR)) {
        argv[n++] = "-D";
        argv[n++] = a->value[OPTION_DATADIR];
    }
    for (int i = 0; i < a->n_rest; i++)
        argv[n++] = a->rest[i];
    argv[n] = NULL;
    (void) execv(server, (char *const *) argv);
    return fail(p, CTL_FAILED, "could not run \"%s\": %m", server);
}

/* The service user; made by systemd-sysusers if it is not there yet. */
static int
find_user(struct passwd *ret, struct problem *p)
{
    static char bytes[4096];
    const char *argv[] = { "systemd-sysusers", NULL };
    struct passwd *found = NULL;

    for (int i = 0; i < 2 && found == NULL; i++) {
        if (i == 1)
            (void) process_run(argv, NULL, 0, (uid_t) -1, 0);
        (void) getpwnam_r(SERVICE_USER, ret, bytes, sizeof bytes, &found);
    }
    if (found != NULL)
        return 0;
    fail(p, CTL_FAILED, "there is no user \"%s\"", SERVICE_USER);
    hint(p, "Install the units, then run systemd-sysusers; or: useradd --system %s", SERVICE_USER);
    return CTL_FAILED;
}

static int
make_dir(const char *path, mode_t mode, const struct passwd *owner, struct problem *p)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return fail(p, CTL_FAILED, "could not create directory \"%s\": %m", path);
    if (chmod(path, mode) < 0 || (owner != NULL && chown(path, owner->pw_uid, owner->pw_gid) < 0))
        return fail(p, CTL_FAILED, "could not set the owner of \"%s\": %m", path);
    return 0;
}

static int
copy_file(const char *from, const char *to, const struct passwd *reader, const char *tail,
          struct problem *p)
{
    CLEANUP(closep) int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    CLEANUP(closep) int to_fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    char bytes[16384];
    ssize_t n;

    if (in < 0 || to_fd < 0)
        return fail(p, CTL_FAILED, "could not copy \"%s\" to \"%s\": %m", from, to);
    while ((n = read(in, bytes, sizeof bytes)) > 0) {
        if (write(to_fd, bytes, (size_t) n) != n)
            return fail(p, CTL_FAILED, "could not write \"%s\": %m", to);
    }
    if (n < 0 || (tail[0] != '\0' && write(to_fd, tail, strlen(tail)) < 0) ||
        fchown(to_fd, 0, reader->pw_gid) < 0 || fchmod(to_fd, 0640) < 0 || fsync(to_fd) < 0)
        return fail(p, CTL_FAILED, "could not write \"%s\": %m", to);
    return 0;
}

/* The files that init wrote into the data directory move to /etc: root's to change, the server's to
 * read. */
static int
move_config(const char *datadir, const char *confdir, const struct passwd *user, const char *port,
            struct problem *p)
{
    static const char *const files[] = { "pg_hba.conf", "pg_ident.conf", "pinion.conf" };
    char from[512], to[512], tail[64] = "";

    if (port != NULL)
        (void) snprintf(tail, sizeof tail, "\nport = %s\n", port);
    for (size_t i = 0; i < ELEMENTSOF(files); i++) {
        bool is_main = i + 1 == ELEMENTSOF(files); /* last: it says that the instance is whole */
        (void) snprintf(from, sizeof from, "%.400s/%s", datadir, files[i]);
        (void) snprintf(to, sizeof to, "%s/%s", confdir, files[i]);
        if (access(from, F_OK) < 0 && !is_main)
            continue;
        int r = copy_file(from, to, user, is_main ? tail : "", p);
        if (r != 0)
            return r;
        if (sync_dir_of(to) < 0)
            return fail(p, CTL_FAILED, "could not write directory \"%s\": %m", confdir);
        (void) unlink(from);
    }
    return 0;
}

/* In a container nobody else makes it. */
static int
make_run_dir(const char *name, const struct passwd *user, struct problem *p)
{
    char path[256];
    int r = make_dir(PINION_RUNDIR, 0755, NULL, p);

    (void) snprintf(path, sizeof path, "%s/%s", PINION_RUNDIR, name);
    return r != 0 ? r : make_dir(path, 0755, user, p);
}

static int
check_create(const struct args *a, const char *confdir, struct problem *p)
{
    const char *port = a->value[OPTION_PORT];
    char conf[512];

    if (!is_instance_name(a->rest[0])) {
        fail(p, CTL_USAGE, "\"%s\" is not a name for an instance", a->rest[0]);
        hint(p, "Up to 31 of a-z, 0-9, '_', '.', '-', beginning with a letter or digit.");
        return CTL_USAGE;
    }
    if (port != NULL &&
        (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || atoi(port) < 1 ||
         atoi(port) > 65535)) /* NOLINT(cert-err34-c): digits only */
        return fail(p, CTL_USAGE, "\"%s\" is not a port", port);
    if (geteuid() != 0) {
        fail(p, CTL_PERMISSION, "permission denied: making an instance needs root");
        hint(p, "sudo pinionctl create %s", a->rest[0]);
        return CTL_PERMISSION;
    }
    if (access(confdir, F_OK) < 0)
        return 0;
    fail(p, CTL_FAILED, "instance \"%s\" exists: \"%s\" is there", a->rest[0], confdir);
    (void) snprintf(conf, sizeof conf, "%s/pinion.conf", confdir);
    if (access(conf, F_OK) < 0)
        hint(p, "It was not made to the end: remove \"%s\" and \"%s/%s\", then try again.", confdir,
             PINION_STATEDIR, a->rest[0]);
    return CTL_FAILED;
}

int
cmd_create(const struct args *a, struct problem *p)
{
    struct target t;
    struct passwd user;
    char server[4096], confdir[256];
    int r;

    target_set_instance(&t, a->rest[0]);
    (void) snprintf(confdir, sizeof confdir, "%s/%s", PINION_SYSCONFDIR, t.instance);
    if ((r = check_create(a, confdir, p)) != 0 || (r = find_user(&user, p)) != 0 ||
        (r = process_find_server(server, sizeof server, p)) != 0)
        return r;
    if ((r = make_dir(PINION_STATEDIR, 0755, NULL, p)) != 0 ||
        (r = make_dir(t.datadir, 0700, &user, p)) != 0)
        return r;
    const char *argv[] = { server, "init", "-D", t.datadir, NULL };
    char said[1024]; /* by init: how to start it, which is not how an instance is started */
    int status = process_run(argv, said, sizeof said, user.pw_uid, user.pw_gid);
    if (status != 0)
        return fail(p, CTL_FAILED, "'%s init' failed with status %d", server, status);
    if ((r = make_dir(PINION_SYSCONFDIR, 0755, NULL, p)) != 0 ||
        (r = make_dir(confdir, 0755, NULL, p)) != 0 ||
        (r = move_config(t.datadir, confdir, &user, a->value[OPTION_PORT], p)) != 0)
        return r;
    if (!has_systemd() && (r = make_run_dir(t.instance, &user, p)) != 0)
        return r;
    char message[512];
    (void) snprintf(
        message, sizeof message, "created; start it with: %s%s",
        has_systemd() ? "systemctl start pinion@"
                      : "setpriv --reuid=pinion --regid=pinion --clear-groups pinionctl start -i ",
        t.instance);
    out->result(&t, message, NULL);
    return CTL_OK;
}
