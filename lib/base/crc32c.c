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
/* 300 bytes take 40 ns this way, and 800 ns with a table of 256, a quarter of the cost of an
   insert. Three strands side by side would save a third of it, which is 2 % of reading an event. */
__attribute__((target("sse4.2"))) static uint32_t hardware(uint32_t crc, const unsigned char *p,
                                                           size_t n)
{
    uint64_t wide = crc, eight;
    uint32_t four;
    uint16_t two;

    for (; n >= sizeof eight; p += sizeof eight, n -= sizeof eight) {
        memcpy(&eight, p, sizeof eight);
        wide = __builtin_ia32_crc32di(wide, eight);
    }
    crc = (uint32_t)wide;
    if (n & 4) {
        memcpy(&four, p, sizeof four);
        crc = __builtin_ia32_crc32si(crc, four);
        p += sizeof four;
    }
    if (n & 2) {
        memcpy(&two, p, sizeof two);
        crc = __builtin_ia32_crc32hi(crc, two);
        p += sizeof two;
    }
    return n & 1 ? __builtin_ia32_crc32qi(crc, *p) : crc;
}
#endif

uint32_t crc32c_of(const struct str *piece, size_t n)
{
    uint32_t crc = ~UINT32_C(0);

#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) {
        for (; n > 0; n--, piece++)
            crc = hardware(crc, (const unsigned char *)piece->p, piece->n);
        return ~crc;
    }
#endif
    for (; n > 0; n--, piece++)
        crc = portable(crc, (const unsigned char *)piece->p, piece->n);
    return ~crc;
}

uint32_t crc32c(const void *p, size_t n)
{
    return crc32c_of(&(const struct str){p, n}, 1);
}
