/* CRC-32C by the SSE4.2 / ARMv8 instruction, or by eight tables. Runs in every process; the tables
 * are made once. */
#include "base/crc32c.h"

#include "base/buf.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define POLY UINT32_C(0x82F63B78) /* 0x1EDC6F41 reflected */

static uint32_t tables[8][256];

__attribute__((constructor)) static void
make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = (c & 1) != 0 ? (c >> 1) ^ POLY : c >> 1;
        tables[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xFF];
}

uint32_t
crc32c_table(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t c = ~crc;

    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v = get_u64(p) ^ c;

        c = 0;
        for (int t = 0; t < 8; t++)
            c ^= tables[7 - t][(v >> (8 * t)) & 0xFF];
    }
    for (; n > 0; n--, p++)
        c = (c >> 8) ^ tables[0][(c ^ *p) & 0xFF];
    return ~c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc32c_hw(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t c = ~crc;

    for (; n >= 8; n -= 8, p += 8)
        c = _mm_crc32_u64(c, get_u64(p));
    for (; n > 0; n--, p++)
        c = _mm_crc32_u8((uint32_t) c, *p);
    return ~(uint32_t) c;
}

static int
has_hw(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t
crc32c_hw(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t c = ~crc;

    for (; n >= 8; n -= 8, p += 8)
        c = __crc32cd(c, get_u64(p));
    for (; n > 0; n--, p++)
        c = __crc32cb(c, *p);
    return ~c;
}

static int
has_hw(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}
#else
#define crc32c_hw crc32c_table
#define has_hw()  0
#endif

uint32_t
crc32c(uint32_t crc, const void *data, size_t n)
{
    return has_hw() ? crc32c_hw(crc, data, n) : crc32c_table(crc, data, n);
}
