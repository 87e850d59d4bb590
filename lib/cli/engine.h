/*
 * engine: which command serves a spool. Ours serve files; those for spools on servers, linked with
 * another engine and its library, have the same names and lie in a folder beside ours.
 */
#ifndef CLI_ENGINE_H
#define CLI_ENGINE_H

#include "base/buf.h"

/* Become the command of our name that serves this spool (NULL: none was named), with this command
   line. Call it before anything is read or done: that command begins as we did. Returns when we
   serve the spool ourselves; exits with 69 when there is no such command, with 71 when our folder
   cannot be found. */
void engine_hand_over(const char *spool, char **argv);

/* Append the path of the command of our name that serves files, and hands over all others. */
void engine_first(struct buf *path);

#endif
