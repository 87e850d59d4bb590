/*
 * The interface between the relay's policy and its database engines. The policy knows no SQL; an
 * engine knows nothing about events. From top to bottom:
 *
 *     relay.c                 open, close, look
 *     follow.c                goes over the table, once or again and again
 *     round.c                 rounds: read a page, publish, mark
 *     spool.c, sink.c         publishing a page to the spool, or to a command
 *     sqlite.c, postgres.c    the engines
 *     page.c, fate.c          whose turn it is; what becomes of a row, and which rows it holds up
 *     trouble.c, address.c    waiting for a database; what its address says
 *     row.c                   the event that a row becomes
 *     columns.c, sql.c, set.c
 */
#ifndef OUTBOX_ENGINE_H
#define OUTBOX_ENGINE_H

#include "outbox/relay.h"
#include "process/child.h"

#define RELAY_PAGE 500             /* rows that are read, published and marked together */
#define RELAY_PAGE_BYTES (8 << 20) /* a page that has reached this size gets no more rows */
#define RELAY_TABLE "outbox_events"

enum relay_column {
    RELAY_ID,
    RELAY_EVENT_ID,
    RELAY_AGGREGATE,
    RELAY_TYPE,
    RELAY_PAYLOAD,
    RELAY_HEADERS,
    RELAY_CREATED,
    RELAY_RETRY_AT,
    RELAY_ATTEMPTS,
    RELAY_ERROR,
    RELAY_PUBLISHED,
    RELAY_PUBLISHED_AT,
    RELAY_COLUMNS
};

/* A table: the names of its columns, NULL for those that it does not have. */
struct relay_table {
    const char *name;
    char *folded; /* name in lower case, when the table was found under that */
    char *column[RELAY_COLUMNS];
    bool mapped[RELAY_COLUMNS]; /* named by the user's map, so it must exist */
    bool boolean;               /* published is one, and not a number */
};

enum relay_fate {
    RELAY_LEFT,  /* not this time */
    RELAY_READY, /* to be published */
    RELAY_DONE,  /* published: to be marked */
    RELAY_RETRY, /* not confirmed: to be tried again at retry_ms */
    RELAY_FAILED /* given up for the reason in reason */
};

struct relay_row {
    int64_t id;
    struct str text[RELAY_ATTEMPTS]; /* EVENT_ID to RETRY_AT; views until the next page */
    bool blob[RELAY_ATTEMPTS];
    bool failed, held; /* given up earlier; held by another relay */
    int64_t attempts, retry_ms;

    enum relay_fate fate;
    char *reason;              /* RELAY_FAILED; freed by the policy */
    struct event *event;       /* RELAY_READY; in relay.events */
    int64_t before;            /* for a sink: the previous row of its aggregate; -1: none */
    bool changed;              /* by its mark, or there was nothing to change */
    bool given;                /* the sink has it, since given_ms */
    int64_t given_ms, given_n; /* given_n: as the n-th event */
};

/* set.c: a set of texts, by their hashes: all zero is the empty set. */
struct relay_set {
    uint64_t *hash; /* 0 is a free place */
    size_t n, room;
};
void relay_set_add(struct relay_set *s, struct str text);
bool relay_set_has(const struct relay_set *s, struct str text);
void relay_set_empty(struct relay_set *s); /* keeps the block */
void relay_set_free(struct relay_set *s);
uint64_t relay_hash(struct str text); /* never 0 */

struct relay_page {
    struct relay_row row[RELAY_PAGE];
    size_t n;
    bool last; /* no rows come after it */
};

struct relay_word {
    const char *name, *text; /* name NULL: the end of a list */
};

/* How a database writes the statements of sql.c. */
struct relay_dialect {
    const char *schema;             /* a text of share/ */
    bool exact_names;               /* "Seq" and "seq" are different columns */
    bool schemas;                   /* "app.outbox" is the table outbox of the schema app */
    const struct relay_word *words; /* the places of values, and what else differs */
};

struct relay_engine {
    const struct relay_dialect *dialect;
    int (*open)(struct relay *r, enum relay_mode mode, struct err *e);
    void (*close)(struct relay *r);
    /* A round: begin, read, settle, end. begin returns 0 when it is another relay's turn. read
       takes rows with after < id <= last; no transaction is open until settle, which marks each
       row according to its fate in one short transaction, and may be called again when marking
       failed. */
    int (*begin)(struct relay *r, struct err *e);
    int (*read)(struct relay *r, enum relay_mode mode, int64_t after, int64_t last, struct err *e);
    int (*settle)(struct relay *r, int64_t now_ms, struct err *e);
    void (*end)(struct relay *r);
    int (*last)(struct relay *r, int64_t *id, struct err *e);
    int64_t (*retry_failed)(struct relay *r, struct err *e);
    /* One transaction of pruning rows that are so old by the database's clock, starting at *after,
       which is moved on. Returns the number of rows removed; *after is INT64_MAX at the end. */
    int64_t (*prune)(struct relay *r, int64_t age_ms, int64_t *after, struct err *e);
    int (*state)(struct relay *r, struct relay_state *out, struct buf *oldest, struct err *e);
    /* For following: a descriptor to wait for, or -1; how long to wait at most; whether it is worth
       looking for rows (1) or not (0). */
    int (*fd)(struct relay *r);
    int64_t (*patience_ms)(struct relay *r);
    int (*news)(struct relay *r, struct err *e);
};

extern const struct relay_engine relay_sqlite, relay_postgres;

struct relay {
    const struct relay_engine *engine;
    const struct relay_terms *terms;
    char *place; /* the database in messages */
    struct relay_table table;
    struct relay_page page;
    void *db; /* private to the engine */

    /* private to the policy */
    struct store *spool;
    struct relay_result *result;
    bool looking;                /* RELAY_LOOK: mark nothing */
    struct relay_memory *memory; /* of rows' attempts, where the table has no columns for them */
    size_t memories, memory_room;
    struct relay_set held; /* the aggregates held up in this pass */
    int64_t due_ms;        /* when the next row is due for another attempt; INT64_MAX: none */
    int64_t busy, busy_id; /* rows that other relays hold: how many, and the first of them */
    struct event_fill fill;
    struct event events[RELAY_PAGE], answer; /* of the page's rows; what a sink printed */
    struct js_scan scan;
    struct buf partial;

    bool open, more;  /* the database is open; there may be rows after this page */
    bool marking;     /* marking confirmed rows, which a first signal does not end */
    bool unmarked;    /* marking failed */
    bool locked;      /* the trouble was a lock, not an unreachable server */
    int64_t troubles; /* consecutive */

    struct child child;  /* the sink */
    bool sink_runs;      /* it is running; it may outlive a page */
    bool sink_kept;      /* it has outlived a page, and has answered nothing since */
    bool sink_over;      /* its input has ended */
    bool sink_streams;   /* it has answered before the end of its input */
    bool sink_reads_all; /* it answers only when its input ends */
    bool sink_strange;   /* it printed something other than an answer, which is reported once */
    int64_t slowest_ms;  /* its slowest answer */
    int64_t gave_n;      /* events given to it; the last of them that it answered */
    int64_t answered_n;
    int64_t downs, pause_ms;
};

/* address.c: the engine for a database, never NULL; and 0, or -1 with 64 for an address that must
   not be printed, since part of a password could be taken for another part of it. */
const struct relay_engine *relay_engine_of(const char *database);
int relay_check_address(const char *database, struct err *e);

/* trouble.c: is it a lock, or an unreachable server? relay_endure reports such trouble once, and
   waits: 1, or 0 when a signal ended the wait. relay_trouble_over says so, if it was reported. */
bool relay_will_pass(const struct err *e);
int relay_endure(struct relay *r, struct err *e);
void relay_trouble_over(struct relay *r);

/* page.c: choose the rows of the page to publish; returns how many. Free its rows. */
size_t relay_choose(struct relay *r, int64_t now_ms);
void relay_forget_page(struct relay *r);

/* round.c: publish and mark the rows up to last; remove rows that were relayed long ago; 0, or -1.
   relay_enough: are we to stop, by a signal or a count? */
int relay_pass(struct relay *r, int64_t last, struct err *e);
int relay_prune(struct relay *r, struct err *e);
bool relay_enough(const struct relay *r);

/* spool.c: the page's READY rows become DONE, FAILED, or LEFT behind a failed one. 0, or -1 when
   none is stored. */
int relay_into_spool(struct relay *r, struct err *e);

/* sql.c: templates of statements, and what they become. */
enum relay_statement {
    RELAY_SQL_LAST,
    RELAY_SQL_PAGE,
    RELAY_SQL_DONE, /* these rows are relayed */
    RELAY_SQL_DELETE,
    RELAY_SQL_LEFT, /* unpublished rows from {after} to {last}, with a proof of their content */
    RELAY_SQL_RETRY,
    RELAY_SQL_FAIL,
    RELAY_SQL_GIVE_BACK,
    RELAY_SQL_STATE, /* unpublished, failed and waiting rows, and when the first was created */
    RELAY_STATEMENTS
};
extern const char *const relay_template[RELAY_STATEMENTS];

/* Put a template's statement into out: nothing if the table has none of the columns that it
   sets. */
void relay_sql(const struct relay *r, const char *text, struct buf *out);
void relay_sql_schema(const struct relay_dialect *d, const struct relay_terms *terms,
                      struct buf *out);
void relay_sql_quote(struct buf *b, struct str name); /* append a name in double quotes */

/* columns.c. relay_map: 0, or -1 with 64 when the map is wrong. relay_check: names are the table's
   columns, each followed by a NUL; 0, or -1 with 64 or 65 when one is missing. */
int relay_map(struct relay_table *t, const char *map, struct err *e);
int relay_check(struct relay *r, const struct buf *names, struct err *e);
bool relay_has(const struct relay *r, enum relay_column c);
int relay_column(struct str word);                  /* by its name or its word in a map; -1: none */
const char *relay_column_name(enum relay_column c); /* ours */
char *relay_fold(const char *name); /* in lower case, as PostgreSQL reads names; to be freed */
void relay_table_free(struct relay_table *t);

/* row.c: make a row's event, valid until the next page. 0, or -1 with the row's error in why. */
int relay_make(struct relay *r, struct relay_row *row, struct err *why);

/* fate.c: give up, or try again later. The row holds up the later rows of its aggregate. */
void relay_fail(struct relay *r, struct relay_row *row, const char *reason);
void relay_retry(struct relay *r, struct relay_row *row, const char *reason);
void relay_hold(struct relay *r, struct str aggregate);
bool relay_is_held(const struct relay *r, struct str aggregate);

/* Report a DONE, RETRY or FAILED row that is unchanged although its mark succeeded: -1 with 65. */
int relay_refused(struct relay *r, const struct relay_row *row, struct err *e);
int relay_not_pruned(struct relay *r, int64_t id, struct err *e); /* the same for a DELETE */
/* A row is unpublished after its page was marked, and has the content that was read, or another.
   Report a DONE row that is not marked because it was changed in the meantime; the first row that a
   mark should have changed becomes *refused. */
void relay_judge(const struct relay_row *row, bool as_read, const struct relay_row **refused);
struct relay_row *relay_row_of(struct relay *r, int64_t id); /* of the page; NULL: none */

/* What the table has no columns for. */
void relay_recall(struct relay *r, struct relay_row *row);
void relay_remember(struct relay *r, const struct relay_row *row);

/* Engines ask this while they wait. True after a signal; while confirmed rows are marked, only
   after a second signal or when the grace is over. */
bool relay_must_end(struct relay *r);

/* sink.c: READY rows become DONE, RETRY or FAILED; rows held up behind these become LEFT. 0, or -1
   when the sink cannot be run. */
int relay_sink(struct relay *r, struct err *e);
/* For a sink that is kept running: the descriptors to wait for, *wait_ms shortened; service the
   sink; end it. The last two: 0, or -1 when reading or writing failed. */
size_t relay_sink_fds(const struct relay *r, struct pollfd *fds, int64_t *wait_ms);
int relay_sink_idle(struct relay *r, struct err *e);
int relay_sink_end(struct relay *r, struct err *e);

#endif
