/* UTF-8, where text of unknown origin goes to somebody who reads nothing else. Pure. */
#pragma once

#include <stddef.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, for a byte that is no character */

/* Bytes of the character at `s` (`left` bytes, at least 1), 0 if there is none: overlong forms,
 * surrogates and what is above U+10FFFF are none. */
size_t utf8_length(const void *s, size_t left);

/* Of n bytes, those before the first that begins no character, or is NUL: n if all is text. */
size_t utf8_text_length(const void *s, size_t n);

/* Text was cut to n bytes, where `next` came: so many of them are whole characters. */
size_t utf8_whole(const char *s, size_t n, char next);
