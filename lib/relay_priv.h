/*
 * What the relay's policy and the databases know of each other. The policy (relay.c, relay_row.c,
 * relay_sink.c) knows no SQL; an engine knows nothing of events.
 */
#ifndef RELAY_PRIV_H
#define RELAY_PRIV_H

#include "child.h"
#include "relay.h"

#define RELAY_PAGE 500             /* rows that are read, published and marked together */
#define RELAY_PAGE_BYTES (8 << 20) /* no more rows to a page that is so large already */
#define RELAY_GRACE_MS 10000       /* after a signal: for marking, and for a sink's last answers */
#define RELAY_TABLE "outbox_events"
/* Not with "--" in front: that would be an option where the text is an argument. */
#define RELAY_SCHEMA_HEAD                                                                          \
    "/* The outbox that outbox-relay(1) reads. In the transaction that changes your own rows,\n"   \
    "   insert a row with event_type and payload (JSON) and, where you have them, event_id,\n"     \
    "   aggregate_id and headers. The relay uses the other columns. */\n"

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

/* A table: its columns' names, NULL for what it has not. */
struct relay_table {
    const char *name;
    char *folded; /* name, where that is what was found */
    char *column[RELAY_COLUMNS];
    bool mapped[RELAY_COLUMNS]; /* the user says so, so it must be there */
};

enum relay_fate {
    RELAY_LEFT,  /* not this time */
    RELAY_READY, /* to be published */
    RELAY_DONE,  /* safe: to be marked */
    RELAY_RETRY, /* not confirmed: again at retry_ms */
    RELAY_FAILED /* given up, as reason says */
};

struct relay_row {
    int64_t id;
    struct str text[RELAY_ATTEMPTS]; /* EVENT_ID to RETRY_AT; views until the next page */
    bool blob[RELAY_ATTEMPTS];
    bool failed, held; /* given up earlier; another relay has it */
    int64_t attempts, retry_ms;

    enum relay_fate fate;
    char *reason;                        /* RELAY_FAILED; freed by the policy */
    size_t line_at, line_n, id_at, id_n; /* its event, in relay.lines and relay.ids */
    int64_t before; /* the row of its aggregate in front of it, for a sink; -1: none */
    bool given;     /* the sink has it, since given_ms */
    int64_t given_ms;
};

/* Texts, by their hashes: all zero is the empty set. */
struct relay_set {
    uint64_t *hash; /* 0 is a free place */
    size_t n, room;
};
void relay_set_add(struct relay_set *s, struct str text);
bool relay_set_has(const struct relay_set *s, struct str text);
void relay_set_empty(struct relay_set *s); /* keeps the block */
void relay_set_free(struct relay_set *s);

struct relay_page {
    struct relay_row row[RELAY_PAGE];
    size_t n;
    bool last; /* there is nothing behind it */
};

struct relay_engine {
    bool exact_names; /* "Seq" and "seq" are two columns */
    void (*schema)(const struct relay_terms *terms, struct buf *out);
    int (*open)(struct relay *r, enum relay_mode mode, struct err *e);
    void (*close)(struct relay *r);
    /* A round: begin, read, settle, end. begin returns 0 when another relay has its turn. read
       takes rows with after < id <= last; no transaction is open until settle, which marks all rows
       with a fate of their own in a short one, and may be called again when it failed. */
    int (*begin)(struct relay *r, struct err *e);
    int (*read)(struct relay *r, enum relay_mode mode, int64_t after, int64_t last, struct err *e);
    int (*settle)(struct relay *r, int64_t now_ms, struct err *e);
    void (*end)(struct relay *r);
    int (*last)(struct relay *r, int64_t *id, struct err *e);
    int64_t (*retry_failed)(struct relay *r, struct err *e);
    /* One transaction of it; *after is its place. The number removed; *after is INT64_MAX at the
       end. */
    int64_t (*prune)(struct relay *r, int64_t before_ms, int64_t *after, struct err *e);
    int (*state)(struct relay *r, struct relay_state *out, struct buf *oldest, struct err *e);
    /* Following: a descriptor to wait for, -1 for none, how long at most, and whether it is worth
       a look (1) or not (0). */
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
    void *db; /* the engine's own */

    /* the policy's own */
    struct store *spool;
    struct relay_result *result;
    bool looking;                /* nothing is marked */
    struct relay_memory *memory; /* of rows, where the table has no column for it */
    size_t memories, memory_room;
    struct relay_set held; /* the aggregates that are held up in this pass */
    int64_t due_ms;        /* when the next row is to be tried again; INT64_MAX: none */
    int64_t busy, busy_id; /* rows that others have: how many, and the first of them */
    struct event_fill fill;
    struct event event;
    struct js_scan scan;
    struct buf partial, lines, ids;

    bool open, more;  /* the database is open; there may be rows behind this page */
    bool marking;     /* of confirmed rows: a first signal does not end that */
    bool unmarked;    /* it failed */
    bool locked;      /* the trouble was a lock, and not a server that is away */
    int64_t troubles; /* in a row */
    int64_t stop_ms;  /* when the grace after a signal is over; 0: none came */

    struct child child;  /* the sink */
    bool sink_runs;      /* it may outlive a page */
    bool sink_kept;      /* it has, and has answered nothing since */
    bool sink_over;      /* its input has ended */
    bool sink_streams;   /* it has once answered before that */
    bool sink_reads_all; /* it answers when its input ends, not before */
    bool sink_strange;   /* it printed something else, which is reported once */
    int64_t slowest_ms;  /* its slowest answer */
    int64_t downs, pause_ms;
};

/* relay_sql.c: parts of statements. A name in double quotes; a column, or NULL where the table has
   none; "column = value" for an UPDATE, with a comma unless a space stands in front, or nothing. */
void relay_sql_quote(struct buf *b, const char *name);
void relay_sql_column(struct buf *b, const struct relay *r, enum relay_column c);
void relay_sql_set(struct buf *b, const struct relay *r, enum relay_column c, const char *value);

/* relay_row.c: rows, columns and memory */
int relay_map(struct relay_table *t, const char *map, struct err *e);
/* names: the table's columns, each with a NUL behind it. */
int relay_check(struct relay *r, const struct buf *names, struct err *e);
bool relay_has(const struct relay *r, enum relay_column c);
void relay_table_free(struct relay_table *t);
/* The event of a row, appended to lines and ids. -1 with what is wrong with it in why. */
int relay_make(struct relay *r, struct relay_row *row, struct err *why);
void relay_recall(struct relay *r, struct relay_row *row);
void relay_remember(struct relay *r, const struct relay_row *row);
void relay_hold(struct relay *r, struct str aggregate);
bool relay_is_held(const struct relay *r, struct str aggregate);
char *relay_fold(const char *name);   /* in lower case, as PostgreSQL reads names; to be freed */
uint64_t relay_hash(struct str text); /* never 0 */

/* relay.c */
void relay_fail(struct relay *r, struct relay_row *row, const char *reason);
void relay_retry(struct relay *r, struct relay_row *row, const char *reason);

/* A DONE, RETRY or FAILED row that stays as it was although its mark went through: 65. */
int relay_refused(struct relay *r, const struct relay_row *row, struct err *e);
/* A DONE row that is not marked because somebody changed it in the meantime is reported. */
void relay_changed(const struct relay_row *row);

/* Engines ask this while they wait: at a signal, and while confirmed rows are marked at a second
   one or when the grace is over. */
bool relay_must_end(struct relay *r);

/* relay_sink.c: rows that are READY become DONE, RETRY or FAILED; those behind them LEFT. */
int relay_sink(struct relay *r, struct err *e);
/* A sink that is kept: what to wait for, *wait_ms shortened; look after it; end it. */
size_t relay_sink_fds(const struct relay *r, struct pollfd *fds, int64_t *wait_ms);
int relay_sink_idle(struct relay *r, struct err *e);
int relay_sink_end(struct relay *r, struct err *e);

#endif
