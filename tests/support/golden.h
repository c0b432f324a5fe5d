/* Files of tests/golden. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Content of tests/golden/<name> (gunzipped if the name ends in .gz), with a NUL behind it. Fails
 * the test if there is no such file. Heap: free() it. */
uint8_t *golden_read(const char *name, size_t *ret_bytes);
