/* What every child would do alike. Runs in: postmaster, before the first fork. Owns: nothing. */
#include "proc/prepare.h"

#include <errno.h>
#include <unistd.h>

#include "conf/conf.h"
#include "proc/backend.h"
#include "proc/child.h"
#include "proc/confine.h"
#include "vfs/vfs.h"

/* What no server can do without: descriptors of its own by name (long socket paths, the log). */
static int
check_system(struct err *e)
{
    if (access("/proc/self/fd", R_OK | X_OK) == 0)
        return 0;
    (void) err_set(e, -ENOSYS, "\"/proc\" is not there");
    err_hint(e, "Mount it: mount -t proc proc /proc");
    return -ENOSYS;
}

int
prepare_children(const struct conf *conf, struct err *e)
{
    int r = check_system(e);

    if (r == 0)
        r = confine_prepare(&conf->v, e);
    backend_prepare_words();
    return r < 0 ? r : vfs_register(CHILD_TEMP_DIR, e);
}
