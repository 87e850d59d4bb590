#include "consume/report.h"

#include "cli/out.h"
#include "cli/say.h"

#include <inttypes.h>
#include <unistd.h>

int consume_preview(struct store *s, const struct loop_terms *terms, struct pattern_list *types,
                    const struct point *from, struct err *e)
{
    struct log_query query = {
        .last = terms->last, .types = *types, .group = terms->group, .due = true};
    struct err unknown = ERR_NONE;
    struct log_entry entry;
    struct log *log;
    int64_t damaged = 0;
    int got;

    if (log_open(&log, s, &query, &unknown) < 0) {
        if (unknown.status != EX_NOINPUT || from == NULL) {
            *e = unknown;
            return -1;
        }
        query.group = NULL; /* show from where the group would begin */
        if (types->n == 0 && pattern_add(types, "#", e) < 0)
            return -1;
        query.types = *types;
        if (log_point(s, from, &query.first, e) < 0 || log_open(&log, s, &query, e) < 0)
            return -1;
    }
    for (int64_t n = 0; (terms->most == 0 || n < terms->most) &&
                        (got = log_next(log, &entry, e)) > 0 && !out_gone();
         n++)
        if (entry.damaged)
            damaged++;
        else if (out_line(entry.line, e) < 0)
            break;
    log_close(log);
    if (e->status == 0 && damaged > 0)
        err_set(e, EX_IOERR, "%" PRId64 " damaged, left out", damaged);
    return e->status == 0 ? 0 : -1;
}

/* 0, or -1 with 75 or an error. */
static int report_rest(struct group *group, const struct loop_terms *terms,
                       const struct loop_result *result, struct err *e)
{
    struct err_quoted g = err_quote_text(terms->group);
    struct group_stand stand;
    char text[CLOCK_TEXT_SIZE];

    if (isatty(STDERR_FILENO))
        say_note("group %s: %" PRId64 " done", g.text, result->done);
    if (result->dead > 0)
        say_warn("group %s: %" PRId64 " new dead letter%s (dlq list -g %s)", g.text, result->dead,
                 result->dead == 1 ? "" : "s", terms->group);
    if (result->stopped || terms->follow || (terms->most > 0 && result->done >= terms->most))
        return 0;
    if (group_stand(group, terms->last, &stand, e) < 0)
        return -1;
    if (stand.orphans)
        return err_set(e, EX_TEMPFAIL,
                       "group %s: handlers of a consumer that died still run; this ordered group "
                       "waits for them",
                       g.text);
    if (stand.standby)
        say_note("group %s: another consumer is the active one, this one was on standby", g.text);
    if (stand.paused)
        return err_set(e, EX_TEMPFAIL, "group %s is paused (spool group resume %s)", g.text,
                       terms->group);
    if (stand.hold_ms != 0 && result->deferred > 0) { /* that was reported when it happened */
        e->status = EX_TEMPFAIL;
        return 0;
    }
    if (stand.hold_ms != 0)
        return err_set(e, EX_TEMPFAIL, "group %s is on hold until %s", g.text,
                       clock_format(text, stand.hold_ms));
    if (stand.later > 0 && stand.next_due_ms == 0)
        say_note("group %s: %" PRId64 " waiting behind earlier events of their subjects", g.text,
                 stand.later);
    else if (stand.later > 0)
        say_note("group %s: %" PRId64 " waiting, the next until %s", g.text, stand.later,
                 clock_format(text, stand.next_due_ms));
    if (stand.elsewhere > 0)
        say_note("group %s: %" PRId64 " in the hands of other consumers", g.text, stand.elsewhere);
    return 0;
}

void consume_report(struct group *group, const struct loop_terms *terms,
                    const struct loop_result *result, int got, struct err *e)
{
    if (got == 0)
        got = report_rest(group, terms, result, e);
    if (result->why.status != 0)
        *e = result->why;
    else if (got == 0 && result->damaged > 0)
        err_set(e, EX_IOERR, "%" PRId64 " damaged, set aside as dead letters: dlq list -g %s",
                result->damaged, terms->group);
    else if (got == 0 && result->dead > 0 && e->status == 0)
        e->status = EX_NO;
}
