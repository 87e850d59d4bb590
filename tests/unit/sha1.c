/* sha1: the examples of RFC 3174 and of FIPS 180, and every length around a block. */
#include "unit.h"

#include "base/buf.h"
#include "base/sha1.h"

#include <string.h>

static struct buf hex;

static const char *digest(const char *text, size_t n, size_t step)
{
    unsigned char out[20];
    struct sha1 s;

    sha1_init(&s);
    for (size_t at = 0; at < n; at += step)
        sha1_add(&s, text + at, n - at < step ? n - at : step);
    sha1_end(&s, out);
    buf_reset(&hex);
    for (size_t i = 0; i < sizeof out; i++)
        buf_printf(&hex, "%02x", out[i]);
    return buf_text(&hex);
}

static void the_published_examples_come_out(void)
{
    static const struct {
        const char *text, *digest;
    } rows[] = {
        {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unit_row(rows[i].text);
        CHECK_TEXT(digest(rows[i].text, strlen(rows[i].text), 64), rows[i].digest);
    }
    static char a[1000000];
    memset(a, 'a', sizeof a);
    CHECK_TEXT(digest(a, sizeof a, 77), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

static void pieces_and_the_whole_are_the_same(void)
{
    static char text[200];

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)i;
    for (size_t n = 0; n < sizeof text; n++) {
        char whole[41];
        strcpy(whole, digest(text, n, n + 1));
        CHECK_TEXT(digest(text, n, 1), whole);
        CHECK_TEXT(digest(text, n, 63), whole);
    }
}

int main(void)
{
    RUN(the_published_examples_come_out);
    RUN(pieces_and_the_whole_are_the_same);
    buf_free(&hex);
    return unit_done();
}
