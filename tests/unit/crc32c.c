/* The checksums of RFC 3720, B.4, and of pieces; whatever the processor can do. */
#include "base/crc32c.h"

#include "unit.h"

static void known_checksums(void)
{
    char bytes[32];

    CHECK_INT(crc32c("123456789", 9), 0xe3069283);
    CHECK_INT(crc32c("", 0), 0);
    CHECK_INT(crc32c(memset(bytes, 0, sizeof bytes), sizeof bytes), 0x8a9136aa);
    CHECK_INT(crc32c(memset(bytes, 0xff, sizeof bytes), sizeof bytes), 0x62a8ab43);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    CHECK_INT(crc32c(bytes, sizeof bytes), 0x46dd794e);
}

/* One bit at a time, as the standard has it. */
static uint32_t slow(const char *p, size_t n)
{
    uint32_t crc = ~UINT32_C(0);

    while (n-- > 0) {
        crc ^= (unsigned char)*p++;
        for (int i = 0; i < 8; i++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

static void any_length_in_any_pieces(void)
{
    char bytes[70];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 37 + 11);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        CHECK_INT(crc32c(bytes, n), slow(bytes, n));
        for (size_t cut = 0; cut <= n; cut += 3) {
            const struct str pieces[] = {{bytes, cut}, {NULL, 0}, {bytes + cut, n - cut}};
            CHECK_INT(crc32c_of(pieces, 3), slow(bytes, n));
        }
    }
}

int main(void)
{
    RUN(known_checksums);
    RUN(any_length_in_any_pieces);
    return unit_done();
}
