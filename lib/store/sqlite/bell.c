/*
 * The bell: after a commit a process touches SPOOL-lock (db_ring), and those who wait watch that
 * file with inotify.
 */
#include "store/sqlite/sqlite.h"

#include <sys/inotify.h>
#include <unistd.h>

int db_bell(struct db *db)
{
    struct err ignored = ERR_NONE;

    if (db->bell_fd == -2) {
        db->bell_fd = -1;
        if (lock_open(db, &ignored) == 0)
            db->bell_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (db->bell_fd >= 0 &&
            inotify_add_watch(db->bell_fd, db->lock_path, IN_ATTRIB | IN_DELETE_SELF) < 0) {
            close(db->bell_fd);
            db->bell_fd = -1;
        }
    }
    return db->bell_fd;
}

void db_bell_clear(struct db *db)
{
    char events[4096];

    db->moved |= db_moved(db); /* or an idle follower would wait for ever on the old file */
    if (db->bell_fd >= 0)
        while (read(db->bell_fd, events, sizeof events) > 0)
            continue;
}

/* A file does not go away by itself. */
int db_line(struct db *db)
{
    (void)db;
    return -1;
}

int db_there(struct db *db, struct err *e)
{
    db->moved |= db_moved(db);
    return db->moved ? db_fail_moved(db, e) : 0;
}
