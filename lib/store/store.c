/*
 * The spool as a whole. Here an engine would be chosen by the spool's name.
 */
#include "store/store.h"

#include "base/mem.h"
#include "store/sql/sql.h"

#include <stdlib.h>

int store_open(struct store **out, const char *name, enum store_mode mode, struct err *e)
{
    struct db *db;
    int created = db_open(&db, name, mode, e);

    *out = NULL;
    if (created < 0)
        return -1;
    *out = mem_zero(1, sizeof **out);
    (*out)->db = db;
    (*out)->name = db_name(db);
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
    free(s);
}

const char *store_path(const struct store *s)
{
    return s->name;
}

void store_stop(struct store *s, bool (*stopping)(void))
{
    db_stop(s->db, stopping);
}

bool store_locked(const struct store *s)
{
    return db_locked(s->db);
}

int store_bell(struct store *s)
{
    return db_bell(s->db);
}

void store_bell_clear(struct store *s)
{
    db_bell_clear(s->db);
}

int store_there(struct store *s, struct err *e)
{
    return db_there(s->db, e);
}

int store_info(struct store *s, struct store_info *out, struct err *e)
{
    struct db_sizes sizes;

    db_sizes(s->db, &sizes);
    *out = (struct store_info){
        .path = s->name, .size = sizes.size, .wal_size = sizes.wal_size, .schema = sizes.schema};
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
