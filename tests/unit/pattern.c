#include "event/pattern.h"

#include "unit.h"

static void words_and_wildcards_match_as_in_amqp(void)
{
    static const struct {
        const char *pattern, *type;
        bool matches;
    } rows[] = {
        {"order.placed", "order.placed", true},
        {"order.placed", "order.place", false},
        {"order.placed", "order.placed.x", false},
        {"order.placed", "Order.placed", false},
        {"order", "order.placed", false},
        {"order.*", "order.placed", true},
        {"order.*", "order", false},
        {"order.*", "order.item.added", false},
        {"order.*", "orders.placed", false},
        {"*", "order", true},
        {"*", "order.placed", false},
        {"*.placed", "order.placed", true},
        {"*.*", "order.placed", true},
        {"a.*.c", "a.b.c", true},
        {"a.*.c", "a.c", false},
        {"order.#", "order", true},
        {"order.#", "order.placed", true},
        {"order.#", "order.item.added", true},
        {"order.#", "orders", false},
        {"#", "order", true},
        {"#", "order.item.added", true},
        {"#.added", "added", true},
        {"#.added", "order.item.added", true},
        {"#.added", "order.item.added.x", false},
        {"#.a.#", "a", true},
        {"#.a.#", "b.b.a.b", true},
        {"#.a.#", "b.b.c", false},
        {"#.a.*.#", "x.a", false},
        {"#.a.*.#", "x.a.y", true},
        {"#.a.b", "a.a.b", true},
        {"#.a.b", "a.b.a.b", true},
        {"#.a.#.b", "a.b.c.b", true},
        {"#.a.#.b", "b.a.c", false},
        {"a.#.#", "a", true},
        {"a.#.*", "a", false},
        {"a.#.*", "a.b.c", true},
        {"*.#", "a", true},
        {"*.#.b", "b", false},
        {"a.b", "a.", false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char row[100];

        snprintf(row, sizeof row, "%s, %s", rows[i].pattern, rows[i].type);
        unit_row(row);
        CHECK_INT(pattern_match(rows[i].pattern, str_of(rows[i].type)), rows[i].matches);
    }
}

static void a_leading_wildcard_leaves_out_the_toolkits_own_events(void)
{
    CHECK(!pattern_match("#", STR("sys.breaker.opened")));
    CHECK(!pattern_match("*.breaker.*", STR("sys.breaker.opened")));
    CHECK(!pattern_match("#.opened", STR("sys.breaker.opened")));
    CHECK(pattern_match("sys.#", STR("sys.breaker.opened")));
    CHECK(pattern_match("sys.breaker.opened", STR("sys.breaker.opened")));
    CHECK(pattern_match("#", STR("system.started")));
    CHECK(pattern_match("#", STR("sys")));
}

static void the_type_may_be_followed_by_other_bytes(void)
{
    struct str type = {"order.placed.and.more", 12};

    CHECK(pattern_match("order.*", type));
    CHECK(pattern_match("order.placed", type));
    CHECK(!pattern_match("order.placed.and", type));
    CHECK(!pattern_match("#", (struct str){NULL, 0}));
}

/* One "#" after the other and a type that nearly matches: backtracking into all of them would take
   longer than the universe has been there. */
static void no_pattern_is_slow(void)
{
    struct buf pattern = BUF_INIT, type = BUF_INIT;

    for (int i = 0; i < 250; i++)
        buf_puts(&pattern, "#.a.");
    buf_puts(&pattern, "b");
    for (int i = 0; i < 500; i++)
        buf_puts(&type, "a.");
    buf_puts(&type, "a");
    CHECK(!pattern_match(buf_text(&pattern), str_of(buf_text(&type))));
    buf_free(&pattern);
    buf_free(&type);
}

static void an_equals_sign_names_one_type_as_it_is(void)
{
    static const char *const types[] = {"Mail Wanted", "a..b", ".",    "order.*",
                                        "#",           "a#b",  "=a",   "sys.breaker.opened",
                                        "a*",          "ü",    "a.b.c"};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct err e = ERR_NONE;
        char pattern[64];

        unit_row(types[i]);
        snprintf(pattern, sizeof pattern, "=%s", types[i]);
        CHECK_INT(pattern_check(pattern, &e), 0);
        for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
            CHECK(pattern_match(pattern, str_of(types[k])) == (k == i));
    }
}

static void a_type_is_words(void)
{
    static const char *const types[] = {"a", "order.placed", "com.example/x-1:y", "=a", "ü.é"};
    static const char *const others[] = {"",  "a b", "a..b", "a.",      ".",
                                         "#", "a*",  "a\n",  "order.*", "a\xff"};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct err e = ERR_NONE;
        unit_row(types[i]);
        CHECK_INT(pattern_type(types[i], &e), 0);
        CHECK(types[i][0] == '=' || pattern_check(types[i], &e) == 0);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct err e = ERR_NONE;
        unit_row(others[i]);
        CHECK_INT(pattern_type(others[i], &e), -1);
        CHECK_INT(e.status, EX_USAGE);
    }
}

static void what_is_no_pattern_is_refused_with_the_reason(void)
{
    static const struct {
        const char *pattern, *why;
    } rows[] = {
        {"", "it is empty (an unset variable?)"},
        {".", "an empty word in it"},
        {"a..b", "an empty word in it"},
        {".a", "an empty word in it"},
        {"a.", "an empty word in it"},
        {"order.place*", "* and # stand for whole words, as in order.*"},
        {"#a", "* and # stand for whole words, as in order.*"},
        {"**", "* and # stand for whole words, as in order.*"},
        {"a b", "a space in it"},
        {"a\n", "it has a control character: \"a\\n\""},
        {"a\x7f", "it has a control character: \"a\\x7f\""},
        {"a\xc2\x9b", "it has a control character: \"a\\u009b\""},
        {"a\xff", "it is not UTF-8: \"a\\xff\""},
        {"=", "behind =; it is empty (an unset variable?)"},
        {"=a\n", "it has a control character: \"a\\n\""},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;

        unit_row(rows[i].pattern);
        CHECK_INT(pattern_check(rows[i].pattern, &e), -1);
        CHECK_INT(e.status, EX_USAGE);
        CHECK(strstr(e.text, rows[i].why) != NULL);
    }
}

static void patterns_may_have_1024_bytes(void)
{
    struct err e = ERR_NONE;
    char pattern[1026];

    memset(pattern, 'a', sizeof pattern);
    pattern[1024] = '\0';
    CHECK_INT(pattern_check(pattern, &e), 0);
    pattern[1024] = 'a';
    pattern[1025] = '\0';
    CHECK_INT(pattern_check(pattern, &e), -1);
    CHECK_INT(pattern_check("caf\xc3\xa9.*.#", &(struct err)ERR_NONE), 0);
}

static void a_list_matches_when_one_of_it_does(void)
{
    struct pattern_list list = {NULL, 0};
    struct err e = ERR_NONE;

    CHECK(pattern_any(&list, STR("order.placed")));
    CHECK(!pattern_any(&list, STR("sys.x")));
    CHECK_INT(pattern_add(&list, "order.*", &e), 0);
    CHECK_INT(pattern_add(&list, "payment.#", &e), 0);
    CHECK(pattern_any(&list, STR("order.placed")));
    CHECK(pattern_any(&list, STR("payment")));
    CHECK(!pattern_any(&list, STR("parcel")));
    CHECK_INT(pattern_add(&list, "a..b", &e), -1);
    CHECK_INT((int64_t)list.n, 2);
    pattern_free(&list);
    CHECK(list.item == NULL && list.n == 0);
}

static void lists_are_compared_as_sets(void)
{
    struct pattern_list a = {NULL, 0}, b = {NULL, 0}, none = {NULL, 0}, all = {NULL, 0};
    struct err e = ERR_NONE;

    pattern_add(&a, "x", &e);
    pattern_add(&a, "y.*", &e);
    pattern_add(&b, "y.*", &e);
    pattern_add(&b, "x", &e);
    pattern_add(&b, "x", &e);
    pattern_add(&all, "#", &e);
    CHECK(pattern_same(&a, &b));
    CHECK(pattern_same(&none, &all));
    CHECK(pattern_same(&none, &none));
    CHECK(!pattern_same(&a, &none));
    pattern_add(&b, "z", &e);
    CHECK(!pattern_same(&a, &b));
    CHECK(!pattern_same(&b, &a));
    pattern_free(&a);
    pattern_free(&b);
    pattern_free(&all);
}

int main(void)
{
    RUN(words_and_wildcards_match_as_in_amqp);
    RUN(a_leading_wildcard_leaves_out_the_toolkits_own_events);
    RUN(the_type_may_be_followed_by_other_bytes);
    RUN(no_pattern_is_slow);
    RUN(an_equals_sign_names_one_type_as_it_is);
    RUN(a_type_is_words);
    RUN(what_is_no_pattern_is_refused_with_the_reason);
    RUN(patterns_may_have_1024_bytes);
    RUN(a_list_matches_when_one_of_it_does);
    RUN(lists_are_compared_as_sets);
    return unit_done();
}
