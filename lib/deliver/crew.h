/*
 * crew: those who handle the events. loop.c has two: handlers.c, a process for each event, and
 * workers.c, processes that stay.
 *
 * The loop claims events into a queue, gives the crew as many as it has room for, waits, lets the
 * crew move its data, and settles the events that the crew has decided (decide.h).
 */
#ifndef DELIVER_CREW_H
#define DELIVER_CREW_H

#include "deliver/intake.h"

#include <poll.h>
#include <sys/types.h>

struct crew;

/* What the loop and its crew share. */
struct loop {
    struct decide decide;
    const struct loop_terms *terms;
    struct store *store;
    struct group *group;
    void *hands;            /* the crew's own */
    size_t fds_max;         /* set by open: descriptors to wait for */
    size_t queue_max;       /* set by the crew: events claimed at once, running ones included */
    int64_t settle_wait_ms; /* set by open: the longest that a decision waits for others */
    size_t running;         /* kept by the crew: begun and not decided */
    int64_t pause_ms;       /* monotonic: begin nothing before; the system was out of processes */
    struct js_scan scan;
    struct buf output; /* this and the scan are scratch */

    /* the loop's own */
    const struct crew *crew;
    struct intake intake;
    struct pollfd *fds;
    int64_t pace_ms; /* monotonic: claim nothing before, for the group's rate; 0: no limit */
    bool more;       /* the last claim found something */
    bool drained;    /* the last claim found nothing, and we do not follow */
};

struct crew {
    int (*open)(struct loop *loop, struct err *e); /* 0 or -1 */
    size_t (*room)(const struct loop *loop);       /* events that could be begun now */
    /* 1 begun, 0 not now, -1 error. An event that cannot be begun at all is decided at once, and
       begin returns 1. */
    int (*begin)(struct loop *loop, struct group_event *ge, struct err *e);
    size_t (*fds)(const struct loop *loop, struct pollfd *fds); /* at most fds_max */
    int64_t (*deadline)(const struct loop *loop); /* monotonic: the latest time to call move */
    void (*ended)(struct loop *loop, pid_t pid, int wait_status, int64_t now_ms);
    int (*move)(struct loop *loop, int64_t now_ms, struct err *e); /* 0 or -1 */
    bool (*has)(const struct loop *loop, struct str subject);      /* begun, undecided */
    void (*quit)(struct loop *loop, int64_t now_ms);  /* begin nothing more, end when idle */
    void (*force)(struct loop *loop, int64_t now_ms); /* end now */
    bool (*busy)(const struct loop *loop);            /* quit has not finished */
    void (*close)(struct loop *loop);
};

extern const struct crew handlers_crew, workers_crew;

#endif
