/*
 * sha1: SHA-1 (RFC 3174), for ids that are derived from other ids, as UUIDs of version 5 are (RFC
 * 9562). Not for anything that an attacker could gain from breaking.
 */
#ifndef BASE_SHA1_H
#define BASE_SHA1_H

#include <stddef.h>
#include <stdint.h>

struct sha1 {
    uint32_t h[5];
    unsigned char block[64];
    uint64_t n; /* bytes so far */
};

void sha1_init(struct sha1 *s);
void sha1_add(struct sha1 *s, const void *p, size_t n);
void sha1_end(struct sha1 *s, unsigned char out[20]);

#endif
