/* Scalars as text. Pure; runs in every process. */
#include "base/types.h"

#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

/* At most eight hexadecimal digits; how many, 0 = none. */
static size_t
take_word(const char *p, uint64_t *ret)
{
    size_t n = strspn(p, "0123456789abcdefABCDEF");

    if (n > 8)
        return 0;
    *ret = strtoull(p, NULL, 16);
    return n;
}

bool
lsn_parse(const char *text, lsn_t *ret)
{
    uint64_t high = 0;
    uint64_t low = 0;
    size_t n = take_word(text, &high);

    if (n == 0 || text[n] != '/')
        return false;
    text += n + 1;
    n = take_word(text, &low);
    if (n == 0 || text[n] != '\0')
        return false;
    *ret = high << 32 | low;
    return true;
}
