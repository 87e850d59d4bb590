/*
 * SPOOL-lock: the bytes that processes hold in it, and what it is known by.
 *
 * The locks are open-file-description locks on single bytes, far beyond the file's end; the file
 * holds only a token. The kernel drops a lock when its process ends, however it ends, and at no
 * other time: closing other descriptors does not release it (a POSIX lock would be released), and
 * children do not keep it past exec (O_CLOEXEC), unless they are given the descriptor.
 */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TOKEN_SIZE 33 /* 32 hexadecimal digits and a newline */

/* Bytes that belong to no owner and no place: owners are odd, places begin at 4. */
#define BYTE_TOKEN 0   /* locked while the token is first written */
#define BYTE_WAITING 2 /* share-locked by each process that waits for another's transaction */

static int byte_lock(int fd, int command, int64_t at, short *type)
{
    struct flock lock = {.l_type = *type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    int got = fcntl(fd, command, &lock);

    *type = lock.l_type;
    return got;
}

bool lock_byte(int fd, int64_t at)
{
    short type = F_WRLCK;
    return byte_lock(fd, F_OFD_SETLK, at, &type) == 0;
}

void lock_unbyte(int fd, int64_t at)
{
    short type = F_UNLCK;
    byte_lock(fd, F_OFD_SETLK, at, &type);
}

bool lock_held(int fd, int64_t at)
{
    short type = F_WRLCK;
    return byte_lock(fd, F_OFD_GETLK, at, &type) != 0 || type != F_UNLCK;
}

static int read_token(int fd, char token[TOKEN_SIZE])
{
    return pread(fd, token, TOKEN_SIZE, 0) == TOKEN_SIZE ? 0 : -1;
}

static int give_token(struct db *db, struct err *e)
{
    char token[TOKEN_SIZE + 1];
    short type = F_WRLCK;

    int got;
    while ((got = byte_lock(db->lock_fd, F_OFD_SETLKW, BYTE_TOKEN, &type)) != 0 && errno == EINTR)
        type = F_WRLCK;
    if (got != 0)
        return err_errno(e, EX_IOERR, "%s", db->lock_path);
    if (read_token(db->lock_fd, token) != 0) {
        snprintf(token, sizeof token, "%016llx%016llx\n", (unsigned long long)clock_random(),
                 (unsigned long long)clock_random());
        if (pwrite(db->lock_fd, token, TOKEN_SIZE, 0) != TOKEN_SIZE)
            return err_errno(e, EX_IOERR, "%s", db->lock_path);
    }
    type = F_UNLCK;
    byte_lock(db->lock_fd, F_OFD_SETLK, BYTE_TOKEN, &type);
    return 0;
}

int lock_open(struct db *db, struct err *e)
{
    struct stat spool;

    if (db->lock_fd >= 0)
        return 0;
    mode_t mask = umask(0177); /* or a strict umask could create a file that nobody can open */
    db->lock_fd = open(db->lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    umask(mask);
    if (db->lock_fd < 0)
        return err_errno(e, 0, "%s", db->lock_path);
    /* root may use a user's spool, and must not lock that user out of it */
    if (geteuid() == 0 && stat(db->path, &spool) == 0 && spool.st_uid != 0 &&
        fchown(db->lock_fd, spool.st_uid, spool.st_gid) != 0)
        return err_errno(e, 0, "%s", db->lock_path);
    return give_token(db, e);
}

/* Does the path still lead to the file that we hold? */
static bool named_ours(struct db *db)
{
    struct stat ours, named;

    return fstat(db->lock_fd, &ours) == 0 && stat(db->lock_path, &named) == 0 &&
           ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

bool lock_identify(struct db *db, char out[LOCK_IDENTITY])
{
    char token[TOKEN_SIZE];
    struct stat st;

    if (!named_ours(db) || read_token(db->lock_fd, token) != 0 || fstat(db->lock_fd, &st) != 0)
        return false;
    snprintf(out, LOCK_IDENTITY, "%.*s %llu", TOKEN_SIZE - 1, token, (unsigned long long)st.st_ino);
    return true;
}

void lock_announce(struct db *db, bool waiting)
{
    struct err ignored = ERR_NONE;
    short type = waiting ? F_RDLCK : F_UNLCK;

    if (db->waiting != waiting && lock_open(db, &ignored) == 0)
        byte_lock(db->lock_fd, F_OFD_SETLK, BYTE_WAITING, &type);
    db->waiting = waiting;
}

bool db_wanted(struct db *db)
{
    struct err ignored = ERR_NONE;
    short type = F_WRLCK;

    return lock_open(db, &ignored) == 0 &&
           byte_lock(db->lock_fd, F_OFD_GETLK, BYTE_WAITING, &type) == 0 && type != F_UNLCK;
}

void db_give_way(struct db *db)
{
    const struct timespec pause = {0, 2500000}; /* longer than waiters sleep between two tries */

    if (db_wanted(db))
        nanosleep(&pause, NULL);
}
