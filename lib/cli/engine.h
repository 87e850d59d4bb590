/*
 * engine: which command serves a spool. Ours serve files; those for spools on servers, linked with
 * another engine and its library, have the same names and lie in a folder beside ours.
 */
#ifndef CLI_ENGINE_H
#define CLI_ENGINE_H

#include "base/buf.h"

#include <stdbool.h>

/* Is it the address of something on a server, and not the name of a file? NULL is none. */
bool engine_is_address(const char *name);

/* Become the command of our name that serves this spool (NULL: none was named), with this command
   line. Call it before anything is read or done: that command begins as we did. Returns when we
   serve the spool ourselves; exits with 69 when there is no such command, with 71 when our folder
   cannot be found. */
void engine_hand_over(const char *spool, char **argv);

/* The same for another database that the command line names, once the spool is known to be served
   here: the command that it becomes serves spools in files, and databases on servers. */
void engine_hand_over_file(const char *database, char **argv);

/* Append the path of the command of our name that serves files, and hands over all others. */
void engine_ordinary(struct buf *path);

#endif
