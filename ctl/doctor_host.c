/* Checks of the machine, the process and its unit.
 * Runs in: pinionctl. Owns: nothing. Source: systemd-ops part 6. */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <unistd.h>

#include "doctor.h"
#include "process.h"

#define FILES_WANTED    (4096 + 512) /* as src/main.c */
#define CONNECT_SECONDS 3

/* The first number behind `key` in a file of lines, or UINT64_MAX. */
static uint64_t
number_in(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[512];
    uint64_t found = UINT64_MAX;

    if (f == NULL)
        return found;
    while (found == UINT64_MAX && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        const char *at = line + strlen(key);
        at += strspn(at, ": \t");
        if (*at >= '0' && *at <= '9')
            found = strtoull(at, NULL, 10);
    }
    (void) fclose(f);
    return found;
}

/* Of the running server: is the file it runs still the one on disk? */
void
doctor_check_program(struct doctor *d)
{
    char path[64], exe[4096];
    ssize_t n;

    (void) snprintf(path, sizeof path, "/proc/%d/exe", (int) doctor_pid(d));
    n = doctor_pid(d) > 0 ? readlink(path, exe, sizeof exe - 1) : -1;
    if (n <= 0)
        return; /* not ours to see */
    exe[n] = '\0';
    if (strstr(exe, " (deleted)") != NULL)
        doctor_say(d, "program", DOCTOR_WARNING,
                   "It was replaced since the start; the server goes on with the old one.",
                   "Restart it when it suits: pinionctl restart.", "%s", exe);
    else
        doctor_say(d, "program", DOCTOR_OK, NULL, NULL, "%s", exe);
}

void
doctor_check_limits(struct doctor *d)
{
    char path[64];
    uint64_t files, processes, sessions;

    if (doctor_pid(d) <= 0)
        return;
    (void) snprintf(path, sizeof path, "/proc/%d/limits", (int) doctor_pid(d));
    files = number_in(path, "Max open files");
    processes = number_in(path, "Max processes");
    sessions = strtoull(doctor_setting(d, "max_connections"), NULL, 10);
    if (files != UINT64_MAX && files < FILES_WANTED)
        doctor_say(d, "open files", DOCTOR_WARNING,
                   "With many databases and sessions a statement fails for want of a descriptor.",
                   "Raise it: LimitNOFILE= in the unit, ulimit -n elsewhere; then restart.",
                   "at most %" PRIu64 ", %d are wanted", files, FILES_WANTED);
    else if (files != UINT64_MAX)
        doctor_say(d, "open files", DOCTOR_OK, NULL, NULL, "at most %" PRIu64, files);
    if (processes != UINT64_MAX && sessions > 0 && processes < sessions + 32)
        doctor_say(d, "processes", DOCTOR_WARNING,
                   "Each session is a process; new ones are refused before max_connections.",
                   "Raise it: TasksMax= or LimitNPROC= in the unit, ulimit -u elsewhere.",
                   "the user may have %" PRIu64 ", max_connections is %" PRIu64, processes,
                   sessions);
}

void
doctor_check_memory(struct doctor *d)
{
    uint64_t all = number_in("/proc/meminfo", "MemTotal");
    uint64_t left = number_in("/proc/meminfo", "MemAvailable");
    uint64_t buffers = doctor_setting_bytes(d, "shared_buffers");
    char is[32], of[32], wanted[32];

    if (all == UINT64_MAX || left == UINT64_MAX)
        return;
    format_bytes(is, sizeof is, left * 1024);
    format_bytes(of, sizeof of, all * 1024);
    format_bytes(wanted, sizeof wanted, buffers);
    if (buffers > all * 1024 / 4 * 3)
        doctor_say(d, "memory", DOCTOR_BAD, "The machine will swap or kill processes under load.",
                   "Lower shared_buffers to at most half of the memory, then restart.",
                   "shared_buffers is %s of %s", wanted, of);
    else if (left < all / 20)
        doctor_say(d, "memory", DOCTOR_WARNING, "The kernel may soon kill a process.",
                   "See who takes it (ps, systemd-cgtop).", "%s of %s left", is, of);
    else
        doctor_say(d, "memory", DOCTOR_OK, NULL, NULL, "%s of %s left", is, of);
}

void
doctor_check_kernel(struct doctor *d)
{
    uint64_t overcommit = number_in("/proc/sys/vm/overcommit_memory", "");
    uint64_t backlog = number_in("/proc/sys/net/core/somaxconn", "");
    bool is_fine = true;

    if (overcommit == 1) {
        is_fine = false;
        doctor_say(
            d, "kernel", DOCTOR_WARNING,
            "Memory is promised without limit: shortage kills a process instead of failing a "
            "statement.",
            "sysctl vm.overcommit_memory=0, or 2 on a machine for the database alone.",
            "vm.overcommit_memory is 1");
    }
    if (backlog < 128) {
        is_fine = false;
        doctor_say(d, "kernel", DOCTOR_WARNING,
                   "Many clients that connect at once are refused by the kernel.",
                   "sysctl net.core.somaxconn=4096.", "net.core.somaxconn is %" PRIu64, backlog);
    }
    if (is_fine)
        doctor_say(d, "kernel", DOCTOR_OK, NULL, NULL,
                   "overcommit_memory and somaxconn are as they should be");
}

void
doctor_check_clock(struct doctor *d)
{
    struct timex tx = { .modes = 0 };
    int r = adjtimex(&tx);
    uint64_t now = now_real_usec();
    char path[4200];
    struct stat st;

    (void) snprintf(path, sizeof path, "%s/global/pg_control", doctor_datadir(d));
    if (doctor_datadir(d)[0] != '\0' && stat(path, &st) == 0 &&
        (uint64_t) st.st_mtim.tv_sec > now / USEC_PER_SEC + 60)
        doctor_say(d, "clock", DOCTOR_BAD,
                   "It was set back: times in logs, in the history and for point-in-time recovery "
                   "are wrong.",
                   "Set it right (timedatectl).", "the control file was written in the future");
    else if (r < 0 || (tx.status & STA_UNSYNC) != 0)
        doctor_say(d, "clock", DOCTOR_NOTE,
                   "Times in logs and for point-in-time recovery may be off.",
                   "Let chrony or systemd-timesyncd set it.",
                   "the kernel does not know it to be synchronized");
    else
        doctor_say(d, "clock", DOCTOR_OK, NULL, NULL, "synchronized");
}

static int
connect_address(int family, const void *address, socklen_t n)
{
    CLEANUP(closep) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval most = { .tv_sec = CONNECT_SECONDS };

    if (fd < 0)
        return -errno;
    (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most); /* of connect(), too */
    return connect(fd, address, n) < 0 ? -errno : 0;
}

/* Connect to "host:port" or a path; 0 or -errno. */
static int
connect_to(const char *where)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *all = NULL;
    const char *colon = strrchr(where, ':');
    char host[256];
    int r = -EADDRNOTAVAIL;

    if (where[0] == '/' && strlen(where) < sizeof un.sun_path) {
        (void) snprintf(un.sun_path, sizeof un.sun_path, "%s", where);
        return connect_address(AF_UNIX, &un, sizeof un);
    }
    if (colon == NULL || (size_t) (colon - where) >= sizeof host)
        return r;
    (void) snprintf(host, sizeof host, "%.*s", (int) (colon - where), where);
    char *name = host[0] == '[' ? host + 1 : host;
    name[strcspn(name, "]")] = '\0';
    if (getaddrinfo(strcmp(name, "*") == 0 ? NULL : name, colon + 1, &want, &all) != 0)
        return r;
    for (const struct addrinfo *a = all; a != NULL && r < 0; a = a->ai_next)
        r = connect_address(a->ai_family, a->ai_addr, a->ai_addrlen);
    freeaddrinfo(all);
    return r;
}

void
doctor_check_metrics(struct doctor *d)
{
    const char *where = doctor_setting(d, "metrics_listen");
    const char *state = json_string_value(json_object_get(d->status, "state"));
    int r;

    if (where[0] == '\0' || state == NULL || strcmp(state, "ready") != 0)
        return;
    r = connect_to(where);
    if (r == -EACCES)
        doctor_say(d, "metrics", DOCTOR_NOTE, "Whether they are served was not looked at.",
                   "Run this as root or as the server's user.", "%s is not yours to connect to",
                   where);
    else if (r < 0)
        doctor_say(d, "metrics", DOCTOR_BAD, "Monitoring sees nothing of this server.",
                   "See the log: the address may be in use, or not be one of this machine.",
                   "nobody answers at metrics_listen (%s)", where);
    else
        doctor_say(d, "metrics", DOCTOR_OK, NULL, NULL, "served at %s", where);
}

/* ---- the unit ---- */

void
doctor_check_unit(struct doctor *d)
{
    const char *argv[] = {
        "systemctl", "show",
        "-p",        "LoadState,UnitFileState,NeedDaemonReload,DropInPaths,ProtectHome,Result",
        d->t->unit,  NULL
    };
    char answer[8192], value[2048];
    bool is_home = strncmp(doctor_datadir(d), "/home/", 6) == 0;

    if (d->t->unit[0] == '\0' || !has_systemd() ||
        process_run(argv, answer, sizeof answer, (uid_t) -1, 0) != 0)
        return;
    if (strcmp(process_property(answer, "LoadState", value, sizeof value), "loaded") != 0) {
        doctor_say(d, "unit", DOCTOR_BAD, "The service manager cannot start it.",
                   "Install the units, then systemctl daemon-reload.", "%s is %s", d->t->unit,
                   value);
        return;
    }
    if (strcmp(process_property(answer, "NeedDaemonReload", value, sizeof value), "yes") == 0)
        doctor_say(d, "unit", DOCTOR_WARNING, "What its file says is not what is in force.",
                   "systemctl daemon-reload.", "the unit's file has changed on disk");
    if (is_home && strcmp(process_property(answer, "ProtectHome", value, sizeof value), "yes") == 0)
        doctor_say(d, "unit", DOCTOR_BAD, "The unit does not see /home.",
                   "Move the data below /var/lib or /srv.", "the data directory is below /home");
    if (strcmp(process_property(answer, "UnitFileState", value, sizeof value), "enabled") != 0)
        doctor_say(d, "unit", DOCTOR_NOTE, "It is not started after a reboot.",
                   "systemctl enable it, if it shall be.", "%s is %s", d->t->unit,
                   value[0] != '\0' ? value : "not enabled");
    else
        doctor_say(d, "unit", DOCTOR_OK, NULL, NULL, "%s, enabled", d->t->unit);
    if (process_property(answer, "DropInPaths", value, sizeof value)[0] != '\0')
        doctor_say(d, "drop-ins", DOCTOR_NOTE, NULL, NULL, "%s", value);
}

void
doctor_check_groups(struct doctor *d)
{
    char bytes[65536];
    struct group grp, *found = NULL;

    if (d->t->instance[0] == '\0')
        return;
    (void) getgrnam_r("pinion-admin", &grp, bytes, sizeof bytes, &found);
    if (found == NULL)
        doctor_say(d, "groups", DOCTOR_NOTE, "Only root and the server's user may operate it then.",
                   "systemd-sysusers makes it from what the package installs.",
                   "there is no group pinion-admin");
    else
        doctor_say(d, "groups", DOCTOR_OK, NULL, NULL, "pinion-admin is there");
}
