/* Credentials of the unit: settings, or refused by name. Runs in: postmaster, at start and reload;
 * a session that looks at the files. Owns: nothing. Source: systemd.exec(5), "Credentials";
 * systemd-ops.md 3.10. */
#include "conf/conf_credential.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define OURS "pinion."

enum use { USE_UNKNOWN, USE_SETTINGS, USE_COMMANDS, USE_REFUSED };

struct credential {
    const char *name;
    enum use use;
    const char *why_not;
};

/* clang-format off */
static const struct credential credentials[] = {
#define CREDENTIAL(name, use, why_not) { name, USE_##use, why_not },
#include "tbl/credentials.def"
#undef CREDENTIAL
};
/* clang-format on */

static const struct credential *
find(const char *name)
{
    static const struct credential unknown = { "", USE_UNKNOWN, "nothing of that name is known" };

    for (size_t i = 0; i < ELEMENTSOF(credentials); i++) {
        const char *known = credentials[i].name;
        size_t n = strlen(known);
        bool is_family = known[n - 1] == '*';

        if (is_family ? strncmp(known, name, n - 1) == 0 : strcmp(known, name) == 0)
            return &credentials[i];
    }
    return &unknown;
}

static void
refuse(const char *path, const char *name, const char *why, struct conf_issues *issues)
{
    struct err e = ERR_INIT;

    (void) ERR(&e, CONFIG_FILE_ERROR, "credential \"%s\" cannot be used: %s", name, why);
    err_hint(&e, "Take it out of LoadCredential=, SetCredential= or the credential store.");
    conf_issues_add(issues, path, 0, "", &e);
}

static int
take(const char *dir, const char *name, struct conf_rows *rows, struct conf_issues *issues)
{
    const struct credential *c = find(name);
    char path[PATH_MAX];

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    switch (c->use) {
    case USE_SETTINGS:
        return conf_parse_file(path, true, rows, issues);
    case USE_COMMANDS:
        break;
    case USE_UNKNOWN:
    case USE_REFUSED:
        refuse(path, name, c->why_not, issues);
        break;
    }
    return 0;
}

static void
close_dirp(DIR **d)
{
    if (*d != NULL)
        (void) closedir(*d);
}

int
conf_credentials_read(const char *dir, struct conf_rows *rows, struct conf_issues *issues)
{
    CLEANUP(close_dirp) DIR *d = NULL;
    struct dirent *entry;
    int r = 0;

    if (dir == NULL || dir[0] == '\0')
        return 0;
    d = opendir(dir);
    if (d == NULL && errno != ENOENT) {
        struct err e = ERR_INIT;

        (void) ERR_ERRNO(&e, "could not open the directory of credentials");
        conf_issues_add(issues, dir, 0, "", &e);
    }
    while (d != NULL && r == 0 && (entry = readdir(d)) != NULL) /* NOLINT: one thread */
        if (strncmp(entry->d_name, OURS, strlen(OURS)) == 0)
            r = take(dir, entry->d_name, rows, issues);
    return r;
}
