/* fsm forget: delete the document of a subject. */
#include "cli/out.h"
#include "fsm/fsm.h"
#include "fsm/search.h"
#include "fsm/verbs.h"

#include <string.h>

static const struct opt options[] = {SEARCH_OPT_MACHINE, OPT_END};

static int forget_state(struct search *s, const struct doc *doc, struct err *e)
{
    struct buf line = BUF_INIT;
    const char *slash = strchr(doc->name, '/');
    int got = doc_forget(s->spool, FSM_KIND, doc->name, e);

    if (got > 0) {
        s->found++;
        err_escape(&line, slash + 1, strlen(slash + 1));
        buf_puts(&line, " forgotten by ");
        err_escape(&line, doc->name, (size_t)(slash - doc->name));
        got = out_line((struct str){line.p, line.n}, e);
    }
    buf_free(&line);
    return got < 0 ? -1 : 0;
}

static int run_fsm_forget(char **operand)
{
    struct err e = ERR_NONE;
    struct search s = {.f = forget_state, .subject = operand[0]};

    args_name("SUBJECT", s.subject, NAME_TEXT_BYTES);
    search_run(&s, STORE_WRITE, &e);
    return search_finish(&s, &e);
}

const struct cmd fsm_verb_forget = {
    .name = "forget",
    .about = "forget a subject: its next event finds it in the initial state",
    .usage = {"[-m MACHINE] SUBJECT"},
    .examples = {"fsm forget order-42"},
    .options = options,
    .least = 1,
    .most = 1,
    .wants = "a SUBJECT",
    .run = run_fsm_forget,
};
