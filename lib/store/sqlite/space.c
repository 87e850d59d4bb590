/*
 * Room on the disk. Publishing stops while there is still enough room for settling, and everything
 * else continues: consuming, pruning and dropping are what frees room.
 *
 * A commit goes to the WAL and from there into the file, each of which may have to grow. Room for
 * what the WAL has and the file lacks is reserved; free pages of the file need no room on the disk;
 * and a WAL that was copied into the file completely is written from its beginning again. So on a
 * tight disk the WAL is copied before each transaction, not after each thousand frames.
 */
#include "store/engine.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#define RESERVE_MAX (16 << 20)
#define RESERVE_MIN (256 << 10) /* for the index of the WAL, a claim and its settles */
#define PLENTY (256 << 20)      /* more than any one commit writes */
#define TIGHT 4                 /* times the reserve */
#define LOOK_AGAIN 64           /* transactions */
#define PAGE 4096
#define SOME_PAGES (16 * PAGE) /* what even the smallest batch changes */

int64_t space_reserve(const struct statvfs *fs)
{
    int64_t reserve = (int64_t)((uint64_t)fs->f_blocks * fs->f_frsize / 16);

    return reserve > RESERVE_MAX ? RESERVE_MAX : reserve < RESERVE_MIN ? RESERVE_MIN : reserve;
}

static int64_t free_bytes(const struct statvfs *fs)
{
    return (int64_t)((uint64_t)fs->f_bavail * fs->f_frsize);
}

void space_look(struct store *s)
{
    struct statvfs fs;

    if (s->space_looks++ % LOOK_AGAIN == 0 || s->tight)
        s->tight = statvfs(s->path, &fs) == 0 && free_bytes(&fs) < TIGHT * space_reserve(&fs);
}

static int64_t size_of(const char *path, const char *suffix)
{
    struct buf name = BUF_INIT;
    struct stat st;

    buf_printf(&name, "%s%s", path, suffix);
    int64_t size = stat(buf_text(&name), &st) == 0 ? (int64_t)st.st_size : 0;
    buf_free(&name);
    return size;
}

int64_t space_of(const struct event *ev)
{
    /* Twice what goes into an index as well as a column, and a quarter for pages not quite full. */
    return (int64_t)(ev->line.n + 2 * (ev->id.n + ev->source.n) + ev->type.n + ev->subject.n + 64) *
           5 / 4;
}

int space_for_batch(struct store *s, int64_t *room, struct err *e)
{
    int64_t pages = 0, unused = 0;
    struct statvfs fs;

    if (statvfs(s->path, &fs) != 0)
        return db_moved(s) ? db_fail_moved(s, e) : err_errno(e, EX_IOERR, "%s", s->path);
    *room = INT64_MAX;
    if (free_bytes(&fs) >= PLENTY)
        return 0;
    bool moved = db_move_wal(s);
    if (statvfs(s->path, &fs) != 0)
        return err_errno(e, EX_IOERR, "%s", s->path);
    if (db_int(s, e, &pages, "PRAGMA page_count", "") < 0 ||
        db_int(s, e, &unused, "PRAGMA freelist_count", "") < 0)
        return -1;
    int64_t growth = pages * PAGE - size_of(s->path, ""), reserve = space_reserve(&fs);
    int64_t left = free_bytes(&fs) - (growth > 0 ? growth : 0) - SOME_PAGES;
    int64_t in_file = left + unused * PAGE - reserve;
    int64_t in_wal = left - reserve / 2 + (moved ? size_of(s->path, "-wal") : 0);
    *room = in_file < in_wal ? in_file : in_wal;
    return *room > 0 ? 0 : space_fail(s, e);
}

int space_fail(struct store *s, struct err *e)
{
    struct statvfs fs;
    int64_t left = statvfs(s->path, &fs) == 0 ? free_bytes(&fs) : 0;

    return err_set(e, EX_IOERR,
                   "%s: the disk is nearly full (%lld KiB free): the rest is kept for settling "
                   "what is in the spool",
                   s->path, (long long)left >> 10);
}
