/*
 * Room on the disk. Publishing stops while there is still enough room for settling, and everything
 * else continues: consuming, pruning and dropping are what frees room.
 *
 * A commit goes to the WAL and from there into the file, each of which may have to grow. Room for
 * what the WAL has and the file lacks is reserved; free pages of the file need no room on the disk;
 * and a WAL that was copied into the file completely is written from its beginning again. So on a
 * tight disk the WAL is copied before each transaction, not after each thousand frames.
 */
#include "store/sqlite/sqlite.h"

#include <sys/statvfs.h>

#define PLENTY (256 << 20) /* more than any one commit writes */
#define PAGE 4096
#define SOME_PAGES (16 * PAGE) /* what even the smallest batch changes */

int db_room(struct db *db, int64_t *room, struct err *e)
{
    int64_t pages = 0, unused = 0;
    struct statvfs fs;

    db->locked = false;
    if (statvfs(db->path, &fs) != 0)
        return db_moved(db) ? db_fail_moved(db, e) : err_errno(e, EX_IOERR, "%s", db->path);
    *room = INT64_MAX;
    if (space_free(&fs) >= PLENTY)
        return 0;
    bool moved = db_move_wal(db);
    if (statvfs(db->path, &fs) != 0)
        return err_errno(e, EX_IOERR, "%s", db->path);
    if (db_int(db, e, &pages, SQL("page_count", "PRAGMA page_count"), "") < 0 ||
        db_int(db, e, &unused, SQL("freelist_count", "PRAGMA freelist_count"), "") < 0)
        return -1;
    int64_t growth = pages * PAGE - space_of_file(db->path, ""), reserve = space_reserve(&fs);
    int64_t left = space_free(&fs) - (growth > 0 ? growth : 0) - SOME_PAGES;
    int64_t in_file = left + unused * PAGE - reserve;
    int64_t in_wal = left - reserve / 2 + (moved ? space_of_file(db->path, "-wal") : 0);
    *room = in_file < in_wal ? in_file : in_wal;
    return *room > 0 ? 0 : db_no_room(db, e);
}

int db_no_room(struct db *db, struct err *e)
{
    struct statvfs fs;
    int64_t left = statvfs(db->path, &fs) == 0 ? space_free(&fs) : 0;

    return err_set(e, EX_IOERR,
                   "%s: the disk is nearly full (%lld KiB free): the rest is kept for settling "
                   "what is in the spool",
                   db->path, (long long)left >> 10);
}
