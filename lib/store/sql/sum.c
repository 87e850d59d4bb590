/*
 * The checksum of an event's row, so that no bit of it changes unnoticed.
 *
 * A sum has two halves. The lower 32 bits are the crc32c of the line. Bits 32 to 61 are from the
 * crc32c of everything else in the row, including the lower half and the length of the line; so the
 * columns can be checked without the line, and either can be verified when the other is damaged.
 * Bit 62 is set: an absent or empty value is never a valid sum.
 *
 * Schema 1 had only the lower half. Its rows keep such sums, and meta ('sums') has the position of
 * the last of them: after it such a sum is damage, because otherwise a flipped bit could turn a row
 * into one with less to check.
 */
#include "store/sql/sql.h"

#include "base/crc32c.h"

#include <endian.h>
#include <stdlib.h>

#define FORM (INT64_C(1) << 62)
#define COLUMNS_MASK 0x3fffffffu /* the bits of a crc32c that fit */

static uint64_t of_number(int64_t value)
{
    return htole64((uint64_t)value);
}

static uint64_t of_length(struct str s)
{
    return of_number(s.p == NULL ? -1 : (int64_t)s.n);
}

void log_row_of(const struct db_value *v, struct log_row *out)
{
    *out = (struct log_row){
        .seq = v[LOG_SEQ].number,
        .recorded = v[LOG_RECORDED].number,
        .id = v[LOG_ID].text,
        .source = v[LOG_SOURCE].text,
        .type = v[LOG_TYPE].text,
        .subject = v[LOG_SUBJECT].text,
        .sums = v[LOG_SUMS].number,
        .line = v[LOG_LINE].text,
        .priority = v[LOG_PRIORITY].number,
        .due = v[LOG_DUE].number,
        .expires = v[LOG_EXPIRES].number,
        .version = v[LOG_VERSION].number,
    };
}

void log_row_read(struct query *q, struct log_row *out)
{
    struct db_value v[LOG_END];

    db_values(q, LOG_TYPES, v);
    log_row_of(v, out);
}

static int64_t columns_sum(const struct log_row *row, uint32_t line)
{
    const uint64_t fixed[] = {
        of_number(row->seq),     of_number(row->recorded), of_number(row->priority),
        of_number(row->due),     of_number(row->expires),  of_number(row->version),
        of_length(row->id),      of_length(row->source),   of_length(row->type),
        of_length(row->subject), of_length(row->line),     of_number(line),
    };
    const struct str pieces[] = {
        {(const char *)fixed, sizeof fixed}, row->id, row->source, row->type, row->subject};
    uint32_t crc = crc32c_of(pieces, sizeof pieces / sizeof pieces[0]);

    return FORM | (int64_t)(crc & COLUMNS_MASK) << 32 | line;
}

int64_t sum_of(const struct log_row *row)
{
    return columns_sum(row, crc32c(row->line.p, row->line.n));
}

/* The last position with a sum of schema 1; 0 when it cannot be read. */
static int64_t last_old(struct store *s)
{
    struct err ignored = ERR_NONE;
    int64_t last = 0;

    if (s->last_old < 0) {
        db_int(s->db, &ignored, &last,
               SQL("sum_last_old", "SELECT CAST(value AS INTEGER) FROM meta WHERE key='sums'"), "");
        s->last_old = last < 0 ? 0 : last;
    }
    return s->last_old;
}

/* Of schema 1, over the line alone? */
static bool sum_old(struct store *s, int64_t seq, int64_t sums)
{
    return sums >= 0 && sums <= UINT32_MAX && seq <= last_old(s);
}

/* A flipped bit may change the type of a value, or make it NULL, which reads as 0. In a row of the
   new form the sum shows that; the old form does not cover the columns. */
static bool types_right(struct query *q)
{
    static const struct {
        enum db_kind type;
        bool nullable;
    } want[LOG_END] = {
        [LOG_SEQ] = {DB_INTEGER, false},      [LOG_RECORDED] = {DB_INTEGER, false},
        [LOG_ID] = {DB_TEXT, false},          [LOG_SOURCE] = {DB_TEXT, false},
        [LOG_TYPE] = {DB_TEXT, false},        [LOG_SUBJECT] = {DB_TEXT, true},
        [LOG_SUMS] = {DB_INTEGER, false},     [LOG_LINE] = {DB_BYTES, false},
        [LOG_PRIORITY] = {DB_INTEGER, false}, [LOG_DUE] = {DB_INTEGER, true},
        [LOG_EXPIRES] = {DB_INTEGER, true},   [LOG_VERSION] = {DB_INTEGER, true},
    };

    for (int i = 0; i < LOG_END; i++) {
        enum db_kind type = db_kind(q, i);
        if (type != want[i].type && !(want[i].nullable && type == DB_NULL))
            return false;
    }
    return true;
}

bool sum_columns(struct store *s, struct query *q, const struct log_row *row)
{
    if (row->line.n == 0)
        return false;
    if (row->sums == columns_sum(row, (uint32_t)row->sums))
        return true;
    return sum_old(s, row->seq, row->sums) && types_right(q);
}

bool log_row_peek(struct store *s, int64_t seq, struct log_row *out)
{
    struct db_value v[LOG_END];

    if (!db_peek(s->db, seq, LOG_TYPES, v))
        return false;
    log_row_of(v, out);
    return out->line.n > 0 && out->sums == columns_sum(out, (uint32_t)out->sums);
}

bool sum_line(int64_t sums, struct str line)
{
    return line.n > 0 && (uint32_t)sums == crc32c(line.p, line.n);
}
