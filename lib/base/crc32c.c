#include "base/crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t portable(uint32_t crc, const unsigned char *p, size_t n)
{
    static uint32_t table[256];

    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = (c & 1) ? c >> 1 ^ POLYNOMIAL : c >> 1;
            table[i] = c;
        }
    while (n-- > 0)
        crc = table[(crc ^ *p++) & 255] ^ crc >> 8;
    return crc;
}

#ifdef __x86_64__
/* 300 bytes take 40 ns this way, and 800 ns with the table, which is a quarter of the cost of an
   insert. */
__attribute__((target("sse4.2"))) static uint32_t hardware(uint32_t crc, const unsigned char *p,
                                                           size_t n)
{
    uint64_t wide = crc, word;

    for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(&word, p, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    while (n-- > 0)
        crc = __builtin_ia32_crc32qi(crc, *p++);
    return crc;
}

uint32_t crc32c_on(uint32_t crc, const void *p, size_t n)
{
    static int have = -1;

    if (have < 0)
        have = __builtin_cpu_supports("sse4.2") != 0;
    return ~(have ? hardware(~crc, p, n) : portable(~crc, p, n));
}
#else
uint32_t crc32c_on(uint32_t crc, const void *p, size_t n)
{
    return ~portable(~crc, p, n);
}
#endif

uint32_t crc32c(const void *p, size_t n)
{
    return crc32c_on(0, p, n);
}
