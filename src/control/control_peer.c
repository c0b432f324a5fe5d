/* Peer credentials to permission level.
 * Runs in: postmaster (and tests).
 * Owns: nothing.
 * Source: systemd-ops 2.7 "Authorization"; unix(7), SO_PEERCRED and SO_PEERGROUPS. */
#include "control/control_peer.h"

#include <errno.h>
#include <grp.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOBODY    ((uid_t) 65534) /* what a user namespace shows for users it does not map */
#define NO_GROUP  ((gid_t) -1)
#define PEER_GIDS 1024

static gid_t
find_group(const char *name)
{
    char bytes[16384];
    struct group g, *found = NULL;

    if (getgrnam_r(name, &g, bytes, sizeof bytes, &found) != 0 || found == NULL)
        return NO_GROUP;
    return g.gr_gid;
}

void
control_groups_load(struct control_groups *g)
{
    g->admin = find_group("pinion-admin");
    g->monitor = find_group("pinion-monitor");
}

enum control_who
control_peer_level(const struct control_groups *g, uid_t service_uid, uid_t uid, const gid_t *gids,
                   size_t n_gids)
{
    enum control_who who = WHO_PUBLIC;

    if (uid == NOBODY)
        return WHO_PUBLIC;
    if (uid == 0 || uid == service_uid)
        return WHO_ADMIN;
    for (size_t i = 0; i < n_gids; i++) {
        if (g->admin != NO_GROUP && gids[i] == g->admin)
            return WHO_ADMIN;
        if (g->monitor != NO_GROUP && gids[i] == g->monitor)
            who = WHO_MONITOR;
    }
    return who;
}

int
control_peer_get(int fd, const struct control_groups *g, struct control_peer *ret)
{
    struct ucred cred;
    socklen_t bytes = sizeof cred;
    gid_t gids[PEER_GIDS + 1];
    socklen_t gids_bytes = PEER_GIDS * sizeof gids[0];

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) < 0)
        return -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &gids_bytes) < 0)
        gids_bytes = 0; /* more groups than we look at, or an old kernel: the main one must do */
    size_t n = gids_bytes / sizeof gids[0];
    gids[n++] = cred.gid;
    *ret = (struct control_peer){ .uid = cred.uid, .gid = cred.gid, .pid = cred.pid };
    ret->who = control_peer_level(g, geteuid(), cred.uid, gids, n);
    return 0;
}
