/* Failures of one kind have one fingerprint, those of another kind another. */
#include "event/fingerprint.h"
#include "unit.h"

static const struct {
    const char *said, *print;
} rows[] = {
    {"", ""},
    {"\n\n", ""},
    {"connection refused\n", "connection refused"},
    {"\n  second line first\nthird", "second line first"},
    {"order 8812 has no card", "order N has no card"},
    {"connect to 10.0.0.7:5432: connection refused", "connect to ID: connection refused"},
    {"id 01a1fc76-63ee-70c2-91b5-18082afb5698 is gone", "id ID is gone"},
    {"at 2026-11-21T10:00:00Z: late", "at ID: late"},
    {"no such user \"ann lee\"", "no such user \"…\""},
    {"unfinished \"quote", "unfinished \"quote"},
    {"./check: 5: [: Illegal number: 1:5", "./check: N: [: Illegal number: ID"},
    {"exit-status not-found", "exit-status not-found"},
    {"caf\xc3\xa9 7", "caf\xc3\xa9 N"},
    {"tab\there 12ms", "tab\there ID"},
};

static void a_fingerprint_masks_what_differs(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF_INIT;
        unit_row(rows[i].said);
        fingerprint(&b, str_of(rows[i].said));
        CHECK_TEXT(buf_text(&b), rows[i].print);
        buf_free(&b);
    }
}

static void a_fingerprint_is_short_whatever_was_said(void)
{
    struct buf said = BUF_INIT, b = BUF_INIT;

    for (int i = 0; i < 10000; i++)
        buf_puts(&said, "word ");
    fingerprint(&b, (struct str){said.p, said.n});
    CHECK(b.n == 200);
    buf_free(&said);
    buf_free(&b);
}

int main(void)
{
    RUN(a_fingerprint_masks_what_differs);
    RUN(a_fingerprint_is_short_whatever_was_said);
    return unit_done();
}
