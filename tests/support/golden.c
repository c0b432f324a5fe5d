/* Files of tests/golden. GOLDEN_DIR comes from meson. */
#include "support/golden.h"

#include <stdio.h>
#include <stdlib.h>

#include <zlib.h>

#include "support/test.h"

uint8_t *
golden_read(const char *name, size_t *ret_bytes)
{
    char path[512];
    size_t cap = 64 * 1024;
    size_t n = 0;
    uint8_t *p = malloc(cap);
    gzFile f;

    (void) snprintf(path, sizeof path, "%s/%s", GOLDEN_DIR, name);
    f = gzopen(path, "rb"); /* reads plain files as they are */
    if (f == NULL || p == NULL)
        fail_msg("cannot open %s", path);
    for (;;) {
        int got = gzread(f, p + n, (unsigned) (cap - n - 1));

        if (got < 0)
            fail_msg("cannot read %s", path);
        if (got == 0)
            break;
        n += (size_t) got;
        if (cap - n < 2) {
            cap *= 2;
            p = realloc(p, cap);
            assert_non_null(p);
        }
    }
    (void) gzclose(f);
    p[n] = '\0';
    *ret_bytes = n;
    return p;
}
