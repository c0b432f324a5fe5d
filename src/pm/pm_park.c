/* Descriptors from the service manager: who may be taken over at the start, and our listening
 * sockets in its store, so that neither a restart nor a crash of the postmaster refuses a client.
 * Runs in: postmaster. Owns: what was passed, until it is taken or closed.
 * Source: systemd-ops.md 3.5, 3.6. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"
#include "pm/pm_int.h"

#define PREFIX       "listen-"
#define BARRIER_USEC (5 * USEC_PER_SEC)

/* ---- what was passed ---- */
/* 0…PM_LISTENERS_MAX - 1 for a name of ours, else -1. */
static int
number_of(const char *name)
{
    unsigned no;
    char again[32];

    if (sscanf(name, PREFIX "%u", &no) != 1 || no >= PM_LISTENERS_MAX)
        return -1;
    (void) snprintf(again, sizeof again, PREFIX "%u", no);
    return strcmp(name, again) == 0 ? (int) no : -1;
}

static enum pm_origin
origin_of(const char *name, int fd)
{
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
        return ORIGIN_UNKNOWN;
    if (strcmp(name, "db") == 0)
        return ORIGIN_UNIT;
    if (strcmp(name, "varlink") == 0)
        return sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0 ? ORIGIN_CONTROL : ORIGIN_UNKNOWN;
    return number_of(name) >= 0 ? ORIGIN_STORE : ORIGIN_UNKNOWN;
}

static void
close_passed(struct pm_passed *p)
{
    if (p->fd >= 0)
        (void) close(p->fd);
    p->fd = -1;
}

/* Out of the store: all of that name, names are not unique there. Who had the same is parked anew.
 */
static void
forget_name(struct pm *pm, const char *name)
{
    char gone[sizeof pm->passed[0].name];

    memcpy(gone, name, sizeof gone);
    (void) sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", gone);
    for (unsigned i = 0; i < pm->n_passed; i++)
        if (strcmp(pm->passed[i].name, gone) == 0)
            pm->passed[i].name[0] = '\0';
}

bool
pm_park_has_stored(const struct pm *pm)
{
    for (unsigned i = 0; i < pm->n_passed; i++)
        if (pm->passed[i].origin == ORIGIN_STORE)
            return true;
    return false;
}

void
pm_park_begin(struct pm *pm)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);

    if (n < 0)
        log_msg(LOG_LEVEL_WARNING,
                "could not take the descriptors that the service manager passed: %s", strerror(-n));
    for (int i = 0; i < n; i++) {
        struct pm_passed p = { .fd = SD_LISTEN_FDS_START + i };

        p.origin = origin_of(names[i], p.fd);
        (void) snprintf(p.name, sizeof p.name, "%s", names[i]);
        if (p.origin == ORIGIN_UNKNOWN || pm->n_passed == PM_PASSED_MAX) {
            log_msg(LOG_LEVEL_WARNING, "closed descriptor \"%s\" that the service manager passed",
                    names[i]);
            (void) sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", names[i]);
            (void) close(p.fd);
        } else {
            (void) fcntl(p.fd, F_SETFL, fcntl(p.fd, F_GETFL) | O_NONBLOCK);
            pm->passed[pm->n_passed++] = p;
        }
        free(names[i]);
    }
    free(names);
}

void
pm_park_done(struct pm *pm)
{
    for (unsigned i = 0; i < pm->n_passed; i++)
        close_passed(&pm->passed[i]);
    pm->n_passed = 0;
}

int
pm_control_passed(struct pm *pm)
{
    for (unsigned i = 0; i < pm->n_passed; i++)
        if (pm->passed[i].origin == ORIGIN_CONTROL && pm->passed[i].fd >= 0)
            return TAKE_FD(pm->passed[i].fd);
    return -1;
}

/* ---- our own, back from the store ---- */
static bool
is_same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    const struct sockaddr_in *a4 = (const void *) a, *b4 = (const void *) b;
    const struct sockaddr_in6 *a6 = (const void *) a, *b6 = (const void *) b;
    const struct sockaddr_un *au = (const void *) a, *bu = (const void *) b;

    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    if (a->sa_family == AF_INET6)
        return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id &&
               memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof a6->sin6_addr) == 0;
    return a->sa_family == AF_UNIX && strcmp(au->sun_path, bu->sun_path) == 0;
}

static struct pm_passed *
find_stored(struct pm *pm, const struct sockaddr *sa)
{
    for (unsigned i = 0; i < pm->n_passed; i++) {
        struct pm_passed *p = &pm->passed[i];
        struct sockaddr_storage is = { 0 };
        socklen_t len = sizeof is - 1; /* a path of full length still ends with 0 */

        if (p->fd >= 0 && p->origin == ORIGIN_STORE &&
            getsockname(p->fd, (struct sockaddr *) &is, &len) == 0 &&
            is_same_address((const struct sockaddr *) &is, sa))
            return p;
    }
    return NULL;
}

void
pm_park_want(struct pm *pm, const struct sockaddr *sa, ino_t ino)
{
    struct pm_passed *p = find_stored(pm, sa);
    struct stat st;

    if (p != NULL && (ino == 0 || (fstat(p->fd, &st) == 0 && st.st_ino == ino)))
        p->is_wanted = true;
}

int
pm_park_take(struct pm *pm, const struct sockaddr *sa, int *ret_no)
{
    struct pm_passed *p = find_stored(pm, sa);

    if (p == NULL)
        return -1;
    *ret_no = number_of(p->name);
    return TAKE_FD(p->fd);
}

bool
pm_park_discard(struct pm *pm)
{
    bool has_any = false;

    for (unsigned i = 0; i < pm->n_passed; i++) {
        struct pm_passed *p = &pm->passed[i];
        struct sockaddr_storage is = { 0 };
        socklen_t len = sizeof is - 1;

        if (p->fd < 0 || p->origin != ORIGIN_STORE || p->is_wanted)
            continue;
        log_msg(LOG_LEVEL_LOG, "closed socket \"%s\" of the last start: it is not configured",
                p->name);
        if (getsockname(p->fd, (struct sockaddr *) &is, &len) == 0 && is.ss_family == AF_UNIX)
            pm_listen_unlink(((const struct sockaddr_un *) (const void *) &is)->sun_path);
        close_passed(p);
        forget_name(pm, p->name);
        has_any = true;
    }
    if (has_any) /* the manager's copies as well, or their ports stay taken */
        (void) sd_notify_barrier(0, BARRIER_USEC);
    return has_any;
}

/* ---- into the store ---- */
static int
free_number(const struct pm *pm)
{
    uint64_t used = 0;

    static_assert(PM_LISTENERS_MAX <= 64, "a bit for each");
    for (unsigned i = 0; i < pm->n_listeners; i++)
        if (pm->listeners[i].park_no >= 0)
            used |= BIT(pm->listeners[i].park_no);
    return used == UINT64_MAX ? -1 : __builtin_ctzll(~used);
}

void
pm_park_all(struct pm *pm)
{
    for (unsigned i = 0; i < pm->n_listeners; i++) {
        struct pm_listener *l = &pm->listeners[i];
        char text[64];

        if (l->is_parked || !l->is_ours)
            continue;
        if (l->park_no < 0)
            l->park_no = free_number(pm);
        if (l->park_no < 0)
            return;
        (void) snprintf(text, sizeof text, PREFIX "%d", l->park_no);
        if (sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", text) <= 0)
            return; /* nobody there */
        (void) snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=" PREFIX "%d", l->park_no);
        l->is_parked = sd_pid_notify_with_fds(0, 0, text, &l->fd, 1) > 0;
    }
}
