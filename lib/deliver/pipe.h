/*
 * pipe: events without a handler: each line goes to stdout, and its event is settled once the line
 * is written; or handed over, for settle(1) at the other end of the pipe.
 */
#ifndef DELIVER_PIPE_H
#define DELIVER_PIPE_H

#include "deliver/intake.h"

/* Until there is no more to do, or we are told to stop. 0, or -1 when the store failed. */
int pipe_run(struct intake *in, struct err *e);

#endif
