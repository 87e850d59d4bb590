#include "base/sha1.h"

#include <string.h>

static uint32_t rotate(uint32_t x, int bits)
{
    return x << bits | x >> (32 - bits);
}

/* RFC 3174, 6.1. */
static void take_block(struct sha1 *s)
{
    uint32_t w[80], h[5];

    for (int i = 0; i < 16; i++) {
        const unsigned char *p = s->block + (size_t)4 * (size_t)i;
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(h, s->h, sizeof h);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20   ? (h[1] & h[2]) | (~h[1] & h[3])
                     : i < 40 ? h[1] ^ h[2] ^ h[3]
                     : i < 60 ? (h[1] & h[2]) | (h[1] & h[3]) | (h[2] & h[3])
                              : h[1] ^ h[2] ^ h[3];
        uint32_t k = i < 20   ? 0x5a827999u
                     : i < 40 ? 0x6ed9eba1u
                     : i < 60 ? 0x8f1bbcdcu
                              : 0xca62c1d6u;
        uint32_t next = rotate(h[0], 5) + f + h[4] + w[i] + k;
        h[4] = h[3];
        h[3] = h[2];
        h[2] = rotate(h[1], 30);
        h[1] = h[0];
        h[0] = next;
    }
    for (int i = 0; i < 5; i++)
        s->h[i] += h[i];
}

void sha1_init(struct sha1 *s)
{
    *s = (struct sha1){.h = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u}};
}

void sha1_add(struct sha1 *s, const void *p, size_t n)
{
    const unsigned char *from = p;

    while (n > 0) {
        size_t at = s->n % 64, part = n < 64 - at ? n : 64 - at;
        memcpy(s->block + at, from, part);
        s->n += part;
        from += part;
        n -= part;
        if (at + part == 64)
            take_block(s);
    }
}

void sha1_end(struct sha1 *s, unsigned char out[20])
{
    static const unsigned char padding[64] = {0x80};
    unsigned char length[8];
    uint64_t bits = s->n * 8;

    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    sha1_add(s, padding, 1 + (119 - s->n % 64) % 64);
    sha1_add(s, length, sizeof length);
    for (int i = 0; i < 20; i++)
        out[i] = (unsigned char)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}
