#include "fsm/search.h"

#include "base/mem.h"
#include "cli/out.h"
#include "command/spool.h"
#include "fsm/fsm.h"
#include "fsm/verbs.h"

#include <stdlib.h>
#include <string.h>

const char *search_machine;

/* The machine's name from -m; if -m names a file, the name in the file. NULL without -m, or on
   error. */
static char *machine_name(struct err *e)
{
    struct machine_findings findings = {.wrong = BUF_INIT};
    size_t n = search_machine == NULL ? 0 : strlen(search_machine);
    struct machine m;
    char *name;

    if (n < 5 || strcmp(search_machine + n - 5, ".json") != 0)
        return n == 0 ? NULL : mem_dup(search_machine, n);
    if (fsm_load(&m, search_machine, &findings, e) < 0)
        fsm_say(search_machine, &findings);
    name = e->status != 0 ? NULL : mem_dup(m.name, strlen(m.name));
    machine_free(&m);
    machine_findings_free(&findings);
    return name;
}

static int search_visit(const struct doc *doc, void *arg, struct err *e)
{
    struct search *s = arg;
    const char *slash = strchr(doc->name, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - doc->name);

    if (slash == NULL || (s->subject != NULL && strcmp(slash + 1, s->subject) != 0) ||
        (s->machine != NULL && !str_is((struct str){doc->name, n}, s->machine)))
        return 0;
    return s->f(s, doc, e);
}

/* A machine and a subject make a document's name; with only one of them, search. */
int search_run(struct search *s, enum store_mode mode, struct err *e)
{
    struct buf name = BUF_INIT;
    struct doc doc;
    int got = -1;

    s->machine = machine_name(e);
    if (e->status == 0 && spool_open(&s->spool, mode, e) == 0) {
        if (s->machine == NULL || s->subject == NULL) {
            got = doc_each(s->spool, FSM_KIND, search_visit, s, e);
        } else {
            buf_printf(&name, "%s/%s", s->machine, s->subject);
            got = doc_get(s->spool, FSM_KIND, buf_text(&name), &doc, e);
            if (got > 0)
                got = s->f(s, &doc, e);
        }
    }
    if (got >= 0 && s->found == 0 && s->subject != NULL)
        err_set(e, EX_NOINPUT, "%s has no state%s%s", err_quote_text(s->subject).text,
                s->machine == NULL ? "" : " in machine ",
                s->machine == NULL ? "" : err_quote_text(s->machine).text);
    buf_free(&name);
    return got < 0 ? -1 : 0;
}

int search_finish(struct search *s, struct err *e)
{
    store_close(s->spool);
    free(s->machine);
    return out_finish(e);
}
