/*
 * The spool as a whole. Here an engine would be chosen by the spool's name.
 */

#include "base/mem.h"
#include "store/sql/sql.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* A wake-up may be missed, and a process may die without sending one. */
#define PATIENCE_MS 1000

int store_open(struct store **out, const char *name, enum store_mode mode, struct err *e)
{
    struct db *db;
    int created = db_open(&db, name, mode, NULL, e);

    *out = NULL;
    if (created < 0)
        return -1;
    *out = mem_zero(1, sizeof **out);
    (*out)->db = db;
    (*out)->name = db_name(db);
    (*out)->mode = mode;
    (*out)->last_old = -1;
    return created;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    db_close(s->db);
    js_scan_free(&s->scan);
    event_free(&s->seen);
    buf_free(&s->stored);
    free(s->fds);
    free(s);
}

const char *store_name(const struct store *s)
{
    return s->name;
}

void store_stop(struct store *s, bool (*stopping)(void))
{
    s->stopping = stopping;
    db_stop(s->db, stopping);
}

bool store_stopping(const struct store *s)
{
    return db_stopping(s->db);
}

bool store_missed(const struct store *s)
{
    return db_missed(s->db);
}

bool store_lost(const struct store *s)
{
    return db_lost(s->db);
}

/* One that is to be created has been: if it is missing now, that is an error. */
int store_reopen(struct store *s, struct err *e)
{
    struct db *db;

    if (db_open(&db, s->name, s->mode == STORE_CREATE ? STORE_WRITE : s->mode, s->db, e) < 0)
        return -1;
    db_stop(db, s->stopping);
    db_close(s->db);
    s->db = db;
    s->name = db_name(db);
    s->watched = false;
    return 0;
}

bool store_locked(const struct store *s)
{
    return db_locked(s->db);
}

/* Clear the bell after it rang, and before the caller looks: what is committed after the look rings
   again. */
int store_wait(struct store *s, struct pollfd *fds, size_t n, int64_t timeout_ms, store_poll *poll,
               struct err *e)
{
    bool watched = s->watched;
    int bell = db_bell(s->db);

    s->watched = true;
    if (s->fds_room <= n)
        s->fds = mem_grow(s->fds, s->fds_room = n + 8, sizeof *s->fds);
    if (n > 0)
        memcpy(s->fds, fds, n * sizeof *fds);
    s->fds[n] = (struct pollfd){.fd = bell, .events = POLLIN};
    if (timeout_ms < 0 || timeout_ms > PATIENCE_MS)
        timeout_ms = PATIENCE_MS;
    poll(s->fds, n + (bell >= 0), watched ? timeout_ms : 0);
    if (n > 0)
        memcpy(fds, s->fds, n * sizeof *fds);
    db_bell_clear(s->db);
    return db_there(s->db, e);
}

int store_there(struct store *s, struct err *e)
{
    return db_there(s->db, e);
}

int store_line(struct store *s)
{
    return db_line(s->db);
}

int store_info(struct store *s, struct store_info *out, struct err *e)
{
    struct db_sizes sizes;

    db_sizes(s->db, &sizes);
    *out = (struct store_info){
        .name = s->name, .size = sizes.size, .wal_size = sizes.wal_size, .schema = sizes.schema};
    if (db_int(s->db, e, &out->events, SQL("info_events", "SELECT count(*) FROM event"), "") < 0 ||
        db_int(s->db, e, &out->first_seq, SQL("info_first", "SELECT min(seq) FROM event"), "") <
            0 ||
        log_last(s, &out->last_seq, e) < 0 ||
        db_int(s->db, e, &out->first_ms,
               SQL("info_first_recorded", "SELECT recorded FROM event WHERE seq=?"), "i",
               out->first_seq) < 0 ||
        db_int(s->db, e, &out->last_ms,
               SQL("info_last_recorded", "SELECT recorded FROM event WHERE seq=?"), "i",
               out->last_seq) < 0 ||
        db_int(s->db, e, &out->groups, SQL("info_groups", "SELECT count(*) FROM groups"), "") < 0 ||
        db_int(s->db, e, &out->dead, SQL("info_dead", "SELECT count(*) FROM item WHERE state=3"),
               "") < 0 ||
        db_int(s->db, e, &out->segments, SQL("info_segments", "SELECT count(*) FROM segment"), "") <
            0)
        return -1;
    return 0;
}
