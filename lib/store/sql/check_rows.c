/*
 * Which rows a command would never write: in claims, among the items in flight, and in all tables
 * but that of the events.
 */
#include "store/sql/check.h"

#include "base/mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Find rows that no command would write. Each selects the name of a group, or null, and what is
   wrong; and a third column is something wrong only when it is not JSON that begins as in json. */
#define NAME "(SELECT name FROM groups g WHERE g.grp=t.grp)"
#define OF_NO_GROUP(table)                                                                         \
    "SELECT NULL,count(*)||' row(s) of table \"" table "\" are of no group' FROM " table           \
    " WHERE grp NOT IN (SELECT grp FROM groups) HAVING count(*)>0"
#define STRANGE_GROUP "SELECT name,'its row in table \"groups\" has a value that no command writes'"
#define STRANGE_DOCUMENT                                                                           \
    "SELECT NULL,'the document '||kind||' \"'||name||'\" is none that a command writes'"

static const struct strange {
    struct sql sql;
    const char *json;
} strange[] = {
    {{"check_event",
      "SELECT NULL,'an event is at position '||seq||', where none can be' FROM event WHERE seq<1 "
      "OR seq>4611686018427387904"},
     NULL},
    {{"check_group", STRANGE_GROUP
      " FROM groups WHERE name='' OR " HAS_NUL("name") " OR ordered NOT IN (0,1,2) OR paused NOT "
                                                       "IN (0,1) OR rev<0"},
     NULL},
    {{"check_group_patterns", STRANGE_GROUP ",patterns FROM groups WHERE name<>''"}, "["},
    {{"check_cursor_of_no_group", OF_NO_GROUP("cursor")}, NULL},
    {{"check_consumer_of_no_group", OF_NO_GROUP("consumer")}, NULL},
    {{"check_claim_of_no_group", OF_NO_GROUP("claim")}, NULL},
    {{"check_item_of_no_group", OF_NO_GROUP("item")}, NULL},
    {{"check_attempt_of_no_group", OF_NO_GROUP("attempt")}, NULL},
    {{"check_tally_of_no_group", OF_NO_GROUP("tally")}, NULL},
    {{"check_duration_of_no_group", OF_NO_GROUP("duration")}, NULL},
    {{"check_consumer",
      "SELECT " NAME
      ",'a row of table \"consumer\" names no process' FROM consumer t WHERE owner<=0 OR "
      "owner%2=0 OR pid<=0"},
     NULL},
    {{"check_claim_of_no_consumer",
      "SELECT " NAME
      ",'claim '||claim||' is of a consumer that is not there: nobody takes its events over; move "
      "the group with spool group seek' FROM claim t WHERE lease IS NULL AND NOT EXISTS(SELECT 1 "
      "FROM consumer c WHERE c.owner=t.owner AND c.grp=t.grp)"},
     NULL},
    {{"check_claim",
      "SELECT " NAME
      ",'claim '||claim||' has a lease that no command writes' FROM claim t WHERE lease IS NOT "
      "NULL AND (owner%2<>0 OR term IS NULL OR term<=0 OR boot IS NULL)"},
     NULL},
    {{"check_item",
      "SELECT " NAME
      ",'table \"item\" has a value for position '||seq||' that no command writes' FROM item t "
      "WHERE state NOT BETWEEN 0 AND 3 OR attempts<0 OR deaths<0 OR seq<1 OR seq>(SELECT max(seq) "
      "FROM event)"},
     NULL},
    {{"check_segment",
      "SELECT NULL,'table \"segment\" has another time for position '||seq||' than its event' FROM "
      "segment t WHERE seq<1 OR seq>(SELECT max(seq) FROM event) OR recorded<>(SELECT recorded "
      "FROM event e WHERE e.seq=t.seq)"},
     NULL},
    {{"check_tally",
      "SELECT " NAME ",'table \"tally\" counts less than nothing' FROM tally t WHERE done<0 OR "
      "retried<0 OR dead<0 OR deferred<0 OR took<0"},
     NULL},
    {{"check_duration",
      "SELECT " NAME
      ",'table \"duration\" counts less than nothing' FROM duration t WHERE le<0 OR n<0"},
     NULL},
    {{"check_document", STRANGE_DOCUMENT " FROM document WHERE rev<1"}, NULL},
    {{"check_document_json", STRANGE_DOCUMENT ",value FROM document WHERE rev>=1 AND kind IN "
                                              "('breaker','bucket','fsm','key','saga','snapshot')"},
     ""},
};

static bool check_json(struct str text, const char *begins)
{
    json_t *root =
        json_loadb(text.p == NULL ? "" : text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool is = root != NULL && strncmp(text.p, begins, strlen(begins)) == 0;

    json_decref(root);
    return is;
}

static int check_strange(struct check *c, const struct sql *sql, const char *json, struct err *e)
{
    struct query *q = db_query(c->s->db, e, sql, "");
    struct buf group = BUF_INIT;
    int got = -1;

    for (int n = 0; q != NULL && n < NAMED_MAX && (got = db_row(c->s->db, q, e)) > 0;) {
        struct str name = db_text(q, 0), text = db_text(q, 1);
        if (json != NULL && check_json(db_text(q, 2), json))
            continue;
        n++;
        buf_reset(&group);
        buf_str(&group, name);
        got = check_report(
            c,
            &(struct check_finding){
                .kind = "damage", .group = name.p == NULL ? NULL : buf_text(&group), .value = 1},
            e, "%.*s", (int)text.n, text.p);
        if (got < 0)
            break;
    }
    db_done(q);
    buf_free(&group);
    return got < 0 ? -1 : 0;
}

/* The events in claims, to find those of the table "item" that are in none. */
struct held_list {
    struct held_place {
        int64_t grp, seq;
    } * place;
    size_t n, room;
};

static int place_compare(const void *a, const void *b)
{
    const struct held_place *x = a, *y = b;
    return x->grp != y->grp ? (x->grp > y->grp) - (x->grp < y->grp)
                            : (x->seq > y->seq) - (x->seq < y->seq);
}

static int check_in_flight(struct check *c, const struct held_list *all, struct err *e)
{
    struct query *q =
        db_query(c->s->db, e,
                 SQL("check_in_flight", "SELECT grp,seq FROM item WHERE state=1 LIMIT 10000"), "");
    int got = -1;

    while (q != NULL && (got = db_row(c->s->db, q, e)) > 0) {
        const struct held_place p = {db_i64(q, 0), db_i64(q, 1)};
        if (all->n > 0 && bsearch(&p, all->place, all->n, sizeof p, place_compare) != NULL)
            continue;
        got = check_report(
            c, &(struct check_finding){.kind = "damage", .value = 1}, e,
            "position %lld is in flight, and in no claim (table \"item\"): nobody takes it "
            "over; move its group with spool group seek",
            (long long)p.seq);
        if (got < 0)
            break;
    }
    db_done(q);
    return got;
}

/* Add a claim's events to the list. False when the claim has positions that no command writes. */
static bool add_open(struct held_list *all, struct query *q, int64_t last)
{
    int64_t grp = db_i64(q, 3), *open;
    size_t n = open_decode(db_text(q, 2), &open);
    bool right = n > 0 && open[0] == db_i64(q, 1) && open[0] > 0 && open[n - 1] <= last;

    if (all->n + n > all->room) {
        all->room = 2 * all->room + n;
        all->place = mem_grow(all->place, all->room, sizeof *all->place);
    }
    for (size_t i = 0; i < n; i++) {
        right &= i == 0 || open[i] > open[i - 1];
        all->place[all->n++] = (struct held_place){grp, open[i]};
    }
    free(open);
    return right;
}

static int check_claims(struct check *c, struct err *e)
{
    struct held_list all = {NULL, 0, 0};
    int64_t last = 0;
    int got = log_last(c->s, &last, e);
    struct query *q =
        got < 0 ? NULL
                : db_query(c->s->db, e,
                           SQL("check_claims", "SELECT claim,first,open,grp FROM claim"), "");

    while (q != NULL && (got = db_row(c->s->db, q, e)) > 0) {
        if (add_open(&all, q, last))
            continue;
        got = check_report(c, &(struct check_finding){.kind = "damage", .value = 1}, e,
                           "claim %lld has positions that no command writes",
                           (long long)db_i64(q, 0));
        if (got < 0)
            break;
    }
    db_done(q);
    if (all.n > 0)
        qsort(all.place, all.n, sizeof *all.place, place_compare);
    got = q == NULL || got < 0 ? -1 : check_in_flight(c, &all, e);
    free(all.place);
    return got;
}

/* In one transaction, or a claim and its consumer would be read at different moments. */
int check_rows(struct check *c, struct err *e)
{
    if (db_begin_read(c->s->db, e) < 0)
        return -1;
    int got = check_claims(c, e);
    for (size_t i = 0; i < sizeof strange / sizeof strange[0] && got >= 0; i++)
        got = check_strange(c, &strange[i].sql, strange[i].json, e);
    if (got >= 0)
        got = check_strange(c, &check_meta, NULL, e);
    db_rollback(c->s->db);
    return got;
}
