#include "base/crc32c.h"

#include <string.h>

/* Four bits at a time. */
static uint32_t portable(uint32_t crc, const unsigned char *p, size_t n)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    while (n-- > 0) {
        crc ^= *p++;
        crc = table[crc & 15] ^ crc >> 4;
        crc = table[crc & 15] ^ crc >> 4;
    }
    return crc;
}

#ifdef __x86_64__
#define HARDWARE __attribute__((target("sse4.2"))) static inline

HARDWARE uint64_t eight(uint64_t crc, const unsigned char *p)
{
    uint64_t bytes;

    memcpy(&bytes, p, sizeof bytes);
    return __builtin_ia32_crc32di(crc, bytes);
}

/* Fewer than eight bytes. */
HARDWARE uint64_t few(uint64_t crc, const unsigned char *p, size_t n)
{
    uint32_t four;
    uint16_t two;

    if (n & 4) {
        memcpy(&four, p, sizeof four);
        crc = __builtin_ia32_crc32si((uint32_t)crc, four);
        p += sizeof four;
    }
    if (n & 2) {
        memcpy(&two, p, sizeof two);
        crc = __builtin_ia32_crc32hi((uint32_t)crc, two);
        p += sizeof two;
    }
    return n & 1 ? __builtin_ia32_crc32qi((uint32_t)crc, *p) : crc;
}

/* 300 bytes take 30 ns this way, and 800 ns with a table of 256, a quarter of the cost of an
   insert. Each step waits for the one before it: the fewer instructions there are beside them, the
   more of what follows runs meanwhile. */
HARDWARE uint64_t hardware(uint64_t crc, const unsigned char *p, size_t n)
{
    const unsigned char *end = p + n;
    uint64_t last;

    if (n < 8)
        return few(crc, p, n);
    for (; end - p >= 32; p += 32)
        crc = eight(eight(eight(eight(crc, p), p + 8), p + 16), p + 24);
    for (; end - p >= 8; p += 8)
        crc = eight(crc, p);
    n = (size_t)(end - p);
    if (n == 0)
        return crc;
    /* The n bytes that are left, without a jump that depends on n: zero bytes before them do not
       change a crc of zero. */
    memcpy(&last, end - sizeof last, sizeof last);
    last = (last >> (64 - 8 * n) ^ crc) << (64 - 8 * n);
    return __builtin_ia32_crc32di(0, last) ^ crc >> 8 * n;
}

__attribute__((target("sse4.2"))) static uint64_t by_hardware(uint64_t crc, const struct str *piece,
                                                              size_t n)
{
    for (; n > 0; n--, piece++)
        crc = hardware(crc, (const unsigned char *)piece->p, piece->n);
    return crc;
}
#endif

uint32_t crc32c_of(const struct str *piece, size_t n)
{
    uint32_t crc = ~UINT32_C(0);

#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return (uint32_t)~by_hardware(crc, piece, n);
#endif
    for (; n > 0; n--, piece++)
        crc = portable(crc, (const unsigned char *)piece->p, piece->n);
    return ~crc;
}

uint32_t crc32c(const void *p, size_t n)
{
    return crc32c_of(&(const struct str){p, n}, 1);
}
