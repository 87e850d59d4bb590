#include "base/uuid.h"

#include "base/clock.h"

static void write_uuid(char out[UUID_SIZE], uint64_t high, uint64_t low)
{
    static const char hex[] = "0123456789abcdef";
    char *p = out;

    low = (low & UINT64_MAX >> 2) | UINT64_C(1) << 63; /* the variant */
    for (int i = 0; i < 32; i++) {
        uint64_t word = i < 16 ? high : low;
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *p++ = '-';
        *p++ = hex[word >> (60 - 4 * (i % 16)) & 15];
    }
    *p = '\0';
}

void uuid_v7(char out[UUID_SIZE])
{
    static int64_t last_ms;
    static uint64_t count;
    int64_t now = clock_now_ms();

    if (now > last_ms) {
        last_ms = now;
        count = clock_random() & 0x1ff; /* leaves room for 3,500 ids in this millisecond */
    } else if (++count > 0xfff) {
        last_ms++;
        count = clock_random() & 0x1ff;
    }
    write_uuid(out, (uint64_t)last_ms << 16 | 0x7000 | count, clock_random());
}

void uuid_v8(char out[UUID_SIZE], int64_t ms, const unsigned char digest[10])
{
    uint64_t low = 0;

    for (int i = 2; i < 10; i++)
        low = low << 8 | digest[i];
    write_uuid(out, (uint64_t)ms << 16 | 0x8000 | ((uint64_t)digest[0] << 8 | digest[1]) >> 4, low);
}
