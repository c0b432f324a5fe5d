/* UTF-8. Pure; runs in every process. Source: RFC 3629. */
#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

size_t
utf8_length(const void *s, size_t left)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *p = s;
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    uint32_t v;

    if (n < 2 || n > left)
        return n > left ? 0 : n;
    v = p[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        v = v << 6 | (p[i] & 0x3F);
    }
    if (v < least[n] || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000))
        return 0;
    return n;
}

/* Is none of the eight bytes NUL or above 0x7f? */
static bool
is_plain(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return ((v | (v - UINT64_C(0x0101010101010101))) & UINT64_C(0x8080808080808080)) == 0;
}

size_t
utf8_text_length(const void *s, size_t n)
{
    const unsigned char *p = s;
    size_t i = 0;

    while (i < n) {
        size_t len;

        if (i + 8 <= n && is_plain(p + i)) {
            i += 8;
            continue;
        }
        len = p[i] == 0 ? 0 : utf8_length(p + i, n - i);
        if (len == 0)
            break;
        i += len;
    }
    return i;
}

size_t
utf8_whole(const char *s, size_t n, char next)
{
    if (((unsigned char) next & 0xc0) != 0x80)
        return n;
    while (n > 0 && ((unsigned char) s[n - 1] & 0xc0) == 0x80)
        n--;
    return n > 0 ? n - 1 : 0;
}
