/* The settings in force, handed by the postmaster to children that run already: a memory file that
 * all of them have open. So a child takes over what was found good as a whole, whatever the files
 * say by then. */
#pragma once

#include "conf/conf.h"

/* What is to be written; made before anything is changed. */
struct conf_packed {
    uint8_t *p; /* owned */
    size_t n;
};

void conf_packed_done(struct conf_packed *packed);
/* `cur` as it will be after conf_apply() of `next` with `diff` (both NULL: as it is), and room for
 * it in the file: conf_share_put() cannot fail then. Returns 0, -ERR_OUT_OF_MEMORY or -errno. */
int conf_share_pack(int fd, const struct conf *cur, const struct conf *next,
                    const struct conf_diff *diff, struct conf_packed *ret, struct err *e);
void conf_share_put(int fd, const struct conf_packed *packed);
/* A new file that holds `conf`. Returns its descriptor (close-on-exec) or < 0. Postmaster. */
int conf_share_new(const struct conf *conf, struct err *e);
/* What was put last. *ret is set only on success: 0, -ERR_DATA_CORRUPTED if the postmaster was
 * writing all the time, -ERR_OUT_OF_MEMORY, -errno. */
int conf_share_get(int fd, struct conf *ret, struct err *e);
