#include "trace/show.h"

#include "base/json_tree.h"
#include "cli/out.h"
#include "inspect/standing.h"

#include <inttypes.h>
#include <string.h>

int trace_show_line(struct trace_show *show, struct err *e)
{
    int got = out_line((struct str){show->line.p, show->line.n}, e);

    buf_reset(&show->line);
    return got;
}

struct shown {
    struct trace_show *show;
    const struct trace_event *ev;
    struct log_entry entry; /* only the fields that matter */
    json_t *standing;       /* NULL: as a tree */
    int groups, silent;
};

static struct shown shown_of(struct trace_show *show, const struct trace_event *ev)
{
    return (struct shown){
        .show = show, .ev = ev, .entry = {.recorded_ms = ev->recorded_ms, .damaged = ev->damaged}};
}

/* The margin is for the mark of the event that was asked for. Chains longer than the toolkit allows
   are not indented any further. */
static void begin_line(struct trace_show *show, const char *margin, size_t depth)
{
    size_t steps = depth < EVENT_HOPS_MAX ? depth : EVENT_HOPS_MAX;

    buf_printf(&show->line, "%s%*s", margin, (int)(steps * 2), "");
}

static int show_standing(const struct where *w, void *arg, struct err *e)
{
    struct shown *shown = arg;
    struct trace_show *show = shown->show;

    shown->groups++;
    if (shown->standing != NULL) {
        json_array_append_new(shown->standing, standing_row(w, &shown->entry, show->now_ms));
        return 0;
    }
    if (w->state == WHERE_FILTERED && !show->verbose &&
        (show->group == NULL || shown->ev->seq != show->query->seq)) {
        shown->silent++;
        return 0;
    }
    begin_line(show, "      ", shown->ev->depth);
    err_escape(&show->line, w->group, strlen(w->group));
    buf_puts(&show->line, ": ");
    standing_text(&show->line, w, &shown->entry, show->now_ms);
    return trace_show_line(show, e);
}

static int show_event_text(struct trace_show *show, const struct trace *t,
                           const struct trace_event *ev, struct err *e)
{
    struct shown shown = shown_of(show, ev);

    if (ev->root == TRACE_ORPHAN) {
        begin_line(show, "  ", 0);
        trace_cause(&show->line, ev);
        if (trace_show_line(show, e) < 0)
            return -1;
    }
    begin_line(show, ev->seq == show->query->seq ? "> " : "  ", ev->depth);
    trace_line(&show->line, t, ev, show->now_ms);
    if (show->verbose) {
        buf_puts(&show->line, "  ");
        err_escape(&show->line, ev->id.p, ev->id.n);
    }
    if (trace_show_line(show, e) < 0 ||
        where_each(show->spool, show->group, ev->seq, show_standing, &shown, e) < 0)
        return -1;
    if (shown.groups != shown.silent || show->group != NULL)
        return 0;
    begin_line(show, "      ", ev->depth);
    buf_puts(&show->line,
             shown.groups == 0 ? "(there are no groups)" : "(no group's patterns match)");
    return trace_show_line(show, e);
}

static int show_event_json(struct trace_show *show, const struct trace *t,
                           const struct trace_event *ev, struct err *e)
{
    struct shown shown = shown_of(show, ev);

    shown.standing = json_array();
    if (where_each(show->spool, show->group, ev->seq, show_standing, &shown, e) < 0) {
        json_decref(shown.standing);
        return -1;
    }
    json_t *row = trace_row(t, ev, ev->seq == show->query->seq);
    json_object_set_new(row, "standing", shown.standing);
    tree_print(&show->line, row);
    json_decref(row);
    return trace_show_line(show, e);
}

int trace_show_tree(struct trace_show *show, const struct trace *t, struct err *e)
{
    int got = 0;

    for (size_t i = 0; i < t->n && got == 0 && !out_gone(); i++) {
        const struct trace_event *ev = &t->event[t->order[i]];
        got = show->form == TRACE_TREE ? show_event_text(show, t, ev, e)
                                       : show_event_json(show, t, ev, e);
    }
    if (t->cut && show->form == TRACE_TREE && got == 0) {
        buf_printf(&show->line, "  ... and more: -n %" PRId64 " ends it here", show->query->max);
        got = trace_show_line(show, e);
    }
    return got;
}

int trace_show_flow(struct trace_show *show, struct flow *flow, struct err *e)
{
    int got = 0;

    flow_mark(flow);
    if (show->form == TRACE_DOT)
        got = out_line(STR("digraph flow {"), e);
    for (size_t i = 0; i < flow->n && got == 0 && !out_gone(); i++) {
        json_t *row = show->form == TRACE_NDJSON ? flow_row(&flow->edge[i]) : NULL;
        if (row != NULL)
            tree_print(&show->line, row);
        else
            (show->form == TRACE_DOT ? flow_dot : flow_line)(&show->line, &flow->edge[i]);
        json_decref(row);
        got = trace_show_line(show, e);
    }
    return show->form == TRACE_DOT && got == 0 ? out_line(STR("}"), e) : got;
}
