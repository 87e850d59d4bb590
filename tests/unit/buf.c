#include "unit.h"

static void bytes_are_added_with_their_length(void)
{
    struct buf b = BUF_INIT;

    CHECK_TEXT(buf_text(&b), "");
    CHECK(b.p == NULL);
    buf_add(&b, "a\0b", 3);
    buf_puts(&b, "cd");
    buf_char(&b, 'e');
    buf_str(&b, STR("fg"));
    buf_str(&b, (struct str){NULL, 0});
    CHECK_INT((int64_t)b.n, 8);
    CHECK(memcmp(buf_text(&b), "a\0bcdefg", 9) == 0);
    buf_free(&b);
    CHECK(b.p == NULL && b.n == 0 && b.room == 0);
}

static void integers_are_written_at_both_ends_of_their_range(void)
{
    struct buf b = BUF_INIT;

    buf_int(&b, 0);
    buf_char(&b, ' ');
    buf_int(&b, INT64_MIN);
    buf_char(&b, ' ');
    buf_int(&b, INT64_MAX);
    CHECK_TEXT(buf_text(&b), "0 -9223372036854775808 9223372036854775807");
    buf_free(&b);
}

static void formatted_text_of_any_length_fits(void)
{
    struct buf b = BUF_INIT;

    for (int n = 0; n < 300; n++) {
        buf_reset(&b);
        buf_puts(&b, "x");
        buf_printf(&b, "%*s", n, "");
        CHECK_INT((int64_t)b.n, n + 1);
        CHECK_INT((int64_t)strlen(buf_text(&b)), n + 1);
    }
    buf_free(&b);
}

static void a_splice_replaces_bytes_with_more_fewer_or_none(void)
{
    static const struct {
        size_t at, cut;
        const char *with, *result;
    } rows[] = {
        {0, 0, "", "abcdef"},          {0, 0, "xy", "xyabcdef"}, {6, 0, "xy", "abcdefxy"},
        {2, 2, "xy", "abxyef"},        {2, 2, "", "abef"},       {0, 6, "", ""},
        {1, 1, "12345", "a12345cdef"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = BUF_INIT;

        unit_row(rows[i].result);
        buf_puts(&b, "abcdef");
        buf_splice(&b, rows[i].at, rows[i].cut, rows[i].with, strlen(rows[i].with));
        CHECK_TEXT(buf_text(&b), rows[i].result);
        buf_free(&b);
    }
}

static void needed_room_keeps_views_in_place(void)
{
    struct buf b = BUF_INIT;
    const char *before;

    buf_need(&b, 1000);
    before = b.p;
    for (int i = 0; i < 1000; i++)
        buf_char(&b, 'x');
    CHECK_INT((int64_t)strlen(buf_text(&b)), 1000);
    CHECK(b.p == before);
    buf_reset(&b);
    CHECK(b.p == before && b.n == 0);
    buf_free(&b);
}

static void a_shrunk_buffer_keeps_small_blocks_only(void)
{
    struct buf b = BUF_INIT;

    buf_puts(&b, "small");
    buf_shrink(&b, 1000);
    CHECK(b.p != NULL && b.n == 0);
    buf_need(&b, 5000);
    buf_shrink(&b, 1000);
    CHECK(b.p == NULL && b.n == 0);
    buf_free(&b);
}

static void absent_is_not_the_same_as_empty(void)
{
    struct str absent = {NULL, 0};

    CHECK(str_eq(absent, str_of(NULL)));
    CHECK(!str_eq(absent, STR("")));
    CHECK(str_eq(STR(""), str_of("")));
    CHECK(!str_is(absent, ""));
    CHECK(str_is(STR("ab"), "ab"));
    CHECK(!str_is(STR("ab"), "abc"));
    CHECK(!str_is(STR("a\0b"), "a"));
}

static void distance_counts_the_smallest_number_of_edits(void)
{
    static const struct {
        const char *a, *b;
        int distance;
    } rows[] = {{"", "", 0},           {"", "abc", 3},          {"email", "email", 0},
                {"emial", "email", 1}, {"mail", "email", 1},    {"e-mail", "email", 1},
                {"type", "tape", 1},   {"kitten", "sitting", 3}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unit_row(rows[i].a);
        CHECK_INT((int64_t)str_distance(str_of(rows[i].a), str_of(rows[i].b)), rows[i].distance);
        CHECK_INT((int64_t)str_distance(str_of(rows[i].b), str_of(rows[i].a)), rows[i].distance);
    }
}

int main(void)
{
    RUN(bytes_are_added_with_their_length);
    RUN(integers_are_written_at_both_ends_of_their_range);
    RUN(formatted_text_of_any_length_fits);
    RUN(a_splice_replaces_bytes_with_more_fewer_or_none);
    RUN(needed_room_keeps_views_in_place);
    RUN(a_shrunk_buffer_keeps_small_blocks_only);
    RUN(absent_is_not_the_same_as_empty);
    RUN(distance_counts_the_smallest_number_of_edits);
    return unit_done();
}
