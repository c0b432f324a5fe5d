/* Checks of files and disks.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops part 6. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "doctor.h"

#define TMPFS_MAGIC   0x01021994
#define NFS_MAGIC     0x6969
#define OVERLAY_MAGIC 0x794c7630
#define FUSE_MAGIC    0x65735546
#define LATE_USEC     (600 * USEC_PER_SEC)

static void
path_of(char *to, size_t cap, const struct doctor *d, const char *below)
{
    (void) snprintf(to, cap, "%s/%s", doctor_datadir(d), below);
}

static void
check_file_system(struct doctor *d, const char *dir)
{
    struct statfs fs;

    if (statfs(dir, &fs) < 0)
        return;
    if (fs.f_type == TMPFS_MAGIC)
        doctor_say(d, "file system", DOCTOR_BAD, "It is memory: a reboot takes all data.",
                   "Move the data directory to a disk.", "the data directory is on tmpfs");
    else if (fs.f_type == NFS_MAGIC || fs.f_type == FUSE_MAGIC)
        doctor_say(d, "file system", DOCTOR_WARNING,
                   "Locks and fsync of a network or user-space file system may promise more than "
                   "they keep.",
                   "Use a local disk unless you know that it is safe.",
                   "the data directory is on %s", fs.f_type == NFS_MAGIC ? "NFS" : "FUSE");
    else if (fs.f_type == OVERLAY_MAGIC)
        doctor_say(d, "file system", DOCTOR_NOTE,
                   "A container's own layer goes with the container.", "Keep the data in a volume.",
                   "the data directory is on an overlay");
    else
        doctor_say(d, "file system", DOCTOR_OK, NULL, NULL, "a local one");
}

void
doctor_check_directory(struct doctor *d)
{
    const char *dir = doctor_datadir(d);
    struct stat st;

    if (dir[0] == '\0')
        return;
    if (stat(dir, &st) < 0) {
        bool is_hidden = errno == EACCES;

        doctor_say(d, "data directory", is_hidden ? DOCTOR_NOTE : DOCTOR_BAD,
                   is_hidden ? "What is in it was not looked at."
                             : "Without it there is nothing to serve.",
                   is_hidden ? "Run this as root or as the server's user."
                             : "Is its disk mounted? Is the name right?",
                   "could not look at \"%s\": %s", dir, strerrordesc_np(errno));
        return;
    }
    if ((st.st_mode & 027) != 0)
        doctor_say(d, "data directory", DOCTOR_BAD,
                   "Others on this machine may read or change it; the next start is refused.",
                   "chmod 0700 (or 0750).", "%s has mode %04o", dir, (unsigned) st.st_mode & 07777);
    else
        doctor_say(d, "data directory", DOCTOR_OK, NULL, NULL, "%s, mode %04o, uid %u", dir,
                   (unsigned) st.st_mode & 07777, (unsigned) st.st_uid);
    check_file_system(d, dir);
}

static void
say_space(struct doctor *d, const char *name, uint64_t left, uint64_t all, int level)
{
    char left_text[32], all_text[32], check[32];

    format_bytes(left_text, sizeof left_text, left);
    format_bytes(all_text, sizeof all_text, all);
    (void) snprintf(check, sizeof check, "disk of %s", name);
    doctor_say(d, check, (enum doctor_level) level,
               level == DOCTOR_OK ? NULL : "When it is full, statements that write fail (53100).",
               level == DOCTOR_OK
                   ? NULL
                   : "Make room: 'VACUUM', old files, a larger disk; a full log disk: "
                     "see the archive.",
               "%s of %s free%s", left_text, all_text, level == DOCTOR_BAD ? ", FULL" : "");
}

/* As the server measures; without one by ourselves. */
void
doctor_check_space(struct doctor *d)
{
    const json_t *list = json_object_get(d->status, "storage");
    struct statvfs fs;
    char wal[4200];
    size_t i;
    json_t *o;

    json_array_foreach(list, i, o)
    {
        int level = json_is_true(json_object_get(o, "full"))  ? DOCTOR_BAD
                    : json_is_true(json_object_get(o, "low")) ? DOCTOR_WARNING
                                                              : DOCTOR_OK;

        say_space(d, json_string_value(json_object_get(o, "name")),
                  (uint64_t) json_integer_value(json_object_get(o, "freeBytes")),
                  (uint64_t) json_integer_value(json_object_get(o, "totalBytes")), level);
    }
    if (list != NULL || doctor_datadir(d)[0] == '\0')
        return;
    path_of(wal, sizeof wal, d, "pg_wal");
    for (i = 0; i < 2; i++) {
        if (statvfs(i == 0 ? doctor_datadir(d) : wal, &fs) < 0)
            continue;
        uint64_t left = (uint64_t) fs.f_bavail * fs.f_frsize;
        say_space(d, i == 0 ? "data" : "wal", left, (uint64_t) fs.f_blocks * fs.f_frsize,
                  left < (UINT64_C(64) << 20)  ? DOCTOR_BAD
                  : left < (UINT64_C(1) << 30) ? DOCTOR_WARNING
                                               : DOCTOR_OK);
    }
}

/* Sum and number of the files in a directory whose names end in `suffix` (NULL: names of log
 * segments). -1: it cannot be read. */
static int
count_files(const char *path, const char *suffix, uint64_t *ret_bytes, uint64_t *ret_oldest_usec)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    int n = 0;

    *ret_bytes = 0;
    *ret_oldest_usec = UINT64_MAX;
    if (dir == NULL)
        return -1;
    while ((e = readdir(dir)) != NULL) {
        size_t len = strlen(e->d_name);
        struct stat st;
        bool fits = suffix == NULL ? len == 24 && strspn(e->d_name, "0123456789ABCDEF") == len
                                   : len > strlen(suffix) &&
                                         strcmp(e->d_name + len - strlen(suffix), suffix) == 0;

        if (!fits || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        uint64_t at = (uint64_t) st.st_mtim.tv_sec * USEC_PER_SEC;
        *ret_bytes += (uint64_t) st.st_size;
        *ret_oldest_usec = at < *ret_oldest_usec ? at : *ret_oldest_usec;
        n++;
    }
    (void) closedir(dir);
    return n;
}

void
doctor_check_log_volume(struct doctor *d)
{
    uint64_t bytes, oldest, max = doctor_setting_bytes(d, "max_wal_size");
    char path[4200], is[32], limit[32];
    int n;

    if (max == 0)
        max = UINT64_C(1) << 30;
    path_of(path, sizeof path, d, "pg_wal");
    if (doctor_datadir(d)[0] == '\0' || (n = count_files(path, NULL, &bytes, &oldest)) < 0)
        return;
    format_bytes(is, sizeof is, bytes);
    format_bytes(limit, sizeof limit, max);
    if (bytes > 2 * max)
        doctor_say(d, "log volume", DOCTOR_WARNING,
                   "Something keeps it, and it will fill its disk.",
                   "Does archiving work? Is there a checkpoint now and then (log_checkpoints)?",
                   "%s in %d segments, more than twice max_wal_size (%s)", is, n, limit);
    else
        doctor_say(d, "log volume", DOCTOR_OK, NULL, NULL, "%s in %d segment%s", is, n,
                   n == 1 ? "" : "s");
}

void
doctor_check_archive(struct doctor *d)
{
    bool is_on = strcmp(doctor_setting(d, "archive_mode"), "on") == 0;
    uint64_t bytes, oldest, now = now_real_usec();
    char path[4200], ago[32];
    int n;

    path_of(path, sizeof path, d, "pg_wal/archive_status");
    if (d->status == NULL || doctor_setting(d, "archive_mode")[0] == '\0')
        return;
    if (!is_on) {
        doctor_say(d, "archive", DOCTOR_OK, NULL, NULL, "archive_mode is off");
        return;
    }
    if (doctor_setting(d, "archive_command")[0] == '\0')
        doctor_say(d, "archive", DOCTOR_WARNING, "The log is kept until there is one, and grows.",
                   "Set archive_command and reload, or archive_mode = off and restart.",
                   "archive_mode is on, but archive_command is empty");
    if ((n = count_files(path, ".ready", &bytes, &oldest)) < 0)
        return;
    if (n > 0 && oldest + LATE_USEC < now) {
        format_duration(ago, sizeof ago, now - oldest);
        doctor_say(d, "archive", DOCTOR_BAD,
                   "archive_command fails or hangs; the log is kept, and there is no backup since.",
                   "See the log for what it says, and pg_stat_archiver; try it by hand as the "
                   "server's user.",
                   "%d file%s for archive_command, the oldest since %s", n,
                   n == 1 ? " waits" : "s wait", ago);
    } else if (doctor_setting(d, "archive_command")[0] != '\0')
        doctor_say(d, "archive", DOCTOR_OK, NULL, NULL, "%d file%s, none for long", n,
                   n == 1 ? " waits" : "s wait");
}

/* This machine, and no other? */
static bool
is_local(const char *address)
{
    static const char *const names[] = { "::1", "::1/128", "localhost", "samehost" };
    const char *slash = strchr(address, '/');

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        if (strcmp(address, names[i]) == 0)
            return true;
    }
    return strncmp(address, "127.", 4) == 0 && (slash == NULL || strtol(slash + 1, NULL, 10) >= 8);
}

/* Does the rule let anybody in from elsewhere? "host all all 0.0.0.0/0 trust", or with a mask as a
 * word of its own. */
static bool
is_open_rule(char *line)
{
    char *word[6] = { NULL }, *rest = line;
    size_t n = 0;

    line[strcspn(line, "#\n")] = '\0';
    while (n < ELEMENTSOF(word) && (word[n] = strtok_r(n == 0 ? line : NULL, " \t", &rest)) != NULL)
        n++;
    if (n < 5 || strncmp(word[0], "host", 4) != 0)
        return false;
    bool has_mask = n > 5 && strchr(word[3], '/') == NULL && strpbrk(word[4], ".:") != NULL;
    return strcmp(word[has_mask ? 5 : 4], "trust") == 0 && !is_local(word[3]);
}

void
doctor_check_access(struct doctor *d)
{
    const char *set = doctor_setting(d, "hba_file");
    char path[4200], line[1024];
    int number = 0, open_line = 0;

    if (set[0] == '/')
        (void) snprintf(path, sizeof path, "%s", set);
    else
        path_of(path, sizeof path, d, set);
    FILE *f = set[0] != '\0' ? open_file(path) : NULL;
    if (f == NULL)
        return;
    while (fgets(line, sizeof line, f) != NULL) {
        number++;
        if (open_line == 0 && is_open_rule(line))
            open_line = number;
    }
    (void) fclose(f);
    if (open_line != 0)
        doctor_say(d, "access", DOCTOR_WARNING,
                   "Whoever reaches the port is let in as whom he says he is, without a password.",
                   "Let only trusted addresses in, or reject.", "%s:%d trusts other machines", path,
                   open_line);
    else
        doctor_say(d, "access", DOCTOR_OK, NULL, NULL, "no rule trusts other machines");
}
