/*
 * What dispatch.c shares with its two crews: handlers.c, a process for each event, and workers.c,
 * processes that stay. Nobody else includes this.
 *
 * The loop claims into a queue, gives the crew what it has room for, waits, lets the crew move its
 * data, and settles what has been decided. A crew decides by calling one of the functions below,
 * once for each event that it has begun; the event is settled soon after, and until then its claim
 * and its line stay.
 */
#ifndef DISPATCH_PRIV_H
#define DISPATCH_PRIV_H

#include "dispatch.h"
#include "emit.h"

#include <poll.h>
#include <sys/types.h>

struct dispatch;

struct crew {
    int (*open)(struct dispatch *d, struct err *e);
    size_t (*room)(const struct dispatch *d); /* events that could be begun now */
    /* 1 begun, 0 not now, -1. An event that cannot be begun at all is decided at once: 1. */
    int (*begin)(struct dispatch *d, struct group_event *ge, struct err *e);
    size_t (*fds)(const struct dispatch *d, struct pollfd *fds); /* at most fds_max */
    int64_t (*deadline)(
        const struct dispatch *d); /* monotonic: when move is wanted at the latest */
    void (*ended)(struct dispatch *d, pid_t pid, int wait_status, int64_t now_ms);
    int (*move)(struct dispatch *d, int64_t now_ms, struct err *e);
    bool (*has)(const struct dispatch *d, struct str subject); /* begun and not decided */
    void (*quit)(struct dispatch *d, int64_t now_ms);          /* begin no more, end when idle */
    void (*force)(struct dispatch *d, int64_t now_ms);         /* end now */
    bool (*busy)(const struct dispatch *d);                    /* quit has not come to its end */
    void (*close)(struct dispatch *d);
};

extern const struct crew handlers_crew, workers_crew;

struct span {
    size_t at, n;
    bool printed; /* to stdout */
};

struct dispatch {
    struct store *store;
    struct group *group;
    const struct dispatch_terms *terms;
    struct dispatch_result *result;
    const struct crew *crew;
    void *hands; /* the crew's own */
    size_t fds_max;
    struct js_scan scan;
    struct event event;         /* scratch */
    struct group_event **queue; /* claimed and not begun */
    size_t queued, queue_max, running;
    struct pollfd *fds;

    struct group_settle *settle; /* decided and not yet settled; their texts are ours */
    struct span *made;           /* of lines: what each emits; or has printed */
    size_t settles, settle_room;
    int64_t settle_ms; /* monotonic: when the first of them was decided */
    struct emit emit;
    struct buf lines, output;

    int64_t taken;          /* settled or in our hands: for -n */
    int64_t pause_ms;       /* monotonic: no starting before; the system had no process to give */
    int64_t pace_ms;        /* monotonic: no claiming before, for the group's rate; 0: none */
    int64_t holds;          /* deferrals in a row, for the backoff of holds */
    int cannot_run_row;     /* events in a row that ended with 126 or 127 */
    int64_t cannot_run_seq; /* the last of them */
    int64_t last;           /* as terms->last, once the time terms->until_ms has come */
    int64_t grace_ms;       /* monotonic: when a stop becomes forceful; 0: not stopping */
    bool more;              /* the last claim found something */
    bool drained;           /* the last claim found nothing, and we do not follow */
    bool on_hold;
    bool past_last; /* nothing more can come up to last */
};

/* How an attempt went. */
struct outcome {
    struct group_event *event;
    int status;      /* as a shell shows it; 0: the worker said so itself */
    const char *why; /* "exit status 3: card declined" */
    int64_t started_ms, took_ms;
    int64_t delay_ms; /* its word about when to try again; -1: none */
    struct str tail;
    bool printed; /* its output is on stdout already */
};

/* output goes to stdout, or with emit into the log; absent: none. It may turn out to be no events:
   then this is a dead letter. 75 when the claim is no longer ours. */
int decide_done(struct dispatch *d, const struct outcome *o, struct str output, struct err *e);
/* Is the event's claim still ours, so that output may be let out? 0, or -1 with 75. */
int decide_print(struct dispatch *d, const struct group_event *event, struct err *e);
void decide_retry(struct dispatch *d, const struct outcome *o); /* dead after the last attempt */
void decide_dead(struct dispatch *d, const struct outcome *o);
int decide_defer(struct dispatch *d, const struct outcome *o, struct err *e);
void decide_release(struct dispatch *d, struct group_event *event);     /* we ended it ourselves */
void decide_misconfigured(struct dispatch *d, const struct outcome *o); /* back, and we stop */
/* Begin nothing more, let end what runs, give back the rest, and then say why: no event's fault. */
void decide_stop(struct dispatch *d, const struct err *why);
/* An event that no attempt can help: not an event any more, or too large for an environment. */
void decide_hopeless(struct dispatch *d, struct group_event *event, const struct err *why);

#endif
