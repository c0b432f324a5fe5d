/* See logfile.h.
 * Runs in: pinionctl. Owns: nothing. Source: PostgreSQL's current_logfiles. */
#include "logfile.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The log file the collector writes now, in the format asked for: "stderr log/x.log". */
static bool
find_collected(const struct target *t, const char *format, char *to, size_t cap)
{
    char path[4200], line[4096];
    bool found = false;

    (void) snprintf(path, sizeof path, "%s/current_logfiles", t->datadir);
    FILE *f = open_file(path);
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        size_t n = strcspn(line, " ");

        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, format, n) == 0 && format[n] == '\0' && line[n] == ' ';
        if (found && line[n + 1] == '/')
            (void) snprintf(to, cap, "%s", line + n + 1);
        else if (found)
            (void) snprintf(to, cap, "%s/%s", t->datadir, line + n + 1);
    }
    if (f != NULL)
        (void) fclose(f);
    return found;
}

/* Does the process live in the data directory, as a server does? Numbers come again. */
static bool
is_at_home(const struct target *t)
{
    char link[64], dir[4096];

    (void) snprintf(link, sizeof link, "/proc/%d/cwd", (int) t->pid);
    ssize_t n = t->pid > 0 ? readlink(link, dir, sizeof dir - 1) : -1;
    dir[n > 0 ? n : 0] = '\0';
    return n > 0 && strcmp(dir, t->datadir) == 0;
}

/* The file that is the running server's standard error. */
static bool
find_output(const struct target *t, char *to, size_t cap)
{
    char link[64];
    struct stat st;

    (void) snprintf(link, sizeof link, "/proc/%d/fd/2", (int) t->pid);
    if (!is_at_home(t) || stat(link, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    ssize_t n = readlink(link, to, cap - 1);
    to[n > 0 ? n : 0] = '\0';
    return n > 0;
}

bool
logfile_find(const struct target *t, const char *format, char *to, size_t cap)
{
    if (t->datadir[0] != '\0' && find_collected(t, format, to, cap))
        return true;
    return strcmp(format, "stderr") == 0 && find_output(t, to, cap);
}
