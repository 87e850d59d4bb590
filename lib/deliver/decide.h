/*
 * What loop.c shares with its two crews: handlers.c, a process for each event, and workers.c,
 * processes that stay. No other file includes this.
 *
 * The loop claims events into a queue, gives the crew as many as it has room for, waits, lets the
 * crew move its data, and settles the events that have been decided. A crew decides by calling one
 * of the functions below, once for each event that it has begun; the event is settled soon after,
 * and its claim and its line remain until then.
 */
#ifndef DELIVER_DECIDE_H
#define DELIVER_DECIDE_H

#include "deliver/emit.h"
#include "deliver/loop.h"

#include <poll.h>
#include <sys/types.h>

struct loop;

struct crew {
    int (*open)(struct loop *loop, struct err *e);
    size_t (*room)(const struct loop *loop); /* events that could be begun now */
    /* 1 begun, 0 not now, -1 error. An event that cannot be begun at all is decided at once, and
       begin returns 1. */
    int (*begin)(struct loop *loop, struct group_event *ge, struct err *e);
    size_t (*fds)(const struct loop *loop, struct pollfd *fds); /* at most fds_max */
    int64_t (*deadline)(const struct loop *loop); /* monotonic: the latest time to call move */
    void (*ended)(struct loop *loop, pid_t pid, int wait_status, int64_t now_ms);
    int (*move)(struct loop *loop, int64_t now_ms, struct err *e);
    bool (*has)(const struct loop *loop, struct str subject); /* begun and not decided */
    void (*quit)(struct loop *loop, int64_t now_ms);          /* begin nothing more, end when
                                                                  idle */
    void (*force)(struct loop *loop, int64_t now_ms);         /* end now */
    bool (*busy)(const struct loop *loop);                    /* quit has not finished */
    void (*close)(struct loop *loop);
};

extern const struct crew handlers_crew, workers_crew;

struct span {
    size_t at, n;
    bool printed; /* to stdout */
};

struct loop {
    struct store *store;
    struct group *group;
    const struct loop_terms *terms;
    struct loop_result *result;
    const struct crew *crew;
    void *hands; /* the crew's own */
    size_t fds_max;
    struct js_scan scan;
    struct event event;         /* scratch */
    struct group_event **queue; /* claimed, not yet begun */
    size_t queued, queue_max, running;
    struct pollfd *fds;

    struct group_settle *settle; /* decided, not yet settled; their texts are copies */
    struct span *made;           /* ranges of lines: what each event emits; or that its output is
                                    printed */
    size_t settles, settle_room;
    int64_t settle_ms; /* monotonic: when the first of them was decided */
    struct emit emit;
    struct buf lines, output;

    int64_t taken;          /* settled, or claimed by us: for -n */
    int64_t pause_ms;       /* monotonic: start nothing before; the system was out of processes */
    int64_t pace_ms;        /* monotonic: claim nothing before, for the group's rate; 0: no limit */
    int64_t holds;          /* consecutive deferrals, for the backoff of holds */
    int cannot_run_row;     /* consecutive events that ended with 126 or 127 */
    int64_t cannot_run_seq; /* the last of those events */
    int64_t last;           /* terms->last, or the last position once the time terms->until_ms has
                               come */
    int64_t grace_ms;       /* monotonic: when a stop becomes forceful; 0: not stopping */
    bool more;              /* the last claim found something */
    bool drained;           /* the last claim found nothing, and we do not follow */
    bool on_hold;
    bool past_last; /* no more events can appear up to last */
};

/* How an attempt went. */
struct outcome {
    struct group_event *event;
    int status;      /* as a shell shows it; 0: the worker answered with the outcome */
    const char *why; /* "exit status 3: card declined" */
    int64_t started_ms, took_ms;
    int64_t delay_ms; /* the handler's word about when to try again; -1: none */
    struct str tail;
    bool printed; /* its output is on stdout already */
};

/* output goes to stdout, or with emit into the log; absent: none. With emit, output that is not
   events makes the event a dead letter. -1 with 75 when the claim is no longer ours. */
int decide_done(struct loop *loop, const struct outcome *o, struct str output, struct err *e);
/* Is the event's claim still ours, so that its output may be written? 0, or -1 with 75. */
int decide_print(struct loop *loop, const struct group_event *event, struct err *e);
void decide_retry(struct loop *loop, const struct outcome *o); /* a dead letter after the last
                                                                   attempt */
void decide_dead(struct loop *loop, const struct outcome *o);
int decide_defer(struct loop *loop, const struct outcome *o, struct err *e);
void decide_release(struct loop *loop, struct group_event *event);     /* we ended its handler
                                                                           ourselves */
void decide_misconfigured(struct loop *loop, const struct outcome *o); /* returned, and we stop */
/* Begin nothing more, let running handlers end, return the rest, and then report why, which is no
   event's fault. */
void decide_stop(struct loop *loop, const struct err *why);
/* Decide an event that no attempt can help: its line is damaged, or it is too large for an
   environment. */
void decide_hopeless(struct loop *loop, struct group_event *event, const struct err *why);

#endif
