/* CRC-32C (Castagnoli), as in WAL records, pages and the control file (wal-format.md 1.5). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Continue a CRC: pass 0 to start, then the previous result. Hardware instruction where present,
 * else tables. */
uint32_t crc32c(uint32_t crc, const void *data, size_t n);
/* The table form, for the test that both agree. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t n);
