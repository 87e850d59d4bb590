/*
 * Every input is copied into a block of exactly its size, so that the address sanitizer sees a read
 * beyond it. SEED=N repeats a random run; a failed check names it.
 */
#include "base/json.h"

#include "base/mem.h"
#include "unit.h"

#include <jansson.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ROWS(table) (sizeof(table) / sizeof(table)[0])

static struct js_scan scan = JS_SCAN_INIT;
static struct err error;
static struct str exact; /* the copy that scan's results are views of */

static struct str copy(struct str s)
{
    free((char *)(uintptr_t)exact.p);
    exact = (struct str){memcpy(mem_alloc(s.n), s.n > 0 ? s.p : "", s.n), s.n};
    return exact;
}

static bool accepts(struct str line)
{
    line = copy(line);
    error = (struct err)ERR_NONE;
    return js_scan(&scan, line.p, line.n, &error) == 0;
}

static void refuses(struct str line, const char *message)
{
    CHECK(!accepts(line));
    CHECK_INT(error.status, EX_DATAERR);
    CHECK_TEXT(error.text, message);
}

static struct str repeat(struct buf *b, size_t times, const char *text)
{
    while (times-- > 0)
        buf_puts(b, text);
    return (struct str){b->p, b->n};
}

/* ----------------------------------------------------------------------------------- the corpus */

struct corpus {
    struct buf file;
    struct str *line;
    size_t lines;
};

static struct corpus valid, invalid;

static bool load(struct corpus *c, const char *name)
{
    const char *top = getenv("TOP");
    char path[1000], block[4096];
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "%s/tests/data/json/%s", top != NULL ? top : ".", name);
    f = fopen(path, "r");
    if (f == NULL) {
        perror(path);
        return false;
    }
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_add(&c->file, block, n);
    fclose(f);
    c->line = mem_alloc((c->file.n + 1) * sizeof *c->line);
    for (size_t at = 0; at < c->file.n; at += n + 1) {
        n = (size_t)((char *)memchr(c->file.p + at, '\n', c->file.n - at) - (c->file.p + at));
        c->line[c->lines++] = (struct str){c->file.p + at, n};
    }
    return true;
}

/* \xNN is a byte; other backslashes stay. */
static void unescape(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char digits[3] = "";

        if (s.n - i < 4 || s.p[i] != '\\' || s.p[i + 1] != 'x') {
            buf_char(b, s.p[i]);
            continue;
        }
        memcpy(digits, s.p + i + 2, 2);
        buf_char(b, (char)strtol(digits, NULL, 16));
        i += 3;
    }
}

static void name_row(struct str line)
{
    struct buf b = BUF_INIT;

    buf_str(&b, line);
    unit_row(buf_text(&b));
    buf_free(&b);
}

static void every_valid_line_is_accepted(void)
{
    CHECK(valid.lines > 100);
    for (size_t i = 0; i < valid.lines; i++) {
        name_row(valid.line[i]);
        CHECK(accepts(valid.line[i]));
        CHECK_TEXT(error.text, "");
        CHECK(scan.value.n > 0 && scan.value.p >= exact.p);
        CHECK_INT(scan.kind, js_kind(scan.value));
        CHECK(scan.kind == JS_OBJECT || scan.members == 0);
    }
}

static void every_invalid_line_is_refused_with_its_message(void)
{
    struct buf input = BUF_INIT, message = BUF_INIT;

    CHECK(invalid.lines > 200);
    for (size_t i = 0; i < invalid.lines; i++) {
        struct str row = invalid.line[i];
        const char *tab = row.n == 0 || *row.p == '#' ? NULL : memchr(row.p, '\t', row.n);

        if (tab == NULL)
            continue;
        name_row(row);
        buf_reset(&input);
        buf_reset(&message);
        unescape(&input, (struct str){row.p, (size_t)(tab - row.p)});
        buf_add(&message, tab + 1, (size_t)(row.p + row.n - tab) - 1);
        refuses((struct str){input.p, input.n}, buf_text(&message));
    }
    buf_free(&input);
    buf_free(&message);
}

static void a_line_that_was_cut_anywhere_is_refused(void)
{
    for (size_t i = 0; i < valid.lines; i++) {
        struct str line = valid.line[i];

        if (!CHECK(accepts(line)) || scan.kind < JS_STRING)
            continue; /* a number's first digits are a number */
        for (size_t n = (size_t)(scan.value.p - exact.p) + scan.value.n; n-- > 0;) {
            name_row((struct str){line.p, n});
            CHECK(!accepts((struct str){line.p, n}));
            CHECK(strstr(error.text, "(input ends)") != NULL ||
                  strstr(error.text, "invalid UTF-8") != NULL ||
                  strstr(error.text, "unpaired surrogate") != NULL);
        }
    }
}

/* ------------------------------------------------------------------------------ what scan notes */

static void check_member(const char *key, size_t key_at, const char *value, enum js_kind kind)
{
    const struct js_member *m = js_member(&scan, key);

    if (!CHECK(m != NULL))
        return;
    CHECK_STR(m->key, key);
    CHECK_STR(m->value, value);
    CHECK(m->value.p > exact.p && m->value.p < exact.p + exact.n);
    CHECK_INT((int64_t)m->key_at, (int64_t)key_at);
    CHECK_INT(m->kind, kind);
}

static void members_are_spans_of_the_line(void)
{
    CHECK(accepts(STR(" { \"a\" : -1.50 ,\"b\":\"x\\n\",\"\\u0063\":[ 1 ],\"d\":{\"a\":{}} , \"\": "
                      "null,\"t\":true} \r\n")));
    CHECK_INT(scan.kind, JS_OBJECT);
    CHECK_INT((int64_t)scan.members, 6);
    CHECK_INT(scan.value.p - exact.p, 1);
    CHECK_INT((int64_t)scan.value.n, (int64_t)exact.n - 4);
    check_member("a", 3, "-1.50", JS_NUMBER);
    check_member("b", 16, "\"x\\n\"", JS_STRING);
    check_member("c", 26, "[ 1 ]", JS_ARRAY);
    check_member("d", 41, "{\"a\":{}}", JS_OBJECT);
    check_member("", 56, "null", JS_NULL);
    check_member("t", 65, "true", JS_BOOL);
    CHECK(js_member(&scan, "e") == NULL);
    CHECK(scan.member[0].key.p == exact.p + 4); /* without escapes no copy */
    CHECK(scan.member[3].key.p == exact.p + 42);
}

static void only_objects_have_members(void)
{
    CHECK(accepts(STR("{\"a\":1}")));
    CHECK(accepts(STR("[{\"b\":1}]")));
    CHECK_INT((int64_t)scan.members, 0);
    CHECK(js_member(&scan, "a") == NULL);
    CHECK(accepts(STR("{\"c\":1}")));
    CHECK(!accepts(STR("{\"c\":1} 2")));
    CHECK_INT((int64_t)scan.members, 0);
    CHECK(scan.value.p == NULL);
    CHECK(accepts(STR("{}")));
    CHECK_INT((int64_t)scan.members, 0);
    CHECK_STR(scan.value, "{}");
    CHECK(accepts(STR("\n[\n]\n")));
    CHECK_STR(scan.value, "[\n]");
}

static void decoded_keys_stay_where_they_are(void)
{
    struct buf b = BUF_INIT;
    char key[40];

    buf_char(&b, '{');
    for (int i = 0; i < 3000; i++)
        buf_printf(&b, "%s\"\\u00e9\\ud83d\\ude00%d\":{\"\\n%d\":{\"\\t\":1}}", i > 0 ? "," : "", i,
                   i);
    buf_char(&b, '}');
    CHECK(accepts((struct str){b.p, b.n}));
    CHECK_INT((int64_t)scan.members, 3000);
    for (size_t i = 0; i < scan.members; i++) {
        snprintf(key, sizeof key, "é😀%d", (int)i);
        if (!CHECK_STR(scan.member[i].key, key))
            break;
    }
    buf_free(&b);
}

/* --------------------------------------------------------------------------------------- limits */

static void depth_has_a_limit(void)
{
    static const size_t too_deep[] = {129, 130, 10000, 1000000};
    struct buf b = BUF_INIT;

    repeat(&b, JS_DEPTH_MAX, "[");
    CHECK(accepts(repeat(&b, JS_DEPTH_MAX, "]")));
    for (size_t i = 0; i < ROWS(too_deep); i++) {
        buf_reset(&b);
        refuses(repeat(&b, too_deep[i], "["), "nested deeper than 128 levels");
        buf_reset(&b);
        refuses(repeat(&b, too_deep[i], "{\"a\":"), "nested deeper than 128 levels");
    }
    buf_free(&b);
}

/* Keys of one length that differ at their end only, in an order that is neither up nor down. */
static void million_keys(struct buf *b, const char *start, const char *last)
{
    buf_char(b, '{');
    for (int i = 0; i < 1000000; i++)
        buf_printf(b, "\"%s%06d\":0,", start, (int)(i * INT64_C(7919) % 1000000));
    buf_printf(b, "\"%s\":0}", last);
}

static void an_envelope_is_one_level_more_also_after_a_line_of_many_keys(void)
{
    struct buf b = BUF_INIT;

    million_keys(&b, "a", "b");
    CHECK(accepts((struct str){b.p, b.n}));
    scan.envelope = true;
    buf_reset(&b);
    repeat(&b, JS_DEPTH_MAX + 1, "[");
    CHECK(accepts(repeat(&b, JS_DEPTH_MAX + 1, "]")));
    scan.envelope = false;
    buf_free(&b);
}

static void members_of_an_object_put_together_are_those_that_a_scan_finds(void)
{
    const struct str object = STR("{\"a\\u0062\":[1,{}],\"\":\"x\",\"a\\n\":-1.0}");

    CHECK(js_members(&scan, object, &error) == 0);
    CHECK_INT((int64_t)scan.members, 3);
    CHECK(scan.kind == JS_OBJECT && scan.value.p == object.p && scan.value.n == object.n);
    CHECK_STR(scan.member[0].key, "ab");
    CHECK_STR(scan.member[0].value, "[1,{}]");
    CHECK_INT((int64_t)scan.member[1].key_at, 18);
    CHECK_STR(scan.member[1].value, "\"x\"");
    CHECK_STR(scan.member[2].key, "a\n");
    CHECK(scan.member[2].kind == JS_NUMBER);
    CHECK(js_members(&scan, STR("{}"), &error) == 0 && scan.members == 0);
    error = (struct err)ERR_NONE;
    CHECK(js_members(&scan, STR("{\"ab\":1,\"c\":2,\"a\\u0062\":3}"), &error) < 0);
    CHECK_TEXT(error.text, "duplicate key \"ab\"");
}

/* Comparing all pairs would take an hour, and end at the limit that tests/run has for a file. */
static void a_million_chosen_keys_are_no_trouble(void)
{
    struct buf b = BUF_INIT;

    million_keys(&b, "kkkkkkkk", "kkkkkkkkk");
    CHECK(accepts((struct str){b.p, b.n}));
    CHECK_INT((int64_t)scan.members, 1000001);
    buf_reset(&b);
    million_keys(&b, "\\u006bk", "kk077777");
    refuses((struct str){b.p, b.n}, "duplicate key \"kk077777\"");
    buf_free(&b);
}

static void memory_follows_the_open_objects_and_is_given_back(void)
{
    struct buf b = BUF_INIT;

    million_keys(&b, "k", "k");
    CHECK(accepts((struct str){b.p, b.n}));
    buf_reset(&b);
    buf_char(&b, '[');
    repeat(&b, 500000, "{\"\\u0061\":{},\"b\":[{}]},");
    buf_puts(&b, "{}]");
    CHECK(accepts((struct str){b.p, b.n}));
    CHECK(scan.key_room < 100);
    CHECK(scan.member_room < 100);
    CHECK(scan.scratch.n < 100);
    CHECK(accepts(STR("{\"\\u0061\":1}")));
    CHECK(scan.scratch.room < 65536);
    buf_free(&b);
}

/* -------------------------------------------------------------------------------- single values */

static void strings_are_decoded(void)
{
    static const struct {
        const char *json, *text;
    } rows[] = {
        {"\"\"", ""},
        {"\"plain é\"", "plain é"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"a\\nb\\nc\"", "a\nb\nc"},
        {"\"\\u0041\\u00e9\\u00E9\\u20AC\\uffff\"", "Aéé€\xef\xbf\xbf"},
        {"\"\\ud83d\\ude00x\\uD800\\uDC00\\udbff\\udfff\"", "😀x\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        {"\"\\u007f\\u0080\\u07ff\\u0800\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80"},
        {"\"\\\\u0041\"", "\\u0041"},
    };
    struct buf into = BUF_INIT;

    for (size_t i = 0; i < ROWS(rows); i++) {
        unit_row(rows[i].json);
        buf_reset(&into);
        buf_puts(&into, "before");
        CHECK(accepts(str_of(rows[i].json)));
        CHECK_STR(js_string(scan.value, &into), rows[i].text);
        CHECK(strncmp(buf_text(&into), "before", 6) == 0);
    }
    buf_free(&into);
}

static void strings_without_escapes_are_not_copied(void)
{
    struct buf into = BUF_INIT;

    CHECK(accepts(STR("\"abc\"")));
    CHECK(js_string(scan.value, &into).p == scan.value.p + 1);
    CHECK(into.p == NULL);
    buf_need(&into, 100);
    CHECK(accepts(STR("[\"\\u0061\",\"\\n\"]")));
    struct str one = js_string(js_pointer(scan.value, "/0"), &into);
    struct str two = js_string(js_pointer(scan.value, "/1"), &into);
    CHECK_STR(one, "a");
    CHECK_STR(two, "\n");
    CHECK(two.p == one.p + 1);
    buf_free(&into);
}

static void integers_are_exact_or_none(void)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0},
        {"-0", 0},
        {"7", 7},
        {"-7", -7},
        {"9007199254740993", INT64_C(9007199254740993)},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775807", -INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    static const char *const bad[] = {
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1.0",
        "1e2",
        "-0.0",
        "99999999999999999999999999999999",
        "\"1\"",
        "null",
        "true",
        "[1]",
        "{}",
        "-",
        "",
    };
    int64_t got;

    for (size_t i = 0; i < ROWS(good); i++) {
        unit_row(good[i].text);
        got = 1;
        CHECK(js_integer(copy(str_of(good[i].text)), &got));
        CHECK_INT(got, good[i].value);
    }
    for (size_t i = 0; i < ROWS(bad); i++) {
        unit_row(bad[i]);
        CHECK(!js_integer(copy(str_of(bad[i])), &got));
    }
}

static void kinds_are_told_by_the_first_byte(void)
{
    CHECK_INT(js_kind(STR("null")), JS_NULL);
    CHECK_INT(js_kind(STR("true")), JS_BOOL);
    CHECK_INT(js_kind(STR("false")), JS_BOOL);
    CHECK_INT(js_kind(STR("-1")), JS_NUMBER);
    CHECK_INT(js_kind(STR("0")), JS_NUMBER);
    CHECK_INT(js_kind(STR("\"\"")), JS_STRING);
    CHECK_INT(js_kind(STR("[]")), JS_ARRAY);
    CHECK_INT(js_kind(STR("{}")), JS_OBJECT);
}

/* ----------------------------------------------------------------------------- inside of values */

static void pointers_name_values(void)
{
    /* The first twelve are the examples of RFC 6901, section 5. */
    static const char document[] =
        "{\"foo\": [\"bar\", \"baz\"], \"\": 0, \"a/b\": 1, \"c%d\": 2, \"e^f\": 3, \"g|h\": 4,"
        " \"i\\\\j\": 5, \"k\\\"l\": 6, \" \": 7, \"m~n\": 8,"
        " \"x\\u0079\" : { \"~1\" : [ [ ], { \"\" : { \"\" : \"deep\" } } ] }, \"é\": 9, \"0\": "
        "10}";
    static const struct {
        const char *pointer, *value;
    } rows[] = {
        {"", document},        {"/foo", "[\"bar\", \"baz\"]"},
        {"/foo/0", "\"bar\""}, {"/", "0"},
        {"/a~1b", "1"},        {"/c%d", "2"},
        {"/e^f", "3"},         {"/g|h", "4"},
        {"/i\\j", "5"},        {"/k\"l", "6"},
        {"/ ", "7"},           {"/m~0n", "8"},
        {"/foo/1", "\"baz\""}, {"/xy/~01/0", "[ ]"},
        {"/é", "9"},           {"/xy/~01/1//", "\"deep\""},
        {"/0", "10"},          {"/foo/2", NULL},
        {"/foo/-", NULL},      {"/foo/00", NULL},
        {"/foo/01", NULL},     {"/foo/-1", NULL},
        {"/foo/+1", NULL},     {"/foo/", NULL},
        {"/foo/1e0", NULL},    {"/foo/99999999999999999999", NULL},
        {"/foo/bar", NULL},    {"/foo/0/0", NULL},
        {"/a~1b/c", NULL},     {"/Foo", NULL},
        {"/fo", NULL},         {"/fooo", NULL},
        {"/none/0", NULL},     {"/xy/~01/0/0", NULL},
        {"/xy/~1", NULL},
    };

    for (size_t i = 0; i < ROWS(rows); i++) {
        unit_row(rows[i].pointer);
        CHECK(accepts(str_of(document)));
        CHECK_INT(js_pointer_check(rows[i].pointer, &error), 0);
        CHECK_STR(js_pointer(scan.value, rows[i].pointer), rows[i].value);
    }
    CHECK(js_pointer((struct str){NULL, 0}, "/a").p == NULL);
    CHECK(js_pointer((struct str){NULL, 0}, "").p == NULL);
}

static void what_is_no_pointer_is_refused(void)
{
    static const struct {
        const char *pointer, *message;
    } rows[] = {
        {"data", "\"data\" is not a JSON pointer: it does not begin with \"/\""},
        {"#/data", "\"#/data\" is not a JSON pointer: it does not begin with \"/\""},
        {"/a~", "\"/a~\" is not a JSON pointer: it has a \"~\" that is neither \"~0\" nor \"~1\""},
        {"/~0~2",
         "\"/~0~2\" is not a JSON pointer: it has a \"~\" that is neither \"~0\" nor \"~1\""},
        {"/\xff", "\"/\\xff\" is not a JSON pointer: it is not UTF-8"},
    };

    for (size_t i = 0; i < ROWS(rows); i++) {
        unit_row(rows[i].pointer);
        error = (struct err)ERR_NONE;
        CHECK_INT(js_pointer_check(rows[i].pointer, &error), -1);
        CHECK_INT(error.status, EX_USAGE);
        CHECK_TEXT(error.text, rows[i].message);
    }
}

static void each_steps_through_objects_and_arrays(void)
{
    struct str key = STR("unset"), item, object;
    size_t at = 0;

    object = copy(STR("{ \"a\" : 1 , \"\\u0062\":\"x,]}\\\"\",\"c\":[{\"d\":[]}, \"]\" ] }"));
    CHECK(js_each(object, &at, &key, &item));
    CHECK_STR(key, "\"a\"");
    CHECK_STR(item, "1");
    CHECK(js_each(object, &at, &key, &item));
    CHECK_STR(key, "\"\\u0062\"");
    CHECK_STR(item, "\"x,]}\\\"\"");
    CHECK(js_each(object, &at, &key, &item));
    CHECK_STR(key, "\"c\"");
    CHECK_STR(item, "[{\"d\":[]}, \"]\" ]");
    CHECK(!js_each(object, &at, &key, &item));
    CHECK(!js_each(object, &at, &key, &item));

    object = item;
    at = 0;
    CHECK(js_each(object, &at, &key, &item));
    CHECK(key.p == NULL);
    CHECK_STR(item, "{\"d\":[]}");
    CHECK(js_each(object, &at, &key, &item));
    CHECK_STR(item, "\"]\"");
    CHECK(!js_each(object, &at, &key, &item));
}

static void what_is_empty_or_simple_has_nothing_to_step_through(void)
{
    static const char *const rows[] = {"{}", "[]", "{ }", "[ ]", "1", "\"[1]\"", "null", ""};
    struct str key, item;

    for (size_t i = 0; i < ROWS(rows); i++) {
        size_t at = 0;

        unit_row(rows[i]);
        CHECK(!js_each(copy(str_of(rows[i])), &at, &key, &item));
    }
    CHECK(!js_each((struct str){NULL, 0}, &(size_t){0}, &key, &item));
}

static void members_are_found_in_any_object(void)
{
    struct str object = copy(STR("{\"a\":{\"b\":1},\"\\u0062\":2,\"c\\n\":3}"));

    CHECK_STR(js_get(object, "a"), "{\"b\":1}");
    CHECK_STR(js_get(object, "b"), "2");
    CHECK_STR(js_get(object, "c\n"), "3");
    CHECK_STR(js_get(object, "c"), NULL);
    CHECK_STR(js_get(js_get(object, "a"), "b"), "1");
    CHECK_STR(js_get(js_get(object, "b"), "b"), NULL);
    CHECK_STR(js_get(js_get(object, "none"), "b"), NULL);
    CHECK_STR(js_get(STR("[\"a\",1]"), "a"), NULL);
}

/* ---------------------------------------------------------------------------- UTF-8 and writing */

static void utf8_ends_at_the_first_bad_byte(void)
{
    static const struct {
        const char *bytes;
        size_t good;
    } rows[] = {
        {"", 0},
        {"plain", 5},
        {"\xc2\x80\xdf\xbf", 4},
        {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 12},
        {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8},
        {"a\x80", 1},
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xc3\xa9\xed\xa0\x80", 2},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"ab\xe2\x82", 2},
        {"\xf0\x9f\x98", 0},
        {"quote\" backslash\\ tab\t del\x7f", 27},
    };
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < ROWS(rows); i++)
        for (size_t before = 0; before < 10; before++) {
            unit_row(rows[i].bytes);
            buf_reset(&b);
            repeat(&b, before, "x");
            buf_puts(&b, rows[i].bytes);
            CHECK_INT((int64_t)js_utf8(copy((struct str){b.p, b.n})),
                      (int64_t)(rows[i].good + before));
        }
    CHECK_INT((int64_t)js_utf8((struct str){NULL, 0}), 0);
    CHECK_INT((int64_t)js_utf8((struct str){"a\0\xff", 3}), 2);
    buf_free(&b);
}

static void what_could_steer_a_terminal_is_quoted(void)
{
    static const struct {
        const char *text, *json;
    } rows[] = {
        {"", "\"\""},
        {"plain / é 日本 😀", "\"plain / é 日本 😀\""},
        {"\"\\\b\f\n\r\t", "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
        {"\x01\x1b[31m\x1f\x7f", "\"\\u0001\\u001b[31m\\u001f\\u007f\""},
        {"\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "\"\\u0080\\u009b\\u009f\xc2\xa0\""},
        {"\u2028\u2029\u202a\u202e\u2066\u2069\u200e\u200f\u061c",
         "\"\\u2028\\u2029\\u202a\\u202e\\u2066\\u2069\\u200e\\u200f\\u061c\""},
        {"\xef\xbf\xbe \xef\xb7\x90 \xf4\x8f\xbf\xbf", "\"\\ufffe \\ufdd0 \\udbff\\udfff\""},
        {"\u2027\u202f\u2065\u206a", "\"\u2027\u202f\u2065\u206a\""},
        {"a\xff"
         "b\xe2\x82",
         "\"a\xef\xbf\xbd"
         "b\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < ROWS(rows); i++) {
        unit_row(rows[i].text);
        buf_reset(&b);
        js_quote(&b, copy(str_of(rows[i].text)));
        CHECK_TEXT(buf_text(&b), rows[i].json);
    }
    buf_reset(&b);
    js_quote(&b, (struct str){"a\0b", 3});
    js_quote(&b, (struct str){NULL, 0});
    CHECK_TEXT(buf_text(&b), "\"a\\u0000b\"\"\"");
    buf_free(&b);
}

static void json_for_a_terminal_is_the_same_json(void)
{
    static const struct {
        const char *json, *shown;
    } rows[] = {
        {"", ""},
        {"{\"a\":[1.0, \"\\u001b é😀\"]}", "{\"a\":[1.0, \"\\u001b é😀\"]}"},
        {"[\t1,\r\n2]", "[ 1,  2]"},
        {"\"\x7f\xc2\x9b\u202e\xf4\x8f\xbf\xbe\"", "\"\\u007f\\u009b\\u202e\\udbff\\udffe\""},
    };
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < ROWS(rows); i++) {
        unit_row(rows[i].json);
        buf_reset(&b);
        js_show(&b, copy(str_of(rows[i].json)));
        CHECK_TEXT(buf_text(&b), rows[i].shown);
    }
    buf_free(&b);
}

/* ----------------------------------------------------------------------------------- properties */

static unsigned long long seed;
static uint64_t state;

static size_t below(size_t n)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (size_t)((z ^ z >> 31) % n);
}

static void name_random_row(struct str line)
{
    struct buf b = BUF_INIT;

    buf_printf(&b, "SEED=%llu: ", seed);
    buf_str(&b, line);
    unit_row(buf_text(&b));
    buf_free(&b);
}

static struct str random_line(void)
{
    struct str line;

    do
        line = valid.line[below(valid.lines)];
    while (line.n > 400);
    return line;
}

static const char *const pieces[] = {
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "0",
    "1",
    "-",
    ".",
    "e",
    "E+",
    "null",
    "true",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\u0061",
    "\\n",
    "\"a\"",
    "{\"a\":1}",
    "\"a\":1,",
    "[1]",
    "\xc3\xa9",
    "\xc3",
    "\xed\xa0\x80",
    "\xf4\x90\x80\x80",
    "\xff",
    "\x80",
    "\n",
    "\t",
    "\x1f",
    "\x7f",
    "1e400",
    "99999999999999999999",
    "-0",
};

static void mutate(struct buf *b)
{
    size_t at = below(b->n + 1), rest = b->n - at,
           n = rest > 0 ? below(rest < 9 ? rest : 9) + 1 : 0;
    const char *piece = pieces[below(ROWS(pieces))];
    struct str other = random_line();
    char byte = (char)below(256);

    switch (below(6)) {
    case 0:
        buf_splice(b, at, rest > 0, &byte, 1);
        break;
    case 1:
        buf_splice(b, at, 0, piece, strlen(piece));
        break;
    case 2:
        buf_splice(b, at, n, NULL, 0);
        break;
    case 3:
        buf_splice(b, at, n, piece, strlen(piece));
        break;
    case 4:
        buf_splice(b, at, 0, other.p, other.n);
        break;
    default:
        b->n = at + (n > 1 ? rest : 0);
    }
}

static void compare_value(struct str value, const json_t *theirs)
{
    static const enum js_kind kinds[] = {
        [JSON_OBJECT] = JS_OBJECT,  [JSON_ARRAY] = JS_ARRAY, [JSON_STRING] = JS_STRING,
        [JSON_INTEGER] = JS_NUMBER, [JSON_REAL] = JS_NUMBER, [JSON_TRUE] = JS_BOOL,
        [JSON_FALSE] = JS_BOOL,     [JSON_NULL] = JS_NULL,
    };
    struct buf text = BUF_INIT;
    int64_t number = 0;

    CHECK_INT(js_kind(value), kinds[json_typeof(theirs)]);
    if (json_is_string(theirs)) {
        CHECK_INT((int64_t)strlen(json_string_value(theirs)), (int64_t)json_string_length(theirs));
        CHECK_STR(js_string(value, &text), json_string_value(theirs));
    }
    CHECK_INT(js_integer(value, &number), json_is_integer(theirs));
    CHECK_INT(number, json_integer_value(theirs));
    buf_free(&text);
}

/* The same tree, item by item. */
static void compare(struct str value, json_t *theirs)
{
    struct buf name = BUF_INIT;
    struct str key, item;
    size_t count = 0;

    compare_value(value, theirs);
    for (size_t at = 0; js_each(value, &at, &key, &item); count++) {
        json_t *other = json_array_get(theirs, count);

        if (key.p != NULL) {
            buf_reset(&name);
            buf_need(&name, key.n);
            key = js_string(key, &name);
            if (name.n == 0)
                buf_str(&name, key);
            other = json_object_get(theirs, buf_text(&name));
            CHECK(js_get(value, buf_text(&name)).p == item.p);
        }
        if (CHECK(other != NULL))
            compare(item, other);
    }
    CHECK_INT((int64_t)count, (int64_t)(json_array_size(theirs) + json_object_size(theirs)));
    buf_free(&name);
}

static void agree(struct str line)
{
    json_error_t why;
    json_t *theirs = json_loadb(line.p, line.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    bool ours = accepts(line);

    if (ours && theirs != NULL) {
        compare(scan.value, theirs);
        if (scan.kind == JS_OBJECT)
            CHECK_INT((int64_t)scan.members, (int64_t)json_object_size(theirs));
    } else if (ours) { /* it has to represent numbers, we do not */
        CHECK_INT(json_error_code(&why), json_error_numeric_overflow);
    } else if (theirs != NULL) { /* it overlooks a NUL behind a number */
        CHECK(strncmp(error.text, "nested", 6) == 0 || memchr(line.p, 0, line.n) != NULL);
    }
    json_decref(theirs);
}

static void jansson_agrees_on_mutated_lines(void)
{
    struct buf b = BUF_INIT;
    clock_t begin = clock();

    for (size_t i = 0; i < valid.lines; i++) {
        name_row(valid.line[i]);
        agree(valid.line[i]);
    }
    for (int i = 0; i < 100000 && clock() - begin < CLOCKS_PER_SEC; i++) {
        buf_reset(&b);
        buf_str(&b, random_line());
        for (size_t times = below(3) + 1; times > 0; times--)
            mutate(&b);
        if (b.n > 0) {
            name_random_row((struct str){b.p, b.n});
            agree((struct str){b.p, b.n});
        }
    }
    buf_free(&b);
}

/* The sanitizers watch; without them this shows that every loop ends. */
static void readers_stay_inside_what_was_never_checked(void)
{
    struct buf b = BUF_INIT, text = BUF_INIT;
    clock_t begin = clock();

    for (int i = 0; i < 50000 && clock() - begin < CLOCKS_PER_SEC / 3; i++) {
        struct str value, key, item;
        size_t steps = 0;
        int64_t number;

        buf_reset(&b);
        buf_str(&b, random_line());
        mutate(&b);
        mutate(&b);
        value = copy((struct str){b.p, b.n});
        name_random_row(value);
        for (size_t at = 0; js_each(value, &at, &key, &item); steps++)
            CHECK(item.p >= value.p && item.p + item.n <= value.p + value.n);
        CHECK(steps <= value.n);
        js_string(value, &text);
        js_integer(value, &number);
        js_get(value, "data");
        js_pointer(value, "/data/items/0/sku");
        buf_reset(&text);
    }
    buf_free(&b);
    buf_free(&text);
}

static void quoted_text_reads_back(void)
{
    struct buf b = BUF_INIT, json = BUF_INIT, back = BUF_INIT;

    for (int i = 0; i < 5000; i++) {
        struct str text;

        buf_reset(&b);
        buf_str(&b, random_line());
        mutate(&b);
        b.n = js_utf8((struct str){b.p, b.n});
        b.n = strlen(buf_text(&b)); /* a NUL may be written, but not read */
        text = (struct str){buf_text(&b), b.n};
        name_random_row(text);
        buf_reset(&json);
        buf_reset(&back);
        js_quote(&json, text);
        CHECK(accepts((struct str){json.p, json.n}));
        CHECK(str_eq(js_string(scan.value, &back), text));
    }
    buf_free(&b);
    buf_free(&json);
    buf_free(&back);
}

int main(void)
{
    const char *given = getenv("SEED");

    seed = given != NULL ? strtoull(given, NULL, 10)
                         : (unsigned long long)time(NULL) ^ (unsigned long long)getpid() << 20;
    state = seed;
    printf("# SEED=%llu\n", seed);
    if (!load(&valid, "valid.ndjson") || !load(&invalid, "invalid.tsv"))
        return 1;
    RUN(every_valid_line_is_accepted);
    RUN(every_invalid_line_is_refused_with_its_message);
    RUN(a_line_that_was_cut_anywhere_is_refused);
    RUN(members_are_spans_of_the_line);
    RUN(only_objects_have_members);
    RUN(decoded_keys_stay_where_they_are);
    RUN(depth_has_a_limit);
    RUN(an_envelope_is_one_level_more_also_after_a_line_of_many_keys);
    RUN(members_of_an_object_put_together_are_those_that_a_scan_finds);
    RUN(a_million_chosen_keys_are_no_trouble);
    RUN(memory_follows_the_open_objects_and_is_given_back);
    RUN(strings_are_decoded);
    RUN(strings_without_escapes_are_not_copied);
    RUN(integers_are_exact_or_none);
    RUN(kinds_are_told_by_the_first_byte);
    RUN(pointers_name_values);
    RUN(what_is_no_pointer_is_refused);
    RUN(each_steps_through_objects_and_arrays);
    RUN(what_is_empty_or_simple_has_nothing_to_step_through);
    RUN(members_are_found_in_any_object);
    RUN(utf8_ends_at_the_first_bad_byte);
    RUN(what_could_steer_a_terminal_is_quoted);
    RUN(json_for_a_terminal_is_the_same_json);
    RUN(jansson_agrees_on_mutated_lines);
    RUN(readers_stay_inside_what_was_never_checked);
    RUN(quoted_text_reads_back);
    js_scan_free(&scan);
    free((char *)(uintptr_t)exact.p);
    free(valid.line);
    free(invalid.line);
    buf_free(&valid.file);
    buf_free(&invalid.file);
    return unit_done();
}
