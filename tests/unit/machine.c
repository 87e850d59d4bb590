#include "fsm/machine.h"

#include "unit.h"

static struct machine m;
static struct machine_findings findings;

/* Read a machine; what is wrong, and doubtful when nothing is, with newlines between. */
static struct buf said;

static const char *read_text(const char *json)
{
    struct err e = ERR_NONE;

    machine_free(&m);
    buf_reset(&said);
    if (machine_read(&m, str_of(json), STR("order"), &findings, &e) == 0)
        machine_check(&m, &findings);
    buf_puts(&said, e.text);
    buf_add(&said, findings.wrong.p, findings.wrong.n);
    buf_add(&said, findings.doubtful.p, findings.doubtful.n);
    if (said.n > 0 && said.p[said.n - 1] == '\0')
        said.n--;
    for (size_t i = 0; i < said.n; i++)
        if (said.p[i] == '\0')
            said.p[i] = '\n';
    return buf_text(&said);
}

#define ONE(state) "{\"initial\":\"a\",\"states\":{\"a\":" state ",\"b\":{\"type\":\"final\"}}}"
#define ON(to) ONE("{\"on\":{\"x\":" to "}}")
#define COND(cond) ON("{\"target\":\"b\",\"cond\":" cond "}")

static void a_machine_is_read(void)
{
    CHECK_TEXT(read_text("{\"id\":\"o\",\"description\":\"\",\"$schema\":\"\",\"version\":\"1\","
                         "\"predictableActionArguments\":true,"
                         "\"initial\":\"a\",\"states\":{\"a\":{\"meta\":{},\"tags\":[],\"on\":{"
                         "\"x\":\"b\",\"y\":{\"target\":\"b\"},\"z\":[\"a\",{\"target\":\"b\"}]}},"
                         "\"b\":{\"type\":\"final\"}}}"),
               "state \"a\": on \"z\": a target behind one without a condition is never taken");
    CHECK_TEXT(m.name, "o");
    CHECK_INT((int64_t)m.states, 2);
    CHECK_INT((int64_t)m.state[0].rules, 4);
    CHECK(m.state[1].final);
    CHECK(machine_knows(&m, STR("x")) && machine_knows(&m, STR("z")));
    CHECK(!machine_knows(&m, STR("")) && !machine_knows(&m, STR("xx")));
    read_text(ON("\"b\""));
    CHECK_TEXT(m.name, "order");
}

static void mistakes_are_named(void)
{
    static const struct {
        const char *json, *said;
    } row[] = {
        {"{", "line 1: string or '}' expected near end of file"},
        {"{\"initial\":1,\"initial\":2}", "line 1: duplicate object key near '\"initial\"'"},
        {"[]", "a machine is an object"},
        {"{}", "\"states\" is an object with a member for each state\n"
               "\"initial\" names the state that a subject begins in"},
        {"{\"initial\":\"a\",\"states\":{\"b\":{\"type\":\"final\"}}}",
         "there is no state \"a\"; is it \"b\"?"},
        {"{\"initial\":\"elsewhere\",\"states\":{\"b\":{\"type\":\"final\"}}}",
         "there is no state \"elsewhere\""},
        {"{\"id\":1,\"initial\":\"b\",\"states\":{\"b\":{\"type\":\"final\"}}}",
         "\"id\" is not a string"},
        {"{\"id\":\"a/b\",\"initial\":\"b\",\"states\":{\"b\":{\"type\":\"final\"}}}",
         "its name, \"a/b\", is empty or has a slash or a control character: \"id\" gives it "
         "another"},
        {"{\"id\":\"sys\",\"initial\":\"b\",\"states\":{\"b\":{\"type\":\"final\"}}}",
         "its name is \"sys\": types that begin with sys. are the toolkit's own"},
        {"{\"context\":{},\"on\":{},\"initail\":1,\"type\":\"parallel\",\"initial\":\"b\","
         "\"states\":{\"b\":{\"type\":\"final\"}}}",
         "\"context\" of XState is not done here; a condition sees the event and nothing else\n"
         "\"on\" of XState is not done here; it belongs to a state\n"
         "unknown member \"initail\"\n"
         "\"type\" of XState is not done here; only the machine's states have one"},
        {ONE("1"), "state \"a\": a state is an object"},
        {ONE("{\"after\":{}}"),
         "state \"a\": \"after\" of XState is not done here; a delay is publish --delay"},
        {ONE("{\"states\":{},\"initial\":\"x\"}"),
         "state \"a\": \"states\" of XState is not done here; a state has no states of its own\n"
         "state \"a\": \"initial\" of XState is not done here; a state has no states of its own"},
        {ONE("{\"type\":\"history\"}"), "state \"a\": its \"type\" is \"final\" or nothing: others "
                                        "of XState are not done here"},
        {ONE("{\"type\":\"final\",\"on\":{\"x\":\"b\"}}"),
         "state \"a\": it is final, and accepts nothing"},
        {ONE("{\"on\":[]}"), "state \"a\": \"on\" is an object: a target for each type of event"},
        {ONE("{\"on\":{\"*\":\"b\"}}"),
         "state \"a\": on \"*\": wildcards of XState are not done here; name each type"},
        {ONE("{\"on\":{\"\":\"b\"}}"), "state \"a\": on \"\": this is no type: it is empty, too "
                                       "long or has a control character"},
        {"{\"initial\":\"\",\"states\":{\"\":{\"type\":\"final\"}}}",
         "state \"\": its name does not make a type: it is empty, too long or has a control "
         "character"},
        {ON("\"bb\""), "state \"a\": on \"x\": there is no state \"bb\"; is it \"b\"?"},
        {ON("\"#order.b\""), "state \"a\": on \"x\": there is no state \"#order.b\""},
        {ON("[]"), "state \"a\": on \"x\": the list of targets is empty"},
        {ON("null"), "state \"a\": on \"x\": a target is the name of a state"},
        {ON("{\"target\":[\"b\"]}"), "state \"a\": on \"x\": a target is the name of a state"},
        {ON("{\"target\":\"b\",\"actions\":\"x\",\"when\":1}"),
         "state \"a\": on \"x\": \"actions\" of XState is not done here; what is to happen then is "
         "a handler of the transition's event\n"
         "state \"a\": on \"x\": unknown member \"when\""},
        {ON("{\"target\":\"b\",\"cond\":{\"pointer\":\"/a\",\"op\":\"<\",\"value\":1},"
            "\"guard\":{\"pointer\":\"/a\",\"op\":\"<\",\"value\":1}}"),
         "state \"a\": on \"x\": \"cond\" and \"guard\" are the same: give one of them"},
        {COND("\"isPaid\""), "state \"a\": on \"x\": a condition is {\"pointer\": \"/data/…\", "
                             "\"op\": \"<\", \"value\": …}"},
        {COND("{\"pointer\":\"/a\",\"op\":\"=\",\"value\":1}"),
         "state \"a\": on \"x\": \"op\" is one of < <= == != >= >: \"=\""},
        {COND("{\"pointer\":\"/a\",\"op\":\"==\",\"value\":[]}"),
         "state \"a\": on \"x\": \"value\" is a number, a string, true, false or null"},
        {COND("{\"pointer\":\"/a\",\"op\":\"<\",\"value\":null}"),
         "state \"a\": on \"x\": true, false and null are only compared with == and !="},
        {COND("{\"pointer\":\"/a\",\"op\":\"<\",\"value\":1,\"not\":true}"),
         "state \"a\": on \"x\": unknown member \"not\""},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        unit_row(row[i].json);
        CHECK_TEXT(read_text(row[i].json), row[i].said);
    }
    unit_row(COND("pointer"));
    CHECK(strstr(read_text(COND("{\"pointer\":\"a\",\"op\":\"<\",\"value\":1}")),
                 "state \"a\": on \"x\": ") != NULL);
}

static void what_is_doubtful_is_found(void)
{
    static const struct {
        const char *json, *said;
    } row[] = {
        {ON("\"b\""), ""},
        {ON("\"a\""),
         "state \"a\": a dead end that is not final\nstate \"b\": nothing leads to it"},
        {"{\"initial\":\"a\",\"states\":{\"a\":{\"on\":{\"x\":\"b\"}},\"b\":{\"on\":{\"x\":\"a\"}}}"
         "}",
         ""},
        {"{\"initial\":\"a\",\"states\":{\"a\":{\"on\":{\"x\":\"b\",\"y\":\"c\"}},"
         "\"b\":{\"on\":{\"x\":\"d\"}},\"d\":{\"on\":{\"x\":\"b\"}},\"c\":{\"type\":\"final\"}}}",
         "state \"b\": no final state can be reached from it\n"
         "state \"d\": no final state can be reached from it"},
        {ONE("{\"on\":{\"order.b\":\"b\"}}"),
         "state \"b\": on \"order.b\": an event of this type is also its own transition; give the "
         "machine another id"},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        unit_row(row[i].json);
        CHECK_TEXT(read_text(row[i].json), row[i].said);
    }
}

static void the_first_target_whose_condition_holds_is_taken(void)
{
    size_t to = 9;

    read_text("{\"initial\":\"a\",\"states\":{\"a\":{\"on\":{\"x\":["
              "{\"target\":\"b\",\"cond\":{\"pointer\":\"/n\",\"op\":\">\",\"value\":10}},"
              "{\"target\":\"c\",\"guard\":{\"type\":\"t\",\"pointer\":\"/n\",\"op\":\">\","
              "\"value\":5}}]}},\"b\":{\"on\":{\"x\":\"a\"}},\"c\":{\"on\":{\"y\":\"a\"}}}}");
    CHECK_INT(machine_step(&m, 0, STR("x"), STR("{\"n\":11}"), &to), MACHINE_TAKEN);
    CHECK_INT((int64_t)to, 1);
    CHECK_INT(machine_step(&m, 0, STR("x"), STR("{\"n\":10}"), &to), MACHINE_TAKEN);
    CHECK_INT((int64_t)to, 2);
    CHECK_INT(machine_step(&m, 0, STR("x"), STR("{\"n\":5}"), &to), MACHINE_UNMET);
    CHECK_INT(machine_step(&m, 0, STR("y"), STR("{\"n\":5}"), &to), MACHINE_REFUSED);
    CHECK_INT(machine_step(&m, 1, STR("x"), STR("{}"), &to), MACHINE_TAKEN);
    CHECK_INT((int64_t)to, 0);
}

/* op over "<" "<=" "==" "!=" ">=" ">": which of them hold, as digits. */
static const char *which_hold(const char *event, const char *value)
{
    static const char *const ops[] = {"<", "<=", "==", "!=", ">=", ">"};
    static char out[8];
    char json[300];
    size_t n = 0, to;

    for (int i = 0; i < 6; i++) {
        snprintf(json, sizeof json, COND("{\"pointer\":\"/v\",\"op\":\"%s\",\"value\":%s}"), ops[i],
                 value);
        out[n] = '-';
        if (*read_text(json) == '\0')
            out[n] = machine_step(&m, 0, STR("x"), str_of(event), &to) == MACHINE_TAKEN ? '1' : '0';
        n++;
    }
    out[n] = '\0';
    return out;
}

static void values_are_compared(void)
{
    static const struct {
        const char *event, *value, *hold;
    } row[] = {
        {"{\"v\":1}", "2", "110100"},
        {"{\"v\":2}", "2", "011010"},
        {"{\"v\":3}", "2", "000111"},
        {"{\"v\":2.0}", "2", "011010"},
        {"{\"v\":-1e3}", "0.5", "110100"},
        {"{\"v\":0.1}", "0.1", "011010"},
        {"{\"v\":0.30000000000000004}", "0.30000000000000004", "011010"},
        {"{\"v\":0.30000000000000004}", "0.3", "000111"},
        {"{\"v\":9007199254740993}", "9007199254740992", "000111"}, /* more than a double tells */
        {"{\"v\":\"a\"}", "\"b\"", "110100"},
        {"{\"v\":\"b\"}", "\"b\"", "011010"},
        {"{\"v\":\"ba\"}", "\"b\"", "000111"},
        {"{\"v\":\"\\u0062\"}", "\"b\"", "011010"}, /* however it is spelled */
        {"{\"v\":\"\"}", "\"b\"", "110100"},
        {"{\"v\":\"10\"}", "9", "000100"}, /* of two kinds */
        {"{\"v\":null}", "0", "000100"},
        {"{\"v\":[1]}", "1", "000100"},
        {"{\"w\":1}", "1", "000000"}, /* nothing there */
        {"{\"v\":true}", "true", "--10--"},
        {"{\"v\":false}", "true", "--01--"},
        {"{\"v\":null}", "null", "--10--"},
        {"{\"w\":null}", "null", "--00--"},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        unit_row(row[i].event);
        CHECK_TEXT(which_hold(row[i].event, row[i].value), row[i].hold);
    }
}

static void a_graph_is_drawn(void)
{
    struct buf b = BUF_INIT;

    read_text(COND("{\"pointer\":\"/d\",\"op\":\"==\",\"value\":\"q\"}"));
    machine_dot(&m, &b);
    CHECK_TEXT(buf_text(&b), "digraph \"order\" {\n"
                             "    node [shape=box, style=rounded];\n"
                             "    \"\" [shape=point];\n"
                             "    \"\" -> \"a\";\n"
                             "    \"a\";\n"
                             "    \"a\" -> \"b\" [label=\"x [/d == \\\"q\\\"]\"];\n"
                             "    \"b\" [peripheries=2];\n"
                             "}\n");
    buf_free(&b);
}

int main(void)
{
    RUN(a_machine_is_read);
    RUN(mistakes_are_named);
    RUN(what_is_doubtful_is_found);
    RUN(the_first_target_whose_condition_holds_is_taken);
    RUN(values_are_compared);
    RUN(a_graph_is_drawn);
    machine_free(&m);
    machine_findings_free(&findings);
    buf_free(&said);
    return unit_done();
}
