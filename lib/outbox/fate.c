/*
 * What becomes of rows: published, tried again, given up; which rows these hold up; and what the
 * relay remembers about them if the table has no columns for that.
 */
#include "base/mem.h"
#include "cli/say.h"
#include "outbox/engine.h"
#include "process/proc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool relay_must_end(struct relay *r)
{
    /* A row that is confirmed but not marked would be relayed again: marking it is worth the
       grace. */
    return r->marking ? proc_forced() : proc_stopping();
}

/* A row without an aggregate holds up nothing. */
void relay_hold(struct relay *r, struct str aggregate)
{
    if (aggregate.p != NULL)
        relay_set_add(&r->held, aggregate);
}

bool relay_is_held(const struct relay *r, struct str aggregate)
{
    return aggregate.p != NULL && relay_set_has(&r->held, aggregate);
}

static void say_row(const struct relay_row *row, const char *what)
{
    const struct str id = row->text[RELAY_EVENT_ID];
    const struct say_about about = {.id = id, .type = row->text[RELAY_TYPE]};

    say(SAY_WARN, EX_DATAERR, &about, "row %" PRId64 ": %s", row->id, what);
}

void relay_fail(struct relay *r, struct relay_row *row, const char *reason)
{
    const char *then = r->looking ? ""
                       : relay_has(r, RELAY_ERROR)
                           ? ": marked as failed"
                           : ": failed; the table has no error column to record it in";
    struct buf text = BUF_INIT;

    free(row->reason);
    row->reason = mem_dup(reason, strlen(reason));
    row->fate = RELAY_FAILED;
    r->result->failed++;
    relay_hold(r, row->text[RELAY_AGGREGATE]);
    buf_printf(&text, "%s%s", reason, then);
    say_row(row, buf_text(&text));
    buf_free(&text);
}

void relay_retry(struct relay *r, struct relay_row *row, const char *reason)
{
    row->attempts++;
    if (row->attempts >= r->terms->attempts) {
        relay_fail(r, row, reason);
        return;
    }
    row->fate = RELAY_RETRY;
    row->retry_ms = clock_now_ms() + backoff_ms(&r->terms->backoff, row->attempts, clock_random());
    if (row->retry_ms < r->due_ms)
        r->due_ms = row->retry_ms;
    relay_hold(r, row->text[RELAY_AGGREGATE]);
}

int relay_refused(struct relay *r, const struct relay_row *row, struct err *e)
{
    bool done = row->fate == RELAY_DONE;

    return err_set(e, EX_DATAERR,
                   "%s: row %" PRId64 " %s, but the %s changed nothing: a trigger, a rule or "
                   "row-level security of table %s discards it; until that is fixed, %s",
                   r->place, row->id, done ? "was relayed" : "was not relayed",
                   done && r->terms->remove ? "DELETE" : "UPDATE",
                   err_quote_text(r->table.name).text,
                   done ? "each run relays the row again" : "no attempt is counted");
}

int relay_not_pruned(struct relay *r, int64_t id, struct err *e)
{
    return err_set(e, EX_DATAERR,
                   "%s: row %" PRId64 " was to be pruned, but the DELETE changed nothing: a "
                   "trigger, a rule or row-level security of table %s discards it",
                   r->place, id, err_quote_text(r->table.name).text);
}

/* The row count of an UPDATE is not enough: a trigger may skip a row or undo the change, and on a
   view nothing is counted. A relayed row must no longer be there as it was. */
void relay_judge(const struct relay_row *row, bool as_read, const struct relay_row **refused)
{
    if (row->fate == RELAY_LEFT || row->changed)
        return;
    if (as_read && *refused == NULL)
        *refused = row;
    if (!as_read && row->fate == RELAY_DONE)
        say_row(row, "was changed while it was being relayed: it is relayed again as it is now");
}

struct relay_row *relay_row_of(struct relay *r, int64_t id)
{
    size_t low = 0, high = r->page.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->page.row[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->page.n && r->page.row[low].id == id ? &r->page.row[low] : NULL;
}

struct relay_memory { /* sorted by id */
    int64_t id, attempts, retry_ms;
    bool failed;
};

static size_t memory_place(const struct relay *r, int64_t id)
{
    size_t low = 0, high = r->memories;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->memory[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void relay_recall(struct relay *r, struct relay_row *row)
{
    size_t at = memory_place(r, row->id);

    if (at == r->memories || r->memory[at].id != row->id)
        return;
    const struct relay_memory *m = &r->memory[at];
    if (!relay_has(r, RELAY_ATTEMPTS))
        row->attempts = m->attempts;
    if (!relay_has(r, RELAY_RETRY_AT))
        row->retry_ms = m->retry_ms;
    if (!relay_has(r, RELAY_ERROR))
        row->failed = m->failed;
}

/* Forget a row when it is done, because its id may be reused. */
void relay_remember(struct relay *r, const struct relay_row *row)
{
    size_t at = memory_place(r, row->id);
    bool there = at < r->memories && r->memory[at].id == row->id;

    if (relay_has(r, RELAY_ATTEMPTS) && relay_has(r, RELAY_RETRY_AT) && relay_has(r, RELAY_ERROR))
        return;
    if (row->fate == RELAY_DONE) {
        if (there)
            memmove(r->memory + at, r->memory + at + 1, (--r->memories - at) * sizeof *r->memory);
        return;
    }
    if (!there) {
        if (r->memories == r->memory_room) {
            r->memory_room = r->memory_room * 2 + 64;
            r->memory = mem_grow(r->memory, r->memory_room, sizeof *r->memory);
        }
        memmove(r->memory + at + 1, r->memory + at, (r->memories++ - at) * sizeof *r->memory);
    }
    r->memory[at] =
        (struct relay_memory){row->id, row->attempts, row->retry_ms, row->fate == RELAY_FAILED};
}
