/* set-credential: a secret for an instance, in a file of root's that systemd hands to the service.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops 3.10 (a drop-in, because systemd 252 has
 * no ImportCredential=). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "out.h"
#include "process.h"

#define SECRET_MAX (1 << 20) /* systemd's own limit for one */
#define OURS       "pinion."

enum use { USE_SETTINGS, USE_COMMANDS, USE_REFUSED };

/* clang-format off */
static const struct {
    const char *name;
    enum use use;
    const char *why_not;
} credentials[] = {
#define CREDENTIAL(name, use, why_not) { name, USE_##use, why_not },
#include "tbl/credentials.def"
#undef CREDENTIAL
};
/* clang-format on */

/* Would the server take it? The same table as the server's (src/conf/conf_credential.c). */
static int
check_name(const char *name, struct problem *p)
{
    if (strlen(name) > 100 || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "0123456789_.-") != strlen(name))
        return fail(p, CTL_USAGE, "\"%s\" is not a name for a credential", name);
    for (size_t i = 0; i < ELEMENTSOF(credentials); i++) {
        const char *known = credentials[i].name;
        size_t n = strlen(known);
        bool is_it = known[n - 1] == '*' ? strncmp(known, name, n - 1) == 0 && name[n - 1] != '\0'
                                         : strcmp(known, name) == 0;

        if (is_it && credentials[i].use == USE_REFUSED)
            return fail(p, CTL_FAILED, "credential \"%s\" cannot be used: %s", name,
                        credentials[i].why_not);
        if (is_it)
            return 0;
    }
    fail(p, CTL_USAGE, "there is no credential \"%s\"", name);
    hint(p, "pinion.conf: settings; pinion.command.ANY: for archive_command and the like.");
    return CTL_USAGE;
}

static int
make_dir(const char *path, mode_t mode, struct problem *p)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return fail(p, CTL_FAILED, "could not create directory \"%s\": %m", path);
    return 0;
}

static int
write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, bytes, n);
        if (written < 0 && errno != EINTR)
            return -1;
        bytes += written > 0 ? written : 0;
        n -= written > 0 ? (size_t) written : 0;
    }
    return 0;
}

/* The file `path`, whole or as it was. Meanwhile its name begins with a dot: no credential's does.
 */
static int
write_file(const char *path, mode_t mode, const char *bytes, size_t n, struct problem *p)
{
    const char *name = strrchr(path, '/') + 1;
    char tmp[520];

    (void) snprintf(tmp, sizeof tmp, "%.*s.%s.new", (int) (name - path), path, name);
    (void) unlink(tmp);
    CLEANUP(closep)
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0 || write_all(fd, bytes, n) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0 ||
        rename(tmp, path) < 0) {
        fail(p, CTL_FAILED, "could not write \"%s\": %m", path);
        (void) unlink(tmp);
        return CTL_FAILED;
    }
    if (sync_dir_of(path) < 0)
        return fail(p, CTL_FAILED, "could not write the directory of \"%s\": %m", path);
    return 0;
}

static int
remove_file(const char *path, struct problem *p)
{
    if (unlink(path) < 0 && errno != ENOENT)
        return fail(p, CTL_FAILED, "could not remove \"%s\": %m", path);
    if (sync_dir_of(path) < 0)
        return fail(p, CTL_FAILED, "could not write the directory of \"%s\": %m", path);
    return 0;
}

/* From standard input: a secret on a command line is everybody's to see. */
static int
read_secret(char *to, size_t *ret_n, struct problem *p)
{
    size_t n = 0;
    ssize_t got;

    while (n <= SECRET_MAX && (got = read(STDIN_FILENO, to + n, SECRET_MAX + 1 - n)) != 0) {
        if (got < 0 && errno != EINTR)
            return fail(p, CTL_FAILED, "could not read standard input: %m");
        n += got > 0 ? (size_t) got : 0;
    }
    if (n == 0 || n > SECRET_MAX)
        return fail(p, CTL_USAGE,
                    n == 0 ? "nothing came from standard input" : "a credential has at most 1 MiB");
    *ret_n = n;
    return 0;
}

static int
is_ours(const struct dirent *d)
{
    return strncmp(d->d_name, OURS, strlen(OURS)) == 0;
}

/* The drop-in's text for all credentials in the directory but `without`; *ret_text is the caller's
 * to free, NULL if there is none. */
static int
list_credentials(const char *dir, const char *without, char **ret_text, size_t *ret_n,
                 struct problem *p)
{
    struct dirent **list = NULL;
    int n = scandir(dir, &list, is_ours, alphasort);
    FILE *f = n < 0 ? NULL : open_memstream(ret_text, ret_n);
    int written = 0;

    if (n < 0)
        return fail(p, CTL_FAILED, "could not read directory \"%s\": %m", dir);
    if (f != NULL)
        (void) fprintf(f, "# Written by pinionctl set-credential.\n[Service]\n");
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;

        if (f != NULL && (without == NULL || strcmp(name, without) != 0)) {
            (void) fprintf(f, "LoadCredential=%s:%s/%s\n", name, dir, name);
            written++;
        }
        free(list[i]);
    }
    free(list);
    if (f == NULL || ferror(f) != 0 || fclose(f) != 0)
        return fail(p, CTL_FAILED, "out of memory");
    if (written == 0) {
        free(*ret_text);
        *ret_text = NULL;
    }
    return 0;
}

/* The drop-in that names all credentials of the instance but `without`; none: no drop-in. */
static int
write_drop_in(const char *dir, const char *without, const char *unit, struct problem *p)
{
    CLEANUP(freep) char *text = NULL;
    char path[512];
    size_t n = 0;
    int r = list_credentials(dir, without, &text, &n, p);

    (void) snprintf(path, sizeof path, "/etc/systemd/system/%s.d", unit);
    if (r != 0 || (r = make_dir(path, 0755, p)) != 0)
        return r;
    (void) snprintf(path, sizeof path, "/etc/systemd/system/%s.d/60-credentials.conf", unit);
    return text == NULL ? remove_file(path, p) : write_file(path, 0644, text, n, p);
}

static int
check_call(const struct args *a, const struct target *t, struct problem *p)
{
    if (t->unit[0] == '\0' || !has_systemd())
        return fail(p, CTL_USAGE, "credentials are for instances under systemd (-i NAME)");
    if (geteuid() != 0) {
        fail(p, CTL_PERMISSION, "permission denied: a credential is root's to set");
        hint(p, "sudo pinionctl -i %s set-credential %s", t->instance, a->rest[0]);
        return CTL_PERMISSION;
    }
    int r = target_exists(t, p);
    return r != 0 || args_has(a, OPTION_REMOVE) ? r : check_name(a->rest[0], p);
}

/* A unit that names a file which is not there does not start: the file comes before its line and
 * goes after it. */
static int
put(const struct args *a, const char *dir, const char *unit, struct problem *p)
{
    static char secret[SECRET_MAX + 1];
    char path[512];
    size_t n = 0;
    int r;

    (void) snprintf(path, sizeof path, "%s/%s", dir, a->rest[0]);
    if ((r = read_secret(secret, &n, p)) != 0 || (r = make_dir(dir, 0700, p)) != 0 ||
        (r = write_file(path, 0600, secret, n, p)) != 0)
        return r;
    return write_drop_in(dir, NULL, unit, p);
}

static int
take_away(const struct args *a, const char *dir, const char *unit, struct problem *p)
{
    char path[512];
    int r;

    (void) snprintf(path, sizeof path, "%s/%s", dir, a->rest[0]);
    if (strchr(a->rest[0], '/') != NULL || strncmp(a->rest[0], OURS, strlen(OURS)) != 0 ||
        access(path, F_OK) < 0)
        return fail(p, CTL_FAILED, "there is no credential \"%s\" of this instance", a->rest[0]);
    r = write_drop_in(dir, a->rest[0], unit, p);
    return r != 0 ? r : remove_file(path, p);
}

int
cmd_set_credential(const struct args *a, struct problem *p)
{
    const char *reload[] = { "systemctl", "daemon-reload", NULL };
    char dir[256], message[256];
    struct target t;
    int r;

    if ((r = target_find(a, &t, p)) != 0 || (r = check_call(a, &t, p)) != 0)
        return r;
    (void) snprintf(dir, sizeof dir, "%s/%s/credentials", PINION_SYSCONFDIR, t.instance);
    r = args_has(a, OPTION_REMOVE) ? take_away(a, dir, t.unit, p) : put(a, dir, t.unit, p);
    if (r != 0)
        return r;
    if (process_run(reload, NULL, 0, (uid_t) -1, 0) != 0) {
        fail(p, CTL_FAILED, "the files are written, but 'systemctl daemon-reload' failed");
        hint(p, "Run it before the next start, which has the old credentials without it.");
        return CTL_FAILED;
    }
    (void) snprintf(message, sizeof message, "credential %s %s; the next start has it so",
                    a->rest[0], args_has(a, OPTION_REMOVE) ? "removed" : "set");
    out->result(&t, message, NULL);
    return CTL_OK;
}
