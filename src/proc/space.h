/* How much is left on the file systems of log and data: measured every few seconds, told in the log
 * when it becomes little, nothing, or enough again; shown in the status block. */
#pragma once

#include "proc/attach.h"

/* Bgwriter, at each of its rounds; looks when it is time. The current directory is the data
 * directory. A file system that cannot be asked is left as it was. */
void space_look(const struct attached *a);
