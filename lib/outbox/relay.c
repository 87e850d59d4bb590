/*
 * Opening and closing a relay, and what it does without moving rows.
 */
#include "base/mem.h"
#include "cli/out.h"
#include "outbox/engine.h"
#include "process/proc.h"

#include <stdlib.h>
#include <unistd.h>

void relay_schema(const struct relay_terms *terms, struct buf *out)
{
    struct relay_terms ours = *terms;

    if (ours.table == NULL)
        ours.table = RELAY_TABLE;
    if (ours.channel == NULL)
        ours.channel = RELAY_TABLE;
    relay_sql_schema(relay_engine_of(terms->database == NULL ? "" : terms->database)->dialect,
                     &ours, out);
}

/* Check before any row is blamed for it. */
static int check_source(struct relay *r, struct err *e)
{
    if (event_make(&r->answer, &r->scan, &r->fill, STR("{\"type\":\"x\"}"), e) == 0)
        return 0;
    e->status = EX_USAGE;
    return -1;
}

/* With follow, wait for a locked or unreachable database at the start, too. */
static int open_when_there(struct relay *r, enum relay_mode mode, struct err *e)
{
    while (r->engine->open(r, mode, e) < 0) {
        if (!r->terms->follow || !relay_will_pass(e) ||
            r->db == NULL) /* this build does not have that
                                                                 engine */
            return -1;
        r->engine->close(r);
        free(r->place);
        r->place = NULL;
        if (relay_endure(r, e) == 0) {
            err_clear(e);
            return 0;
        }
    }
    relay_trouble_over(r);
    r->open = true;
    return 0;
}

int relay_open(struct relay **out, const struct relay_terms *terms, enum relay_mode mode,
               struct err *e)
{
    struct relay *r = mem_zero(1, sizeof *r);

    r->terms = terms;
    r->engine = relay_engine_of(terms->database);
    r->table.name = terms->table == NULL ? RELAY_TABLE : terms->table;
    r->fill = (struct event_fill){.source = terms->source, .priority = -1, .hops = -1};
    child_init(&r->child);
    r->looking = mode == RELAY_LOOK;
    if (relay_check_address(terms->database, e) < 0 || check_source(r, e) < 0 ||
        relay_map(&r->table, terms->map, e) < 0 ||
        (terms->sink != NULL && mode == RELAY_MOVE && proc_check(terms->sink[0], e) < 0) ||
        open_when_there(r, mode, e) < 0) {
        relay_close(r);
        return -1;
    }
    *out = r;
    return 0;
}

void relay_close(struct relay *r)
{
    if (r == NULL)
        return;
    r->engine->close(r);
    relay_forget_page(r);
    relay_table_free(&r->table);
    child_free(&r->child);
    event_free(&r->answer);
    for (size_t i = 0; i < RELAY_PAGE; i++)
        event_free(&r->events[i]);
    js_scan_free(&r->scan);
    buf_free(&r->partial);
    free(r->memory);
    relay_set_free(&r->held);
    free(r->place);
    free(r);
}

static int print_page(struct relay *r, struct err *e)
{
    bool terminal = isatty(STDOUT_FILENO) == 1;
    struct buf shown = BUF_INIT;
    int got = 0;

    relay_choose(r, clock_now_ms());
    for (size_t i = 0; i < r->page.n && got == 0 && !out_gone(); i++) {
        struct relay_row *row = &r->page.row[i];
        if (row->fate != RELAY_READY)
            continue;
        r->result->relayed++;
        buf_reset(&shown);
        if (terminal)
            js_show(&shown, row->event->line);
        else
            buf_str(&shown, row->event->line);
        got = out_line((struct str){shown.p, shown.n}, e);
    }
    buf_free(&shown);
    return got;
}

int relay_print(struct relay *r, struct relay_result *result, struct err *e)
{
    int64_t after = INT64_MIN;

    r->result = result;
    do {
        relay_forget_page(r);
        if (r->engine->read(r, RELAY_LOOK, after, INT64_MAX, e) < 0)
            return -1;
        if (r->page.n == 0)
            break;
        after = r->page.row[r->page.n - 1].id;
        if (print_page(r, e) < 0)
            return -1;
    } while (!r->page.last && !out_gone());
    return 0;
}

int64_t relay_retry_failed(struct relay *r, struct err *e)
{
    if (!relay_has(r, RELAY_ERROR))
        return err_set(e, EX_USAGE,
                       "%s: table %s has no column for errors (--map error=…), so no row is marked "
                       "as failed",
                       r->place, err_quote_text(r->table.name).text);
    int64_t n;
    while ((n = r->engine->retry_failed(r, e)) < 0 && r->terms->follow && relay_will_pass(e))
        if (relay_endure(r, e) == 0)
            return -1;
    relay_trouble_over(r);
    return n;
}

int relay_state(struct relay *r, struct relay_state *out, struct err *e)
{
    struct buf oldest = BUF_INIT;
    int got;

    *out = (struct relay_state){.table = r->table.name};
    got = r->engine->state(r, out, &oldest, e);
    if (oldest.n == 0 || !relay_time((struct str){oldest.p, oldest.n}, &out->oldest_ms))
        out->oldest_ms = 0;
    buf_free(&oldest);
    return got;
}
