/*
 * Rows of the log one by one: where it ends, and what can be said of one that is damaged.
 */
#include "store/sql/sql.h"

int log_last(struct store *s, int64_t *seq, struct err *e)
{
    return db_int(s->db, e, seq,
                  SQL("log_last", "SELECT max(seq) FROM event WHERE seq<=4611686018427387904"), "");
}

int log_gone(struct store *s, int64_t seq, struct err *e)
{
    int64_t one;
    int got = db_int(s->db, e, &one, SQL("log_gone", "SELECT 1 FROM event WHERE seq=?"), "i", seq);
    return got < 0 ? -1 : !got;
}

int log_disorder(struct store *s, int64_t seq, struct err *e)
{
    return err_set(e, EX_IOERR,
                   "%s: damaged: its table \"event\" is out of order at seq %lld: see spool check, "
                   "or restore it from a backup",
                   s->name, (long long)seq);
}

int log_broken(struct store *s, int64_t from, int64_t last, int64_t *seq)
{
    struct err ignored = ERR_NONE;
    int64_t at = from;
    int got = -1;

    if (!db_unreadable(s->db))
        return -1;
    for (; got < 0 && at <= last && at < from + LOG_PAGE; at += got < 0)
        got = db_int(
            s->db, &ignored, seq,
            SQL("log_broken", "SELECT seq FROM event WHERE seq>=? AND seq<=? ORDER BY seq LIMIT 1"),
            "ii", at, last);
    if (got > 0 && at > from)
        *seq = from;
    return got > 0 ? 1 : -1;
}
