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

#include <sys/stat.h>
#include <sys/statvfs.h>

#define RESERVE_MAX (16 << 20)
#define RESERVE_MIN (256 << 10) /* for the index of the WAL, a claim and its settles */
#define TIGHT 4                 /* times the reserve */
#define LOOK_AGAIN 64           /* transactions */

int64_t space_reserve(const struct statvfs *fs)
{
    int64_t reserve = (int64_t)((uint64_t)fs->f_blocks * fs->f_frsize / 16);

    return reserve > RESERVE_MAX ? RESERVE_MAX : reserve < RESERVE_MIN ? RESERVE_MIN : reserve;
}

int64_t space_free(const struct statvfs *fs)
{
    return (int64_t)((uint64_t)fs->f_bavail * fs->f_frsize);
}

void space_look(struct db *db)
{
    struct statvfs fs;

    if (db->space_looks++ % LOOK_AGAIN == 0 || db->tight)
        db->tight = statvfs(db->path, &fs) == 0 && space_free(&fs) < TIGHT * space_reserve(&fs);
}

int64_t space_of_file(const char *path, const char *suffix)
{
    struct buf name = BUF_INIT;
    struct stat st;

    buf_printf(&name, "%s%s", path, suffix);
    int64_t size = stat(buf_text(&name), &st) == 0 ? (int64_t)st.st_size : 0;
    buf_free(&name);
    return size;
}
