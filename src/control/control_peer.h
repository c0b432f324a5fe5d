/* Who is at the other end, and what that allows. Internal to src/control. */
#pragma once

#include "control/control_dispatch.h"

/* The groups that give rights, resolved at start and reload. (gid_t) -1: no such group. */
struct control_groups {
    gid_t admin;
    gid_t monitor;
};

/* Look the groups up (NSS: may block). */
void control_groups_load(struct control_groups *g);

/* Pure: what a peer with these credentials may do, if the service runs as `service_uid`. */
enum control_who control_peer_level(const struct control_groups *g, uid_t service_uid, uid_t uid,
                                    const gid_t *gids, size_t n_gids);

/* Credentials of the connected socket fd, as of connect(). Returns 0 or -errno. */
int control_peer_get(int fd, const struct control_groups *g, struct control_peer *ret);
