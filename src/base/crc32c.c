/* CRC-32C by the SSE4.2 / ARMv8 instruction, or by eight tables. Runs in every process; the tables
 * are made once. Three streams at a time and putting them together by tables: the instruction takes
 * three cycles, but one can begin in each (V. Gopal and others, Intel, 2011). */
#include "base/crc32c.h"

#include "base/buf.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define POLY   UINT32_C(0x82F63B78) /* 0x1EDC6F41 reflected */
#define STREAM 256u                 /* bytes of each of the three; a power of two */

static uint32_t tables[8][256];

/* Byte k of a CRC, as it is after STREAM and 2 * STREAM zeros. */
static uint32_t shifts[2][4][256];

static uint32_t
times(const uint32_t matrix[32], uint32_t v)
{
    uint32_t r = 0;

    for (uint32_t i = 0; v != 0; i++, v >>= 1)
        r ^= (v & 1) != 0 ? matrix[i] : 0;
    return r;
}

static void
make_shifts(void)
{
    uint32_t m[32]; /* what `bytes` zeros make of each bit */

    for (uint32_t i = 0; i < 32; i++)
        m[i] = (UINT32_C(1) << i) >> 8 ^ tables[0][(UINT32_C(1) << i) & 0xFF];
    for (uint32_t bytes = 1; bytes <= 2 * STREAM; bytes *= 2) {
        uint32_t square[32];

        for (uint32_t i = 0; bytes >= STREAM && i < 4 * 256; i++)
            shifts[bytes / STREAM - 1][i / 256][i % 256] = times(m, i % 256 << i / 256 * 8);
        for (uint32_t i = 0; i < 32; i++)
            square[i] = times(m, m[i]);
        memcpy(m, square, sizeof m);
    }
}

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
    make_shifts();
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

#if defined(__x86_64__) || defined(__aarch64__)
#if defined(__x86_64__)
#define TARGET          __attribute__((target("sse4.2")))
#define CRC_OF_8(c, v)  ((uint32_t) _mm_crc32_u64((c), (v)))
#define CRC_OF_1(c, v)  _mm_crc32_u8((c), (v))
#define HAS_INSTRUCTION __builtin_cpu_supports("sse4.2")
#else
#define TARGET          __attribute__((target("+crc")))
#define CRC_OF_8(c, v)  __crc32cd((c), (v))
#define CRC_OF_1(c, v)  __crc32cb((c), (v))
#define HAS_INSTRUCTION ((getauxval(AT_HWCAP) & HWCAP_CRC32) != 0)
#endif

static uint32_t
shift(uint32_t by, uint32_t c)
{
    return shifts[by][0][c & 0xFF] ^ shifts[by][1][c >> 8 & 0xFF] ^ shifts[by][2][c >> 16 & 0xFF] ^
           shifts[by][3][c >> 24];
}

TARGET static uint32_t
crc32c_hw(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t c = ~crc;

    for (; n >= (size_t) 3 * STREAM; n -= (size_t) 3 * STREAM, p += (size_t) 3 * STREAM) {
        uint32_t second = 0;
        uint32_t third = 0;

        for (uint32_t i = 0; i < STREAM; i += 8) {
            c = CRC_OF_8(c, get_u64(p + i));
            second = CRC_OF_8(second, get_u64(p + STREAM + i));
            third = CRC_OF_8(third, get_u64(p + (size_t) 2 * STREAM + i));
        }
        c = shift(1, c) ^ shift(0, second) ^ third;
    }
    for (; n >= 8; n -= 8, p += 8)
        c = CRC_OF_8(c, get_u64(p));
    for (; n > 0; n--, p++)
        c = CRC_OF_1(c, *p);
    return ~c;
}
#else
#define crc32c_hw       crc32c_table
#define HAS_INSTRUCTION 0
#endif

uint32_t
crc32c(uint32_t crc, const void *data, size_t n)
{
    return HAS_INSTRUCTION ? crc32c_hw(crc, data, n) : crc32c_table(crc, data, n);
}
