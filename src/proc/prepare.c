/* What every child would do alike. Runs in: postmaster, before the first fork. Owns: nothing. */
#include "proc/prepare.h"

#include "proc/backend.h"
#include "proc/child.h"
#include "vfs/vfs.h"

int
prepare_children(struct err *e)
{
    backend_prepare_words();
    return vfs_register(CHILD_TEMP_DIR, e);
}
